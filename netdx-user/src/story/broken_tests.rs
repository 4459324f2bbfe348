//! Connections that were up, and packets that were dropped on their way, with events made by hand.

use super::{
    Carried, Connection,
    tests::{MS, attempt, closed, code, drop_of, elsewhere, ip, packet, run, run_with, sock, task, tuple},
};
use crate::{
    diagnosis::Settings,
    event::{Call, Event, Netns, Opened, Packet, Protocol, RouteLookups, Sock, TcpCounters, TcpState, Via},
    fact::{Answer, Interface, Listener, Route},
    report::{Certainty, Direction, Report, Verdict},
    time::Time,
    want::Want,
};
use std::sync::Arc;

fn change(old: TcpState, new: TcpState, error: i32, tcp: TcpCounters, way: &[&'static str]) -> Event {
    Event::State {
        sock: Sock { error, ..sock(old) },
        old,
        new,
        current: None,
        icmp: None,
        tcp,
        stack: way.iter().map(|f| (*f).into()).collect(),
    }
}

fn up() -> Event {
    change(TcpState::SynSent, TcpState::Established, 0, TcpCounters::default(), &[])
}

/// Of a connection that has got something.
fn used() -> TcpCounters {
    TcpCounters { bytes_received: 10, ..TcpCounters::default() }
}

fn drop(packet: Packet, reason: &'static str) -> Event {
    drop_of(packet, reason, Some("__dev_queue_xmit"))
}

fn sent_again(length: u32) -> Event {
    let tcp = TcpCounters::default();
    Event::Retransmit { sock: sock(TcpState::Established), tcp, result: Some(0), length, sequence: 1 }
}

fn verdict(reports: &[Report]) -> &Verdict {
    reports[0].verdict.as_ref().expect("a verdict")
}

/// The interface that a router forwards by, once the packet is dropped there.
fn router(want: &Want, up: bool, dropped: Option<u64>) -> Answer {
    match (want, dropped) {
        (Want::Interfaces { netns: Netns(2) }, _) => Answer::Interfaces(vec![Interface {
            index: 3,
            name: "right".into(),
            up,
            carrier: up,
            mtu: 1000,
            ..Interface::default()
        }]),
        (Want::QueueDrops { netns: Netns(2), device: 3 }, Some(n)) => Answer::QueueDrops(n),
        (Want::Route { netns: Netns(2), .. }, _) => Answer::Route(Route { device: 3, ..Route::default() }),
        _ => elsewhere(want),
    }
}

#[test]
fn what_a_queue_drops_that_never_dropped_anything_was_dropped_while_the_interface_was_off() {
    let cases = [
        (true, Some(0), "route.interface-down", Certainty::Likely, "was down or had no carrier then"),
        (true, Some(9), "local.queue-drop", Certainty::Proven, "the interface's queue (qdisc) dropped it"),
        (true, None, "local.queue-drop", Certainty::Proven, "the interface's queue (qdisc) dropped it"),
        (false, Some(0), "route.interface-down", Certainty::Proven, "is down"),
    ];
    for (up, dropped, expected, certainty, words) in cases {
        let at = Packet { device: 3, device_name: "right".into(), ..packet(tuple()) };
        let events = vec![(MS, attempt()), (2 * MS, drop(at, "QDISC_DROP")), (3000 * MS, closed(110))];
        let reports = run(events, |want| router(want, up, dropped));
        assert_eq!(code(&reports), [expected], "{up} {dropped:?}");
        assert_eq!(verdict(&reports).certainty, certainty, "{up} {dropped:?}");
        assert!(verdict(&reports).summary.contains(words), "{}", verdict(&reports).summary);
    }
}

#[test]
fn of_several_segments_that_were_dropped_at_once_one_was_too_big() {
    let at = Packet { length: 7292, in_device: 2, device_name: "left".into(), ..packet(tuple()) };
    let events = vec![
        (MS, attempt()),
        (2 * MS, up()),
        (3 * MS, drop(at, "PKT_TOO_BIG")),
        (200 * MS, sent_again(1448)),
        (9000 * MS, change(TcpState::Established, TcpState::Close, 110, TcpCounters::default(), &[])),
    ];
    let reports = run(events, |want| router(want, true, None));
    assert_eq!(code(&reports), ["broken.mtu"]);
    let because = &verdict(&reports).because;
    assert!(because.contains("segments of 1448 bytes are too big for the link of right"), "{because}");
    assert!(because.contains("(MTU 1000)"), "{because}");
}

#[test]
fn a_closed_window_is_given_up_when_the_users_time_runs_out() {
    for (user_timeout_ms, words) in [(1500, "TCP_USER_TIMEOUT (1.5 s) ran out"), (0, "gave up after 3 probes")] {
        let tcp = TcpCounters { unacknowledged: 1, probes: 3, user_timeout_ms, ..TcpCounters::default() };
        let end = change(TcpState::Established, TcpState::Close, 110, tcp, &["tcp_write_err"]);
        let reports = run(vec![(MS, attempt()), (2 * MS, up()), (3000 * MS, end)], elsewhere);
        assert_eq!(code(&reports), ["broken.zero-window"]);
        assert!(verdict(&reports).because.contains(words), "{}", verdict(&reports).because);
    }
}

/// What is said of the data of a connection that ends with these counters in this state.
fn carried(state: TcpState, bytes_acked: u64, unacknowledged: u32, bytes_received: u64) -> String {
    let tcp = TcpCounters { bytes_acked, bytes_received, unacknowledged, send_window: 100, ..TcpCounters::default() };
    let end = change(state, TcpState::Close, 110, tcp, &[]);
    let reports = run(vec![(MS, attempt()), (2 * MS, up()), (3000 * MS, end)], elsewhere);
    assert_eq!(code(&reports), ["broken.timeout"]);
    verdict(&reports).because.clone()
}

#[test]
fn neither_syn_nor_fin_is_data() {
    for (state, acknowledged, waiting, received, words) in [
        (TcpState::Established, 1, 0, 0, "0 bytes sent and 0 bytes received"),
        (TcpState::Established, 6, 4, 1, "5 bytes sent, 4 bytes more not acknowledged, and 1 byte received"),
        (TcpState::CloseWait, 6, 0, 101, "5 bytes sent and 100 bytes received"),
        (TcpState::CloseWait, 6, 0, 1, "5 bytes sent and 0 bytes received"),
    ] {
        let said = carried(state, acknowledged, waiting, received);
        assert!(said.contains(words), "{state:?}: {said}");
    }
}

/// The SYN of who was called is acknowledged before anything counts.
#[test]
fn of_who_was_called_the_syn_does_not_count() {
    for (opened, acknowledged) in [(Opened::Here, 99), (Opened::ByPeer, 100)] {
        let sock = Sock { opened, ..sock(TcpState::Established) };
        let mut c = Connection::new(1, Time(MS), &sock);
        let tcp = TcpCounters { bytes_acked: 100, ..TcpCounters::default() };
        c.push(Time(2 * MS), Arc::new(Event::ResetReceived { sock, tcp }));
        assert_eq!(c.carried(), Some(Carried { acknowledged, waiting: 0, received: 0 }), "{opened:?}");
    }
}

/// Who is named as the process of a connection that a listener got and that is closed in this way by whoever runs.
fn closed_by(way: &[&'static str]) -> Option<u32> {
    let reports = reset_by_who_called(used(), way);
    reports[0].process.as_ref().map(|p| p.pid)
}

/// A listener got it, and then the peer reset it.
fn reset_by_who_called(tcp: TcpCounters, way: &[&'static str]) -> Vec<Report> {
    let Event::State { sock, old, new, icmp, tcp, stack, .. } =
        change(TcpState::Established, TcpState::Close, 104, tcp, way)
    else {
        panic!("a change of state")
    };
    let sock = Sock { opened: Opened::ByPeer, ..sock };
    let attempt =
        Event::Attempt { started: Time(MS), task: None, sock: sock.clone(), via: Via::Unknown, dialled: None };
    let reset = Event::ResetReceived { sock: sock.clone(), tcp };
    let end = Event::State { sock, old, new, current: Some(task()), icmp, tcp, stack };
    let settings = Settings { all: false, slow: None, dns: true, inbound: true };
    run_with(settings, vec![(MS, attempt), (2 * MS, reset), (3000 * MS, end)], elsewhere)
}

#[test]
fn a_peer_that_only_tries_out_whether_somebody_listens_is_no_failure() {
    assert_eq!(code(&reset_by_who_called(TcpCounters::default(), &[])), Vec::<&str>::new());
    let sent = TcpCounters { unacknowledged: 1, ..TcpCounters::default() };
    assert_eq!(code(&reset_by_who_called(sent, &[])), ["broken.reset-by-peer"]);
}

#[test]
fn who_closes_an_accepted_connection_has_it() {
    assert_eq!(closed_by(&["__tcp_close", "tcp_close"]), Some(100));
    assert_eq!(closed_by(&["tcp_disconnect", "__tcp_close", "tcp_close"]), Some(100));
    // A packet came in while another process closed something, or ran: it is not theirs.
    assert_eq!(closed_by(&["tcp_rcv_state_process", "tcp_v4_rcv", "__tcp_close", "tcp_close"]), None);
    assert_eq!(closed_by(&["tcp_disconnect", "inet_csk_listen_stop", "tcp_abort"]), None);
    assert_eq!(closed_by(&[]), None);
}

#[test]
fn who_is_told_of_the_end_of_an_accepted_connection_has_it() {
    let sock = Sock { opened: Opened::ByPeer, error: 104, ..sock(TcpState::Established) };
    let reset = Event::ResetReceived { sock: sock.clone(), tcp: used() };
    let attempt =
        Event::Attempt { started: Time(MS), task: None, sock: sock.clone(), via: Via::Unknown, dialled: None };
    let Event::State { old, new, current, icmp, tcp, stack, .. } =
        change(TcpState::Established, TcpState::Close, 104, used(), &[])
    else {
        panic!("a change of state")
    };
    let end = Event::State { sock: sock.clone(), old, new, current, icmp, tcp, stack };
    let told = Event::CallFailed {
        call: Call::Receive,
        started: None,
        task: task(),
        sock: Some(Sock { state: TcpState::Close, ..sock }),
        address: None,
        family: 0,
        port: 0,
        socket_type: 1,
        protocol: 0,
        scope: 0,
        result: -104,
        cgroup_hook: None,
        route: RouteLookups::default(),
    };
    let settings = Settings { all: false, slow: None, dns: true, inbound: true };
    let events = vec![(MS, attempt), (2 * MS, reset), (3 * MS, end), (4 * MS, told)];
    let reports = run_with(settings, events, elsewhere);
    assert_eq!(code(&reports), ["broken.reset-by-peer"]);
    assert_eq!(reports[0].process.as_ref().map(|p| p.pid), Some(100));
}

#[test]
fn what_was_under_way_has_no_age_and_who_listens_on_its_port_was_called() {
    for (listens, direction) in [(true, Direction::Inbound), (false, Direction::Outbound)] {
        let sock = Sock { opened: Opened::Unseen, ..sock(TcpState::Established) };
        let began =
            Event::Attempt { started: Time(MS), task: None, sock: sock.clone(), via: Via::Unknown, dialled: None };
        let reset = Event::ResetReceived { sock, tcp: used() };
        let Event::State { old, new, current, icmp, tcp, stack, .. } =
            change(TcpState::Established, TcpState::Close, 104, used(), &[])
        else {
            panic!("a change of state")
        };
        let sock = Sock { opened: Opened::Unseen, error: 104, ..super::tests::sock(old) };
        let end = Event::State { sock, old, new, current, icmp, tcp, stack };
        let listener = |addr: &str| Listener {
            protocol: Protocol::Tcp,
            addr: ip(addr),
            port: tuple().local_port,
            v6only: false,
            device: 0,
            netns: Netns(1),
            backlog: 0,
            max_backlog: 5,
            uid: 0,
            inode: 9,
            cookie: None,
            owners: Vec::new(),
        };
        let settings = Settings { all: false, slow: None, dns: true, inbound: true };
        let reports = run_with(settings, vec![(MS, began), (2 * MS, reset), (2 * MS, end)], |want| match want {
            Want::Listeners { port: 40_000, .. } => {
                Answer::Listeners(vec![listener(if listens { "::" } else { "127.0.0.1" })])
            }
            other => elsewhere(other),
        });
        assert_eq!(code(&reports), ["broken.reset-by-peer"]);
        assert_eq!((reports[0].duration_ns, reports[0].direction), (None, direction));
        let summary = &verdict(&reports).summary;
        assert!(summary.contains("broke: ") && summary.contains("which netdx did not see"), "{summary}");
    }
}

#[test]
fn a_reset_that_is_dropped_comes_of_the_data_that_was() {
    let dropped = |tcp_flags| drop(Packet { tcp_flags, ..packet(tuple().reversed()) }, "NETFILTER_DROP");
    let end = change(TcpState::Established, TcpState::Close, 110, TcpCounters::default(), &[]);
    let events = vec![(MS, attempt()), (2 * MS, up()), (3 * MS, dropped(16)), (4 * MS, dropped(4)), (3000 * MS, end)];
    let reports = run(events, elsewhere);
    assert_eq!(code(&reports), ["firewall.dropped"]);
    let because = &verdict(&reports).because;
    assert!(because.contains("dropped the answering ACK or data"), "{because}");
}

#[test]
fn who_sent_a_reset_that_no_program_made_has_no_log() {
    let sent = |packet, sock, reason: &'static str, way: &[&'static str]| Event::ResetSent {
        packet,
        sock,
        reason: Some(reason.into()),
        current: None,
        stack: way.iter().map(|f| (*f).into()).collect(),
    };
    let peer = Sock::unseen(tuple().reversed(), Netns(2));
    let cases = [
        (sent(Some(Packet { tcp_flags: 2, ..packet(tuple()) }), None, "NO_SOCKET", &[]), "start the server behind 10."),
        (
            sent(Some(Packet { tcp_flags: 16, ..packet(tuple()) }), None, "NO_SOCKET", &[]),
            "did network address translation on the way forget it",
        ),
        (
            sent(Some(Packet { tcp_flags: 16, ..packet(tuple()) }), None, "TCP_TIMEWAIT_SOCKET", &[]),
            "give up idle connections sooner",
        ),
        (sent(None, Some(peer.clone()), "TCP_STATE", &["tcp_abort"]), "who destroys sockets there"),
        (sent(None, Some(peer), "TCP_ABORT_ON_CLOSE", &["__tcp_close", "tcp_close"]), "look at the log"),
    ];
    for (sent, words) in cases {
        let tcp = TcpCounters { idle_ms: Some(2000), ..TcpCounters::default() };
        let reset = Event::ResetReceived { sock: sock(TcpState::Established), tcp };
        let end = change(TcpState::Established, TcpState::Close, 104, tcp, &[]);
        let events = vec![(MS, attempt()), (2 * MS, up()), (3 * MS, sent), (4 * MS, reset), (4 * MS + 1, end)];
        let reports = run(events, elsewhere);
        assert_eq!(code(&reports), ["broken.reset-by-peer"]);
        let advice = &verdict(&reports).advice[0];
        assert!(advice.contains(words), "{advice}");
    }
}

/// A packet of either side is dropped, and a reset comes later: the verdict, by when the peer was heard last before that, what
/// is not acknowledged, and how much is.
fn reset_after_a_drop(ours: bool, idle_ms: u32, unacknowledged: u32, sequence: u32) -> String {
    let dropped = Packet { tcp_flags: 16, sequence: 100, ..packet(if ours { tuple() } else { tuple().reversed() }) };
    let tcp = TcpCounters { idle_ms: Some(idle_ms), unacknowledged, sequence, ..TcpCounters::default() };
    let events = vec![
        (MS, attempt()),
        (2 * MS, up()),
        (1000 * MS, drop_of(dropped, "NETFILTER_DROP", Some("nft_do_chain"))),
        (5000 * MS, Event::ResetReceived { sock: sock(TcpState::Established), tcp }),
        (5000 * MS, change(TcpState::Established, TcpState::Close, 104, tcp, &[])),
    ];
    code(&run(events, elsewhere)).join(" ")
}

#[test]
fn a_drop_that_was_made_good_did_not_break_it() {
    let (dropped, reset) = ("firewall.dropped", "broken.reset-by-peer");
    for ours in [true, false] {
        assert_eq!(reset_after_a_drop(ours, 100, 0, 100), reset, "all arrived ({ours})");
        assert_eq!(reset_after_a_drop(ours, 4000, 0, 100), dropped, "nothing came in since ({ours})");
    }
    assert_eq!(reset_after_a_drop(true, 100, 10, 110), reset, "what waits was sent later");
    assert_eq!(reset_after_a_drop(true, 100, 10, 100), dropped, "it still waits");
}
