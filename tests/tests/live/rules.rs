//! Which rule of several it was: what a rule saw of the packet is not always what is seen of it in the end.

use crate::{firewall::DROPPED, needs::weaker_because};
use netdx_tests::island::output;
use netdx_tests::lab::Lab;
use netdx_tests::tracer::{Expected, Tracer};
use std::time::Duration;

/// As Docker has them for containers that may not talk to each other: the interface is the bridge, not its port.
#[test]
fn a_bridge_asks_rules_for_packets() {
    let lab = Lab::new();
    lab.router.ip("link add br0 type bridge");
    for (port, island, address) in [("bx", &lab.client, "10.8.0.2/24"), ("by", &lab.server, "10.8.0.3/24")] {
        lab.router.link(port, island, "port", ["", address]);
        lab.router.ip(&format!("link set {port} master br0"));
    }
    lab.router.ip("link set br0 up");
    let settings = "net.bridge.bridge-nf-call-iptables=1";
    if !output(lab.router.command("sysctl").args(["-qw", settings])).status.success() {
        return weaker_because("bridges ask no rules for packets (br_netfilter is not there)");
    }
    for (hook, rules) in [
        ("prerouting", "iifname \"bx\" tcp dport 81 drop\n iifname \"br0\" tcp dport 81 drop"),
        (
            "forward",
            "iifname != \"br0\" tcp dport 82 drop\n oifname \"by\" tcp dport 82 drop\n \
             iifname \"br0\" oifname \"br0\" tcp dport 82 drop",
        ),
        ("postrouting", "oifname \"by\" tcp dport 83 drop\n oifname \"br0\" tcp dport 83 drop"),
    ] {
        let chain = format!("chain {hook} {{\n type filter hook {hook} priority 0;\n {rules}\n}}");
        lab.router.nft(&format!("table ip lab {{\n{chain}\n}}"));
    }
    let trace = Tracer::start(&lab);
    for (port, name) in [
        (81, "the rule `iifname \"br0\" tcp dport 81 drop`"),
        (82, "the rule `iifname \"br0\" oifname \"br0\" tcp dport 82 drop`"),
        (83, "the rule `oifname \"br0\" tcp dport 83 drop`"),
    ] {
        let target = format!("10.8.0.3:{port}");
        let attempt = lab.connect(&format!("blocking {target}"));
        trace.explains(&attempt, &Expected { remote: Some(&target), names: &[name], ..DROPPED });
    }
    trace.only(&[DROPPED.code]);
}

/// Routing chose the interface by the mark that the packet had before.
#[test]
fn a_mark_that_is_set_when_it_is_forwarded_comes_too_late_for_its_route() {
    let lab = Lab::new();
    lab.router.ip("rule add fwmark 9 lookup 300");
    lab.router.ip("route add default via 10.1.1.2 dev rcl table 300");
    let [early, late, never] = ["rcl", "rsv", "lo"].map(|device| format!("oifname \"{device}\" tcp dport 80 drop"));
    let chain =
        format!("chain f {{\n type filter hook forward priority 0;\n meta mark set 9\n {early}\n {late}\n {never}\n}}");
    lab.router.nft(&format!("table ip lab {{\n{chain}\n}}"));
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    let names = &["it can have been", early.as_str(), late.as_str()];
    trace.explains(&attempt, &Expected { names, ..DROPPED });
    trace.only(&[DROPPED.code]);
}

/// Translated without connection tracking.
#[test]
fn a_rule_before_the_port_was_rewritten_saw_another_port() {
    let lab = Lab::new();
    let chain = "chain f {\n type filter hook forward priority 0; policy drop;\n tcp dport 80 ip saddr 10.1.1.2 drop\n \
                 tcp dport 8080 tcp dport set 80\n}";
    lab.router.nft(&format!("table ip lab {{\n{chain}\n}}"));
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:8080");
    let names = &["it can have been", "the policy drop of ip lab f"];
    trace.explains(&attempt, &Expected { remote: Some("10.1.2.2:8080"), names, ..DROPPED });
    trace.only(&[DROPPED.code]);
}

/// Between the last SYN and the end of the attempt.
#[test]
fn rules_that_have_changed_since_are_not_blamed_for_sure() {
    let lab = Lab::new();
    lab.router.nft("table ip lab {\n chain f {\n type filter hook forward priority 0;\n tcp dport 80 drop\n}\n}");
    let trace = Tracer::start(&lab);
    let mut client = lab.start("blocking 10.1.2.2:80");
    std::thread::sleep(Duration::from_millis(2400));
    lab.router
        .nft("flush ruleset\n table ip lab {\n chain g {\n type filter hook forward priority 0; policy drop;\n}\n}");
    let attempt = client.attempt();
    let names = &["the rules there have changed since, of those now it can have been the policy drop of ip lab g"];
    trace.explains(&attempt, &Expected { names, ..DROPPED });
    trace.only(&[DROPPED.code]);
}

/// The old iptables does not count its changes.
#[test]
fn rules_of_the_old_iptables_that_have_changed_since_are_not_blamed_for_sure() {
    let lab = Lab::new();
    let iptables = |rule: &str| {
        let words = std::iter::once("-w").chain(rule.split(' '));
        output(lab.router.command("iptables-legacy").args(words)).status.success()
    };
    if !iptables("-A FORWARD -p tcp --dport 80 -j DROP") {
        return weaker_because("the kernel has no legacy tables");
    }
    let trace = Tracer::start(&lab);
    let mut client = lab.start("blocking 10.1.2.2:80");
    std::thread::sleep(Duration::from_millis(2400));
    assert!(iptables("-R FORWARD 1 -p tcp -m tcp ! --dport 81 -j DROP"));
    let attempt = client.attempt();
    let names = &["the rules there have changed since, of those now it can have been the rule", "! --dport 81"];
    trace.explains(&attempt, &Expected { names, ..DROPPED });
    trace.only(&[DROPPED.code]);
}

/// Its chains are listed, and asked by nobody.
#[test]
fn a_dormant_table_drops_nothing() {
    let lab = Lab::new();
    let chain = |priority: i32, rule: &str| {
        format!("chain f {{\n type filter hook forward priority {priority};\n {rule}\n}}\n")
    };
    let [dormant, real] = [chain(-10, "tcp dport 80 drop"), chain(0, "tcp dport 80-90 drop")];
    lab.router.nft(&format!("table ip asleep {{\n flags dormant;\n {dormant}}}\n table ip lab {{\n {real}}}"));
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    trace.explains(&attempt, &Expected { names: &["the rule `tcp dport 80-90 drop` (ip lab f"], ..DROPPED });
    trace.only(&[DROPPED.code]);
}

/// What connection tracking has not seen begin is no connection to it.
#[test]
fn an_answer_that_goes_another_way_is_in_no_state() {
    let lab = Lab::new();
    let _listener = netdx_tests::servers::listen(&lab.server, "10.1.2.2:80");
    lab.client.link("by", &lab.server, "by", ["10.8.0.1/24", "10.8.0.2/24"]);
    lab.client.ip("route add 10.1.2.2/32 via 10.8.0.2 src 10.1.1.2");
    lab.server.sysctl("net.ipv4.conf.all.rp_filter=0, net.ipv4.conf.by.rp_filter=0");
    lab.router.guard("forward", "ct state invalid drop");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    let names = &["the rule `ct state invalid drop`", "dropped the answering SYN-ACK", lab.router.name()];
    let report = trace.explains(&attempt, &Expected { names, ..DROPPED });
    let advice = report["verdict"]["advice"].to_string();
    assert!(advice.contains("did that go another way (asymmetric routes)?"), "{report:#}");
    trace.only(&[DROPPED.code]);
}

/// Nobody is where the copies go; what becomes of the packets themselves is another matter.
#[test]
fn what_becomes_of_a_copy_is_not_what_became_of_the_packet() {
    let lab = Lab::new();
    lab.router.nft("table ip lab {\n chain p {\n type filter hook prerouting priority -150;\n dup to 10.1.2.9\n}\n}");
    lab.server.guard("input", "tcp dport 80 drop");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    trace.explains(&attempt, &Expected { names: &["the rule `tcp dport 80 drop`", "input hook"], ..DROPPED });
    trace.only(&[DROPPED.code]);
}

/// Each SYN that the router drops is one; the others get to the server.
#[test]
fn what_is_dropped_at_two_places_is_told_of_each() {
    let lab = Lab::new();
    lab.client.sysctl("net.ipv4.tcp_syn_retries=2");
    lab.router.guard("forward", "tcp dport 80 numgen inc mod 3 0 drop");
    lab.server.guard("input", "tcp dport 80 drop");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    let report =
        trace.explains(&attempt, &Expected { names: &["the rule `tcp dport 80 drop`", "input hook"], ..DROPPED });
    let texts: Vec<&str> =
        report["verdict"]["evidence"].as_array().into_iter().flatten().filter_map(|e| e["text"].as_str()).collect();
    assert!(texts.iter().all(|text| !text.contains("forward hook")), "{report:#}");
    assert!(texts.iter().any(|text| text.starts_with("2 packets of this connection dropped so")), "{report:#}");
    trace.only(&[DROPPED.code]);
}
