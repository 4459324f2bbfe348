//! Interfaces and their addresses, as rtnetlink has them. Owns: listing them. Must not know: namespaces, processes.

use super::{Error, Host, netlink};
use crate::{
    event::Netns,
    fact::{Interface, Unusable},
};
use netlink_packet_core::Parseable;
use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags, AddressHeader, AddressMessage},
    link::{LinkFlags, LinkHeader, LinkMessage},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{collections::BTreeMap, io, net::IpAddr};

/// Length of `struct ifinfomsg`.
pub const LINK: usize = 16;
/// Length of `struct ifaddrmsg`.
const ADDRESS: usize = 8;

/// The interfaces of the calling thread's namespace, by index.
///
/// # Errors
/// The kernel's.
pub fn list() -> io::Result<Vec<Interface>> {
    let mut addresses: BTreeMap<u32, Vec<Assigned>> = BTreeMap::new();
    for assigned in addresses_of_all()? {
        addresses.entry(assigned.device).or_default().push(assigned);
    }
    let mut links = links()?;
    for link in &mut links {
        for Assigned { address, peer, length, unusable, .. } in addresses.remove(&link.index).unwrap_or_default() {
            link.addresses.push((address, length));
            link.peers.extend(peer.map(|peer| (address, peer)));
            link.unusable.extend(unusable.map(|why| (address, why)));
        }
    }
    links.sort_by_key(|l| l.index);
    Ok(links)
}

/// The interfaces without their addresses.
///
/// # Errors
/// The kernel's.
pub fn links() -> io::Result<Vec<Interface>> {
    netlink::list(NETLINK_ROUTE, libc::RTM_GETLINK, &LinkMessage::default(), link)
}

/// Reads a link message.
#[must_use]
pub fn link(payload: &[u8]) -> Option<Interface> {
    let header = LinkHeader::parse(payload).ok()?;
    let mut interface = Interface {
        index: header.index,
        name: String::new(),
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
        loopback: header.flags.contains(LinkFlags::Loopback),
        mtu: 0,
        addresses: Vec::new(),
        peers: Vec::new(),
        unusable: Vec::new(),
        kind: String::new(),
        lladdr: None,
        master: None,
    };
    for attribute in netlink::attributes(payload, LINK) {
        match attribute.kind() {
            libc::IFLA_IFNAME => interface.name = text(attribute.value()),
            libc::IFLA_ADDRESS => interface.lladdr = Some(super::neigh::link_address(attribute.value())),
            libc::IFLA_MASTER => interface.master = number(attribute.value()),
            libc::IFLA_MTU => interface.mtu = number(attribute.value()).unwrap_or(0),
            libc::IFLA_LINKINFO => {
                let kind = netlink::attributes(attribute.value(), 0).find(|a| a.kind() == libc::IFLA_INFO_KIND);
                interface.kind = kind.map(|k| text(k.value())).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(interface)
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The interface by index.
    pub device: u32,
    /// The address.
    pub address: IpAddr,
    /// The other end's, if it was given one.
    pub peer: Option<IpAddr>,
    /// Prefix length: of the other end's, if there is one.
    pub length: u8,
    /// Why it may not be used.
    pub unusable: Option<Unusable>,
    /// IFA_F_*
    pub flags: AddressFlags,
}

impl Assigned {
    /// What it puts on the link: an address in that network, and the network's prefix length.
    #[must_use]
    pub fn network(&self) -> (IpAddr, u8) {
        (self.peer.unwrap_or(self.address), self.length)
    }
}

/// The addresses of all interfaces.
///
/// # Errors
/// The kernel's.
pub fn addresses_of_all() -> io::Result<Vec<Assigned>> {
    netlink::list(NETLINK_ROUTE, libc::RTM_GETADDR, &AddressMessage::default(), |payload| {
        let header = AddressHeader::parse(payload).ok()?;
        let (mut local, mut of_prefix) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
        for attribute in netlink::attributes(payload, ADDRESS) {
            match AddressAttribute::parse(&attribute) {
                Ok(AddressAttribute::Local(address)) => local = Some(address),
                Ok(AddressAttribute::Address(address)) => of_prefix = Some(address),
                // With those that the header has no room for.
                Ok(AddressAttribute::Flags(all)) => flags = all,
                _ => {}
            }
        }
        // Where the other end was given an address, IFA_ADDRESS is that one (linux/if_addr.h).
        let (address, peer) = (local.or(of_prefix)?, of_prefix.filter(|_| local.is_some() && local != of_prefix));
        let has = |flag| flags.contains(flag);
        let unusable = if has(AddressFlags::Dadfailed) {
            Some(Unusable::Duplicate)
        } else {
            // An optimistic address is used meanwhile (RFC 4429).
            let asks = has(AddressFlags::Tentative) && !has(AddressFlags::Optimistic);
            asks.then_some(Unusable::Tentative)
        };
        Some(Assigned { device: header.index, address, peer, length: header.prefix_len, unusable, flags })
    })
}

/// The name of an interface of the calling thread's namespace; none: there is none of that index.
#[must_use]
pub fn name(index: u32) -> Option<String> {
    links().ok()?.into_iter().find(|l| l.index == index).map(|l| l.name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(bytes)).into_owned()
}

/// A number of an attribute, in the order of this machine.
pub fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

impl Host {
    /// The namespaces in which each of these addresses is local, as seen from a namespace. A loopback address is local to
    /// the namespace that asks. All of 127.0.0.0/8 is, and so is every address of a prefix that the local table holds.
    ///
    /// # Errors
    /// The own namespace can't be read. Others that may not be entered are left out.
    pub fn owners(&mut self, asked: &[(IpAddr, Netns)]) -> Result<Vec<Vec<Netns>>, Error> {
        let mut addresses: Vec<IpAddr> = asked.iter().map(|(a, _)| *a).filter(|a| !a.is_loopback()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let mut owners: BTreeMap<IpAddr, Vec<Netns>> = BTreeMap::new();
        if !addresses.is_empty() {
            let namespaces = self.namespaces()?;
            let own = namespaces.own();
            for (netns, result) in namespaces.each(|_| super::route::are_local(&addresses))? {
                match result {
                    Ok(Ok(local)) => {
                        for (address, _) in addresses.iter().zip(local).filter(|(_, local)| *local) {
                            owners.entry(*address).or_default().push(netns);
                        }
                    }
                    Ok(Err(source)) if netns == own => {
                        return Err(Error::Kernel { what: "its addresses", netns, source });
                    }
                    _ => {}
                }
            }
            owners.values_mut().for_each(|namespaces| namespaces.sort_unstable());
        }
        let of_one = |(address, from): &(IpAddr, Netns)| {
            if address.is_loopback() { vec![*from] } else { owners.get(address).cloned().unwrap_or_default() }
        };
        Ok(asked.iter().map(of_one).collect())
    }
}
