//! The core from inputs to reports, with events made by hand.

use crate::{
    coverage::{Coverage, Probe},
    diagnosis::{Diagnosis, Settings},
    event::{
        Call, Cookie, Event, Netns, Packet, Protocol, RouteLookups, Sock, SockId, Task, TcpCounters, TcpState, Tuple,
        Via,
    },
    fact::{Answer, Fact, Listener, Neighbor, Route},
    input::{Input, Stamped},
    report::{Certainty, Outcome, Report},
    time::Time,
    want::Want,
};
use std::{net::IpAddr, sync::Arc};

pub(super) const MS: u64 = 1_000_000;

pub(super) fn coverage() -> Coverage {
    let names = [
        "tcp-state",
        "reset-sent",
        "drop",
        "retransmit",
        "icmp",
        "dns-in",
        "dns-out",
        "connect-call",
        "getaddrinfo",
        "route4",
        "route6",
    ];
    let probe =
        |name: &&str| Probe { name: (*name).into(), hook: Some("test".into()), reason: None, gives: String::new() };
    Coverage { probes: names.iter().map(probe).collect() }
}

pub(super) fn ip(s: &str) -> IpAddr {
    s.parse().expect("an address")
}

pub(super) fn tuple() -> Tuple {
    Tuple {
        protocol: Protocol::Tcp,
        local: ip("10.0.0.1"),
        local_port: 40_000,
        remote: ip("10.0.0.5"),
        remote_port: 5432,
    }
}

pub(super) fn sock(state: TcpState) -> Sock {
    Sock { id: Some(SockId(7)), state, ..Sock::unseen(tuple(), Netns(1)) }
}

pub(super) fn task() -> Task {
    Task { pid: 100, tid: 100, uid: 1000, netns: Some(Netns(1)), cgroup: 1, comm: "psql".into() }
}

pub(super) fn attempt() -> Event {
    Event::Attempt {
        started: Time(MS),
        task: Some(task()),
        sock: sock(TcpState::SynSent),
        via: Via::Connect,
        dialled: None,
    }
}

pub(super) fn closed(error: i32) -> Event {
    Event::State {
        sock: Sock { error, ..sock(TcpState::Close) },
        old: TcpState::SynSent,
        new: TcpState::Close,
        current: Some(task()),
        icmp: None,
        tcp: TcpCounters::default(),
        stack: if error == 0 { ["__tcp_close".into()].into() } else { Arc::default() },
    }
}

pub(super) fn retransmit() -> Event {
    Event::Retransmit {
        sock: sock(TcpState::SynSent),
        tcp: TcpCounters::default(),
        result: Some(0),
        length: 0,
        sequence: 1,
    }
}

pub(super) fn packet(tuple: Tuple) -> Packet {
    Packet {
        tuple: Some(tuple),
        sequence: 1,
        acknowledgement: 0,
        length: 40,
        netns: Some(Netns(2)),
        in_device: 2,
        device: 2,
        device_name: "eth0".into(),
        tcp_flags: 2,
        icmp_type: 0,
        icmp_code: 0,
        ttl: 64,
        mark: 0,
    }
}

pub(super) fn dropped(tuple: Tuple) -> Event {
    drop_of(packet(tuple), "NETFILTER_DROP", Some("nft_do_chain"))
}

/// A packet that is dropped for a reason, by a function.
pub(super) fn drop_of(packet: Packet, reason: &'static str, at: Option<&'static str>) -> Event {
    Event::Drop {
        packet,
        inner: None,
        discovery: None,
        sock: None,
        receiver: false,
        reason: Some(reason.into()),
        at: at.map(Into::into),
        hook: None,
        current: None,
        stack: Arc::default(),
    }
}

fn reset_sent() -> Event {
    Event::ResetSent {
        packet: Some(packet(tuple())),
        sock: None,
        reason: Some("NO_SOCKET".into()),
        current: None,
        stack: Arc::default(),
    }
}

pub(super) fn reset_received() -> Event {
    Event::ResetReceived { sock: sock(TcpState::SynSent), tcp: TcpCounters::default() }
}

/// Runs events through the core; `answer` is the host.
pub(super) fn run(events: Vec<(u64, Event)>, answer: impl Fn(&Want) -> Answer) -> Vec<Report> {
    run_with(Settings { all: false, slow: None, dns: true, inbound: false }, events, answer)
}

pub(super) fn run_with(settings: Settings, events: Vec<(u64, Event)>, answer: impl Fn(&Want) -> Answer) -> Vec<Report> {
    let mut core = Diagnosis::new(coverage(), settings);
    let mut reports = Vec::new();
    let mut last = 0;
    let feed = |core: &mut Diagnosis, t: u64, input: Input, reports: &mut Vec<Report>| {
        let mut pending = vec![Stamped { t: Time(t), input }];
        while let Some(input) = pending.pop() {
            let step = core.apply(input);
            reports.extend(step.reports);
            pending.extend(step.wants.into_iter().map(|want| {
                let answer = answer(&want);
                Stamped { t: Time(t), input: Input::Fact(Fact { want, answer }) }
            }));
        }
    };
    for (t, event) in events {
        last = t;
        feed(&mut core, t, Input::Event(event), &mut reports);
    }
    while let Some(t) = core.deadline() {
        last = last.max(t.0);
        feed(&mut core, last, Input::Tick, &mut reports);
    }
    feed(&mut core, last + 1, Input::End, &mut reports);
    reports
}

pub(super) fn unknown(_: &Want) -> Answer {
    Answer::Unavailable("not asked in this test".into())
}

pub(super) fn elsewhere(want: &Want) -> Answer {
    match want {
        Want::Owners { .. } => Answer::Owners(vec![]),
        Want::Listeners { .. } => Answer::Listeners(vec![]),
        _ => unknown(want),
    }
}

pub(super) fn code(reports: &[Report]) -> Vec<&str> {
    reports.iter().map(|r| r.verdict.as_ref().map_or("-", |v| v.code)).collect()
}

/// The kernel ends an MPTCP connection when its worker comes to it, long after its subflow has failed and been told.
#[test]
fn a_subflow_tells_the_story_of_its_connection() {
    let whole = |state| {
        let tuple = Tuple { protocol: Protocol::Mptcp, ..tuple() };
        Sock { id: Some(SockId(8)), ..Sock { tuple, ..sock(state) } }
    };
    let began = |started, sock| Event::Attempt {
        started: Time(started),
        task: Some(task()),
        sock,
        via: Via::Connect,
        dialled: None,
    };
    let ended = |sock| match closed(0) {
        Event::State { old, new, current, icmp, tcp, stack, .. } => {
            Event::State { sock, old, new, current, icmp, tcp, stack }
        }
        other => other,
    };
    let events = vec![
        (2 * MS, began(MS, sock(TcpState::SynSent))),
        (2 * MS, reset_received()),
        (3 * MS, closed(111)),
        (130 * MS, began(MS - 1, whole(TcpState::SynSent))),
        (130 * MS, ended(whole(TcpState::Close))),
    ];
    let reports = run(events, |_| Answer::Unavailable("a test".into()));
    let told: Vec<_> = reports.iter().map(|r| (r.errno.as_deref(), r.outcome)).collect();
    assert_eq!(told, [(Some("ECONNREFUSED"), Outcome::Failed)]);
}

#[test]
fn a_reset_by_this_hosts_tcp_is_a_missing_listener() {
    let events =
        vec![(2 * MS, reset_sent()), (3 * MS, attempt()), (3 * MS, reset_received()), (3 * MS + 1, closed(111))];
    let reports = run(events, elsewhere);
    assert_eq!(code(&reports), ["refused.no-listener"]);
    assert_eq!(reports[0].errno.as_deref(), Some("ECONNREFUSED"));
    assert_eq!(reports[0].process.as_ref().map(|p| p.pid), Some(100));
}

/// What a refused connection is told when its port is listened on at 127.0.0.1 of a namespace, by a process.
fn listened_on(netns: u32, pid: u32) -> Vec<Report> {
    let events =
        vec![(2 * MS, reset_sent()), (3 * MS, attempt()), (3 * MS, reset_received()), (3 * MS + 1, closed(111))];
    run(events, |want| match want {
        Want::Listeners { .. } => {
            Answer::Listeners(vec![Listener { netns: Netns(netns), ..listener("127.0.0.1", pid, None) }])
        }
        other => unknown(other),
    })
}

fn listener(addr: &str, pid: u32, cookie: Option<Cookie>) -> Listener {
    Listener {
        protocol: Protocol::Tcp,
        addr: ip(addr),
        port: 5432,
        v6only: false,
        device: 0,
        netns: Netns(2),
        backlog: 0,
        max_backlog: 128,
        uid: 0,
        inode: 9,
        cookie,
        owners: vec![crate::fact::Owner { pid, comm: "postgres".into() }],
    }
}

#[test]
fn a_listener_elsewhere_is_named() {
    let reports = listened_on(2, 812);
    assert_eq!(code(&reports), ["refused.bound-elsewhere"]);
    let verdict = reports[0].verdict.as_ref().expect("a verdict");
    assert!(verdict.summary.contains("postgres[812]"), "{}", verdict.summary);
    assert!(reports[0].also.is_empty(), "no-listener is hidden: {:?}", reports[0].also);
}

/// A name server that forwards listens itself on the port that it asks others on.
#[test]
fn nobody_looks_for_the_own_listener_in_another_namespace() {
    assert_eq!(code(&listened_on(1, 812)), ["refused.bound-elsewhere"]);
    assert_eq!(code(&listened_on(1, 100)), ["refused.no-listener"]);
    assert_eq!(code(&listened_on(2, 100)), ["refused.bound-elsewhere"], "where it asked, it may well be meant");
}

#[test]
fn a_reset_that_nothing_here_sent_is_remote() {
    let events = vec![(2 * MS, attempt()), (3 * MS, reset_received()), (3 * MS + 1, closed(111))];
    assert_eq!(code(&run(events.clone(), elsewhere)), ["refused.remote"]);
    // Where it isn't known whose address it is, nothing is claimed.
    assert_eq!(code(&run(events, unknown)), ["unexplained"]);
}

#[test]
fn unanswered_syns_are_silence_and_one_is_too_early_to_tell() {
    let silent = vec![(1000 * MS, attempt()), (1001 * MS, retransmit()), (3000 * MS, closed(110))];
    assert_eq!(code(&run(silent, elsewhere)), ["timeout.silent"]);
    let abandoned = vec![(500 * MS, attempt()), (500 * MS, closed(0))];
    let reports = run(abandoned, elsewhere);
    assert_eq!(code(&reports), ["timeout.abandoned"]);
    assert_eq!(reports[0].outcome, Outcome::Abandoned);
    let later = vec![(1000 * MS, attempt()), (1001 * MS, retransmit()), (1500 * MS, closed(0))];
    let reports = run(later, elsewhere);
    assert_eq!(code(&reports), ["timeout.silent"]);
    assert_eq!(reports[0].outcome, Outcome::Abandoned);
}

#[test]
fn a_syn_that_was_never_sent_again_still_waits_here() {
    let Event::State { sock, old, new, current, icmp, tcp, stack } = closed(110) else { panic!("a change of state") };
    let sock = Sock { retransmits: 1, ..sock };
    let end = Event::State { sock, old, new, current, icmp, tcp, stack };
    let link = |state: &'static str| {
        move |want: &Want| match want {
            Want::Route { .. } => Answer::Route(Route { kind: "unicast".into(), ..Route::default() }),
            Want::Neighbor { address, .. } => Answer::Neighbor(Some(Neighbor {
                address: *address,
                device_name: "eth0".into(),
                lladdr: None,
                state: state.into(),
            })),
            other => elsewhere(other),
        }
    };
    let events = || vec![(1000 * MS, attempt()), (3000 * MS, end.clone())];
    assert_eq!(code(&run(events(), link("incomplete"))), ["route.neighbor-silent"]);
    assert_eq!(code(&run(events(), link("reachable"))), ["local.queue-drop"]);
}

#[test]
fn a_call_that_found_its_socket_closed_ends_the_story() {
    let told = Event::CallFailed {
        call: Call::Connect,
        task: task(),
        started: Some(Time(MS)),
        result: -110,
        family: 2,
        address: Some(tuple().remote),
        port: tuple().remote_port,
        scope: 0,
        sock: Some(sock(TcpState::Close)),
        route: RouteLookups::default(),
        cgroup_hook: Some(true),
        socket_type: 1,
        protocol: 0,
    };
    let events = vec![(MS, attempt()), (1000 * MS, retransmit()), (3000 * MS, told)];
    let reports = run(events.clone(), unknown);
    assert_eq!(code(&reports), ["timeout.silent"]);
    assert_eq!((reports[0].outcome, reports[0].errno.as_deref()), (Outcome::Failed, Some("ETIMEDOUT")));
    // Seen late, the change to TCP_CLOSE adds nothing.
    let late = events.into_iter().chain([(3005 * MS, closed(110))]).collect();
    assert_eq!(code(&run(late, unknown)), ["timeout.silent"]);
}

#[test]
fn an_xdp_program_may_drop_what_nothing_tells() {
    for (place, certainty) in [("eth0", Certainty::Likely), ("eth1", Certainty::Proven)] {
        let silent = vec![(1000 * MS, attempt()), (1001 * MS, retransmit()), (3000 * MS, closed(110))];
        let reports = run(silent, |want| match want {
            Want::BpfPrograms { .. } => Answer::BpfPrograms(vec![crate::fact::BpfProgram {
                id: 7,
                name: "shield".into(),
                attach: "xdp".into(),
                place: place.into(),
            }]),
            Want::Route { .. } => Answer::Route(Route { device_name: "eth0".into(), ..Route::default() }),
            other => elsewhere(other),
        });
        assert_eq!(code(&reports), ["timeout.silent"]);
        let verdict = reports[0].verdict.as_ref().expect("a verdict");
        assert_eq!(verdict.certainty, certainty);
        let told = verdict.evidence.iter().any(|proof| proof.text.contains("`shield`"));
        assert_eq!(told, place == "eth0", "{:?}", verdict.evidence);
    }
}

#[test]
fn of_what_began_before_netdx_silence_is_not_claimed() {
    let reports = run(vec![(1001 * MS, retransmit()), (3000 * MS, closed(110))], elsewhere);
    assert_eq!(code(&reports), ["unexplained"]);
    let verdict = reports[0].verdict.as_ref().expect("a verdict");
    assert!(verdict.summary.contains("before netdx"), "{}", verdict.summary);
    // Nor that the first SYN left when the socket was seen first, as it was closed.
    let sock = sock(TcpState::SynSent);
    let seen = Event::Attempt { started: Time(3000 * MS), task: None, sock, via: Via::Unknown, dialled: None };
    assert_eq!(code(&run(vec![(3000 * MS, seen), (3000 * MS, closed(0))], elsewhere)), ["unexplained"]);
}

/// A connection that was up, and over which so many bytes came, ends by a reset that this side sends, and then by its change to
/// TCP_CLOSE with this error.
fn reset_by_us(
    reason: Option<&'static str>,
    way: &'static [&'static str],
    error: i32,
    bytes_received: u64,
) -> Vec<Report> {
    let up = Event::State {
        sock: sock(TcpState::Established),
        old: TcpState::SynSent,
        new: TcpState::Established,
        current: None,
        icmp: None,
        tcp: TcpCounters::default(),
        stack: Arc::default(),
    };
    let reset = Event::ResetSent {
        packet: None,
        sock: Some(sock(TcpState::Established)),
        reason: reason.map(Into::into),
        current: Some(task()),
        stack: way.iter().map(|f| (*f).into()).collect(),
    };
    let Event::State { sock, new, current, icmp, stack, .. } = closed(error) else { panic!("a change of state") };
    let tcp = TcpCounters { bytes_acked: 1, bytes_received, ..TcpCounters::default() };
    let end = Event::State { sock, old: TcpState::Established, new, current, icmp, tcp, stack };
    run(vec![(2 * MS, attempt()), (3 * MS, up), (9000 * MS, reset), (9000 * MS + 70_000, end)], elsewhere)
}

/// The same connection ends by a reset that came in, once this side had said that it sends no more. `left`: it had closed.
fn half_closed(left: bool, sent: Option<Event>) -> Vec<Report> {
    let change = |old: TcpState, new: TcpState, error: i32| Event::State {
        sock: Sock { left: Some(left), error, ..sock(old) },
        old,
        new,
        current: None,
        icmp: None,
        tcp: TcpCounters::default(),
        stack: Arc::default(),
    };
    let received = Event::ResetReceived { sock: sock(TcpState::FinWait1), tcp: TcpCounters::default() };
    let events = [
        Some((2 * MS, attempt())),
        Some((3 * MS, change(TcpState::SynSent, TcpState::Established, 0))),
        Some((4 * MS, change(TcpState::Established, TcpState::FinWait1, 0))),
        sent.map(|sent| (9 * MS - 1, sent)),
        Some((9 * MS, received)),
        Some((9 * MS + 1, change(TcpState::FinWait1, TcpState::Close, 104))),
    ];
    run(events.into_iter().flatten().collect(), elsewhere)
}

#[test]
fn who_only_sends_no_more_still_waits_for_what_comes() {
    assert_eq!(code(&half_closed(false, None)), ["broken.reset-by-peer"]);
    assert_eq!(code(&half_closed(true, None)), [] as [&str; 0]);
}

#[test]
fn whom_a_timer_interrupts_did_not_send_its_reset() {
    let reset = |reason: Option<&'static str>, way: &'static [&'static str]| Event::ResetSent {
        packet: None,
        sock: Some(Sock { tuple: tuple().reversed(), id: None, netns: Netns(2), ..sock(TcpState::Established) }),
        reason: reason.map(Into::into),
        current: Some(Task { comm: "someone".into(), ..task() }),
        stack: way.iter().map(|f| (*f).into()).collect(),
    };
    let names = |reset: Event| {
        half_closed(false, Some(reset))[0].verdict.as_ref().expect("a verdict").summary.contains("someone")
    };
    let by_timer: &[&str] = &["tcp_send_active_reset", "tcp_keepalive_timer"];
    assert!(!names(reset(Some("TCP_KEEPALIVE_TIMEOUT"), &[])) && !names(reset(None, by_timer)));
    assert!(!names(reset(None, &[])));
    assert!(names(reset(Some("TCP_ABORT_ON_CLOSE"), &[])) && names(reset(None, &["__tcp_close", "tcp_close"])));
}

#[test]
fn of_listeners_that_share_a_port_the_one_with_the_full_queue_is_named() {
    let overflow = |cookie| Event::ListenOverflow {
        listener: Sock { cookie, id: None, netns: Netns(2), backlog: 2, max_backlog: 1, ..sock(TcpState::Listen) },
        packet: packet(tuple()),
    };
    let told = |cookie, full: u32| {
        let listeners = [10, 20].map(|pid| Listener {
            backlog: if pid == full { 2 } else { 0 },
            max_backlog: 1,
            ..listener("10.0.0.5", pid, Some(Cookie(pid.into())))
        });
        let events =
            vec![(MS, attempt()), (2 * MS, overflow(cookie)), (1000 * MS, retransmit()), (3000 * MS, closed(110))];
        let reports = run(events, |want| match want {
            Want::Owners { .. } => Answer::Owners(vec![Netns(2)]),
            Want::Listeners { .. } => Answer::Listeners(listeners.to_vec()),
            _ => unknown(want),
        });
        assert_eq!(code(&reports), ["timeout.queue-full"]);
        reports[0].verdict.as_ref().expect("a verdict").summary.clone()
    };
    for (cookie, full, who) in [
        (Some(Cookie(20)), 0, ": postgres[20] "),
        (None, 20, ": postgres[20] "),
        (None, 0, ": one of postgres[10, 20] "),
    ] {
        let summary = told(cookie, full);
        assert!(summary.contains(who), "{summary}");
    }
}

#[test]
fn rules_by_user_ask_for_who_made_the_socket() {
    let Event::Attempt { started, task, sock, via, dialled } = attempt() else { panic!("an attempt") };
    let attempt = Event::Attempt { started, task, sock: Sock { uid: Some(33), ..sock }, via, dialled };
    let asked = std::cell::RefCell::new(Vec::new());
    run(vec![(2 * MS, attempt), (3000 * MS, closed(110))], |want| {
        if let Want::Route { uid, .. } = want {
            asked.borrow_mut().push(*uid);
        }
        elsewhere(want)
    });
    assert!(!asked.borrow().is_empty() && asked.borrow().iter().all(|uid| *uid == 33), "{asked:?}");
}

#[test]
fn a_reset_for_keepalive_that_ran_out_is_not_this_sides_doing() {
    for reason in [Some("TCP_KEEPALIVE_TIMEOUT"), None] {
        let reports = reset_by_us(reason, &["tcp_send_active_reset", "tcp_keepalive_timer"], 110, 0);
        assert_eq!(code(&reports), ["broken.timeout"], "{reason:?}");
        assert!(reports[0].also.is_empty(), "{:?}", reports[0].also);
    }
}

#[test]
fn the_way_to_a_reset_tells_what_the_program_did() {
    let cases: [(Option<&'static str>, &'static [&'static str], &str); 10] = [
        (Some("TCP_ABORT_ON_CLOSE"), &["__tcp_close", "tcp_close"], "data unread"),
        (Some("TCP_STATE"), &["tcp_disconnect", "inet_csk_listen_stop", "tcp_close"], "waited to be accepted"),
        (None, &["tcp_disconnect", "inet_csk_listen_stop", "tcp_close"], "waited to be accepted"),
        (Some("TCP_STATE"), &["tcp_disconnect", "__tcp_close", "tcp_close"], "with SO_LINGER 0"),
        (Some("TCP_DISCONNECT_WITH_DATA"), &["tcp_disconnect", "__tcp_close", "tcp_close"], "with SO_LINGER 0"),
        (None, &["__tcp_close", "tcp_close"], "data unread"),
        (Some("TCP_STATE"), &["tcp_disconnect"], "disconnected it"),
        (Some("TCP_STATE"), &["tcp_disconnect", "__tcp_close"], "data unread or with SO_LINGER 0"),
        (Some("TCP_ABORT_ON_LINGER"), &["__tcp_close", "tcp_close"], "with TCP_LINGER2 below 0"),
        (Some("TCP_STATE"), &[], "SO_LINGER 0, or"),
    ];
    for (reason, way, words) in cases {
        let reports = reset_by_us(reason, way, 0, 10);
        assert_eq!(code(&reports), ["broken.reset-by-us"], "{reason:?} {way:?}");
        let summary = &reports[0].verdict.as_ref().expect("a verdict").summary;
        assert!(summary.contains(words), "{reason:?} {way:?}: {summary}");
    }
}

#[test]
fn trying_out_whether_somebody_listens_is_no_failure() {
    let linger: &[_] = &["tcp_disconnect", "__tcp_close", "tcp_close"];
    assert_eq!(code(&reset_by_us(Some("TCP_STATE"), linger, 0, 0)), Vec::<&str>::new());
    assert_eq!(code(&reset_by_us(Some("TCP_ABORT_ON_MEMORY"), &[], 0, 0)), ["broken.reset-by-us"]);
}

#[test]
fn a_peer_that_ended_is_told_though_its_end_was_not() {
    let of_peer = Sock { id: None, tuple: tuple().reversed(), ..sock(TcpState::Close) };
    let summary = |netns: Option<Netns>| {
        let reset = Event::ResetSent {
            packet: None,
            sock: Some(of_peer.clone()),
            reason: Some("TCP_ABORT_ON_CLOSE".into()),
            current: Some(Task { netns, ..task() }),
            stack: Arc::default(),
        };
        let received = Event::ResetReceived { sock: sock(TcpState::Established), tcp: TcpCounters::default() };
        let Event::State { sock, new, current, icmp, tcp, stack, .. } = closed(104) else {
            panic!("a change of state")
        };
        let end = Event::State { sock, old: TcpState::Established, new, current, icmp, tcp, stack };
        let reports = run(vec![(2 * MS, attempt()), (9 * MS, reset), (9 * MS, received), (9 * MS, end)], elsewhere);
        assert_eq!(code(&reports), ["broken.reset-by-peer"]);
        reports[0].verdict.as_ref().expect("a verdict").summary.clone()
    };
    assert!(summary(None).ends_with(": the process ended, which closed it with data unread"), "{}", summary(None));
    assert!(summary(Some(Netns(2))).ends_with(": its program closed it with data unread"));
}

/// socket(2) fails with this error while so many files of the host are open, of at most 1000.
fn no_socket(errno: i32, open: u64) -> Report {
    let event = Event::CallFailed {
        call: Call::Socket,
        started: Some(Time(MS)),
        task: task(),
        sock: None,
        address: None,
        family: 2,
        port: 0,
        socket_type: 1,
        protocol: 6,
        scope: 0,
        result: -errno,
        cgroup_hook: None,
        route: RouteLookups::default(),
    };
    let mut reports = run(vec![(2 * MS, event)], |want| match want {
        Want::Process { pid } => Answer::Process(Some(Box::new(crate::fact::Process {
            pid: *pid,
            comm: "psql".into(),
            all_files: Some((open, 1000)),
            ..crate::fact::Process::default()
        }))),
        other => elsewhere(other),
    });
    assert_eq!(code(&reports), ["local.resources"]);
    reports.remove(0)
}

#[test]
fn too_many_open_files_are_told_from_too_little_memory() {
    // ENFILE, ENFILE, ENOMEM, ENOBUFS
    for (errno, open, certainty, words) in [
        (23, 1000, Certainty::Proven, "limit of open files (fs.file-max): 1000 of 1000"),
        (23, 10, Certainty::Likely, "no memory for another socket"),
        (12, 10, Certainty::Proven, "no memory"),
        (105, 10, Certainty::Proven, "no buffer memory"),
    ] {
        let verdict = no_socket(errno, open).verdict.expect("a verdict");
        assert!(verdict.summary.contains(words), "{errno}: {}", verdict.summary);
        assert_eq!(verdict.certainty, certainty, "{errno}");
        assert_eq!(verdict.advice[0].contains("memory"), !words.contains("files"), "{errno}: {:?}", verdict.advice);
    }
}

#[test]
fn a_call_that_found_no_route_is_a_story_of_its_own() {
    let route = RouteLookups { count: 2, main: true, table: 254, error: -11, ..RouteLookups::default() };
    let event = Event::CallFailed {
        call: Call::Connect,
        started: Some(Time(MS)),
        task: task(),
        sock: Some(Sock { id: None, ..sock(TcpState::Close) }),
        address: Some(ip("10.9.9.9")),
        family: 2,
        port: 80,
        socket_type: 1,
        protocol: 6,
        scope: 0,
        result: -101,
        cgroup_hook: Some(true),
        route,
    };
    let reports = run(vec![(2 * MS, event)], |want| match want {
        Want::Route { .. } => Answer::Route(Route { errno: 101, ..Route::default() }),
        other => elsewhere(other),
    });
    assert_eq!(code(&reports), ["route.none"]);
    assert_eq!(reports[0].remote.map(|r| r.addr), Some(ip("10.9.9.9")));
}

#[test]
fn lost_records_lower_certainty() {
    // Told while the story goes on, and while the attempt still waits to be put in order.
    for told in [5 * MS, 2 * MS + 1] {
        let mut core = Diagnosis::new(coverage(), Settings { all: false, slow: None, dns: true, inbound: false });
        let mut reports = Vec::new();
        for (t, input) in [
            (2 * MS, Input::Event(attempt())),
            (told, Input::Tick),
            (told, Input::Lost(3)),
            (6 * MS, Input::Event(reset_received())),
            (6 * MS, Input::Event(closed(111))),
            (20 * MS, Input::Tick),
            (30 * MS, Input::End),
        ] {
            let step = core.apply(Stamped { t: Time(t), input });
            for want in step.wants {
                let answer = elsewhere(&want);
                reports.extend(core.apply(Stamped { t: Time(t), input: Input::Fact(Fact { want, answer }) }).reports);
            }
            reports.extend(step.reports);
        }
        assert_eq!(code(&reports), ["refused.remote"]);
        let verdict = reports[0].verdict.as_ref().expect("a verdict");
        assert_eq!(verdict.certainty, crate::report::Certainty::Likely);
    }
}

#[test]
fn what_became_of_another_attempt_with_the_same_endpoints_is_not_told() {
    let refused = |own: u32| {
        let [mut reset, mut end] = [reset_received(), closed(111)];
        if let (Event::ResetReceived { tcp, .. }, Event::State { tcp: last, .. }) = (&mut reset, &mut end) {
            (tcp.sequence, last.sequence) = (own, own);
        }
        // The SYN that is answered has 1.
        run(vec![(2 * MS, attempt()), (2 * MS + 100, reset_sent()), (3 * MS, reset), (3 * MS + 1, end)], elsewhere)
    };
    assert_eq!(code(&refused(1)), ["refused.no-listener"]);
    assert_ne!(code(&refused(2)), ["refused.no-listener"]);
}

#[test]
fn silence_is_not_told_of_packets_that_were_forgotten() {
    // Its own drop, and then so many of others that there is no room for all.
    let drop = |n: u32| {
        let other = Tuple { local_port: (n % 50_000) as u16, remote_port: 1 + (n / 50_000) as u16, ..tuple() };
        dropped(if n == 0 { tuple() } else { other })
    };
    let report = |others: u32| {
        let drops = (0..=others).map(|n| (2 * MS + u64::from(n), drop(n)));
        let rest = [(1000 * MS, retransmit()), (3000 * MS, closed(110))];
        let events = std::iter::once((MS, attempt())).chain(drops).chain(rest).collect();
        run(events, elsewhere)
    };
    assert_eq!(code(&report(100)), ["firewall.dropped"]);
    assert_eq!(code(&report(70_000)), ["unexplained"]);
}

#[test]
fn without_a_reason_the_place_and_the_setting_tell_of_a_reverse_path_filter() {
    let drop = Event::Drop {
        packet: packet(tuple()),
        inner: None,
        discovery: None,
        sock: None,
        receiver: false,
        reason: None,
        at: Some("ip_rcv_finish_core".into()),
        hook: None,
        current: None,
        stack: Arc::default(),
    };
    let events = || vec![(1000 * MS, attempt()), (1001 * MS, drop.clone()), (3000 * MS, closed(110))];
    let filter = |setting: &'static str| {
        move |want: &Want| match want {
            Want::Sysctl { .. } => Answer::Sysctl(setting.into()),
            other => elsewhere(other),
        }
    };
    let reports = run(events(), filter("1"));
    assert_eq!(code(&reports), ["route.reverse-path"]);
    let verdict = reports[0].verdict.as_ref().expect("a verdict");
    assert_eq!(verdict.certainty, crate::report::Certainty::Likely);
    assert_eq!(code(&run(events(), filter("0"))), ["timeout.dropped"]);
}

#[test]
fn a_peer_that_is_not_let_in_is_told_from_the_listeners_side() {
    let inbound = Settings { all: false, slow: None, dns: true, inbound: true };
    let here = |want: &Want| match want {
        Want::Owners { .. } => Answer::Owners(vec![Netns(2)]),
        other => elsewhere(other),
    };
    let events = || vec![(2 * MS, reset_sent()), (1002 * MS, reset_sent())];
    let reports = run_with(inbound.clone(), events(), here);
    assert_eq!(code(&reports), ["refused.no-listener"], "once, though the peer tries again");
    assert_eq!(reports[0].direction, crate::report::Direction::Inbound);
    assert_eq!(reports[0].local.map(|e| e.port), Some(5432), "the listener's end is the local one");
    assert_eq!(reports[0].remote.map(|e| e.port), Some(40_000));
    // Not asked for, or passing through to somebody else: nothing.
    assert_eq!(code(&run(events(), here)), Vec::<&str>::new());
    assert_eq!(code(&run_with(inbound, events(), elsewhere)), Vec::<&str>::new());
}
