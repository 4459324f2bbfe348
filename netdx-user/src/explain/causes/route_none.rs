//! `route.none`

use super::evidence::{no_way_back, route, route_fact, told, vanished_at, way_back_want, who_listens};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    report::Certainty,
    story::Connection,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "route.none",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    // What is said of the way back is said of a connection that seems to be lost without a trace.
    hides: &["timeout.silent", "timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
There is no route to that address, or none back from it.

# What happened
A route says by which interface, and over which router, packets for a range of addresses go. No route of this network
namespace fits the address, not even a default route of its family, so nothing could be sent and the call failed at once.
Or the target is a listener in another namespace of this host, and that one has no route back: its answer can't be sent, and
the caller waits in vain.

# How netdx knows
The kernel's routing lookup of this very call found nothing in the last table it asked, the call returned ENETUNREACH, and
the same lookup made right after finds nothing either. For the way back: packets went to a listener of this host, nothing
dropped them and no answer left, and the lookup of the way back, made right after in the listener's namespace, fails.

# What to do
`netdx routes ADDRESS` shows the decision step by step. Add the missing route, or a default route (`ip route add default
via GATEWAY`); for IPv6: is there an IPv6 address and a default route at all? In a container or namespace: is it connected
to anything?

# Easily confused with
route.interface-down: there would be a route, but its interface is down. route.rejects: a route or rule of type
unreachable forbids it. route.icmp-unreachable: a router further on has no route.
";

fn wants(c: &Connection) -> Vec<Want> {
    vanished_at(c).into_iter().map(|n| way_back_want(c, n)).collect()
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    if let Some(finding) = one_way(c) {
        return Judgement::Yes(finding);
    }
    let Some(call) = c.failed_call() else { return Judgement::No };
    if call.errno != errno::ENETUNREACH || c.id.is_some() || c.icmp_errors().next().is_some() {
        return Judgement::No;
    }
    // A good lookup followed by ENETUNREACH is something else: a broadcast or multicast target.
    let v6_null = call.route.kind == 7;
    let missed =
        call.route.count > 0 && (call.route.error == -11 || v6_null || call.route.error == -errno::ENETUNREACH);
    let now = route(c);
    if !missed && call.route.count > 0 {
        return Judgement::No;
    }
    let family = if c.tuple.remote.is_ipv4() { "IPv4" } else { "IPv6" };
    let certainty = match now {
        Some(r) if r.errno == errno::ENETUNREACH && r.kind.is_empty() => Certainty::Proven,
        // The lookup rejects it by a route or rule: route.rejects says which.
        Some(r) if r.errno != 0 => return Judgement::No,
        // The lookup would have been seen.
        Some(_) if !missed && coverage.has("route4") && coverage.has("route6") => return Judgement::No,
        Some(_) => Certainty::Likely,
        None if missed => Certainty::Likely,
        None => return Judgement::CannotTell("the routing table could not be read".into()),
    };
    let default = match now {
        Some(r) if r.has_default => "although there is a default route",
        Some(_) => "and there is no default route",
        None => "",
    };
    let because = format!("no {family} route to {} {default}", c.tuple.remote);
    let proof = seen(c, call.time, "route-lookup", lookup(&call.route));
    Judgement::Yes(
        Finding::new(certainty, because.trim_end().to_owned(), proof).and_all(route_fact(c)).and_all(told(c)).advise(
            format!(
                "add a route to {} (or a default route); `netdx routes {}` shows the decision",
                c.tuple.remote, c.tuple.remote
            ),
        ),
    )
}

/// The listener's namespace can't send its answer. It is inferred that the SYN got there.
fn one_way(c: &Connection) -> Option<Finding> {
    let (netns, r) = no_way_back(c)?;
    let at = phrase::namespace(&c.facts, netns, c.netns);
    let client = c.tuple.local;
    let who = who_listens(c, netns).unwrap_or_else(|| "the listener".into());
    let again = c.syn_retransmits().last().map(|(t, _)| seen(c, t, "retransmit", "SYN sent again: no answer had come"));
    let lookup = fact("route", format!("in {at}, a packet to {client}: {}", errno::name(r.errno)));
    Some(
        Finding::new(
            Certainty::Likely,
            format!("{who} listens there, but {at} has no route back to {client}, so no answer can be sent"),
            lookup,
        )
        .and_all(again)
        .and_all(told(c))
        .advise(format!("in {at}: add a route to {client} (or a default route)")),
    )
}

fn lookup(r: &crate::event::RouteLookups) -> String {
    if r.count == 0 {
        return "the call failed with ENETUNREACH before any packet was made".into();
    }
    format!("{}, the last one in table {}: no route", phrase::count(r.count as usize, "routing lookup"), table(r.table))
}

/// Names of the reserved tables (`/etc/iproute2/rt_tables`).
pub(super) fn table(id: u32) -> String {
    match id {
        254 => "main".into(),
        255 => "local".into(),
        253 => "default".into(),
        n => n.to_string(),
    }
}
