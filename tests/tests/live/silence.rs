//! Silence has a reason that this host can see, and one call or another hides it.

use crate::needs::{Feature, skipped_without};
use netdx_tests::island::{Island, netdx, output};
use netdx_tests::lab::Lab;
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer, check};
use serde_json::Value;
use std::process::Command;

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

#[test]
fn the_listeners_way_back_is_forbidden() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "[fd01:2::2]:80");
    lab.server.ip("-6 route add prohibit fd01:1::/64");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking [fd01:2::2]:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &[lab.server.name(), "prohibit route", "forbids its answer to fd01:1::2"];
    let (code, certainty) = ("route.rejects", Some("likely"));
    trace.explains(&attempt, &Expected { code, errno: Some("ETIMEDOUT"), remote: None, names, certainty, ..NONE });
    trace.only(&[code]);
}

/// Nobody listens there, and nobody can say so.
#[test]
fn a_refusal_has_no_way_back() {
    let lab = Lab::new();
    lab.server.ip("route del default");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &["nothing listens on 10.1.2.2:80", lab.server.name(), "no route back to 10.1.1.2"];
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

/// `unshare -n PROGRAM`: its namespace never had a route, in which the kernel looks for none, and is gone with it.
#[test]
fn a_new_namespace_that_ends_with_its_program_has_no_route() {
    let lab = Lab::new();
    let reports = tempfile::NamedTempFile::new().expect("make a file");
    let mut trace = Command::new(netdx());
    trace.args(["trace", "--format", "json", "--output"]).arg(reports.path()).args(["--", "unshare", "-n"]);
    let ended = output(trace.arg(lab.client_program()).args(["blocking", "10.1.2.2:80"]));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let lines = std::fs::read_to_string(reports.path()).expect("netdx writes text");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<&Value> = lines.iter().filter(|line| !line["verdict"].is_null()).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    check(told[0], &Expected { names: &["no IPv4 route to 10.1.2.2"], certainty: Some("likely"), ..NONE });
}

/// No interface is up, so there is no IPv6 address: what fails is the choice of one to send from.
#[test]
fn there_is_no_ipv6_address_either() {
    let mut lab = Lab::new();
    lab.client = Island::new("cl");
    lab.client.ip("link set lo down");
    let trace = Tracer::start(&lab);
    for (target, code, names) in [
        ("[fd01:2::2]:80", "route.none", ["no IPv6 route to fd01:2::2", "nor an address to send from"]),
        ("[::1]:80", "route.interface-down", ["interface lo, which ::1 belongs to, is down", "::1"]),
    ] {
        let attempt = lab.connect(&format!("blocking {target}"));
        assert_eq!(attempt.errno, libc::EADDRNOTAVAIL);
        let expected = Expected { code, errno: Some("EADDRNOTAVAIL"), remote: Some(target), names: &names, ..NONE };
        trace.explains(&attempt, &expected);
    }
    trace.only(&["route.none", "route.interface-down"]);
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

const NEIGHBOR: Expected<'static> =
    Expected { code: "route.neighbor-silent", errno: Some("ETIMEDOUT"), certainty: Some("likely"), ..NONE };

/// Who gives up sooner than the router does hears nothing of its neighbour.
#[test]
fn the_router_still_asks_for_its_next_hop() {
    let lab = Lab::new();
    lab.router.sysctl("net.ipv4.neigh.rsv.mcast_solicit=20");
    let rule = "tcp dport 8080 dnat to 10.1.2.77:81";
    lab.router.nft(&format!("table ip lab {{\n chain p {{\n type nat hook prerouting priority -100;\n {rule}\n}}\n}}"));
    let trace = Tracer::start(&lab);
    let names = &["the next hop 10.1.2.77 does not answer ARP", lab.router.name()];
    for target in ["10.1.2.77:81", "10.1.1.1:8080"] {
        let attempt = lab.connect(&format!("blocking {target}"));
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        trace.explains(&attempt, &Expected { remote: Some(target), names, ..NEIGHBOR });
    }
    trace.only(&[NEIGHBOR.code]);
}

#[test]
fn the_answers_next_hop_is_silent() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    lab.server.sysctl("net.ipv4.neigh.eth0.mcast_solicit=20");
    lab.server.ip("route replace default via 10.1.2.77");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &["the next hop 10.1.2.77 of its answer does not answer ARP", lab.server.name()];
    trace.explains(&attempt, &Expected { names, ..NEIGHBOR });
    trace.only(&[NEIGHBOR.code]);
}

/// It is not that the router should pass it on.
#[test]
fn the_target_is_known_by_the_link_address_of_another_host() {
    let lab = Lab::new();
    lab.bridged();
    lab.router.ip("link set br0 address 02:00:00:00:00:aa");
    lab.router.sysctl("net.ipv4.ip_forward=0");
    lab.client.ip("neigh replace 10.1.1.3 lladdr 02:00:00:00:00:aa dev eth0 nud permanent");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.1.3:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names =
        &[lab.router.name(), "which does not have 10.1.1.3", "02:00:00:00:00:aa, which is the link address of br0"];
    let code = "timeout.dropped";
    trace.explains(&attempt, &Expected { code, remote: Some("10.1.1.3:80"), names, certainty: None, ..NEIGHBOR });
    trace.only(&[code]);
}
