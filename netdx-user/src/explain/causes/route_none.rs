//! `route.none`

use super::{
    evidence::{no_way_back, refused_in_vain, route_fact, told, unanswered_by, way_back_want, who_listens},
    lost_route,
    route_icmp_unreachable::by_translator,
    stopped_by_routing::{by_routing, none, rejecting, stopped},
};
use crate::{
    coverage::Coverage,
    event::Call,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    fact::Route,
    report::Certainty,
    story::{Connection, FailedCall},
    want::Want,
};
use std::net::IpAddr;

pub(super) const CAUSE: Cause = Cause {
    code: "route.none",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    // What is said of the way back is said of a connection that seems to be lost without a trace.
    hides: &["timeout.silent", "timeout.abandoned", "timeout.dropped", "broken.timeout", "route.icmp-unreachable"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
There is no route to that address, or none back from it.

# What happened
A route says by which interface, and over which router, packets for a range of addresses go. No route of this network
namespace fits the address, not even a default route of its family, so nothing could be sent and the call failed at once. Or
the target is in another namespace of this host, and that one has no route back: its answer (a refusal, too) can't be sent,
and the caller waits in vain. Or a namespace of this host that the packets (or the answers) pass has none, and what it
answers (ICMP) is lost, or comes with the address that was dialled, which it translates. Or the route went away while the
connection was up: nothing can be sent any more, nobody tells the application, and its timers run out.

# How netdx knows
The kernel's routing lookup of this very call found nothing in the last table it asked, the call returned ENETUNREACH
(EADDRNOTAVAIL, where the namespace has no IPv6 address either), and the same lookup made right after finds nothing
either. In a namespace that never had an IPv4 route (`unshare -n` makes one whose loopback interface is down, too) the
kernel looks for none. For the way back: packets went to a listener of this host, nothing dropped them and no answer
left, and the lookup of the way back, made right after in the listener's namespace, fails. For a namespace on the way:
routing dropped the packet there (reason IP_INNOROUTES), and the same lookup finds nothing. For a route that went away:
the kernel dropped the packet before it was sent (reason IP_OUTNOROUTES), or a retransmission failed.

# What to do
`netdx routes ADDRESS` shows the decision step by step. Add the missing route, or a default route (`ip route add default
via GATEWAY`); for IPv6: is there an IPv6 address and a default route at all? In a container or namespace: is it connected
to anything?

# Easily confused with
route.interface-down: there would be a route, but its interface is down. route.rejects: a route or rule of type
unreachable forbids it. route.icmp-unreachable: a router has no route, and says so. local.bad-source: the address that the
socket has is not this host's, so the kernel looks for no route.
";

fn wants(c: &Connection) -> Vec<Want> {
    let back = unanswered_by(c).into_iter().map(|n| way_back_want(c, n));
    let stopped = stopped(c).map(|s| s.wants(c)).unwrap_or_default();
    back.chain(lost_route::wants(c)).chain(stopped).collect()
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    if let Some(finding) = one_way(c) {
        return Judgement::Yes(finding);
    }
    if let Some(finding) = lost(c).or_else(|| on_the_way(c)) {
        return Judgement::Yes(finding);
    }
    let Some(call) = c.failed_call() else { return Judgement::No };
    let unreachable = call.errno == errno::ENETUNREACH || has_no_source(c, &call);
    if !unreachable || c.id.is_some() || c.icmp_errors().next().is_some() {
        return Judgement::No;
    }
    // A good lookup followed by ENETUNREACH is something else: a broadcast or multicast target.
    let v6_null = call.route.kind == 7;
    let missed =
        call.route.count > 0 && (call.route.error == -11 || v6_null || call.route.error == -errno::ENETUNREACH);
    let now = c.route();
    // A rule may not have taken what the last table had (suppress_prefixlength).
    let none_now = now.is_some_and(none);
    if !none_now && (!missed && call.route.count > 0 || now.is_some() && has_no_source(c, &call)) {
        return Judgement::No;
    }
    let without_table = now.is_none() && has_no_table(c, &call) && coverage.has("route4");
    let certainty = match now {
        Some(_) if none_now => Certainty::Proven,
        // The lookup rejects it by a route or rule: route.rejects says which.
        Some(r) if r.errno != 0 => return Judgement::No,
        // The lookup would have been seen.
        Some(_) if !missed && coverage.has("route4") && coverage.has("route6") => return Judgement::No,
        Some(_) => Certainty::Likely,
        None if missed || without_table => Certainty::Likely,
        None => return Judgement::CannotTell("the routing table could not be read".into()),
    };
    let because = match now {
        Some(r) if r.errno == 0 => format!(
            "no {} route to {} was found, although now there is one: the routes have changed, or the socket may reach only \
             networks that it is itself on (SO_DONTROUTE)",
            family(c.tuple.remote),
            c.tuple.remote
        ),
        None if without_table => format!(
            "{}: its network namespace, which can't be asked any more, has never had one",
            no_route(c.tuple.remote, now)
        ),
        now if has_no_source(c, &call) => {
            format!("{}, nor an address to send from", no_route(c.tuple.remote, now))
        }
        now => no_route(c.tuple.remote, now),
    };
    let proof = seen(c, call.time, "route-lookup", lookup(&call));
    let expired = now.and_then(|r| r.expired.first());
    let advice = match expired {
        Some(_) => "does the router still send router advertisements, and do they get here? (`rdisc6 DEV`; a firewall that drops \
                    ICMPv6; net.ipv6.conf.DEV.accept_ra, which has to be 2 where this host forwards)"
            .to_owned(),
        None if without_table => {
            "give that namespace an interface that is up and has an address (`ip link set lo up` for 127.0.0.1)".into()
        }
        None => {
            format!("add a route to {0} (or a default route); `netdx routes {0}` shows the decision", c.tuple.remote)
        }
    };
    Judgement::Yes(Finding::new(certainty, because, proof).and_all(route_fact(c)).and_all(told(c)).advise(advice))
}

fn family(to: IpAddr) -> &'static str {
    if to.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn no_route(to: IpAddr, now: Option<&Route>) -> String {
    let default = match now {
        Some(Route { expired, .. }) if let Some(route) = expired.first() => {
            format!(": that of a router advertisement has expired (`{route}`)")
        }
        Some(r) if r.has_default => " although there is a default route".into(),
        Some(_) => " and there is no default route".into(),
        None => String::new(),
    };
    format!("no {} route to {to}{default}", family(to))
}

/// A namespace of this host that it passes has no route, and did not say so itself.
fn on_the_way(c: &Connection) -> Option<Finding> {
    if c.icmp_errors().any(|(_, i)| by_routing(&i) && !by_translator(c, &i)) {
        return None;
    }
    let stopped = stopped(c)?;
    let route = stopped.no_route(c)?;
    let at = phrase::namespace(&c.facts, stopped.netns, c.netns);
    let because = format!("{at}, on its way, has {}", no_route(stopped.to, Some(route)));
    let advice = format!("in {at}: add a route to {} (or a default route)", stopped.to);
    Some(Finding::new(Certainty::Proven, because, stopped.proof).and_all(told(c)).advise(advice))
}

/// There was a route when it began.
fn lost(c: &Connection) -> Option<Finding> {
    let proof = lost_route::proof(c)?;
    let now = c.route();
    let (certainty, because) = match now {
        Some(r) if r.errno == 0 => (
            Certainty::Likely,
            format!(
                "this host had no {} route to {} for a while: now there is one",
                family(c.tuple.remote),
                c.tuple.remote
            ),
        ),
        Some(r) if !r.kind.is_empty() => return None,
        Some(_) => {
            (Certainty::Proven, format!("there is no {} route to {} any more", family(c.tuple.remote), c.tuple.remote))
        }
        None => (
            Certainty::Possible,
            format!(
                "its packets to {} could not be routed any more; whether a route is missing or forbids it (route.rejects) \
                 could not be read",
                c.tuple.remote
            ),
        ),
    };
    let advice = format!("look what took the route to {} away (a network manager, a VPN, a script)", c.tuple.remote);
    Some(Finding::new(certainty, because, proof).and_all(route_fact(c)).and_all(told(c)).advise(advice))
}

/// The namespace that should answer can't. Of a listener it is inferred that the SYN got there.
fn one_way(c: &Connection) -> Option<Finding> {
    let (netns, r) = no_way_back(c).filter(|(_, r)| !rejecting(r))?;
    let at = phrase::namespace(&c.facts, netns, c.netns);
    let client = c.reached().local;
    let refused = refused_in_vain(c).filter(|(there, _)| *there == netns).map(|(_, proof)| proof);
    let who = match refused {
        Some(_) => format!("nothing listens on {}", phrase::endpoint(c.reached().remote, c.reached().remote_port)),
        None => format!("{} listens there", who_listens(c, netns).unwrap_or_else(|| "the listener".into())),
    };
    let and = if refused.is_some() { "and" } else { "but" };
    let again = c.syn_retransmits().last().map(|(t, _)| seen(c, t, "retransmit", "SYN sent again: no answer had come"));
    let lookup = fact("route", format!("in {at}, a packet to {client}: {}", errno::name(r.errno)));
    Some(
        Finding::new(
            Certainty::Likely,
            format!("{who}, {and} {at} has no route back to {client}, so no answer can be sent"),
            lookup,
        )
        .and_all(refused)
        .and_all(again)
        .and_all(told(c))
        .advise(format!("in {at}: add a route to {client} (or a default route)")),
    )
}

/// The kernel has this error without a lookup where no IPv4 route can be found: the namespace has no table of routes,
/// for it never had any (`fib_lookup`, `fib_new_table`), or the interface that the socket is bound to is down
/// (`ip_route_output_key_hash_rcu`, 6.18).
pub(super) fn unasked(c: &Connection, call: &FailedCall) -> bool {
    let found = c.route().is_some_and(|r| r.errno == 0);
    call.errno == errno::ENETUNREACH && call.route.count == 0 && c.tuple.remote.is_ipv4() && !found
}

/// Of these the namespace has no table of routes.
fn has_no_table(c: &Connection, call: &FailedCall) -> bool {
    unasked(c, call) && c.tuple.local.is_unspecified() && c.bound_device == 0
}

/// Where IPv6 finds no route it chooses a source address all the same, and fails by that if the namespace has none
/// (`ip6_dst_lookup_tail`, 6.18).
fn has_no_source(c: &Connection, call: &FailedCall) -> bool {
    let connects = matches!(call.call, Call::Connect | Call::IoUringConnect | Call::Send);
    let (local, remote) = (c.tuple.local, c.tuple.remote);
    connects && call.errno == errno::EADDRNOTAVAIL && remote.is_ipv6() && local.is_unspecified()
}

fn lookup(call: &FailedCall) -> String {
    let r = &call.route;
    if r.count == 0 {
        return format!("the call failed with {} before any packet was made", errno::name(call.errno));
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
