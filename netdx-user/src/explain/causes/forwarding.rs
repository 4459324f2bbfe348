//! Where rules forward a connection to. Owns: which rules can have given its first packet another destination. Must not know:
//! what came of it.
//!
//! Connection tracking knows what became of a packet, but forgets a connection at once when a reset answers its SYN
//! (nf_conntrack_tcp_packet, Linux 6.18). What is left are the rules.

use super::{
    evidence::route,
    firewall_rule::{Action, name},
};
use crate::{
    event::{Hook, Netns},
    explain::here,
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

/// The question for the link address that its packets are sent to.
fn next_hop_want(c: &Connection) -> Option<Want> {
    let route = route(c)?;
    let address = route.gateway.unwrap_or(c.tuple.remote);
    Some(Want::Neighbor { netns: c.netns, address, device: route.device })
}

/// Other namespaces that have the address: of several the one with the link address that the packets were sent to.
fn owners(c: &Connection) -> Vec<Netns> {
    let mut owners = here(c, c.tuple.remote).unwrap_or_default().to_vec();
    owners.retain(|netns| *netns != c.netns);
    let sent_to = match next_hop_want(c).and_then(|want| c.facts.get(&want)) {
        Some(Answer::Neighbor(Some(neighbor))) => neighbor.lladdr.as_ref(),
        _ => None,
    };
    let has_it = |netns: &Netns| match c.facts.get(&Want::Interfaces { netns: *netns }) {
        Some(Answer::Interfaces(all)) => all.iter().any(|i| i.lladdr.as_ref() == sent_to),
        _ => false,
    };
    if owners.len() > 1 && sent_to.is_some() && owners.iter().any(has_it) {
        owners.retain(has_it);
    }
    owners
}

/// Where a packet for an address of this host can get another destination: when it is sent, and when it comes in there.
fn places(c: &Connection) -> Vec<(Netns, Hook)> {
    if !c.translated.is_empty() {
        return Vec::new();
    }
    let arriving = owners(c).into_iter().map(|netns| (netns, Hook::Prerouting));
    std::iter::once((c.netns, Hook::Output)).chain(arriving).collect()
}

/// The questions for the rules there.
pub(super) fn wants(c: &Connection) -> Vec<Want> {
    let all = here(c, c.tuple.remote).unwrap_or_default();
    let mut wants: Vec<Want> = places(c).into_iter().map(|(netns, _)| Want::Ruleset { netns }).collect();
    if all.len() > 1 {
        wants.extend(all.iter().map(|netns| Want::Interfaces { netns: *netns }));
        wants.extend(next_hop_want(c));
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
            uid: c.task.as_ref().filter(|_| sent).map(|t| t.uid),
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
