//! Lookups that came to nothing before any server answered: what the resolver's configuration says of them.

use super::{
    lookup_tests::dns,
    tests::{MS, code, ip, run, task, unknown},
};
use crate::{
    event::Event,
    fact::{Answer, Interface, ResolvConf, Resolver},
    report::{Certainty, Report},
    time::Time,
    want::Want,
};

/// getaddrinfo returns, after its time-out.
fn returned(name: &str, family: u32, result: i32) -> (u64, Event) {
    let (name, service) = (name.into(), String::new());
    (1_000 * MS, Event::GetAddrInfo { task: task(), started: Time(MS / 2), result, family, name, service })
}

/// A question for a.test that goes to this server, and no answer comes.
fn asked(server: &str) -> (u64, Event) {
    let mut event = dns(1, "a.test", 1, None);
    if let Event::Dns { tuple, current, .. } = &mut event {
        tuple.remote = ip(server);
        *current = Some(task());
    }
    (MS, event)
}

/// The only report, with this configuration and these addresses.
fn told(events: Vec<(u64, Event)>, resolver: &Resolver, addresses: &[&str]) -> Report {
    let interface = Interface { addresses: addresses.iter().map(|a| (ip(a), 8)).collect(), ..Interface::default() };
    let host = |want: &Want| match want {
        Want::Resolver { .. } => Answer::Resolver(resolver.clone()),
        Want::Interfaces { .. } => Answer::Interfaces(vec![interface.clone()]),
        other => unknown(other),
    };
    let mut reports = run(events, host);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    reports.remove(0)
}

/// Its verdict, which has these words.
fn says(report: &Report, expected: &str, certainty: Certainty, words: &str) {
    assert_eq!(code(std::slice::from_ref(report)), [expected]);
    let verdict = report.verdict.as_ref().expect("a verdict");
    assert_eq!(verdict.certainty, certainty, "{verdict:#?}");
    assert!(verdict.because.contains(words), "{verdict:#?}");
}

fn configured(servers: &[&str], file: ResolvConf, passed_over: Option<&str>) -> Resolver {
    Resolver {
        servers: servers.iter().map(|s| ip(s)).collect(),
        path: "/etc/resolv.conf".into(),
        file: Some(file),
        passed_over: passed_over.map(Into::into),
        nsswitch: vec!["files".into(), "dns".into()],
        ..Resolver::default()
    }
}

const READABLE: ResolvConf = ResolvConf::File { owner: 0, mode: 0o644 };

#[test]
fn why_nobody_but_the_c_librarys_own_choice_was_asked() {
    let file = |owner, mode| ResolvConf::File { owner, mode };
    let (proven, likely) = (Certainty::Proven, Certainty::Likely);
    let server: &[&str] = &["10.0.0.53"];
    for (resolver, certainty, words) in [
        (configured(&[], READABLE, None), proven, "/etc/resolv.conf names no name server, so that 127.0.0.1 was asked"),
        (configured(&[], ResolvConf::Missing, None), proven, "there is no /etc/resolv.conf"),
        (configured(&[], READABLE, Some("nameserver 10.0.0.53\r")), proven, "end with a carriage return"),
        (configured(&[], READABLE, Some("nameserver a.b")), proven, "no address stands in \"nameserver a.b\""),
        (
            configured(server, file(0, 0o600), None),
            proven,
            "(uid 1000) may not read /etc/resolv.conf (mode 600, owner uid 0)",
        ),
        (configured(server, file(0, 0o640), None), likely, "(uid 1000) may not read /etc/resolv.conf (mode 640"),
        (
            configured(server, file(1000, 0o600), None),
            likely,
            "did not use the name servers of /etc/resolv.conf (10.0.0.53)",
        ),
    ] {
        let report = told(vec![asked("127.0.0.1"), returned("a.test", 0, -3)], &resolver, &[]);
        says(&report, "dns.no-server", certainty, words);
    }
    // It is configured, or another one was asked: silence.
    for (server, resolver) in [("127.0.0.1", "127.0.0.1"), ("127.0.0.53", "10.0.0.53")] {
        let resolver = configured(&[resolver], READABLE, None);
        let report = told(vec![asked(server), returned("a.test", 0, -3)], &resolver, &[]);
        says(&report, "dns.timeout", proven, "no answer from");
    }
    // Not the C library: whom its program asks is its own affair.
    says(&told(vec![asked("127.0.0.1")], &configured(server, READABLE, None), &[]), "dns.timeout", proven, "no answer");
}

#[test]
fn a_directory_in_the_place_of_resolv_conf() {
    let directory = configured(&[], ResolvConf::Directory, None);
    let report = told(vec![returned("a.test", 0, -2)], &directory, &["10.0.0.1"]);
    says(&report, "dns.no-server", Certainty::Proven, "/etc/resolv.conf is a directory");
    let without_dns = Resolver { nsswitch: vec!["files".into()], ..directory };
    let report = told(vec![returned("a.test", 0, -2)], &without_dns, &["10.0.0.1"]);
    says(&report, "dns.lookup-failed", Certainty::Proven, "(sources: files)");
}

#[test]
fn nobody_is_asked_for_addresses_of_a_family_that_this_host_has_none_of() {
    const INET: u32 = 2;
    const INET6: u32 = 10;
    for servers in [&[][..], &["10.0.0.53"]] {
        let resolver = configured(servers, READABLE, None);
        let told = |family, addresses: &[&str]| told(vec![returned("a.test", family, -2)], &resolver, addresses);
        let likely = |report, words| says(&report, "dns.lookup-failed", Certainty::Likely, words);
        likely(told(INET, &["127.0.0.1", "::1", "fd00::1"]), "IPv4 addresses, and no interface has one but 127.0.0.1");
        likely(told(INET6, &["127.0.0.1", "::1", "10.0.0.1"]), "IPv6 addresses, and no interface has one but ::1");
        for (family, addresses) in [(INET, ["127.0.0.1", "10.0.0.1"]), (0, ["127.0.0.1", "::1"])] {
            likely(told(family, &addresses), "(sources: files dns)");
        }
    }
}

#[test]
fn what_can_be_no_name_is_asked_of_nobody() {
    let (long_label, long_name) = (format!("{}.test", "x".repeat(64)), "xyz.".repeat(64));
    for (name, result, words) in [
        ("a.test..", -2, "a.test.. is no name, it has an empty label"),
        (".a.test", -2, "has an empty label"),
        (&long_label, -2, "a label of more than 63 characters"),
        (&long_name, -2, "more than 253 characters"),
        (
            "\u{fffd}.test",
            -105,
            "EAI_IDN_ENCODE without asking any server: \u{fffd}.test is no name, it can't be encoded",
        ),
        ("a.test.", -2, "(sources: files dns)"),
    ] {
        let report = told(vec![returned(name, 0, result)], &configured(&["10.0.0.53"], READABLE, None), &["10.0.0.1"]);
        // A server should have been asked for what can be one.
        let certainty = if name == "a.test." { Certainty::Likely } else { Certainty::Proven };
        says(&report, "dns.lookup-failed", certainty, words);
    }
}
