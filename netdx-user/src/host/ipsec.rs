//! IPsec policies and security associations. Owns: listing those for what is sent. Must not know: packets.

use super::netlink::{self, Body};
use crate::fact::{IpsecEnd, IpsecPolicy};
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
/// Length of `struct xfrm_userpolicy_info`, behind which the templates are, and the attribute that has them (`XFRMA_TMPL`).
const INFO: usize = 168;
const TEMPLATES: u16 = 5;
/// Length of `struct xfrm_user_tmpl`, and where it has its parts after `struct xfrm_id`.
const TEMPLATE: usize = 64;
const FAMILY: usize = 24;
const OPTIONAL: usize = 50;
/// `XFRM_MSG_GETSA`, and where `struct xfrm_usersa_info` has its `struct xfrm_id` and family, after the selector.
const GET_STATE: u16 = 0x12;
/// Length of `struct xfrm_usersa_id`.
const STATE: usize = 24;
const STATE_ID: usize = 56;
const STATE_FAMILY: usize = 212;
/// Where `struct xfrm_id` has its parts.
const SPI: usize = 16;
const PROTOCOL: usize = 20;
/// `XFRM_POLICY_OUT`, `XFRM_POLICY_BLOCK`
const OUT: u8 = 1;
const BLOCK: u8 = 1;

/// The policies for what the calling thread's namespace sends, those of sockets left out.
///
/// # Errors
/// The kernel's, `EPROTONOSUPPORT` where it has no IPsec.
pub fn policies() -> io::Result<Vec<IpsecPolicy>> {
    // An empty one asks for all.
    netlink::list(NETLINK_XFRM, GET_POLICY, &Body(vec![0; ID]), policy)
}

/// The security associations of the calling thread's namespace, those left out that are only being asked for.
///
/// # Errors
/// As [`policies`].
pub fn states() -> io::Result<Vec<IpsecEnd>> {
    netlink::list(NETLINK_XFRM, GET_STATE, &Body(vec![0; STATE]), |info| {
        let spi: [u8; 4] = *info.get(STATE_ID + SPI..)?.first_chunk()?;
        if spi == [0; 4] { None } else { end(info.get(STATE_ID..)?, family(info, STATE_FAMILY)?) }
    })
}

fn family(info: &[u8], at: usize) -> Option<i32> {
    info.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b).into())
}

fn address(info: &[u8], family: i32) -> Option<IpAddr> {
    if family == libc::AF_INET6 {
        info.first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into())
    } else {
        info.first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into())
    }
}

/// `id`: a `struct xfrm_id`.
fn end(id: &[u8], family: i32) -> Option<IpsecEnd> {
    Some(IpsecEnd { destination: address(id, family)?, protocol: *id.get(PROTOCOL)? })
}

fn policy(info: &[u8]) -> Option<IpsecPolicy> {
    let two = |at: usize| info.get(at..).and_then(|b| b.first_chunk().copied());
    let port = |at| two(at).map(u16::from_be_bytes);
    let number = |at: usize| info.get(at..).and_then(|b| b.first_chunk().copied()).map(u32::from_ne_bytes);
    let byte = |at: usize| info.get(at).copied();
    let family = family(info, 40)?;
    if byte(DIRECTION)? != OUT {
        return None;
    }
    let templates = netlink::attributes(info, INFO).find(|attribute| attribute.kind() == TEMPLATES);
    let templates: Vec<u8> = templates.map(|attribute| attribute.value().to_vec()).unwrap_or_default();
    let needed = templates.chunks_exact(TEMPLATE).find(|template| template[OPTIONAL] == 0);
    Some(IpsecPolicy {
        destination: (address(info, family)?, byte(42)?),
        source: (address(info.get(16..)?, family)?, byte(43)?),
        destination_port: (port(32)?, port(34)?),
        source_port: (port(36)?, port(38)?),
        protocol: byte(44)?,
        device: number(48)?,
        priority: number(PRIORITY)?,
        index: number(INDEX)?,
        blocks: byte(ACTION)? == BLOCK,
        protection: needed.and_then(|template| end(template, self::family(template, FAMILY)?)),
    })
}
