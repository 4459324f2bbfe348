//! A filter rule did it.

use netdx_tests::island::Island;
use netdx_tests::lab::Lab;
use netdx_tests::tracer::{Expected, Tracer};

const DROPPED: Expected<'static> = Expected {
    code: "firewall.dropped",
    outcome: "failed",
    errno: Some("ETIMEDOUT"),
    remote: Some("10.1.2.2:80"),
    names: &[],
    certainty: None,
};
const REJECTED: Expected<'static> = Expected { code: "firewall.rejected", ..DROPPED };

/// One rule at one hook of one namespace; the report names both.
fn filtered(at: fn(&Lab) -> &Island, hook: &str, rule: &str, target: &str, expected: &Expected<'_>) {
    let lab = Lab::new();
    at(&lab).guard(hook, rule);
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("blocking {target}"));
    let names = &[hook, "guard", "tcp dport 80"];
    trace.explains(&attempt, &Expected { remote: Some(target), names, ..*expected });
    trace.only(&[expected.code]);
}

#[test]
fn the_server_drops_what_comes_in() {
    filtered(|lab| &lab.server, "input", "tcp dport 80 drop", "10.1.2.2:80", &DROPPED);
}

#[test]
fn the_router_drops() {
    filtered(|lab| &lab.router, "forward", "tcp dport 80 drop", "10.1.2.2:80", &DROPPED);
}

#[test]
fn the_router_drops_ipv6() {
    filtered(|lab| &lab.router, "forward", "tcp dport 80 drop", "[fd01:2::2]:80", &DROPPED);
}

#[test]
fn the_client_drops_what_goes_out() {
    filtered(|lab| &lab.client, "output", "tcp dport 80 drop", "10.1.2.2:80", &DROPPED);
}

#[test]
fn the_client_drops_the_answer() {
    let lab = Lab::new();
    let _listener = netdx_tests::servers::listen(&lab.server, "10.1.2.2:80");
    lab.client.guard("input", "tcp sport 80 drop");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    trace.explains(&attempt, &Expected { names: &["input"], ..DROPPED });
    trace.only(&["firewall.dropped"]);
}

#[test]
fn the_server_rejects_with_a_reset() {
    let expected = Expected { errno: Some("ECONNREFUSED"), ..REJECTED };
    filtered(|lab| &lab.server, "input", "tcp dport 80 reject with tcp reset", "10.1.2.2:80", &expected);
}

#[test]
fn the_router_rejects_with_icmp() {
    let expected = Expected { errno: Some("EHOSTUNREACH"), ..REJECTED };
    filtered(|lab| &lab.router, "forward", "tcp dport 80 reject with icmpx admin-prohibited", "10.1.2.2:80", &expected);
}

#[test]
fn the_client_rejects_what_goes_out() {
    let expected = Expected { errno: Some("ECONNREFUSED"), ..REJECTED };
    filtered(|lab| &lab.client, "output", "tcp dport 80 reject with icmpx port-unreachable", "10.1.2.2:80", &expected);
}
