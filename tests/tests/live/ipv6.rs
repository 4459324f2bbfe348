//! The causes that the kernel tells of in another way over IPv6: neighbour discovery, ICMPv6, its own functions and limits.

use crate::needs::{less_sure_without_reasons, other_without_reasons};
use netdx_tests::lab::{Client, Lab};
use netdx_tests::patience::patience;
use netdx_tests::remote::{self, Answer};
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::net::SocketAddr;
use std::time::Duration;

const FAILED: Expected<'static> =
    Expected { code: "", outcome: "failed", errno: None, remote: None, names: &[], certainty: None };

type Errno = (&'static str, i32);
const TIMED_OUT: Errno = ("ETIMEDOUT", libc::ETIMEDOUT);
const HOST_UNREACHABLE: Errno = ("EHOSTUNREACH", libc::EHOSTUNREACH);
const NET_UNREACHABLE: Errno = ("ENETUNREACH", libc::ENETUNREACH);
const REFUSED: Errno = ("ECONNREFUSED", libc::ECONNREFUSED);

/// The client fails in a lab that was prepared so.
fn fails(prepare: impl FnOnce(&Lab), client: &str, errno: Errno, expected: &Expected<'_>) {
    let lab = Lab::new();
    prepare(&lab);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(client);
    assert_eq!(attempt.errno, errno.1);
    let remote = client.split(' ').nth(1);
    trace.explains(&attempt, &Expected { errno: Some(errno.0), remote, ..*expected });
    trace.only(&[expected.code]);
}

#[test]
fn the_listener_is_on_loopback() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "[::1]:8443");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking [fd01:2::2]:8443");
    assert_eq!(attempt.errno, libc::ECONNREFUSED);
    let (code, remote, names) = ("refused.bound-elsewhere", Some("[fd01:2::2]:8443"), &["[::1]:8443"]);
    trace.explains(&attempt, &Expected { code, errno: Some("ECONNREFUSED"), remote, names, ..FAILED });
    trace.only(&[code]);
}

fn remotely(answer: Answer) -> impl FnOnce(&Lab) {
    move |lab| _ = remote::attach(&lab.client, answer)
}

#[test]
fn a_host_that_cannot_be_seen_into_resets() {
    let expected = Expected { code: "refused.remote", names: &["fd07::1"], ..FAILED };
    fails(remotely(Answer::Reset), "blocking [fd07::1]:5432", REFUSED, &expected);
}

#[test]
fn a_host_that_cannot_be_seen_into_is_silent() {
    let names = &["2 SYNs", "far0 (tun)"];
    let expected = Expected { code: "timeout.silent", names, certainty: Some("likely"), ..FAILED };
    fails(remotely(Answer::Silence), "blocking [fd07::1]:5432", TIMED_OUT, &expected);
}

#[test]
fn a_router_that_cannot_be_seen_into_knows_no_route() {
    let answer = Answer::Unreachable(0, "fd07::99".parse().expect("an address"));
    let expected = Expected { code: "route.icmp-unreachable", names: &["fd07::99"], ..FAILED };
    fails(remotely(answer), "blocking [fd07::1]:80", NET_UNREACHABLE, &expected);
}

#[test]
fn a_filter_that_cannot_be_seen_into_prohibits() {
    let answer = Answer::Unreachable(1, "fd07::99".parse().expect("an address"));
    let expected = Expected { code: "firewall.rejected", names: &["fd07::99", "prohibited"], ..FAILED };
    fails(remotely(answer), "blocking [fd07::1]:80", ("EACCES", libc::EACCES), &expected);
}

/// The kernel asks three times, a second apart.
fn silent_neighbour(change: &'static str, client: &str, names: &[&str]) {
    let prepare = |lab: &Lab| {
        lab.client.sysctl("net.ipv4.tcp_syn_retries=3");
        if !change.is_empty() {
            lab.client.ip(change);
        }
    };
    let expected = Expected { code: "route.neighbor-silent", names, ..FAILED };
    fails(prepare, client, HOST_UNREACHABLE, &less_sure_without_reasons(expected));
}

#[test]
fn a_neighbour_is_silent() {
    silent_neighbour("", "blocking [fd01:1::77]:80", &["fd01:1::77"]);
}

#[test]
fn the_gateway_is_silent() {
    silent_neighbour("-6 route replace default via fd01:1::99", "blocking [fd01:2::2]:80", &["fd01:1::99"]);
}

#[test]
fn packets_go_round_in_circles() {
    let prepare = |lab: &Lab| {
        lab.server.sysctl("net.ipv6.conf.all.forwarding=1");
        lab.router.ip("-6 route add fd08::/64 via fd01:2::2");
    };
    let expected = Expected { code: "route.ttl-exceeded", ..FAILED };
    fails(prepare, "blocking [fd08::1]:80", HOST_UNREACHABLE, &expected);
}

#[test]
fn the_router_does_not_forward() {
    let prepare = |lab: &Lab| lab.router.sysctl("net.ipv6.conf.all.forwarding=0");
    let expected = Expected { code: "route.forwarding-off", names: &["net.ipv6.conf.all.forwarding"], ..FAILED };
    fails(prepare, "blocking [fd01:2::2]:80", TIMED_OUT, &expected);
}

#[test]
fn the_interface_is_down() {
    // The kernel keeps no IPv6 route of an interface that is down; one without carrier is still there.
    let prepare = |lab: &Lab| lab.router.ip("link set rcl down");
    let expected = Expected { code: "route.interface-down", names: &["eth0"], ..FAILED };
    fails(prepare, "blocking [fd01:1::77]:80", TIMED_OUT, &less_sure_without_reasons(expected));
}

#[test]
fn a_listener_takes_nothing_more() {
    let lab = Lab::new();
    let _listener = lab.server.inside(|| {
        let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("socket");
        rustix::net::bind(&socket, &"[fd01:2::2]:80".parse::<SocketAddr>().expect("address")).expect("bind");
        rustix::net::listen(&socket, 1).expect("listen");
        socket
    });
    let mut filler = lab.start("blocking [fd01:2::2]:80 --times 2 --hold 60000");
    assert_eq!([filler.attempt().errno, filler.attempt().errno], [0, 0]);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking [fd01:2::2]:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let (code, remote, names) = ("timeout.queue-full", Some("[fd01:2::2]:80"), &["[fd01:2::2]:80", "accept queue"]);
    trace.explains(&attempt, &Expected { code, errno: Some("ETIMEDOUT"), remote, names, ..FAILED });
    trace.only(&[code]);
}

#[test]
fn the_local_ports_are_used_up() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "[fd01:2::2]:80");
    lab.client.sysctl("net.ipv4.ip_local_port_range=40000 40003");
    let mut filler: Client = lab.start("blocking [fd01:2::2]:80 --times 4 --hold 60000");
    for _ in 0..4 {
        assert_eq!(filler.attempt().errno, 0);
    }
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking [fd01:2::2]:80");
    assert_eq!(attempt.errno, libc::EADDRNOTAVAIL);
    let (code, remote, names) = ("local.ports-exhausted", Some("[fd01:2::2]:80"), &["40000", "netdx-client["]);
    trace.explains(&attempt, &Expected { code, errno: Some("EADDRNOTAVAIL"), remote, names, ..FAILED });
    trace.only(&[code]);
}

#[test]
fn a_group_is_no_target() {
    let expected = Expected { code: "local.bad-target", names: &["multicast"], ..FAILED };
    fails(|_| {}, "blocking [ff0e::1]:80", NET_UNREACHABLE, &expected);
}

#[test]
fn a_link_local_target_has_no_interface() {
    let expected = Expected { code: "local.bad-target", names: &["fe80::1", "link-local"], ..FAILED };
    fails(|_| {}, "blocking [fe80::1]:80", ("EINVAL", libc::EINVAL), &expected);
}

/// What a packet has between its IPv6 header and that of TCP hides neither.
#[test]
fn a_packet_with_destination_options_is_dropped() {
    let prepare = |lab: &Lab| lab.router.guard("forward", "tcp dport 80 drop");
    let expected = Expected { code: "firewall.dropped", names: &["tcp dport 80 drop", "forward hook"], ..FAILED };
    fails(prepare, "blocking [fd01:2::2]:80 --options", TIMED_OUT, &expected);
}

/// Another host has its address, so it sends from its link-local one, which is good on its own link only.
#[test]
fn the_only_address_is_another_hosts_too() {
    let lab = Lab::new();
    lab.router.ip("addr add fd01:1::2/64 dev rcl nodad");
    lab.client.sysctl("net.ipv6.conf.eth0.accept_dad=1");
    lab.client.ip("addr del fd01:1::2/64 dev eth0");
    lab.client.ip("addr add fd01:1::2/64 dev eth0");
    lab.client.ip("-6 route replace default via fd01:1::1");
    let marked = || {
        let listing = lab.client.command("ip").args(["-6", "addr", "show", "dev", "eth0"]).output().expect("run ip");
        String::from_utf8_lossy(&listing.stdout).contains("dadfailed")
    };
    assert!((0..100).any(|_| {
        std::thread::sleep(patience(Duration::from_millis(100)));
        marked()
    }));
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking [fd01:2::2]:80");
    assert_eq!(attempt.errno, libc::EHOSTUNREACH);
    let names = &["beyond scope", "fd01:1::2 is an address of eth0 that may not be used: another host"];
    let expected = Expected { code: "route.icmp-unreachable", errno: Some("EHOSTUNREACH"), names, ..FAILED };
    trace.explains(&attempt, &expected);
    trace.only(&[expected.code]);
}

#[test]
fn the_loopback_interface_has_no_ipv6() {
    let prepare = |lab: &Lab| lab.client.sysctl("net.ipv6.conf.lo.disable_ipv6=1");
    let expected = Expected { code: "local.no-family", names: &["net.ipv6.conf.lo.disable_ipv6 = 1"], ..FAILED };
    fails(prepare, "blocking [::1]:80", TIMED_OUT, &expected);
}

#[test]
fn the_datagram_is_too_large() {
    let expected = Expected { code: "local.message-size", ..FAILED };
    fails(|_| {}, "udp [fd01:2::2]:80 --send 70000", ("EMSGSIZE", libc::EMSGSIZE), &expected);
}

#[test]
fn large_packets_vanish() {
    let lab = Lab::new();
    let listener = listen(&lab.server, "[fd01:2::2]:80");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        // Reads until the client gives up.
        _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    });
    lab.router.ip("link set rsv mtu 1300");
    lab.router.guard("output", "icmpv6 type packet-too-big drop");
    lab.client.sysctl("net.ipv4.tcp_retries2=3");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking [fd01:2::2]:80 --send 5000 --receive");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let (code, outcome, remote) = ("broken.mtu", "broken", Some("[fd01:2::2]:80"));
    let expected = Expected { code, outcome, errno: Some("ETIMEDOUT"), remote, ..FAILED };
    let expected = other_without_reasons("broken.timeout", "likely", expected);
    trace.explains(&attempt, &expected);
    trace.only(&[expected.code]);
}
