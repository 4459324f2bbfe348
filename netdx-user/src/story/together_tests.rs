//! Which questions, connections and lookups are one failure, and which of its answers decides.

use super::{
    lookup_tests::{asked_by, dns, names, resolved, task, thread},
    tests::{MS, attempt, closed, code, coverage, drop_of, elsewhere, ip, packet, reset_received, run, unknown},
};
use crate::{
    diagnosis::{Diagnosis, Settings},
    event::{Event, Netns, Protocol, Sock, Task, Tuple},
    fact::{Answer, Fact, Resolver, Translation},
    input::{Input, Stamped},
    report::{Certainty, Report},
    time::Time,
    want::Want,
};

/// Inside of a call of getaddrinfo.
fn inside(mut event: Event) -> Event {
    if let Event::Dns { resolving, .. } = &mut event {
        *resolving = Some(Time(MS / 2));
    }
    event
}

/// A call of getaddrinfo asks for names one after the other, each with the RCODE of its answer, and returns.
fn searched(given: &str, candidates: &[(&str, u16)], result: i32) -> Report {
    let mut events = Vec::new();
    for (n, (name, rcode)) in (1..).zip(candidates) {
        events.push((u64::from(n) * MS, inside(dns(n, name, 1, None))));
        events.push((u64::from(n) * MS + 1, dns(n, name, 1, Some((*rcode, vec![])))));
    }
    events.push((90 * MS, resolved(&task(), MS / 2, result, given)));
    let mut reports = run(events, unknown);
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports.remove(0)
}

fn because(report: &Report) -> &str {
    &report.verdict.as_ref().expect("a verdict").because
}

#[test]
fn of_a_search_list_the_name_decides_that_fits_what_the_library_said() {
    let of = |given, candidates: &[_], result| {
        let report = searched(given, candidates, result);
        (code(std::slice::from_ref(&report))[0].to_owned(), because(&report).to_owned())
    };
    let (code, why) = of("db", &[("db.sf.example", 2), ("db", 3)], -3);
    assert!(code == "dns.servfail" && why.contains("could not answer for db.sf.example"), "{code}: {why}");
    let (code, why) = of("db.example", &[("db.example", 3), ("db.example.nd.example", 0)], -2);
    assert!(code == "dns.nxdomain" && why.contains("db.example does not exist"), "{code}: {why}");
    let (code, why) = of("db", &[("db.nd.example", 0), ("db.nx.example", 3), ("db", 3)], -5);
    assert!(code == "dns.nodata" && why.contains("db.nd.example exists"), "{code}: {why}");
    let (code, why) = of("db", &[("db.refused.example", 5), ("db", 3)], -2);
    assert!(code == "dns.nxdomain" && why.contains("db does not exist"), "{code}: {why}");
}

/// A TCP connection of the thread to a server that nobody listens at.
fn refused_connection() -> Vec<(u64, Event)> {
    let to_server =
        |sock: Sock| Sock { tuple: Tuple { remote: ip("10.0.0.53"), remote_port: 53, ..sock.tuple }, ..sock };
    let events = vec![(MS, attempt()), (2 * MS, reset_received()), (2 * MS, closed(111))];
    let changed = events.into_iter().map(|(t, mut event)| {
        match &mut event {
            Event::Attempt { sock, task, .. } => {
                *sock = to_server(sock.clone());
                *task = Some(super::lookup_tests::task());
            }
            Event::ResetReceived { sock, .. } | Event::State { sock, .. } => *sock = to_server(sock.clone()),
            _ => {}
        }
        (t, event)
    });
    changed.collect()
}

#[test]
fn a_connection_to_a_server_is_the_lookups_however_late_getaddrinfo_returns() {
    for returns in [3 * MS, 30 * MS, 200 * MS] {
        let mut events = refused_connection();
        events.push((returns, resolved(&task(), MS / 2, -3, "db.test")));
        assert_eq!(code(&run(events, elsewhere)), ["dns.server-unreachable"], "after {returns} ns");
    }
    // Of another thread, and of none.
    let mut events = refused_connection();
    events.push((30 * MS, resolved(&thread(9), MS / 2, -3, "db.test")));
    assert_eq!(code(&run(events, elsewhere)), ["dns.lookup-failed", "refused.remote"]);
    assert_eq!(code(&run(refused_connection(), elsewhere)), ["refused.remote"]);
}

/// The host says what resolves names, and nothing else.
fn resolver(sources: &[&str], search: &[&str]) -> impl Fn(&Want) -> Answer {
    let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let known = Resolver {
        servers: vec![ip("10.0.0.53")],
        nsswitch: owned(sources),
        search: owned(search),
        timeout: 5,
        attempts: 2,
        ..Resolver::default()
    };
    move |want| match want {
        Want::Resolver { .. } => Answer::Resolver(known.clone()),
        other => unknown(other),
    }
}

#[test]
fn that_no_server_was_asked_is_proven_where_none_should_be() {
    let certainty = |sources: &[&str]| {
        let reports = run(vec![(2 * MS, resolved(&task(), MS, -2, "db.test"))], resolver(sources, &[]));
        assert_eq!(code(&reports), ["dns.lookup-failed"]);
        reports[0].verdict.as_ref().map(|v| v.certainty)
    };
    assert_eq!(certainty(&["files"]), Some(Certainty::Proven));
    assert_eq!(certainty(&["files", "dns"]), Some(Certainty::Likely));
}

#[test]
fn what_a_daemon_looked_up_for_the_library_is_told_once() {
    let by = |comm: &str| Task { pid: 77, tid: 77, comm: comm.into(), ..task() };
    let reports = |comm: &str, asked: &str, given: &str, result| {
        let events = vec![
            (2 * MS, asked_by(&by(comm), 2, 9, asked, 1, None)),
            (3 * MS, asked_by(&by(comm), 2, 9, asked, 1, Some((2, vec![])))),
            (4 * MS, resolved(&task(), MS, result, given)),
        ];
        run(events, unknown)
    };
    for (comm, asked) in [("systemd-resolve", "db.test"), ("nscd", "db.test.example")] {
        let told = reports(comm, asked, "DB.test", -2);
        assert_eq!(code(&told), ["dns.servfail"]);
        assert_eq!(told[0].process.as_ref().map(|p| p.pid), Some(task().pid), "the client");
        assert!(because(&told[0]).contains(&format!("{comm}[77], which the C library asked")), "{}", because(&told[0]));
        assert_eq!(told[0].attempts.as_ref().map(Vec::len), Some(1));
    }
    let mut apart =
        [reports("systemd-resolve", "other.test", "db.test", -2), reports("dnsd", "db.test", "db.test", -2)];
    apart.iter_mut().for_each(|reports| reports.sort_by_key(|r| r.began));
    for reports in &apart {
        assert_eq!(code(reports), ["dns.lookup-failed", "dns.servfail"]);
    }
}

/// What is known of the search list comes when the questions have been asked.
fn run_with_late_answers(events: Vec<(u64, Event)>, answer: impl Fn(&Want) -> Answer) -> Vec<Report> {
    let mut core = Diagnosis::new(coverage(), Settings { dns: true, ..Settings::default() });
    let (mut reports, mut open) = (Vec::new(), Vec::new());
    let mut last = 0;
    let mut feed = |core: &mut Diagnosis, t, input, open: &mut Vec<Want>| {
        let step = core.apply(Stamped { t: Time(t), input });
        reports.extend(step.reports);
        open.extend(step.wants);
    };
    for (t, event) in events {
        last = t;
        feed(&mut core, t, Input::Event(event), &mut open);
    }
    // Puts the events in order.
    last += 20 * MS;
    feed(&mut core, last, Input::Tick, &mut open);
    while !open.is_empty() || core.deadline().is_some() {
        for want in std::mem::take(&mut open) {
            let answer = answer(&want);
            feed(&mut core, last, Input::Fact(Fact { want, answer }), &mut open);
        }
        last = last.max(core.deadline().map_or(last, |t| t.0));
        feed(&mut core, last, Input::Tick, &mut open);
    }
    reports
}

#[test]
fn one_search_is_one_lookup_though_the_list_is_known_late_or_never() {
    let asked = |names: &[&str]| {
        let mut events = Vec::new();
        for (n, name) in (1..).zip(names) {
            events.push((u64::from(n) * MS, dns(n, name, 1, None)));
            events.push((u64::from(n) * MS + 1, dns(n, name, 1, Some((3, vec![])))));
        }
        events
    };
    let suffixes = ["a.example", "b.example"];
    let shortened = asked(&["db.a.example", "db.b.example", "db"]);
    let reports = run_with_late_answers(shortened, resolver(&["dns"], &suffixes));
    assert_eq!((code(&reports), names(&reports)), (vec!["dns.nxdomain"], vec!["db"]));
    let extended = asked(&["db.test", "db.test.a.example", "db.test.b.example"]);
    let reports = run(extended, unknown);
    assert_eq!((code(&reports), names(&reports)), (vec!["dns.nxdomain"], vec!["db.test"]));
    assert_eq!(code(&run(asked(&["db.a.example", "db.b.example"]), unknown)), ["dns.nxdomain"; 2], "of no list");
}

#[test]
fn a_server_that_failed_is_asked_again_by_musl() {
    let again = |rcode, addresses: Vec<_>| {
        vec![
            (MS, dns(1, "db.test", 1, None)),
            (2 * MS, dns(1, "db.test", 1, Some((2, vec![])))),
            (2500 * MS, dns(1, "db.test", 1, None)),
            (2501 * MS, dns(1, "db.test", 1, Some((rcode, addresses)))),
        ]
    };
    let reports = run(again(2, vec![]), resolver(&["dns"], &[]));
    assert_eq!(code(&reports), ["dns.servfail"]);
    assert_eq!(reports[0].attempts.as_ref().map(Vec::len), Some(2));
    assert_eq!(code(&run(again(0, vec![ip("10.0.0.5")]), resolver(&["dns"], &[]))), [""; 0]);
    // Another lookup of the name, a while later.
    let mut anew = again(2, vec![]);
    anew[2].1 = dns(7, "db.test", 1, None);
    anew[3].1 = dns(7, "db.test", 1, Some((2, vec![])));
    assert_eq!(code(&run(anew, resolver(&["dns"], &[]))), ["dns.servfail"; 2]);
}

#[test]
fn musl_takes_one_answer_of_two_for_none() {
    // AAAA is asked for again, so long after, on this socket; nobody answers that.
    let half = |ms: u64, socket: u64| {
        let a = |answer| dns(1, "db.test", 1, answer);
        let aaaa = |socket| asked_by(&task(), socket, 2, "db.test", 28, None);
        let answer = a(Some((0, vec![ip("10.0.0.5")])));
        let events = vec![(MS, a(None)), (MS, aaaa(1)), (2 * MS, answer), ((1 + ms) * MS, aaaa(socket))];
        let reports = run(events, resolver(&["dns"], &[]));
        reports.iter().map(|r| r.verdict.as_ref().map(|v| (v.code, v.certainty))).collect::<Vec<_>>()
    };
    assert_eq!(half(2500, 1), [Some(("dns.timeout", Certainty::Likely))]);
    assert_eq!(half(5000, 1), [], "c-ares waits the whole time-out");
    assert_eq!(half(2500, 2), [], "others make a socket for each question");
}

/// A datagram was dropped.
fn dropped(tuple: Tuple, reason: &'static str) -> Event {
    drop_of(packet(tuple), reason, None)
}

/// The endpoints of the first socket's questions.
fn asked() -> Tuple {
    Tuple { protocol: Protocol::Udp, local: ip("10.0.0.1"), local_port: 5001, remote: ip("10.0.0.53"), remote_port: 53 }
}

#[test]
fn the_drop_of_one_answer_of_two_is_told() {
    let events = vec![
        (MS, inside(dns(1, "big.test", 1, None))),
        (MS, inside(dns(2, "big.test", 28, None))),
        (2 * MS, dns(2, "big.test", 28, Some((0, vec![])))),
        (2 * MS, dropped(asked().reversed(), "NETFILTER_DROP")),
        (5000 * MS, resolved(&task(), MS / 2, -3, "big.test")),
    ];
    let reports = run(events, elsewhere);
    assert_eq!(code(&reports), ["dns.server-unreachable"]);
    let because = because(&reports[0]);
    assert!(because.starts_with("A big.test got no answer from the name server 10.0.0.53: "), "{because}");
}

#[test]
fn most_names_have_no_record_of_some_types() {
    let answered = |kinds: &[u16], rcode| {
        let mut events = Vec::new();
        for (id, kind) in (1..).zip(kinds) {
            events.push((MS, dns(id, "db.test", *kind, None)));
            events.push((2 * MS, dns(id, "db.test", *kind, Some((rcode, vec![])))));
        }
        events.sort_by_key(|(t, _)| *t);
        run(events, unknown)
    };
    for kind in [10, 43, 48, 64, 65] {
        assert_eq!(code(&answered(&[kind], 0)), [""; 0], "type {kind}");
    }
    assert_eq!(code(&answered(&[1, 65], 0)), ["dns.nodata"], "no address is missed");
    assert_eq!(code(&answered(&[65], 3)), ["dns.nxdomain"]);
    assert_eq!(code(&answered(&[10], 3)), [""; 0], "with NULL nobody looks anything up");
}

#[test]
fn an_answer_from_another_port_is_the_lookups() {
    let other = Tuple { remote_port: 5354, ..asked() };
    let events = vec![(MS, dns(1, "db.test", 1, None)), (2 * MS, dropped(other.reversed(), "NO_SOCKET"))];
    let reports = run(events, elsewhere);
    assert_eq!(code(&reports), ["dns.timeout"]);
    assert!(because(&reports[0]).contains("1 message from 10.0.0.53, from another port"), "{}", because(&reports[0]));
}

#[test]
fn each_server_is_named_once() {
    let of = |server: &str, socket| {
        let mut event = asked_by(&task(), socket, u16::try_from(socket).expect("small"), "db.test", 1, None);
        if let Event::Dns { tuple, .. } = &mut event {
            tuple.remote = ip(server);
        }
        event
    };
    let servers = ["10.0.0.53", "10.0.0.54", "10.0.0.53", "10.0.0.54"];
    let events = (1u64..).zip(servers).map(|(n, server)| (n * 1000 * MS, of(server, n))).collect();
    let reports = run(events, unknown);
    assert_eq!(code(&reports), ["dns.timeout"]);
    assert!(because(&reports[0]).starts_with("no answer from 10.0.0.53 and 10.0.0.54 to"), "{}", because(&reports[0]));
}

#[test]
fn what_became_of_a_query_whose_server_is_translated_is_told_of_it() {
    let there = Tuple { remote: ip("10.0.0.77"), remote_port: 5300, ..asked() };
    let host = move |want: &Want| match want {
        Want::Translations { packet } if *packet == asked() => {
            Answer::Translations(vec![Translation { netns: Netns(1), to: there }])
        }
        other => elsewhere(other),
    };
    let events = vec![
        (MS, inside(dns(1, "db.test", 1, None))),
        (2 * MS, dropped(there, "NETFILTER_DROP")),
        (5000 * MS, resolved(&task(), MS / 2, -3, "db.test")),
    ];
    let reports = run(events, host);
    let of_lookup: Vec<&Report> = reports.iter().filter(|r| r.name.is_some()).collect();
    assert_eq!(code(&[of_lookup[0].clone()]), ["dns.server-unreachable"]);
    let because = because(of_lookup[0]);
    assert!(because.contains("10.0.0.53:53 is translated to 10.0.0.77:5300"), "{because}");
}

#[test]
fn a_name_that_was_looked_up_later_is_no_connections() {
    let found = |from: u64| {
        vec![(from, dns(1, "db.test", 1, None)), (from + 1, dns(1, "db.test", 1, Some((0, vec![ip("10.0.0.5")]))))]
    };
    let connection = || vec![(10 * MS, attempt()), (30 * MS, reset_received()), (30 * MS, closed(111))];
    let named = |mut events: Vec<(u64, Event)>| {
        if let Event::Attempt { started, .. } = &mut events.iter_mut().find(|(t, _)| *t == 10 * MS).expect("it").1 {
            *started = Time(10 * MS);
        }
        events.sort_by_key(|(t, _)| *t);
        run(events, elsewhere)[0].name.clone()
    };
    let with = |from| [connection(), found(from)].concat();
    assert_eq!(named(with(20 * MS)), None);
    assert_eq!(named(with(5 * MS)).as_deref(), Some("db.test"));
    // Once more is no later.
    assert_eq!(named([connection(), found(5 * MS), found(20 * MS)].concat()).as_deref(), Some("db.test"));
}
