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
/// IPPROTO_IPIP: IPv4 in IP (RFC 2003).
const IPIP: u16 = 4;
/// IPPROTO_IPV6: IPv6 in IP (RFC 4213).
const IPV6: u16 = 41;
/// IPPROTO_GRE
const GRE: u16 = 47;
/// IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_FRAGMENT, IPPROTO_DSTOPTS: the extension headers that are looked behind.
const HOP_BY_HOP: u16 = 0;
const ROUTING: u16 = 43;
const FRAGMENT: u16 = 44;
const DESTINATION: u16 = 60;
/// As many of them as a packet should have at most (RFC 8200 §4.1).
const EXTENSIONS: u32 = 5;

/// TCP flags.
pub mod tcp_flag {
    /// SYN
    pub const SYN: u8 = 2;
    /// RST
    pub const RST: u8 = 4;
}

/// Where a header is, and which.
struct Network {
    /// Where the transport header is; none in a later fragment.
    transport: Kernel,
    /// TTL or hop limit.
    ttl: u8,
}

/// Reads an IP header. `to`: zeroed. None: not IP.
#[inline(always)]
fn network(header: Kernel, to: &mut Tuple) -> Option<Network> {
    // An IPv6 header is longer.
    let bytes: [u8; 20] = header.read(0);
    let version = bytes[0] >> 4;
    let mut found = if version == 4 {
        let [.., a, b, c, d, e, f, g, h] = bytes;
        to.family = AF_INET;
        to.protocol = bytes[9] as u16;
        to.local[..4].copy_from_slice(&[a, b, c, d]);
        to.remote[..4].copy_from_slice(&[e, f, g, h]);
        let later_fragment = (bytes[6] & 0x1f) | bytes[7] != 0;
        let transport = if later_fragment { Kernel::NULL } else { header.field((bytes[0] & 15) as u32 * 4) };
        Network { transport, ttl: bytes[8] }
    } else if version == 6 {
        to.family = AF_INET6;
        to.protocol = bytes[6] as u16;
        header.copy::<16>(8, &mut to.local);
        header.copy::<16>(24, &mut to.remote);
        Network { transport: header.field(40), ttl: bytes[7] }
    } else {
        return None;
    };
    if version == 6 {
        for _ in 0..EXTENSIONS {
            if !matches!(to.protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
                break;
            }
            let [next, length, o0, o1]: [u8; 4] = found.transport.read(0);
            let is_fragment = to.protocol == FRAGMENT;
            to.protocol = next as u16;
            if is_fragment && o0 | (o1 & 0xf8) != 0 {
                found.transport = Kernel::NULL;
                break;
            }
            found.transport = found.transport.field(if is_fragment { 8 } else { (length as u32 + 1) * 8 });
        }
    }
    Some(found)
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
    let found = network(header, &mut to.tuple)?;
    to.ttl = found.ttl;
    if !found.transport.is_null() {
        transport(found.transport, to);
    }
    Some(found.transport)
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
pub fn discovery(header: Kernel, packet: &Packet, target: &mut [u8; 16], link: &mut [u8; 8]) {
    const ARP_REQUEST: u8 = 1;
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
    if let Some(found) = network(icmp.field(8), to)
        && !found.transport.is_null()
    {
        ports(found.transport, to);
    }
}

/// Bytes 4..8 of the ICMP header.
#[inline(always)]
pub fn icmp_info(icmp: Kernel) -> u32 {
    if icmp.is_null() { 0 } else { u32::from_be(icmp.read(4)) }
}

/// Reads what a tunnel's packet has in it, an IP or ARP packet at `header`.
#[inline(always)]
pub fn inner(header: Kernel, to: &mut Packet) {
    if headers(header, to).is_none() {
        // Neither: nothing is known of it.
        arp(header, to);
    }
}

/// Where the packet is that a tunnel has wrapped into one whose headers are at `network` and `transport`; null: it is no
/// tunnel's, or can't be told.
///
/// What leaves has the place noted (skb_reset_inner_headers in iptunnel_handle_offloads, 6.18). What comes in is looked into, if
/// it is by IP itself, GRE, or one of UDP's tunnels at its own port. The length in a header proves it: others encrypt what
/// is there (WireGuard).
#[inline(always)]
pub fn wrapped(skb: Kernel, network: Kernel, transport: Kernel, outer: &Packet) -> Kernel {
    if transport.is_null() || !matches!(outer.tuple.protocol, IPIP | IPV6 | GRE | UDP) {
        return Kernel::NULL;
    }
    let head = Kernel(skb.read(offset!(skb_head)));
    let noted = head.field(skb.read::<u16>(offset!(skb_inner_network_header)) as u32);
    let inner = if noted.0 > network.0 { noted } else { arriving(transport, &outer.tuple) };
    let end = head.field(skb.read(offset!(skb_tail)));
    if inner.0 < head.0 || inner.0 + LEAST as u64 > end.0 {
        return Kernel::NULL;
    }
    // What isn't in the linear part can't be read here.
    let linear = (end.0 - inner.0) as u32;
    let rest = linear + skb.read::<u32>(offset!(skb_data_len));
    let [first, _, l0, l1, p0, p1, ..]: [u8; 8] = inner.read(0);
    let length = match first >> 4 {
        4 => u16::from_be_bytes([l0, l1]) as u32,
        6 => u16::from_be_bytes([p0, p1]) as u32 + 40,
        // Ethernet's hardware type, IPv4 addresses.
        _ if [first, l0, l1] == [0, 0x08, 0x00] => LEAST,
        _ => return Kernel::NULL,
    };
    let fits =
        length >= LEAST && rest >= length && rest - length < PADDING && linear >= if rest < 60 { rest } else { 60 };
    if fits { inner } else { Kernel::NULL }
}

/// An ARP packet has 28 bytes, and so have an IPv4 and a UDP header.
const LEAST: u32 = 28;
/// Ethernet fills a frame up to that many bytes.
const PADDING: u32 = 46;

/// What a tunnel's packet has behind its headers, by the protocol or the port it comes by.
#[inline(always)]
fn arriving(transport: Kernel, outer: &Tuple) -> Kernel {
    const UDP_HEADER: u32 = 8;
    const ETHERNET: u32 = 14;
    /// IANA's, and what Linux takes when it isn't told another one (drivers/net/vxlan).
    const VXLAN: [u16; 2] = [4789, 8472];
    const GENEVE: u16 = 6081;
    /// RFC 1701's name for a bridged Ethernet frame (ETH_P_TEB).
    const BRIDGED: u16 = 0x6558;
    match (outer.protocol, outer.remote_port) {
        (IPIP | IPV6, _) => transport,
        // RFC 2784 and RFC 2890: a checksum, a key and a number may follow, 4 bytes each.
        (GRE, _) => {
            let [flags, _, p0, p1]: [u8; 4] = transport.read(0);
            let options = (flags >> 7) + (flags >> 5 & 1) + (flags >> 4 & 1);
            let frame = if u16::from_be_bytes([p0, p1]) == BRIDGED { ETHERNET } else { 0 };
            transport.field(4 + options as u32 * 4 + frame)
        }
        // RFC 7348
        (UDP, port) if port == VXLAN[0] || port == VXLAN[1] => transport.field(UDP_HEADER + 8 + ETHERNET),
        // RFC 8926
        (UDP, GENEVE) => {
            let [options, ..]: [u8; 4] = transport.read(UDP_HEADER);
            transport.field(UDP_HEADER + 8 + (options & 0x3f) as u32 * 4 + ETHERNET)
        }
        _ => Kernel::NULL,
    }
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
