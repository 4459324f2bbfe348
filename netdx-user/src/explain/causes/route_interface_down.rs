//! `route.interface-down`

use super::{
    evidence::{
        anything_came_back, beneath, call_proof, interfaces, obstructing_drops, route_fact, stopping_drops,
        target_here, target_want, told,
    },
    lost_route,
};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    fact::{Answer, Interface},
    report::{Certainty, Evidence},
    story::{Connection, Dropped},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "route.interface-down",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[
        "route.none",
        "route.neighbor-silent",
        "local.queue-drop",
        "timeout.silent",
        "timeout.dropped",
        "timeout.abandoned",
        "broken.timeout",
    ],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The interface that leads there is down.

# What happened
There would be a way to that address, but the interface it goes by is switched off or has no carrier (no cable, no peer, no
radio), or the program bound its socket to an interface that doesn't lead there.

# How netdx knows
The routing lookup failed or the packet died at the interface, and the interface's state, read right after, is down or
without carrier, or is so the bridge of this host that its cable leads to; or it is up again, and its queue has dropped
nothing since it was made, so it had none then. Or the socket is bound to an interface by which the address can't be
reached. Of a connection that was up the packets were dropped for want of a route, and the interface that has (IPv6: had)
its address is down.

# What to do
`netdx addrs` shows the interfaces. `ip link set DEV up`; check the cable, the peer of a veth pair, the VPN. For a bound
socket: bind to the right interface, or to none.

# Easily confused with
route.none: there is no such route at all. route.neighbor-silent: the interface works, the next hop doesn't answer.
";

fn unreachable_call(c: &Connection) -> bool {
    c.id.is_none()
        && c.failed_call()
            .is_some_and(|call| matches!(call.errno, errno::ENETUNREACH | errno::ENETDOWN | errno::EADDRNOTAVAIL))
}

fn wants(c: &Connection) -> Vec<Want> {
    let died = c.tried() && c.established.is_none();
    let mut wants = if unreachable_call(c) || died {
        vec![Want::Interfaces { netns: c.netns }, target_want(c)]
    } else {
        Vec::new()
    };
    // To where its interface leads, as far as that is not routed.
    if let Some(route) = c.route().filter(|_| died && !anything_came_back(c) && !c.is_dropped()) {
        wants.push(Want::Beneath { netns: c.netns, device: route.device });
    }
    wants.extend(lost_route::wants(c));
    wants
        .extend(by_queues(c).filter_map(|d| Some([Want::Interfaces { netns: d.netns()? }, queue_want(&d)?])).flatten());
    wants
}

/// Drops by the queue of an interface.
fn by_queues(c: &Connection) -> impl Iterator<Item = Dropped<'_>> {
    obstructing_drops(c).filter(|d| d.reason.starts_with("QDISC"))
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if unreachable_call(c) {
        return no_route(c);
    }
    let elsewhere = |d: &Dropped<'_>| d.inner.is_some() || d.netns().is_some_and(|n| n != c.netns);
    if let Some(judgement) = by_queues(c).filter(elsewhere).find_map(|d| on_the_way(c, &d)) {
        return judgement;
    }
    if let Some((i, proof)) = went_down(c) {
        return with_its_route(c, i, proof);
    }
    let dead_end = if c.tried() && c.established.is_none() { dead_end(c) } else { Judgement::No };
    match dead_end {
        Judgement::No => by_queues(c).find_map(|d| on_the_way(c, &d)).unwrap_or(Judgement::No),
        known => known,
    }
}

fn no_route(c: &Connection) -> Judgement {
    let Some(call) = c.failed_call() else { return Judgement::No };
    if let Some(i) = interfaces(c, c.netns).iter().find(|i| i.loopback && !i.up && c.tuple.remote.is_loopback()) {
        let because = format!("interface {}, which {} belongs to, is down", i.name, c.tuple.remote);
        return Judgement::Yes(
            Finding::new(Certainty::Proven, because, call_proof(c, &call))
                .and(fact("interface", format!("{} is down", i.name)))
                .and_all(told(c))
                .advise(format!("`ip link set {} up`", i.name)),
        );
    }
    let Some(r) = c.route() else { return Judgement::No };
    let Some(way) = r.unusable.first() else { return Judgement::No };
    if call.errno == errno::EADDRNOTAVAIL {
        return Judgement::No;
    }
    let because = format!("the way to {} is there but can't be used: {}", c.tuple.remote, r.unusable.join("; "));
    let advice = match c.bound_device {
        0 => "switch the interface on (`ip link set DEV up`), or mend its cable or peer",
        _ => "bind the socket to the interface that leads there, and see that it is up, or bind it to none",
    };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            because,
            seen(
                c,
                call.time,
                "route-lookup",
                format!("the call returned {}: no usable route", errno::name(call.errno)),
            ),
        )
        .and(fact("interface", way.clone()))
        .and_all(told(c))
        .advise(advice),
    )
}

/// The interface that has the connection's address is down, and its routes are gone with it.
pub(super) fn went_down(c: &Connection) -> Option<(&Interface, Evidence)> {
    let proof = lost_route::proof(c)?;
    let mut down = interfaces(c, c.netns).iter().filter(|i| !(i.loopback || i.up && i.carrier));
    let has_it = |i: &&Interface| i.has(c.tuple.local);
    // The IPv6 addresses of an interface are lost when it is switched off (addrconf_ifdown, 6.18).
    let took_it = |i: &&Interface| !i.up && c.tuple.local.is_ipv6();
    Some((down.clone().find(has_it).or_else(|| down.find(took_it))?, proof))
}

fn with_its_route(c: &Connection, i: &Interface, proof: Evidence) -> Judgement {
    let (state, local) = (down(i), c.tuple.local);
    let (certainty, because) = if i.has(local) {
        (
            Certainty::Proven,
            format!("interface {}, which has its address {local}, {state}, and the route went with it", i.name),
        )
    } else {
        (Certainty::Likely, format!("interface {} {state}, and its address {local} and the route went with it", i.name))
    };
    Judgement::Yes(
        Finding::new(certainty, because, proof)
            .and(fact("interface", format!("{} {state}", i.name)))
            .and_all(told(c))
            .advise(mend(i, "")),
    )
}

/// How an interface that can't be used is.
fn down(i: &Interface) -> &'static str {
    match (i.up, i.kind.as_str()) {
        (false, _) => "is down",
        (true, "tun") => "has no carrier (no program serves it)",
        (true, _) => "has no carrier",
    }
}

/// What to do about that. `at`: ` in network namespace router`.
fn mend(i: &Interface, at: &str) -> String {
    match (i.up, i.kind.as_str()) {
        (true, "tun") => format!("start the program behind {}{at} (a VPN, a translator)", i.name),
        _ => format!("`ip link set {} up`{at}, or mend its cable or peer", i.name),
    }
}

/// SYNs went towards an interface from which nothing can come back.
fn dead_end(c: &Connection) -> Judgement {
    if let Some(d) = stopping_drops(c).find(|d| d.reason == "DEV_READY") {
        return arrived_at_one_that_is_down(c, &d);
    }
    let index = if c.bound_device != 0 { c.bound_device } else { c.route().map_or(0, |r| r.device) };
    // A loopback address belongs to that interface, wherever its route leads while that is down.
    let mut all = interfaces(c, c.netns).iter();
    let way = if c.tuple.remote.is_loopback() { all.find(|i| i.loopback) } else { all.find(|i| i.index == index) };
    let Some(i) = way else { return Judgement::No };
    let stops = |d: &Dropped<'_>| d.ours && (d.reason.starts_with("QDISC") || d.by("__dev_queue_xmit"));
    let stopped = stopping_drops(c).find(stops);
    let silent = c.silent_neighbors().next();
    let unanswered =
        c.reset_in_handshake().is_none() && c.icmp_errors().all(|(_, e)| super::firewall_rejected::own(c, e.from));
    if !unanswered {
        return Judgement::No;
    }
    let start = seen(c, c.began, "syn-sent", format!("SYN towards {}", i.name));
    if !i.up || !i.carrier {
        let state = down(i);
        let asked = c
            .discovery_drops()
            .map(|(d, _)| d)
            .find(|d| stops(d) && (d.netns(), d.packet.device) == (Some(c.netns), i.index));
        // Without a packet that it stopped, it may be so only since.
        let (certainty, proof) = match (stopped.or(asked), silent) {
            (Some(d), _) => {
                let text = format!("{} dropped at {}: {}", phrase::dropped(&d), i.name, d.reason);
                (Certainty::Proven, seen(c, d.time, "drop", text))
            }
            (None, Some((t, ..))) => {
                (Certainty::Likely, seen(c, t, "neighbor-failed", format!("nobody answered on {}", i.name)))
            }
            (None, None) => (Certainty::Likely, start),
        };
        return Judgement::Yes(
            Finding::new(certainty, format!("interface {} by which it goes {state}", i.name), proof)
                .and(fact("interface", format!("{} {state}", i.name)))
                .and_all(route_fact(c))
                .and_all(told(c))
                .advise(mend(i, "")),
        );
    }
    if let Some(bridge) = idle_bridge(c, i) {
        let because = format!("bridge {bridge}, to which interface {} leads, is down", i.name);
        return Judgement::Yes(
            Finding::new(Certainty::Proven, because, start)
                .and(fact("interface", format!("{bridge} is down")))
                .and_all(route_fact(c))
                .and_all(told(c))
                .advise(format!("`ip link set {bridge} up` in the network namespace that it is in")),
        );
    }
    if c.bound_device != 0
        && i.loopback
        && !c.tuple.remote.is_loopback()
        && !target_here(c).is_some_and(|n| n.contains(&c.netns))
    {
        return Judgement::Yes(
            Finding::new(
                Certainty::Proven,
                format!("the socket is bound to interface {}, which doesn't lead to {}", i.name, c.tuple.remote),
                start,
            )
            .and(fact("interface", format!("the socket is bound to {} (SO_BINDTODEVICE)", i.name)))
            .and_all(told(c))
            .advise("bind the socket to the interface that leads there, or to none"),
        );
    }
    Judgement::No
}

/// A bridge of this host that is down, if it is all that an interface leads to: a container's cable ends there.
fn idle_bridge<'a>(c: &'a Connection, i: &Interface) -> Option<&'a str> {
    let (last, way) = beneath(c, c.netns, i.index).split_last()?;
    let is_end = last.interface.kind == "bridge" && !last.interface.up && way.iter().all(|b| b.of.is_none());
    is_end.then_some(&*last.interface.name)
}

fn queue_want(d: &Dropped<'_>) -> Option<Want> {
    Some(Want::QueueDrops { netns: d.netns()?, device: d.packet.device })
}

/// The interface had no queue when it dropped this packet: the one that it has, has not dropped anything. While an interface is
/// down or has no carrier a queue stands in that drops everything and counts nothing (`dev_deactivate`, `noop_qdisc`;
/// net/sched/sch_generic.c, 6.18).
pub(super) fn had_no_queue(c: &Connection, d: &Dropped<'_>) -> bool {
    queue_want(d).is_some_and(|want| matches!(c.facts.get(&want), Some(Answer::QueueDrops(0))))
}

/// The interface whose queue dropped a packet is down, or was then.
fn on_the_way(c: &Connection, d: &Dropped<'_>) -> Option<Judgement> {
    let netns = d.netns()?;
    let i = interfaces(c, netns).iter().find(|i| i.index == d.packet.device)?;
    let at = phrase::namespace(&c.facts, netns, c.netns);
    let (certainty, state, fact_of_it) = match (i.up, i.carrier) {
        (false, _) => (Certainty::Proven, "is down", format!("{} of {at} is down", i.name)),
        (true, false) => (Certainty::Proven, down(i), format!("{} of {at} has no carrier", i.name)),
        (true, true) if had_no_queue(c, d) => (
            Certainty::Likely,
            "was down or had no carrier then",
            format!("{} of {at} is up again, and its queue has dropped nothing since it was made", i.name),
        ),
        (true, true) => return None,
    };
    let because = format!("interface {} of {at}, by which {} had to go, {state}", i.name, phrase::the_dropped(d));
    let proof = seen(c, d.time, "drop", format!("{} dropped at {}: {}", phrase::dropped(d), i.name, d.reason));
    let advice = match certainty {
        Certainty::Proven => mend(i, &format!(" in {at}")),
        _ => format!(
            "look who switched {} of {at} off, or its cable or peer (`dmesg`, the log of the network service)",
            i.name
        ),
    };
    Some(Judgement::Yes(
        Finding::new(certainty, because, proof).and(fact("interface", fact_of_it)).and_all(told(c)).advise(advice),
    ))
}

/// The interface by which a packet came in was down (SKB_DROP_REASON_DEV_READY).
fn arrived_at_one_that_is_down(c: &Connection, d: &Dropped<'_>) -> Judgement {
    let name = &d.packet.device_name;
    let at = d.netns().map_or_else(|| "this host".to_owned(), |n| phrase::namespace(&c.facts, n, c.netns));
    let what = phrase::packet(d.packet);
    let whose = if d.ours { "its" } else { "the answering" };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("interface {name} of {at}, to which {whose} {what} came, is down"),
            seen(c, d.time, "drop", format!("{what} dropped at {name}: {}", d.reason)),
        )
        .and_all(told(c))
        .advise(format!("`ip link set {name} up` in {at}")),
    )
}
