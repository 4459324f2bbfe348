//! Datagrams: what the kernel tells of them.

use netdx_tests::lab::Lab;
use netdx_tests::tracer::{Expected, Tracer};

const UDP: Expected<'static> =
    Expected { code: "", outcome: "failed", errno: None, remote: None, names: &[], certainty: None };

/// One datagram that comes to nothing; what the application gets: 0 nothing.
fn lost(lab: &Lab, how: &str, target: &str, errno: (Option<&'static str>, i32), expected: &Expected<'_>) {
    let trace = Tracer::start(lab);
    // Its socket is there while netdx asks whose it is.
    let mut client = lab.start(&format!("{how} --hold 60000"));
    let attempt = client.attempt();
    assert_eq!(attempt.errno, errno.1);
    let expected = Expected { errno: errno.0, remote: Some(target), outcome: "failed", ..*expected };
    let report = trace.explains(&attempt, &expected);
    assert_eq!(report["protocol"], "udp", "{report:#}");
    if errno.0.is_none() {
        assert!(report["errno"].is_null(), "{report:#}");
    }
    trace.only(&[expected.code]);
}

const REFUSED: (Option<&str>, i32) = (Some("ECONNREFUSED"), libc::ECONNREFUSED);
const NOTHING: (Option<&str>, i32) = (None, 0);
const GAVE_UP: (Option<&str>, i32) = (None, -1);

#[test]
fn nobody_receives() {
    for target in ["10.1.2.2:81", "[fd01:2::2]:81", "127.0.0.1:81"] {
        let expected = Expected { code: "refused.no-listener", names: &["netdx-client[", target], ..UDP };
        lost(&Lab::new(), &format!("udp {target} --send 10 --receive --give-up 2000"), target, REFUSED, &expected);
    }
}

#[test]
fn nobody_receives_and_the_socket_is_not_connected() {
    for target in ["10.1.2.2:81", "[fd01:2::2]:81"] {
        let expected = Expected { code: "refused.no-listener", names: &["netdx-client[", target], ..UDP };
        lost(&Lab::new(), &format!("udp-unconnected {target}"), target, NOTHING, &expected);
    }
}

#[test]
fn the_client_drops_what_goes_out() {
    for how in ["udp", "udp-unconnected"] {
        for target in ["10.1.2.2:81", "[fd01:2::2]:81"] {
            let lab = Lab::new();
            lab.client.guard("output", "udp dport 81 drop");
            let expected = Expected { code: "firewall.dropped", names: &["netdx-client[", "udp dport 81 drop"], ..UDP };
            let command = format!("{how} {target} --send 10");
            lost(&lab, &command, target, (Some("EPERM"), libc::EPERM), &expected);
        }
    }
}

#[test]
fn the_router_drops() {
    for target in ["10.1.2.2:81", "[fd01:2::2]:81"] {
        let lab = Lab::new();
        lab.router.guard("forward", "udp dport 81 drop");
        let expected =
            Expected { code: "firewall.dropped", names: &["netdx-client[", "forward", "udp dport 81"], ..UDP };
        lost(&lab, &format!("udp {target} --send 10"), target, NOTHING, &expected);
    }
}

#[test]
fn the_router_rejects() {
    let lab = Lab::new();
    lab.router.guard("forward", "udp dport 81 reject with icmp port-unreachable");
    let expected = Expected { code: "firewall.rejected", names: &["netdx-client[", "forward", "udp dport 81"], ..UDP };
    lost(&lab, "udp 10.1.2.2:81 --send 10 --receive --give-up 1000", "10.1.2.2:81", REFUSED, &expected);
}

#[test]
fn the_router_has_no_route() {
    let lab = Lab::new();
    let expected = Expected { code: "route.icmp-unreachable", names: &["netdx-client[", "10.1.1.1"], ..UDP };
    lost(&lab, "udp 10.44.0.1:81 --send 10 --receive --give-up 3000", "10.44.0.1:81", GAVE_UP, &expected);
}

#[test]
fn there_is_no_route() {
    for target in ["10.1.2.2:81", "[fd01:2::2]:81"] {
        let lab = Lab::new();
        lab.client.ip("route del default");
        lab.client.ip("-6 route del default");
        let expected = Expected { code: "route.none", names: &["netdx-client["], ..UDP };
        let command = format!("udp-unconnected {target}");
        lost(&lab, &command, target, (Some("ENETUNREACH"), libc::ENETUNREACH), &expected);
    }
}

#[test]
fn it_is_larger_than_the_path() {
    let lab = Lab::new();
    lab.client.ip("link set eth0 mtu 1400");
    let expected = Expected { code: "local.message-size", names: &["netdx-client[", "1400"], ..UDP };
    let command = "udp 10.1.2.2:81 --whole --send 1390";
    lost(&lab, command, "10.1.2.2:81", (Some("EMSGSIZE"), libc::EMSGSIZE), &expected);
}

#[test]
fn it_is_for_everybody_and_was_not_allowed_to() {
    let lab = Lab::new();
    let expected = Expected { code: "local.bad-target", names: &["netdx-client[", "SO_BROADCAST"], ..UDP };
    let command = "udp-unconnected 10.1.1.255:81";
    lost(&lab, command, "10.1.1.255:81", (Some("EACCES"), libc::EACCES), &expected);
}
