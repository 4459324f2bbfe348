//! What makes one lookup, and what becomes of it.

use super::tests::{MS, attempt, closed, code, dropped, elsewhere, ip, reset_received, run, run_with, unknown};
use crate::{
    diagnosis::Settings,
    event::{Cookie, DnsMessage, DnsQuestion, Event, Netns, Protocol, Task, Tuple},
    fact::{self, Answer},
    report::{Certainty, Outcome, Report},
    time::Time,
    want::Want,
};
use std::net::IpAddr;

pub(super) fn task() -> Task {
    thread(4121)
}

/// A thread of the one process.
pub(super) fn thread(tid: u32) -> Task {
    Task { tid, ..super::tests::task() }
}

fn message(id: u16, name: &str, kind: u16, answer: Option<(u16, Vec<IpAddr>)>) -> DnsMessage {
    let (rcode, addresses) = answer.clone().unwrap_or_default();
    DnsMessage {
        id,
        answer: answer.is_some(),
        truncated: false,
        rcode,
        question: Some(DnsQuestion { name: name.into(), kind }),
        answers: u16::try_from(addresses.len()).unwrap_or(u16::MAX),
        addresses,
        aliases: Vec::new(),
        authority: None,
        length: 40,
        malformed: None,
    }
}

pub(super) fn dns(id: u16, name: &str, kind: u16, answer: Option<(u16, Vec<IpAddr>)>) -> Event {
    asked_by(&task(), 1, id, name, kind, answer)
}

/// The same by a thread, on a socket.
pub(super) fn asked_by(
    who: &Task,
    socket: u64,
    id: u16,
    name: &str,
    kind: u16,
    answer: Option<(u16, Vec<IpAddr>)>,
) -> Event {
    let leaving = answer.is_none();
    Event::Dns {
        current: leaving.then(|| who.clone()),
        cookie: Some(Cookie(socket)),
        tuple: Tuple {
            protocol: Protocol::Udp,
            local: ip("10.0.0.1"),
            local_port: 5000 + u16::try_from(socket).expect("a small number"),
            remote: ip("10.0.0.53"),
            remote_port: 53,
        },
        netns: Some(Netns(1)),
        leaving,
        resolving: None,
        message: message(id, name, kind, answer),
    }
}

#[test]
fn a_name_that_does_not_exist() {
    let events = vec![
        (MS, dns(1, "nx.test", 1, None)),
        (MS, dns(2, "nx.test", 28, None)),
        (2 * MS, dns(1, "nx.test", 1, Some((3, vec![])))),
        (2 * MS, dns(2, "nx.test", 28, Some((3, vec![])))),
    ];
    let reports = run(events, unknown);
    assert_eq!(code(&reports), ["dns.nxdomain"]);
    assert_eq!(reports[0].query.as_ref().map(|q| q.kind.as_str()), Some("A+AAAA"));
}

#[test]
fn a_name_found_is_no_report_and_names_the_connection() {
    let found = vec![ip("10.0.0.5")];
    let events = vec![
        (1, dns(1, "db.test", 1, None)),
        (MS / 2, dns(1, "db.test", 1, Some((0, found)))),
        (5 * MS, attempt()),
        (6 * MS, reset_received()),
        (6 * MS, closed(111)),
    ];
    let reports = run(events, elsewhere);
    assert_eq!(code(&reports), ["refused.remote"]);
    assert_eq!(reports[0].name.as_deref(), Some("db.test"));
}

/// Programs go on to the next address soon, and none of them is told of a connection that works.
#[test]
fn an_attempt_that_is_given_up_may_have_been_one_of_several() {
    let advice = |found: IpAddr| {
        let found = Some((0, vec![found]));
        let events = vec![
            (1, dns(1, "db.test", 1, None)),
            (MS / 2, dns(1, "db.test", 1, found)),
            (5 * MS, attempt()),
            (200 * MS, closed(0)),
        ];
        let reports = run(events, elsewhere);
        assert_eq!(code(&reports), ["timeout.abandoned"]);
        reports[0].verdict.as_ref().expect("a verdict").advice.concat()
    };
    assert!(advice(ip("10.0.0.5")).ends_with("went on to another address of db.test, look at the way to this one"));
    assert!(!advice(ip("10.0.0.6")).contains("another address"));
}

#[test]
fn the_search_list_is_one_lookup() {
    let search = |want: &Want| match want {
        Want::Resolver { .. } => Answer::Resolver(crate::fact::Resolver {
            search: vec!["a.example".into(), "b.example".into()],
            timeout: 5,
            ..crate::fact::Resolver::default()
        }),
        other => unknown(other),
    };
    let events = vec![
        (MS, dns(1, "db.a.example", 1, None)),
        (2 * MS, dns(1, "db.a.example", 1, Some((3, vec![])))),
        (3 * MS, dns(2, "db.b.example", 1, None)),
        (4 * MS, dns(2, "db.b.example", 1, Some((0, vec![ip("10.0.0.5")])))),
    ];
    assert_eq!(code(&run(events, search)), Vec::<&str>::new());
}

#[test]
fn a_query_without_answer_times_out() {
    let reports = run(vec![(MS, dns(1, "drop.test", 1, None))], unknown);
    assert_eq!(code(&reports), ["dns.timeout"]);
}

pub(super) fn resolved(who: &Task, started: u64, result: i32, name: &str) -> Event {
    let (task, name) = (who.clone(), name.to_owned());
    Event::GetAddrInfo { task, started: Time(started), result, family: 0, name, service: "80".into() }
}

pub(super) fn names(reports: &[Report]) -> Vec<&str> {
    reports.iter().filter_map(|r| r.name.as_deref()).collect()
}

#[test]
fn two_threads_of_one_program_ask_for_two_types_of_one_name() {
    let (a, b) = (thread(1), thread(2));
    let events = vec![
        (MS, asked_by(&a, 1, 1, "nx.test", 1, None)),
        (MS, asked_by(&b, 2, 2, "nx.test", 28, None)),
        (2 * MS, asked_by(&a, 1, 1, "nx.test", 1, Some((3, vec![])))),
        (3 * MS, asked_by(&b, 2, 2, "nx.test", 28, Some((3, vec![])))),
    ];
    let reports = run(events, unknown);
    assert_eq!(code(&reports), ["dns.nxdomain"]);
    assert_eq!(reports[0].query.as_ref().map(|q| q.kind.as_str()), Some("A+AAAA"));
}

#[test]
fn two_lookups_of_one_name_at_the_same_time_are_two() {
    let (a, b) = (thread(1), thread(2));
    let question = |who: &Task, socket, id, kind| asked_by(who, socket, id, "nx.test", kind, None);
    let answer = |who: &Task, socket, id, kind| asked_by(who, socket, id, "nx.test", kind, Some((3, vec![])));
    let mut events = vec![
        (MS, question(&a, 1, 1, 1)),
        (MS, question(&b, 2, 2, 1)),
        (2 * MS, answer(&a, 1, 1, 1)),
        (3 * MS, answer(&b, 2, 2, 1)),
    ];
    assert_eq!(code(&run(events.clone(), unknown)), ["dns.nxdomain"; 2], "the same question twice");
    // Two calls of getaddrinfo, one for each family: recognized by their return.
    events[1].1 = question(&b, 2, 2, 28);
    events[3].1 = answer(&b, 2, 2, 28);
    events.push((4 * MS, resolved(&a, MS / 2, -2, "nx.test")));
    events.push((5 * MS, resolved(&b, MS / 2, -2, "nx.test")));
    let reports = run(events, unknown);
    assert_eq!(code(&reports), ["dns.nxdomain"; 2]);
    let tids: Vec<u32> = reports.iter().filter_map(|r| Some(r.process.as_ref()?.tid)).collect();
    assert_eq!(tids, [1, 2]);
    assert!(reports.iter().all(|r| r.attempts.as_ref().is_some_and(|a| a.len() == 1)), "each has its own question");
}

#[test]
fn a_call_of_getaddrinfo_holds_together_until_it_returns() {
    let inside = |mut event: Event| {
        if let Event::Dns { resolving, .. } = &mut event {
            *resolving = Some(Time(MS / 2));
        }
        event
    };
    let mut events = vec![(MS, inside(dns(1, "slow.test", 1, None)))];
    // Nobody answers for longer than any resolver waits; the call has not returned yet.
    events.push((60_000 * MS, resolved(&task(), MS / 2, -3, "slow.test")));
    let reports = run(events, unknown);
    assert_eq!(code(&reports), ["dns.timeout"]);
    assert_eq!(reports[0].errno.as_deref(), Some("EAI_AGAIN"));
    assert_eq!(reports[0].duration_ns, Some(60_000 * MS - MS / 2));
}

#[test]
fn a_process_that_ends_waits_no_longer() {
    let events = vec![(MS, dns(1, "drop.test", 1, None)), (900 * MS, Event::ProcessExit { task: task(), status: 0 })];
    let reports = run(events, unknown);
    assert_eq!(code(&reports), ["dns.timeout"]);
    assert_eq!(reports[0].duration_ns, Some(899 * MS));
}

/// `curl --max-time`, a program that is killed: getaddrinfo waits for all answers, and gives none before.
#[test]
fn one_answer_of_two_is_none_to_a_process_that_ended_while_it_waited_for_the_other() {
    let story = |resolving: Option<Time>, other: Option<(u16, Vec<IpAddr>)>| {
        let found = Some((0, vec![ip("10.0.0.5")]));
        let mut events = vec![
            (MS, dns(1, "db.test", 1, None)),
            (MS, dns(2, "db.test", 28, None)),
            (2 * MS, dns(1, "db.test", 1, found)),
        ];
        events.extend(other.map(|other| (3 * MS, dns(2, "db.test", 28, Some(other)))));
        for (_, event) in &mut events {
            if let Event::Dns { resolving: of_call, .. } = event {
                *of_call = resolving;
            }
        }
        events.push((900 * MS, Event::ProcessExit { task: task(), status: 0 }));
        run(events, unknown)
    };
    let call = Some(Time(MS / 2));
    let reports = story(call, None);
    assert_eq!(code(&reports), ["dns.timeout"]);
    let because = &reports[0].verdict.as_ref().expect("a verdict").because;
    assert!(because.contains("to 1 query within") && because.ends_with("when the process ended"), "{because}");
    // Everything was answered; a resolver that can't be seen into may have taken the one answer.
    assert!(story(call, Some((0, vec![]))).is_empty() && story(None, None).is_empty());
}

#[test]
fn what_answers_nothing_is_told_and_believed_by_nobody() {
    let events = vec![
        (MS, dns(1, "db.test", 1, None)),
        (2 * MS, dns(7, "db.test", 1, Some((0, vec![ip("10.6.6.6")])))),
        (3 * MS, dns(1, "other.test", 1, Some((0, vec![ip("10.6.6.6")])))),
    ];
    let reports = run(events, unknown);
    assert_eq!(code(&reports), ["dns.timeout"]);
    let because = &reports[0].verdict.as_ref().expect("a verdict").because;
    assert!(because.contains("with an id that was not asked with"), "{because}");
    assert!(because.contains("to another question"), "{because}");
}

#[test]
fn an_answer_whose_later_fragments_are_dropped_is_told_so() {
    let Event::Dns { tuple, .. } = dns(1, "big.test", 1, None) else { panic!("a query") };
    let told = |answer: Tuple| {
        let events = vec![(MS, dns(1, "big.test", 1, None)), (2 * MS, dropped(answer.reversed()))];
        let reports = run(events, elsewhere);
        let verdict = reports[0].verdict.clone().expect("a verdict");
        (reports.len(), verdict.code, verdict.certainty)
    };
    assert_eq!(told(tuple), (1, "dns.server-unreachable", Certainty::Proven));
    assert_eq!(told(tuple.of_fragment()), (1, "dns.server-unreachable", Certainty::Likely));
    assert_eq!(told(Tuple { local: ip("10.0.0.7"), ..tuple }.of_fragment()).1, "dns.timeout");
}

/// dnsmasq[77], which has 127.0.0.53.
pub(super) fn forwarder(want: &Want) -> Answer {
    let Want::Listeners { protocol: Protocol::Udp, port: 53 } = want else { return unknown(want) };
    Answer::Listeners(vec![fact::Listener {
        protocol: Protocol::Udp,
        addr: ip("10.0.0.53"),
        port: 53,
        v6only: false,
        device: 0,
        netns: Netns(1),
        backlog: 0,
        max_backlog: 0,
        uid: 0,
        inode: 1,
        cookie: None,
        owners: vec![fact::Owner { pid: 77, comm: "dnsmasq".into() }],
    }])
}

/// That one as a client of its own.
pub(super) fn stub() -> Task {
    Task { pid: 77, tid: 77, comm: "dnsmasq".into(), ..task() }
}

/// The same message to or from the server that it asks.
pub(super) fn upstream(mut event: Event) -> Event {
    if let Event::Dns { tuple, .. } = &mut event {
        tuple.remote = ip("10.9.9.9");
    }
    event
}

#[test]
fn a_lookup_made_for_another_process_is_told_by_that_one() {
    let stub = stub();
    let events = || {
        vec![
            (MS, dns(1, "sf.test", 1, None)),
            (2 * MS, upstream(asked_by(&stub, 2, 9, "sf.test", 1, None))),
            (3 * MS, upstream(asked_by(&stub, 2, 9, "sf.test", 1, Some((5, vec![]))))),
            (4 * MS, dns(1, "sf.test", 1, Some((5, vec![])))),
        ]
    };
    let reports = run(events(), forwarder);
    assert_eq!(code(&reports), ["dns.refused"]);
    assert_eq!(reports[0].process.as_ref().map(|p| p.pid), Some(task().pid), "the client");
    let because = &reports[0].verdict.as_ref().expect("a verdict").because;
    assert!(because.contains("dnsmasq[77]") && because.contains("10.9.9.9"), "{because}");
    // Nothing says that the other process serves names: two failures.
    assert_eq!(code(&run(events(), unknown)), ["dns.refused"; 2]);
}

#[test]
fn a_slow_lookup_by_a_daemon_is_told() {
    let slow = Settings { all: false, slow: Some(std::time::Duration::from_millis(200)), dns: true, inbound: false };
    let reports = run_with(slow.clone(), vec![(900 * MS, resolved(&task(), MS, 0, "late.test"))], unknown);
    assert_eq!(code(&reports), ["slow.lookup"]);
    assert_eq!((names(&reports), reports[0].outcome), (vec!["late.test"], Outcome::Answered));
    assert_eq!(code(&run_with(slow, vec![(2 * MS, resolved(&task(), MS, 0, "soon.test"))], unknown)), [""; 0]);
}

#[test]
fn a_lookup_whose_thread_returns_late_is_told_once() {
    let returned = Event::GetAddrInfo {
        task: task(),
        started: Time(MS / 2),
        result: -3,
        family: 0,
        name: "sf.test".into(),
        service: String::new(),
    };
    let events =
        vec![(MS, dns(1, "sf.test", 1, None)), (2 * MS, dns(1, "sf.test", 1, Some((2, vec![])))), (900 * MS, returned)];
    assert_eq!(code(&run(events, unknown)), ["dns.servfail"]);
}

#[test]
fn an_answer_that_comes_when_the_resolver_has_gone_on_is_too_late() {
    let message = |server: &str, socket, answer| {
        let mut event = asked_by(&task(), socket, 1, "slow.test", 1, answer);
        if let Event::Dns { tuple, resolving, .. } = &mut event {
            tuple.remote = ip(server);
            *resolving = Some(Time(MS / 2));
        }
        event
    };
    let first = |answer| message("10.0.0.53", 1, answer);
    let second = |answer| message("10.0.0.54", 2, answer);
    let events = |rcode: u16, came: u64| {
        vec![
            (MS, first(None)),
            (1001 * MS, second(None)),
            (came, first(Some((rcode, vec![])))),
            (2002 * MS, resolved(&task(), MS / 2, -3, "slow.test")),
        ]
    };
    for rcode in [0, 2, 3] {
        let reports = run(events(rcode, 1500 * MS), unknown);
        assert_eq!(code(&reports), ["dns.timeout"], "an answer with RCODE {rcode}");
        let because = &reports[0].verdict.as_ref().expect("a verdict").because;
        assert!(because.contains("no answer in time from 10.0.0.53 and 10.0.0.54 to 2 queries"), "{because}");
        assert!(because.contains("10.0.0.53 answered after 1.5 s, when the resolver had gone on"), "{because}");
    }
    let mut in_time = events(2, 500 * MS);
    in_time.sort_by_key(|(t, _)| *t);
    assert_eq!(code(&run(in_time, unknown)), ["dns.servfail"], "what made it go on to the next server");
}
