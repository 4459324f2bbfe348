//! `inet_sk_error_report(const struct sock *sk)`, 5.14: an error is reported to a socket, TCP or UDP. Before that,
//! `sock_def_error_report(struct sock *sk)` (net/core/sock.c), which sockets of both are made with: `sk->sk_error_report`.
//!
//! For TCP it comes after the change to TCP_CLOSE with the same error, which is told once.
//! Without an error it still comes for each ICMP error that is queued (sock_queue_err_skb), which is worth a record, and
//! from tcp_disconnect and for multipath subflows, which isn't.

use core::mem::MaybeUninit;

use netdx_common::record::SocketError;

use super::{Arguments, Watched, kprobe, tracepoint};
use crate::{
    emit::{self, Wake},
    filter,
    maps::Conn,
    read::{Place, offset, zeroed},
    socket::{self, MPTCP, TCP, UDP, direction, state},
    task,
};

tracepoint!(
    "inet_sk_error_report",
    inet_sk_error_report,
    inet_sk_error_report_raw,
    inet_sk_error_report_again,
    Watched::SocketError,
    reported
);
kprobe!("sock_def_error_report", inet_sk_error_report_kprobe, reported);

#[inline(always)]
fn reported<A: Arguments>(arguments: &A) {
    let sk = arguments.pointer(0);
    let error: u32 = sk.read(offset!(sk_err));
    if error == 0 && sk.read::<u32>(offset!(sk_error_queue_qlen)) == 0 {
        return;
    }
    let protocol: u16 = sk.read(offset!(sk_protocol));
    let conn = if protocol == TCP || protocol == MPTCP {
        if error == 0 && sk.read::<u8>(offset!(skc_state)) as u32 == state::CLOSE {
            // tcp_disconnect, with an old ICMP error still queued.
            return;
        }
        let Some(conn) = socket::follow(sk, direction::UNSEEN) else {
            return;
        };
        if protocol == TCP && conn.flags & Conn::ENDED != 0 {
            // The change to TCP_CLOSE has told the error and the ICMP message behind it.
            return;
        }
        socket::trouble(sk, conn);
        Some(conn)
    } else if protocol == UDP {
        socket::give_cookie(sk);
        let mut room = MaybeUninit::uninit();
        let tuple = zeroed(&mut room);
        socket::tuple(sk, tuple);
        if !filter::ports(tuple.local_port, tuple.remote_port) {
            return;
        }
        None
    } else {
        return;
    };
    emit::record::<SocketError>(Wake::Later, |record| {
        socket::describe(sk, conn, &mut record.sock);
        socket::icmp_error(sk, &mut record.icmp);
        record.current = task::read_current();
    });
}
