//! This host changes while a connection is up: its packets can't be sent any more, and nobody tells the application.

use crate::needs::{Feature, weaker_without};
use netdx_tests::lab::Lab;
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer};

/// What is expected of a change, for IPv4 and for IPv6: the error the application gets, what the report names, how sure it is.
struct Change<'a> {
    code: &'a str,
    ipv4: (&'a str, &'a [&'a str]),
    ipv6: (&'a str, &'a [&'a str]),
    certainties: [Option<&'a str>; 2],
}

/// Both are proven.
const PROVEN: [Option<&str>; 2] = [None, None];

/// The client connects from an address of its own, the change is made, and it sends.
fn changed(change: impl Fn(&Lab), expected: &Change<'_>) {
    let ends = [("10.1.2.2:80", "10.1.1.3:0", expected.ipv4), ("[fd01:2::2]:80", "[fd01:1::3]:0", expected.ipv6)];
    for ((target, from, (errno, names)), certainty) in ends.into_iter().zip(expected.certainties) {
        let lab = Lab::new();
        lab.client.ip("addr add 10.1.1.3/24 dev eth0");
        lab.client.ip("addr add fd01:1::3/64 dev eth0 nodad");
        lab.client.sysctl("net.ipv4.tcp_retries2=2");
        let listener = listen(&lab.server, target);
        let trace = Tracer::start(&lab);
        let mut client = lab.start(&format!("blocking {target} --bind {from} --pause 1500 --send 10 --receive"));
        let (_stream, _) = listener.accept().expect("accept");
        change(&lab);
        let attempt = client.attempt();
        // Where the error doesn't tell it only a reason tells such a drop from that of any other packet.
        let (code, names, certainty) = if errno == "ETIMEDOUT" && weaker_without(Feature::DropReasons) {
            ("broken.timeout", &["stopped answering"][..], Some("likely"))
        } else {
            (expected.code, names, certainty)
        };
        let outcome = "broken";
        trace.explains(
            &attempt,
            &Expected { code, outcome, errno: Some(errno), remote: Some(target), names, certainty },
        );
        trace.only(&[code]);
    }
}

#[test]
fn the_route_is_taken_away_meanwhile() {
    changed(
        |lab| {
            lab.client.ip("-4 route del default");
            lab.client.ip("-6 route del default");
        },
        &Change {
            code: "route.none",
            ipv4: ("ETIMEDOUT", &["there is no IPv4 route to 10.1.2.2 any more"]),
            ipv6: ("ENETUNREACH", &["there is no IPv6 route to fd01:2::2 any more"]),
            certainties: PROVEN,
        },
    );
}

#[test]
fn a_route_forbids_it_meanwhile() {
    changed(
        |lab| {
            lab.client.ip("route add prohibit 10.1.2.0/24");
            lab.client.ip("route add prohibit fd01:2::/64");
        },
        &Change {
            code: "route.rejects",
            ipv4: ("ETIMEDOUT", &["prohibit 10.1.2.0/24"]),
            ipv6: ("EACCES", &["prohibit fd01:2::/64"]),
            certainties: PROVEN,
        },
    );
}

#[test]
fn the_address_is_taken_away_meanwhile() {
    changed(
        |lab| {
            lab.client.ip("addr del 10.1.1.3/24 dev eth0");
            lab.client.ip("addr del fd01:1::3/64 dev eth0");
        },
        &Change {
            code: "local.bad-source",
            ipv4: ("ETIMEDOUT", &["its source address 10.1.1.3 is no address of this host any more"]),
            ipv6: ("ETIMEDOUT", &["its source address fd01:1::3 is no address of this host any more"]),
            certainties: PROVEN,
        },
    );
}

#[test]
fn the_interface_goes_down_meanwhile() {
    changed(
        |lab| lab.client.ip("link set eth0 down"),
        &Change {
            code: "route.interface-down",
            ipv4: ("ETIMEDOUT", &["interface eth0", "10.1.1.3", "is down"]),
            // An IPv6 address goes with its interface: that it was this one's is inferred.
            ipv6: ("ENETUNREACH", &["interface eth0", "fd01:1::3", "is down"]),
            certainties: [None, Some("likely")],
        },
    );
}
