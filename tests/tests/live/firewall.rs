//! A filter rule did it.

use crate::needs::{Feature, skipped_without, weaker_because};
use netdx_tests::island::{Island, output};
use netdx_tests::lab::Lab;
use netdx_tests::remote::{self, Answer};
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer};
use serde_json::Value;
use std::time::Duration;

pub(super) const DROPPED: Expected<'static> = Expected {
    code: "firewall.dropped",
    outcome: "failed",
    errno: Some("ETIMEDOUT"),
    remote: Some("10.1.2.2:80"),
    names: &[],
    certainty: None,
};
const REJECTED: Expected<'static> = Expected { code: "firewall.rejected", ..DROPPED };

/// One rule at one hook of one namespace; the report names both.
fn filtered(at: fn(&Lab) -> &Island, hook: &str, rule: &str, target: &str, expected: &Expected<'_>) {
    let lab = Lab::new();
    at(&lab).guard(hook, rule);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("blocking {target}"));
    let names = &[hook, "guard", "tcp dport 80"];
    trace.explains(&attempt, &Expected { remote: Some(target), names, ..*expected });
    trace.only(&[expected.code]);
}

/// As daemons do that open a socket as root.
#[test]
fn a_rule_by_user_asks_for_who_made_the_socket() {
    let lab = Lab::new();
    lab.client.guard("output", "meta skuid 1234 tcp dport 80 drop\n meta skuid 0 tcp dport 80 drop");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80 --become 1234");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    trace.explains(&attempt, &Expected { names: &["meta skuid 0 tcp dport 80 drop"], ..DROPPED });
    trace.only(&["firewall.dropped"]);
}

#[test]
fn the_server_drops_what_comes_in() {
    filtered(|lab| &lab.server, "input", "tcp dport 80 drop", "10.1.2.2:80", &DROPPED);
}

#[test]
fn the_router_drops() {
    filtered(|lab| &lab.router, "forward", "tcp dport 80 drop", "10.1.2.2:80", &DROPPED);
}

#[test]
fn the_router_drops_ipv6() {
    filtered(|lab| &lab.router, "forward", "tcp dport 80 drop", "[fd01:2::2]:80", &DROPPED);
}

#[test]
fn the_client_drops_what_goes_out() {
    filtered(|lab| &lab.client, "output", "tcp dport 80 drop", "10.1.2.2:80", &DROPPED);
}

/// The router's namespace has a bridge between the client and the server, and rules for what passes through it.
fn bridged(hook: &str, rule: &str, expected: &Expected<'_>) {
    for (addresses, target) in
        [(["10.8.0.2/24", "10.8.0.3/24"], "10.8.0.3:80"), (["fd08::2/64", "fd08::3/64"], "[fd08::3]:80")]
    {
        let lab = Lab::new();
        lab.router.ip("link add br0 type bridge");
        for (port, island, address) in [("bx", &lab.client, addresses[0]), ("by", &lab.server, addresses[1])] {
            lab.router.link(port, island, "port", ["", address]);
            lab.router.ip(&format!("link set {port} master br0"));
        }
        lab.router.ip("link set br0 up");
        let chain = format!("chain guard {{\n type filter hook {hook} priority 0;\n {rule}\n}}");
        lab.router.nft(&format!("table bridge lab {{\n{chain}\n}}"));
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        let at = format!("{hook} hook");
        let names = &[rule, "bridge lab guard", at.as_str()];
        let its = |r: &Value| r["process"]["pid"] == attempt.pid && !r["verdict"].is_null();
        let report = trace.wait_for(Duration::from_secs(10), its);
        if report["verdict"]["because"].as_str().is_some_and(|because| because.contains("(in br_handle_frame, ")) {
            weaker_because(
                "what a rule for the first hook of a bridge forbids is dropped as anything that a bridge drops",
            );
            let names = &["the kernel dropped its SYN", "(bx)"];
            let dropped = Expected { code: "timeout.dropped", remote: Some(target), names, ..*expected };
            trace.explains(&attempt, &dropped);
            trace.only(&[dropped.code]);
            continue;
        }
        trace.explains(&attempt, &Expected { remote: Some(target), names, ..*expected });
        trace.only(&[expected.code]);
    }
}

#[test]
fn a_bridge_drops_what_comes_in() {
    bridged("prerouting", "iifname \"bx\" tcp dport 80 drop", &DROPPED);
}

#[test]
fn a_bridge_drops_what_it_forwards() {
    bridged("forward", "tcp dport 80 drop", &DROPPED);
}

#[test]
fn a_bridge_drops_what_leaves_it() {
    bridged("postrouting", "tcp sport 80 drop", &DROPPED);
}

#[test]
fn a_load_balancer_has_no_server() {
    let lab = Lab::new();
    lab.client.ip("addr add 10.96.0.1/32 dev lo");
    let balance = |arguments: &str| output(lab.client.command("ipvsadm").args(arguments.split_whitespace())).status;
    if !balance("-A -t 10.96.0.1:80 -s rr").success() {
        return weaker_because("the kernel has no load balancer (IPVS)");
    }
    let trace = Tracer::start(&lab);
    let expected = Expected { errno: Some("ECONNREFUSED"), remote: Some("10.96.0.1:80"), ..REJECTED };
    let attempt = lab.connect("blocking 10.96.0.1:80");
    trace.explains(&attempt, &Expected { names: &["10.96.0.1:80", "(IPVS) has no real server"], ..expected });
    assert!(balance("-a -t 10.96.0.1:80 -r 10.1.2.2:80 -m -w 0").success());
    let attempt = lab.connect("blocking 10.96.0.1:80");
    trace.explains(&attempt, &Expected { names: &["(IPVS) has 1 real server, all of weight 0"], ..expected });
    trace.only(&[expected.code]);
}

/// The connection was up before, so its data is no ACK that the proxy's own answer brought.
#[test]
fn a_syn_proxy_does_not_know_the_connection() {
    // Drops after the handshake are seen where they have reasons.
    if skipped_without(Feature::DropReasons) {
        return;
    }
    let lab = Lab::new();
    let listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let mut client = lab.start("blocking 10.1.2.2:80 --pause 3000 --send 10 --user-timeout 700 --receive");
    let _stream = listener.accept().expect("accept");
    let rules = "tcp dport 80 synproxy mss 1460 wscale 7 timestamp sack-perm\n tcp dport 80 drop";
    let table = format!("table inet lab {{\nchain guard {{\n type filter hook forward priority 0;\n {rules}\n}}\n}}");
    if !output(lab.router.command("nft").arg(table)).status.success() {
        return weaker_because("the kernel has no SYN proxy (`nft_synproxy`)");
    }
    let attempt = client.attempt();
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names =
        &["the rule `tcp dport 80 synproxy mss 1460 wscale 7 timestamp sack-perm` (inet lab guard, handle 2) dropped"];
    trace.explains(&attempt, &Expected { outcome: "broken", names, ..DROPPED });
    trace.only(&[DROPPED.code]);
}

/// A rule of the router drops the first SYN only, and another host answers the second one.
fn answered_after_a_drop(answer: Answer, expected: &Expected<'_>) {
    let lab = Lab::new();
    remote::attach(&lab.router, answer);
    let others = "tcp dport 80 ip daddr 10.7.0.2 reject with tcp reset";
    lab.router.guard("forward", &format!("tcp dport 80 limit rate 1/hour burst 1 packets drop\n {others}"));
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.7.0.1:80");
    trace.explains(&attempt, &Expected { remote: Some("10.7.0.1:80"), ..*expected });
    trace.only(&[expected.code]);
}

#[test]
fn a_reset_does_not_answer_what_was_dropped_before() {
    let expected = Expected { code: "refused.remote", errno: Some("ECONNREFUSED"), names: &["10.7.0.1"], ..DROPPED };
    answered_after_a_drop(Answer::Reset, &expected);
}

#[test]
fn nor_does_another_filter() {
    let by = "10.7.9.9".parse().expect("an address");
    let expected = Expected { errno: Some("EHOSTUNREACH"), names: &["a filter of 10.7.9.9"], ..REJECTED };
    answered_after_a_drop(Answer::Unreachable(13, by), &expected);
}

#[test]
fn nor_does_a_router() {
    let by = "10.7.9.9".parse().expect("an address");
    let code = "route.icmp-unreachable";
    let expected = Expected { code, errno: Some("EHOSTUNREACH"), names: &["10.7.9.9"], ..DROPPED };
    answered_after_a_drop(Answer::Unreachable(1, by), &expected);
}

/// Each is one report, as TCP.
fn filtered_alike(how: &str) {
    for (rule, expected) in [
        ("tcp dport 80 drop", DROPPED),
        ("tcp dport 80 reject with tcp reset", Expected { errno: Some("ECONNREFUSED"), ..REJECTED }),
    ] {
        let lab = Lab::new();
        lab.router.guard("forward", rule);
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("{how} 10.1.2.2:80"));
        let report = trace.explains(&attempt, &Expected { names: &["forward", rule], ..expected });
        assert_eq!(report["protocol"], "tcp", "{report:#}");
        let (reports, _) = trace.end();
        assert_eq!(reports.len(), 1, "{reports:#?}");
    }
}

#[test]
fn multipath_is_filtered_alike() {
    if !skipped_without(Feature::Mptcp) {
        filtered_alike("mptcp");
    }
}

#[test]
fn fast_open_is_filtered_alike() {
    filtered_alike("fast-open");
}

#[test]
fn the_client_drops_the_answer() {
    let lab = Lab::new();
    let _listener = netdx_tests::servers::listen(&lab.server, "10.1.2.2:80");
    lab.client.guard("input", "tcp sport 80 drop");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    trace.explains(&attempt, &Expected { names: &["input"], ..DROPPED });
    trace.only(&["firewall.dropped"]);
}

#[test]
fn the_server_rejects_with_a_reset() {
    let expected = Expected { errno: Some("ECONNREFUSED"), ..REJECTED };
    filtered(|lab| &lab.server, "input", "tcp dport 80 reject with tcp reset", "10.1.2.2:80", &expected);
}

#[test]
fn the_router_rejects_with_icmp() {
    let expected = Expected { errno: Some("EHOSTUNREACH"), ..REJECTED };
    filtered(|lab| &lab.router, "forward", "tcp dport 80 reject with icmpx admin-prohibited", "10.1.2.2:80", &expected);
}

#[test]
fn the_client_rejects_what_goes_out() {
    let expected = Expected { errno: Some("ECONNREFUSED"), ..REJECTED };
    filtered(|lab| &lab.client, "output", "tcp dport 80 reject with icmpx port-unreachable", "10.1.2.2:80", &expected);
}

/// Where in the lab.
#[derive(Clone, Copy, Debug)]
enum Place {
    Client,
    Router,
    Server,
}
use Place::{Client as Near, Router as Between, Server as Far};

impl Place {
    fn island(self, lab: &Lab) -> &Island {
        match self {
            Near => &lab.client,
            Between => &lab.router,
            Far => &lab.server,
        }
    }
}

/// One rule for one port: where it is, and what it does.
#[derive(Clone, Copy, Debug)]
struct Case {
    at: Place,
    hook: &'static str,
    /// Interface of a netdev chain.
    device: Option<&'static str>,
    /// It filters the server's answer, not the client's packet.
    answer: bool,
    /// What comes after the match.
    verdict: &'static str,
    /// What the application gets over IPv4 and IPv6.
    errno: [&'static str; 2],
}

const fn drop_at(at: Place, hook: &'static str) -> Case {
    Case { at, hook, device: None, answer: false, verdict: "drop", errno: ["ETIMEDOUT"; 2] }
}

const fn drop_on(at: Place, hook: &'static str, device: &'static str) -> Case {
    Case { device: Some(device), ..drop_at(at, hook) }
}

const fn drop_answer_at(at: Place, hook: &'static str) -> Case {
    Case { answer: true, ..drop_at(at, hook) }
}

const fn drop_answer_on(at: Place, hook: &'static str, device: &'static str) -> Case {
    Case { answer: true, ..drop_on(at, hook, device) }
}

const fn reject_at(at: Place, hook: &'static str, verdict: &'static str, errno: [&'static str; 2]) -> Case {
    Case { verdict, errno, ..drop_at(at, hook) }
}

const RESET: &str = "reject with tcp reset";
const PORT: &str = "reject with icmpx port-unreachable";
const HOST: &str = "reject with icmpx host-unreachable";
const ADMIN: &str = "reject with icmpx admin-prohibited";

/// Every hook of netfilter that a connection's packets pass, in each namespace on the way, but the last.
const CASES: [Case; 26] = [
    drop_at(Near, "output"),
    drop_at(Near, "postrouting"),
    drop_at(Between, "prerouting"),
    drop_at(Between, "forward"),
    drop_at(Between, "postrouting"),
    drop_on(Between, "ingress", "rcl"),
    drop_at(Far, "prerouting"),
    drop_at(Far, "input"),
    drop_on(Far, "ingress", "eth0"),
    drop_answer_at(Far, "output"),
    drop_answer_at(Far, "postrouting"),
    drop_answer_at(Between, "prerouting"),
    drop_answer_at(Between, "forward"),
    drop_answer_at(Between, "postrouting"),
    drop_answer_on(Between, "ingress", "rsv"),
    drop_answer_at(Near, "prerouting"),
    drop_answer_at(Near, "input"),
    drop_answer_on(Near, "ingress", "eth0"),
    reject_at(Near, "output", RESET, ["ECONNREFUSED"; 2]),
    reject_at(Near, "output", PORT, ["ECONNREFUSED"; 2]),
    reject_at(Between, "forward", RESET, ["ECONNREFUSED"; 2]),
    reject_at(Between, "forward", HOST, ["EHOSTUNREACH"; 2]),
    reject_at(Between, "forward", ADMIN, ["EHOSTUNREACH", "EACCES"]),
    reject_at(Far, "input", RESET, ["ECONNREFUSED"; 2]),
    reject_at(Far, "input", PORT, ["ECONNREFUSED"; 2]),
    reject_at(Far, "input", ADMIN, ["EHOSTUNREACH", "EACCES"]),
];

/// The last hook before an interface, which came later than the others.
const EGRESS: [Case; 3] =
    [drop_on(Near, "egress", "eth0"), drop_on(Between, "egress", "rsv"), drop_answer_on(Far, "egress", "eth0")];

/// All at once: each case has a port of its own, over both families.
fn at_every_place(cases: &[Case], rule: impl Fn(&Lab, &Case, u16), text: impl Fn(&Case, u16) -> String) {
    let lab = Lab::new();
    let ports = 8000..;
    let _listeners: Vec<_> = ports
        .clone()
        .zip(cases)
        .map(|(port, case)| {
            rule(&lab, case, port);
            netdx_tests::servers::listen(&lab.server, &format!("[::]:{port}"))
        })
        .collect();
    let trace = Tracer::start(&lab);
    let mut clients = Vec::new();
    for (port, case) in ports.zip(cases) {
        for (family, address) in ["10.1.2.2", "[fd01:2::2]"].into_iter().enumerate() {
            let target = format!("{address}:{port}");
            clients.push((lab.start(&format!("blocking {target}")), target, port, case, case.errno[family]));
        }
    }
    for (mut client, target, port, case, errno) in clients {
        let attempt = client.attempt();
        let expected = if case.verdict == "drop" { DROPPED } else { REJECTED };
        let place = case.at.island(&lab).name().to_owned();
        let place = if matches!(case.at, Near) { "this network namespace".to_owned() } else { place };
        // Exact: no other rule can have done it.
        let names = ["the rule `", &text(case, port), case.hook, &place];
        trace.explains(&attempt, &Expected { errno: Some(errno), remote: Some(&target), names: &names, ..expected });
    }
    trace.only(&["firewall.dropped", "firewall.rejected"]);
}

fn port_of(case: &Case, port: u16) -> String {
    format!("tcp {} {port}", if case.answer { "sport" } else { "dport" })
}

fn every_hook_of_nftables(cases: &[Case]) {
    let rule = |lab: &Lab, case: &Case, port: u16| {
        // A chain for each interface: kernels before 6.4 add none to a chain that is there.
        let (family, chain, device) = match case.device {
            Some(device) => ("netdev", format!("at_{}_of_{device}", case.hook), format!("device {device}")),
            None => ("inet", format!("at_{}", case.hook), String::new()),
        };
        let matching = port_of(case, port);
        let (hook, verdict) = (case.hook, case.verdict);
        case.at.island(lab).nft(&format!(
            "table {family} lab {{\n chain {chain} {{\n type filter hook {hook} {device} priority 0;\n \
             {matching} {verdict}\n}}\n}}"
        ));
    };
    at_every_place(cases, rule, port_of);
}

#[test]
fn every_hook_of_nftables_in_every_place() {
    every_hook_of_nftables(&CASES);
}

#[test]
fn what_leaves_an_interface_in_every_place() {
    if !skipped_without(Feature::NetfilterEgress) {
        every_hook_of_nftables(&EGRESS);
    }
}

/// The chains of iptables, in the tables that have them.
const CHAINS: [Case; 11] = [
    drop_at(Near, "output"),
    drop_at(Near, "postrouting"),
    drop_at(Between, "prerouting"),
    drop_at(Between, "forward"),
    drop_at(Between, "postrouting"),
    drop_at(Far, "prerouting"),
    drop_at(Far, "input"),
    drop_answer_at(Far, "output"),
    drop_answer_at(Near, "input"),
    reject_at(Far, "input", "REJECT --reject-with tcp-reset", ["ECONNREFUSED"; 2]),
    reject_at(Between, "forward", "REJECT --reject-with tcp-reset", ["ECONNREFUSED"; 2]),
];

fn every_chain_of_iptables(kind: &str) {
    let rule = |lab: &Lab, case: &Case, port: u16| {
        let table = match case.hook {
            "prerouting" => "raw",
            "postrouting" => "mangle",
            _ => "filter",
        };
        let side = if case.answer { "--sport" } else { "--dport" };
        let verdict = if case.verdict == "drop" { "DROP" } else { case.verdict };
        let arguments = format!("-t {table} -A {} -p tcp {side} {port} -j {verdict}", case.hook.to_uppercase());
        for family in ["iptables", "ip6tables"] {
            let mut command = case.at.island(lab).command(format!("{family}-{kind}"));
            netdx_tests::island::run(command.args(arguments.split_whitespace()));
        }
    };
    at_every_place(&CHAINS, rule, |_, port| port.to_string());
}

#[test]
fn every_chain_of_iptables_legacy() {
    every_chain_of_iptables("legacy");
}

#[test]
fn every_chain_of_iptables_nft() {
    every_chain_of_iptables("nft");
}

/// The rules of ufw 0.36, but for those that only log or accept what is no connection.
const UFW: [&str; 18] = [
    "-P INPUT DROP",
    "-N ufw-before-input",
    "-N ufw-not-local",
    "-N ufw-user-input",
    "-N ufw-logging-deny",
    "-A INPUT -j ufw-before-input",
    "-A ufw-before-input -i lo -j ACCEPT",
    "-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A ufw-before-input -m conntrack --ctstate INVALID -j DROP",
    "-A ufw-before-input -j ufw-not-local",
    "-A ufw-before-input -j ufw-user-input",
    "-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN",
    "-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN",
    "-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny",
    "-A ufw-not-local -j DROP",
    "-A ufw-user-input -p tcp --dport 22 -j ACCEPT",
    "-A ufw-user-input -p tcp --dport 8001 -j REJECT --reject-with tcp-reset",
    "-A ufw-user-input -p tcp --dport 8002 -j DROP",
];

fn iptables(island: &Island, rules: &[&str]) {
    for rule in rules {
        netdx_tests::island::run(island.command("iptables-nft").args(rule.split_whitespace()));
    }
}

/// A chain that is left by what is for this host comes before the rules for it.
#[test]
fn the_rules_of_ufw() {
    let lab = Lab::new();
    iptables(&lab.server, &UFW);
    let trace = Tracer::start(&lab);
    for (target, errno, expected, name) in [
        ("10.1.2.2:8001", "ECONNREFUSED", REJECTED, "--dport 8001 -j REJECT --reject-with tcp-reset"),
        ("10.1.2.2:8002", "ETIMEDOUT", DROPPED, "--dport 8002 -j DROP"),
        ("10.1.2.2:8003", "ETIMEDOUT", DROPPED, "the policy drop of ip filter INPUT"),
    ] {
        let attempt = lab.connect(&format!("blocking {target}"));
        trace.explains(&attempt, &Expected { remote: Some(target), errno: Some(errno), names: &[name], ..expected });
    }
    trace.only(&[DROPPED.code, REJECTED.code]);
}

/// Those by which Docker keeps its networks apart; what leaves by which interface tells the two rules from each other.
#[test]
fn the_rules_of_docker() {
    let lab = Lab::new();
    let rules = [
        "-P FORWARD DROP",
        "-N DOCKER-USER",
        "-N DOCKER-ISOLATION-STAGE-1",
        "-N DOCKER-ISOLATION-STAGE-2",
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -j DOCKER-ISOLATION-STAGE-1",
        "-A FORWARD -o rsv -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A DOCKER-ISOLATION-STAGE-1 -i rcl ! -o rcl -j DOCKER-ISOLATION-STAGE-2",
        "-A DOCKER-ISOLATION-STAGE-1 -j RETURN",
        "-A DOCKER-ISOLATION-STAGE-2 -o rcl -j DROP",
        "-A DOCKER-ISOLATION-STAGE-2 -o rsv -j DROP",
        "-A DOCKER-ISOLATION-STAGE-2 -j RETURN",
        "-A DOCKER-USER -j RETURN",
    ];
    iptables(&lab.router, &rules);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    trace.explains(&attempt, &Expected { names: &["-A DOCKER-ISOLATION-STAGE-2 -o rsv -j DROP"], ..DROPPED });
    trace.only(&[DROPPED.code]);
}

#[test]
fn a_poll_takes_the_error_that_came_while_connect_was_at_work() {
    let lab = Lab::new();
    lab.router.guard("forward", "tcp dport 80 reject with icmpx host-unreachable");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("poll 10.1.2.2:80");
    assert_eq!(attempt.errno, libc::EHOSTUNREACH);
    trace.explains(&attempt, &Expected { errno: Some("EHOSTUNREACH"), names: &["forward"], ..REJECTED });
    trace.only(&["firewall.rejected"]);
}

/// The client takes the error, if it has come by then, and closes: nothing tells of that before its FIN is sent again.
#[test]
fn the_end_of_the_handshake_is_rejected() {
    let lab = Lab::new();
    let _listener = netdx_tests::servers::listen(&lab.server, "10.1.2.2:80");
    lab.router.guard("forward", "tcp dport 80 tcp flags & (syn | ack) == ack reject with icmp type host-prohibited");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("poll 10.1.2.2:80");
    let expected = Expected { outcome: "broken", errno: None, names: &["rejected its ACK", "forward"], ..REJECTED };
    trace.explains(&attempt, &expected);
    trace.only(&["firewall.rejected"]);
}

#[test]
fn a_queue_that_no_program_reads() {
    for (tool, target) in [("iptables-nft", "10.1.2.2:80"), ("ip6tables-legacy", "[fd01:2::2]:80")] {
        let lab = Lab::new();
        let rule = ["-A", "INPUT", "-p", "tcp", "--dport", "80", "-j", "NFQUEUE", "--queue-num", "7"];
        netdx_tests::island::run(lab.server.command(tool).args(rule));
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        let names = &["-j NFQUEUE --queue-num 7", "no program takes packets from that queue"];
        trace.explains(&attempt, &Expected { remote: Some(target), names, ..DROPPED });
        trace.only(&[DROPPED.code]);
    }
}
