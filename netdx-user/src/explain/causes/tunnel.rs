//! Tunnels on a connection's way: interfaces that wrap its packets into others, or hand them to a program. Owns: which
//! interfaces these are, and whether one is on the way. Must not know: what came of it.
//!
//! What becomes of the wrapped packet is not told with this connection: it has other endpoints, and often is another one.

use super::evidence::interface;
use crate::{
    event::Netns,
    explain::{here, owners_want, phrase},
    fact::{Answer, Interface, Route},
    story::Connection,
    want::Want,
};
use std::net::IpAddr;

/// Kinds of interfaces (IFLA_INFO_KIND) that are tunnels.
const KINDS: [&str; 22] = [
    "wireguard",
    "ipip",
    "sit",
    "gre",
    "gretap",
    "erspan",
    "ip6tnl",
    "ip6gre",
    "ip6gretap",
    "ip6erspan",
    "vti",
    "vti6",
    "xfrm",
    "vxlan",
    "geneve",
    "bareudp",
    "gtp",
    "l2tpeth",
    "amt",
    "ppp",
    "ovpn",
    "tun",
];

/// A tunnel that a connection's packets go into.
#[derive(Clone, Copy)]
pub(super) struct Tunnel<'a> {
    /// Where it is.
    pub(super) netns: Netns,
    pub(super) interface: &'a Interface,
}

/// The questions behind [`of`].
pub(super) fn wants(c: &Connection) -> Vec<Want> {
    let mut wants = vec![c.route_want(), Want::Interfaces { netns: c.netns }];
    wants.extend(router(c).map(|router| owners_want(c, router)));
    let there = |netns| [onward(c, netns), Want::Interfaces { netns }, Want::Namespace { netns }];
    wants.extend(routers(c).into_iter().flat_map(there));
    wants
}

/// The first tunnel on its way: by its own route, or by that of the namespace of this host that is the next hop and sends it on.
pub(super) fn of(c: &Connection) -> Option<Tunnel<'_>> {
    let onward = routers(c).into_iter().filter_map(|netns| match c.facts.get(&onward(c, netns)) {
        Some(Answer::Route(route)) => Some((netns, route)),
        _ => None,
    });
    c.route().map(|route| (c.netns, route)).into_iter().chain(onward).find_map(|(netns, route)| by(c, netns, route))
}

/// Its own interface, if that is a tunnel.
pub(super) fn own(c: &Connection) -> Option<&Interface> {
    by(c, c.netns, c.route()?).map(|tunnel| tunnel.interface)
}

fn by<'a>(c: &'a Connection, netns: Netns, route: &Route) -> Option<Tunnel<'a>> {
    let interface = interface(c, netns, route.device).filter(|i| KINDS.contains(&i.kind.as_str()))?;
    Some(Tunnel { netns, interface })
}

/// The next hop, if that is not where it ends.
fn router(c: &Connection) -> Option<IpAddr> {
    c.next_hop().map(|(hop, _)| hop).filter(|hop| *hop != c.reached().remote)
}

fn routers(c: &Connection) -> Vec<Netns> {
    let all = router(c).and_then(|router| here(c, router)).unwrap_or_default();
    all.iter().copied().filter(|netns| *netns != c.netns).collect()
}

fn onward(c: &Connection, netns: Netns) -> Want {
    Want::Route { netns, to: c.reached().remote, from: None, device: 0, mark: 0, uid: 0, flow: None }
}

impl Tunnel<'_> {
    /// `wg0 (wireguard) in network namespace A`.
    pub(super) fn name(&self, c: &Connection) -> String {
        let at = if self.netns == c.netns {
            String::new()
        } else {
            format!(" in {}", phrase::namespace(&c.facts, self.netns, c.netns))
        };
        format!("{}{at}", named(self.interface))
    }
}

/// What to look at.
pub(super) fn advice(interface: &Interface) -> String {
    let name = &interface.name;
    match interface.kind.as_str() {
        "wireguard" => format!("does the tunnel work? `wg show {name}` tells when its peer was heard last"),
        "tun" | "ppp" => format!("is the program behind {name} connected?"),
        _ => format!("does the tunnel work? `ip -d link show {name}` tells its other end, which must be reached first"),
    }
}

/// `wg0 (wireguard)`.
pub(super) fn named(interface: &Interface) -> String {
    format!("{} ({})", interface.name, interface.kind)
}
