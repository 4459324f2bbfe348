//! Nobody answered.

use crate::needs::{Feature, by_its_reason, skipped_without};
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

#[test]
fn a_host_that_cannot_be_seen_into_is_silent() {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Silence);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.7.0.1:5432");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    trace.explains(&attempt, &Expected { names: &[], ..SILENT });
    trace.only(&["timeout.silent"]);
}

/// Each is one report, as TCP.
fn not_answered_either(how: &str) {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Silence);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("{how} 10.7.0.1:5432"));
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let report = trace.explains(&attempt, &SILENT);
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
    let report = trace.explains(&attempt, &Expected { outcome: "abandoned", errno: None, names: &[], ..SILENT });
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
    lab.server.inside(move || {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("socket");
        sockopt::set_socket_reuseaddr(&socket, true).expect("SO_REUSEADDR");
        rustix::net::bind(&socket, &"10.1.2.2:80".parse::<SocketAddr>().expect("address")).expect("bind");
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
