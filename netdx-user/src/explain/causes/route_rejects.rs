//! `route.rejects`

use super::{
    evidence::{route_fact, told},
    firewall_rejected::answered_here,
    lost_route,
    route_none::table,
};
use crate::{
    coverage::Coverage,
    event::{Call, Hook, IcmpError, Netns, Tuple},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, here, owners_want, phrase, seen},
    fact::{Answer, Route},
    report::{Certainty, Evidence},
    story::{Connection, Dropped, FailedCall},
    want::{Flow, Want},
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

/// A packet of this connection for which routing gave no way on.
struct Stopped {
    netns: Netns,
    /// Without what rules can ask for besides addresses and mark; then with it.
    asked: [Want; 2],
    proof: Evidence,
}

impl Stopped {
    fn wants(&self, c: &Connection) -> Vec<Want> {
        let [plain, whole] = &self.asked;
        let answered = c.facts.get(plain).is_some() && self.route(c).is_none();
        let next = if answered { whole } else { plain };
        vec![next.clone(), Want::Namespace { netns: self.netns }]
    }

    /// What rejects it.
    fn route<'a>(&self, c: &'a Connection) -> Option<&'a Route> {
        self.asked.iter().find_map(|want| match c.facts.get(want) {
            Some(Answer::Route(r)) if rejecting(r) => Some(r),
            _ => None,
        })
    }
}

/// A packet with these endpoints in another namespace of this host, by which it passes.
fn passing(netns: Netns, tuple: Tuple, mark: u32, in_device: u32, proof: Evidence) -> Stopped {
    let flow = Flow::of(tuple, in_device);
    let ask = |from, flow| Want::Route { netns, to: tuple.remote, from, device: 0, mark, uid: 0, flow };
    Stopped { netns, asked: [ask(None, None), ask(Some(tuple.local), Some(flow))], proof }
}

/// Where it was stopped by routing on its way.
fn stopped(c: &Connection) -> Option<Stopped> {
    on_the_way(c).or_else(|| sent_anew(c)).or_else(|| told_by_router(c))
}

/// Routing in another namespace of this host dropped its packet.
fn on_the_way(c: &Connection) -> Option<Stopped> {
    let by_routing = |d: &Dropped<'_>| {
        ["ip_error", "ip6_pkt_discard", "ip6_pkt_prohibit", "ip6_pkt_drop", "dst_discard_out"].iter().any(|f| d.by(f))
    };
    let d = c.drops().find(|d| d.netns().is_some_and(|n| n != c.netns) && by_routing(d))?;
    let netns = d.netns()?;
    let at = phrase::namespace(&c.facts, netns, c.netns);
    let text = format!("{} dropped in {at} by its routing", phrase::packet(d.packet));
    let proof = seen(c, d.time, "drop", text);
    Some(passing(netns, d.packet.tuple.unwrap_or(c.tuple), d.packet.mark, d.packet.in_device, proof))
}

/// A rule gave it another mark as it was sent, and with that mark it has no way (nf_route_table_hook4, ipt_mangle_out:
/// where ip_route_me_harder fails the hook drops it, Linux 6.18).
fn sent_anew(c: &Connection) -> Option<Stopped> {
    let anew = |d: &Dropped<'_>| {
        let here = d.ours && d.netns() == Some(c.netns);
        here && d.hook == Some(Hook::Output) && d.at == "nf_hook_slow" && d.packet.mark != c.mark
    };
    let d = c.drops().find(anew)?;
    let mark = d.packet.mark;
    let text = format!("SYN dropped where it is sent: firewall rules had marked it {mark:#x}, so it was routed anew");
    let (from, device) = (Some(c.tuple.local).filter(|a| !a.is_unspecified()), c.bound_device);
    let (netns, to, uid) = (c.netns, c.tuple.remote, c.uid());
    let ask = |flow| Want::Route { netns, to, from, device, mark, uid, flow };
    Some(Stopped { netns, asked: [ask(None), ask(Some(Flow::of(c.tuple, 0)))], proof: seen(c, d.time, "drop", text) })
}

/// A router's namespace of this host said so, and what it did with the packet was not seen.
fn told_by_router(c: &Connection) -> Option<Stopped> {
    if answered_here(c) {
        return None;
    }
    let (time, icmp) = c.icmp_errors().find(|(_, i)| by_routing(i) && i.from != c.tuple.remote)?;
    let [netns] = here(c, icmp.from)? else { return None };
    if *netns == c.netns {
        return None;
    }
    let text = format!("{} came back from {}", phrase::icmp(icmp.v6, icmp.kind, icmp.code), icmp.from);
    Some(passing(*netns, c.tuple, 0, 0, seen(c, time, "icmp-received", text)))
}

/// What routing answers: network or host unreachable, or prohibited (ip_error, ip6_pkt_drop, Linux 6.18).
fn by_routing(i: &IcmpError) -> bool {
    matches!((i.v6, i.kind, i.code), (false, 3, 0 | 1 | 13) | (true, 1, 0 | 1 | 3))
}

/// A rule may have asked for ports, without which another route is found.
fn by_ports(c: &Connection) -> Option<Want> {
    c.failed_call().filter(|call| c.id.is_none() && rejected_by_rule(call))?;
    let plain = c.route_want();
    let known = matches!(c.facts.get(&plain), Some(Answer::Route(r)) if !rejecting(r));
    match plain {
        Want::Route { netns, to, from, device, mark, uid, .. } if known => {
            Some(Want::Route { netns, to, from, device, mark, uid, flow: Some(Flow::of(c.tuple, 0)) })
        }
        _ => None,
    }
}

fn wants(c: &Connection) -> Vec<Want> {
    let mut wants = stopped(c).map(|s| s.wants(c)).unwrap_or_default();
    wants.extend(by_ports(c));
    wants.extend(c.icmp_errors().filter(|(_, i)| by_routing(i)).map(|(_, i)| owners_want(c, i.from)));
    wants
}

fn rejecting(r: &Route) -> bool {
    matches!(r.kind.as_str(), "unreachable" | "prohibit" | "blackhole" | "throw")
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    // A datagram's call can also fail for what became of an earlier one on its way.
    let at_once = c
        .failed_call()
        .filter(|call| c.id.is_none() && matches!(call.call, Call::Connect | Call::IoUringConnect | Call::Send));
    if let Some(finding) = at_once.and_then(|call| at_once_rejected(c, &call)) {
        return Judgement::Yes(finding);
    }
    if let Some(finding) = meanwhile(c) {
        return Judgement::Yes(finding);
    }
    let Some((s, r)) = stopped(c).and_then(|s| s.route(c).map(|r| (s, r))) else { return Judgement::No };
    let at = phrase::namespace(&c.facts, s.netns, c.netns);
    let because = format!("{} in {at} forbids it: {}", phrase::rejecter(r), r.text);
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, s.proof)
            .and(fact("route", r.text.clone()))
            .and_all(told(c))
            .advise(format!("in {at}: remove {} if it is not meant", phrase::rejecter(r))),
    )
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
    let by_ports = by_ports(c).and_then(|want| match c.facts.get(&want) {
        Some(Answer::Route(r)) => Some(r),
        _ => None,
    });
    let now = by_ports.or(c.route()).filter(|r| rejecting(r));
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
