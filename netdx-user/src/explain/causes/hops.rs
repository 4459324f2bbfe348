//! Next hops on a connection's way beyond its own namespace, and on the way of the answer, as far as namespaces of this
//! host choose them. Owns: which of them is being asked for its link address in vain. Must not know: the own next hop.
//!
//! A router's packets wait for a neighbour that does not answer for three seconds (`mcast_solicit` times `retrans_time`)
//! before they are dropped. Who gives up sooner hears nothing of it.

use super::{
    evidence::{lost_track, way_back_want},
    tunnel,
};
use crate::{
    event::Netns,
    fact::{Answer, Neighbor, Route},
    story::Connection,
    want::Want,
};
use std::net::IpAddr;

/// A next hop.
struct Hop {
    netns: Netns,
    address: IpAddr,
    device: u32,
}

impl Hop {
    fn new(netns: Netns, route: &Route, target: IpAddr) -> Option<Hop> {
        let address = route.gateway.unwrap_or(target);
        (route.errno == 0 && route.kind == "unicast").then_some(Hop { netns, address, device: route.device })
    }

    fn want(&self) -> Want {
        Want::Neighbor { netns: self.netns, address: self.address, device: self.device }
    }
}

/// A next hop that does not answer.
pub(super) struct Unheard<'a> {
    /// The namespace that asks for it.
    pub(super) netns: Netns,
    pub(super) entry: &'a Neighbor,
    /// It is the answer that waits for it.
    pub(super) of_answer: bool,
}

/// The questions behind [`unheard`].
pub(super) fn wants(c: &Connection) -> Vec<Want> {
    if !lost_track(c) {
        return Vec::new();
    }
    let answered = c.answered_again().map(|(_, netns)| way_back_want(c, netns));
    let found = all(c).into_iter().flat_map(|hop| [hop.want(), Want::Namespace { netns: hop.netns }]);
    tunnel::wants(c).into_iter().chain(answered).chain(found).collect()
}

/// A next hop that has not answered yet, or not at all.
pub(super) fn unheard(c: &Connection) -> Option<Unheard<'_>> {
    if !lost_track(c) {
        return None;
    }
    all(c).into_iter().find_map(|hop| match c.facts.get(&hop.want()) {
        Some(Answer::Neighbor(Some(entry))) if entry.is_unanswered() => {
            Some(Unheard { netns: hop.netns, entry, of_answer: c.answered_again().is_some() })
        }
        _ => None,
    })
}

/// What was answered has got there: then it is the answer's next hop.
fn all(c: &Connection) -> Vec<Hop> {
    let reached = c.reached();
    match c.answered_again() {
        Some((_, netns)) => match c.facts.get(&way_back_want(c, netns)) {
            Some(Answer::Route(route)) => Hop::new(netns, route, reached.local).into_iter().collect(),
            _ => Vec::new(),
        },
        None => {
            let beyond = tunnel::ways(c).into_iter().filter(|(netns, _)| *netns != c.netns);
            beyond.filter_map(|(netns, route)| Hop::new(netns, route, reached.remote)).collect()
        }
    }
}
