//! `route.rejects`

use super::{
    evidence::{route, route_fact, told},
    lost_route,
    route_none::table,
};
use crate::{
    coverage::Coverage,
    event::{Call, Netns},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    fact::{Answer, Route},
    report::Certainty,
    story::{Connection, Dropped, FailedCall},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "route.rejects",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[
        "route.icmp-unreachable",
        "timeout.dropped",
        "timeout.silent",
        "timeout.abandoned",
        "broken.timeout",
        "route.none",
        "firewall.rejected",
    ],
    tells: Tells::Failure,
};

const PAGE: &str = "\
A route or a routing rule forbids that address.

# What happened
A routing table can say not only where packets go, but also that they go nowhere: routes and rules of type unreachable
(EHOSTUNREACH), prohibit (EACCES), blackhole (EINVAL for the sender, silence for what is forwarded) and throw. One of them
fits the address: on this host, or in a forwarding namespace of this host on the way.

# How netdx knows
The kernel's routing lookup of this call (or the router namespace's, for a forwarded packet) ended with that type's error,
and the routing tables and rules, read right after, have the entry. For an entry that came while the connection was up: its
packets were dropped before they were sent (reason IP_OUTNOROUTES), or a retransmission failed.

# What to do
`netdx routes ADDRESS` names the entry. Remove it (`ip route del ...`, `ip rule del ...`) if it is not meant; VPN clients,
container networks and bans (fail2ban) set such entries.

# Easily confused with
route.none: there is just no route. firewall.rejected: a filter answers with the same ICMP. denied.policy: EACCES without a
routing lookup.
";

/// Namespaces of this host where a packet of this connection was dropped by routing.
fn rejected_on_the_way(c: &Connection) -> Option<Dropped<'_>> {
    c.drops().find(|d| {
        d.netns().is_some_and(|n| n != c.netns)
            && (d.by("ip_error")
                || d.by("ip6_pkt_discard")
                || d.by("ip6_pkt_prohibit")
                || d.by("ip6_pkt_drop")
                || d.by("dst_discard_out"))
    })
}

fn transit_want(c: &Connection, d: &Dropped<'_>, netns: Netns) -> Want {
    let to = d.packet.tuple.map_or(c.tuple.remote, |t| t.remote);
    Want::Route { netns, to, from: None, device: 0, mark: d.packet.mark, uid: 0 }
}

fn wants(c: &Connection) -> Vec<Want> {
    rejected_on_the_way(c)
        .and_then(|d| Some((d, d.netns()?)))
        .map(|(d, n)| vec![transit_want(c, &d, n), Want::Namespace { netns: n }])
        .unwrap_or_default()
}

fn rejecting(r: &Route) -> bool {
    matches!(r.kind.as_str(), "unreachable" | "prohibit" | "blackhole" | "throw")
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if let Some(call) = c.failed_call()
        && c.id.is_none()
    {
        let goes = matches!(call.call, Call::Connect | Call::IoUringConnect | Call::Send);
        return if goes { here(c, &call) } else { Judgement::No };
    }
    if let Some(finding) = meanwhile(c) {
        return Judgement::Yes(finding);
    }
    let Some(d) = rejected_on_the_way(c) else { return Judgement::No };
    let Some(netns) = d.netns() else { return Judgement::No };
    let Some(Answer::Route(r)) = c.facts.get(&transit_want(c, &d, netns)) else { return Judgement::No };
    if !rejecting(r) {
        return Judgement::No;
    }
    let at = phrase::namespace(&c.facts, netns, c.netns);
    let because = format!("{} in {at} forbids it: {}", entry(r), r.text);
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            because,
            seen(c, d.time, "drop", format!("{} dropped in {at} by its routing", phrase::packet(d.packet))),
        )
        .and(fact("route", r.text.clone()))
        .and_all(told(c))
        .advise(format!("in {at}: remove {} if it is not meant", entry(r))),
    )
}

/// It was not there yet when the connection began.
fn meanwhile(c: &Connection) -> Option<Finding> {
    let proof = lost_route::proof(c)?;
    let r = route(c).filter(|r| rejecting(r))?;
    let because = format!("{} forbids {} now: {}", entry(r), c.tuple.remote, r.text);
    let advice = format!("remove that entry if it is not meant; `netdx routes {}` shows the decision", c.tuple.remote);
    Some(Finding::new(Certainty::Proven, because, proof).and_all(route_fact(c)).and_all(told(c)).advise(advice))
}

fn entry(r: &Route) -> String {
    match &r.rule {
        Some(rule) => format!("the routing rule `{rule}`"),
        None => format!("the {} route", r.kind),
    }
}

fn here(c: &Connection, call: &FailedCall) -> Judgement {
    let lookups = call.route;
    // RTN_BLACKHOLE 6, RTN_UNREACHABLE 7, RTN_PROHIBIT 8, RTN_THROW 9 (include/uapi/linux/rtnetlink.h)
    let by_kernel = match (lookups.kind, lookups.error) {
        _ if lookups.count == 0 => None,
        (6, _) => Some("blackhole"),
        (8, _) => Some("prohibit"),
        (9, _) => Some("throw"),
        (7, _) if call.errno == errno::EHOSTUNREACH => Some("unreachable"),
        (0, e) if e == -errno::EHOSTUNREACH => Some("unreachable"),
        (0, e) if e == -errno::EACCES => Some("prohibit"),
        (0, e) if e == -errno::EINVAL => Some("blackhole"),
        _ => None,
    };
    // A policy rule rejects before the main table is asked (only the local table is).
    let by_rule = matches!(call.errno, errno::ENETUNREACH | errno::EACCES | errno::EINVAL | errno::EHOSTUNREACH)
        && lookups.count > 0
        && lookups.local
        && !lookups.main;
    let now = route(c).filter(|r| rejecting(r));
    let Some(proof) = (match (by_kernel, now, by_rule) {
        (Some(kind), ..) => Some(seen(
            c,
            call.time,
            "route-lookup",
            format!("the routing lookup of this call ended in table {} with type {kind}", table(lookups.table)),
        )),
        (None, Some(r), _) if call.errno == route_errno(r, c) => Some(seen(
            c,
            call.time,
            "route-lookup",
            format!("the call returned {}, which is what {} gives", errno::name(call.errno), entry(r)),
        )),
        (None, None, true) => Some(seen(
            c,
            call.time,
            "route-lookup",
            "the lookup ended after the local table: a routing rule rejected it before the main table was asked",
        )),
        _ => None,
    }) else {
        return Judgement::No;
    };
    let (certainty, because) = match now {
        Some(r) => (Certainty::Proven, format!("{} forbids {}: {}", entry(r), c.tuple.remote, r.text)),
        None if by_kernel.is_some() => {
            (Certainty::Proven, format!("a route of type {} forbids {}", by_kernel.unwrap_or_default(), c.tuple.remote))
        }
        None => (Certainty::Likely, format!("a routing rule forbids {}", c.tuple.remote)),
    };
    Judgement::Yes(
        Finding::new(certainty, because, proof).and_all(route_fact(c)).and_all(told(c)).advise(format!(
            "remove that entry if it is not meant; `netdx routes {}` shows the decision",
            c.tuple.remote
        )),
    )
}

/// What connect returns for a route of this type: fib_props in net/ipv4/fib_semantics.c, ip6_rt_type_to_error in
/// net/ipv6/route.c; rules of type unreachable give ENETUNREACH (fib4_rule_action, 6.18).
fn route_errno(r: &Route, c: &Connection) -> i32 {
    match (r.kind.as_str(), r.rule.is_some(), c.tuple.remote.is_ipv4()) {
        ("unreachable", true, _) | ("throw", ..) => errno::ENETUNREACH,
        ("unreachable", false, _) => errno::EHOSTUNREACH,
        ("prohibit", ..) => errno::EACCES,
        ("blackhole", ..) => errno::EINVAL,
        _ => 0,
    }
}
