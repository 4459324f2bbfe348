//! `route.icmp-unreachable`

use super::{
    evidence::{interfaces, told},
    firewall_rejected::own,
    local_bad_source::may_not_be_used,
    tunnel,
};
use crate::{
    coverage::Coverage,
    event::{IcmpError, Name},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, here, owners_want, phrase, seen},
    fact::{Interface, WireguardPeer},
    report::Certainty,
    story::Connection,
    time::Time,
    want::Want,
};
use std::net::IpAddr;

pub(super) const CAUSE: Cause = Cause {
    code: "route.icmp-unreachable",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.silent", "timeout.dropped", "broken.timeout", "timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
A router on the way says that it can't deliver.

# What happened
A router (or the host itself) sent an ICMP \"unreachable\" message: it has no route to that network, the host does not answer
on its last network, or it does not speak the protocol. An interface of this host that is a tunnel says the same to it when
it has nowhere to send a packet: WireGuard where no peer has the address among its allowed IPs, or that peer has no endpoint
yet; others where their other end can't be reached.

# How netdx knows
The message came in and quotes a packet of this connection. Its sender and its code are named. The tunnel's is this host's
own, and what made it was seen, or the interface asks for no link addresses that a neighbour could be silent to.

# What to do
The sender is where the way ends: look at its routing table, and whether the target is up on its network. Where the address
that was dialled is translated (DNAT), the message comes with that one: the sender is whoever translates, or behind it. A
tunnel: look at its other end (`wg show`, `ip -d link show`). \"Beyond scope of source address\": the packet has a link-local
source, for want of another address that can be used, or because the program chose it (`netdx addrs`).

# Easily confused with
firewall.rejected: codes that only filters send. route.none: this host itself has no route, or one of its namespaces on the
way that could not say so. route.neighbor-silent: this host's own next hop does not answer.
";

/// The message that says so: not this host's own, not one that only filters send.
fn message(c: &Connection) -> Option<(Time, IcmpError)> {
    c.icmp_errors().find(|(_, i)| {
        let kind = if i.v6 {
            i.kind == 1 && matches!(i.code, 0 | 2 | 3 | 6)
        } else {
            i.kind == 3 && matches!(i.code, 0 | 1 | 2 | 5..=8 | 11 | 12 | 14 | 15)
        };
        kind && !own(c, i.from)
    })
}

/// This host told itself that the target can't be reached: for want of a neighbour's answer, or an interface did.
pub(super) fn own_message(c: &Connection) -> Option<(Time, IcmpError)> {
    c.icmp_errors().find(|(_, i)| own(c, i.from) && if i.v6 { i.code == 3 } else { (i.kind, i.code) == (3, 1) })
}

/// Where a message is made that tells of a neighbour that does not answer (6.18).
pub(super) fn made_for_neighbor(stack: &[Name]) -> bool {
    stack.iter().any(|f| matches!(&**f, "neigh_invalidate" | "arp_error_report" | "ndisc_error_report"))
}

/// It has the address that was dialled for its sender's: whoever translates that gives it so to every error that comes back
/// (`nf_nat_icmp_reply_translation`, Linux 6.18).
pub(super) fn by_translator(c: &Connection, i: &IcmpError) -> bool {
    i.from == c.tuple.remote && c.reached().remote != c.tuple.remote
}

/// The questions behind [`by_tunnel`].
pub(super) fn own_wants(c: &Connection) -> Vec<Want> {
    if own_message(c).is_some() { vec![c.route_want(), Want::Interfaces { netns: c.netns }] } else { Vec::new() }
}

/// The tunnel that said so.
pub(super) fn by_tunnel(c: &Connection) -> Option<(Time, &Interface)> {
    let (time, _) = own_message(c)?;
    let interface = tunnel::own(c)?;
    let mut made = c.icmp_sent().filter(|(_, packet, stack)| packet.netns == Some(c.netns) && !stack.is_empty());
    let by_neighbor = match made.next() {
        Some((_, _, stack)) => made_for_neighbor(stack),
        None => interface.has_ethernet_address(),
    };
    (!by_neighbor).then_some((time, interface))
}

/// The router does not send on what has a source of so narrow a scope (RFC 4443 §3.1).
fn beyond_scope(i: &IcmpError) -> bool {
    i.v6 && i.code == 2
}

/// Why it has a source that is good on its link only, and what to do.
fn narrow_source(c: &Connection) -> (String, String) {
    let is_narrow = |a: &IpAddr| matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
    let local = c.tuple.local;
    let interface = interfaces(c, c.netns).iter().find(|i| i.has(local)).filter(|_| is_narrow(&local));
    let Some(interface) = interface else {
        return (
            format!("its source {local} is not good for {}", c.tuple.remote),
            "bind to an address of another scope (`netdx addrs` shows them), or to none".into(),
        );
    };
    let name = &interface.name;
    let source = format!("its source {local} is good on the link of {name} only");
    let wider = || interface.addresses.iter().map(|(a, _)| *a).filter(|a| a.is_ipv6() && !is_narrow(a));
    let unusable = wider().find_map(|a| Some((a, interface.unusable(a)?)));
    match (unusable, wider().next()) {
        (Some((address, why)), _) => {
            let (because, advice) = may_not_be_used(address, name, why);
            (format!("{source}, and {because}"), advice)
        }
        (None, None) => (
            format!("{source}, and {name} has no other IPv6 address"),
            format!(
                "give {name} one, or have a router on its network advertise a prefix (`netdx addrs` shows what it has)"
            ),
        ),
        (None, Some(address)) => (
            format!("{source}: the program has chosen it, or {address} could not be used yet"),
            "bind to an address that is good elsewhere, too, or to none; or try again once the address can be used"
                .into(),
        ),
    }
}

fn wants(c: &Connection) -> Vec<Want> {
    let scoped = message(c).filter(|(_, i)| beyond_scope(i)).map(|_| Want::Interfaces { netns: c.netns });
    let peers = by_tunnel(c).and_then(|(_, interface)| tunnel::peers_want(c.netns, interface));
    message(c).map(|(_, i)| owners_want(c, i.from)).into_iter().chain(own_wants(c)).chain(peers).chain(scoped).collect()
}

/// A tunnel of this host has nowhere to send it.
fn nowhere(c: &Connection, time: Time, interface: &Interface) -> Finding {
    let (name, to) = (&interface.name, c.tuple.remote);
    let wireguard = interface.kind == "wireguard";
    // Which of the two is told to who sends (wg_xmit, 6.18): a datagram's sender, or TCP's own retransmission (6.17).
    let refused = |e| c.errno == Some(e) || c.syn_retransmits().any(|(_, result)| result == Some(-e));
    let peer = tunnel::peers(c, c.netns, interface).map(|all| WireguardPeer::of(all, to));
    let (why, advice) = if wireguard && (refused(errno::ENOKEY) || peer == Some(None)) {
        (
            format!(": no peer has {to} among its allowed IPs"),
            format!("add {to} to a peer's allowed IPs: `wg show {name} allowed-ips`"),
        )
    } else if wireguard && (refused(errno::EDESTADDRREQ) || peer.flatten().is_some_and(|peer| peer.endpoint.is_none()))
    {
        (
            format!(": the peer that has {to} has no endpoint yet"),
            format!("give that peer an endpoint, or wait until it calls: `wg show {name} endpoints`"),
        )
    } else if wireguard {
        (
            format!(": no peer has {to} among its allowed IPs, or that peer has no endpoint yet"),
            format!("`wg show {name}` tells both"),
        )
    } else {
        (String::new(), tunnel::advice(interface))
    };
    let text = format!("ICMP host unreachable from this host itself, for {name}");
    Finding::new(
        Certainty::Proven,
        format!("the tunnel {} has nowhere to send it{why}", tunnel::named(interface)),
        seen(c, time, "icmp-received", text),
    )
    .and_all(told(c))
    .advise(advice)
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if let Some((time, interface)) = by_tunnel(c) {
        return Judgement::Yes(nowhere(c, time, interface));
    }
    let Some((time, i)) = message(c) else { return Judgement::No };
    let name = phrase::icmp(i.v6, i.kind, i.code);
    let (reached, translated) = (c.reached().remote, by_translator(c, &i));
    // Which of several namespaces with that address sent it can't be told.
    let who = match here(c, i.from) {
        _ if translated => format!("the host that translates {} to {reached}, or one behind it,", i.from),
        Some([netns]) => format!("{} ({})", i.from, phrase::namespace(&c.facts, *netns, c.netns)),
        _ if i.from == c.tuple.remote => format!("{}, the target itself,", i.from),
        _ => format!("router {}", i.from),
    };
    let (why, advice) = if beyond_scope(&i) {
        let (why, advice) = narrow_source(c);
        (format!(": {why}"), advice)
    } else if translated {
        let of = format!("the routes and the next hop towards {reached} of the host that translates {}", i.from);
        (String::new(), format!("look at {of}"))
    } else {
        (String::new(), format!("the way ends at {}: look at its routes and its next hop towards {reached}", i.from))
    };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("{who} answered: {name}{why}"),
            seen(c, time, "icmp-received", format!("{name} from {}", i.from)),
        )
        .and_all(told(c))
        .advise(advice),
    )
}
