//! What an answer says of the name that was asked for.

use super::{
    lookup_tests::{asked_by, dns, forwarder, stub, upstream},
    tests::{MS, code, run, unknown},
};
use crate::{
    event::{Authority, Event},
    report::Report,
};

/// An answer of the zone's own server.
const OWN: Authority = Authority { authoritative: true, recursion: false, soa: false, servers: false };
/// An answer with the zone's SOA record, by a server that asks others.
const VOUCHED: Authority = Authority { authoritative: false, recursion: true, soa: true, servers: false };
/// An answer of a server that asks others, without anything more.
const BARE: Authority = Authority { authoritative: false, recursion: true, soa: false, servers: false };

/// The same answer, and what it says of itself.
fn saying(mut event: Event, aliased: &[&str], whose: Option<Authority>) -> Event {
    if let Event::Dns { message, .. } = &mut event {
        message.aliases = aliased.iter().map(|name| (*name).into()).collect();
        message.authority = whose;
    }
    event
}

/// The one report of a question for a.test that is answered so.
fn answered(rcode: u16, aliased: &[&str], whose: Option<Authority>) -> Report {
    let answer = saying(dns(1, "a.test", 1, Some((rcode, vec![]))), aliased, whose);
    let mut reports = run(vec![(MS, dns(1, "a.test", 1, None)), (2 * MS, answer)], unknown);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    reports.remove(0)
}

/// Its code, and that its reason has these words.
fn says(report: &Report, expected: &str, words: &str) {
    let verdict = report.verdict.as_ref().expect("a verdict");
    assert_eq!(verdict.code, expected, "{verdict:#?}");
    assert!(verdict.because.contains(words), "{verdict:#?}");
}

#[test]
fn what_an_alias_stands_for_does_not_exist() {
    let report = answered(3, &["b.test", "gone.test"], Some(VOUCHED));
    says(
        &report,
        "dns.nxdomain",
        "a.test is an alias of b.test, that of gone.test, and gone.test does not exist, says",
    );
    let advice = &report.verdict.as_ref().expect("a verdict").advice;
    assert!(advice.iter().any(|what| what.contains("add gone.test")), "{advice:?}");
    says(&answered(3, &[], Some(VOUCHED)), "dns.nxdomain", "the name a.test does not exist");
}

#[test]
fn what_an_alias_stands_for_has_no_address() {
    for whose in [VOUCHED, BARE, Authority { soa: true, ..OWN }] {
        says(
            &answered(0, &["b.test"], Some(whose)),
            "dns.nodata",
            "a.test is an alias of b.test, and 10.0.0.53 has no A",
        );
    }
    // Its own zone has the alias; what that stands for is somebody else's, and nobody asks.
    says(
        &answered(0, &["b.test"], Some(OWN)),
        "dns.refused",
        "and 10.0.0.53 does not look b.test up: it does no recursion",
    );
}

#[test]
fn aliases_go_round_in_circles() {
    for whose in [VOUCHED, BARE, OWN] {
        says(
            &answered(0, &["b.test", "a.test"], Some(whose)),
            "dns.nodata",
            "alias of b.test, that of a.test: a circle",
        );
        says(&answered(0, &["b.test", "b.test"], Some(whose)), "dns.nodata", "a circle");
    }
}

#[test]
fn that_a_name_exists_is_said_only_on_its_zones_word() {
    for whose in [Some(VOUCHED), Some(OWN), None] {
        says(&answered(0, &[], whose), "dns.nodata", "a.test exists, but 10.0.0.53 has no A record for it");
    }
    says(&answered(0, &[], Some(BARE)), "dns.nodata", "with no A record, and with none that shows that it exists");
}

#[test]
fn a_referral_is_no_word_on_the_name() {
    let referral = Authority { servers: true, ..Authority::default() };
    says(
        &answered(0, &[], Some(referral)),
        "dns.refused",
        "10.0.0.53 only refers to other name servers for a.test: it does",
    );
    let offered = Authority { recursion: true, ..referral };
    let report = answered(0, &[], Some(offered));
    says(&report, "dns.refused", "only refers to other name servers for a.test");
    assert!(!report.verdict.expect("a verdict").because.contains("no recursion"));
    let lame = Some(Authority::default());
    says(&answered(0, &[], lame), "dns.refused", "10.0.0.53 does not look a.test up, and has no zone that it is in");
}

#[test]
fn a_forwarder_asks_for_what_an_alias_stands_for() {
    let ask = |name, answer| upstream(asked_by(&stub(), 2, 9, name, 1, answer));
    let events = vec![
        (MS, dns(1, "a.test", 1, None)),
        (2 * MS, ask("b.test", None)),
        (3 * MS, ask("b.test", Some((3, vec![])))),
        (4 * MS, saying(dns(1, "a.test", 1, Some((3, vec![]))), &["b.test"], Some(VOUCHED))),
    ];
    let reports = run(events, forwarder);
    assert_eq!(code(&reports), ["dns.nxdomain"], "one failure, told by the client");
    says(&reports[0], "dns.nxdomain", "a.test is an alias of b.test");
    says(
        &reports[0],
        "dns.nxdomain",
        "dnsmasq[77], which serves 10.0.0.53, asked in turn: the name b.test does not exist",
    );
}

#[test]
fn a_cut_answer_after_which_nobody_asks_by_tcp_is_not_the_firewalls() {
    let mut cut = dns(1, "a.test", 1, Some((0, vec![])));
    if let Event::Dns { message, .. } = &mut cut {
        message.truncated = true;
    }
    let reports = run(vec![(MS, dns(1, "a.test", 1, None)), (2 * MS, cut)], unknown);
    says(&reports[0], "dns.truncated", "it did not ask again over TCP");
    let advice = &reports[0].verdict.as_ref().expect("a verdict").advice;
    assert!(
        advice.iter().all(|what| !what.contains("allow") && what.contains("a resolver that asks again")),
        "{advice:?}"
    );
}
