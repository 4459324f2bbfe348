//! Network address translation. Owns: asking connection tracking what became of a packet, in every namespace. Must not know:
//! rules.
//!
//! One request for one connection (ctnetlink's IPCTNL_MSG_CT_GET), never a listing: tables have hundreds of thousands of
//! entries. Namespaces that track nothing are not asked.

use super::{
    Error, Host,
    netlink::{self, Body},
    sysctl,
};
use crate::{
    event::{Netns, Protocol, Tuple},
    fact::{Origin, Translation},
};
use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NlaBuffer};
use netlink_sys::protocols::NETLINK_NETFILTER;
use std::{io, net::IpAddr, ops::ControlFlow};

/// More translations in a row than any sensible network has.
const HOPS: usize = 4;

/// `NFNL_SUBSYS_CTNETLINK`, IPCTNL_MSG_CT_GET.
const GET: u16 = 1 << 8 | 1;
/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;
/// `enum ctattr_type`
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
/// `enum ctattr_tuple`, `enum ctattr_ip`, `enum ctattr_l4proto`
const IP: u16 = 1;
const PROTO: u16 = 2;
const PROTO_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

impl Host {
    /// What becomes of packets with these endpoints on their way through this host: each namespace that translates them, and
    /// the endpoints they leave it with. Empty: none does.
    ///
    /// # Errors
    /// The namespaces can't be listed.
    pub fn translations(&mut self, packet: Tuple) -> Result<Vec<Translation>, Error> {
        let mut hops: Vec<Translation> = Vec::new();
        let mut now = packet;
        while hops.len() < HOPS {
            let passed: Vec<Netns> = hops.iter().map(|h| h.netns).collect();
            let visits =
                self.namespaces()?.each(|netns| if passed.contains(&netns) { None } else { translated(now) })?;
            let next =
                visits.into_iter().find_map(|(netns, found)| found.ok().flatten().map(|to| Translation { netns, to }));
            match next {
                Some(hop) => {
                    now = hop.to;
                    hops.push(hop);
                }
                None => break,
            }
        }
        Ok(hops)
    }

    /// What packets with these endpoints were before namespaces of this host translated them; none: none did.
    ///
    /// # Errors
    /// The namespaces can't be listed.
    pub fn origin(&mut self, packet: Tuple) -> Result<Option<Origin>, Error> {
        let mut origin: Option<Origin> = None;
        loop {
            let now = origin.as_ref().map_or(packet, |o| o.sent);
            let passed: Vec<Netns> = origin.iter().flat_map(|o| &o.translations).map(|h| h.netns).collect();
            if passed.len() >= HOPS {
                break;
            }
            let visits = self.namespaces()?.each(|netns| if passed.contains(&netns) { None } else { original(now) })?;
            let before = visits.into_iter().find_map(|(netns, found)| Some((netns, found.ok().flatten()?)));
            let Some((netns, sent)) = before else { break };
            let known = origin.get_or_insert(Origin { sent, translations: Vec::new() });
            known.sent = sent;
            known.translations.insert(0, Translation { netns, to: now });
        }
        Ok(origin)
    }
}

/// What the calling thread's namespace made the packet out of; none: it doesn't track it, or left it as it was.
fn original(packet: Tuple) -> Option<Tuple> {
    if tracks_nothing() {
        return None;
    }
    // An answer to it is what the entry's other direction has.
    let (original, reply) = lookup(packet.reversed()).ok()??;
    (reply == packet.reversed() && original != packet).then_some(original)
}

/// A namespace without entries, or a kernel without connection tracking, isn't worth a request.
fn tracks_nothing() -> bool {
    let count = sysctl::read("netfilter/nf_conntrack_count").ok().and_then(|text| text.parse::<u64>().ok());
    count.is_none_or(|n| n == 0)
}

/// What the calling thread's namespace makes of the packet; none: it doesn't track it, or leaves it as it is.
fn translated(packet: Tuple) -> Option<Tuple> {
    if tracks_nothing() {
        return None;
    }
    let (original, reply) = lookup(packet).ok()??;
    let to = if original == packet {
        reply.reversed()
    } else if reply == packet {
        original.reversed()
    } else {
        return None;
    };
    (to != packet).then_some(to)
}

/// Both directions of the entry for a packet.
fn lookup(packet: Tuple) -> io::Result<Option<(Tuple, Tuple)>> {
    let mut found = None;
    let request = Body(request(packet));
    let asked = netlink::request(NETLINK_NETFILTER, GET, 0, &request, |_, payload| {
        let part = |kind| netlink::attributes(payload, HEADER).find(|a| a.kind() == kind).and_then(|a| tuple(&a));
        found = part(ORIGINAL).zip(part(REPLY));
        ControlFlow::Break(())
    });
    match asked {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
        Ok(()) => Ok(found),
    }
}

fn request(packet: Tuple) -> Vec<u8> {
    let family = if packet.local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let (source, destination, base) = match (packet.local, packet.remote) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.octets().to_vec(), b.octets().to_vec(), 1),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.octets().to_vec(), b.octets().to_vec(), 3),
        // Both ends of a packet are of one family.
        _ => return vec![0; HEADER],
    };
    let addresses = nested(IP, &[attribute(base, &source), attribute(base + 1, &destination)]);
    let number = if packet.protocol == Protocol::Udp { 17 } else { 6 };
    let ports = nested(
        PROTO,
        &[
            attribute(PROTO_NUMBER, &[number]),
            attribute(SOURCE_PORT, &packet.local_port.to_be_bytes()),
            attribute(DESTINATION_PORT, &packet.remote_port.to_be_bytes()),
        ],
    );
    let mut body = vec![family as u8, 0, 0, 0];
    let original = nested(ORIGINAL, &[addresses, ports]);
    body.resize(HEADER + original.buffer_len(), 0);
    original.emit(&mut body[HEADER..]);
    body
}

fn attribute(kind: u16, value: &[u8]) -> DefaultNla {
    DefaultNla::new(kind, value.to_vec())
}

fn nested(kind: u16, parts: &[DefaultNla]) -> DefaultNla {
    let mut value = vec![0; parts.buffer_len()];
    parts.emit(&mut value);
    DefaultNla::new(kind | NLA_F_NESTED, value)
}

/// A tuple of an answer; local is the source.
fn tuple(attribute: &NlaBuffer<&[u8]>) -> Option<Tuple> {
    let find = |of: &NlaBuffer<&[u8]>, kind: u16| {
        netlink::attributes(of.value(), 0).find(|a| a.kind() == kind).map(|a| a.value().to_vec())
    };
    let part = |kind: u16| netlink::attributes(attribute.value(), 0).find(|a| a.kind() == kind);
    let (ip, proto) = (part(IP)?, part(PROTO)?);
    let address = |v4: u16| -> Option<IpAddr> {
        find(&ip, v4)
            .and_then(|b| <[u8; 4]>::try_from(b).ok().map(IpAddr::from))
            .or_else(|| find(&ip, v4 + 2).and_then(|b| <[u8; 16]>::try_from(b).ok().map(IpAddr::from)))
    };
    let port = |kind: u16| find(&proto, kind).and_then(|b| b.try_into().ok().map(u16::from_be_bytes));
    let protocol = match find(&proto, PROTO_NUMBER)?.first()? {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return None,
    };
    Some(Tuple {
        protocol,
        local: address(1)?,
        local_port: port(SOURCE_PORT)?,
        remote: address(2)?,
        remote_port: port(DESTINATION_PORT)?,
    })
}
