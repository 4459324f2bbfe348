//! Silence has a reason that this host can see, and one call or another hides it.

use crate::needs::{Feature, skipped_without};
use netdx_tests::lab::Lab;
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer};

const NONE: Expected<'static> = Expected {
    code: "route.none",
    outcome: "failed",
    errno: Some("ENETUNREACH"),
    remote: Some("10.1.2.2:80"),
    names: &[],
    certainty: None,
};

#[test]
fn the_listener_has_no_way_back() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    lab.server.ip("route del default");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &[lab.server.name(), "no route back to 10.1.1.2"];
    trace.explains(&attempt, &Expected { errno: Some("ETIMEDOUT"), names, certainty: Some("likely"), ..NONE });
    trace.only(&["route.none"]);
}

fn no_route_by(how: &str) {
    let lab = Lab::new();
    lab.client.ip("route del default");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("{how} 10.1.2.2:80"));
    assert_eq!(attempt.errno, libc::ENETUNREACH);
    trace.explains(&attempt, &Expected { names: &["no IPv4 route"], ..NONE });
    trace.only(&["route.none"]);
}

#[test]
fn there_is_no_route_by_fast_open() {
    no_route_by("fast-open");
}

#[test]
fn there_is_no_route_by_mptcp() {
    if !skipped_without(Feature::Mptcp) {
        no_route_by("mptcp");
    }
}

#[test]
fn the_router_has_an_ipv6_black_hole() {
    let lab = Lab::new();
    lab.router.ip("-6 route add blackhole fd01:2::2/128");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking [fd01:2::2]:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &[lab.router.name(), "blackhole"];
    let expected = Expected { code: "route.rejects", errno: Some("ETIMEDOUT"), remote: None, names, ..NONE };
    trace.explains(&attempt, &expected);
    trace.only(&["route.rejects"]);
}

#[test]
fn nobody_can_answer_the_ipv6_loopback() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking [fd01:2::2]:80 --bind [::1]:0");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let expected =
        Expected { code: "local.bad-source", errno: Some("ETIMEDOUT"), remote: None, names: &["::1"], ..NONE };
    trace.explains(&attempt, &expected);
    trace.only(&["local.bad-source"]);
}
