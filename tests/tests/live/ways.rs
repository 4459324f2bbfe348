//! By which way it goes: routing rules by port, several next hops, marks, what routers advertise.

use crate::needs::{less_sure_without_reasons, other_without_reasons};
use netdx_tests::lab::{Attempt, Lab};
use netdx_tests::patience::patience;
use netdx_tests::tracer::{Expected, Tracer};
use std::time::Duration;

const SILENT: Expected<'static> = Expected {
    code: "timeout.silent",
    outcome: "failed",
    errno: Some("ETIMEDOUT"),
    remote: None,
    names: &[],
    certainty: None,
};
const NEIGHBOR: Expected<'static> = Expected { code: "route.neighbor-silent", errno: None, ..SILENT };

/// Family, target, and a next hop that is not the gateway of the default route.
const BOTH: [(&str, &str, &str); 2] = [("-4", "10.1.2.2:80", "10.1.1.77"), ("-6", "[fd01:2::2]:80", "fd01:1::77")];

/// What goes to port 80 goes over another next hop.
fn by_port(family: &str, hop: &str) -> Lab {
    let lab = Lab::new();
    lab.client.ip(&format!("{family} route add default via {hop} dev eth0 table 77"));
    lab.client.ip(&format!("{family} rule add pref 100 ipproto tcp dport 80 table 77"));
    lab
}

/// Gives the next hop a link address that is nobody's: what is sent there is lost on the link.
fn lost_beyond(lab: &Lab, hop: &str) {
    lab.client.ip(&format!("neigh add {hop} lladdr 02:00:00:00:00:77 dev eth0 nud permanent"));
}

fn does_not_answer(errno: i32) {
    // Its own ICMP error comes just before the last timer, or just after.
    assert!(matches!(errno, libc::EHOSTUNREACH | libc::ETIMEDOUT), "{errno}");
}

#[test]
fn a_rule_by_port_leads_to_a_silent_neighbour() {
    for (family, target, hop) in BOTH {
        let lab = by_port(family, hop);
        lab.client.sysctl("net.ipv4.tcp_syn_retries=2");
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        does_not_answer(attempt.errno);
        let expected = Expected { remote: Some(target), names: &["the gateway", hop], ..NEIGHBOR };
        trace.explains(&attempt, &less_sure_without_reasons(expected));
        trace.only(&[NEIGHBOR.code]);
    }
}

#[test]
fn a_rule_by_port_leads_into_silence() {
    for (family, target, hop) in BOTH {
        let lab = by_port(family, hop);
        lost_beyond(&lab, hop);
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        let names = &[&*format!("by eth0 over {hop},")];
        is_lost(trace, &attempt, Expected { remote: Some(target), names, ..SILENT });
    }
}

/// The cable's other end drops what is for another link address. By the reason that is none of the connection's; without
/// reasons it is a drop as any other.
fn is_lost(trace: Tracer, attempt: &Attempt, expected: Expected<'_>) {
    let expected = other_without_reasons("timeout.dropped", "proven", expected);
    trace.explains(attempt, &expected);
    trace.only(&[expected.code]);
}

/// Which way it went is not known: none is named, and nothing is said for sure.
fn unsure(lab: &Lab, target: &str) {
    let trace = Tracer::start(lab);
    let attempt = lab.connect(&format!("blocking {target}"));
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &["2 SYNs left, nothing came back"];
    is_lost(trace, &attempt, Expected { remote: Some(target), names, certainty: Some("likely"), ..SILENT });
}

#[test]
fn a_mark_that_a_firewall_rule_sets_leads_into_silence() {
    for (family, target, hop) in BOTH {
        let lab = Lab::new();
        let rule = "type route hook output priority mangle; tcp dport 80 meta mark set 7;";
        lab.client.nft(&format!("table inet lab {{ chain out {{ {rule} }}; }}"));
        lab.client.ip(&format!("{family} route add default via {hop} dev eth0 table 77"));
        lab.client.ip(&format!("{family} rule add fwmark 7 table 77"));
        lost_beyond(&lab, hop);
        unsure(&lab, target);
    }
}

#[test]
fn one_of_several_next_hops_leads_into_silence() {
    for (family, target, hop) in BOTH {
        let lab = Lab::new();
        let other = hop.replace("77", "78");
        for hop in [hop, &other] {
            lost_beyond(&lab, hop);
        }
        lab.client.ip(&format!("{family} route del default"));
        lab.client.ip(&format!("{family} route add default nexthop via {hop} dev eth0 nexthop via {other} dev eth0"));
        unsure(&lab, target);
    }
}

#[test]
fn a_route_that_a_router_advertised_has_expired() {
    let lab = Lab::new();
    lab.client.ip("-6 route del default");
    lab.client.ip("-6 route add default via fd01:1::1 dev eth0 proto ra expires 1");
    std::thread::sleep(patience(Duration::from_millis(2500)));
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking [fd01:2::2]:80");
    assert_eq!(attempt.errno, libc::ENETUNREACH);
    let names = &["no IPv6 route", "has expired (`default via fd01:1::1 dev eth0"];
    let (code, errno) = ("route.none", Some("ENETUNREACH"));
    trace.explains(&attempt, &Expected { code, errno, names, ..SILENT });
    trace.only(&[code]);
}
