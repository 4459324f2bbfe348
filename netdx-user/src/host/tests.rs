//! Answers against the system's own tools, in namespaces made for the test. They need root; an ordinary user can't make a
//! namespace, and what it can see is tested beside each file.
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use super::*;
use crate::{
    event::{Hook, Protocol, Tuple},
    fact::{Listener, Route},
    ruleset::{Action, Culprits, PacketView, culprits},
};
use std::{
    net::{IpAddr, TcpListener, UdpSocket},
    os::fd::AsFd,
    os::unix::fs::MetadataExt,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// Namespaces joined by a veth pair: 10.99.0.1/24 and fd99::1/64 on `va` in the first, .2 on `vb` in the second.
pub(super) struct Lab {
    names: [String; 2],
}

static NEXT: AtomicU32 = AtomicU32::new(0);

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Lab {
    /// None: not root.
    pub(super) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!(
                "skipped: making network namespaces needs root, this is uid {}",
                rustix::process::geteuid().as_raw()
            );
            return None;
        }
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let names = ["a", "b"].map(|side| format!("host-{}-{n}{side}", std::process::id()));
        let [a, b] = &names;
        let lab = Self { names: names.clone() };
        run(&format!("ip netns add {a} && ip netns add {b}"));
        run(&format!("ip -n {a} link add va type veth peer name vb netns {b}"));
        for (name, dev, host) in [(a, "va", 1), (b, "vb", 2)] {
            run(&format!(
                "ip -n {name} link set lo up && ip -n {name} link set {dev} up && ip -n {name} addr add 10.99.0.{host}/24 dev {dev} \
                 && ip -n {name} addr add fd99::{host}/64 dev {dev} nodad"
            ));
        }
        Some(lab)
    }

    pub(super) fn netns(&self, side: usize) -> Netns {
        Netns(std::fs::metadata(format!("/run/netns/{}", self.names[side])).unwrap().ino() as u32)
    }

    fn ip(&self, side: usize, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.names[side]))
    }

    /// Does something inside a namespace, as a test does that opens sockets there.
    pub(super) fn within<T: Send>(&self, side: usize, work: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/run/netns/{}", self.names[side])).unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                rustix::thread::move_into_link_name_space(file.as_fd(), None).unwrap();
                work()
            })
            .join()
            .unwrap()
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn listeners(host: &mut Host, protocol: Protocol, port: u16) -> Vec<Listener> {
    match host.answer(&Want::Listeners { protocol, port }) {
        Answer::Listeners(list) => list,
        other => panic!("{other:?}"),
    }
}

fn route(host: &mut Host, netns: Netns, to: &str) -> Route {
    match host.answer(&Want::Route { netns, to: ip(to), from: None, device: 0, mark: 0, uid: 0 }) {
        Answer::Route(route) => route,
        other => panic!("{other:?}"),
    }
}

/// Anybody can ask about the namespace that netdx runs in. What only root is told is said to be so.
#[test]
fn every_question_about_the_own_namespace_is_answered() {
    let mut host = Host::new();
    let netns = host.namespaces().unwrap().own();
    let (pid, protocol) = (std::process::id(), Protocol::Tcp);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, port) = (ip("127.0.0.1"), listener.local_addr().unwrap().port());
    let tuple = Tuple { protocol, local: address, local_port: port, remote: ip("0.0.0.0"), remote_port: 0 };
    let own = host.answer(&Want::Process { pid });
    assert!(matches!(&own, Answer::Process(Some(p)) if p.pid == pid && p.netns == Some(netns)), "{own:?}");
    let found = listeners(&mut host, protocol, port);
    assert!(found.iter().any(|l| l.netns == netns && l.owners.iter().any(|o| o.pid == pid)), "{found:?}");
    for want in [
        Want::Owners { address, from: netns },
        Want::Route { netns, to: address, from: None, device: 0, mark: 0, uid: 0 },
        Want::Neighbor { netns, address, device: 0 },
        Want::Interfaces { netns },
        Want::Resolver { pid },
        Want::Hosts { pid, name: "localhost".into() },
        Want::Sysctl { netns, key: "ipv4/ip_forward".into() },
        Want::PortUse { netns, protocol, remote: address, remote_port: port },
        Want::Holders { netns, protocol, address, port },
        Want::Owner { netns, tuple },
        Want::Namespace { netns },
        Want::Counters { netns },
    ] {
        let answer = host.answer(&want);
        assert!(!matches!(answer, Answer::Unavailable(_)), "{want:?}: {answer:?}");
    }
    for want in [Want::Ruleset { netns }, Want::Conntrack { netns }, Want::BpfPrograms { netns, cgroup: 1 }] {
        if let Answer::Unavailable(why) = host.answer(&want) {
            eprintln!("{want:?}: {why}");
            let told = ["root", "installed", "permitted", "not loaded", "CAP_"].iter().any(|word| why.contains(word));
            assert!(told, "{want:?}: {why:?} does not say what would help");
        }
    }
    let elsewhere = host.answer(&Want::Interfaces { netns: Netns(1) });
    assert!(matches!(&elsewhere, Answer::Unavailable(why) if why.contains("namespace 1 ")), "{elsewhere:?}");
}

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
    for listener in &found {
        // A child that another test forks holds it too, until it executes its program.
        assert!(listener.owners.iter().any(|o| o.pid == std::process::id()), "{listener:?}");
        assert_eq!((listener.backlog, listener.max_backlog, listener.v6only, listener.port), (0, 128, false, port));
    }
    drop((four, six));
    assert_eq!(listeners(&mut host, Protocol::Tcp, port), []);

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
}

#[test]
fn addresses_interfaces_neighbours_names() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let owners =
        |host: &mut Host, address: &str| host.answer(&Want::Owners { address: ip(address), from: lab.netns(0) });
    assert!(
        matches!(owners(&mut host, "10.99.0.77"), Answer::Owners(o) if !o.contains(&lab.netns(0)) && !o.contains(&lab.netns(1)))
    );
    for address in ["10.99.0.2", "fd99::2"] {
        assert!(
            matches!(owners(&mut host, address), Answer::Owners(o) if o.contains(&lab.netns(1)) && !o.contains(&lab.netns(0)))
        );
    }
    assert_eq!(owners(&mut host, "127.8.9.1"), Answer::Owners(vec![lab.netns(0)]));
    lab.ip(1, "addr add fe80::77/64 dev vb nodad");
    assert_eq!(owners(&mut host, "fe80::77"), Answer::Owners(vec![lab.netns(1)]));
    assert_eq!(owners(&mut host, "10.99.0.255"), Answer::Owners(vec![]));

    let Answer::Interfaces(list) = host.answer(&Want::Interfaces { netns: lab.netns(1) }) else { panic!() };
    let names: Vec<_> = list.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["lo", "vb"]);
    assert!(list[0].loopback && list[1].up && list[1].carrier && list[1].kind == "veth" && list[1].mtu == 1500);
    assert!(list[1].addresses.contains(&(ip("10.99.0.2"), 24)) && list[1].addresses.contains(&(ip("fd99::2"), 64)));

    lab.ip(0, "neigh add 10.99.0.9 lladdr 02:00:00:00:00:09 dev va nud permanent");
    let want = Want::Neighbor { netns: lab.netns(0), address: ip("10.99.0.9"), device: 0 };
    let Answer::Neighbor(Some(entry)) = host.answer(&want) else { panic!() };
    assert_eq!(
        (entry.device_name.as_str(), entry.lladdr.as_deref(), entry.state.as_str()),
        ("va", Some("02:00:00:00:00:09"), "permanent")
    );
    let want = Want::Neighbor { netns: lab.netns(0), address: ip("10.99.0.10"), device: 0 };
    assert_eq!(host.answer(&want), Answer::Neighbor(None));

    let Answer::Namespace(named) = host.answer(&Want::Namespace { netns: lab.netns(1) }) else { panic!() };
    assert_eq!((named.name.as_deref(), named.own, named.process), (Some(lab.names[1].as_str()), false, None));
    let Answer::Unavailable(why) = host.answer(&Want::Namespace { netns: Netns(7) }) else { panic!() };
    assert!(why.contains("namespace 7"), "{why}");

    run(&format!("ip netns exec {} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=1", lab.names[0]));
    for (key, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/disable_ipv6", "1")] {
        let want = |netns| Want::Sysctl { netns, key: key.into() };
        assert_eq!(host.answer(&want(lab.netns(0))), Answer::Sysctl(value.into()));
        assert_eq!(host.answer(&want(lab.netns(1))), Answer::Sysctl("0".into()));
    }
}

#[test]
fn a_namespace_that_is_deleted_is_not_kept_alive() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let netns = lab.netns(1);
    assert!(matches!(host.answer(&Want::Interfaces { netns }), Answer::Interfaces(_)));
    run(&format!("ip netns del {}", lab.names[1]));
    assert!(matches!(host.answer(&Want::Interfaces { netns }), Answer::Unavailable(_)));
    // The veth pair goes with its namespace, as soon as nothing holds it.
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !lab.ip(0, "link").contains(" va@")
    });
    assert!(gone);
}

#[test]
fn routes_as_the_kernel_takes_them() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let found = route(&mut host, lab.netns(0), "10.99.0.2");
    assert_eq!(
        (found.errno, found.kind.as_str(), found.table.as_str(), found.prefix.as_deref()),
        (0, "unicast", "main", Some("10.99.0.0/24"))
    );
    assert_eq!(
        (found.device_name.as_str(), found.source, found.gateway, found.has_default),
        ("va", Some(ip("10.99.0.1")), None, false)
    );
    let found = route(&mut host, lab.netns(0), "10.99.0.1");
    assert_eq!((found.kind.as_str(), found.table.as_str(), found.device_name.as_str()), ("local", "local", "lo"));
    assert_eq!(route(&mut host, lab.netns(0), "192.0.2.1").errno, libc::ENETUNREACH);
    assert_eq!(route(&mut host, lab.netns(0), "2001:db8::1").errno, libc::ENETUNREACH);
    lab.ip(0, "route add default via 10.99.0.2 mtu 1400");
    lab.ip(0, "-6 route add default via fd99::2");
    let found = route(&mut host, lab.netns(0), "192.0.2.1");
    assert_eq!(
        (found.prefix.as_deref(), found.gateway, found.has_default, found.mtu),
        (Some("default"), Some(ip("10.99.0.2")), true, 1400)
    );
    let found = route(&mut host, lab.netns(0), "2001:db8::1");
    assert_eq!(
        (found.prefix.as_deref(), found.gateway, found.has_default),
        (Some("default"), Some(ip("fd99::2")), true)
    );
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

/// Puts rules into the second namespace and gives all that are found there.
fn rules(lab: &Lab, commands: &[&str]) -> crate::fact::Ruleset {
    for command in commands {
        run(&format!("ip netns exec {} {command}", lab.names[1]));
    }
    match Host::new().answer(&Want::Ruleset { netns: lab.netns(1) }) {
        Answer::Ruleset(ruleset) => ruleset,
        other => panic!("{other:?}"),
    }
}

/// The SYN that a client in the first namespace sends to port 80 of the second.
fn syn() -> PacketView<'static> {
    PacketView {
        tuple: Tuple {
            protocol: Protocol::Tcp,
            local: ip("10.99.0.1"),
            local_port: 40000,
            remote: ip("10.99.0.2"),
            remote_port: 80,
        },
        tcp_flags: Some(2),
        icmp: None,
        mark: Some(0),
        in_device: Some("vb"),
        out_device: Some(""),
        uid: None,
        engine: None,
    }
}

#[test]
fn rules_of_nftables_and_of_both_iptables() {
    let Some(lab) = Lab::new() else { return };
    assert_eq!(rules(&lab, &[]), crate::fact::Ruleset::default());
    let found = rules(
        &lab,
        &[
            "nft 'add table inet f; add set inet f blocked { type inet_service; elements = { 80, 81 }; }'",
            "nft 'add chain inet f in { type filter hook input priority -5; policy accept; }'",
            "nft 'add rule inet f in ct state invalid drop; add rule inet f in tcp dport @blocked counter drop'",
            "nft 'add table netdev n; add chain netdev n ig { type filter hook ingress device vb priority 0; policy accept; }'",
        ],
    );
    let Culprits::Exact(rule) = culprits(&found, Hook::Input, &syn(), Action::Drop) else { panic!("{found:?}") };
    assert_eq!(
        (rule.table.as_str(), rule.chain.as_str(), rule.text.as_str()),
        ("f", "in", "tcp dport @blocked counter drop")
    );
    assert_eq!(found.chains.iter().find(|c| c.name == "ig").unwrap().device.as_deref(), Some("vb"));

    run(&format!("ip netns exec {} nft flush ruleset", lab.names[1]));
    let found = rules(
        &lab,
        &[
            "iptables -w -A INPUT -p tcp -m multiport --dports 79,80 -m comment --comment 'no web' -j REJECT --reject-with tcp-reset",
            "iptables -w -A INPUT -p tcp -m string --string x --algo bm -j DROP",
        ],
    );
    let Culprits::Exact(rule) = culprits(&found, Hook::Input, &syn(), Action::Reset) else { panic!("{found:?}") };
    assert!(rule.family == "ip" && rule.text.starts_with("-A INPUT") && rule.text.contains("no web"), "{rule:?}");

    run(&format!("ip netns exec {} nft flush ruleset", lab.names[1]));
    let found =
        rules(&lab, &["iptables-legacy -A INPUT -i vb -p tcp --dport 80 -j DROP", "ip6tables-legacy -P INPUT DROP"]);
    let Culprits::Exact(rule) = culprits(&found, Hook::Input, &syn(), Action::Drop) else { panic!("{found:?}") };
    assert_eq!(
        (rule.family.as_str(), rule.text.as_str()),
        ("iptables", "-A INPUT -i vb -p tcp -m tcp --dport 80 -j DROP")
    );
    assert_eq!(found.missing, [""; 0]);
    // The first namespace has none of it.
    assert_eq!(Host::new().answer(&Want::Ruleset { netns: lab.netns(0) }), Answer::Ruleset(Default::default()));
}

#[test]
fn what_refuses_a_route_is_named() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    for (kind, errno) in [
        ("unreachable", libc::EHOSTUNREACH),
        ("prohibit", libc::EACCES),
        ("blackhole", libc::EINVAL),
        ("throw", libc::ENETUNREACH),
    ] {
        for (four, to, prefix) in [("", "10.50.0.1", "10.50.0.0/16"), ("-6", "fd50::1", "fd50::/16")] {
            lab.ip(0, &format!("{four} route add {kind} {prefix} table 77"));
            lab.ip(0, &format!("{four} rule add pref 90 to {prefix} lookup 77"));
            // Passed over, because nothing is there to go to.
            lab.ip(0, &format!("{four} rule add pref 89 goto 40000"));
            let found = route(&mut host, lab.netns(0), to);
            assert_eq!(
                (found.errno, found.kind.as_str(), found.table.as_str()),
                (errno, kind, "77"),
                "{to}: {found:?}"
            );
            assert_eq!(found.prefix.as_deref(), Some(prefix));
            assert!(
                kind == "throw" || found.rule.as_deref() == Some(&format!("90: from all to {prefix} lookup 77")),
                "{found:?}"
            );
            assert!(found.text.starts_with(kind) && !found.has_default, "{found:?}");
            lab.ip(0, &format!("{four} rule del pref 90"));
            lab.ip(0, &format!("{four} rule del pref 89"));
            lab.ip(0, &format!("{four} route flush table 77"));
        }
    }
    for (kind, errno) in [("unreachable", libc::ENETUNREACH), ("prohibit", libc::EACCES), ("blackhole", libc::EINVAL)] {
        for (four, to) in [("", "10.50.0.1"), ("-6", "fd50::1")] {
            lab.ip(0, &format!("{four} rule add pref 95 to {to} {kind}"));
            let found = route(&mut host, lab.netns(0), to);
            let rule = format!("95: from all to {to} {kind}");
            assert_eq!(
                (found.errno, found.kind.as_str(), found.rule.as_deref()),
                (errno, kind, Some(rule.as_str())),
                "{found:?}"
            );
            lab.ip(0, &format!("{four} rule del pref 95"));
        }
    }
}

#[test]
fn the_rule_that_decided_is_named_when_it_is_certain() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    lab.ip(0, "route add default via 10.99.0.2");
    lab.ip(0, "route add default via 10.99.0.3 table 77");
    lab.ip(0, "rule add pref 90 fwmark 0x5/0xf lookup 77");
    let want = |mark| Want::Route { netns: lab.netns(0), to: ip("192.0.2.1"), from: None, device: 0, mark, uid: 0 };
    let Answer::Route(found) = host.answer(&want(0x15)) else { panic!() };
    assert_eq!(
        (found.rule.as_deref(), found.gateway),
        (Some("90: from all fwmark 0x5/0xf lookup 77"), Some(ip("10.99.0.3")))
    );
    let Answer::Route(found) = host.answer(&want(0)) else { panic!() };
    assert_eq!((found.rule, found.table.as_str(), found.gateway), (None, "main", Some(ip("10.99.0.2"))));
    // A rule for a port may or may not have led to the same table: nothing is said.
    lab.ip(0, "rule add pref 80 ipproto tcp dport 80 lookup 77");
    let Answer::Route(found) = host.answer(&want(0x15)) else { panic!() };
    assert_eq!((found.errno, found.rule, found.gateway), (0, None, Some(ip("10.99.0.3"))));
}

#[test]
fn routes_that_cannot_be_used_are_told() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    lab.ip(0, "link add dumdum type veth peer name other");
    lab.ip(0, "link set other up");
    lab.ip(0, "addr add 10.60.0.1/24 dev dumdum");
    let found = route(&mut host, lab.netns(0), "10.60.0.9");
    assert_eq!(
        (found.errno, &found.unusable[..]),
        (libc::ENETUNREACH, &["10.60.0.0/24 dev dumdum (dumdum is down)".to_string()][..])
    );
    lab.ip(0, "link set dumdum up");
    let dumdum = lab.within(0, || interface::links().unwrap().into_iter().find(|l| l.name == "dumdum").unwrap().index);
    let want = Want::Route { netns: lab.netns(0), to: ip("10.99.0.2"), from: None, device: dumdum, mark: 0, uid: 0 };
    let Answer::Route(found) = host.answer(&want) else { panic!() };
    assert_eq!((found.errno, found.prefix.as_deref(), found.device), (0, None, dumdum));
    assert_eq!(found.unusable, ["10.99.0.0/24 dev va (the socket is bound to dumdum)"]);
    // Without carrier the kernel drops the route only if told to.
    run(&format!("ip netns exec {} sysctl -qw net.ipv4.conf.all.ignore_routes_with_linkdown=1", lab.names[0]));
    lab.ip(1, "link set vb down");
    // The kernel takes note of a lost carrier within a second (`linkwatch_schedule_work`).
    let lost = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(30));
        let found = route(&mut host, lab.netns(0), "10.99.0.2");
        found.errno == libc::ENETUNREACH && found.unusable == ["10.99.0.0/24 dev va dead linkdown"]
    });
    assert!(lost, "{:?}", route(&mut host, lab.netns(0), "10.99.0.2"));
}

#[test]
fn a_namespace_that_only_a_thread_or_an_open_file_leads_to() {
    let Some(_lab) = Lab::new() else { return };
    let (ready, made) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // SAFETY: only the network namespace of this thread changes, and it holds no socket.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        let file = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        ready.send(file).unwrap();
        let _ = wait.recv();
    });
    let file = made.recv().unwrap();
    let netns = Netns(file.metadata().unwrap().ino() as u32);
    let only_lo =
        |answer| matches!(answer, Answer::Interfaces(list) if list.iter().all(|i| i.name == "lo" || i.kind != "veth"));
    drop(file);
    let mut host = Host::new();
    assert!(only_lo(host.answer(&Want::Interfaces { netns })), "by its thread");
    let file = std::fs::File::open(format!("/proc/{}/task/{}/ns/net", std::process::id(), tid_of(netns))).unwrap();
    drop(done);
    thread.join().unwrap();
    assert!(only_lo(Host::new().answer(&Want::Interfaces { netns })), "by the open file");
    drop(file);
    assert!(matches!(Host::new().answer(&Want::Interfaces { netns }), Answer::Unavailable(_)));
}

/// The thread of this process that is in a namespace.
fn tid_of(netns: Netns) -> String {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let inside =
        |t: &std::fs::DirEntry| std::fs::metadata(t.path().join("ns/net")).is_ok_and(|m| m.ino() == u64::from(netns.0));
    threads.into_iter().find(inside).unwrap().file_name().into_string().unwrap()
}

#[test]
fn files_are_those_of_the_process_that_asks() {
    let Some(_lab) = Lab::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hosts"), "192.0.2.7 only-here\n").unwrap();
    std::fs::write(folder.path().join("real"), "nameserver 192.0.2.53\noptions ndots:4\n").unwrap();
    // An absolute link is meant from the process's own root: here /etc/real is not there.
    let script = "mount --bind \"$0\" /etc && echo ready; exec sleep 100";
    std::os::unix::fs::symlink("/etc/real", folder.path().join("resolv.conf")).unwrap();
    let mut child = Command::new("unshare")
        .args(["-m", "sh", "-c", script, folder.path().to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    let mut host = Host::new();
    let pid = child.id();
    let Answer::Resolver(resolver) = host.answer(&Want::Resolver { pid }) else { panic!() };
    assert_eq!((resolver.servers, resolver.ndots), (vec![ip("192.0.2.53")], 4));
    let Answer::Hosts(entries) = host.answer(&Want::Hosts { pid, name: "Only-Here".into() }) else { panic!() };
    assert_eq!(entries.iter().map(|e| e.address).collect::<Vec<_>>(), [ip("192.0.2.7")]);
    let ours = host.answer(&Want::Hosts { pid: std::process::id(), name: "only-here".into() });
    assert_eq!(ours, Answer::Hosts(vec![]));
    child.kill().unwrap();
    // It waits for its parent, and then it is gone.
    let zombie = host.answer(&Want::Hosts { pid, name: "only-here".into() });
    assert!(
        matches!(&zombie, Answer::Unavailable(why) if why.contains("ended")) || zombie == Answer::Hosts(entries),
        "{zombie:?}"
    );
    child.wait().unwrap();
    let Answer::Unavailable(why) = host.answer(&Want::Resolver { pid }) else { panic!() };
    assert_eq!(why, format!("process {pid} has ended"));
    assert_eq!(host.answer(&Want::Process { pid }), Answer::Process(None));
}
