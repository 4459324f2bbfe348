//! Neighbours (ARP, neighbour discovery), as rtnetlink has them. Owns: finding an entry, and how full the table is. Must not
//! know: routes.

use super::{interface, netlink};
use crate::fact::{Neighbor, NeighborTable};
use netlink_packet_core::{Parseable, ParseableParametrized};
use netlink_packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourMessage, NeighbourState},
    neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{io, net::IpAddr};

/// Length of `struct ndmsg`.
const HEADER: usize = 12;
/// Length of `struct ndtmsg`.
const TABLE_HEADER: usize = 4;

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

/// How full the table of one family is.
///
/// # Errors
/// The kernel's; `NotFound` when it tells of no such table.
pub fn table(v6: bool) -> io::Result<NeighborTable> {
    let mut request = NeighbourTableMessage::default();
    request.header.family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let tables = netlink::list(NETLINK_ROUTE, libc::RTM_GETNEIGHTBL, &request, parse_table)?;
    tables.first().copied().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// None: the settings of one interface, which are told in messages of their own.
fn parse_table(payload: &[u8]) -> Option<NeighborTable> {
    let (mut entries, mut limit, mut overflows) = (None, None, 0);
    for attribute in netlink::attributes(payload, TABLE_HEADER) {
        match NeighbourTableAttribute::parse(&attribute) {
            Ok(NeighbourTableAttribute::Config(config)) => entries = Some(config.entries),
            Ok(NeighbourTableAttribute::Threshold3(most)) => limit = Some(most),
            Ok(NeighbourTableAttribute::Stats(statistics)) => overflows = statistics.table_fulls,
            _ => {}
        }
    }
    Some(NeighborTable { entries: entries?, limit: limit?, overflows })
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
