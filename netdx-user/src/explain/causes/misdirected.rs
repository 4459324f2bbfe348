//! A packet that came to another namespace of this host than the one with its address: the link address that it was sent to
//! belongs there. Owns: whether one did. Must not know: packets that are to be passed on.

use super::{
    evidence::{interfaces, neighbor_want, place, sysctl_wants, sysctls, target_here, told},
    route_forwarding_off,
};
use crate::{
    explain::{Finding, fact, phrase, seen},
    fact::{Answer, Interface, Neighbor},
    report::Certainty,
    story::{Connection, Dropped},
    want::Want,
};

/// A packet for a target on its own network that was dropped by another namespace, which would have had to pass it on.
fn astray(c: &Connection) -> Option<Dropped<'_>> {
    let d = route_forwarding_off::dropped(c)?;
    let on_link = c.next_hop().is_some_and(|(hop, _)| hop == c.tuple.remote);
    let elsewhere = d.netns().is_some_and(|netns| netns != c.netns);
    (on_link && elsewhere && d.ours && !c.mirrored && c.translated.is_empty()).then_some(d)
}

/// Whether who drops it answers for others on purpose.
fn proxies(d: &Dropped<'_>) -> Vec<String> {
    let (family, setting) =
        if d.packet.tuple.is_some_and(|t| t.remote.is_ipv6()) { ("ipv6", "proxy_ndp") } else { ("ipv4", "proxy_arp") };
    ["all", &d.packet.device_name].map(|device| format!("{family}/conf/{device}/{setting}")).to_vec()
}

/// The questions behind [`finding`].
pub(super) fn wants(c: &Connection) -> Vec<Want> {
    let Some(d) = astray(c) else { return Vec::new() };
    let there = d.netns().into_iter().flat_map(|netns| [Want::Interfaces { netns }, Want::Namespace { netns }]);
    neighbor_want(c).into_iter().chain(there).chain(sysctl_wants(&d, &proxies(&d))).collect()
}

/// The packet, the neighbour entry that it was sent by, and the interface whose link address that has.
fn found(c: &Connection) -> Option<(Dropped<'_>, &Neighbor, &Interface)> {
    let d = astray(c)?;
    let netns = d.netns()?;
    let Some(Answer::Neighbor(Some(entry))) = c.facts.get(&neighbor_want(c)?) else { return None };
    let meant = interfaces(c, netns).iter().find(|i| i.lladdr.is_some() && i.lladdr == entry.lladdr)?;
    let known = sysctls(c, &d, &proxies(&d));
    let answers_for_others = known.len() < 2 || known.iter().any(|(_, value)| value != "0");
    let has_it = target_here(c).is_some_and(|all| all.contains(&netns));
    (!answers_for_others && !has_it).then_some((d, entry, meant))
}

/// That is what happened.
pub(super) fn is_it(c: &Connection) -> bool {
    found(c).is_some()
}

pub(super) fn finding(c: &Connection) -> Option<Finding> {
    let (d, entry, meant) = found(c)?;
    let (at, what) = (place(c, &d), phrase::packet(d.packet));
    let Neighbor { address, device_name, state, lladdr } = entry;
    let link = lladdr.as_deref().unwrap_or_default();
    let advice = if state == "permanent" {
        format!("somebody has entered that link address by hand: `ip neigh del {address} dev {device_name}`")
    } else {
        format!("if {address} was moved to another host, that one has to announce it (`arping -U`, `ndsend`)")
    };
    Some(
        Finding::new(
            Certainty::Proven,
            format!(
                "its {what} came {at}, which does not have {address}: {device_name} knows {address} by {link}, which is the link \
                 address of {} there",
                meant.name
            ),
            seen(c, d.time, "drop", format!("{what} dropped {at}: {}", if d.reason.is_empty() { d.at } else { d.reason })),
        )
        .and(fact("neighbor", format!("{address} on {device_name} is {state}, with {link}")))
        .and_all(told(c))
        .advise(advice),
    )
}
