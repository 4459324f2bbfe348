//! `route.rejects`

use super::{
    evidence::{no_way_back, route_fact, told, vanished_at, way_back_want, who_listens},
    lost_route,
    route_none::table,
    stopped_by_routing::{by_routing, rejecting, stopped},
};
use crate::{
    coverage::Coverage,
    event::Call,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, owners_want, phrase, seen},
    fact::Route,
    report::Certainty,
    story::{Connection, FailedCall},
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
        "firewall.dropped",
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

/// The call that failed before anything was sent. A datagram's can also be told what became of an earlier one on its way: the
/// ICMP error that came.
fn failed_at_once(c: &Connection) -> Option<FailedCall> {
    let sends = |call: &FailedCall| matches!(call.call, Call::Connect | Call::IoUringConnect | Call::Send);
    c.failed_call().filter(|call| c.id.is_none() && sends(call) && c.icmp_errors().next().is_none())
}

fn wants(c: &Connection) -> Vec<Want> {
    let mut wants = stopped(c).map(|s| s.wants(c)).unwrap_or_default();
    wants.extend(vanished_at(c).into_iter().map(|netns| way_back_want(c, netns)));
    wants.extend(c.icmp_errors().filter(|(_, i)| by_routing(i)).map(|(_, i)| owners_want(c, i.from)));
    wants
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if let Some(finding) = failed_at_once(c).and_then(|call| at_once_rejected(c, &call)) {
        return Judgement::Yes(finding);
    }
    if let Some(finding) = meanwhile(c).or_else(|| one_way(c)) {
        return Judgement::Yes(finding);
    }
    let Some((s, r)) = stopped(c).and_then(|s| s.rejecting(c).map(|r| (s, r))) else { return Judgement::No };
    let at = phrase::namespace(&c.facts, s.netns, c.netns);
    let because = format!("{} in {at} forbids it: {}", phrase::rejecter(r), r.text);
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, s.proof)
            .and(fact("route", r.text.clone()))
            .and_all(told(c))
            .advise(format!("in {at}: remove {} if it is not meant", phrase::rejecter(r))),
    )
}

/// The listener's namespace forbids its answer. It is inferred that the SYN got there.
fn one_way(c: &Connection) -> Option<Finding> {
    let (netns, r) = no_way_back(c).filter(|(_, r)| rejecting(r))?;
    let (at, what) = (phrase::namespace(&c.facts, netns, c.netns), phrase::rejecter(r));
    let client = c.reached().local;
    let who = who_listens(c, netns).unwrap_or_else(|| "the listener".into());
    let because = format!("{who} listens there, but {what} in {at} forbids its answer to {client}: {}", r.text);
    let proof = fact("route", format!("in {at}, a packet to {client}: {}", errno::name(r.errno)));
    let advice = format!("in {at}: remove {what} if it is not meant");
    Some(Finding::new(Certainty::Likely, because, proof).and_all(told(c)).advise(advice))
}

/// It was not there yet when the connection began.
fn meanwhile(c: &Connection) -> Option<Finding> {
    let proof = lost_route::proof(c)?;
    let r = c.route().filter(|r| rejecting(r))?;
    let because = format!("{} forbids {} now: {}", phrase::rejecter(r), c.tuple.remote, r.text);
    let advice = format!("remove that entry if it is not meant; `netdx routes {}` shows the decision", c.tuple.remote);
    Some(Finding::new(Certainty::Proven, because, proof).and_all(route_fact(c)).and_all(told(c)).advise(advice))
}

/// A policy rule rejects before the main table is asked (only the local table is).
fn rejected_by_rule(call: &FailedCall) -> bool {
    matches!(call.errno, errno::ENETUNREACH | errno::EACCES | errno::EINVAL | errno::EHOSTUNREACH)
        && call.route.count > 0
        && call.route.local
        && !call.route.main
}

fn at_once_rejected(c: &Connection, call: &FailedCall) -> Option<Finding> {
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
    let by_rule = rejected_by_rule(call);
    let now = c.route().filter(|r| rejecting(r));
    let proof = (match (by_kernel, now, by_rule) {
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
            format!("the call returned {}, which is what {} gives", errno::name(call.errno), phrase::rejecter(r)),
        )),
        (None, None, true) => Some(seen(
            c,
            call.time,
            "route-lookup",
            "the lookup ended after the local table: a routing rule rejected it before the main table was asked",
        )),
        _ => None,
    })?;
    let (certainty, because) = match now {
        Some(r) => (Certainty::Proven, format!("{} forbids {}: {}", phrase::rejecter(r), c.tuple.remote, r.text)),
        None if by_kernel.is_some() => {
            (Certainty::Proven, format!("a route of type {} forbids {}", by_kernel.unwrap_or_default(), c.tuple.remote))
        }
        None => (Certainty::Likely, format!("a routing rule forbids {}", c.tuple.remote)),
    };
    Some(
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
