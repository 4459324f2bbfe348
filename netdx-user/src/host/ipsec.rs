//! IPsec policies. Owns: listing those for what is sent. Must not know: packets.

use super::netlink::{self, Body};
use crate::fact::IpsecPolicy;
use netlink_sys::protocols::NETLINK_XFRM;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// `XFRM_MSG_GETPOLICY` (include/uapi/linux/xfrm.h)
const GET_POLICY: u16 = 0x15;
/// Length of `struct xfrm_userpolicy_id`.
const ID: usize = 64;
/// Where `struct xfrm_userpolicy_info` has its parts after selector (56), limits (64) and use (32).
const PRIORITY: usize = 152;
const INDEX: usize = 156;
const DIRECTION: usize = 160;
const ACTION: usize = 161;
/// `XFRM_POLICY_OUT`, `XFRM_POLICY_BLOCK`
const OUT: u8 = 1;
const BLOCK: u8 = 1;

/// The policies for what the calling thread's namespace sends, those of sockets left out.
///
/// # Errors
/// The kernel's, `EPROTONOSUPPORT` where it has no IPsec.
pub fn policies() -> io::Result<Vec<IpsecPolicy>> {
    // An empty one asks for all.
    netlink::list(NETLINK_XFRM, GET_POLICY, &Body(vec![0; ID]), parse)
}

fn parse(info: &[u8]) -> Option<IpsecPolicy> {
    let two = |at: usize| info.get(at..).and_then(|b| b.first_chunk().copied());
    let port = |at| two(at).map(u16::from_be_bytes);
    let number = |at: usize| info.get(at..).and_then(|b| b.first_chunk().copied()).map(u32::from_ne_bytes);
    let byte = |at: usize| info.get(at).copied();
    let family = two(40).map(u16::from_ne_bytes)?;
    let address = |at: usize| -> Option<IpAddr> {
        if i32::from(family) == libc::AF_INET6 {
            info.get(at..).and_then(|b| b.first_chunk::<16>().copied()).map(|b| Ipv6Addr::from(b).into())
        } else {
            info.get(at..).and_then(|b| b.first_chunk::<4>().copied()).map(|b| Ipv4Addr::from(b).into())
        }
    };
    if byte(DIRECTION)? != OUT {
        return None;
    }
    Some(IpsecPolicy {
        destination: (address(0)?, byte(42)?),
        source: (address(16)?, byte(43)?),
        destination_port: (port(32)?, port(34)?),
        source_port: (port(36)?, port(38)?),
        protocol: byte(44)?,
        device: number(48)?,
        priority: number(PRIORITY)?,
        index: number(INDEX)?,
        blocks: byte(ACTION)? == BLOCK,
    })
}
