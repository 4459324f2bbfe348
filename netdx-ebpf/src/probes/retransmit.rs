//! `tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb, int err)`, 4.15; `err` since 6.17, and from
//! then on also for a retransmission that failed. `tcp_retransmit_synack(const struct sock *sk, const struct
//! request_sock *req)`, 4.15: `sk` is the listener; the request counts this one only afterwards (tcp_rtx_synack).

use netdx_common::record::{Retransmit, SynAckRetransmit};

use super::{Arguments, tracepoint};
use crate::{
    emit::{self, Wake},
    read::{Place, config, now, offset},
    socket::{self, AF_INET, AF_INET6, TCP, direction, state},
};

tracepoint!("tcp_retransmit_skb", tcp_retransmit_skb, tcp_retransmit_skb_raw, segment);
tracepoint!("tcp_retransmit_synack", tcp_retransmit_synack, tcp_retransmit_synack_raw, synack);

/// So many retransmissions of one connection are written: more say nothing new.
const LIMIT: u8 = 20;

#[inline(always)]
fn segment<A: Arguments>(arguments: &A) {
    let (sk, skb) = (arguments.pointer(0).address(), arguments.pointer(1).address());
    let result = if config!(arguments.tcp_retransmit_skb_err) != 0 { arguments.number(2) as i32 } else { i32::MIN };
    let connecting = sk.read::<u8>(offset!(skc_state)) as u32 == state::SYN_SENT;
    // Fast retransmissions are TCP at work; a timer that expires, or a send that fails, is trouble.
    let failed = result != 0 && result != i32::MIN;
    if !connecting && !failed && sk.read::<u8>(offset!(icsk_retransmits)) == 0 {
        return;
    }
    let Some(conn) = socket::follow(sk, direction::UNSEEN) else {
        return;
    };
    if conn.retransmits >= LIMIT {
        return;
    }
    conn.retransmits += 1;
    socket::trouble(sk, conn);
    emit::record::<Retransmit>(Wake::Later, |record| {
        socket::describe(sk, Some(conn), &mut record.sock);
        socket::counters(sk, &mut record.tcp);
        record.result = result;
        record.length = skb.read(offset!(skb_len));
        record.sequence = skb.field(offset!(skb_cb)).read(offset!(tcp_cb_seq));
    });
}

#[inline(always)]
fn synack<A: Arguments>(arguments: &A) {
    let (sk, request) = (arguments.pointer(0).address(), arguments.pointer(1).address());
    let local_port: u16 = request.read(offset!(req_num));
    let remote_port = u16::from_be(request.read(offset!(req_dport)));
    if !emit::has_room_for_flood(now()) {
        return;
    }
    emit::record::<SynAckRetransmit>(Wake::Later, |record| {
        socket::describe(sk, None, &mut record.listener);
        let tuple = &mut record.tuple;
        tuple.family = request.read(offset!(req_family));
        tuple.protocol = TCP;
        tuple.local_port = local_port;
        tuple.remote_port = remote_port;
        if tuple.family == AF_INET {
            request.copy::<4>(offset!(req_rcv_saddr), &mut tuple.local);
            request.copy::<4>(offset!(req_daddr), &mut tuple.remote);
        } else if tuple.family == AF_INET6 {
            request.copy::<16>(offset!(req_v6_rcv_saddr), &mut tuple.local);
            request.copy::<16>(offset!(req_v6_daddr), &mut tuple.remote);
        }
        record.retransmits = request.read::<u8>(offset!(req_num_retrans)) as u32 + 1;
    });
}
