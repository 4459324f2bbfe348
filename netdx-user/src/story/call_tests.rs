//! The core with calls that failed and are all there is, made by hand.

use super::tests::{MS, attempt, closed, code, elsewhere, ip, reset_received, run, task, tuple, unknown};
use crate::{
    event::{Call, Event, Netns, Protocol, RouteLookups, Sock, Task, TcpState, Tuple},
    fact::{Answer, BpfProgram, Interface, Owner, PortUse, Route, SocketEntry},
    filter::Filter,
    report::{Certainty, Direction, Report, Verdict},
    want::Want,
};
use std::net::IpAddr;

/// A call of a socket that has neither end yet.
fn failed(call: Call, protocol: Protocol, v6: bool, (family, address): (u16, &str), errno: i32) -> Event {
    let nothing: IpAddr = if v6 { ip("::") } else { ip("0.0.0.0") };
    let tuple = Tuple { protocol, local: nothing, local_port: 0, remote: nothing, remote_port: 0 };
    Event::CallFailed {
        call,
        started: Some(crate::time::Time(MS)),
        task: task(),
        sock: Some(Sock { v6, ..Sock::unseen(tuple, Netns(1)) }),
        address: Some(ip(address)),
        family,
        port: 7519,
        socket_type: 1,
        protocol: 0,
        scope: 0,
        result: -errno,
        cgroup_hook: Some(true),
        route: RouteLookups::default(),
    }
}

fn verdict(report: &Report) -> &Verdict {
    report.verdict.as_ref().expect("a verdict")
}

fn told(event: Event, answer: impl Fn(&Want) -> Answer) -> Report {
    let mut reports = run(vec![(2 * MS, event)], answer);
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports.remove(0)
}

const IPV4: (u16, &str) = (2, "10.0.0.5");
const IPV6: (u16, &str) = (10, "fd01::5");
const EINVAL: i32 = 22;
const EAFNOSUPPORT: i32 = 97;
const EADDRINUSE: i32 = 98;
const EADDRNOTAVAIL: i32 = 99;
const ENETUNREACH: i32 = 101;

#[test]
fn a_socket_of_the_other_family_is_no_family_that_is_missing() {
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    for (call, protocol, v6, given, errno, code, words) in [
        (Call::Connect, tcp, false, IPV6, EAFNOSUPPORT, "local.bad-target", "fd01::5 is given as an IPv6 address"),
        (Call::Connect, udp, false, IPV6, EAFNOSUPPORT, "local.bad-target", "the socket is for IPv4"),
        (Call::Send, udp, false, IPV6, EAFNOSUPPORT, "local.bad-target", "the socket is for IPv4"),
        (Call::Connect, tcp, false, (10, "10.0.0.5"), EAFNOSUPPORT, "local.bad-target", "given as an IPv6 address"),
        (Call::Connect, tcp, true, IPV4, EINVAL, "local.bad-target", "10.0.0.5 is given as an IPv4 address"),
        (Call::Connect, tcp, true, IPV4, EAFNOSUPPORT, "local.bad-target", "the socket is for IPv6"),
        (Call::Connect, udp, true, IPV4, EAFNOSUPPORT, "local.bad-target", "IPv6 only (IPV6_V6ONLY)"),
        // Something else is wrong with it.
        (Call::Connect, udp, true, IPV4, EINVAL, "unexplained", ""),
        (Call::Connect, tcp, false, IPV4, EINVAL, "unexplained", ""),
        (Call::Connect, tcp, true, IPV6, EAFNOSUPPORT, "unexplained", ""),
        (Call::Bind, tcp, false, IPV6, EAFNOSUPPORT, "local.bad-source", "the socket is for IPv4"),
        (Call::Bind, udp, true, IPV4, EINVAL, "local.bad-source", "the socket is for IPv6"),
        (Call::Socket, tcp, true, IPV6, EAFNOSUPPORT, "local.no-family", "IPv6 is not supported here"),
    ] {
        let mut event = failed(call, protocol, v6, given, errno);
        if let Event::CallFailed { sock, cgroup_hook, .. } = &mut event {
            // A BPF program is asked before the kernel looks at the family; it has not refused any of these.
            *cgroup_hook = Some(code != "unexplained");
            *sock = sock.take().filter(|_| call != Call::Socket);
        }
        let report = told(event, elsewhere);
        let verdict = verdict(&report);
        assert_eq!(verdict.code, code, "{call:?} {protocol:?} {v6} {given:?}");
        assert!(verdict.summary.contains(words), "{}", verdict.summary);
        assert_eq!(verdict.certainty == Certainty::Proven, code != "unexplained");
    }
}

#[test]
fn a_link_local_address_of_an_interface_that_leads_nowhere() {
    let interface = |index: u32, name: &str| Interface {
        index,
        name: name.into(),
        up: true,
        carrier: true,
        loopback: index == 1,
        ..Interface::default()
    };
    let host = |want: &Want| match want {
        Want::Interfaces { .. } => Answer::Interfaces(vec![interface(1, "lo"), interface(2, "eth0")]),
        other => elsewhere(other),
    };
    for (index, code, words) in [
        (99, "local.bad-target", "interface 99, and there is no such interface"),
        (1, "local.bad-target", "a link-local address of lo, by which no other host is reached"),
    ] {
        let mut event = failed(Call::Connect, Protocol::Tcp, true, (10, "fe80::9"), ENETUNREACH);
        if let Event::CallFailed { scope, route, sock: Some(sock), .. } = &mut event {
            *scope = index;
            *route = RouteLookups { count: 4, error: -11, kind: 7, device: index, ..RouteLookups::default() };
            sock.bound_device = index;
        }
        let report = told(event.clone(), host);
        assert_eq!(verdict(&report).code, code);
        assert!(verdict(&report).summary.contains(words), "{}", verdict(&report).summary);
        // Of which interfaces there are nothing is known.
        assert_ne!(verdict(&told(event, elsewhere)).code, "local.bad-target");
    }
}

#[test]
fn port_0_is_no_port_that_nobody_listens_on() {
    let mut events = [attempt(), reset_received(), closed(111)];
    for event in &mut events {
        if let Event::Attempt { sock, .. } | Event::ResetReceived { sock, .. } | Event::State { sock, .. } = event {
            sock.tuple.remote_port = 0;
        }
    }
    let reports = run(events.into_iter().map(|event| (3 * MS, event)).collect(), elsewhere);
    assert_eq!(code(&reports), ["local.bad-target"]);
    assert!(reports[0].also.is_empty(), "{:?}", reports[0].also);
}

#[test]
fn a_socket_that_could_not_be_bound_is_found_by_its_own_address() {
    let bind = told(failed(Call::Bind, Protocol::Tcp, false, (2, "10.0.0.1"), EADDRNOTAVAIL), unknown);
    assert_eq!((bind.call, bind.remote), (Some("bind"), None));
    let shown = |filter: Filter| filter.wants(&bind);
    let port = |text: &str| shown(Filter { ports: vec![text.parse().expect("ports")], ..Filter::default() });
    let host = |text: &str| shown(Filter { hosts: vec![text.parse().expect("a host")], ..Filter::default() });
    assert!(port("7519") && !port("80") && host("10.0.0.0/24") && !host("10.0.1.0/24"));
    for direction in [Direction::Inbound, Direction::Outbound] {
        assert!(shown(Filter { directions: vec![direction], ..Filter::default() }), "{direction:?}");
    }
}

fn holder(remote: &str, remote_port: u16, state: &str, pid: u32) -> SocketEntry {
    SocketEntry {
        tuple: Tuple { local_port: 7519, remote: ip(remote), remote_port, ..tuple() },
        state: state.into(),
        uid: 0,
        inode: pid,
        owners: (pid != 0).then(|| Owner { pid, comm: "nginx".into() }).into_iter().collect(),
    }
}

#[test]
fn who_listens_on_an_address_is_who_has_it() {
    let over = |port| holder("10.0.0.9", port, "time-wait", 0);
    let taken = |holders: Vec<SocketEntry>| {
        let report = told(failed(Call::Bind, Protocol::Tcp, false, IPV4, EADDRINUSE), move |want| match want {
            Want::Holders { .. } => Answer::Sockets(holders.clone()),
            other => elsewhere(other),
        });
        let verdict = verdict(&report);
        assert_eq!(verdict.code, "local.address-in-use");
        (verdict.because.clone(), verdict.advice.concat())
    };
    let (why, advice) = taken(vec![over(1), over(2), over(3), over(4), holder("0.0.0.0", 0, "listen", 812)]);
    assert_eq!(why, "10.0.0.5:7519 is taken: nginx[812] has 10.0.0.1:7519 (listen)");
    assert!(!advice.contains("SO_REUSEADDR"), "{advice}");
    let (why, advice) = taken(vec![over(1), over(2), over(3), over(4), over(5)]);
    assert!(why.ends_with("(time-wait); and 2 others"), "{why}");
    assert!(advice.contains("SO_REUSEADDR"), "{advice}");
}

#[test]
fn who_uses_the_local_ports_is_told_to_the_last() {
    let mut event = failed(Call::Connect, Protocol::Tcp, false, IPV4, EADDRNOTAVAIL);
    if let Event::CallFailed { route, sock: Some(sock), .. } = &mut event {
        route.count = 1;
        sock.state = TcpState::Close;
    }
    let report = told(event, |want| match want {
        Want::PortUse { .. } => Answer::PortUse(PortUse {
            range: (50_000, 50_004),
            used: 5,
            reserved: 0,
            by: [1, 1, 1, 2].into_iter().map(|n| (None, "established".into(), n)).collect(),
        }),
        other => elsewhere(other),
    });
    assert_eq!(verdict(&report).code, "local.ports-exhausted");
    let summary = &verdict(&report).summary;
    assert!(summary.ends_with("(1 established, 1 established, 1 established, and 2 others)"), "{summary}");
}

#[test]
fn where_there_can_be_no_route_the_kernel_looks_for_none() {
    let events = |given, errno| failed(Call::Connect, Protocol::Tcp, given == IPV6, given, errno);
    let host = |route: Option<i32>, lo_up: bool| {
        move |want: &Want| match (want, route) {
            (Want::Route { .. }, Some(errno)) => {
                let kind = if errno == 0 { "unicast" } else { "" };
                Answer::Route(Route { errno, kind: kind.into(), ..Route::default() })
            }
            // Always attached, and it lets everything pass: a load balancer's.
            (Want::BpfPrograms { .. }, Some(_)) => Answer::BpfPrograms(vec![BpfProgram {
                id: 7,
                name: "sock4_connect".into(),
                attach: "connect4".into(),
                place: "/".into(),
            }]),
            (Want::Interfaces { .. }, Some(_)) => Answer::Interfaces(vec![Interface {
                index: 1,
                name: "lo".into(),
                up: lo_up,
                loopback: true,
                ..Interface::default()
            }]),
            _ => elsewhere(want),
        }
    };
    const LO: (u16, &str) = (2, "127.0.0.1");
    for (given, errno, route, lo_up, code, certainty, words) in [
        // The namespace is gone by now.
        (IPV4, ENETUNREACH, None, false, "route.none", Certainty::Likely, "has never had one"),
        (IPV4, ENETUNREACH, Some(ENETUNREACH), false, "route.none", Certainty::Proven, "no IPv4 route to 10.0.0.5"),
        (IPV4, ENETUNREACH, Some(0), true, "denied.bpf", Certainty::Proven, "program 7"),
        (LO, ENETUNREACH, Some(ENETUNREACH), false, "route.interface-down", Certainty::Proven, "interface lo, which"),
        (IPV6, EADDRNOTAVAIL, Some(ENETUNREACH), true, "route.none", Certainty::Proven, "nor an address to send from"),
        (IPV6, EADDRNOTAVAIL, None, true, "route.none", Certainty::Likely, "nor an address to send from"),
    ] {
        let mut event = events(given, errno);
        if let Event::CallFailed { route, .. } = &mut event {
            // IPv6 has its tables, and routes that reject, from the beginning.
            (route.count, route.kind) = if given == IPV6 { (2, 7) } else { (0, 0) };
        }
        let report = told(event, host(route, lo_up));
        let verdict = verdict(&report);
        assert_eq!((verdict.code, verdict.certainty), (code, certainty), "{given:?} {}", verdict.summary);
        assert!(verdict.summary.contains(words), "{}", verdict.summary);
    }
}

/// A Java program: its command line is long, and its thread has a name of its own.
#[test]
fn a_thread_with_a_name_of_its_own_is_one_of_its_process() {
    let argv = vec!["/opt/java".to_owned(), format!("-cp={}", "x".repeat(400)), "Main".to_owned()];
    let kept = vec![argv[0].clone(), argv[1][..netdx_common::record::ARGV_LEN - argv[0].len() - 1].to_owned()];
    let thread = Task { tid: 4711, comm: "HttpClient-1-Wo".into(), ..task() };
    let process = |argv: Vec<String>| Event::Process {
        task: thread.clone(),
        started: crate::time::Time(1),
        parent: 1,
        argv,
        root: None,
    };
    let mut event = failed(Call::Connect, Protocol::Tcp, false, IPV4, ENETUNREACH);
    if let Event::CallFailed { task, .. } = &mut event {
        *task = thread.clone();
    }
    let of = |comm: &'static str, kept: Vec<String>| {
        let argv = argv.clone();
        let reports = run(vec![(MS, process(kept)), (2 * MS, event.clone())], move |want| match want {
            Want::Process { pid } => Answer::Process(Some(Box::new(crate::fact::Process {
                pid: *pid,
                comm: comm.into(),
                argv: argv.clone(),
                unit: Some("web.service".into()),
                ..crate::fact::Process::default()
            }))),
            other => elsewhere(other),
        });
        let process = reports[0].process.clone().expect("a process");
        (process.name, process.unit)
    };
    let unit = Some("web.service".to_owned());
    assert_eq!(of("java-main", kept.clone()), (Some("java-main".into()), unit.clone()));
    assert_eq!(of("HttpClient-1-Wo", kept), (None, unit));
    // Another process has its number by now.
    assert_eq!(of("cron", vec!["/opt/ruby".into()]), (Some("ruby".into()), None));
}

#[test]
fn of_a_bound_socket_it_may_be_the_binding_that_is_wrong() {
    let advice = |device: u32| {
        let mut event = failed(Call::Connect, Protocol::Tcp, false, IPV4, ENETUNREACH);
        if let Event::CallFailed { sock: Some(sock), .. } = &mut event {
            sock.bound_device = device;
        }
        let report = told(event, |want| match want {
            Want::Route { .. } => Answer::Route(Route {
                errno: ENETUNREACH,
                unusable: vec!["default via 10.0.0.9 dev eth0 (the socket is bound to eth1)".into()],
                ..Route::default()
            }),
            other => elsewhere(other),
        });
        assert_eq!(verdict(&report).code, "route.interface-down");
        verdict(&report).advice.concat()
    };
    assert!(advice(0).contains("ip link set"), "{}", advice(0));
    assert!(advice(7).contains("bind the socket to the interface that leads there"), "{}", advice(7));
}
