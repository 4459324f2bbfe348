//! A silent neighbour whose address another namespace of this host has. Owns: finding it, and why it can't be heard. Must not
//! know: that it is silent.
//!
//! Other networks may have the same addresses: that this host has one says little by itself. That its interface and the one
//! that asks are a macvlan and its parent says it all: neither gets what the other one sends (`macvlan_queue_xmit`,
//! `ipvlan_xmit_mode_l2`, Linux 6.18).

use super::evidence::{beneath, interfaces};
use crate::{
    event::Netns,
    explain::{fact, here, owners_want, phrase},
    fact::{Beneath, Interface},
    report::Evidence,
    story::{Connection, Dropped},
    want::Want,
};
use std::net::IpAddr;

/// Who asks for a neighbour: its namespace, its interface by index, and the address.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) netns: Netns,
    pub(super) device: u32,
    pub(super) address: IpAddr,
}

/// The one that has the address.
pub(super) struct Owner<'a> {
    netns: Netns,
    interface: &'a Interface,
    /// The interface that asks is its parent, or the other way round.
    apart: bool,
    /// Both lead to ports of one bridge.
    joined: bool,
}

/// The questions behind [`owner`].
pub(super) fn wants(c: &Connection, asked: Asked) -> Vec<Want> {
    let mut wants = vec![owners_want(c, asked.address), Want::Beneath { netns: asked.netns, device: asked.device }];
    for netns in others(c, asked) {
        wants.extend([Want::Interfaces { netns }, Want::Namespace { netns }]);
        wants.extend(with_address(c, netns, asked).map(|i| Want::Beneath { netns, device: i.index }));
    }
    wants
}

/// The namespace with that address; of several only one whose interface is a macvlan of the one that asks, or its parent.
pub(super) fn owner(c: &Connection, asked: Asked) -> Option<Owner<'_>> {
    let asker = beneath(c, asked.netns, asked.device);
    let owners: Vec<Owner<'_>> = others(c, asked)
        .into_iter()
        .filter_map(|netns| {
            let interface = with_address(c, netns, asked)?;
            let owner = beneath(c, netns, interface.index);
            let apart =
                asker.first().is_some_and(|by| is_child_of(owner, &by.interface) || is_child_of(asker, interface));
            Some(Owner { netns, interface, apart, joined: joined(asker, owner) })
        })
        .collect();
    let alone = owners.len() == 1;
    owners.into_iter().find(|owner| alone || owner.apart)
}

/// Whether it was at the port of a bridge that leads to the one who asks, or to the only one that has the address, that a question
/// for it was dropped. A bridge hands a question on to all its ports: what became of it at another one says nothing.
pub(super) fn is_between(c: &Connection, asked: Asked, d: &Dropped<'_>) -> bool {
    let [netns] = others(c, asked)[..] else { return false };
    let Some(interface) = with_address(c, netns, asked) else { return false };
    // Each of the two gets to all ports but its own.
    let (from, to) = (beneath(c, asked.netns, asked.device), beneath(c, netns, interface.index));
    let is_it = |port: &Beneath| {
        port.of.is_some()
            && (port.interface.index, port.interface.name.as_str()) == (d.packet.device, &*d.packet.device_name)
    };
    joined(from, to) && from.iter().any(is_it) != to.iter().any(is_it)
}

/// Both lead to ports of one bridge.
fn joined(from: &[Beneath], to: &[Beneath]) -> bool {
    from.iter().any(|one| one.of.is_some() && to.iter().any(|other| one.of == other.of))
}

fn others(c: &Connection, asked: Asked) -> Vec<Netns> {
    let all = here(c, asked.address).unwrap_or_default();
    all.iter().copied().filter(|netns| *netns != asked.netns).collect()
}

fn with_address(c: &Connection, netns: Netns, asked: Asked) -> Option<&Interface> {
    interfaces(c, netns).iter().find(|i| i.has(asked.address))
}

/// Whether the first of them is a macvlan or its like, and this one is its parent, in another namespace.
fn is_child_of(all: &[Beneath], parent: &Interface) -> bool {
    let same = |i: &Interface| (i.index, &i.name, &i.lladdr) == (parent.index, &parent.name, &parent.lladdr);
    matches!(all, [child, beneath @ ..]
        if ["macvlan", "macvtap", "ipvlan", "ipvtap"].contains(&child.interface.kind.as_str())
            && beneath.iter().any(|b| b.elsewhere && same(&b.interface)))
}

impl Owner<'_> {
    /// The end of a sentence that says that it does not answer; empty where that has another reason.
    pub(super) fn why(&self, c: &Connection) -> String {
        if self.apart {
            format!(": it is {}, and a {} and its parent do not hear each other", self.place(c), self.child())
        } else if let Some(state) = self.state().filter(|_| self.joined) {
            format!(": {} has that address, and {state}", self.place(c))
        } else {
            String::new()
        }
    }

    pub(super) fn evidence(&self, c: &Connection) -> Evidence {
        fact("owner", format!("this host has that address itself: {}", self.place(c)))
    }

    /// `by`: the interface that asks.
    pub(super) fn advice(&self, c: &Connection, by: &str) -> String {
        if self.apart {
            return format!(
                "give the parent's namespace a {} of its own beside it, and a route by that, or use a bridge",
                self.child()
            );
        }
        match self.state() {
            Some(_) if self.joined => {
                return format!("`ip link set {} up` there, or mend its cable or peer", self.interface.name);
            }
            Some(state) => return format!("if {} is meant: it {state}", self.place(c)),
            None => {}
        }
        format!("if {} is meant: is it on the same network (bridge, VLAN) as {by}, which asks?", self.place(c))
    }

    /// Why its interface gets nothing, if that is so.
    fn state(&self) -> Option<&'static str> {
        match (self.interface.up, self.interface.carrier) {
            (false, _) => Some("is down"),
            (true, false) => Some("has no carrier"),
            (true, true) => None,
        }
    }

    fn child(&self) -> &str {
        match self.interface.kind.as_str() {
            kind @ ("macvtap" | "ipvlan" | "ipvtap") => kind,
            _ => "macvlan",
        }
    }

    /// `mv0 of network namespace A`.
    fn place(&self, c: &Connection) -> String {
        format!("{} of {}", self.interface.name, phrase::namespace(&c.facts, self.netns, c.netns))
    }
}
