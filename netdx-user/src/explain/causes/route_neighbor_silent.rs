//! `route.neighbor-silent`

use super::evidence::{place, route, route_fact, stopping_drops, told};
use crate::{
    coverage::Coverage,
    event::Netns,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    fact::Answer,
    report::{Certainty, Evidence},
    story::Connection,
    want::Want,
};
use std::net::IpAddr;

pub(super) const CAUSE: Cause = Cause {
    code: "route.neighbor-silent",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.silent", "timeout.dropped", "timeout.abandoned", "route.icmp-unreachable", "broken.timeout"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The next hop does not answer.

# What happened
To send a packet on a local network, a host first asks for the link address of the next hop: the target itself if it is on
that network, else the gateway (ARP for IPv4, neighbour discovery for IPv6). Nobody answered, so the packet could not leave.

# How netdx knows
The kernel reported that resolving the neighbour failed, or dropped the packet that waited for it; the neighbour entry,
read right after, is failed or incomplete.

# What to do
Is that host (or gateway) up and on this network? Is its address right, is the prefix length right (a too short one makes
distant hosts look local), is the VLAN or the cable right? `netdx routes ADDRESS` shows the neighbour's state.

# Easily confused with
route.icmp-unreachable: a router further on says the same of its own network. timeout.silent: the packet left. An interface
without carrier looks alike: route.interface-down.
";

/// The next hop of this connection from its own namespace.
fn next_hop(c: &Connection) -> Option<(IpAddr, u32)> {
    route(c).filter(|r| r.kind == "unicast").map(|r| (r.gateway.unwrap_or(c.tuple.remote), r.device))
}

fn neighbor_want(c: &Connection) -> Option<Want> {
    next_hop(c).map(|(address, device)| Want::Neighbor { netns: c.netns, address, device })
}

fn wants(c: &Connection) -> Vec<Want> {
    if c.tried() && c.established.is_none() || sent_in_vain(c) {
        neighbor_want(c).into_iter().collect()
    } else {
        Vec::new()
    }
}

fn sent_in_vain(c: &Connection) -> bool {
    c.errno == Some(errno::EHOSTUNREACH) || c.silent_neighbors().next().is_some()
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if let Some((netns, address, proof)) = found(c) {
        let elsewhere = if netns == c.netns {
            String::new()
        } else {
            format!(" in {}", phrase::namespace(&c.facts, netns, c.netns))
        };
        let role = match next_hop(c) {
            Some((hop, _)) if Some(hop) == address && hop == c.tuple.remote => "the target".to_owned(),
            Some((hop, _)) if Some(hop) == address => format!("the gateway {hop}"),
            _ => address.map_or_else(|| "the next hop".into(), |a| format!("the next hop {a}")),
        };
        let how = if c.tuple.remote.is_ipv4() { "ARP" } else { "neighbour discovery" };
        let because = format!("{role} does not answer {how}{elsewhere}");
        return Judgement::Yes(
            Finding::new(Certainty::Proven, because, proof)
                .and_all(entry(c))
                .and_all(route_fact(c))
                .and_all(told(c))
                .advise(format!(
                    "is {} up and on this network, and are address and prefix length right?",
                    address.unwrap_or(c.tuple.remote)
                )),
        );
    }
    Judgement::No
}

/// What shows it: namespace, neighbour, proof.
fn found(c: &Connection) -> Option<(Netns, Option<IpAddr>, Evidence)> {
    let hop = next_hop(c).map(|(a, _)| a);
    // The drop of the very packet that waited for the neighbour.
    if let Some(d) = stopping_drops(c)
        .find(|d| d.reason == "NEIGH_FAILED" || d.reason == "NEIGH_QUEUEFULL" || d.by("neigh_invalidate"))
    {
        let netns = d.netns().unwrap_or(c.netns);
        let of = c.silent_neighbors().find(|(_, n, ..)| *n == netns).map(|(_, _, a, _)| a);
        let address = if netns == c.netns { hop.or(of) } else { of };
        return Some((
            netns,
            address,
            seen(
                c,
                d.time,
                "drop",
                format!("{} dropped {}: the neighbour did not answer", phrase::packet(d.packet), place(c, &d)),
            ),
        ));
    }
    let waits = c.syn_retransmits().find(|(_, r)| *r == Some(-errno::EBUSY));
    let own_icmp = c
        .icmp_errors()
        .find(|(_, i)| super::firewall_rejected::own(c, i.from) && (i.kind == 3 && i.code == 1 || i.v6 && i.code == 3));
    // The neighbour's own failure, where it is this connection's next hop.
    let stuck = c.errno == Some(errno::EHOSTUNREACH) || waits.is_some() || own_icmp.is_some();
    if let Some((t, netns, address, dev)) = c.silent_neighbors().find(|(_, n, a, _)| *n == c.netns && hop == Some(*a))
        && c.established.is_none()
        && stuck
    {
        return Some((
            netns,
            Some(address),
            seen(c, t, "neighbor-failed", format!("{address} did not answer on {dev}")),
        ));
    }
    if let Some((t, _)) = own_icmp.filter(|_| !stopping_drops(c).any(|d| super::firewall_rule::by_netfilter(&d))) {
        return Some((
            c.netns,
            hop,
            seen(
                c,
                t,
                "icmp-received",
                "this host told itself that the next hop is unreachable: the neighbour did not answer",
            ),
        ));
    }
    let failed = matches!(
        neighbor_want(c).and_then(|w| c.facts.get(&w)),
        Some(Answer::Neighbor(Some(n))) if matches!(n.state.as_str(), "failed" | "incomplete")
    );
    let (t, _) = waits?;
    failed.then(|| {
        (
            c.netns,
            hop,
            seen(c, t, "retransmit", "SYN could not be sent again: the first one still waits for the neighbour"),
        )
    })
}

fn entry(c: &Connection) -> Option<Evidence> {
    match neighbor_want(c).and_then(|w| c.facts.get(&w))? {
        Answer::Neighbor(Some(n)) => {
            Some(fact("neighbor", format!("{} on {} is {}", n.address, n.device_name, n.state)))
        }
        Answer::Neighbor(None) => Some(fact("neighbor", "there is no neighbour entry for the next hop")),
        _ => None,
    }
}

/// The questions behind [`unresolved`].
pub(super) fn unresolved_wants(c: &Connection) -> Vec<Want> {
    [c.route_want()].into_iter().chain(neighbor_want(c)).collect()
}

/// Packets of this conversation wait for a next hop that has not answered yet.
pub(super) fn unresolved(c: &Connection) -> Option<Evidence> {
    match neighbor_want(c).and_then(|w| c.facts.get(&w))? {
        Answer::Neighbor(Some(n)) if matches!(n.state.as_str(), "failed" | "incomplete") => entry(c),
        _ => None,
    }
}
