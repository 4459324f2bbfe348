//! What is beneath an interface: where its packets go on without being routed. Owns: following an interface to those that carry
//! it, a bridge to its ports, a virtual cable to its other end. Must not know: which of them matter.

use super::{interface, netlink};
use crate::fact::{Beneath, Interface};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
};

/// A namespace as the asking one numbers it (`peernet2id`); none: the asking one.
type Space = Option<i32>;

/// An interface, and what it is tied to.
#[derive(Clone, Debug)]
struct Link {
    interface: Interface,
    /// The interface that carries it, or the other end of its cable (IFLA_LINK), 0: none, and where that is.
    carrier: (Space, u32),
}

/// How a packet comes to an interface.
#[derive(Clone, Copy)]
enum Way {
    /// It is sent by it.
    Out,
    /// It arrived there.
    In,
}

/// The interfaces that what one of the calling thread's namespace sends may leave by, itself first; and a bridge that is down, at
/// which it ends.
///
/// # Errors
/// The kernel's, for the own namespace. Others that may not be asked are left out.
pub fn of(device: u32) -> io::Result<Vec<Beneath>> {
    follow(device, links)
}

fn follow(device: u32, mut list: impl FnMut(Space) -> io::Result<Vec<Link>>) -> io::Result<Vec<Beneath>> {
    let mut spaces: BTreeMap<Space, Vec<Link>> = BTreeMap::from([(None, list(None)?)]);
    let mut seen = BTreeSet::from([(None, device)]);
    let mut next = VecDeque::from([(None, device, Way::Out)]);
    let mut found = Vec::new();
    while let Some((space, index, way)) = next.pop_front() {
        let all = spaces.entry(space).or_insert_with(|| list(space).unwrap_or_default());
        let Some(link) = all.iter().find(|link| link.interface.index == index) else { continue };
        let ports_of = |master: Option<u32>| {
            let ports = all.iter().filter(move |l| l.interface.master == master && master.is_some());
            ports.map(|l| (space, l.interface.index, Way::Out))
        };
        let mut onward = Vec::new();
        match way {
            Way::Out => {
                let master = all.iter().find(|l| Some(l.interface.index) == link.interface.master);
                let of = master.map(|l| l.interface.name.clone());
                found.push(Beneath { interface: link.interface.clone(), of, elsewhere: space.is_some() });
                let way = if link.interface.kind == "veth" { Way::In } else { Way::Out };
                onward.extend((link.carrier.1 != 0).then_some((link.carrier.0, link.carrier.1, way)));
                // The ports of a VRF are chosen by routing.
                onward.extend(ports_of(Some(index)).filter(|_| link.interface.kind != "vrf"));
            }
            // What is no port hands it to routing.
            Way::In => match all.iter().find(|l| Some(l.interface.index) == link.interface.master) {
                Some(bridge) if !bridge.interface.up => {
                    let interface = bridge.interface.clone();
                    found.push(Beneath { interface, of: None, elsewhere: space.is_some() });
                }
                _ => onward.extend(ports_of(link.interface.master)),
            },
        }
        next.extend(onward.into_iter().filter(|(space, index, _)| seen.insert((*space, *index))));
    }
    Ok(found)
}

/// All links of a namespace.
fn links(space: Space) -> io::Result<Vec<Link>> {
    let mut body = LinkMessage::default();
    // IFLA_TARGET_NETNSID, as it is called since Linux 4.20.
    body.attributes.extend(space.map(LinkAttribute::IfNetnsId));
    netlink::list(NETLINK_ROUTE, libc::RTM_GETLINK, &body, |payload| link(space, payload))
}

/// Numbers of namespaces in what the kernel says are always those of the namespace that asks (`rtnl_fill_link_netnsid`).
fn link(space: Space, payload: &[u8]) -> Option<Link> {
    let mut link = Link { interface: interface::link(payload)?, carrier: (space, 0) };
    for attribute in netlink::attributes(payload, interface::LINK) {
        let number = interface::number(attribute.value());
        match attribute.kind() {
            libc::IFLA_LINK => link.carrier.1 = number.unwrap_or(0),
            libc::IFLA_LINK_NETNSID => link.carrier.0 = number.map(u32::cast_signed),
            _ => {}
        }
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(space: Space, index: u32, kind: &str, carrier: (Space, u32), master: u32) -> (Space, Link) {
        let (name, kind, master) = (format!("{kind}{index}"), kind.to_owned(), (master != 0).then_some(master));
        (space, Link { interface: Interface { index, name, kind, master, up: true, ..Interface::default() }, carrier })
    }

    fn names(device: u32, host: &[(Space, Link)]) -> Vec<String> {
        let list =
            |space: Space| Ok(host.iter().filter(|(there, _)| *there == space).map(|(_, link)| link.clone()).collect());
        follow(device, list).unwrap().into_iter().map(|b| b.interface.name).collect()
    }

    #[test]
    fn a_containers_cable_ends_at_a_bridge_with_a_tunnel() {
        let host = [
            at(None, 2, "veth", (Some(0), 7), 0),
            at(Some(0), 7, "veth", (None, 2), 3),
            at(Some(0), 3, "bridge", (Some(0), 0), 0),
            at(Some(0), 9, "vxlan", (Some(0), 0), 3),
            at(Some(0), 8, "veth", (Some(1), 2), 3),
            at(Some(1), 2, "veth", (Some(0), 8), 0),
        ];
        assert_eq!(names(2, &host), ["veth2", "vxlan9", "veth8"]);
        // A bridge that is down hands nothing on.
        let mut down = host.clone();
        down[2].1.interface.up = false;
        assert_eq!(names(2, &down), ["veth2", "bridge3"]);
        // One that ends where it is routed leads nowhere else.
        assert_eq!(names(2, &[at(None, 2, "veth", (Some(0), 7), 0), at(Some(0), 7, "veth", (None, 2), 0)]), ["veth2"]);
    }

    #[test]
    fn a_vlan_on_a_bridge_goes_out_by_its_ports() {
        let host = [
            at(None, 5, "vlan", (None, 4), 0),
            at(None, 4, "bridge", (None, 0), 0),
            at(None, 3, "", (None, 0), 4),
            at(None, 6, "gretap", (None, 0), 4),
            at(None, 7, "vrf", (None, 0), 0),
            at(None, 8, "gre", (None, 0), 7),
        ];
        assert_eq!(names(5, &host), ["vlan5", "bridge4", "3", "gretap6"]);
        assert_eq!(names(7, &host), ["vrf7"]);
    }

    #[test]
    fn what_is_tied_to_itself_has_an_end() {
        let host =
            [at(None, 1, "veth", (None, 2), 3), at(None, 2, "veth", (None, 1), 3), at(None, 3, "bridge", (None, 3), 0)];
        assert_eq!(names(1, &host), ["veth1"]);
        assert_eq!(names(3, &host), ["bridge3", "veth1", "veth2"]);
        assert!(names(9, &host).is_empty());
    }
}
