//! `sock_send_length(struct sock *sk, int ret, int flags)` and `sock_recv_length`, the same, 6.3: what sending and
//! receiving gave, in the context of whoever called. They don't say whereto a datagram was to go: the user's registers do.
//! Before that, the returns of `inet_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)`,
//! `inet_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags)` and their twins for IPv6.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::fexit, programs::FExitContext};
use netdx_common::record::{CallFailed, call};

use super::{Arguments, Watched, registers, route, tracepoint};
use crate::{
    emit::{self, Wake},
    filter,
    maps::Call,
    read::{Kernel, Place, offset, zeroed},
    socket::{self, MPTCP, TCP, UDP},
    task,
};

tracepoint!("sock_send_length", sock_send_length, sock_send_length_raw, sock_send_length_again, Watched::Sent, sent);
tracepoint!(
    "sock_recv_length",
    sock_recv_length,
    sock_recv_length_raw,
    sock_recv_length_again,
    Watched::Received,
    received
);

/// EINTR
const EINTR: i32 = -4;
/// EAGAIN
const EAGAIN: i32 = -11;
/// ERESTARTSYS, and the others of its kind down to ERESTART_RESTARTBLOCK (linux/errno.h): a signal came.
const RESTARTS: core::ops::RangeInclusive<i32> = -516..=-512;

/// `inet_sendmsg`, `inet6_sendmsg`, fexit.
#[fexit(function = "inet_sendmsg")]
pub fn inet_sendmsg(context: FExitContext) -> i32 {
    returned_by_socket(&context, 3, call::SEND);
    0
}

/// `inet_recvmsg`, `inet6_recvmsg`, fexit.
#[fexit(function = "inet_recvmsg")]
pub fn inet_recvmsg(context: FExitContext) -> i32 {
    returned_by_socket(&context, 4, call::RECEIVE);
    0
}

/// `position`: of the result, behind the arguments.
#[inline(always)]
fn returned_by_socket<A: Arguments>(arguments: &A, position: usize, which: u16) {
    let result = arguments.number(position) as i32;
    if is_failure(result) {
        failed(arguments.pointer(0).address().pointer(offset!(socket_sk)), result, which);
    }
}

#[inline(always)]
fn sent<A: Arguments>(arguments: &A) {
    returned(arguments, call::SEND);
}

#[inline(always)]
fn received<A: Arguments>(arguments: &A) {
    returned(arguments, call::RECEIVE);
}

#[inline(always)]
fn returned<A: Arguments>(arguments: &A, which: u16) {
    let result = arguments.number(1) as i32;
    if is_failure(result) {
        let sk = arguments.pointer(0);
        socket::give_cookie(sk);
        failed(sk.address(), result, which);
    }
}

/// Whether a result tells of a failure, and not of a call that is to be made again.
#[inline(always)]
fn is_failure(result: i32) -> bool {
    result < 0 && result != EINTR && result != EAGAIN && !RESTARTS.contains(&result)
}

#[inline(always)]
fn failed(sk: Kernel, result: i32, which: u16) {
    let protocol: u16 = sk.read(offset!(sk_protocol));
    if !socket::is_internet(sk) || !matches!(protocol, TCP | UDP | MPTCP) {
        return;
    }
    if !filter::current_task() {
        return;
    }
    let mut conn = socket::followed(sk);
    let mut room = MaybeUninit::uninit();
    let tuple = zeroed(&mut room);
    socket::tuple(sk, tuple);
    if conn.is_none() && tuple.remote_port != 0 && !filter::ports(tuple.local_port, tuple.remote_port) {
        return;
    }
    if let Some(conn) = &mut conn {
        socket::introduce(sk, conn);
    }
    let task = task::read_current();
    task::remember(&task);
    task::announce(task.tgid);
    let mut room = MaybeUninit::uninit();
    let destination: &mut Call = zeroed(&mut room);
    if which == call::SEND && tuple.remote_port == 0 {
        registers::destination(destination);
        if destination.family != 0 && !filter::port(destination.port) {
            return;
        }
    }
    emit::record::<CallFailed>(Wake::Later, |record| {
        record.task = task;
        socket::describe(sk, conn, &mut record.sock);
        record.call = which;
        record.result = result;
        record.socket_type = sk.read(offset!(sk_type));
        record.cgroup_hook = NO_HOOK;
        if which == call::SEND {
            record.address = destination.address;
            record.family = destination.family;
            record.port = destination.port;
            record.scope = destination.scope;
            if let Some(lookup) = route::failed(task.tid) {
                record.route = lookup.route;
                if record.family == 0 {
                    record.address = lookup.address;
                    record.family = lookup.family as u16;
                }
            }
        }
    });
}

/// `CallFailed::cgroup_hook`: netdx has no program on sending.
const NO_HOOK: u32 = 2;
