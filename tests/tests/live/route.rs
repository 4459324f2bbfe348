//! It could not be sent, or not delivered.

use crate::needs::{Feature, less_sure_without_reasons, other_without_reasons, weaker_because, weaker_without};
use netdx_tests::island::output;
use netdx_tests::lab::Lab;
use netdx_tests::remote::{self, Answer};
use netdx_tests::tracer::{Expected, Tracer};

/// The client's routing is changed by `ip` commands, one a line; then it connects.
fn unroutable(change: &str, target: &str, errno: (&'static str, i32), expected: &Expected<'_>) {
    let lab = Lab::new();
    for line in change.lines() {
        lab.client.ip(line);
    }
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("blocking {target}"));
    assert_eq!(attempt.errno, errno.1);
    trace.explains(&attempt, &Expected { outcome: "failed", errno: Some(errno.0), remote: Some(target), ..*expected });
    trace.only(&[expected.code]);
}

const NONE: Expected<'static> = Expected {
    code: "route.none",
    outcome: "failed",
    errno: None,
    remote: None,
    names: &["no IPv4 route"],
    certainty: None,
};
const REJECTS: Expected<'static> = Expected { code: "route.rejects", names: &[], ..NONE };
const UNREACHABLE: (&str, i32) = ("ENETUNREACH", libc::ENETUNREACH);

#[test]
fn there_is_no_route() {
    unroutable("route del default", "10.1.2.2:80", UNREACHABLE, &NONE);
}

/// The tunnel itself says so to whoever sends.
const NOWHERE: Expected<'static> = Expected { code: "route.icmp-unreachable", errno: Some("EHOSTUNREACH"), ..NONE };

#[test]
fn a_tunnel_has_nowhere_to_send_it() {
    let lab = Lab::new();
    // A message that comes in with this host's own address, for it is this host's program that makes it.
    remote::attach(&lab.client, Answer::Unreachable(1, [10, 6, 0, 1].into()));
    lab.client.sysctl("net.ipv4.conf.far0.accept_local=1");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.7.0.1:80");
    assert_eq!(attempt.errno, libc::EHOSTUNREACH);
    let names = &["far0 (tun) has nowhere to send it"];
    trace.explains(&attempt, &Expected { remote: Some("10.7.0.1:80"), names, ..NOWHERE });
    trace.only(&[NOWHERE.code]);
}

#[test]
fn no_peer_of_a_wireguard_tunnel_has_the_address() {
    let lab = Lab::new();
    if !output(lab.client.command("ip").args(["link", "add", "wg0", "type", "wireguard"])).status.success() {
        return weaker_because("the kernel has no WireGuard");
    }
    lab.client.ip("addr add 10.9.0.1/24 dev wg0");
    lab.client.ip("link set wg0 up");
    let trace = Tracer::start(&lab);
    let target = "10.9.0.2:80";
    let attempt = lab.connect(&format!("blocking {target}"));
    assert_eq!(attempt.errno, libc::EHOSTUNREACH);
    let names = &["wg0 (wireguard)", "no peer has 10.9.0.2 among its allowed IPs"];
    trace.explains(&attempt, &Expected { remote: Some(target), names, ..NOWHERE });
    let attempt = lab.connect(&format!("udp {target} --send 10"));
    assert_eq!(attempt.errno, libc::ENOKEY);
    trace.explains(&attempt, &Expected { remote: Some(target), errno: Some("ENOKEY"), names, ..NOWHERE });
    trace.only(&[NOWHERE.code]);
}

#[test]
fn there_is_no_ipv6_route() {
    let expected = Expected { names: &["no IPv6 route"], ..NONE };
    unroutable("-6 route del default", "[fd01:2::2]:80", UNREACHABLE, &expected);
}

#[test]
fn a_route_prohibits() {
    let expected = Expected { names: &["prohibit"], ..REJECTS };
    unroutable("route add prohibit 10.1.2.0/24", "10.1.2.2:80", ("EACCES", libc::EACCES), &expected);
}

#[test]
fn a_route_is_unreachable() {
    let expected = Expected { names: &["unreachable"], ..REJECTS };
    unroutable("route add unreachable 10.1.2.0/24", "10.1.2.2:80", ("EHOSTUNREACH", libc::EHOSTUNREACH), &expected);
}

#[test]
fn a_route_is_a_black_hole() {
    let expected = Expected { names: &["blackhole"], ..REJECTS };
    unroutable("route add blackhole 10.1.2.0/24", "10.1.2.2:80", ("EINVAL", libc::EINVAL), &expected);
}

#[test]
fn a_rule_is_unreachable() {
    let expected = Expected { names: &["rule"], ..REJECTS };
    unroutable("rule add to 10.1.2.0/24 pref 100 unreachable", "10.1.2.2:80", UNREACHABLE, &expected);
}

#[test]
fn an_ipv6_route_prohibits() {
    let expected = Expected { names: &["prohibit"], ..REJECTS };
    unroutable("-6 route add prohibit fd01:2::/64", "[fd01:2::2]:80", ("EACCES", libc::EACCES), &expected);
}

#[test]
fn the_interface_is_down() {
    let expected = Expected { code: "route.interface-down", names: &["eth0"], ..NONE };
    unroutable("link set eth0 down", "10.1.1.77:80", UNREACHABLE, &expected);
}

#[test]
fn a_neighbour_is_silent() {
    silent_neighbour("", "10.1.1.77:80", &["10.1.1.77"]);
}

#[test]
fn the_gateway_is_silent() {
    silent_neighbour("route replace default via 10.1.1.99", "10.1.2.2:80", &["10.1.1.99"]);
}

/// As a host that calls its own container.
#[test]
fn a_macvlan_and_its_parent() {
    let lab = Lab::new();
    lab.client.ip("link add mv0 link eth0 type macvlan mode bridge");
    lab.client.ip(&format!("link set mv0 netns {}", lab.server.name()));
    lab.server.ip("addr add 10.1.1.5/24 dev mv0");
    lab.server.ip("link set mv0 up");
    let names = &["mv0 of network namespace", lab.server.name(), "a macvlan and its parent do not hear each other"];
    unheard(&lab, "10.1.1.5:80", names);
}

fn silent_neighbour(change: &str, target: &str, names: &[&str]) {
    let lab = Lab::new();
    for line in change.lines() {
        lab.client.ip(line);
    }
    unheard(&lab, target, names);
}

/// The kernel asks three times, a second apart.
fn unheard(lab: &Lab, target: &str, names: &[&str]) {
    lab.client.sysctl("net.ipv4.tcp_syn_retries=3");
    let trace = Tracer::start(lab);
    let attempt = lab.connect(&format!("blocking {target}"));
    assert_eq!(attempt.errno, libc::EHOSTUNREACH);
    let code = "route.neighbor-silent";
    let expected = Expected { code, errno: Some("EHOSTUNREACH"), remote: Some(target), names, ..NONE };
    trace.explains(&attempt, &less_sure_without_reasons(expected));
    trace.only(&[code]);
}

#[test]
fn a_host_that_cannot_be_seen_into_says_unreachable() {
    for (code, errno, name) in [(0, libc::ENETUNREACH, "ENETUNREACH"), (1, libc::EHOSTUNREACH, "EHOSTUNREACH")] {
        let lab = Lab::new();
        remote::attach(&lab.client, Answer::Unreachable(code, [10, 7, 9, 9].into()));
        let trace = Tracer::start(&lab);
        let attempt = lab.connect("blocking 10.7.0.1:80");
        assert_eq!(attempt.errno, errno);
        let code = "route.icmp-unreachable";
        let names = &["10.7.9.9"];
        trace.explains(&attempt, &Expected { code, errno: Some(name), remote: Some("10.7.0.1:80"), names, ..NONE });
        trace.only(&[code]);
    }
}

#[test]
fn packets_go_round_in_circles() {
    let lab = Lab::new();
    lab.server.sysctl("net.ipv4.ip_forward=1, net.ipv4.conf.all.send_redirects=0, net.ipv4.conf.eth0.send_redirects=0");
    lab.router.ip("route add 10.8.0.0/16 via 10.1.2.2");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.8.0.1:80");
    assert_eq!(attempt.errno, libc::EHOSTUNREACH);
    let code = "route.ttl-exceeded";
    trace.explains(
        &attempt,
        &Expected { code, errno: Some("EHOSTUNREACH"), remote: Some("10.8.0.1:80"), names: &[], ..NONE },
    );
    trace.only(&[code]);
}

/// The router says nothing of what it can't pass on, or nothing that arrives.
fn unsaid(prepare: impl FnOnce(&Lab), how: &str, expected: &Expected<'_>) {
    let lab = Lab::new();
    prepare(&lab);
    for island in [&lab.router, &lab.server] {
        island.nft("table inet mute { chain out { type filter hook output priority 0; meta l4proto icmp drop; }; }");
    }
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(how);
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let remote = how.split(' ').nth(1);
    trace.explains(&attempt, &Expected { errno: Some("ETIMEDOUT"), remote, ..*expected });
    trace.only(&[expected.code]);
}

#[test]
fn the_router_has_no_route_and_does_not_say_so() {
    let names = &["network namespace", "on its way", "no IPv4 route to 10.44.0.1"];
    unsaid(|_| {}, "blocking 10.44.0.1:80", &Expected { names, ..NONE });
}

#[test]
fn packets_go_round_in_circles_and_nobody_says_so() {
    let around = |lab: &Lab| {
        lab.server.sysctl("net.ipv4.ip_forward=1");
        lab.router.ip("route add 10.8.0.0/16 via 10.1.2.2");
    };
    let names = &["the time to live of its SYN ran out", "network namespace"];
    unsaid(around, "blocking 10.8.0.1:80", &Expected { code: "route.ttl-exceeded", names, ..NONE });
}

/// A routing rule or route in the router's namespace, which asks for more than the address.
fn rejected_by_the_router(change: &str, how: &str, errno: Option<&'static str>, names: &[&str]) {
    let lab = Lab::new();
    lab.router.ip(change);
    let trace = Tracer::start(&lab);
    let mut client = lab.start(how);
    let attempt = client.attempt();
    let target = how.split(' ').nth(1);
    trace.explains(&attempt, &Expected { errno, remote: target, names, outcome: "failed", ..REJECTS });
    trace.only(&["route.rejects"]);
}

#[test]
fn a_rule_of_the_router_asks_where_it_comes_in() {
    let rule = "rule add iif rcl to 10.1.2.2 ipproto tcp dport 80 pref 100 prohibit";
    let names = &["prohibit", "the routing rule", "iif rcl"];
    rejected_by_the_router(rule, "blocking 10.1.2.2:80", Some("EHOSTUNREACH"), names);
    let rule = "-6 rule add iif rcl to fd01:2::2 ipproto tcp dport 80 pref 100 prohibit";
    rejected_by_the_router(rule, "blocking [fd01:2::2]:80", Some("EACCES"), names);
}

#[test]
fn a_rule_of_the_router_asks_for_a_port() {
    let names = &["unreachable", "the routing rule", "dport 80-90"];
    let rule = "rule add ipproto tcp dport 80-90 pref 100 unreachable";
    rejected_by_the_router(rule, "blocking 10.1.2.2:80", Some("ENETUNREACH"), names);
    let rule = "-6 rule add ipproto tcp dport 80-90 pref 100 unreachable";
    rejected_by_the_router(rule, "blocking [fd01:2::2]:80", Some("ENETUNREACH"), names);
}

#[test]
fn a_route_of_the_router_prohibits_datagrams() {
    for (route, how, errno) in [
        ("route add prohibit 10.1.2.2", "udp 10.1.2.2:80 --send 5 --receive", None),
        ("-6 route add prohibit fd01:2::2", "udp [fd01:2::2]:80 --send 5 --receive", Some("EACCES")),
    ] {
        rejected_by_the_router(route, how, errno, &["prohibit"]);
    }
}

#[test]
fn a_rule_by_port_is_named() {
    for (rule, target) in [
        ("rule add ipproto tcp dport 80 pref 100 prohibit", "10.1.2.2:80"),
        ("-6 rule add ipproto tcp dport 80 pref 100 prohibit", "[fd01:2::2]:80"),
    ] {
        let names = &["the routing rule", "dport 80"];
        unroutable(rule, target, ("EACCES", libc::EACCES), &Expected { names, certainty: Some("proven"), ..REJECTS });
    }
}

/// Firewall rules of type route give what is sent a mark, and with that mark it is routed anew.
fn marked(family: &str, route: &str) -> Lab {
    let lab = Lab::new();
    lab.client
        .nft("table inet lab { chain out { type route hook output priority mangle; tcp dport 80 meta mark set 7; }; }");
    lab.client.ip(&format!("{family} route add {route} table 77"));
    lab.client.ip(&format!("{family} rule add fwmark 7 table 77"));
    lab
}

/// The route to the address dialled has another next hop.
#[test]
fn a_mark_that_a_firewall_rule_sets_leads_to_a_silent_neighbour() {
    for (family, target, hop) in [("-4", "10.1.2.2:80", "10.1.1.77"), ("-6", "[fd01:2::2]:80", "fd01:1::77")] {
        let lab = marked(family, &format!("default via {hop} dev eth0"));
        lab.client.sysctl("net.ipv4.tcp_syn_retries=2");
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        // Its own ICMP error comes just before the last timer, or just after.
        assert!(matches!(attempt.errno, libc::EHOSTUNREACH | libc::ETIMEDOUT), "{attempt:?}");
        let code = "route.neighbor-silent";
        let names = &["the next hop", hop];
        let expected = Expected { code, errno: None, remote: Some(target), names, ..NONE };
        trace.explains(&attempt, &less_sure_without_reasons(expected));
        trace.only(&[code]);
    }
}

#[test]
fn a_mark_that_a_firewall_rule_sets_leads_nowhere() {
    for (family, target) in [("-4", "10.1.2.2:80"), ("-6", "[fd01:2::2]:80")] {
        let lab = marked(family, "unreachable default");
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        let names = &["unreachable", "0x7"];
        trace.explains(&attempt, &Expected { errno: Some("ETIMEDOUT"), remote: Some(target), names, ..REJECTS });
        trace.only(&["route.rejects"]);
    }
}

/// As VPN clients do: what only the default route is for is sent elsewhere.
#[test]
fn a_rule_passes_over_the_default_route() {
    for (family, target) in [("-4", "10.1.2.2:80"), ("-6", "[fd01:2::2]:80")] {
        let lab = Lab::new();
        lab.client.ip(&format!("{family} rule add pref 10 table main suppress_prefixlength 0"));
        lab.client.ip(&format!("{family} route add unreachable default table 77"));
        lab.client.ip(&format!("{family} rule add pref 20 table 77"));
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        assert_eq!(attempt.errno, libc::EHOSTUNREACH);
        let names = &["unreachable default", "77"];
        trace.explains(&attempt, &Expected { errno: Some("EHOSTUNREACH"), remote: Some(target), names, ..REJECTS });
        trace.only(&["route.rejects"]);
    }
}

#[test]
fn the_router_does_not_forward() {
    let lab = Lab::new();
    lab.router.sysctl("net.ipv4.ip_forward=0");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let code = "route.forwarding-off";
    let names = &["ip_forward"];
    trace.explains(&attempt, &Expected { code, errno: Some("ETIMEDOUT"), remote: Some("10.1.2.2:80"), names, ..NONE });
    trace.only(&[code]);
}

#[test]
fn the_router_sends_it_back() {
    let lab = Lab::new();
    lab.router.sysctl("net.ipv4.conf.all.send_redirects=0, net.ipv4.conf.rcl.send_redirects=0");
    lab.router.ip("route add 10.44.0.0/16 via 10.1.1.2");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.44.0.1:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let (code, names) = ("timeout.dropped", &["it came back to where it was sent from"]);
    let remote = Some("10.44.0.1:80");
    trace.explains(&attempt, &Expected { code, errno: Some("ETIMEDOUT"), remote, names, ..NONE });
    trace.only(&[code]);
}

#[test]
fn the_router_filters_by_reverse_path() {
    let lab = Lab::new();
    lab.client.ip("addr add 10.99.0.1/32 dev eth0");
    lab.router.sysctl("net.ipv4.conf.rcl.rp_filter=1");
    // The router would drop the ARP request from that address, too: let the neighbours know each other first.
    assert_eq!(lab.connect("blocking 10.1.2.2:80").errno, libc::ECONNREFUSED);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80 --bind 10.99.0.1:0");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let code = "route.reverse-path";
    // The function that dropped it does more than one thing: the setting makes the difference.
    let certainty = weaker_without(Feature::DropReasons).then_some("likely");
    let (remote, names) = (Some("10.1.2.2:80"), &["rp_filter"]);
    trace.explains(&attempt, &Expected { code, errno: Some("ETIMEDOUT"), remote, names, certainty, ..NONE });
    trace.only(&[code]);
}

/// Nobody answers for the next hop because this host itself drops the question or the answer: where and by what is told.
fn unasked(prepare: impl FnOnce(&Lab), target: &str, expected: &Expected<'_>) {
    let lab = Lab::new();
    for island in [&lab.client, &lab.router, &lab.server] {
        island.sysctl("net.ipv4.tcp_syn_retries=3");
    }
    prepare(&lab);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("blocking {target}"));
    assert_eq!(attempt.errno, libc::EHOSTUNREACH);
    trace.explains(&attempt, &Expected { errno: Some("EHOSTUNREACH"), remote: Some(target), ..*expected });
    trace.only(&[expected.code]);
}

/// Chains that see what looks for neighbours.
fn discovery_guard(family: &str, hook: &str, device: &str, rule: &str) -> String {
    let device = if device.is_empty() { String::new() } else { format!("device {device}") };
    format!("table {family} lab {{\n chain guard {{\n type filter hook {hook} {device} priority 0;\n {rule}\n}}\n}}")
}

const DROPPED: Expected<'static> = Expected { code: "firewall.dropped", ..NONE };

#[test]
fn the_client_drops_its_arp_requests() {
    let names = &["ARP request for 10.1.1.1", "this network namespace", "output hook", "arp operation request"];
    unasked(
        |lab| lab.client.nft(&discovery_guard("arp", "output", "", "arp operation request drop")),
        "10.1.2.2:80",
        &Expected { names, ..DROPPED },
    );
}

#[test]
fn the_client_drops_the_arp_replies() {
    let names = &["ARP reply of 10.1.1.1", "this network namespace", "input hook"];
    unasked(
        |lab| lab.client.nft(&discovery_guard("arp", "input", "", "arp operation reply drop")),
        "10.1.2.2:80",
        &Expected { names, ..DROPPED },
    );
}

#[test]
fn the_gateway_drops_arp_requests() {
    unasked(
        |lab| lab.router.nft(&discovery_guard("arp", "input", "", "arp daddr ip 10.1.1.1 drop")),
        "10.1.2.2:80",
        &Expected { names: &["ARP request for 10.1.1.1", "input hook"], ..DROPPED },
    );
}

#[test]
fn the_server_drops_arp_requests_where_they_come_in() {
    unasked(
        |lab| lab.server.nft(&discovery_guard("netdev", "ingress", "eth0", "meta protocol arp drop")),
        "10.1.2.2:80",
        &Expected { names: &["ARP request for 10.1.2.2", "ingress hook"], ..DROPPED },
    );
}

#[test]
fn the_server_drops_neighbour_solicitations() {
    unasked(
        |lab| lab.server.guard("input", "icmpv6 type nd-neighbor-solicit drop"),
        "[fd01:2::2]:80",
        &Expected { names: &["neighbour solicitation for fd01:2::2", "input hook"], ..DROPPED },
    );
}

#[test]
fn the_server_drops_its_neighbour_advertisements() {
    unasked(
        |lab| lab.server.guard("output", "icmpv6 type nd-neighbor-advert drop"),
        "[fd01:2::2]:80",
        &Expected { names: &["neighbour advertisement of fd01:2::2", "output hook"], ..DROPPED },
    );
}

#[test]
fn a_queue_drops_arp_requests() {
    unasked(
        |lab| lab.client.tc("qdisc add dev eth0 root bfifo limit 1"),
        "10.1.2.2:80",
        &other_without_reasons(
            "route.neighbor-silent",
            "likely",
            Expected { code: "local.queue-drop", names: &["ARP request for 10.1.1.1", "eth0"], ..NONE },
        ),
    );
}

/// Client and server are at a bridge of the router's namespace. `server`: its address there, another one in each scenario, for
/// the only one that has an address on this host is taken for who is meant.
fn bridge(lab: &Lab, server: &str) {
    lab.router.link("by", &lab.server, "port", ["", &format!("{server}/24")]);
    let ports = "link set rcl master br0\nlink set by master br0\nlink set br0 up";
    std::iter::once("link add br0 type bridge").chain(ports.lines()).for_each(|line| lab.router.ip(line));
}

/// The client asks through a bridge of the router's namespace.
#[test]
fn a_bridge_drops_arp_requests() {
    let bridged = |lab: &Lab| {
        bridge(lab, "10.1.1.53");
        lab.router.nft(&discovery_guard("bridge", "forward", "", "arp daddr ip 10.1.1.53 drop"));
    };
    let names = &["ARP request for 10.1.1.53", "forward hook", "arp daddr ip 10.1.1.53"];
    let expected = Expected { names, ..DROPPED };
    unasked(bridged, "10.1.1.53:80", &other_without_reasons("route.neighbor-silent", "likely", expected));
}

#[test]
fn the_routers_interface_is_down() {
    unasked(
        |lab| lab.server.ip("link set eth0 down"),
        "10.1.2.2:80",
        &other_without_reasons(
            "route.neighbor-silent",
            "likely",
            Expected { code: "route.interface-down", names: &["rsv", "no carrier"], ..NONE },
        ),
    );
}

#[test]
fn the_containers_bridge_is_down() {
    unasked(
        |lab| {
            bridge(lab, "10.1.1.54");
            lab.router.ip("link set br0 down");
        },
        "10.1.1.54:80",
        &Expected { code: "route.interface-down", names: &["bridge br0", "eth0", "is down"], ..NONE },
    );
}

#[test]
fn the_other_containers_cable_is_pulled() {
    let names = &["port of network namespace", "has that address, and has no carrier"];
    let expected = Expected { code: "route.neighbor-silent", names, ..NONE };
    unasked(
        |lab| {
            bridge(lab, "10.1.1.55");
            lab.router.ip("link set by down");
        },
        "10.1.1.55:80",
        &less_sure_without_reasons(expected),
    );
}

/// As a container's own address that is published for it, but without translation: its link address is behind the port by which
/// its packets come.
#[test]
fn a_bridge_does_not_send_it_back() {
    let lab = Lab::new();
    bridge(&lab, "10.1.1.56");
    lab.client.ip("link set eth0 address 02:00:00:00:00:56");
    lab.client.ip("neigh replace 10.1.1.56 lladdr 02:00:00:00:00:56 dev eth0");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.1.56:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let (code, names) = ("timeout.dropped", &["may not hand it on"]);
    trace.explains(&attempt, &Expected { code, errno: Some("ETIMEDOUT"), names, ..NONE });
    trace.only(&[code]);
}

#[test]
fn the_cable_is_pulled() {
    let expected = Expected { code: "route.interface-down", names: &["eth0", "no carrier"], ..NONE };
    unasked(|lab| lab.router.ip("link set rcl down"), "10.1.1.77:80", &less_sure_without_reasons(expected));
}
