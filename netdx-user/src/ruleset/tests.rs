use super::*;
use crate::event::Protocol;
use serde_json::{Value, json};

fn rule(text: &str, expr: Value) -> Rule {
    let Value::Array(expr) = expr else { panic!("{text}: not a list") };
    Rule { text: text.into(), handle: 1, expr }
}

fn base(name: &str, hook: &str, policy: &str, rules: Vec<Rule>) -> Chain {
    Chain {
        family: "inet".into(),
        table: "f".into(),
        name: name.into(),
        hook: Some(hook.into()).filter(|h: &String| !h.is_empty()),
        priority: 0,
        device: None,
        kind: "filter".into(),
        policy: Some(policy.into()),
        rules,
    }
}

fn is(left: Value, right: Value) -> Value {
    json!({ "match": { "op": "==", "left": left, "right": right } })
}

fn dport(right: Value) -> Value {
    is(json!({ "payload": { "protocol": "tcp", "field": "dport" } }), right)
}

fn state(states: Value) -> Value {
    json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": states } })
}

fn drop() -> Value {
    json!({ "drop": null })
}

fn accept() -> Value {
    json!({ "accept": null })
}

/// A SYN from 10.0.0.1:40000 to 10.0.0.2:80 that came in by eth0.
fn syn() -> PacketView<'static> {
    PacketView {
        tuple: Tuple {
            protocol: Protocol::Tcp,
            local: "10.0.0.1".parse().unwrap(),
            local_port: 40000,
            remote: "10.0.0.2".parse().unwrap(),
            remote_port: 80,
        },
        tcp_flags: Some(2),
        icmp: None,
        arp: None,
        mark: Some(0x10),
        in_device: Some("eth0"),
        out_device: Some(""),
        uid: None,
        interfaces: &[],
        bridged: false,
        engine: None,
    }
}

fn texts(chains: Vec<Chain>, packet: &PacketView<'_>, action: Action) -> Vec<String> {
    match culprits(&Ruleset { chains, ..Default::default() }, Hook::Input, packet, action) {
        Culprits::None => vec![],
        Culprits::Exact(one) => vec![format!("exactly {}", one.text)],
        Culprits::Possible(several) => several.into_iter().map(|r| r.text).collect(),
    }
}

/// Whether one rule with these matches is the culprit, can be, or can't.
fn matched(matches: Value, packet: &PacketView<'_>) -> &'static str {
    let Value::Array(mut expr) = matches else { panic!() };
    expr.push(drop());
    let input = base("in", "input", "drop", vec![rule("it", Value::Array(expr))]);
    match texts(vec![input], packet, Action::Drop).iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["exactly it"] => "yes",
        ["it", "policy drop"] => "unknown",
        ["exactly policy drop"] => "no",
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_rule_matches_surely_perhaps_or_not() {
    let payload = |protocol: &str, field: &str| json!({ "payload": { "protocol": protocol, "field": field } });
    let meta = |key: &str| json!({ "meta": { "key": key } });
    let flags = |mask: Value| json!({ "&": [payload("tcp", "flags"), mask] });
    let table = [
        (dport(json!(80)), "yes"),
        (dport(json!(81)), "no"),
        (dport(json!({ "range": [1, 1024] })), "yes"),
        (dport(json!({ "set": [22, { "range": [443, 445] }] })), "no"),
        (dport(json!({ "set": [22, { "elem": { "val": 80, "comment": "x" } }] })), "yes"),
        (dport(json!("@many")), "unknown"),
        (is(payload("udp", "dport"), json!(80)), "no"),
        (is(payload("th", "sport"), json!(40000)), "yes"),
        (is(payload("ip", "saddr"), json!({ "prefix": { "addr": "10.0.0.0", "len": 8 } })), "yes"),
        (is(payload("ip", "saddr"), json!({ "prefix": { "addr": "0.0.0.0", "len": 0 } })), "yes"),
        (is(payload("ip", "daddr"), json!({ "range": ["10.0.0.3", "10.0.0.9"] })), "no"),
        (is(payload("ip", "daddr"), json!({ "mask": "10.0.0.0/255.0.255.0" })), "unknown"),
        (is(payload("ip6", "daddr"), json!("::1")), "no"),
        (is(payload("ip", "dscp"), json!(5)), "unknown"),
        (is(meta("iifname"), json!("eth*")), "yes"),
        (is(meta("iifname"), json!({ "set": ["lo", "eth1"] })), "no"),
        // It leaves by none, which is another one.
        (json!({ "match": { "op": "!=", "left": meta("oifname"), "right": "eth0" } }), "yes"),
        (is(meta("oifname"), json!("eth*")), "no"),
        (json!({ "match": { "op": "!=", "left": payload("tcp", "dport"), "right": 80 } }), "no"),
        (json!({ "match": { "op": ">=", "left": payload("tcp", "dport"), "right": 80 } }), "yes"),
        (is(meta("l4proto"), json!({ "set": ["tcp", "udp"] })), "yes"),
        (is(meta("l4proto"), json!("icmp")), "no"),
        (is(meta("nfproto"), json!("ipv6")), "no"),
        (is(meta("mark"), json!(16)), "yes"),
        (is(json!({ "&": [meta("mark"), 15] }), json!(16)), "no"),
        (is(meta("skuid"), json!(1000)), "unknown"),
        (json!({ "match": { "op": "in", "left": payload("tcp", "flags"), "right": ["syn", "ack"] } }), "yes"),
        (is(payload("tcp", "flags"), json!(["syn", "ack"])), "no"),
        (is(flags(json!(["fin", "syn", "rst", "ack"])), json!("syn")), "yes"),
        (is(flags(json!({ "|": ["syn", "rst"] })), json!("rst")), "no"),
        (state(json!(["established", "related"])), "unknown"),
        (state(json!("invalid")), "no"),
        (state(json!(["new", "established", "related", "untracked"])), "yes"),
        (json!({ "limit": { "rate": 5, "per": "second" } }), "unknown"),
        (json!({ "counter": null }), "yes"),
        (json!({ "xt": { "type": "match", "name": "comment" } }), "yes"),
        (json!({ "xt": { "type": "match", "name": "string" } }), "unknown"),
        (json!({ "something-new": {} }), "unknown"),
    ];
    for (expression, expected) in table {
        assert_eq!(matched(json!([expression]), &syn()), expected, "{expression}");
    }
    let fib = |flags: Value| json!({ "fib": { "result": "type", "flags": flags } });
    let own = [Interface { addresses: vec![("10.0.0.2".parse().unwrap(), 24)], ..Interface::default() }];
    let known = PacketView { interfaces: &own, ..syn() };
    for (expression, packet, expected) in [
        (is(fib(json!(["daddr"])), json!("local")), &known, "yes"),
        (is(fib(json!("daddr")), json!({ "set": ["unicast", "broadcast"] })), &known, "no"),
        (is(fib(json!(["saddr"])), json!("local")), &known, "unknown"),
        (is(fib(json!(["daddr", "iif"])), json!("local")), &known, "unknown"),
        (is(fib(json!(["daddr"])), json!("local")), &syn(), "unknown"),
    ] {
        assert_eq!(matched(json!([expression]), packet), expected, "{expression}");
    }
    let concatenated = |values: Value| {
        is(
            json!({ "concat": [payload("ip", "saddr"), payload("tcp", "dport")] }),
            json!({ "set": [{ "concat": values }] }),
        )
    };
    assert_eq!(matched(json!([concatenated(json!(["10.0.0.1", 80]))]), &syn()), "yes");
    assert_eq!(
        matched(json!([concatenated(json!([{ "prefix": { "addr": "10.0.0.0", "len": 24 } }, 81]))]), &syn()),
        "no"
    );
    let answer = PacketView { tcp_flags: Some(2 | 16), ..syn() };
    assert_eq!(matched(json!([state(json!("new"))]), &answer), "no");
    assert_eq!(matched(json!([state(json!("invalid"))]), &answer), "unknown");
    let six = PacketView {
        tuple: Tuple { local: "fe80::1".parse().unwrap(), remote: "fe80::2".parse().unwrap(), ..syn().tuple },
        ..syn()
    };
    let link_local = is(payload("ip6", "saddr"), json!({ "prefix": { "addr": "fe80::", "len": 10 } }));
    assert_eq!(matched(json!([link_local]), &six), "yes");
}

#[test]
fn the_usual_server_ruleset_has_one_culprit() {
    let rules = || {
        vec![
            rule("established", json!([state(json!(["established", "related"])), accept()])),
            rule("invalid", json!([state(json!("invalid")), drop()])),
            rule("lo", json!([is(json!({ "meta": { "key": "iifname" } }), json!("lo")), accept()])),
            rule("ssh", json!([dport(json!(22)), accept()])),
        ]
    };
    assert_eq!(texts(vec![base("in", "input", "drop", rules())], &syn(), Action::Drop), ["exactly policy drop"]);
    assert_eq!(texts(vec![base("in", "input", "accept", rules())], &syn(), Action::Drop), [""; 0]);
    let to_22 = PacketView { tuple: Tuple { remote_port: 22, ..syn().tuple }, ..syn() };
    assert_eq!(texts(vec![base("in", "input", "drop", rules())], &to_22, Action::Drop), [""; 0]);
    assert_eq!(texts(vec![base("out", "output", "drop", rules())], &syn(), Action::Drop), [""; 0]);
}

/// A famous mistake: before connection tracking has looked at it, every packet is invalid.
#[test]
fn what_is_not_tracked_yet_is_invalid() {
    let rules = || {
        vec![
            rule("invalid", json!([state(json!("invalid")), drop()])),
            rule("new", json!([state(json!(["new", "established", "related"])), drop()])),
        ]
    };
    let at = |hook, priority, packet: &PacketView<'_>| {
        let name = hook_name(hook);
        let chains = vec![Chain { priority, ..base("c", name, "accept", rules()) }];
        match culprits(&Ruleset { chains, ..Default::default() }, hook, packet, Action::Drop) {
            Culprits::Exact(one) => one.text,
            Culprits::Possible(several) => several.into_iter().map(|r| r.text).collect::<Vec<_>>().join(", "),
            Culprits::None => "none".into(),
        }
    };
    let looped = PacketView { in_device: Some("lo"), ..syn() };
    assert_eq!(at(Hook::Prerouting, -300, &syn()), "invalid");
    assert_eq!(at(Hook::Prerouting, -150, &syn()), "new");
    assert_eq!(at(Hook::Prerouting, -200, &syn()), "invalid, new");
    assert_eq!(at(Hook::Prerouting, -300, &looped), "invalid, new");
    assert_eq!(at(Hook::Ingress, 0, &syn()), "invalid");
    assert_eq!(at(Hook::Ingress, 0, &looped), "invalid, new");
    assert_eq!(at(Hook::Input, -300, &syn()), "new");
}

/// As kube-proxy's do in its mode for nftables: a state that one rule asks for is the one that a later rule asks for, too.
#[test]
fn connection_tracking_is_asked_twice_and_says_the_same() {
    let new = |verdict| json!([state(json!("new")), verdict]);
    let input = base(
        "in",
        "input",
        "accept",
        vec![
            rule("first", new(drop())),
            rule("second", new(drop())),
            rule("established", json!([state(json!("established")), drop()])),
        ],
    );
    assert_eq!(texts(vec![input], &syn(), Action::Drop), ["first", "established"]);
}

/// As the rules of Calico do, which mark what a policy lets pass.
#[test]
fn of_several_marks_the_last_one_tells() {
    let mark = |mask: u32, value: u32| is(json!({ "&": [{ "meta": { "key": "mark" } }, mask] }), json!(value));
    let set = || json!({ "mangle": { "key": { "meta": { "key": "mark" } }, "value": 0x10 } });
    let rules = || {
        vec![
            rule("early", json!([mark(0x20, 0x20), drop()])),
            rule("set", json!([set()])),
            rule("accepted", json!([mark(0x40, 0x40), accept()])),
            rule("none passed", json!([mark(0x10, 0x10), drop()])),
            rule("all passed", json!([mark(0x30, 0), drop()])),
        ]
    };
    let found = |mark| {
        texts(vec![base("in", "input", "accept", rules())], &PacketView { mark: Some(mark), ..syn() }, Action::Drop)
    };
    assert_eq!(found(0x10), ["exactly none passed"]);
    assert_eq!(found(0), ["exactly all passed"]);
    assert_eq!(found(0x30), ["early", "none passed"]);
}

#[test]
fn what_was_done_tells_rules_apart() {
    let reset = json!({ "reject": { "type": "tcp reset" } });
    let prohibited = json!({ "reject": { "type": "icmpx", "expr": "admin-prohibited" } });
    let input = || {
        base(
            "in",
            "input",
            "accept",
            vec![
                rule("limited reset", json!([{ "limit": {} }, reset])),
                rule("limited icmp", json!([{ "limit": {} }, prohibited])),
                rule("default", json!([{ "limit": {} }, { "reject": null }])),
                rule("drop", json!([drop()])),
            ],
        )
    };
    let icmp = |v6, kind, code| Action::Icmp { v6, kind, code };
    for (action, expected) in [
        (Action::Reset, "exactly limited reset"),
        (icmp(false, 3, 13), "exactly limited icmp"),
        (icmp(true, 1, 1), "exactly limited icmp"),
        (icmp(false, 3, 3), "exactly default"),
        (Action::Drop, "exactly drop"),
    ] {
        assert_eq!(texts(vec![input()], &syn(), action), [expected]);
    }
    assert_eq!(texts(vec![input()], &syn(), Action::Discard).len(), 4);
    assert_eq!(texts(vec![input()], &syn(), icmp(false, 3, 1)), [""; 0]);
}

#[test]
fn chains_are_asked_in_order_and_jumped_to() {
    let sub = |rules| base("sub", "", "accept", rules);
    let jump = |kind: &str| json!([{ kind: { "target": "sub" } }]);
    let input = |rules| base("in", "input", "accept", rules);
    // A return comes back, a goto does not.
    let returns = || sub(vec![rule("r", json!([{ "return": null }])), rule("never", json!([drop()]))]);
    let after = || rule("after", json!([drop()]));
    assert_eq!(
        texts(vec![input(vec![rule("j", jump("jump")), after()]), returns()], &syn(), Action::Drop),
        ["exactly after"]
    );
    // What may have come back can have been done there, or after it.
    let perhaps_returns =
        || sub(vec![rule("r", json!([{ "limit": {} }, { "return": null }])), rule("there", json!([drop()]))]);
    assert_eq!(
        texts(vec![input(vec![rule("j", jump("jump")), after()]), perhaps_returns()], &syn(), Action::Drop),
        ["there", "after"]
    );
    let then_accepted =
        || sub(vec![rule("r", json!([{ "limit": {} }, { "return": null }])), rule("there", json!([accept()]))]);
    let later = Chain { priority: 10, ..base("later", "input", "drop", vec![]) };
    assert_eq!(
        texts(vec![input(vec![rule("j", jump("jump")), after()]), then_accepted(), later], &syn(), Action::Drop),
        ["after", "policy drop"]
    );
    assert_eq!(texts(vec![input(vec![rule("j", jump("goto")), after()]), returns()], &syn(), Action::Drop), [""; 0]);
    // Accepted in one chain, dropped in a later one.
    let first = Chain { priority: -10, ..base("first", "input", "drop", vec![rule("a", json!([accept()]))]) };
    assert_eq!(texts(vec![input(vec![after()]), first], &syn(), Action::Drop), ["exactly after"]);
    // What may have been accepted can have come to the later chain; what was surely dropped can not.
    let perhaps =
        Chain { priority: -10, ..base("p", "input", "drop", vec![rule("a", json!([{ "limit": {} }, accept()]))]) };
    assert_eq!(texts(vec![input(vec![after()]), perhaps], &syn(), Action::Drop), ["policy drop", "after"]);
    let surely = Chain { priority: -10, ..base("s", "input", "drop", vec![]) };
    assert_eq!(texts(vec![input(vec![after()]), surely], &syn(), Action::Drop), ["exactly policy drop"]);
    // A chain without a name is written as text: it may have done anything.
    let nameless = Chain {
        priority: -10,
        ..base("first", "input", "drop", vec![rule("{}", json!([dport(json!(80)), "jump {\n\t\tdrop\n\t}"]))])
    };
    assert_eq!(texts(vec![nameless, input(vec![after()])], &syn(), Action::Drop), ["{}", "policy drop", "after"]);
    // A chain that jumps to itself, or to nothing, ends.
    let again = || rule("again", json!([{ "limit": {} }, { "jump": { "target": "sub" } }]));
    let endless = sub(vec![again(), again(), again(), rule("after", json!([{ "limit": {} }, drop()]))]);
    assert_eq!(texts(vec![input(vec![rule("j", jump("jump"))]), endless], &syn(), Action::Drop), ["after"]);
    assert_eq!(texts(vec![input(vec![rule("j", jump("jump")), after()])], &syn(), Action::Drop), ["exactly after"]);
}

#[test]
fn verdict_maps() {
    let map = |data: Value| {
        let key = json!({ "payload": { "protocol": "tcp", "field": "dport" } });
        vec![base("in", "input", "accept", vec![rule("map", json!([{ "vmap": { "key": key, "data": data } }]))])]
    };
    let set = |elements: Value| json!({ "set": elements });
    assert_eq!(texts(map(set(json!([[22, accept()], [80, drop()]]))), &syn(), Action::Drop), ["exactly map"]);
    assert_eq!(texts(map(set(json!([[22, drop()], [80, accept()]]))), &syn(), Action::Drop), [""; 0]);
    assert_eq!(texts(map(set(json!([[22, accept()], ["*", drop()]]))), &syn(), Action::Drop), ["exactly map"]);
    assert_eq!(texts(map(json!("@large")), &syn(), Action::Drop), ["exactly map"]);
    let states = json!([["established", accept()], ["invalid", drop()]]);
    let by_state = json!([{ "vmap": { "key": { "ct": { "key": "state" } }, "data": set(states) } }]);
    let input = base("in", "input", "drop", vec![rule("map", by_state)]);
    assert_eq!(texts(vec![input], &syn(), Action::Drop), ["exactly policy drop"]);
}

#[test]
fn other_families_devices_and_engines_are_not_asked() {
    let of = |family: &str| Chain { family: family.into(), ..base("in", "input", "drop", vec![]) };
    assert_eq!(texts(vec![of("ip6"), of("ip6tables"), of("bridge"), of("arp")], &syn(), Action::Drop), [""; 0]);
    // Which of two tables comes first at one priority isn't known.
    assert_eq!(texts(vec![of("iptables"), of("ip")], &syn(), Action::Drop), ["policy drop", "policy drop"]);
    let legacy = PacketView { engine: Some(Engine::Legacy), ..syn() };
    let found = culprits(
        &Ruleset { chains: vec![of("iptables"), of("ip")], ..Default::default() },
        Hook::Input,
        &legacy,
        Action::Drop,
    );
    assert!(matches!(found, Culprits::Exact(r) if r.family == "iptables" && r.handle.is_none()));
    let unlisted = Ruleset { chains: vec![of("ip")], missing: vec!["legacy rules".into()], ..Default::default() };
    assert!(matches!(culprits(&unlisted, Hook::Input, &syn(), Action::Drop), Culprits::Possible(_)));
    let ingress = |device: &str| Chain {
        family: "netdev".into(),
        hook: Some("ingress".into()),
        device: Some(device.into()),
        ..base("ig", "ingress", "drop", vec![])
    };
    let on = |device| {
        culprits(&Ruleset { chains: vec![ingress(device)], ..Default::default() }, Hook::Ingress, &syn(), Action::Drop)
    };
    assert!(matches!((on("lo,eth0"), on("lo")), (Culprits::Exact(_), Culprits::None)));
}

#[test]
fn translation_and_marks_make_earlier_rules_unsure() {
    let raw = Chain {
        priority: -300,
        ..base("raw", "input", "accept", vec![rule("raw", json!([dport(json!(80)), drop()]))])
    };
    let nat = Chain {
        kind: "nat".into(),
        priority: -100,
        table: "n".into(),
        ..base("nat", "input", "accept", vec![rule("dnat", json!([{ "dnat": { "port": 80 } }]))])
    };
    let last = base("in", "input", "drop", vec![]);
    assert_eq!(texts(vec![raw.clone(), nat, last.clone()], &syn(), Action::Drop), ["raw", "policy drop"]);
    assert_eq!(texts(vec![raw, last.clone()], &syn(), Action::Drop), ["exactly raw"]);
    let marked = is(json!({ "meta": { "key": "mark" } }), json!(0x10));
    let by_mark = Chain { priority: -5, ..base("m", "input", "accept", vec![rule("mark", json!([marked, drop()]))]) };
    let sets = json!([{ "mangle": { "key": { "meta": { "key": "mark" } }, "value": 1 } }]);
    let setter = Chain { priority: 5, ..base("s", "forward", "accept", vec![rule("set", sets)]) };
    assert_eq!(texts(vec![by_mark.clone(), last.clone()], &syn(), Action::Drop), ["exactly mark"]);
    assert_eq!(texts(vec![by_mark, setter, last], &syn(), Action::Drop), ["mark", "policy drop"]);
}

#[test]
fn what_is_rewritten_before_a_drop_was_another_packet_to_earlier_rules() {
    let set =
        |field: &str| json!({ "mangle": { "key": { "payload": { "protocol": "tcp", "field": field } }, "value": 80 } });
    let found = |statement: Value| {
        let rules = vec![
            rule("accepted", json!([dport(json!(80)), accept()])),
            rule("before", json!([dport(json!(80)), { "limit": {} }, drop()])),
            rule("another", json!([dport(json!(8080)), drop()])),
            rule("set", json!([dport(json!(8080)), statement])),
        ];
        texts(vec![base("in", "input", "drop", rules)], &syn(), Action::Drop)
    };
    // The one for port 8080 would have dropped a packet with that port.
    assert_eq!(found(set("dport")), ["before", "policy drop"]);
    assert_eq!(
        found(json!({ "mangle": { "key": { "payload": { "base": "th", "offset": 16, "len": 16 } }, "value": 80 } }))
            .len(),
        2
    );
    assert_eq!(found(json!({ "xt": { "type": "target", "name": "SNPT" } })).len(), 2);
    assert_eq!(found(set("flags")), [""; 0], "the port is still what it was");
    let itself = json!([dport(json!(8080)), set("dport"), drop()]);
    assert_eq!(
        texts(vec![base("in", "input", "accept", vec![rule("it", itself)])], &syn(), Action::Drop),
        ["exactly it"]
    );
}

#[test]
fn what_is_copied_or_marked_goes_on() {
    for statement in [json!({ "dup": { "addr": "10.0.0.9" } }), json!({ "xt": { "type": "target", "name": "TEE" } })] {
        let rules = vec![rule("copy", json!([statement])), rule("drop", json!([drop()]))];
        assert_eq!(texts(vec![base("in", "input", "accept", rules)], &syn(), Action::Discard), ["exactly drop"]);
    }
}

/// JSON that is nearly nft's: its words in any place.
fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let word = prop::sample::select(vec![
        "match", "op", "left", "right", "==", "!=", "in", "payload", "protocol", "field", "tcp", "ip", "saddr",
        "dport", "flags", "meta", "key", "mark", "ct", "state", "set", "range", "prefix", "addr", "len", "concat", "&",
        "|", "vmap", "data", "elem", "val", "*", "drop", "accept", "jump", "goto", "target", "reject", "type", "xt",
        "name", "10.0.0.1", "@x", "c", "limit",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<u64>().prop_map(Value::from),
        (0..200_u64).prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone().prop_map(str::to_string), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn no_rule_makes_it_panic_and_a_surely_reached_drop_is_always_found(expr in proptest::collection::vec(any_json(), 0..4)) {
        let found = texts(vec![base("c", "input", "accept", vec![rule("any", Value::Array(expr.clone()))])], &syn(), Action::Drop);
        assert!(found.is_empty() || found == ["exactly any"], "{found:?}");
        // Whatever stands after it: a rule that drops everything is the culprit.
        let rules = vec![rule("all", json!([drop()])), rule("any", Value::Array(expr))];
        assert_eq!(texts(vec![base("c", "input", "accept", rules)], &syn(), Action::Drop), ["exactly all"]);
    }
}

#[test]
fn a_queue_takes_what_was_dropped_in_it() {
    let queue = |name: &str, port: u16| rule(name, json!([dport(json!(port)), { "queue": { "num": 7 } }]));
    let rules = vec![queue("other", 81), queue("it", 80), rule("later", json!([drop()]))];
    let first = || base("in", "input", "drop", rules.clone());
    assert_eq!(texts(vec![first()], &syn(), Action::Queue), ["exactly it"]);
    // What the program lets pass is not asked about again by this chain, but by the next one.
    assert!(texts(vec![first()], &syn(), Action::Drop).is_empty());
    let next = base("later", "input", "drop", Vec::new());
    assert_eq!(texts(vec![first(), next], &syn(), Action::Drop), ["exactly policy drop"]);
}

#[test]
fn a_syn_proxy_takes_what_belongs_to_a_handshake() {
    const SYN: u8 = 2;
    const SYN_ACK: u8 = 18;
    const ACK: u8 = 16;
    const FIN_ACK: u8 = 17;
    const RST: u8 = 4;
    let nftables = json!([{ "synproxy": { "mss": 1460 } }]);
    let iptables = json!([{ "xt": { "type": "target", "name": "SYNPROXY" } }]);
    let dropped = |proxy: &Value, flags: u8| {
        let rules = vec![rule("proxy", proxy.clone()), rule("drop", json!([drop()]))];
        let packet = PacketView { tcp_flags: Some(flags), ..syn() };
        texts(vec![base("in", "input", "accept", rules)], &packet, Action::Drop)
    };
    for (proxy, takes) in [(&nftables, [true, true, true, true, false]), (&iptables, [true, false, true, false, false])]
    {
        for (flags, takes) in [SYN, SYN_ACK, ACK, FIN_ACK, RST].into_iter().zip(takes) {
            let by = if takes { "exactly proxy" } else { "exactly drop" };
            assert_eq!(dropped(proxy, flags), [by], "{flags}");
        }
    }
    let reject = rule("reject", json!([{ "reject": { "type": "tcp reset" } }]));
    let packet = PacketView { tcp_flags: Some(ACK), ..syn() };
    let perhaps = rule("proxy", json!([{ "limit": { "rate": 1 } }, { "synproxy": null }]));
    let chain = base("in", "input", "accept", vec![perhaps, reject]);
    assert_eq!(texts(vec![chain], &packet, Action::Reset), ["exactly reject"], "a proxy does not reset");
}
