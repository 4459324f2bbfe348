//! `kfree_skb(struct sk_buff *skb, void *location, enum skb_drop_reason reason, struct sock *rx_sk)`: the reason since
//! 5.17, the socket that was to get it since 6.11.
//!
//! A packet of TCP or UDP, or an ICMP error, that isn't for many, a question for a neighbour's link address or its answer, or a
//! tunnel's packet with any in it, dropped for a reason that can explain a failure. Where
//! the kernel gives no reason, freeing is no proof of a drop: there only packets that open or refuse a connection are
//! written, and user space judges by the place. A packet that was answered with a reset, for want of a socket, is not written
//! again.

use core::hint::black_box;

use netdx_common::record::{Drop, Packet};
use zerocopy::FromZeros;

use super::{Arguments, Watched, reset, tracepoint};
use crate::{
    emit::{self, Wake},
    maps::Conn,
    packet::{self, ETH_ARP, ETH_IP, ETH_IPV6, tcp_flag},
    read::{self, Kept, Kernel, Place, config, now, offset},
    socket::{self, TCP, UDP, state},
    task,
};

tracepoint!("kfree_skb", kfree_skb, kfree_skb_raw, kfree_skb_again, Watched::Drop, dropped);

/// So many drops of a connection's packets are written, those that open or reset it not counted.
const LIMIT: u8 = 20;

/// `Drop::socket_role`
const RECEIVER: u32 = 1;
/// `Drop::socket_role`
const OWNER: u32 = 2;

#[inline(always)]
fn dropped<A: Arguments>(arguments: &A) {
    let has_reason = config!(arguments.kfree_skb_reason) != 0;
    let reason = if has_reason { arguments.number(2) as u32 as i32 } else { -1 };
    if has_reason && is_ignored(reason as u32) {
        return;
    }
    let skb = arguments.pointer(0);
    if reset::was_answered(skb) {
        return;
    }
    let protocol = u16::from_be(skb.read(offset!(skb_protocol)));
    if protocol != ETH_IP && protocol != ETH_IPV6 && protocol != 0 && protocol != ETH_ARP {
        return;
    }
    let skb = skb.address();
    let (sk, role) = owner(arguments, skb);
    emit::scratch(|looked: &mut Looked, room| {
        let network = packet::network_header(skb);
        if !read_headers(skb, network, protocol, sk, role, looked) {
            return;
        }
        looked.about.put(network);
        let wrapped = packet::wrapped(skb, network, looked.transport.get(), &looked.packet);
        if !wrapped.is_null() {
            packet::inner(wrapped, &mut looked.inner);
            looked.about.put(wrapped);
        }
        let Looked { packet: dropped, inner, .. } = black_box(&mut *looked);
        let is_tunnels = inner.tuple.family != 0;
        let discovery = packet::is_discovery(dropped) || packet::is_discovery(inner);
        if packet::is_multicast(&dropped.tuple) && !discovery && !is_tunnels {
            return;
        }
        let kind = dropped.tuple.protocol;
        let opens = dropped.tcp_flags & (tcp_flag::SYN | tcp_flag::RST) != 0;
        let of_interest = match kind {
            TCP => has_reason || opens,
            UDP => true,
            _ => discovery || packet::is_icmp_error(kind, dropped.icmp_type) || is_tunnels,
        };
        if !of_interest {
            return;
        }
        let mut conn = if sk.is_null() || kind != TCP { None } else { socket::followed(sk) };
        let in_trouble = conn.as_ref().is_some_and(|conn| conn.flags & Conn::TROUBLE != 0);
        if role == RECEIVER && kind == TCP && !opens && !in_trouble && is_closing(sk) {
            return;
        }
        if let Some(conn) = &mut conn {
            if !opens {
                if conn.drops >= LIMIT {
                    return;
                }
                conn.drops += 1;
            }
            socket::trouble(sk, conn);
        }
        if conn.is_none() && !emit::has_room_for_flood(now()) {
            return;
        }
        if !room {
            return emit::lost(1);
        }
        packet::describe(skb, dropped);
        emit::record::<Drop>(Wake::Later, |record| {
            // Read anew: what was found out so far is not gone on with in each way that it can be.
            let Looked { packet, inner, about, .. } = black_box(&*looked);
            record.packet = *packet;
            record.inner = *inner;
            let innermost = if inner.tuple.family == 0 { packet } else { inner };
            if packet::is_discovery(innermost) {
                packet::discovery(about.get(), innermost, &mut record.discovery_target, &mut record.discovery_link);
            }
            if !sk.is_null() {
                socket::describe(sk, conn, &mut record.sock);
                record.socket_role = role;
                if record.packet.netns == 0 {
                    record.packet.netns = record.sock.netns;
                }
            }
            record.reason = reason;
            record.location = arguments.number(1);
            let route = skb.read::<u64>(offset!(skb_refdst)) & !SKB_DST_NOREF_MASK;
            if route != 0 {
                record.route_input = Kernel(route).read(offset!(dst_input));
            }
            if record.packet.in_device == 0 {
                // What came in by a device is dropped in a softirq.
                record.current = task::read_current();
            }
            if !has_reason || !is_plain(reason as u32) {
                read::stack(arguments.as_ptr(), &mut record.stack);
            }
        });
    });
}

/// What is looked at to know whether it is worth a record.
#[repr(C)]
#[derive(FromZeros)]
struct Looked {
    packet: Packet,
    /// A tunnel's has this one in it.
    inner: Packet,
    /// Where the packet's transport header is; null: nothing can be behind it.
    transport: Kept,
    /// Where the header is of the innermost.
    about: Kept,
}

/// Reads what was dropped. False: no packet.
#[inline(always)]
fn read_headers(skb: Kernel, network: Kernel, protocol: u16, sk: Kernel, role: u32, looked: &mut Looked) -> bool {
    let to = &mut looked.packet;
    if protocol == ETH_ARP {
        return packet::arp(network, to);
    }
    let headers = if protocol != 0 { packet::headers(network, to) } else { None };
    if let Some(found) = headers {
        looked.transport.put(found);
        // Without a TTL it is no packet: what the kernel makes up to ask its own routing (inet_rtm_getroute).
        return to.ttl != 0;
    }
    // Built here and dropped before its IP header was pushed: the socket knows the addresses.
    if role != OWNER || sk.read::<u16>(offset!(sk_protocol)) != TCP {
        return false;
    }
    socket::tuple(sk, &mut to.tuple);
    packet::bare_tcp(skb, to);
    true
}

/// Whether a socket is past sending: what it is still sent, the last acknowledgement above all, it frees with reasons
/// that say nothing (tcp_rcv_state_process, 6.18).
#[inline(always)]
fn is_closing(sk: Kernel) -> bool {
    let now = sk.read::<u8>(offset!(skc_state)) as u32;
    !matches!(now, state::ESTABLISHED | state::SYN_SENT | state::SYN_RECV | state::LISTEN | state::NEW_SYN_RECV)
}

/// Low bits of `_skb_refdst` that aren't the route's address (`SKB_DST_NOREF` and what alignment leaves free).
const SKB_DST_NOREF_MASK: u64 = 7;

/// Whether a reason comes with traffic that works. Reasons of other subsystems (bits 16 and up) don't.
#[inline(always)]
fn is_ignored(reason: u32) -> bool {
    has(config!(drops_ignored), reason)
}

/// Whether the stack of a drop for this reason says nothing more.
#[inline(always)]
fn is_plain(reason: u32) -> bool {
    has(config!(drops_plain), reason)
}

#[inline(always)]
fn has(bits: [u32; 8], reason: u32) -> bool {
    let [a, b, c, d, e, f, g, h] = bits;
    let word = match reason / 32 {
        0 => a,
        1 => b,
        2 => c,
        3 => d,
        4 => e,
        5 => f,
        6 => g,
        7 => h,
        _ => 0,
    };
    word >> (reason % 32) & 1 != 0
}

/// The internet socket that was to get the packet, or that it belongs to (sender, or found by early demultiplexing).
#[inline(always)]
fn owner<A: Arguments>(arguments: &A, skb: Kernel) -> (Kernel, u32) {
    if config!(arguments.kfree_skb_rx_sk) != 0 {
        let receiver = arguments.pointer(3).address();
        if !receiver.is_null() && socket::is_internet(receiver) {
            return (receiver, RECEIVER);
        }
    }
    let owner = skb.pointer(offset!(skb_sk));
    if !owner.is_null() && socket::is_internet(owner) {
        return (owner, OWNER);
    }
    (Kernel::NULL, 0)
}
