//! Neighbour entries (ARP, neighbour discovery), as rtnetlink has them. Owns: finding one. Must not know: routes.

use super::{interface, netlink};
use crate::fact::Neighbor;
use netlink_packet_core::ParseableParametrized;
use netlink_packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourMessage, NeighbourState},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{io, net::IpAddr};

/// Length of `struct ndmsg`.
const HEADER: usize = 12;

/// The entry of an address on an interface (0: any) of the calling thread's namespace. With several, the one that says
/// most: an interface where it answers before one where it does not.
///
/// # Errors
/// The kernel's.
pub fn find(address: IpAddr, device: u32) -> io::Result<Option<Neighbor>> {
    let found = list(address.is_ipv6(), |entry| entry.address == address && (device == 0 || entry.device == device))?;
    let rank = |e: &Entry| match e.state {
        NeighbourState::Reachable | NeighbourState::Permanent => 0,
        NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => 1,
        NeighbourState::Incomplete | NeighbourState::Failed => 2,
        _ => 3,
    };
    Ok(found.into_iter().min_by_key(rank).map(|entry| Neighbor {
        address,
        device_name: interface::name(entry.device).unwrap_or_default(),
        lladdr: entry.lladdr,
        state: entry.state.to_string(),
    }))
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its address.
    pub address: IpAddr,
    /// Interface index.
    pub device: u32,
    /// Link-layer address, colon form.
    pub lladdr: Option<String>,
    /// State; displays as `ip neigh` has it, in lower case.
    pub state: NeighbourState,
}

/// The entries of one family that are wanted.
///
/// # Errors
/// The kernel's.
pub fn list(v6: bool, wanted: impl Fn(&Entry) -> bool) -> io::Result<Vec<Entry>> {
    let mut request = NeighbourMessage::default();
    request.header.family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    netlink::list(NETLINK_ROUTE, libc::RTM_GETNEIGH, &request, |payload| parse(payload).filter(&wanted))
}

fn parse(payload: &[u8]) -> Option<Entry> {
    let header = NeighbourHeader::parse(payload).ok()?;
    let (mut address, mut lladdr) = (None, None);
    for attribute in netlink::attributes(payload, HEADER) {
        match NeighbourAttribute::parse_with_param(&attribute, header.family) {
            Ok(NeighbourAttribute::Destination(NeighbourAddress::Inet(a))) => address = Some(IpAddr::V4(a)),
            Ok(NeighbourAttribute::Destination(NeighbourAddress::Inet6(a))) => address = Some(IpAddr::V6(a)),
            Ok(NeighbourAttribute::LinkLayerAddress(bytes)) => lladdr = Some(link_address(&bytes)),
            _ => {}
        }
    }
    Some(Entry { address: address?, device: header.ifindex, lladdr, state: header.state })
}

/// A link-layer address in colon form.
#[must_use]
pub fn link_address(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}
