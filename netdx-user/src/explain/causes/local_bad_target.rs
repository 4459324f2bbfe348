//! `local.bad-target`

use super::evidence::{MATCH_FAMILY, call_proof, interface, other_family, reset_came, told};
use crate::{
    coverage::Coverage,
    event::{Call, Protocol},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, seen},
    fact::Answer,
    report::{Certainty, Evidence},
    story::{Connection, FailedCall},
    want::Want,
};
use std::net::IpAddr;

pub(super) const CAUSE: Cause = Cause {
    code: "local.bad-target",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[
        "refused.no-listener",
        "refused.remote",
        "route.none",
        "route.rejects",
        "route.interface-down",
        "denied.policy",
    ],
    tells: Tells::Failure,
};

const PAGE: &str = "\
That address can't be connected to.

# What happened
The target is no address of one host: a broadcast or multicast address (TCP can't, UDP to broadcast needs SO_BROADCAST), a
link-local IPv6 address without the interface it is on or with one that does not exist, or port 0. Or it is an address of one
IP family, and the program's socket is of the other.

# How netdx knows
The call failed at once with the errno for it, although its routing lookup found a route, and the address is of that kind.
The interfaces were read right after. A SYN to port 0 is sent, and answered with a reset: nothing can listen there.

# What to do
Use the host's own address. For a link-local address add the interface: fe80::1%eth0 (`netdx addrs` shows them). To send to
everybody on the network by UDP set SO_BROADCAST. For an address of another family the program has to make a socket of that
family: `getaddrinfo` says which.

# Easily confused with
route.none: ENETUNREACH because there is no route. denied.policy: EACCES from a security module. local.no-family: the family
is switched off. refused.no-listener: a port that could be listened on.
";

const ONE_HOST: &str = "use the address of one host";

const ITS_INTERFACE: &str = "add the interface that it is on: fe80::1%eth0 (`netdx addrs` shows them)";

/// A datagram for everybody, and what to do.
const NOT_ALLOWED: (&str, &str) = (
    "is a broadcast address, and the socket has not set SO_BROADCAST",
    "set SO_BROADCAST on the socket, or use the address of one host",
);

/// The call that was given the target, if it failed before any packet was sent.
fn called(c: &Connection) -> Option<FailedCall> {
    let targeted = |call: &FailedCall| matches!(call.call, Call::Connect | Call::Send | Call::IoUringConnect);
    c.failed_call().filter(|call| c.id.is_none() && targeted(call))
}

fn is_link_local(c: &Connection) -> bool {
    matches!(c.tuple.remote, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// The interface that was given with a link-local address, if no route by it was found.
fn zone(c: &Connection) -> Option<u32> {
    let call = called(c).filter(|call| call.errno == errno::ENETUNREACH && is_link_local(c))?;
    (call.scope != 0).then_some(call.scope)
}

fn interfaces_want(c: &Connection) -> Want {
    Want::Interfaces { netns: c.netns }
}

fn wants(c: &Connection) -> Vec<Want> {
    zone(c).map(|_| interfaces_want(c)).into_iter().collect()
}

/// What is wrong with the interface that was given with a link-local address, and the proof.
fn wrong_zone(c: &Connection) -> Option<(String, Evidence)> {
    let index = zone(c)?;
    let Some(Answer::Interfaces(_)) = c.facts.get(&interfaces_want(c)) else { return None };
    match interface(c, c.netns, index) {
        None => Some((
            format!("is a link-local address of interface {index}, and there is no such interface"),
            fact("interface", format!("no interface here has index {index}")),
        )),
        Some(i) if i.loopback => Some((
            format!("is a link-local address of {}, by which no other host is reached", i.name),
            fact("interface", format!("{} is the loopback interface", i.name)),
        )),
        Some(_) => None,
    }
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if c.tried() && c.dialled().port() == 0 && c.reset_in_handshake().is_some() {
        return port_0(c);
    }
    let Some(call) = called(c) else { return Judgement::No };
    let remote = c.tuple.remote;
    let broadcast =
        matches!(remote, IpAddr::V4(a) if a.is_broadcast()) || c.route().is_some_and(|r| r.kind == "broadcast");
    let multicast = remote.is_multicast();
    let unknown = remote.is_unspecified() && c.tuple.remote_port == 0;
    let zone = wrong_zone(c);
    let (kind, instead) = match call.errno {
        _ if let Some(other) = other_family(c, &call) => (other, MATCH_FAMILY),
        _ if let Some((wrong, _)) = &zone => (wrong.as_str(), ITS_INTERFACE),
        errno::EINVAL if is_link_local(c) && c.bound_device == 0 => {
            ("is a link-local address without its interface (scope id)", ITS_INTERFACE)
        }
        errno::EINVAL | errno::EADDRNOTAVAIL if c.tuple.remote_port == 0 => {
            ("can't be reached by port 0, which is no port", "use the port of the service")
        }
        // tcp_v6_connect, __ip6_datagram_connect (6.18)
        errno::ENETUNREACH if c.v6_socket && remote.is_ipv4() && call.route.count == 0 => (
            "is an IPv4 address, and the socket is for IPv6 only (IPV6_V6ONLY)",
            "use an IPv4 socket, or switch IPV6_V6ONLY off",
        ),
        errno::ENETUNREACH if broadcast && c.tuple.protocol != Protocol::Udp => ("is a broadcast address", ONE_HOST),
        errno::ENETUNREACH if multicast && c.tuple.protocol != Protocol::Udp => ("is a multicast address", ONE_HOST),
        errno::EACCES if broadcast => NOT_ALLOWED,
        // udp_sendmsg (6.18) gives EACCES for nothing else once its routing lookup has succeeded.
        errno::EACCES if unknown && call.call == Call::Send && call.route.error == 0 => NOT_ALLOWED,
        _ => return Judgement::No,
    };
    let (certainty, target) = if unknown {
        (Certainty::Likely, "the address it sent to".to_owned())
    } else {
        (Certainty::Proven, remote.to_string())
    };
    Judgement::Yes(
        Finding::new(certainty, format!("{target} {kind}"), call_proof(c, &call))
            .and_all(zone.map(|(_, proof)| proof))
            .and_all(told(c))
            .advise(instead),
    )
}

/// connect(2) takes it, and nothing can listen there: bind(2) takes it for "any that is free".
fn port_0(c: &Connection) -> Judgement {
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            "the program asked for port 0, which is no port",
            seen(c, c.began, "syn-sent", format!("SYN sent to port 0 of {}", c.dialled().ip())),
        )
        .and_all(reset_came(c))
        .and_all(told(c))
        .advise("give the program the port of the service: it may be missing in its settings"),
    )
}
