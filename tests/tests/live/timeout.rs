//! Nobody answered.

use crate::needs::{Feature, by_its_reason, less_sure_without_reasons, other_without_reasons, skipped_without};
use netdx_tests::conntrack;
use netdx_tests::lab::{Client, Lab};
use netdx_tests::remote::{self, Answer};
use netdx_tests::servers;
use netdx_tests::tracer::{Expected, Tracer};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

const SILENT: Expected<'static> = Expected {
    code: "timeout.silent",
    outcome: "failed",
    errno: Some("ETIMEDOUT"),
    remote: Some("10.7.0.1:5432"),
    names: &[],
    certainty: None,
};

/// What goes to a program: the test's own.
const UNSEEN: Expected<'static> = Expected { names: &["far0 (tun)"], certainty: Some("likely"), ..SILENT };

#[test]
fn the_next_hop_has_another_link_address() {
    let lab = Lab::new();
    lab.client.ip("neigh replace 10.1.1.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:81");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &["eth0 over 10.1.1.1", "nothing here dropped them"];
    let expected = Expected { remote: Some("10.1.2.2:81"), names, ..SILENT };
    // Where nothing is said of why, a frame for somebody else is one that was dropped.
    let expected = other_without_reasons("timeout.dropped", "proven", expected);
    trace.explains(&attempt, &expected);
    trace.only(&[expected.code]);
}

#[test]
fn the_answer_is_lost() {
    for (target, gateway) in [("10.1.2.2:80", "10.1.2.1"), ("[fd01:2::2]:80", "fd01:2::1")] {
        let lab = Lab::new();
        let _listener = servers::listen(&lab.server, target);
        lab.server.ip(&format!("neigh replace {gateway} lladdr 02:00:00:00:00:99 dev eth0 nud permanent"));
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        let names = &["the listener in network namespace", lab.server.name(), "its SYN-ACK did not come back"];
        let expected = Expected { remote: Some(target), names, certainty: Some("likely"), ..SILENT };
        let expected = other_without_reasons("timeout.dropped", "proven", expected);
        trace.explains(&attempt, &expected);
        trace.only(&[expected.code]);
    }
}

#[test]
fn a_host_that_cannot_be_seen_into_is_silent() {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Silence);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.7.0.1:5432");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    trace.explains(&attempt, &UNSEEN);
    trace.only(&["timeout.silent"]);
}

/// A router that translates nothing leaves it to the other end to find the way back.
#[test]
fn a_private_address_goes_out_untranslated() {
    let lab = Lab::new();
    // No other lab has this gateway.
    lab.router.ip("address add 10.1.67.1/24 dev rcl");
    lab.client.ip("address add 10.1.67.2/24 dev eth0");
    lab.client.ip("route replace default via 10.1.67.1 src 10.1.67.2");
    let _remote = remote::attach(&lab.router, Answer::Silence);
    let trace = Tracer::start(&lab);
    let asks = |target: &str| {
        let attempt = lab.connect(&format!("blocking {target}"));
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        let report = trace.explains(&attempt, &Expected { remote: Some(target), names: &[], ..UNSEEN });
        report["verdict"]["advice"].to_string().contains("has the other end a way back to 10.1.67.2?")
    };
    assert!(asks("10.7.0.1:81"));
    let chain = "chain p {\n type nat hook postrouting priority 100;\n oifname \"far0\" masquerade\n}";
    lab.router.nft(&format!("table ip lab {{\n{chain}\n}}"));
    assert!(!asks("10.7.0.1:82"));
    trace.only(&[UNSEEN.code]);
}

#[test]
fn somebody_else_waits_for_a_silent_neighbour() {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Silence);
    let trace = Tracer::start(&lab);
    let mut other = lab.start("blocking 10.1.1.77:80");
    // The kernel gives the neighbour up while the next one waits.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let attempt = lab.connect("blocking 10.7.0.1:5432");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    trace.explains(&attempt, &UNSEEN);
    let code = "route.neighbor-silent";
    let expected = Expected { code, errno: None, remote: Some("10.1.1.77:80"), names: &["10.1.1.77"], ..SILENT };
    trace.explains(&other.attempt(), &less_sure_without_reasons(expected));
    trace.only(&[code, "timeout.silent"]);
}

/// Each is one report, as TCP.
fn not_answered_either(how: &str) {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Silence);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("{how} 10.7.0.1:5432"));
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let report = trace.explains(&attempt, &UNSEEN);
    assert_eq!(report["protocol"], "tcp", "{report:#}");
    let (reports, _) = trace.end();
    assert_eq!(reports.len(), 1, "{reports:#?}");
}

#[test]
fn multipath_is_not_answered_either() {
    if !skipped_without(Feature::Mptcp) {
        not_answered_either("mptcp");
    }
}

#[test]
fn fast_open_is_not_answered_either() {
    not_answered_either("fast-open");
}

#[test]
fn the_application_gives_up_after_a_retransmission() {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Silence);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("epoll 10.7.0.1:5432 --give-up 1500");
    assert_eq!(attempt.errno, -1);
    let report = trace.explains(&attempt, &Expected { outcome: "abandoned", errno: None, ..UNSEEN });
    assert!(report["errno"].is_null());
    trace.only(&["timeout.silent"]);
}

#[test]
fn the_application_gives_up_too_soon() {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Silence);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("poll 10.7.0.1:5432 --give-up 300");
    assert_eq!(attempt.errno, -1);
    let expected = Expected {
        code: "timeout.abandoned",
        outcome: "abandoned",
        errno: None,
        names: &[],
        certainty: None,
        ..SILENT
    };
    trace.explains(&attempt, &expected);
    trace.only(&["timeout.abandoned"]);
}

/// A listener with room for `backlog + 1` connections that never accepts.
fn deaf(lab: &Lab, backlog: i32) -> OwnedFd {
    deaf_at(lab, "10.1.2.2:80", backlog)
}

fn deaf_at(lab: &Lab, address: &str, backlog: i32) -> OwnedFd {
    let address: SocketAddr = address.parse().expect("address");
    lab.server.inside(move || {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("socket");
        sockopt::set_socket_reuseaddr(&socket, true).expect("SO_REUSEADDR");
        rustix::net::bind(&socket, &address).expect("bind");
        rustix::net::listen(&socket, backlog).expect("listen");
        socket
    })
}

fn fill(lab: &Lab, connections: u32) -> Client {
    let mut filler = lab.start(&format!("blocking 10.1.2.2:80 --times {connections} --hold 60000"));
    for _ in 0..connections {
        assert_eq!(filler.attempt().errno, 0);
    }
    filler
}

#[test]
fn the_accept_queue_is_full() {
    let lab = Lab::new();
    let _listener = deaf(&lab, 1);
    let _filler = fill(&lab, 2);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let code = "timeout.queue-full";
    let expected = Expected { code, remote: Some("10.1.2.2:80"), names: &["10.1.2.2:80"], ..SILENT };
    trace.explains(&attempt, &expected);
    trace.only(&[code]);
}

/// Of two that share the port the one that the host lists first takes connections.
#[test]
fn the_queue_of_one_that_shares_the_port_is_full() {
    let lab = Lab::new();
    let bound = || {
        lab.server.inside(|| {
            let socket =
                socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("socket");
            sockopt::set_socket_reuseport(&socket, true).expect("SO_REUSEPORT");
            let address: SocketAddr = "10.1.2.2:80".parse().expect("an address");
            rustix::net::bind(&socket, &address).expect("bind");
            socket
        })
    };
    let (roomy, narrow) = (bound(), bound());
    rustix::net::listen(&narrow, 1).expect("listen");
    let _filler = fill(&lab, 2);
    rustix::net::listen(&roomy, 1000).expect("listen");
    let trace = Tracer::start(&lab);
    let mut client = lab.start("blocking 10.1.2.2:80 --at-once 16");
    let unlucky = (0..16).map(|_| client.attempt()).filter(|attempt| attempt.errno == libc::ETIMEDOUT);
    let unlucky: Vec<_> = unlucky.collect();
    assert!(!unlucky.is_empty(), "the kernel spreads connections over both");
    let code = "timeout.queue-full";
    for attempt in &unlucky {
        let expected = Expected { code, remote: Some("10.1.2.2:80"), names: &["accept queue 2 of 1 now"], ..SILENT };
        trace.explains(attempt, &expected);
    }
    trace.only(&[code]);
}

/// Connections that the listener has answered and that never answer: their SYN-ACKs are dropped here.
fn half_open(lab: &Lab, target: &str, connections: u32) -> Client {
    lab.client.ip("addr add 10.1.1.3/24 dev eth0");
    lab.client.guard("input", "ip daddr 10.1.1.3 drop");
    let filler = lab.start(&format!("epoll {target} --bind 10.1.1.3:0 --at-once {connections} --give-up 60000"));
    let count = || {
        let listed = lab.server.command("ss").args(["-Htn", "state", "syn-recv"]).output().expect("ss runs");
        String::from_utf8_lossy(&listed.stdout).lines().count()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while count() < connections as usize {
        assert!(std::time::Instant::now() < deadline, "{} half-open connections", count());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    filler
}

#[test]
fn the_queue_of_half_open_connections_is_full() {
    let lab = Lab::new();
    lab.server.sysctl("net.ipv4.tcp_syncookies=0, net.ipv4.tcp_max_syn_backlog=4");
    // No other lab has a listener on this port.
    let target = "10.1.2.2:8089";
    let _listener = deaf_at(&lab, target, 8);
    let filler = half_open(&lab, target, 4);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("blocking {target}"));
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let code = "timeout.queue-full";
    let names = &[target, "half-open connections is full", "SYN cookies are off"];
    let certainty = Some("likely");
    trace.explains(&attempt, &Expected { code, remote: Some(target), names, certainty, ..SILENT });
    drop(filler);
    // The others began before netdx did: of some it saw a drop.
    trace.only(&[code, "firewall.dropped", "unexplained"]);
}

/// A listener of this host has dropped SYNs before; then one never gets to it. What netdx says, and what it says beside it.
fn lost_on_the_way(target: &str, cookies: &str, expected: Expected<'_>) -> Vec<String> {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Silence);
    lab.server.sysctl(&format!("net.ipv4.tcp_syncookies={cookies}"));
    // No other lab has this address.
    lab.server.ip("addr add 10.7.0.9/32 dev lo");
    let _listener = servers::listen(&lab.server, target);
    let full = deaf(&lab, 1);
    let _filler = fill(&lab, 2);
    assert_eq!(lab.connect("blocking 10.1.2.2:80").errno, libc::ETIMEDOUT);
    drop(full);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("blocking {target}"));
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let report = trace.explains(&attempt, &Expected { remote: Some(target), ..expected });
    trace.only(&[expected.code]);
    let also = report["also"].as_array().expect("a list");
    also.iter().map(|also| also["code"].as_str().expect("a code").to_owned()).collect()
}

#[test]
fn a_listener_that_dropped_others_may_have_dropped_it() {
    let names = &["netdx-sv-", "may have been full", "lost on the way"];
    let expected = Expected { code: "timeout.queue-full", names, certainty: Some("possible"), ..SILENT };
    assert_eq!(lost_on_the_way("10.7.0.9:5433", "0", expected), ["timeout.silent"]);
}

/// With SYN cookies a listener drops no SYN that netdx would not see.
#[test]
fn a_listener_that_would_have_been_seen_did_not_drop_it() {
    let expected = Expected { certainty: Some("likely"), ..SILENT };
    assert_eq!(lost_on_the_way("10.7.0.9:5434", "1", expected), [""; 0]);
}

#[test]
fn the_listener_wants_signatures() {
    for target in ["10.1.2.2:80", "[fd01:2::2]:80"] {
        let lab = Lab::new();
        let _listener =
            servers::signing(&lab.server, target, if target.contains('[') { "fd01:1::2" } else { "10.1.1.2" });
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        let code = "timeout.dropped";
        let expected = Expected { code, remote: Some(target), names: &["its SYN", "MD5"], ..SILENT };
        trace.explains(&attempt, &by_its_reason(expected));
        trace.only(&[code]);
    }
}

#[test]
fn the_table_of_connections_is_full() {
    let lab = Lab::new();
    lab.router.guard("forward", "ct state established counter");
    conntrack::fill(&lab.router);
    let trace = Tracer::start(&lab);
    for target in ["10.1.2.2:80", "[fd01:2::2]:80"] {
        let attempt = lab.connect(&format!("blocking {target}"));
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        let code = "timeout.conntrack";
        trace.explains(&attempt, &Expected { code, remote: Some(target), names: &["table is full"], ..SILENT });
    }
    trace.only(&["timeout.conntrack"]);
}
