//! `tcp_receive_reset(struct sock *sk)`, 4.16: an RST came in, the socket still in the state it had; and
//! `tcp_send_reset(const struct sock *sk, const struct sk_buff *skb, const enum sk_rst_reason reason)`, 4.16, the reason
//! since 6.10: an RST is sent, in answer to `skb` or, without one, by this side's own decision. `sk` is NULL when no
//! socket was found (not called then before 6.10), and may be a request or time-wait socket.

use netdx_common::record::{Packet, ResetAnswer, ResetReceived, ResetSent};

use super::{Arguments, Watched, tracepoint};
use crate::{
    emit::{self, Wake},
    maps::{ANSWERED, Conn},
    packet,
    read::{self, Place, config, now, offset},
    socket::{self, direction, state},
    task,
};

tracepoint!(
    "tcp_receive_reset",
    tcp_receive_reset,
    tcp_receive_reset_raw,
    tcp_receive_reset_again,
    Watched::ResetReceived,
    received
);
tracepoint!("tcp_send_reset", tcp_send_reset, tcp_send_reset_raw, tcp_send_reset_again, Watched::ResetSent, sent);

#[inline(always)]
fn received<A: Arguments>(arguments: &A) {
    let sk = arguments.pointer(0);
    let Some(conn) = socket::follow(sk, direction::UNSEEN) else {
        return;
    };
    if sk.read::<u8>(offset!(skc_state)) as u32 != state::CLOSE {
        // It ends the connection (tcp_reset, 6.18): the change to TCP_CLOSE follows at once and tells of both.
        conn.flags |= Conn::TROUBLE;
        conn.reset = now();
        return;
    }
    socket::trouble(sk, conn);
    emit::record::<ResetReceived>(Wake::Later, |record| {
        socket::describe(sk, Some(conn), &mut record.sock);
        socket::counters(sk, &mut record.tcp);
    });
}

#[inline(always)]
fn sent<A: Arguments>(arguments: &A) {
    let (sk, skb) = (arguments.pointer(0), arguments.pointer(1));
    let reason = if config!(arguments.tcp_send_reset_reason) != 0 { arguments.number(2) as i32 } else { -1 };
    if sk.is_null() {
        // The verifier knows either for what may be NULL.
        if !skb.is_null() {
            answered(skb, reason);
        }
        return;
    }
    let (sk, skb) = (sk.address(), skb.address());
    let listener = sk.read::<u8>(offset!(skc_state)) as u32 == state::LISTEN;
    // An abort by this side is trouble of this socket; an answer is written whoever gets it.
    let mut conn =
        if skb.is_null() && !listener { socket::follow(sk, direction::UNSEEN) } else { socket::followed(sk) };
    if conn.is_none() && skb.is_null() {
        return;
    }
    if let Some(conn) = &mut conn {
        socket::trouble(sk, conn);
    }
    emit::record_if::<ResetSent>(Wake::Later, |record| {
        if !skb.is_null() && !answers(skb, record.header.time, &mut record.packet) {
            return false;
        }
        socket::describe(sk, conn, &mut record.sock);
        if record.packet.netns == 0 {
            record.packet.netns = record.sock.netns;
        }
        record.reason = reason;
        if skb.is_null() {
            record.current = task::read_current();
        }
        read::stack(arguments.as_ptr(), &mut record.stack);
        true
    });
}

/// A packet is answered for which there is no socket. There is one way to come here (tcp_v4_rcv, tcp_v6_rcv).
#[inline(always)]
fn answered<P: Place>(skb: P, reason: i32) {
    if let Some(last) = ANSWERED.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot. A softirq can't interrupt another one.
        unsafe { *last = skb.address().0 }
    }
    emit::record_if::<ResetAnswer>(Wake::Later, |record| {
        record.reason = reason;
        answers(skb, record.header.time, &mut record.packet)
    });
}

/// Reads the packet that a reset answers. False: it isn't worth a record.
#[inline(always)]
fn answers<P: Place>(skb: P, time: u64, to: &mut Packet) -> bool {
    // What isn't IP has no endpoints.
    let _ = packet::headers(packet::network_header(skb), to);
    if !emit::has_room_for_flood(time) {
        return false;
    }
    packet::describe(skb, to);
    true
}

/// Whether a packet, dropped now, is the one that this CPU answered with a reset before.
#[inline(always)]
pub(super) fn was_answered<P: Place>(skb: P) -> bool {
    let Some(last) = ANSWERED.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this CPU's own slot. A softirq can't interrupt another one.
    unsafe {
        let same = *last == skb.address().0;
        if same {
            // Its memory becomes another packet's.
            *last = 0;
        }
        same
    }
}
