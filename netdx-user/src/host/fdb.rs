//! Where a VXLAN interface sends what is for a link address (drivers/net/vxlan). Owns: counting the ends that it sends to. Must
//! not know: why that matters.

use super::{
    neigh,
    netlink::{self, Body},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{io, net::IpAddr};

/// Length of `struct ndmsg`.
const HEADER: usize = 12;
/// The address of the entry for all that have none of their own (`vxlan_xmit`, Linux 5.10 to 6.18).
const OTHERS: &str = "00:00:00:00:00:00";

/// To how many ends an interface of the calling thread's namespace sends what is for a neighbour: to those that it knows for the
/// neighbour's link address, or a copy to each of those for all others.
///
/// # Errors
/// The kernel's.
pub fn ends(address: IpAddr, device: u32) -> io::Result<u64> {
    let link = neigh::find(address, device)?.and_then(|neighbor| neighbor.lladdr);
    // `struct ifinfomsg`: entries of all bridges and their like.
    let mut question = vec![0; 16];
    question[0] = u8::try_from(libc::AF_BRIDGE).unwrap_or_default();
    let all = netlink::list(NETLINK_ROUTE, libc::RTM_GETNEIGH, &Body(question), |payload| entry(device, payload))?;
    let of = |link: &str| all.iter().filter(|known| *known == link).count() as u64;
    let known = link.map_or(0, |link| of(&link));
    Ok(if known > 0 { known } else { of(OTHERS) })
}

/// The link address of an entry of the interface that names an end.
fn entry(device: u32, payload: &[u8]) -> Option<String> {
    let index = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
    let (mut link, mut has_end) = (None, false);
    for attribute in netlink::attributes(payload, HEADER) {
        match attribute.kind() {
            libc::NDA_LLADDR => link = Some(neigh::link_address(attribute.value())),
            libc::NDA_DST => has_end = true,
            _ => {}
        }
    }
    link.filter(|_| index == device && has_end)
}
