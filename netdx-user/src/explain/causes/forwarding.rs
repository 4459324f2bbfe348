//! Where rules forward a connection to. Owns: which rules can have given its first packet another destination. Must not know:
//! what came of it.
//!
//! Connection tracking knows what became of a packet, but forgets a connection at once when a reset answers its SYN
//! (nf_conntrack_tcp_packet, Linux 6.18). What is left are the rules.

use super::{
    evidence::{interfaces, neighbor_want},
    firewall_rule::{Action, name},
};
use crate::{
    event::{Hook, Netns},
    explain::{here, owners_want},
    fact::Answer,
    ruleset::{self, Culprits, PacketView},
    story::Connection,
    want::Want,
};
use std::net::IpAddr;

/// TCP's SYN flag.
const SYN: u8 = 2;

/// A rule that can have given a packet another destination.
pub(super) struct Forwarding {
    /// Where the rule is.
    pub(super) netns: Netns,
    /// The rule, for a sentence.
    pub(super) rule: String,
    /// The destination it gives; none: it isn't known.
    pub(super) to: Option<(IpAddr, u16)>,
}

/// Other namespaces of this host that its packets come to: the address they are for is there, or the next hop on the way to an
/// address elsewhere. Of several the one with the link address that they were sent to.
fn receivers(c: &Connection) -> Vec<Netns> {
    let mut receivers = addressed(c);
    receivers.retain(|netns| *netns != c.netns);
    let sent_to = match neighbor_want(c).and_then(|want| c.facts.get(&want)) {
        Some(Answer::Neighbor(Some(neighbor))) => neighbor.lladdr.as_ref(),
        _ => None,
    };
    let has_it = |netns: &Netns| interfaces(c, *netns).iter().any(|i| i.lladdr.as_ref() == sent_to);
    if receivers.len() > 1 && sent_to.is_some() && receivers.iter().any(has_it) {
        receivers.retain(has_it);
    }
    receivers
}

/// The namespaces with the address that its packets are for; if that is none of this host's, with that of the next hop.
fn addressed(c: &Connection) -> Vec<Netns> {
    let hop = || here(c, c.next_hop()?.0);
    here(c, c.tuple.remote).or_else(hop).unwrap_or_default().to_vec()
}

/// Where its packets can get another destination: when they are sent, and when they come in at the next namespace of this host.
fn places(c: &Connection) -> Vec<(Netns, Hook)> {
    if !c.translated.is_empty() {
        return Vec::new();
    }
    let arriving = receivers(c).into_iter().map(|netns| (netns, Hook::Prerouting));
    std::iter::once((c.netns, Hook::Output)).chain(arriving).collect()
}

/// The questions for the rules there.
pub(super) fn wants(c: &Connection) -> Vec<Want> {
    let mut wants: Vec<Want> = places(c).into_iter().map(|(netns, _)| Want::Ruleset { netns }).collect();
    if here(c, c.tuple.remote).is_none() {
        wants.push(c.route_want());
        wants.extend(c.next_hop().map(|(hop, _)| owners_want(c, hop)));
    }
    let all = addressed(c);
    if all.len() > 1 {
        wants.extend(all.iter().map(|netns| Want::Interfaces { netns: *netns }));
        wants.extend(neighbor_want(c));
    }
    wants
}

/// The rules that can have sent it elsewhere, and whereto.
pub(super) fn find(c: &Connection) -> Vec<Forwarding> {
    let mut found = Vec::new();
    for (netns, hook) in places(c) {
        let Some(Answer::Ruleset(rules)) = c.facts.get(&Want::Ruleset { netns }) else { continue };
        let sent = hook == Hook::Output;
        let packet = PacketView {
            tuple: c.tuple,
            tcp_flags: Some(SYN),
            icmp: None,
            arp: None,
            mark: sent.then_some(c.mark),
            in_device: sent.then_some(""),
            out_device: if sent { None } else { Some("") },
            uid: c.user().filter(|_| sent),
            interfaces: interfaces(c, netns),
            bridged: false,
            engine: None,
        };
        let rules = match ruleset::culprits(rules, hook, &packet, Action::Forward) {
            Culprits::Exact(rule) => vec![rule],
            Culprits::Possible(rules) => rules,
            Culprits::None => Vec::new(),
        };
        found.extend(rules.iter().map(|rule| Forwarding { netns, rule: name(rule), to: rule.to }));
    }
    found
}
