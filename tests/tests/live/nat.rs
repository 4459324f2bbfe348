//! Addresses and ports are translated on the way: the one that was dialled is not the one that is reached.

use crate::needs::other_without_reasons;
use netdx_tests::bpf::Cgroup;
use netdx_tests::island::run;
use netdx_tests::lab::{Client, Lab};
use netdx_tests::remote::{self, Answer};
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer};
use serde_json::Value;
use std::net::SocketAddr;

const REFUSED: Expected<'static> = Expected {
    code: "refused.no-listener",
    outcome: "failed",
    errno: Some("ECONNREFUSED"),
    remote: None,
    names: &[],
    certainty: None,
};

/// A table that translates at a hook.
fn translation(hook: &str, rule: &str) -> String {
    let priority = if hook == "postrouting" { "srcnat" } else { "-100" };
    format!("table inet nat_{hook} {{\n chain at {{\n type nat hook {hook} priority {priority};\n {rule}\n}}\n}}")
}

/// netdx is asked for the port that is dialled; what happens to packets that have another one by then is told all the same.
fn trace_port_of(lab: &Lab, dialled: &str) -> Tracer {
    let dialled: SocketAddr = dialled.parse().expect("an endpoint");
    Tracer::with(lab, &["--no-dns", "--port", &dialled.port().to_string()])
}

/// The client dials one address and reaches another; the report has both.
fn translated(lab: &Lab, dialled: &str, reached: &str, expected: &Expected<'_>) {
    let trace = trace_port_of(lab, dialled);
    let attempt = lab.connect(&format!("blocking {dialled}"));
    let report = trace.explains(&attempt, &Expected { remote: Some(dialled), names: &[dialled, reached], ..*expected });
    let reached: SocketAddr = reached.parse().expect("an endpoint");
    assert_eq!(report["reached"]["addr"], reached.ip().to_string(), "{report:#}");
    assert_eq!(report["reached"]["port"], reached.port(), "{report:#}");
    trace.only(&[expected.code]);
}

#[test]
fn the_client_translates_and_nobody_listens() {
    let lab = Lab::new();
    lab.client.nft(&translation("output", "ip daddr 10.9.9.9 tcp dport 80 dnat ip to 10.1.2.2:81"));
    translated(&lab, "10.9.9.9:80", "10.1.2.2:81", &REFUSED);
}

#[test]
fn a_port_is_forwarded_to_nobody() {
    let lab = Lab::new();
    lab.router.nft(&translation("prerouting", "tcp dport 8080 dnat ip to 10.1.2.2:81"));
    lab.router.nft(&translation("postrouting", "masquerade"));
    translated(&lab, "10.1.1.1:8080", "10.1.2.2:81", &REFUSED);
}

/// Client and server are on one network with the router, which translates the destination only.
#[test]
fn the_answer_does_not_come_back_through_the_translation() {
    let lab = Lab::new();
    lab.bridged();
    lab.router.sysctl("net.ipv4.conf.all.send_redirects=0, net.ipv4.conf.br0.send_redirects=0");
    // Where a bridge's packets are translated, too, the answer is.
    run(lab
        .router
        .command("sh")
        .args(["-c", "f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 0 > $f"]));
    lab.router.nft(&translation("prerouting", "ip daddr 10.1.1.1 tcp dport 8080 dnat ip to 10.1.1.3:80"));
    let _listener = listen(&lab.server, "10.1.1.3:80");
    let trace = Tracer::start(&lab);
    let target = "10.1.1.1:8080";
    let attempt = lab.connect(&format!("blocking {target}"));
    let code = "timeout.dropped";
    let names = &[target, "the answer came from 10.1.1.3:80"];
    let report =
        trace.explains(&attempt, &Expected { code, errno: Some("ETIMEDOUT"), remote: Some(target), names, ..REFUSED });
    let all = report["verdict"]["evidence"].as_array().into_iter().flatten();
    let texts: Vec<&str> = all.filter(|e| e["what"] == "nat").filter_map(|e| e["text"].as_str()).collect();
    let of_answer = |text: &&str| text.contains("was seen in this network namespace from 10.1.1.3:80");
    assert!(texts.iter().filter(|text| text.contains("this network namespace")).all(of_answer), "{report:#}");
    trace.only(&[code]);
}

/// Two connections have the two ports that the router may give.
#[test]
fn no_port_is_left_to_translate_to() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    lab.router.nft(&translation("postrouting", "oifname \"rsv\" ip protocol tcp snat ip to 10.1.2.1:4000-4001"));
    let mut filler = lab.start("blocking 10.1.2.2:80 --times 2 --hold 60000");
    for _ in 0..2 {
        assert_eq!(filler.attempt().errno, 0);
    }
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    let code = "timeout.conntrack";
    let names = &["network address translation gave it the endpoints of another connection, 10.1.2.1:400"];
    let errno = Some("ETIMEDOUT");
    trace.explains(&attempt, &Expected { code, errno, remote: Some("10.1.2.2:80"), names, ..REFUSED });
    trace.only(&[code]);
}

/// Translated, it goes where it may not go with its addresses.
fn may_not(lab: &Lab, target: &str, expected: &Expected<'_>) {
    let trace = Tracer::start(lab);
    let attempt = lab.connect(&format!("blocking {target}"));
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    trace.explains(&attempt, &Expected { errno: Some("ETIMEDOUT"), remote: Some(target), ..*expected });
    trace.only(&[expected.code]);
}

const MARTIAN: Expected<'static> = Expected { code: "route.reverse-path", ..REFUSED };

/// What the router says of that comes with the address that was dialled.
#[test]
fn a_port_is_forwarded_where_no_route_leads() {
    let lab = Lab::new();
    lab.router.nft(&translation("prerouting", "tcp dport 8080 dnat ip to 10.44.0.1:81"));
    let trace = Tracer::start(&lab);
    let target = "10.1.2.2:8080";
    let attempt = lab.connect(&format!("blocking {target}"));
    assert_eq!(attempt.errno, libc::ENETUNREACH);
    let names = &["translated to 10.44.0.1:81", lab.router.name(), "no IPv4 route to 10.44.0.1"];
    let expected = Expected { code: "route.none", errno: Some("ENETUNREACH"), remote: Some(target), names, ..REFUSED };
    trace.explains(&attempt, &expected);
    trace.only(&[expected.code]);
}

#[test]
fn a_port_is_forwarded_to_a_loopback_address() {
    let lab = Lab::new();
    lab.router.nft(&translation("prerouting", "tcp dport 8080 dnat ip to 127.0.0.1:81"));
    let names = &["the SYN to 127.0.0.1", "loopback addresses are not reached from outside"];
    let expected = Expected { names, ..MARTIAN };
    may_not(&lab, "10.1.1.1:8080", &other_without_reasons("timeout.dropped", "proven", expected));
}

#[test]
fn a_loopback_port_is_forwarded_to_another_host() {
    let lab = Lab::new();
    lab.client.nft(&translation("output", "tcp dport 8080 dnat ip to 10.1.2.2:81"));
    let names = &["may not leave with its loopback source 127.0.0.1"];
    may_not(&lab, "127.0.0.1:8080", &Expected { names, ..MARTIAN });
}

#[test]
fn an_ipv6_port_is_forwarded_to_nobody() {
    let lab = Lab::new();
    lab.router.nft(&translation("prerouting", "tcp dport 8080 dnat ip6 to [fd01:2::2]:81"));
    translated(&lab, "[fd01:1::1]:8080", "[fd01:2::2]:81", &REFUSED);
}

#[test]
fn a_port_is_forwarded_past_the_listener() {
    let lab = Lab::new();
    // A port of its own: other labs are other namespaces, but a listener in one is seen from all.
    let _listener = listen(&lab.server, "127.0.0.1:8475");
    lab.router.nft(&translation("prerouting", "tcp dport 8080 dnat ip to 10.1.2.2:8475"));
    translated(&lab, "10.1.1.1:8080", "10.1.2.2:8475", &Expected { code: "refused.bound-elsewhere", ..REFUSED });
}

/// A port that a rule in the router's namespace forwards to a host that cannot be seen into, which answers with a reset.
/// Connection tracking forgets a connection at once when a reset answers its SYN (nf_conntrack_tcp_packet): the rules tell.
fn forwarded_out(prepare: impl Fn(&Lab), code: &str, certainty: &'static str, names: &[&str]) {
    forwarded_from("10.1.1.1:8080", prepare, code, certainty, names);
}

fn forwarded_from(dialled: &str, prepare: impl Fn(&Lab), code: &str, certainty: &'static str, names: &[&str]) {
    // Now and then netdx finds what tracking is about to forget, which proves it: another time, then.
    const TRIES: usize = 3;
    for left in (0..TRIES).rev() {
        let lab = Lab::new();
        remote::attach(&lab.router, Answer::Reset);
        prepare(&lab);
        let trace = trace_port_of(&lab, dialled);
        let attempt = lab.connect(&format!("blocking {dialled}"));
        let is_tracked = trace.report_of(&attempt)["verdict"]["certainty"] == "proven";
        if is_tracked && certainty != "proven" && left > 0 {
            continue;
        }
        trace.explains(&attempt, &Expected { code, names, certainty: Some(certainty), ..REFUSED });
        trace.only(&[code]);
        return;
    }
}

#[test]
fn a_port_is_forwarded_to_a_host_that_cannot_be_seen_into() {
    let rule = "tcp dport 8080 dnat ip to 10.7.0.1:81";
    forwarded_out(
        |lab| lab.router.nft(&translation("prerouting", rule)),
        "refused.remote",
        "likely",
        &["10.1.1.1:8080 is forwarded to 10.7.0.1:81", rule, "10.7.0.1 answered with a reset"],
    );
}

/// The address that is dialled is nobody's: rules of the router, or of the client, send it elsewhere.
#[test]
fn an_address_of_nobody_is_forwarded() {
    let rule = "ip daddr 10.9.9.9 tcp dport 8080 dnat ip to 10.7.0.1:81";
    for at_client in [false, true] {
        let prepare = |lab: &Lab| match at_client {
            true => lab.client.nft(&translation("output", rule)),
            false => lab.router.nft(&translation("prerouting", rule)),
        };
        let names = &["10.9.9.9:8080 is forwarded to 10.7.0.1:81", rule, "10.7.0.1 answered with a reset"];
        forwarded_from("10.9.9.9:8080", prepare, "refused.remote", "likely", names);
    }
}

/// Which of the hosts answered can't be told; that none of this host's did can.
#[test]
fn an_address_of_nobody_is_forwarded_by_one_of_two_rules() {
    let rules =
        "meta random < 2147483648 tcp dport 8080 dnat ip to 10.7.0.1:81\n tcp dport 8080 dnat ip to 10.7.0.2:82";
    let prepare = |lab: &Lab| lab.router.nft(&translation("prerouting", rules));
    let names = &["10.9.9.9, or 10.7.0.1:81 or 10.7.0.2:82 to which rules of this host may forward it, answered"];
    forwarded_from("10.9.9.9:8080", prepare, "refused.remote", "likely", names);
}

#[test]
fn a_port_is_forwarded_by_a_map() {
    let rule = "dnat ip to tcp dport map { 8080 : 10.7.0.1 . 81, 8081 : 10.7.0.2 . 82 }";
    forwarded_out(
        |lab| lab.router.nft(&translation("prerouting", rule)),
        "refused.remote",
        "likely",
        &["10.1.1.1:8080 is forwarded to 10.7.0.1:81", "10.7.0.1 answered with a reset"],
    );
}

#[test]
fn a_port_is_forwarded_as_container_networks_do() {
    forwarded_out(
        |lab| {
            for rule in [
                "-N DOCKER",
                "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
                "-A DOCKER -p tcp -m tcp --dport 8081 -j DNAT --to-destination 10.7.0.2:81",
                "-A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.7.0.1:81",
            ] {
                run(lab.router.command("iptables").args(["-t", "nat"]).args(rule.split_whitespace()));
            }
        },
        "refused.remote",
        "likely",
        &[
            "10.1.1.1:8080 is forwarded to 10.7.0.1:81",
            "--to-destination 10.7.0.1:81",
            "10.7.0.1 answered with a reset",
        ],
    );
}

#[test]
fn a_port_is_forwarded_by_one_of_two_rules() {
    let rules =
        "meta random < 2147483648 tcp dport 8080 dnat ip to 10.7.0.1:81\n tcp dport 8080 dnat ip to 10.7.0.2:82";
    forwarded_out(
        |lab| lab.router.nft(&translation("prerouting", rules)),
        "unexplained",
        "possible",
        &["10.1.1.1 is an address of this host", "10.7.0.1:81", "10.7.0.2:82"],
    );
}

#[test]
fn a_port_is_forwarded_to_a_silent_host() {
    let lab = Lab::new();
    remote::attach(&lab.router, Answer::Silence);
    lab.router.nft(&translation("prerouting", "tcp dport 8080 dnat ip to 10.7.0.1:81"));
    // No packet was seen with its new address: connection tracking tells.
    let certainty = Some("likely");
    let silent = Expected { code: "timeout.silent", errno: Some("ETIMEDOUT"), certainty, ..REFUSED };
    translated(&lab, "10.1.1.1:8080", "10.7.0.1:81", &silent);
}

#[test]
fn what_was_translated_is_rejected() {
    let lab = Lab::new();
    lab.router.nft(&translation("prerouting", "tcp dport 8080 dnat ip to 10.1.2.2:81"));
    lab.server.guard("input", "tcp dport 81 reject with tcp reset");
    translated(&lab, "10.1.1.1:8080", "10.1.2.2:81", &Expected { code: "firewall.rejected", ..REFUSED });
}

#[test]
fn what_was_translated_is_dropped() {
    let lab = Lab::new();
    lab.router.nft(&translation("prerouting", "tcp dport 8080 dnat ip to 10.1.2.2:81"));
    lab.server.guard("input", "tcp dport 81 drop");
    let dropped = Expected { code: "firewall.dropped", errno: Some("ETIMEDOUT"), ..REFUSED };
    translated(&lab, "10.1.1.1:8080", "10.1.2.2:81", &dropped);
}

#[test]
fn what_was_translated_is_dropped_where_it_was() {
    let lab = Lab::new();
    lab.router.nft(&translation("prerouting", "tcp dport 8080 dnat ip to 10.1.2.2:81"));
    lab.router.guard("forward", "tcp dport 81 drop");
    let dropped = Expected { code: "firewall.dropped", errno: Some("ETIMEDOUT"), ..REFUSED };
    translated(&lab, "10.1.1.1:8080", "10.1.2.2:81", &dropped);
}

/// A BPF program sends the call elsewhere, before there is a packet.
#[test]
fn a_control_group_sends_it_elsewhere() {
    for how in ["blocking", "poll"] {
        for dropped in [false, true] {
            let lab = Lab::new();
            let group = Cgroup::new("balanced");
            let (dialled, reached) = ("10.96.0.1:8080", "10.1.2.2:81");
            let _program = group.redirect("lab_balances", [10, 96, 0, 1].into(), reached.parse().expect("an endpoint"));
            if dropped {
                lab.router.guard("forward", "tcp dport 81 drop");
            }
            let (code, errno) =
                if dropped { ("firewall.dropped", "ETIMEDOUT") } else { ("refused.no-listener", "ECONNREFUSED") };
            let trace = trace_port_of(&lab, dialled);
            let mut command = lab.command(&format!("{how} {dialled} --give-up 9000"));
            group.holds(&mut command);
            let attempt = Client::spawn(command).attempt();
            let names = &[dialled, reached];
            let expected = Expected { code, errno: Some(errno), remote: Some(dialled), names, ..REFUSED };
            let report = trace.explains(&attempt, &expected);
            assert_eq!(report["reached"], serde_json::json!({"addr": "10.1.2.2", "port": 81}), "{report:#}");
            trace.only(&[code]);
        }
    }
}

/// A datagram that reaches another endpoint than the one it was sent to: one report, with both.
fn datagram_translated(how: &str, dialled: &str, reached: &str, expected: &Expected<'_>) {
    let lab = Lab::new();
    let family = if dialled.starts_with('[') { "ip6" } else { "ip" };
    lab.router.nft(&translation("prerouting", &format!("udp dport 8080 dnat {family} to {reached}")));
    if expected.code == "firewall.dropped" {
        lab.server.guard("input", "udp dport 81 drop");
    }
    let trace = trace_port_of(&lab, dialled);
    // Its socket is there while netdx asks whose it is, or it asks for the error.
    let told = if expected.errno.is_some() { "--receive" } else { "--hold 60000" };
    let mut client = lab.start(&format!("{how} {dialled} --send 5 {told}"));
    let attempt = client.attempt();
    let names = &[dialled, reached];
    let report = trace.explains(&attempt, &Expected { remote: Some(dialled), names, ..*expected });
    let reached: SocketAddr = reached.parse().expect("an endpoint");
    assert_eq!(report["reached"]["addr"], reached.ip().to_string(), "{report:#}");
    assert_eq!(report["reached"]["port"], reached.port(), "{report:#}");
    let (reports, _) = trace.end();
    // Datagrams of another lab, with the same addresses, are taken for this one's when their namespaces are gone.
    let own = |r: &&Value| !r["verdict"].is_null() && r["local"]["port"] == report["local"]["port"];
    assert_eq!(reports.iter().filter(own).count(), 1, "{reports:#?}");
}

#[test]
fn a_datagram_is_forwarded_to_nobody() {
    datagram_translated("udp", "10.1.1.1:8080", "10.1.2.2:81", &REFUSED);
    datagram_translated("udp", "[fd01:1::1]:8080", "[fd01:2::2]:81", &REFUSED);
}

#[test]
fn a_datagram_of_an_unconnected_socket_is_forwarded_to_nobody() {
    datagram_translated("udp-unconnected", "10.1.1.1:8080", "10.1.2.2:81", &Expected { errno: None, ..REFUSED });
}

#[test]
fn a_forwarded_datagram_is_dropped() {
    let dropped = Expected { code: "firewall.dropped", errno: None, ..REFUSED };
    datagram_translated("udp", "10.1.1.1:8080", "10.1.2.2:81", &dropped);
}
