//! Firewall rules, and which of them is the culprit.

use super::*;
use crate::{
    event::Hook,
    fact::Ruleset,
    ruleset::{Action, Culprits, PacketView, culprits},
    time::Time,
};
use std::sync::Arc;

/// Puts rules into the second namespace and gives all that are found there.
fn rules(lab: &Lab, commands: &[&str]) -> Arc<Ruleset> {
    for command in commands {
        run(&format!("ip netns exec {} {command}", lab.names[1]));
    }
    match Host::new().answer(&Want::Ruleset { netns: lab.netns(1) }) {
        Answer::Ruleset(ruleset) => ruleset,
        other => panic!("{other:?}"),
    }
}

/// The SYN that a client in the first namespace sends to port 80 of the second.
fn syn() -> PacketView<'static> {
    PacketView {
        tuple: Tuple {
            protocol: Protocol::Tcp,
            local: ip("10.99.0.1"),
            local_port: 40000,
            remote: ip("10.99.0.2"),
            remote_port: 80,
        },
        tcp_flags: Some(2),
        icmp: None,
        arp: None,
        mark: Some(0),
        in_device: Some("vb"),
        out_device: Some(""),
        uid: None,
        interfaces: &[],
        bridged: false,
        engine: None,
    }
}

#[test]
fn rules_of_nftables_and_of_both_iptables() {
    let Some(lab) = Lab::new() else { return };
    assert_eq!(rules(&lab, &[]).chains, []);
    let found = rules(
        &lab,
        &[
            "nft 'add table inet f; add set inet f blocked { type inet_service; elements = { 80, 81 }; }'",
            "nft 'add chain inet f in { type filter hook input priority -5; policy accept; }'",
            "nft 'add rule inet f in ct state invalid drop; add rule inet f in tcp dport @blocked counter drop'",
            "nft 'add table netdev n; add chain netdev n ig { type filter hook ingress device vb priority 0; policy accept; }'",
        ],
    );
    let Culprits::Exact(rule) = culprits(&found, Hook::Input, &syn(), Action::Drop) else { panic!("{found:?}") };
    assert_eq!(
        (rule.table.as_str(), rule.chain.as_str(), rule.text.as_str()),
        ("f", "in", "tcp dport @blocked counter drop")
    );
    assert_eq!(found.chains.iter().find(|c| c.name == "ig").unwrap().device.as_deref(), Some("vb"));

    run(&format!("ip netns exec {} nft flush ruleset", lab.names[1]));
    let found = rules(
        &lab,
        &[
            "iptables -w -A INPUT -p tcp -m multiport --dports 79,80 -m comment --comment 'no web' -j REJECT --reject-with tcp-reset",
            "iptables -w -A INPUT -p tcp -m string --string x --algo bm -j DROP",
        ],
    );
    let Culprits::Exact(rule) = culprits(&found, Hook::Input, &syn(), Action::Reset) else { panic!("{found:?}") };
    assert!(rule.family == "ip" && rule.text.starts_with("-A INPUT") && rule.text.contains("no web"), "{rule:?}");

    run(&format!("ip netns exec {} nft flush ruleset", lab.names[1]));
    let found =
        rules(&lab, &["iptables-legacy -A INPUT -i vb -p tcp --dport 80 -j DROP", "ip6tables-legacy -P INPUT DROP"]);
    let Culprits::Exact(rule) = culprits(&found, Hook::Input, &syn(), Action::Drop) else { panic!("{found:?}") };
    assert_eq!(
        (rule.family.as_str(), rule.text.as_str()),
        ("iptables", "-A INPUT -i vb -p tcp -m tcp --dport 80 -j DROP")
    );
    assert_eq!(found.missing, [""; 0]);
    // The first namespace has none of it.
    let Answer::Ruleset(none) = Host::new().answer(&Want::Ruleset { netns: lab.netns(0) }) else { panic!() };
    assert_eq!(none.chains, []);
}

#[test]
fn rules_are_listed_again_only_when_they_have_changed() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let mut listed = |namespace: usize| match host.answer(&Want::Ruleset { netns: lab.netns(namespace) }) {
        Answer::Ruleset(rules) => rules,
        other => panic!("{other:?}"),
    };
    let tables = |rules: &Ruleset| rules.chains.iter().map(|chain| chain.table.clone()).collect::<Vec<_>>();
    // As many changes in the one as in the other: the numbers of their rules are the same.
    for (name, table) in [(&lab.names[0], "one"), (&lab.names[1], "other")] {
        run(&format!("ip netns exec {name} nft 'add table inet {table}; add chain inet {table} c'"));
    }
    let (one, other) = (listed(0), listed(1));
    assert_eq!((tables(&one), tables(&other)), (vec!["one".to_owned()], vec!["other".to_owned()]));
    let is_kept = |known: &Arc<Ruleset>, now: &_| Arc::ptr_eq(known, now) || rulesets::cookie().is_none();
    assert!(is_kept(&one, &listed(0)) && is_kept(&other, &listed(1)));
    run(&format!("ip netns exec {} nft 'add table inet two; add chain inet two c'", lab.names[0]));
    assert_eq!(tables(&listed(0)), ["one", "two"]);
    assert!(is_kept(&other, &listed(1)));
    let now = listed(0).generation;
    assert!(one.generation.is_some() && one.generation < now);
    let want = Want::RulesetGeneration { netns: lab.netns(0), dropped: Time(7) };
    assert_eq!(Host::new().answer(&want), Answer::RulesetGeneration(now));
}

#[test]
fn rules_of_the_old_iptables_have_a_number_too() {
    let Some(lab) = Lab::new() else { return };
    let iptables = |rules: &str| run(&format!("ip netns exec {} iptables-legacy -w {rules}", lab.names[1]));
    let number = || {
        let want = Want::RulesetGeneration { netns: lab.netns(1), dropped: Time(7) };
        let Answer::RulesetGeneration(number) = Host::new().answer(&want) else { panic!() };
        let Answer::Ruleset(rules) = Host::new().answer(&Want::Ruleset { netns: lab.netns(1) }) else { panic!() };
        assert_eq!(rules.generation, number);
        number.expect("it can be known")
    };
    let none = number();
    iptables("-A INPUT -p tcp --dport 80 -j DROP");
    let one = number();
    run(&format!("ip netns exec {} ping -qc1 -W1 127.0.0.1", lab.names[1]));
    assert_eq!(number(), one, "what rules count is no change");
    // As many and as long ones.
    iptables("-R INPUT 1 -p tcp --dport 81 -j DROP");
    let other = number();
    assert!(none != one && one != other && none != other, "{none} {one} {other}");
    iptables("-R INPUT 1 -p tcp --dport 80 -j DROP");
    assert_eq!(number(), one);
}
