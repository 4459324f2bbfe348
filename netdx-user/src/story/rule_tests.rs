//! Which rule it was: the core with drops by netfilter, made by hand.

use super::tests::{MS, attempt, closed, code, drop_of, elsewhere, ip, packet, run, tuple};
use crate::{
    event::{Discovery, Event, Hook, Netns, Packet},
    fact::{Answer, Chain, Interface, Route, Rule, Ruleset},
    report::{Certainty, Report},
    want::Want,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The router that drops it.
const THERE: Netns = Netns(2);

fn dropped(packet: Packet, hook: Hook, stack: &[&'static str]) -> Event {
    Event::Drop {
        packet,
        inner: None,
        discovery: None,
        sock: None,
        receiver: false,
        reason: Some("NETFILTER_DROP".into()),
        at: Some("nft_do_chain".into()),
        hook: Some(hook),
        current: None,
        stack: stack.iter().map(|frame| (*frame).into()).collect(),
    }
}

/// On its way from eth0 (2) to eth1 (3).
fn forwarded(netns: Netns) -> Event {
    dropped(
        Packet { netns: Some(netns), ..packet(tuple()) },
        Hook::Forward,
        &["nft_do_chain", "nf_hook_slow", "ip_forward"],
    )
}

fn drops(device: &str, value: &str) -> Rule {
    let device = json!({ "match": { "op": "==", "left": { "meta": { "key": device } }, "right": value } });
    Rule { text: format!("{value} drop"), handle: 1, expr: vec![device, json!({ "drop": null })] }
}

fn rules(hook: &str, rules: Vec<Rule>) -> Ruleset {
    let chain = Chain {
        family: "ip".into(),
        table: "t".into(),
        name: "c".into(),
        hook: Some(hook.into()),
        priority: 0,
        device: None,
        kind: "filter".into(),
        policy: Some("drop".into()),
        rules,
    };
    Ruleset { chains: vec![chain], ..Ruleset::default() }
}

/// A router with two ports of a bridge; its routes lead to eth1.
fn router(ruleset: Ruleset) -> impl Fn(&Want) -> Answer {
    let ruleset = Arc::new(ruleset);
    move |want| match want {
        Want::Ruleset { netns: THERE } => Answer::Ruleset(Arc::clone(&ruleset)),
        Want::Interfaces { netns: THERE } => Answer::Interfaces(
            [(2, "eth0", Some(4)), (3, "eth1", Some(4)), (4, "br0", None)]
                .map(|(index, name, master)| Interface { index, name: name.into(), master, ..Interface::default() })
                .into(),
        ),
        Want::Route { netns: THERE, .. } => {
            Answer::Route(Route { device: 3, device_name: "eth1".into(), by_mark: true, ..Route::default() })
        }
        other => elsewhere(other),
    }
}

fn story(middle: &[(u64, Event)], host: impl Fn(&Want) -> Answer) -> Report {
    let mut events = vec![(1000 * MS, attempt())];
    events.extend(middle.iter().cloned());
    events.push((9000 * MS, closed(110)));
    let mut reports = run(events, host);
    assert_eq!(code(&reports), ["firewall.dropped"]);
    reports.remove(0)
}

fn because(report: &Report) -> &str {
    report.verdict.as_ref().map_or("", |verdict| verdict.because.as_str())
}

#[test]
fn a_bridge_stands_for_its_ports() {
    let port = Packet { in_device: 2, device: 3, device_name: "eth1".into(), ..packet(tuple()) };
    for (hook, key, stack) in [
        (Hook::Forward, "iifname", ["nft_do_chain", "nf_hook_slow", "br_nf_forward"]),
        (Hook::Forward, "oifname", ["nft_do_chain", "nf_hook_slow", "br_nf_forward"]),
        (Hook::Postrouting, "oifname", ["nft_do_chain", "nf_hook_slow", "br_nf_post_routing"]),
    ] {
        let all = ["eth0", "eth1", "br0"].map(|device| drops(key, device)).into();
        let name = crate::ruleset::hook_name(hook);
        let report = story(&[(1001 * MS, dropped(port.clone(), hook, &stack))], router(rules(name, all)));
        assert!(because(&report).starts_with("the rule `br0 drop`"), "{}", because(&report));
    }
}

#[test]
fn a_mark_that_is_set_on_the_way_does_not_tell_the_route() {
    let all = || vec![drops("oifname", "eth0"), drops("oifname", "eth1")];
    let report = story(&[(1001 * MS, forwarded(THERE))], router(rules("forward", all())));
    assert!(because(&report).starts_with("the rule `eth1 drop`"), "{}", because(&report));
    let set = json!({ "mangle": { "key": { "meta": { "key": "mark" } }, "value": 9 } });
    let marks: Vec<Value> = vec![set];
    let marked = [vec![Rule { text: "mark".into(), handle: 1, expr: marks }], all()].concat();
    let report = story(&[(1001 * MS, forwarded(THERE))], router(rules("forward", marked)));
    assert!(because(&report).contains("it can have been the rule `eth0 drop`"), "{}", because(&report));
}

#[test]
fn rules_that_changed_after_the_drop_are_not_those_that_did_it() {
    let host = |then: u32, now: u32| {
        let router = router(Ruleset { generation: Some(now), ..rules("forward", Vec::new()) });
        move |want: &Want| match want {
            Want::RulesetGeneration { .. } => Answer::RulesetGeneration(Some(then)),
            other => router(other),
        }
    };
    let report = story(&[(1001 * MS, forwarded(THERE))], host(3, 3));
    assert!(because(&report).starts_with("the policy drop of ip t c dropped its SYN"), "{}", because(&report));
    let report = story(&[(1001 * MS, forwarded(THERE))], host(3, 4));
    assert!(because(&report).contains("have changed since, of those now it can have been"), "{}", because(&report));
}

#[test]
fn each_drop_is_told_where_it_was() {
    let events = [(1001 * MS, forwarded(Netns(3))), (2001 * MS, forwarded(THERE)), (4001 * MS, forwarded(THERE))];
    let report = story(&events, router(rules("forward", Vec::new())));
    let evidence = &report.verdict.as_ref().expect("a verdict").evidence;
    assert_eq!(evidence[0].t_ns, Some(2000 * MS), "{evidence:?}");
    assert!(evidence[1].text.starts_with("2 packets of this connection"), "{evidence:?}");
}

#[test]
fn what_must_be_allowed_is_how_a_neighbour_is_asked() {
    let asks = |asked: &str| Discovery { asks: true, asked: ip(asked), by: ip("10.0.0.1"), link: None };
    assert_eq!(crate::explain::phrase::how(&asks("10.0.0.9")), "ARP");
    assert_eq!(crate::explain::phrase::how(&asks("fd00::9")), "neighbour discovery (ICMPv6)");
}

#[test]
fn a_copy_that_nobody_takes_is_not_what_failed() {
    let waits = drop_of(Packet { netns: Some(THERE), ..packet(tuple()) }, "NEIGH_FAILED", Some("neigh_invalidate"));
    let silent =
        Event::NeighborFailed { netns: THERE, address: ip("10.0.0.77"), device: 3, device_name: "eth1".into() };
    let report = |gateway: Option<&'static str>, statement: Value| {
        let copy = Rule { text: "copy".into(), handle: 1, expr: vec![statement] };
        let router = router(rules("prerouting", vec![copy]));
        let host = move |want: &Want| match want {
            Want::Route { netns: THERE, .. } => Answer::Route(Route {
                gateway: gateway.map(ip),
                device: 3,
                device_name: "eth1".into(),
                ..Route::default()
            }),
            other => router(other),
        };
        let events = vec![
            (1000 * MS, attempt()),
            (4000 * MS, silent.clone()),
            (4000 * MS, waits.clone()),
            (9000 * MS, closed(110)),
        ];
        let reports = run(events, host);
        let verdict = reports[0].verdict.as_ref().expect("a verdict");
        (verdict.code, verdict.certainty)
    };
    let dup = || json!({ "dup": { "addr": "10.0.0.77" } });
    assert_eq!(report(Some("10.0.0.77"), dup()), ("route.neighbor-silent", Certainty::Proven), "its gateway");
    assert_eq!(report(None, json!({ "counter": null })), ("route.neighbor-silent", Certainty::Likely), "who knows why");
    assert_ne!(report(None, dup()).0, "route.neighbor-silent", "a copy");
}
