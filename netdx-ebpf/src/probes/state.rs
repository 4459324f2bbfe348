//! `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, 4.16; and
//! `tcp_destroy_sock(struct sock *sk)`, 4.16, after which the address may be another socket's.
//!
//! A connection that works writes nothing here, unless all are asked for: its entry is made when it begins to connect,
//! in the caller's context, and removed when it ends.
//!
//! At TCP_CLOSE to TCP_SYN_SENT destination and port are set, the source port isn't (tcp_v4_connect); at the change to
//! TCP_CLOSE the bound port is already given back (inet_put_port), and after tcp_disconnect the addresses are gone.

use core::mem::MaybeUninit;

use netdx_common::config::flag;
use netdx_common::record::{ResetEnd, State};

use super::{Arguments, Watched, connect, tracepoint};
use crate::{
    emit::{self, Wake},
    filter,
    maps::Conn,
    read::{self, Place, config, now, offset, zeroed},
    socket::{self, MPTCP, TCP, direction, state},
    task,
};

tracepoint!(
    "inet_sock_set_state",
    inet_sock_set_state,
    inet_sock_set_state_raw,
    inet_sock_set_state_again,
    Watched::State,
    changed
);
tracepoint!("tcp_destroy_sock", tcp_destroy_sock, tcp_destroy_sock_raw, destroyed);

#[inline(always)]
fn changed<A: Arguments>(arguments: &A) {
    let sk = arguments.pointer(0);
    let (old, new) = (arguments.number(1) as u32, arguments.number(2) as u32);
    let protocol: u16 = sk.read(offset!(sk_protocol));
    if protocol != TCP && protocol != MPTCP || old == new {
        return;
    }
    // One place writes for all, for the verifier goes through each.
    let told = match new {
        state::SYN_SENT => return begins(sk),
        state::ESTABLISHED => established(sk, old),
        state::CLOSE => closed(sk, old),
        _ => socket::followed(sk).filter(|conn| conn.flags & Conn::TROUBLE != 0),
    };
    let Some(conn) = told else {
        return;
    };
    if new == state::CLOSE && conn.reset != 0 {
        return reset(sk, conn, old);
    }
    let fails = new == state::CLOSE && conn.flags & Conn::TROUBLE != 0;
    socket::introduce(sk, conn);
    emit::record::<State>(if fails { Wake::Now } else { Wake::Later }, |record| {
        socket::describe(sk, Some(conn), &mut record.sock);
        record.old = old;
        record.new = new;
        record.current = task::read_current();
        socket::icmp_error(sk, &mut record.icmp);
        socket::counters(sk, &mut record.tcp);
        if new == state::CLOSE {
            read::stack(arguments.as_ptr(), &mut record.stack);
        }
    });
    if new == state::CLOSE && !fails {
        socket::forget(sk);
    }
}

/// A connection that a reset ends, which is what fails most.
#[inline(always)]
fn reset<P: Place>(sk: P, conn: &mut Conn, old: u32) {
    let first = socket::is_new(conn);
    // The change follows the reset within a microsecond.
    emit::record_of::<ResetEnd>(Wake::Now, conn.reset, if first { 3 } else { 2 }, |record| {
        record.received = conn.reset;
        record.started = conn.started;
        record.task = conn.task;
        record.via = conn.via;
        record.dialled = conn.dialled;
        record.old = old as u16;
        record.first = first as u16;
        socket::describe(sk, Some(conn), &mut record.sock);
        socket::counters(sk, &mut record.tcp);
        socket::icmp_error(sk, &mut record.icmp);
    });
}

/// In the context of whoever connects.
#[inline(always)]
fn begins<P: Place>(sk: P) {
    if !filter::current_task() {
        return;
    }
    let mut room = MaybeUninit::uninit();
    let tuple = zeroed(&mut room);
    socket::tuple(sk, tuple);
    // A multipath socket gets its endpoints from its first subflow, later. What is asked for is what was dialled.
    if tuple.protocol != MPTCP && !filter::port(tuple.remote_port) && connect::under_way(task::tid()).is_none() {
        return;
    }
    let task = task::read_current();
    task::remember(&task);
    connect::attempt(sk, task.tid, tuple, |via| socket::begin(sk, &task, tuple, direction::OUTBOUND, via));
    if filter::on(flag::ALL)
        && emit::has_room_for_what_works()
        && let Some(conn) = socket::followed(sk)
    {
        socket::introduce(sk, conn);
    }
}

/// A connection that is established, if that is to be told.
#[inline(always)]
fn established<P: Place>(sk: P, old: u32) -> Option<&'static mut Conn> {
    let conn = if old == state::SYN_RECV && filter::any(flag::ALL | flag::INBOUND) {
        socket::follow(sk, direction::INBOUND)
    } else {
        socket::followed(sk)
    }?;
    let slow = config!(slow_us) as u64 * 1000;
    let late = slow != 0 && old == state::SYN_SENT && now().wrapping_sub(conn.started) >= slow;
    let told = late || conn.flags & Conn::TROUBLE != 0 || filter::on(flag::ALL) && emit::has_room_for_what_works();
    told.then_some(conn)
}

/// A connection that ends, if that is to be told.
#[inline(always)]
fn closed<P: Place>(sk: P, old: u32) -> Option<&'static mut Conn> {
    if old == state::LISTEN {
        return None;
    }
    let error: u32 = sk.read(offset!(sk_err));
    // Without a FIN having been sent and answered, the connection was cut: never established, or aborted.
    let cut = matches!(old, state::ESTABLISHED | state::SYN_SENT | state::SYN_RECV | state::CLOSE_WAIT);
    let conn = if error != 0 || cut {
        let opened = if old == state::SYN_RECV { direction::INBOUND } else { direction::UNSEEN };
        socket::follow(sk, opened)
    } else {
        socket::followed(sk)
    }?;
    if error != 0 || cut {
        conn.flags |= Conn::TROUBLE;
    }
    if error != 0 {
        conn.flags |= Conn::ENDED;
    }
    // In trouble the entry stays until the socket is destroyed: the call that returns now still asks for it.
    if conn.flags & Conn::TROUBLE == 0 && !(filter::on(flag::ALL) && emit::has_room_for_what_works()) {
        socket::forget(sk);
        return None;
    }
    Some(conn)
}

#[inline(always)]
fn destroyed<A: Arguments>(arguments: &A) {
    socket::forget(arguments.pointer(0));
}
