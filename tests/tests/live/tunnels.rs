//! Its packets go on inside of others.

use crate::needs::{Feature, by_its_reason, less_sure_without_reasons, weaker_because, weaker_without};
use netdx_tests::island::{Island, output, run};
use netdx_tests::lab::Lab;
use netdx_tests::remote::{self, Answer};
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer};

const SILENT: Expected<'static> = Expected {
    code: "timeout.silent",
    outcome: "failed",
    errno: Some("ETIMEDOUT"),
    remote: Some("10.8.0.2:81"),
    names: &[],
    certainty: Some("likely"),
};
const DROPPED: Expected<'static> = Expected { code: "firewall.dropped", certainty: None, ..SILENT };

/// A kind of tunnel.
struct Kind {
    /// As `ip link` is told, but for the ends.
    link: &'static str,
    /// What is around each packet, for a rule.
    around: &'static str,
    /// And in words.
    name: &'static str,
    /// It carries IPv6 only.
    v6: bool,
}

const VXLAN: Kind = Kind { link: "vxlan id 7 dstport 4789", around: "udp dport 4789", name: "VXLAN", v6: false };

const KINDS: &[Kind] = &[
    VXLAN,
    Kind { link: "geneve id 7", around: "udp dport 6081", name: "Geneve", v6: false },
    Kind { link: "ipip", around: "ip protocol 4", name: "IP-in-IP", v6: false },
    Kind { link: "sit", around: "ip protocol 41", name: "IP-in-IP", v6: true },
    Kind { link: "gre key 7", around: "ip protocol 47", name: "GRE", v6: false },
    Kind { link: "gretap key 7 csum", around: "ip protocol 47", name: "GRE", v6: false },
];

impl Kind {
    fn target(&self) -> &'static str {
        if self.v6 { "[fd08::2]:81" } else { "10.8.0.2:81" }
    }

    /// Makes one end of it, with what it asks of neighbours answered. False: the kernel has no such tunnel.
    fn end(&self, island: &Island, [own, other]: [&str; 2], number: u8) -> bool {
        let is_bound = !self.link.starts_with("geneve");
        let local = if is_bound { format!(" local {own}") } else { String::new() };
        let link = format!("link add wrap0 type {}{local} remote {other}", self.link);
        if !output(island.command("ip").args(link.split_whitespace())).status.success() {
            return false;
        }
        let peer = 3 - number;
        island.ip(&format!("addr add 10.8.0.{number}/24 dev wrap0"));
        island.ip(&format!("-6 addr add fd08::{number}/64 dev wrap0 nodad"));
        if ["vxlan", "geneve", "gretap"].iter().any(|bridged| self.link.starts_with(bridged)) {
            island.ip(&format!("link set wrap0 address 02:00:00:00:00:0{number}"));
            island.ip(&format!("neigh add 10.8.0.{peer} lladdr 02:00:00:00:00:0{peer} dev wrap0 nud permanent"));
        }
        island.ip("link set wrap0 up");
        true
    }

    /// Makes it between client and server. False: the kernel has no such tunnel, which is told.
    fn between(&self, lab: &Lab) -> bool {
        let made =
            self.end(&lab.client, ["10.1.1.2", "10.1.2.2"], 1) && self.end(&lab.server, ["10.1.2.2", "10.1.1.2"], 2);
        if !made {
            weaker_because(&format!("the kernel has no {}", self.link));
        }
        made
    }
}

/// A rule in one namespace drops what is around the packets of each kind of tunnel.
fn wrapped(at: fn(&Lab) -> &Island, hook: &str, by: &str) {
    for kind in KINDS {
        let lab = Lab::new();
        if !kind.between(&lab) {
            continue;
        }
        at(&lab).guard(hook, &format!("{by} {} drop", kind.around));
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {}", kind.target()));
        let around = format!("dropped the {} packet around its SYN", kind.name);
        // nft may know the protocol by a name.
        let names = &[by, "drop`", around.as_str(), hook];
        trace.explains(&attempt, &Expected { remote: Some(kind.target()), names, ..DROPPED });
        trace.only(&[DROPPED.code]);
    }
}

#[test]
fn the_client_drops_what_is_around_it() {
    wrapped(|lab| &lab.client, "output", "oifname \"eth0\"");
}

#[test]
fn the_router_drops_what_is_around_it() {
    wrapped(|lab| &lab.router, "forward", "iifname \"rcl\"");
}

#[test]
fn the_server_drops_what_is_around_it() {
    wrapped(|lab| &lab.server, "input", "iifname \"eth0\"");
}

#[test]
fn the_router_drops_what_is_around_the_answer() {
    let lab = Lab::new();
    assert!(VXLAN.between(&lab));
    let _listener = listen(&lab.server, "10.8.0.2:81");
    lab.router.guard("forward", "ip saddr 10.1.2.2 udp dport 4789 drop");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.8.0.2:81");
    let names = &["ip saddr 10.1.2.2 udp dport 4789 drop", "dropped the VXLAN packet around the answering SYN-ACK"];
    trace.explains(&attempt, &Expected { names, ..DROPPED });
    trace.only(&[DROPPED.code]);
}

/// A tunnel with a port of its own: what leaves is known by what the kernel noted.
#[test]
fn the_client_drops_what_is_around_a_datagram() {
    let lab = Lab::new();
    let kind = Kind { link: "vxlan id 7 dstport 4000", ..VXLAN };
    assert!(kind.between(&lab));
    lab.client.guard("output", "udp dport 4000 drop");
    let trace = Tracer::start(&lab);
    // Its socket is there while netdx asks whose it is.
    let mut client = lab.start("udp 10.8.0.2:81 --send 10 --hold 60000");
    let attempt = client.attempt();
    let names = &["`udp dport 4000 drop`", "dropped the UDP packet around its datagram"];
    trace.explains(&attempt, &Expected { errno: None, names, ..DROPPED });
    trace.only(&[DROPPED.code]);
}

#[test]
fn nothing_takes_a_tunnels_packets() {
    let lab = Lab::new();
    assert!(VXLAN.end(&lab.client, ["10.1.1.2", "10.1.2.2"], 1));
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.8.0.2:81");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let reason = if weaker_without(Feature::DropReasons) { "without a reason" } else { "nothing there takes packets" };
    let names = &["the kernel dropped the VXLAN packet around its SYN", lab.server.name(), reason];
    let dropped = Expected { code: "timeout.dropped", certainty: None, names, ..SILENT };
    trace.explains(&attempt, &dropped);
    // The ICMP error about the tunnel's packet tells nobody anything new.
    trace.only(&[dropped.code]);
}

/// As networks of containers are that span hosts: what the client sends to its own network, a bridge hands to a tunnel.
fn bridged(other_end: &str) -> Lab {
    let lab = Lab::new();
    for line in [
        "link add br0 type bridge",
        "link set br0 up",
        "link set rcl master br0",
        &format!("link add wrap0 type vxlan id 7 remote {other_end} dstport 4789"),
        "link set wrap0 master br0 up",
    ] {
        lab.router.ip(line);
    }
    lab
}

const BRIDGED: &str = "10.1.1.77:81";

#[test]
fn a_rule_drops_what_is_around_it_beyond_a_bridge() {
    let lab = bridged("10.1.2.2");
    lab.router.guard("output", "udp dport 4789 drop");
    lab.client.sysctl("net.ipv4.tcp_syn_retries=3");
    let trace = Tracer::start(&lab);
    let names = &["the VXLAN packet around the ARP request for 10.1.1.77", "`udp dport 4789 drop`", lab.router.name()];
    let expected = Expected { remote: Some(BRIDGED), ..DROPPED };
    let attempt = lab.connect(&format!("blocking {BRIDGED}"));
    assert_eq!(attempt.errno, libc::EHOSTUNREACH);
    trace.explains(&attempt, &Expected { errno: Some("EHOSTUNREACH"), certainty: Some("likely"), names, ..expected });
    lab.client.ip("neigh replace 10.1.1.77 lladdr 02:00:00:00:00:99 dev eth0 nud permanent");
    lab.client.sysctl("net.ipv4.tcp_syn_retries=1");
    let names = &["the VXLAN packet around its SYN", "`udp dport 4789 drop`", lab.router.name()];
    let attempt = lab.connect(&format!("blocking {BRIDGED}"));
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    trace.explains(&attempt, &Expected { names, ..expected });
    trace.only(&[expected.code]);
}

#[test]
fn nothing_comes_out_of_a_tunnel() {
    for of_the_router in [false, true] {
        let lab = Lab::new();
        let from = if of_the_router { &lab.router } else { &lab.client };
        let _remote = remote::attach(from, Answer::Silence);
        assert!(VXLAN.end(from, ["10.6.0.1", "10.7.0.1"], 1));
        let trace = Tracer::start(&lab);
        let attempt = lab.connect("blocking 10.8.0.2:81");
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        let router = ["wrap0 (vxlan) in network namespace ", lab.router.name()];
        let names: &[&str] = if of_the_router { &router } else { &["wrap0 (vxlan)"] };
        trace.explains(&attempt, &Expected { names, ..SILENT });
        trace.only(&[SILENT.code]);
    }
}

#[test]
fn nothing_comes_out_of_a_tunnel_beyond_a_bridge() {
    let lab = bridged("10.7.0.1");
    let _remote = remote::attach(&lab.router, Answer::Silence);
    lab.client.sysctl("net.ipv4.tcp_syn_retries=3");
    let trace = Tracer::start(&lab);
    let names = &["the tunnel wrap0 (vxlan), a port of br0 in another network namespace"];
    let likely = Expected { remote: Some(BRIDGED), names, ..SILENT };
    // Not even the question for its link address comes out.
    let attempt = lab.connect(&format!("blocking {BRIDGED}"));
    assert_eq!(attempt.errno, libc::EHOSTUNREACH);
    trace.explains(&attempt, &Expected { code: "route.neighbor-silent", errno: Some("EHOSTUNREACH"), ..likely });
    lab.client.ip("neigh replace 10.1.1.77 lladdr 02:00:00:00:00:99 dev eth0 nud permanent");
    lab.client.sysctl("net.ipv4.tcp_syn_retries=1");
    let attempt = lab.connect(&format!("blocking {BRIDGED}"));
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    trace.explains(&attempt, &likely);
    trace.only(&["route.neighbor-silent", "timeout.silent"]);
}

/// Where a link address is, the tunnel does not know.
#[test]
fn a_rule_drops_one_of_several_copies() {
    let lab = Lab::new();
    let _remote = remote::attach(&lab.router, Answer::Silence);
    assert!(VXLAN.end(&lab.client, ["10.1.1.2", "10.7.0.1"], 1));
    let other = ["fdb", "append", "00:00:00:00:00:00", "dev", "wrap0", "dst", "10.1.2.2"];
    run(lab.client.command("bridge").args(other));
    lab.router.guard("forward", "ip daddr 10.1.2.2 udp dport 4789 drop");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.8.0.2:81");
    let names = &["ip daddr 10.1.2.2 udp dport 4789 drop", "dropped the VXLAN packet around its SYN"];
    let report = trace.explains(&attempt, &Expected { names, certainty: Some("likely"), ..DROPPED });
    assert_eq!(report["verdict"]["certainty"], "likely", "{report:#}");
    assert!(report["verdict"]["evidence"].to_string().contains("a copy to each of 2 ends"), "{report:#}");
    trace.only(&[DROPPED.code]);
}

#[test]
fn a_wireguard_peer_does_not_answer() {
    let lab = Lab::new();
    let _remote = remote::attach(&lab.client, Answer::Silence);
    if !output(lab.client.command("ip").args(["link", "add", "wg0", "type", "wireguard"])).status.success() {
        return weaker_because("the kernel has no WireGuard");
    }
    // Keys out of its documentation.
    let peer = "peer xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg= endpoint 10.7.0.1:51820 allowed-ips 10.9.0.0/24";
    let set =
        format!("echo yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk= | wg set wg0 private-key /proc/self/fd/0 {peer}");
    run(lab.client.command("sh").args(["-c", &set]));
    lab.client.ip("addr add 10.9.0.1/24 dev wg0");
    lab.client.ip("link set wg0 up");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.9.0.2:81");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &["wg0 (wireguard)", "its peer at 10.7.0.1:51820 has never agreed on keys"];
    trace.explains(&attempt, &Expected { remote: Some("10.9.0.2:81"), names, ..SILENT });
    trace.only(&[SILENT.code]);
}

/// A device for a program stays after it, without carrier.
#[test]
fn the_program_behind_a_tunnel_has_ended() {
    let lab = Lab::new();
    for line in ["tuntap add dev far0 mode tun", "link set far0 up", "route add 10.7.0.0/16 dev far0"] {
        lab.router.ip(line);
    }
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.7.0.1:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &["far0", lab.router.name(), "has no carrier (no program serves it)"];
    let expected = Expected {
        code: "route.interface-down",
        outcome: "failed",
        errno: Some("ETIMEDOUT"),
        remote: Some("10.7.0.1:80"),
        names,
        certainty: None,
    };
    let expected = by_its_reason(expected);
    trace.explains(&attempt, &expected);
    trace.only(&[expected.code]);
}

#[test]
fn a_tunnels_next_hop_is_silent() {
    let lab = Lab::new();
    assert!(VXLAN.between(&lab));
    lab.client.ip("route add 10.1.2.2/32 via 10.1.1.77");
    lab.client.sysctl("net.ipv4.tcp_syn_retries=2");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.8.0.2:81");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &["the next hop 10.1.1.77 does not answer ARP"];
    let silent = Expected { code: "route.neighbor-silent", certainty: None, names, ..SILENT };
    trace.explains(&attempt, &less_sure_without_reasons(silent));
    trace.only(&[silent.code]);
}
