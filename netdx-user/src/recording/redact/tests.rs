//! Nothing that identifies is left, and what verdicts rest on still fits together.

use super::*;
use crate::{fact::Ruleset, recording::tests::inputs};

fn redactor() -> Redactor {
    Redactor::new(RandomState::new())
}

fn text_of(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("JSON")
}

#[test]
fn what_identifies_is_gone() {
    let redactor = redactor();
    let redacted: Vec<Stamped> = inputs().into_iter().map(|input| redactor.input(input)).collect();
    let text = text_of(&redacted);
    for secret in ["10.0.0.5", "fd01::2", "a.example", "\\u001b[2J", "\"uid\":1000", "\u{202e}"] {
        assert!(text_of(&inputs()).contains(secret), "the test has {secret}");
        assert!(!text.contains(secret), "{secret} is left in {text}");
    }
    let again: Vec<Stamped> = inputs().into_iter().map(|input| redactor.input(input)).collect();
    assert_eq!(again, redacted, "pseudonyms are stable");
    let other: Vec<Stamped> = inputs().into_iter().map(|input| super::tests::redactor().input(input)).collect();
    assert_ne!(other, redacted, "and different in another recording");
}

#[test]
fn text_and_addresses_agree() {
    let redactor = redactor();
    let pseudonym = |text: &str| {
        let mut address: IpAddr = text.parse().expect("an address");
        redactor.address(&mut address);
        address.to_string()
    };
    let (a, b) = (pseudonym("10.0.0.5"), pseudonym("fd01::2"));
    assert_eq!(
        redactor.text("local 10.0.0.5 dev lo src fd01::2 uid 0, listens on 10.0.0.5:5432."),
        format!("local {a} dev lo src {b} uid 0, listens on {a}:5432.")
    );
    assert_eq!(redactor.text("default via 10.0.0.5 dev eth0 é \"x\""), format!("default via {a} dev eth0 é \"x\""));
    assert_eq!(redactor.text("127.0.0.1 and 1.2 and ::1"), "127.0.0.1 and 1.2 and ::1");
    assert_ne!(redactor.text("00:11:22:33:44:55"), "00:11:22:33:44:55");
}

#[test]
fn a_rule_still_matches() {
    let redactor = redactor();
    let rule = Rule {
        text: "ip saddr 10.1.0.0/16 ip daddr 10.1.2.3 drop comment \"ACME bank\"".into(),
        handle: 4,
        expr: vec![serde_json::json!({"match": {"left": {"payload": {"field": "saddr"}},
            "right": {"prefix": {"addr": "10.1.0.0", "len": 16}}}, "comment": "ACME bank", "to": "10.1.2.3"})],
    };
    let chain = crate::fact::Chain {
        family: "ip".into(),
        table: "filter".into(),
        name: "input".into(),
        hook: Some("input".into()),
        priority: 0,
        device: None,
        kind: String::new(),
        policy: None,
        rules: vec![rule],
    };
    let mut fact = Fact {
        want: Want::Ruleset { netns: crate::event::Netns(1) },
        answer: Answer::Ruleset(Ruleset { chains: vec![chain], ..Default::default() }.into()),
    };
    redactor.fact(&mut fact);
    let Answer::Ruleset(rules) = &fact.answer else { panic!("still a ruleset") };
    let rule = &rules.chains[0].rules[0];
    assert!(!text_of(rule).contains("ACME"), "{rule:?}");
    let net: IpAddr =
        rule.expr[0]["match"]["right"]["prefix"]["addr"].as_str().expect("text").parse().expect("an address");
    let host: IpAddr = rule.expr[0]["to"].as_str().expect("text").parse().expect("an address");
    let (IpAddr::V4(net), IpAddr::V4(host)) = (net, host) else { panic!("still IPv4") };
    assert_eq!(net.octets()[..2], host.octets()[..2], "the host is still in the prefix");
    assert_eq!(net.octets()[2..], [0, 0]);
    assert!(rule.text.starts_with(&format!("ip saddr {net}/16 ip daddr {host} drop")), "{}", rule.text);
}

#[test]
fn names_keep_their_structure() {
    let redactor = redactor();
    let name = |text: &str| {
        let mut name = text.to_owned();
        redactor.name(&mut name);
        name
    };
    assert!(name("db.corp.example").ends_with(&format!(".{}", name("corp.example"))));
    assert_eq!(name("LOCALHOST"), "LOCALHOST");
    assert_eq!(name("DB"), name("db"));
    assert_ne!(name("10.0.0.5"), "10.0.0.5");
    let mut group = "/user.slice/user-1000.slice".to_owned();
    redactor.group(&mut group);
    assert!(group.starts_with("/user.slice/g") && !group.contains("1000"), "{group}");
}

#[test]
fn common_users_stay() {
    let redactor = redactor();
    let user = |mut uid| {
        redactor.user(&mut uid);
        uid
    };
    assert_eq!([user(0), user(65534)], [0, 65534]);
    assert_ne!(user(1000), 1000);
    assert_ne!(user(1000), user(1001));
}

#[test]
fn filters_tell_no_names() {
    let filters = ["--port 80", "--host db", "--no-dns", "-- curl db"].map(String::from);
    assert_eq!(redactor().filters(&filters), ["--port 80", "--host (redacted)", "--no-dns", "-- (redacted)"]);
}
