//! Somebody answered "no".

use crate::needs::{Feature, skipped_without, weaker_because};
use netdx_tests::island::output;
use netdx_tests::lab::{Client, Lab};
use netdx_tests::remote::{self, Answer};
use netdx_tests::servers::{self, listen};
use netdx_tests::tracer::{Expected, Tracer};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use std::{
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    process::Command,
    sync::mpsc::channel,
};

const NO_LISTENER: Expected<'static> = Expected {
    code: "refused.no-listener",
    outcome: "failed",
    errno: Some("ECONNREFUSED"),
    remote: Some("10.1.2.2:81"),
    names: &["netdx-client[", "10.1.2.2:81"],
    certainty: None,
};

/// One way to connect to a port that nobody has.
fn refused_by(how: &str) {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("{how} 10.1.2.2:81"));
    assert_eq!(attempt.errno, libc::ECONNREFUSED);
    trace.explains(&attempt, &NO_LISTENER);
    trace.only(&["refused.no-listener"]);
}

#[test]
fn nobody_listens() {
    refused_by("blocking");
}

#[test]
fn nobody_listens_by_poll() {
    refused_by("poll");
}

#[test]
fn nobody_listens_by_epoll() {
    refused_by("epoll");
}

#[test]
fn nobody_listens_by_a_thread() {
    refused_by("thread");
}

#[test]
fn nobody_listens_and_the_process_ends_at_once() {
    refused_by("exit");
}

#[test]
fn nobody_listens_by_io_uring() {
    refused_by("io-uring");
}

#[test]
fn nobody_listens_by_a_mapped_address() {
    refused_by("mapped");
}

#[test]
fn nobody_listens_by_fast_open() {
    refused_by("fast-open");
}

#[test]
fn nobody_listens_by_mptcp() {
    if !skipped_without(Feature::Mptcp) {
        refused_by("mptcp");
    }
}

#[test]
fn nobody_listens_on_loopback_and_ipv6() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    for target in ["127.0.0.1:9", "[::1]:9", "[fd01:2::2]:81"] {
        let attempt = lab.connect(&format!("blocking {target}"));
        trace.explains(&attempt, &Expected { remote: Some(target), names: &[], ..NO_LISTENER });
    }
    trace.only(&["refused.no-listener"]);
}

#[test]
fn nobody_listens_by_udp() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("udp 10.1.2.2:9999 --send 10 --receive --give-up 1000");
    assert_eq!(attempt.errno, libc::ECONNREFUSED);
    let report =
        trace.explains(&attempt, &Expected { remote: Some("10.1.2.2:9999"), names: &["10.1.2.2:9999"], ..NO_LISTENER });
    assert_eq!(report["protocol"], "udp");
    trace.only(&["refused.no-listener"]);
}

/// Each attempt of a client that is refused as fast as it can is told, once.
fn each_is_told(command: &str, times: usize) {
    let lab = Lab::new();
    // Nothing is optimized here: room for what waits meanwhile.
    let trace = Tracer::with(&lab, &["--buffer", "67108864"]);
    let mut client = lab.start(&format!("{command} --times {times}"));
    client.wait();
    let pid = client.pid();
    let (reports, _) = trace.end();
    let of_the_client = reports.iter().filter(|report| report["process"]["pid"] == pid).count();
    assert_eq!(of_the_client, times);
    let other = reports.iter().find(|report| report["verdict"]["code"] != "refused.no-listener");
    assert!(other.is_none(), "{other:#?}");
}

#[test]
fn every_failure_of_many_is_told_once() {
    each_is_told("blocking 127.0.0.1:9", 2000);
}

#[test]
fn every_failure_of_many_from_one_port_is_told_once() {
    each_is_told("blocking 127.0.0.1:9 --bind 127.0.0.1:5555", 300);
}

#[test]
fn every_failure_of_many_datagrams_is_told_once() {
    // Some of their sockets have a port that another had within the same second.
    each_is_told("udp 127.0.0.1:9 --send 1 --receive", 2000);
}

const ELSEWHERE: Expected<'static> = Expected {
    code: "refused.bound-elsewhere",
    outcome: "failed",
    errno: Some("ECONNREFUSED"),
    remote: Some("10.1.2.2:80"),
    names: &["127.0.0.1:80"],
    certainty: None,
};

#[test]
fn the_listener_has_loopback_only() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "127.0.0.1:80");
    let trace = Tracer::start(&lab);
    let report = trace.explains(&lab.connect("blocking 10.1.2.2:80"), &ELSEWHERE);
    assert_eq!(report["listeners"][0]["addr"], "127.0.0.1");
    assert_eq!(report["listeners"][0]["pid"], std::process::id());
    trace.only(&["refused.bound-elsewhere"]);
}

/// A listener of the server that its interface keeps from what comes in by another one.
fn bound(lab: &Lab, device: &str) -> Client {
    let mut listener =
        Client::spawn(lab.command_in(&lab.server, &format!("listen 0.0.0.0:80 --device {device} --hold 60000")));
    assert_eq!(listener.attempt().errno, 0);
    listener
}

#[test]
fn the_listener_is_bound_to_another_interface() {
    let lab = Lab::new();
    let _listener = bound(&lab, "lo");
    let trace = Tracer::start(&lab);
    let names = &["netdx-client[", "listens on 0.0.0.0:80 by lo only"];
    trace.explains(&lab.connect("blocking 10.1.2.2:80"), &Expected { names, ..ELSEWHERE });
    trace.only(&["refused.bound-elsewhere"]);
}

#[test]
fn the_listener_is_outside_of_the_vrf() {
    let lab = Lab::new();
    if !output(lab.server.command("ip").args(["link", "add", "red", "type", "vrf", "table", "10"])).status.success() {
        return weaker_because("the kernel has no VRFs");
    }
    for change in ["link set red up", "link set eth0 master red", "route add default via 10.1.2.1 vrf red"] {
        lab.server.ip(change);
    }
    let outside = listen(&lab.server, "0.0.0.0:80");
    let trace = Tracer::start(&lab);
    let names = &["listens on 0.0.0.0:80 outside of the VRF red"];
    trace.explains(&lab.connect("blocking 10.1.2.2:80"), &Expected { names, ..ELSEWHERE });
    drop(outside);
    let _inside = bound(&lab, "red");
    assert_eq!(lab.connect("blocking 10.1.2.2:80").errno, 0);
    trace.only(&["refused.bound-elsewhere"]);
}

#[test]
fn the_listener_has_another_address() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.3:80");
    let trace = Tracer::start(&lab);
    trace.explains(&lab.connect("poll 10.1.2.2:80"), &Expected { names: &["10.1.2.3:80"], ..ELSEWHERE });
    trace.only(&["refused.bound-elsewhere"]);
}

#[test]
fn the_listener_has_ipv6_only() {
    let lab = Lab::new();
    let _listener = lab.server.inside(|| {
        let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("socket");
        sockopt::set_ipv6_v6only(&socket, true).expect("IPV6_V6ONLY");
        rustix::net::bind(&socket, &"[::]:80".parse::<SocketAddr>().expect("address")).expect("bind");
        rustix::net::listen(&socket, 8).expect("listen");
        socket
    });
    let trace = Tracer::start(&lab);
    trace.explains(&lab.connect("blocking 10.1.2.2:80"), &Expected { names: &["[::]:80"], ..ELSEWHERE });
    trace.only(&["refused.bound-elsewhere"]);
}

/// A listener on port 80 of a new namespace that has no name, and what else is made there.
fn listen_in_a_new_namespace<T>(made_there: impl FnOnce(&TcpListener) -> T) -> (TcpListener, T) {
    // SAFETY: only the network namespace of this thread changes, which ends with the test and holds no other socket.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.expect("a namespace");
    let listener = TcpListener::bind("0.0.0.0:80").expect("listen");
    let made = made_there(&listener);
    (listener, made)
}

#[test]
fn the_listener_is_where_only_a_process_is() {
    let lab = Lab::new();
    let holder = std::thread::spawn(|| {
        let holding = |listener: &TcpListener| {
            let stdin = OwnedFd::from(listener.try_clone().expect("a second descriptor"));
            Command::new("sleep").arg("120").stdin(stdin).spawn().expect("a process")
        };
        listen_in_a_new_namespace(holding).1
    });
    let mut holder = holder.join().expect("it is there");
    let trace = Tracer::start(&lab);
    let who = format!("sleep[{}]", holder.id());
    let names = [who.as_str(), "0.0.0.0:80"];
    trace.explains(&lab.connect("blocking 10.1.2.2:80"), &Expected { names: &names, ..ELSEWHERE });
    trace.only(&["refused.bound-elsewhere"]);
    holder.kill().expect("it is ours");
    holder.wait().expect("it ends");
}

#[test]
fn the_listener_is_where_only_a_thread_is() {
    let lab = Lab::new();
    let (ready, is) = channel();
    let (end, ended) = channel::<()>();
    let holder = std::thread::spawn(move || {
        let (listener, ()) = listen_in_a_new_namespace(|_| ready.send(()).expect("waited for"));
        _ = ended.recv();
        drop(listener);
    });
    is.recv().expect("it listens");
    let trace = Tracer::start(&lab);
    let who = format!("[{}]", std::process::id());
    let names = [who.as_str(), "0.0.0.0:80"];
    trace.explains(&lab.connect("blocking 10.1.2.2:80"), &Expected { names: &names, ..ELSEWHERE });
    trace.only(&["refused.bound-elsewhere"]);
    drop(end);
    holder.join().expect("it ends");
}

#[test]
fn a_host_that_cannot_be_seen_into_resets() {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Reset);
    let trace = Tracer::start(&lab);
    trace.explains(
        &lab.connect("blocking 10.7.0.1:5432"),
        &Expected { code: "refused.remote", remote: Some("10.7.0.1:5432"), names: &["10.7.0.1"], ..NO_LISTENER },
    );
    trace.only(&["refused.remote"]);
}

/// As slirp4netns and pasta do: what answers is a program, wherever the address may be.
#[test]
fn a_program_resets_in_the_place_of_another_namespace() {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Reset);
    // No other lab calls it.
    lab.server.ip("addr add 10.7.66.1/32 dev lo");
    let trace = Tracer::start(&lab);
    trace.explains(
        &lab.connect("blocking 10.7.66.1:5432"),
        &Expected {
            code: "refused.remote",
            remote: Some("10.7.66.1:5432"),
            names: &["the program behind", "in the place of 10.7.66.1"],
            certainty: Some("likely"),
            ..NO_LISTENER
        },
    );
    trace.only(&["refused.remote"]);
}

#[test]
fn the_accept_queue_is_full_and_the_host_refuses() {
    let lab = Lab::new();
    lab.server.sysctl("net.ipv4.tcp_abort_on_overflow=1");
    let _listener = servers::deferring(&lab.server, "10.1.2.2:80");
    let mut filler = lab.start("blocking 10.1.2.2:80 --times 3 --send 10 --hold 60000");
    for _ in 0..3 {
        assert_eq!(filler.attempt().errno, 0);
    }
    let trace = Tracer::start(&lab);
    // Both handshakes are done before the first of them takes the last place in the queue.
    let mut first = lab.start("blocking 10.1.2.2:80 --pause 1000 --send 10 --hold 60000");
    let attempt = lab.start("blocking 10.1.2.2:80 --pause 2000 --send 10 --receive").attempt();
    assert_eq!(first.attempt().errno, 0);
    assert_eq!(attempt.errno, libc::ECONNRESET);
    let expected = Expected {
        code: "refused.queue-full",
        outcome: "broken",
        errno: Some("ECONNRESET"),
        remote: Some("10.1.2.2:80"),
        names: &["accept queue", "tcp_abort_on_overflow"],
        certainty: None,
    };
    trace.explains(&attempt, &expected);
    trace.only(&["refused.queue-full"]);
}
