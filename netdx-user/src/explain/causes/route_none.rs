//! `route.none`

use super::evidence::{route, route_fact, told};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, nothing, phrase, seen},
    report::Certainty,
    story::Connection,
};

pub(super) const CAUSE: Cause = Cause {
    code: "route.none",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
This host has no route to that address.

# What happened
A route says by which interface, and over which router, packets for a range of addresses go. No route of this network
namespace fits the address, not even a default route of its family, so nothing could be sent and the call failed at once.

# How netdx knows
The kernel's routing lookup of this very call found nothing in the last table it asked, the call returned ENETUNREACH, and
the same lookup made right after finds nothing either.

# What to do
`netdx routes ADDRESS` shows the decision step by step. Add the missing route, or a default route (`ip route add default
via GATEWAY`); for IPv6: is there an IPv6 address and a default route at all? In a container or namespace: is it connected
to anything?

# Easily confused with
route.interface-down: there would be a route, but its interface is down. route.rejects: a route or rule of type
unreachable forbids it. route.icmp-unreachable: a router further on has no route.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
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
