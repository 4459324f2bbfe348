//! `netif_receive_skb(struct sk_buff *skb)`, 2.6.37: every packet that comes in, of which only ICMP errors matter (what
//! isn't ICMP must be let go after a few instructions); and `icmp_send(const struct sk_buff *skb, int type, int code)`,
//! 6.11 (backported to 6.1): this kernel sends an ICMP error about `skb`. ICMPv6 has no such tracepoint.

use netdx_common::record::{IcmpReceived, IcmpSent};

use super::{Arguments, tracepoint};
use crate::{
    emit::{self, Wake},
    packet::{self, ETH_IP, ETH_IPV6, ICMP, ICMPV6, NOTHING},
    read::{self, Kernel, offset},
    socket::NOWHERE,
};

tracepoint!("netif_receive_skb", netif_receive_skb, netif_receive_skb_raw, received);
tracepoint!("icmp_send", icmp_send, icmp_send_raw, sent);

#[inline(always)]
fn received<A: Arguments>(arguments: &A) {
    let skb = arguments.pointer(0);
    // The network header isn't set yet (__netif_receive_skb_core does that next), but `data` is at it.
    let (protocol, data) = if A::TYPED {
        (skb.load::<u16>(offset!(skb_protocol)), Kernel(skb.load(offset!(skb_data))))
    } else {
        (skb.read::<u16>(offset!(skb_protocol)), skb.pointer(offset!(skb_data)))
    };
    let icmp = match u16::from_be(protocol) {
        ETH_IP => data.read::<u8>(9) as u16 == ICMP,
        ETH_IPV6 => data.read::<u8>(6) as u16 == ICMPV6,
        _ => false,
    };
    if !icmp {
        return;
    }
    let (mut packet, mut quoted, mut info) = (NOTHING, NOWHERE, 0);
    packet::headers(data, &mut packet, &mut quoted, &mut info);
    if !packet::is_icmp_error(packet.tuple.protocol, packet.icmp_type) || !packet::wanted(&packet.tuple, &quoted) {
        return;
    }
    if !emit::has_room_for_flood() {
        return;
    }
    packet::describe(skb, &mut packet);
    // `skb_iif` isn't set yet either.
    packet.in_device = packet.device;
    emit::record::<IcmpReceived>(Wake::Later, |record| {
        record.packet = packet;
        record.quoted = quoted;
        record.info = info;
    });
}

#[inline(always)]
fn sent<A: Arguments>(arguments: &A) {
    let skb = arguments.pointer(0);
    let (mut packet, mut quoted, mut info) = (NOTHING, NOWHERE, 0);
    packet::headers(packet::network_header(skb), &mut packet, &mut quoted, &mut info);
    if !packet::wanted(&packet.tuple, &quoted) || !emit::has_room_for_flood() {
        return;
    }
    packet::describe(skb, &mut packet);
    packet.icmp_type = arguments.number(1) as u8;
    packet.icmp_code = arguments.number(2) as u8;
    emit::record::<IcmpSent>(Wake::Later, |record| {
        record.packet = packet;
        read::stack(arguments.as_ptr(), &mut record.stack);
    });
}
