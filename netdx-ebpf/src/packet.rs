//! Packets: what their headers say.
//!
//! Owns: the reading of IPv4, IPv6, TCP, UDP and ICMP headers out of an `sk_buff`. Must not know: sockets' states.

use netdx_common::record::{Packet, Tuple};

use crate::{
    read::{Kernel, Place, offset},
    socket::{AF_INET, AF_INET6, TCP, UDP},
};

/// ETH_P_IP, host order.
pub const ETH_IP: u16 = 0x0800;
/// ETH_P_IPV6, host order.
pub const ETH_IPV6: u16 = 0x86dd;
/// ETH_P_ARP, host order. A packet of ARP has it in place of a protocol.
pub const ETH_ARP: u16 = 0x0806;
/// IPPROTO_ICMP
pub const ICMP: u16 = 1;
/// IPPROTO_ICMPV6
pub const ICMPV6: u16 = 58;
/// IPPROTO_FRAGMENT: the only extension header that is looked behind.
const FRAGMENT: u16 = 44;

/// TCP flags.
pub mod tcp_flag {
    /// SYN
    pub const SYN: u8 = 2;
    /// RST
    pub const RST: u8 = 4;
}

/// Where a header is, and which.
struct Inner {
    /// Where the transport header is; none in a later fragment.
    transport: Kernel,
    /// TTL or hop limit.
    ttl: u8,
}

/// Reads an IP header. `to`: zeroed. None: not IP.
#[inline(always)]
fn network(header: Kernel, to: &mut Tuple) -> Option<Inner> {
    // An IPv6 header is longer.
    let bytes: [u8; 20] = header.read(0);
    let version = bytes[0] >> 4;
    let mut inner = if version == 4 {
        let [.., a, b, c, d, e, f, g, h] = bytes;
        to.family = AF_INET;
        to.protocol = bytes[9] as u16;
        to.local[..4].copy_from_slice(&[a, b, c, d]);
        to.remote[..4].copy_from_slice(&[e, f, g, h]);
        let later_fragment = (bytes[6] & 0x1f) | bytes[7] != 0;
        let transport = if later_fragment { Kernel::NULL } else { header.field((bytes[0] & 15) as u32 * 4) };
        Inner { transport, ttl: bytes[8] }
    } else if version == 6 {
        to.family = AF_INET6;
        to.protocol = bytes[6] as u16;
        header.copy::<16>(8, &mut to.local);
        header.copy::<16>(24, &mut to.remote);
        Inner { transport: header.field(40), ttl: bytes[7] }
    } else {
        return None;
    };
    if version == 6 && to.protocol == FRAGMENT {
        let bytes: [u8; 4] = inner.transport.read(0);
        to.protocol = bytes[0] as u16;
        let later_fragment = bytes[2] | (bytes[3] & 0xf8) != 0;
        inner.transport = if later_fragment { Kernel::NULL } else { inner.transport.field(8) };
    }
    Some(inner)
}

/// Reads the ports of a TCP or UDP header.
#[inline(always)]
fn ports(transport: Kernel, to: &mut Tuple) {
    if to.protocol == TCP || to.protocol == UDP {
        let [source, destination]: [u16; 2] = transport.read(0);
        to.local_port = u16::from_be(source);
        to.remote_port = u16::from_be(destination);
    }
}

/// The first 16 bytes of a TCP header (RFC 9293 §3.1), as words in host order.
#[inline(always)]
fn tcp(header: Kernel) -> [u32; 4] {
    let words: [u32; 4] = header.read(0);
    words.map(u32::from_be)
}

/// Whether an ICMP type is an error, which quotes the packet it complains of (RFC 792; RFC 4443 §2.1).
#[inline(always)]
pub fn is_icmp_error(protocol: u16, kind: u8) -> bool {
    if protocol == ICMP { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { protocol == ICMPV6 && kind < 128 }
}

/// Notes what a TCP header says besides the ports.
#[inline(always)]
fn segment([_, sequence, acknowledgement, rest]: [u32; 4], to: &mut Packet) {
    to.sequence = sequence;
    to.acknowledgement = acknowledgement;
    to.tcp_flags = (rest >> 16) as u8;
}

/// Reads a transport header.
#[inline(always)]
fn transport(header: Kernel, to: &mut Packet) {
    if to.tuple.protocol == TCP {
        let words = tcp(header);
        to.tuple.local_port = (words[0] >> 16) as u16;
        to.tuple.remote_port = words[0] as u16;
        segment(words, to);
    } else if to.tuple.protocol == UDP {
        ports(header, &mut to.tuple);
    } else if to.tuple.protocol == ICMP || to.tuple.protocol == ICMPV6 {
        let [kind, code]: [u8; 2] = header.read(0);
        to.icmp_type = kind;
        to.icmp_code = code;
    }
}

/// Reads the packet whose IP header is at `header`. Its transport header: null in a later fragment. None: not IP.
#[inline(always)]
pub fn headers(header: Kernel, to: &mut Packet) -> Option<Kernel> {
    let inner = network(header, &mut to.tuple)?;
    to.ttl = inner.ttl;
    if !inner.transport.is_null() {
        transport(inner.transport, to);
    }
    Some(inner.transport)
}

/// Reads an ARP packet (RFC 826) about IPv4 addresses on an Ethernet: the sender's as local, the target's as remote, the
/// operation as the ICMP type. False: it is about others.
#[inline(always)]
pub fn arp(header: Kernel, to: &mut Packet) -> bool {
    let [_, _, p0, p1, hardware, protocol, _, operation]: [u8; 8] = header.read(0);
    if u16::from_be_bytes([p0, p1]) != ETH_IP || hardware != 6 || protocol != 4 {
        return false;
    }
    to.tuple.family = AF_INET;
    to.tuple.protocol = ETH_ARP;
    header.copy::<4>(14, &mut to.tuple.local);
    header.copy::<4>(24, &mut to.tuple.remote);
    to.icmp_type = operation;
    true
}

/// Whether a packet asks for a neighbour's link address or answers that: ARP, neighbour solicitation (135) or
/// advertisement (136, RFC 4861 §4.3 and §4.4).
#[inline(always)]
pub fn is_discovery(packet: &Packet) -> bool {
    packet.tuple.protocol == ETH_ARP || packet.tuple.protocol == ICMPV6 && matches!(packet.icmp_type, 135 | 136)
}

/// What a packet of discovery is about: of ARP, whose answer goes back to the one who asks, that one's link address; of
/// neighbour discovery the address that is asked for (RFC 4861 §4.3, behind 40 bytes of IPv6 and 8 of ICMPv6 header:
/// fragments of them are not taken, RFC 6980), and the link address of a question in its first option.
#[inline(always)]
pub fn discovery(skb: Kernel, packet: &Packet, target: &mut [u8; 16], link: &mut [u8; 8]) {
    const ARP_REQUEST: u8 = 1;
    let header = network_header(skb);
    if packet.tuple.protocol == ETH_ARP {
        header.copy::<6>(if packet.icmp_type == ARP_REQUEST { 8 } else { 18 }, link);
        return;
    }
    header.copy::<16>(48, target);
    // Source link-layer address, one unit of 8 bytes.
    if packet.icmp_type == 135 && header.read::<[u8; 2]>(64) == [1, 1] {
        header.copy::<6>(66, link);
    }
}

/// Reads the packet that an ICMP error quotes (its ICMP header is at `icmp`). What is cut or no IP packet stays as far as
/// it was read: family 0 means nothing is known.
#[inline(always)]
pub fn quoted(icmp: Kernel, to: &mut Tuple) {
    if icmp.is_null() {
        return;
    }
    if let Some(inner) = network(icmp.field(8), to)
        && !inner.transport.is_null()
    {
        ports(inner.transport, to);
    }
}

/// Bytes 4..8 of the ICMP header.
#[inline(always)]
pub fn icmp_info(icmp: Kernel) -> u32 {
    if icmp.is_null() { 0 } else { u32::from_be(icmp.read(4)) }
}

/// Reads a TCP packet that this host builds and that has no IP header yet.
#[inline(always)]
pub fn bare_tcp<P: Place>(skb: P, to: &mut Packet) {
    let head = Kernel(skb.read(offset!(skb_head)));
    segment(tcp(head.field(skb.read::<u16>(offset!(skb_transport_header)) as u32)), to);
}

/// Where `sk_buff` says the IP header is.
#[inline(always)]
pub fn network_header<P: Place>(skb: P) -> Kernel {
    Kernel(skb.read(offset!(skb_head))).field(skb.read::<u16>(offset!(skb_network_header)) as u32)
}

/// What the `sk_buff` itself knows: length, mark, devices, namespace (0 without a device).
#[inline(always)]
pub fn describe<P: Place>(skb: P, to: &mut Packet) {
    to.length = skb.read(offset!(skb_len));
    to.mark = skb.read(offset!(skb_mark));
    to.in_device = skb.read(offset!(skb_iif));
    let device = skb.pointer(offset!(skb_dev));
    if !device.is_null() {
        to.device = device.read(offset!(dev_ifindex));
        device.copy::<16>(offset!(dev_name), &mut to.device_name);
        to.netns = device.pointer(offset!(dev_net)).read(offset!(net_inum));
    }
}

/// Whether a packet is for many: its drop says nothing of a connection.
#[inline(always)]
pub fn is_multicast(tuple: &Tuple) -> bool {
    if tuple.family == AF_INET { tuple.remote[0] >= 224 } else { tuple.remote[0] == 0xff }
}
