//! Tunnels on a connection's way: interfaces that wrap its packets into others, or hand them to a program. Owns: which
//! interfaces these are, and whether one is on the way. Must not know: what came of it.
//!
//! What becomes of the wrapped packet is told with this connection only where it is dropped on this host, and can be looked into.

use super::evidence::{self, interface};
use crate::{
    event::Netns,
    explain::{fact, here, owners_want, phrase},
    fact::{Answer, Beneath, Interface, Route, WireguardPeer},
    report::Evidence,
    story::{Connection, Dropped},
    want::Want,
};
use std::{net::IpAddr, time::Duration};

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
    /// Where packets are handed to the interface that leads there.
    netns: Netns,
    /// What leads there: `interface`, or one that it is beneath.
    by: &'a Interface,
    found: &'a Beneath,
}

/// The questions behind [`of`].
pub(super) fn wants(c: &Connection) -> Vec<Want> {
    let mut wants = vec![c.route_want()];
    wants.extend(router(c).map(|router| owners_want(c, router)));
    let there = |netns| [onward(c, netns), Want::Namespace { netns }];
    wants.extend(routers(c).into_iter().flat_map(there));
    let ways = ways(c).into_iter();
    wants.extend(ways.flat_map(|(netns, route)| beneath_wants(c, netns, route.device, hop(c, route))));
    wants.extend(of(c).and_then(|tunnel| tunnel.peers_want()));
    wants
}

/// The first tunnel on its way: by its own route, or by that of the namespace of this host that is the next hop and sends it on.
pub(super) fn of(c: &Connection) -> Option<Tunnel<'_>> {
    ways(c).into_iter().find_map(|(netns, route)| beneath(c, netns, route.device, hop(c, route)))
}

/// The routes that it takes on this host, as far as they are known.
pub(super) fn ways(c: &Connection) -> Vec<(Netns, &Route)> {
    let onward = routers(c).into_iter().filter_map(|netns| match c.facts.get(&onward(c, netns)) {
        Some(Answer::Route(route)) => Some((netns, route)),
        _ => None,
    });
    c.route().map(|route| (c.netns, route)).into_iter().chain(onward).collect()
}

/// The namespace of this host that sends its packets on to where this host does not see, by which interface, and their
/// source, a private address that is none of that namespace's: whoever answers must have a way back to it.
pub(super) fn untranslated(c: &Connection) -> Option<(Netns, &str, IpAddr)> {
    let source = c.reached().local;
    let is_private = match source {
        IpAddr::V4(a) => a.is_private(),
        IpAddr::V6(a) => a.is_unique_local(),
    };
    let elsewhere = here(c, c.reached().remote).is_none() && source == c.tuple.local && is_private;
    // Of several that have the gateway's address it isn't known which one it is.
    let [router] = routers(c)[..] else { return None };
    let (netns, route) = ways(c).into_iter().find(|(netns, _)| elsewhere && *netns == router)?;
    let leads_on = route.kind == "unicast" && route.errno == 0 && !route.device_name.is_empty();
    leads_on.then_some((netns, route.device_name.as_str(), source))
}

fn hop(c: &Connection, route: &Route) -> IpAddr {
    route.gateway.unwrap_or(c.reached().remote)
}

/// The questions behind [`beneath`].
pub(super) fn beneath_wants(c: &Connection, netns: Netns, device: u32, hop: IpAddr) -> Vec<Want> {
    let mut wants = vec![Want::Beneath { netns, device }];
    if tunnels(c, netns, device).any(|(by, found)| *by != found.interface) {
        wants.push(owners_want(c, hop));
    }
    wants
}

/// The tunnel that what an interface sends to a neighbour goes into: itself, or one beneath it, unless a bridge of this host
/// leads to the neighbour without it.
pub(super) fn beneath(c: &Connection, netns: Netns, device: u32, hop: IpAddr) -> Option<Tunnel<'_>> {
    let (by, found) = tunnels(c, netns, device).next()?;
    (*by == found.interface || here(c, hop).is_none()).then_some(Tunnel { netns, by, found })
}

fn tunnels(c: &Connection, netns: Netns, device: u32) -> impl Iterator<Item = (&Interface, &Beneath)> {
    let all = evidence::beneath(c, netns, device);
    let by = all.first().map(|first| &first.interface);
    all.iter().filter(|b| is_tunnel(&b.interface)).filter_map(move |found| Some((by?, found)))
}

/// Its own interface, if that is a tunnel.
pub(super) fn own(c: &Connection) -> Option<&Interface> {
    interface(c, c.netns, c.route()?.device).filter(|interface| is_tunnel(interface))
}

/// Its own interface, if what is sent by it goes to a program: a VPN's, or one that makes connections of its own in its place
/// (slirp4netns, pasta). The question behind it is that for the namespace's interfaces.
pub(super) fn to_program(c: &Connection) -> Option<&Interface> {
    own(c).filter(|interface| interface.kind == "tun")
}

/// What to look at where such a program answered.
pub(super) fn about_program(c: &Connection) -> String {
    format!(
        "a program that makes connections in the place of others (slirp4netns, pasta) has reports of its own: look for its \
         connection to {}",
        phrase::endpoint(c.reached().remote, c.reached().remote_port)
    )
}

/// The questions behind [`copies`].
pub(super) fn copies_wants(c: &Connection) -> Vec<Want> {
    std::iter::once(Want::Interfaces { netns: c.netns }).chain(ends_want(c)).collect()
}

/// To how many ends its own interface sends a packet, if that is a tunnel that may have several for one neighbour.
fn ends_want(c: &Connection) -> Option<Want> {
    own(c).filter(|interface| interface.kind == "vxlan")?;
    c.next_hop().map(|(address, device)| Want::TunnelEnds { netns: c.netns, address, device })
}

/// A packet in a tunnel's was one of several copies, to all the ends that may have the neighbour: that one was dropped says
/// nothing of the others.
pub(super) fn copies(c: &Connection, d: &Dropped<'_>) -> Option<Evidence> {
    let of_its_own = d.inner.is_some() && d.ours && !c.mirrored && !c.wayside;
    let Some(Answer::TunnelEnds(ends)) = c.facts.get(&ends_want(c).filter(|_| of_its_own)?) else { return None };
    let name = &own(c)?.name;
    let text =
        format!("{name} does not know where its next hop's link address is: it sends a copy to each of {ends} ends");
    (*ends > 1).then(|| fact("copies", text))
}

fn is_tunnel(interface: &Interface) -> bool {
    KINDS.contains(&interface.kind.as_str())
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

/// The question for the peers of a tunnel of this namespace, if it has such.
pub(super) fn peers_want(netns: Netns, interface: &Interface) -> Option<Want> {
    (interface.kind == "wireguard").then_some(Want::WireguardPeers { netns, device: interface.index })
}

/// The peers of a tunnel, once they are known.
pub(super) fn peers<'a>(c: &'a Connection, netns: Netns, interface: &Interface) -> Option<&'a [WireguardPeer]> {
    match c.facts.get(&peers_want(netns, interface)?) {
        Some(Answer::WireguardPeers(all)) => Some(all),
        _ => None,
    }
}

impl<'a> Tunnel<'a> {
    /// In another namespace its interface has another number.
    fn peers_want(&self) -> Option<Want> {
        peers_want(self.netns, &self.found.interface).filter(|_| !self.found.elsewhere)
    }

    /// The peer that a packet of the connection is sent to.
    fn peer(&self, c: &'a Connection) -> Option<&'a WireguardPeer> {
        WireguardPeer::of(peers(c, self.netns, &self.found.interface)?, c.reached().remote)
    }

    /// Why nothing comes back, as far as the peer tells: `: its peer at 192.0.2.1:51820 has never agreed on keys`.
    pub(super) fn why(&self, c: &'a Connection) -> String {
        match self.peer(c).filter(|peer| peer.is_silent()) {
            Some(peer) => format!(": its peer{} {}", at(peer), heard(peer)),
            None => String::new(),
        }
    }

    /// What is known of the peer.
    pub(super) fn peer_fact(&self, c: &'a Connection) -> Option<Evidence> {
        let peer = self.peer(c)?;
        let [sent, received] = [peer.sent, peer.received].map(phrase::bytes);
        let text = format!("the peer{} {}; {sent} sent to it, {received} received", at(peer), heard(peer));
        Some(fact("wireguard-peer", text))
    }

    /// What a packet does: `went into the tunnel wg0 (wireguard) in network namespace A`, or `left by eth0 towards the tunnel
    /// vx0 (vxlan), a port of br0 in another network namespace`.
    pub(super) fn went(&self, c: &Connection) -> String {
        let at = if self.netns == c.netns {
            String::new()
        } else {
            format!(" in {}", phrase::namespace(&c.facts, self.netns, c.netns))
        };
        if *self.by == self.found.interface {
            format!("went into {}{at}", self.name())
        } else {
            format!("left by {}{at} towards {}", self.by.name, self.name())
        }
    }

    /// `the tunnel vx0 (vxlan), a port of br0 in another network namespace`.
    pub(super) fn name(&self) -> String {
        let port = self.found.of.as_ref().map(|of| format!(", a port of {of}")).unwrap_or_default();
        let elsewhere = if self.found.elsewhere { " in another network namespace" } else { "" };
        format!("the tunnel {}{port}{elsewhere}", named(&self.found.interface))
    }

    /// What is not known.
    pub(super) fn unseen() -> Evidence {
        fact(
            "not-seen",
            "what becomes of a packet in a tunnel is seen only where this host drops it and it can be read",
        )
    }

    /// What to look at.
    pub(super) fn advice(&self, c: &Connection) -> String {
        match self.peer(c).filter(|peer| peer.is_silent()).and_then(|peer| peer.endpoint) {
            Some(end) => format!(
                "is {end} its peer's address, can UDP get there and back, and has either side the other's key? `wg show {}`",
                self.found.interface.name
            ),
            None => advice(&self.found.interface),
        }
    }
}

/// Where a peer is.
fn at(peer: &WireguardPeer) -> String {
    peer.endpoint.map(|end| format!(" at {end}")).unwrap_or_default()
}

/// When a peer was heard.
fn heard(peer: &WireguardPeer) -> String {
    match peer.agreed_ago_s {
        Some(seconds) => format!("last agreed on keys {} ago", phrase::duration(Duration::from_secs(seconds))),
        None => "has never agreed on keys".to_owned(),
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
