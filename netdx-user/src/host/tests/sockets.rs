//! Sockets, their owners, and the ports and counters of a namespace.

use super::*;
use rustix::net;
use std::net::{SocketAddr, UdpSocket};

#[test]
fn listeners_of_every_namespace_with_their_owners() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let four = lab.within(1, || TcpListener::bind("10.99.0.2:0").unwrap());
    let port = four.local_addr().unwrap().port();
    let six = lab.within(0, || TcpListener::bind(("::", port)).unwrap());
    let found = listeners(&mut host, Protocol::Tcp, port);
    let expected = [(lab.netns(0), "::"), (lab.netns(1), "10.99.0.2")];
    let mut seen: Vec<_> = found.iter().map(|l| (l.netns, l.addr.to_string())).collect();
    seen.sort();
    let mut expected: Vec<_> = expected.iter().map(|(n, a)| (*n, a.to_string())).collect();
    expected.sort();
    assert_eq!(seen, expected);
    // A child that another test forks holds them too, until it executes its program.
    for listener in &found {
        assert!(listener.owners.iter().any(|o| o.pid == std::process::id()), "{listener:?}");
        assert_eq!((listener.backlog, listener.max_backlog, listener.v6only, listener.port), (0, 128, false, port));
    }
    drop((four, six));
    assert!(eventually(|| listeners(&mut host, Protocol::Tcp, port).is_empty()));

    let udp = lab.within(1, || UdpSocket::bind("[fd99::2]:0").unwrap());
    let port = udp.local_addr().unwrap().port();
    let found = listeners(&mut host, Protocol::Udp, port);
    assert_eq!(found.iter().map(|l| (l.netns, l.addr)).collect::<Vec<_>>(), [(lab.netns(1), ip("fd99::2"))]);
}

#[test]
fn owner_and_holders_of_a_connection() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let listener = lab.within(1, || TcpListener::bind("10.99.0.2:0").unwrap());
    let remote = listener.local_addr().unwrap();
    let client = lab.within(0, || std::net::TcpStream::connect(remote).unwrap());
    let local = client.local_addr().unwrap();
    let mut tuple = Tuple {
        protocol: Protocol::Tcp,
        local: local.ip(),
        local_port: local.port(),
        remote: remote.ip(),
        remote_port: remote.port(),
    };
    for known in [true, false] {
        if !known {
            (tuple.local, tuple.local_port) = (ip("0.0.0.0"), 0);
        }
        let Answer::Sockets(found) = host.answer(&Want::Owner { netns: lab.netns(0), tuple }) else { panic!() };
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].state.as_str(), found[0].tuple.local_port), ("established", local.port()));
        assert!(found[0].owners.iter().any(|o| o.pid == std::process::id()));
    }
    let want =
        Want::Holders { netns: lab.netns(1), protocol: Protocol::Tcp, address: remote.ip(), port: remote.port() };
    let Answer::Sockets(found) = host.answer(&want) else { panic!() };
    let mut states: Vec<_> = found.iter().map(|s| s.state.as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["established", "listen"]);

    // Bound, neither connected nor listening: kernels from 6.8 on tell of them, and of all of them whatever the port asked for.
    let bound = lab.within(1, || {
        let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).unwrap();
        net::bind(&socket, &"10.99.0.2:0".parse::<SocketAddr>().unwrap()).unwrap();
        TcpListener::from(socket)
    });
    let port = bound.local_addr().unwrap().port();
    let Answer::Sockets(again) = host.answer(&want) else { panic!() };
    assert_eq!(again.len(), 2, "{again:?}");
    let want = Want::Holders { netns: lab.netns(1), protocol: Protocol::Tcp, address: remote.ip(), port };
    let Answer::Sockets(found) = host.answer(&want) else { panic!() };
    assert!(found.iter().all(|s| s.state == "bound" && s.tuple.local_port == port), "{found:?}");
}

#[test]
fn ports_taken_towards_a_remote() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let name = &lab.names[0];
    run(&format!(
        "ip netns exec {name} sysctl -qw net.ipv4.ip_local_port_range='40000 40009' net.ipv4.ip_local_reserved_ports=40003,50000"
    ));
    let listener = lab.within(1, || TcpListener::bind("10.99.0.2:7000").unwrap());
    let other = lab.within(1, || TcpListener::bind("10.99.0.2:7001").unwrap());
    let clients = lab.within(0, || {
        let connect = |port| std::net::TcpStream::connect(("10.99.0.2", port)).unwrap();
        [connect(7000), connect(7000), connect(7000), connect(7001)]
    });
    let want =
        |remote, remote_port| Want::PortUse { netns: lab.netns(0), protocol: Protocol::Tcp, remote, remote_port };
    let Answer::PortUse(found) = host.answer(&want(ip("10.99.0.2"), 7000)) else { panic!() };
    assert_eq!((found.range, found.used, found.reserved), ((40000, 40009), 3, 1));
    let mine: Vec<_> = found.by.iter().map(|(o, state, n)| (o.as_ref().map(|o| o.pid), state.as_str(), *n)).collect();
    assert_eq!(mine, [(Some(std::process::id()), "established", 3)]);
    let Answer::PortUse(found) = host.answer(&want(ip("0.0.0.0"), 0)) else { panic!() };
    assert!(found.used <= 4 && found.by[0].2 == 4, "{found:?}");
    drop((clients, listener, other));
}

#[test]
fn counters_and_tracking_are_of_the_namespace_asked() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let ports = |host: &mut Host, side| match host.answer(&Want::Counters { netns: lab.netns(side) }) {
        Answer::Counters(list) => list.into_iter().find(|(name, _)| name == "Udp.NoPorts").unwrap().1,
        other => panic!("{other:?}"),
    };
    lab.within(0, || UdpSocket::bind("10.99.0.1:0").unwrap().send_to(b"x", "10.99.0.2:9").unwrap());
    assert_eq!((ports(&mut host, 0), ports(&mut host, 1)), (0, 1));

    run(&format!(
        "ip netns exec {} nft 'add table t; add chain t c {{ type filter hook input priority 0; }}; add rule t c ct state invalid drop'",
        lab.names[1]
    ));
    lab.within(0, || UdpSocket::bind("10.99.0.1:0").unwrap().send_to(b"x", "10.99.0.2:9").unwrap());
    let Answer::Conntrack(tracking) = host.answer(&Want::Conntrack { netns: lab.netns(1) }) else { panic!() };
    assert!(tracking.count >= 1 && tracking.max > tracking.count && tracking.counted, "{tracking:?}");
}
