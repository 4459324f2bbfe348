//! The peers of a WireGuard interface. Owns: asking the kernel for them; keys go no further. Must not know: packets.

use super::netlink;
use crate::fact::WireguardPeer;
use netlink_packet_core::{NLM_F_DUMP, ParseableParametrized};
use netlink_packet_generic::{
    GenlHeader, GenlMessage,
    constants::{CTRL_ATTR_FAMILY_ID, GENL_HDRLEN, GENL_ID_CTRL},
    ctrl::{GenlCtrl, GenlCtrlCmd, nlas::GenlCtrlAttrs},
};
use netlink_packet_wireguard::{
    WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd, WireguardMessage,
    WireguardPeer as Listed, WireguardPeerAttribute, WireguardTimeSpec,
};
use netlink_sys::protocols::NETLINK_GENERIC;
use std::{
    io,
    net::IpAddr,
    ops::ControlFlow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The peers of an interface of the calling thread's namespace.
///
/// # Errors
/// The kernel's: `ENOENT` where it has no WireGuard, `EPERM` without CAP_NET_ADMIN, `EOPNOTSUPP` for another interface.
pub fn peers(device: u32) -> io::Result<Vec<WireguardPeer>> {
    let exchange = &mut netlink::Exchange::new(NETLINK_GENERIC)?;
    let family = family(exchange)?;
    let device =
        WireguardMessage { cmd: WireguardCmd::GetDevice, attributes: vec![WireguardAttribute::IfIndex(device)] };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut peers: Vec<WireguardPeer> = Vec::new();
    let mut last = None;
    exchange.request(family, NLM_F_DUMP, &GenlMessage::from_payload(device), |_, payload| {
        let header = GenlHeader { cmd: WireguardCmd::GetDevice.into(), version: 1 };
        let body = payload.get(GENL_HDRLEN..).unwrap_or_default();
        // What can't be read costs its peers, not the others.
        let message = WireguardMessage::parse_with_param(body, header).ok();
        for attribute in message.into_iter().flat_map(|message| message.attributes) {
            let WireguardAttribute::Peers(listed) = attribute else { continue };
            for one in &listed {
                // One with many addresses goes on in the next message (wg_get_device_dump, 6.18).
                let key = one.iter().find_map(key);
                match peers.last_mut().filter(|_| key == last) {
                    Some(peer) => peer.allowed.extend(allowed(one)),
                    None => peers.push(peer(one, now)),
                }
                last = key;
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(peers)
}

/// The number by which the kernel knows WireGuard's messages.
fn family(exchange: &mut netlink::Exchange) -> io::Result<u16> {
    let asked = vec![GenlCtrlAttrs::FamilyName("wireguard".into())];
    let body = GenlMessage::from_payload(GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: asked });
    let mut family = None;
    exchange.request(GENL_ID_CTRL, 0, &body, |_, payload| {
        let mut attributes = netlink::attributes(payload, GENL_HDRLEN);
        let id = attributes.find(|attribute| attribute.kind() == CTRL_ATTR_FAMILY_ID);
        family = id.and_then(|id| id.value().first_chunk().copied()).map(u16::from_ne_bytes);
        ControlFlow::Break(())
    })?;
    family.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn key(attribute: &WireguardPeerAttribute) -> Option<[u8; 32]> {
    if let WireguardPeerAttribute::PublicKey(key) = attribute { Some(*key) } else { None }
}

/// `now`: since 1970.
fn peer(listed: &Listed, now: Duration) -> WireguardPeer {
    let mut peer = WireguardPeer { allowed: allowed(listed), endpoint: None, agreed_ago_s: None, sent: 0, received: 0 };
    for attribute in listed.iter() {
        match attribute {
            WireguardPeerAttribute::Endpoint(end) => peer.endpoint = Some(*end),
            WireguardPeerAttribute::LastHandshake(WireguardTimeSpec { seconds, .. }) if *seconds > 0 => {
                peer.agreed_ago_s = Some(now.as_secs().saturating_sub(seconds.cast_unsigned()));
            }
            WireguardPeerAttribute::RxBytes(bytes) => peer.received = *bytes,
            WireguardPeerAttribute::TxBytes(bytes) => peer.sent = *bytes,
            _ => {}
        }
    }
    peer
}

fn allowed(listed: &Listed) -> Vec<(IpAddr, u8)> {
    let of = |ip: &WireguardAllowedIp| {
        let address = ip
            .iter()
            .find_map(|a| if let WireguardAllowedIpAttr::IpAddr(address) = a { Some(*address) } else { None })?;
        let length =
            ip.iter().find_map(|a| if let WireguardAllowedIpAttr::Cidr(length) = a { Some(*length) } else { None })?;
        Some((address, length))
    };
    let lists =
        listed.iter().filter_map(|a| if let WireguardPeerAttribute::AllowedIps(all) = a { Some(all) } else { None });
    lists.flatten().filter_map(of).collect()
}
