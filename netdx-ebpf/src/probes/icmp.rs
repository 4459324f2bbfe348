//! `netif_receive_skb(struct sk_buff *skb)`, 2.6.37: every packet that comes in, of which only ICMP errors matter (what
//! isn't ICMP must be let go after a few instructions); and `icmp_send(const struct sk_buff *skb, int type, int code)`,
//! 6.11 (backported to 6.1): this kernel sends an ICMP error about `skb`. ICMPv6 has no such tracepoint. Before that, the
//! entry of `__icmp_send(struct sk_buff *skb_in, int type, int code, __be32 info, const struct ip_options *opt)` (5.1,
//! net/ipv4/icmp.c), which may still decide against it (a rate limit, an error about an error).

use netdx_common::record::{IcmpReceived, IcmpSent};

use super::{Arguments, kprobe, tracepoint};
use crate::{
    emit::{self, Wake},
    packet::{self, ETH_IP, ETH_IPV6, ICMP, ICMPV6},
    read::{self, Kernel, Place, offset},
};

tracepoint!("netif_receive_skb", netif_receive_skb, netif_receive_skb_raw, received);
tracepoint!("icmp_send", icmp_send, icmp_send_raw, sent);
kprobe!("__icmp_send", icmp_send_kprobe, sent);

#[inline(always)]
fn received<A: Arguments>(arguments: &A) {
    let skb = arguments.pointer(0);
    // The network header isn't set yet (__netif_receive_skb_core does that next), but `data` is at it.
    let data = Kernel(skb.read(offset!(skb_data)));
    let icmp = match u16::from_be(skb.read(offset!(skb_protocol))) {
        ETH_IP => data.read::<u8>(9) as u16 == ICMP,
        ETH_IPV6 => data.read::<u8>(6) as u16 == ICMPV6,
        _ => false,
    };
    if !icmp {
        return;
    }
    emit::record_if::<IcmpReceived>(Wake::Later, |record| {
        let Some(icmp) = packet::headers(data, &mut record.packet) else {
            return false;
        };
        if !packet::is_icmp_error(record.packet.tuple.protocol, record.packet.icmp_type)
            || !emit::has_room_for_flood(record.header.time)
        {
            return false;
        }
        packet::describe(skb, &mut record.packet);
        // `skb_iif` isn't set yet either.
        record.packet.in_device = record.packet.device;
        packet::quoted(icmp, &mut record.quoted);
        record.info = packet::icmp_info(icmp);
        true
    });
}

#[inline(always)]
fn sent<A: Arguments>(arguments: &A) {
    let skb = arguments.pointer(0);
    emit::record_if::<IcmpSent>(Wake::Later, |record| {
        // What isn't IP is told as far as the packet itself is known.
        let _ = packet::headers(packet::network_header(skb), &mut record.packet);
        if !emit::has_room_for_flood(record.header.time) {
            return false;
        }
        packet::describe(skb, &mut record.packet);
        record.packet.icmp_type = arguments.number(1) as u8;
        record.packet.icmp_code = arguments.number(2) as u8;
        read::stack(arguments.as_ptr(), &mut record.stack);
        true
    });
}
