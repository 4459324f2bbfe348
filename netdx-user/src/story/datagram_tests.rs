//! The core with events of datagram sockets, made by hand.

use super::lookup_tests::{dns, resolved};
use super::tests::{MS, code, drop_of, elsewhere, ip, packet, run, sock, task, tuple};
use crate::{
    event::{Call, Cookie, Event, IcmpError, Netns, Packet, Protocol, RouteLookups, Sock, Task, TcpState, Tuple},
    fact::Answer,
    time::Time,
    want::Want,
};

/// A connected socket, and the error it has.
fn connected(local_port: u16, cookie: u64, error: i32) -> Sock {
    let tuple = Tuple { protocol: Protocol::Udp, local_port, ..tuple() };
    Sock { tuple, error, cookie: Some(Cookie(cookie)), id: None, ..sock(TcpState::Established) }
}

/// A socket is told that nobody listens there.
fn refused(local_port: u16, cookie: u64) -> Event {
    Event::SocketError { sock: connected(local_port, cookie, 111), icmp: None, current: None }
}

/// The application asks for it.
fn asked(local_port: u16, cookie: u64) -> Event {
    Event::CallFailed {
        call: Call::Receive,
        started: None,
        task: task(),
        sock: Some(connected(local_port, cookie, 0)),
        address: None,
        family: 0,
        port: 0,
        socket_type: 2,
        protocol: 17,
        scope: 0,
        result: -111,
        cgroup_hook: None,
        route: RouteLookups::default(),
    }
}

#[test]
fn an_error_waits_for_the_application_to_ask() {
    let reports = run(vec![(MS, refused(40_000, 1)), (500 * MS, asked(40_000, 1))], elsewhere);
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(reports[0].process.as_ref().map(|p| p.pid), Some(100));
}

#[test]
fn the_same_failure_of_another_process_or_namespace_is_told_too() {
    let failed = |pid: u32, netns: u32| {
        let netns = Netns(netns);
        // Not bound yet: only who asked tells the sockets apart.
        let unbound = Tuple { protocol: Protocol::Udp, local: ip("0.0.0.0"), local_port: 0, ..tuple() };
        Event::CallFailed {
            call: Call::Connect,
            started: None,
            task: Task { pid, tid: pid, netns: Some(netns), ..task() },
            sock: Some(Sock { id: None, tuple: unbound, netns, ..sock(TcpState::Close) }),
            address: Some(ip("10.0.0.5")),
            family: 2,
            port: 5432,
            socket_type: 2,
            protocol: 17,
            scope: 0,
            result: -101,
            cgroup_hook: None,
            route: RouteLookups::default(),
        }
    };
    let who = |events: Vec<(u64, Event)>| -> Vec<u32> {
        run(events, elsewhere).iter().filter_map(|r| r.process.as_ref().map(|p| p.pid)).collect()
    };
    // Told together: both wait to be told when the second comes.
    assert_eq!(who(vec![(MS, failed(100, 1)), (2 * MS, failed(200, 1))]), [100, 200]);
    // Told a little later: the first has been told.
    assert_eq!(who(vec![(MS, failed(100, 1)), (600 * MS, failed(200, 1))]), [100, 200]);
    assert_eq!(who(vec![(MS, failed(100, 1)), (600 * MS, failed(100, 2))]), [100, 100]);
    // The same again is told once.
    assert_eq!(who(vec![(MS, failed(100, 1)), (600 * MS, failed(100, 1))]), [100]);
}

#[test]
fn each_socket_is_told_of_though_another_had_its_port_a_moment_ago() {
    let times = |second: u64, cookies: [u64; 2]| {
        let events = [(MS, asked(40_000, cookies[0])), (second, asked(40_000, cookies[1]))];
        run(events.into(), elsewhere).len()
    };
    // Both wait to be told.
    assert_eq!((times(2 * MS, [1, 1]), times(2 * MS, [1, 2])), (1, 2));
    // The first has been told.
    assert_eq!((times(600 * MS, [1, 1]), times(600 * MS, [1, 2])), (1, 2));
}

/// What came of the datagram before: the routing lookups of this call are no reason.
#[test]
fn a_call_is_told_what_a_router_said() {
    let (local, remote) = (ip("fd01::1"), ip("fd09::1"));
    let icmp = Some(IcmpError { from: ip("fd01::9"), v6: true, kind: 1, code: 0, info: 0 });
    let with_ends = |sock: Sock| Sock { tuple: Tuple { local, remote, ..sock.tuple }, v6: true, ..sock };
    let came = Event::SocketError { sock: with_ends(connected(40_000, 1, 101)), icmp, current: None };
    let failed = Event::CallFailed {
        call: Call::Send,
        started: None,
        task: task(),
        sock: Some(with_ends(connected(40_000, 1, 0))),
        address: None,
        family: 10,
        port: 0,
        socket_type: 2,
        protocol: 17,
        scope: 0,
        result: -101,
        cgroup_hook: None,
        route: RouteLookups { count: 4, local: true, table: 255, error: -11, kind: 7, ..RouteLookups::default() },
    };
    let reports = run(vec![(MS, came), (2 * MS, failed)], elsewhere);
    assert_eq!(code(&reports), ["route.icmp-unreachable"]);
}

#[test]
fn a_bind_that_failed_has_no_part_in_what_the_socket_sends_that_has_the_port() {
    let refused = refused(40_000, 1);
    let Event::CallFailed { sock: Some(connected), .. } = asked(40_000, 2) else { panic!() };
    let unbound =
        Tuple { local: ip("0.0.0.0"), local_port: 0, remote: ip("0.0.0.0"), remote_port: 0, ..connected.tuple };
    let mut bind = asked(40_000, 2);
    if let Event::CallFailed { call, started, sock, address, port, result, .. } = &mut bind {
        (*call, *started, *address, *port, *result) = (Call::Bind, Some(Time(MS)), Some(tuple().local), 40_000, -98);
        *sock = Some(Sock { tuple: unbound, cookie: None, ..connected });
    }
    for events in [[(MS, refused.clone()), (2 * MS, bind.clone())], [(MS, bind), (2 * MS, refused)]] {
        let mut codes: Vec<String> = code(&run(events.into(), elsewhere)).into_iter().map(str::to_owned).collect();
        codes.sort();
        assert_eq!(codes, ["local.address-in-use", "unexplained"]);
    }
}

#[test]
fn a_flood_of_failures_is_told_whole() {
    // More than wait at once, within the second in which each is waited for.
    let flood = (0..40_000u64).map(|n| (MS + n * 10_000, refused((n % 30_000 + 1024) as u16, n + 1)));
    assert_eq!(run(flood.collect(), elsewhere).len(), 40_000);
}

#[test]
fn what_is_sent_after_a_connect_that_failed_is_no_failure_of_its_own() {
    let call = |call: Call, (address, port), errno: i32| {
        let Event::CallFailed { task, sock: Some(sock), route, .. } = asked(40_000, 1) else { panic!() };
        let nowhere = Tuple { local: ip("0.0.0.0"), remote: ip("0.0.0.0"), remote_port: 0, ..sock.tuple };
        Event::CallFailed {
            call,
            started: (call == Call::Connect).then_some(Time(MS)),
            task,
            sock: Some(Sock { tuple: nowhere, state: TcpState::Close, ..sock }),
            address,
            family: 2,
            port,
            socket_type: 2,
            protocol: 17,
            scope: 0,
            result: -errno,
            cgroup_hook: (call == Call::Connect).then_some(true),
            route,
        }
    };
    let connect = call(Call::Connect, (Some(ip("10.0.0.5")), 9), 101);
    let send = call(Call::Send, (None, 0), 89);
    let reports = run(vec![(2 * MS, connect), (3 * MS, send.clone()), (60 * MS, send)], elsewhere);
    assert_eq!(code(&reports), ["route.none"]);
    assert_eq!(reports[0].errno.as_deref(), Some("ENETUNREACH"));
}

#[test]
fn the_c_library_tries_out_addresses_and_the_program_connects() {
    let Event::CallFailed { sock: Some(sock), .. } = asked(40_000, 1) else { panic!() };
    let nowhere = Tuple { local: ip("0.0.0.0"), remote: ip("0.0.0.0"), remote_port: 0, ..sock.tuple };
    let connect = |began: u64| {
        let mut event = asked(40_000, 1);
        if let Event::CallFailed { call, started, sock: given, address, family, port, result, route, .. } = &mut event {
            (*call, *started, *result) = (Call::Connect, Some(Time(began)), -101);
            (*address, *family, *port) = (Some(ip("10.0.0.5")), 2, 123);
            *route = RouteLookups { count: 2, table: 254, error: -11, ..RouteLookups::default() };
            *given = Some(Sock { tuple: nowhere, state: TcpState::Close, ..sock.clone() });
        }
        event
    };
    let hosts_file = vec![(4 * MS, resolved(&task(), MS / 2, 0, "time.test")), (5 * MS, connect(5 * MS))];
    assert_eq!(code(&run(hosts_file, elsewhere)), ["route.none"]);
    let told = |after: Vec<(u64, Event)>| {
        let asked =
            vec![(MS, dns(1, "time.test", 1, None)), (2 * MS, dns(1, "time.test", 1, Some((0, vec![ip("10.0.0.5")]))))];
        code(&run(asked.into_iter().chain(after).collect(), elsewhere)).join(" ")
    };
    let within = vec![(3 * MS, connect(3 * MS)), (4 * MS, resolved(&task(), MS / 2, 0, "time.test"))];
    assert_eq!(told(within), "");
    let afterwards = vec![(4 * MS, resolved(&task(), MS / 2, 0, "time.test")), (5 * MS, connect(5 * MS))];
    assert_eq!(told(afterwards), "route.none");
    let searched = vec![(4 * MS, resolved(&task(), MS / 2, 0, "time")), (5 * MS, connect(5 * MS))];
    assert_eq!(told(searched), "route.none");
    // Of another name nothing is known.
    let other = vec![(4 * MS, resolved(&task(), MS / 2, 0, "tim")), (5 * MS, connect(5 * MS))];
    assert_eq!(told(other), "");
    // A resolver of the program's own.
    assert_eq!(told(vec![(3 * MS, connect(3 * MS))]), "");
}

/// Two containers of networks that don't know each other.
#[test]
fn of_namespaces_with_one_address_the_one_that_was_told_sent_it() {
    let asked = Tuple { protocol: Protocol::Udp, ..tuple() };
    let lost = Packet { netns: Some(Netns(9)), in_device: 3, ..packet(asked) };
    let told_in = |netns: u32| {
        let back = Tuple { local: asked.remote, remote: asked.local, protocol: Protocol::Icmp, ..asked };
        let packet = Packet { netns: Some(Netns(netns)), icmp_type: 3, icmp_code: 3, ..packet(back) };
        Event::IcmpReceived { packet, quoted: Some(asked), info: 0 }
    };
    let sender = |netns: u32| {
        let events =
            vec![(MS, drop_of(lost.clone(), "NO_SOCKET", None)), (MS + 1, told_in(7)), (MS + 2, told_in(netns))];
        let reports = run(events, |want| match want {
            Want::Owners { address, .. } if *address == asked.local => Answer::Owners(vec![Netns(2), Netns(3)]),
            other => elsewhere(other),
        });
        reports[0].netns
    };
    assert_eq!([sender(2), sender(3)], [Some(2), Some(3)]);
}
