//! Sockets: what they are at the moment, and which TCP sockets are followed.
//!
//! Owns: how a [`Sock`] is read, the life of a followed socket, and when its [`Attempt`] is written.
//! Must not know: which hook asks.
//!
//! `struct sock` begins with `sock_common`; request sockets (TCP_NEW_SYN_RECV) and time-wait sockets have nothing more.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_skc_to_tcp_sock};
use netdx_common::record::{Attempt, IcmpError, Sock, Task, TcpCounters, Tuple};

use crate::{
    emit::{self, Wake},
    filter,
    maps::{CONNS, Conn, find},
    read::{Place, config, jiffies, now, offset, zeroed},
    task,
};

/// AF_INET
pub const AF_INET: u16 = 2;
/// AF_INET6
pub const AF_INET6: u16 = 10;
/// IPPROTO_TCP
pub const TCP: u16 = 6;
/// IPPROTO_UDP
pub const UDP: u16 = 17;
/// IPPROTO_MPTCP
pub const MPTCP: u16 = 262;

/// TCP states (`include/net/tcp_states.h`).
pub mod state {
    /// TCP_ESTABLISHED
    pub const ESTABLISHED: u32 = 1;
    /// TCP_SYN_SENT
    pub const SYN_SENT: u32 = 2;
    /// TCP_SYN_RECV
    pub const SYN_RECV: u32 = 3;
    /// TCP_TIME_WAIT
    pub const TIME_WAIT: u32 = 6;
    /// TCP_CLOSE
    pub const CLOSE: u32 = 7;
    /// TCP_CLOSE_WAIT
    pub const CLOSE_WAIT: u32 = 8;
    /// TCP_LAST_ACK
    pub const LAST_ACK: u32 = 9;
    /// TCP_LISTEN
    pub const LISTEN: u32 = 10;
    /// TCP_CLOSING
    pub const CLOSING: u32 = 11;
    /// TCP_NEW_SYN_RECV
    pub const NEW_SYN_RECV: u32 = 12;
}

/// `Sock::direction`
pub mod direction {
    /// Not seen.
    pub const UNSEEN: u8 = 0;
    /// This side opened it.
    pub const OUTBOUND: u8 = 1;
    /// A listener accepted it.
    pub const INBOUND: u8 = 2;
}

/// Whether it is an internet socket.
#[inline(always)]
pub fn is_internet<P: Place>(sk: P) -> bool {
    let family: u16 = sk.read(offset!(skc_family));
    family == AF_INET || family == AF_INET6
}

/// Whether a state is one of a socket that is more than `sock_common`.
#[inline(always)]
fn is_full(state: u8) -> bool {
    state as u32 != state::TIME_WAIT && state as u32 != state::NEW_SYN_RECV
}

/// Inode of its network namespace. Of TCP's own socket the verifier allows the loads without searching the names of all the
/// kernel's types for what it may say of each pointer, which takes it a millisecond.
#[inline(always)]
pub fn netns<P: Place>(sk: P) -> u32 {
    match tcp(sk) {
        Some(tcp) => tcp.pointer(offset!(skc_net)).read(offset!(net_inum)),
        None => sk.address().pointer(offset!(skc_net)).read(offset!(net_inum)),
    }
}

/// Its protocol; a request or time-wait socket is TCP's.
#[inline(always)]
fn protocol<P: Place>(sk: P, state: u8) -> u16 {
    if is_full(state) { sk.read(offset!(sk_protocol)) } else { TCP }
}

/// The socket as TCP's own (`struct tcp_sock`); none: it is another protocol's, or a request or time-wait socket.
#[inline(always)]
pub fn tcp<P: Place>(sk: P) -> Option<P> {
    if P::TYPED {
        // SAFETY: a socket, as the verifier checks.
        let tcp = P::at(unsafe { bpf_skc_to_tcp_sock(sk.address().0 as *mut _) } as u64);
        return if tcp.is_null() { None } else { Some(tcp) };
    }
    let state: u8 = sk.read(offset!(skc_state));
    if is_full(state) && sk.read::<u16>(offset!(sk_protocol)) == TCP { Some(sk) } else { None }
}

/// Gives it a cookie, if it has none and the verifier knows it for a socket. One of UDP that never connected has none else, and
/// another one may have had its port before (a tracing program may since 5.12).
#[inline(always)]
pub fn give_cookie<P: Place>(sk: P) {
    if P::TYPED {
        // SAFETY: a socket, as the verifier checks.
        unsafe { bpf_get_socket_cookie(sk.address().0 as *mut _) };
    }
}

/// Its endpoints, as the socket has them now. `to`: zeroed.
#[inline(never)]
pub fn tuple<P: Place>(sk: P, to: &mut Tuple) {
    let state: u8 = sk.read(offset!(skc_state));
    to.family = sk.read(offset!(skc_family));
    to.protocol = protocol(sk, state);
    to.local_port = sk.read(offset!(skc_num));
    if to.local_port == 0 && is_full(state) {
        // Unhashed on its way to TCP_CLOSE (inet_put_port): the port it had is still in the packet headers' copy.
        to.local_port = u16::from_be(match tcp(sk) {
            Some(tcp) => tcp.read(offset!(inet_sport)),
            None => sk.address().read(offset!(inet_sport)),
        });
    }
    to.remote_port = u16::from_be(sk.read(offset!(skc_dport)));
    if to.family == AF_INET {
        sk.copy::<4>(offset!(skc_rcv_saddr), &mut to.local);
        sk.copy::<4>(offset!(skc_daddr), &mut to.remote);
    } else if to.family == AF_INET6 {
        sk.copy::<16>(offset!(skc_v6_rcv_saddr), &mut to.local);
        sk.copy::<16>(offset!(skc_v6_daddr), &mut to.remote);
    }
}

/// Completes endpoints that the kernel erased (tcp_disconnect) from those it had.
#[inline(always)]
fn complete(tuple: &mut Tuple, last: &Tuple) {
    if tuple.remote_port == 0 {
        tuple.remote_port = last.remote_port;
        tuple.remote = last.remote;
        tuple.local = last.local;
    }
    if tuple.local_port == 0 {
        tuple.local_port = last.local_port;
    }
}

/// The socket as it is now.
#[inline(never)]
pub fn describe<P: Place>(sk: P, conn: Option<&mut Conn>, to: &mut Sock) {
    tuple(sk, &mut to.tuple);
    to.cookie = sk.read(offset!(skc_cookie));
    to.netns = netns(sk);
    to.bound_device = sk.read(offset!(skc_bound_dev_if));
    to.state = sk.read(offset!(skc_state));
    to.uid = u32::MAX;
    if is_full(to.state) {
        to.uid = sk.read(offset!(sk_uid));
        to.error = sk.read(offset!(sk_err));
        to.soft_error = sk.read(offset!(sk_err_soft));
        to.mark = sk.read(offset!(sk_mark));
        to.backlog = sk.read(offset!(sk_ack_backlog));
        to.max_backlog = sk.read(offset!(sk_max_ack_backlog));
        if to.tuple.protocol == TCP || to.tuple.protocol == MPTCP {
            to.retransmits = match tcp(sk) {
                Some(tcp) => tcp.read(offset!(icsk_retransmits)),
                None => sk.address().read(offset!(icsk_retransmits)),
            };
            to.left = has_left(sk, to.state as u32) as u8;
        }
    }
    if let Some(conn) = conn {
        to.id = conn.last.id;
        to.direction = conn.last.direction;
        complete(&mut to.tuple, &conn.last.tuple);
        conn.last = *to;
    }
}

/// Whether the application has closed a TCP socket (SOCK_DEAD, the first of `enum sock_flags`), is about to (__tcp_close, 5.10
/// to 6.18), or has shut down both ways (SHUTDOWN_MASK). A FIN that came in after one went out looks like that as well.
#[inline(always)]
fn has_left<P: Place>(sk: P, state: u32) -> bool {
    const DEAD: u64 = 1;
    const BOTH_WAYS: u8 = 3;
    sk.read::<u64>(offset!(skc_flags)) & DEAD != 0
        || sk.read::<u8>(offset!(sk_shutdown)) == BOTH_WAYS && !matches!(state, state::CLOSING | state::LAST_ACK)
}

/// The ICMP error at the tail of its error queue (`struct sock_exterr_skb` in the packet's `cb`, `struct
/// sock_extended_err` of linux/errqueue.h in it). TCP over IPv4 queues one in SYN_SENT without being asked
/// (tcp_v4_err), other sockets with IP_RECVERR.
#[inline(never)]
pub fn icmp_error<P: Place>(sk: P, to: &mut IcmpError) {
    if sk.read::<u32>(offset!(sk_error_queue_qlen)) == 0 || offset!(exterr_ee) == netdx_common::config::ABSENT {
        return;
    }
    let skb = sk.address().pointer(offset!(sk_error_queue_prev));
    let error = skb.field(offset!(skb_cb)).field(offset!(exterr_ee));
    let [origin, kind, code, _]: [u8; 4] = error.read(4);
    let header = skb.pointer(offset!(skb_head)).field(skb.read::<u16>(offset!(skb_network_header)) as u32);
    const ORIGIN_ICMP: u8 = 2;
    const ORIGIN_ICMP6: u8 = 3;
    if origin == ORIGIN_ICMP {
        header.copy::<4>(12, &mut to.from);
    } else if origin == ORIGIN_ICMP6 {
        header.copy::<16>(8, &mut to.from);
    } else {
        return;
    }
    to.origin = origin;
    to.kind = kind;
    to.code = code;
    to.info = error.read(8);
}

/// What TCP counted. A multipath socket has none of its own.
#[inline(never)]
pub fn counters<P: Place>(sk: P, to: &mut TcpCounters) {
    to.idle_ms = u32::MAX;
    let Some(sk) = tcp(sk) else {
        return;
    };
    to.bytes_acked = sk.read(offset!(tcp_bytes_acked));
    to.bytes_received = sk.read(offset!(tcp_bytes_received));
    to.rtt_us = sk.read::<u32>(offset!(tcp_srtt_us)) >> 3;
    to.retransmitted = sk.read(offset!(tcp_total_retrans));
    to.send_window = sk.read(offset!(tcp_snd_wnd));
    to.unacknowledged = sk.read::<u32>(offset!(tcp_write_seq)).wrapping_sub(sk.read(offset!(tcp_snd_una)));
    let received: u32 = sk.read(offset!(tcp_rcv_tstamp));
    let hz = config!(hz);
    if hz != 0 && received != 0 {
        to.idle_ms = (jiffies().wrapping_sub(received) as u64 * 1000 / hz as u64) as u32;
    }
    to.user_timeout_ms = sk.read(offset!(icsk_user_timeout));
    to.probes = sk.read(offset!(icsk_probes_out));
    to.sequence = sk.read(offset!(tcp_snd_una));
}

/// The socket's entry, if it is followed.
#[inline(always)]
pub fn followed<P: Place>(sk: P) -> Option<&'static mut Conn> {
    find!(CONNS, sk.address().0)
}

/// Begins to follow a socket, anew if it was before: it connects again. Its id; 0: there is no room for it.
/// A function of its own: the stack that the entry takes would be that of all its callers, and of what else they call.
#[inline(never)]
pub fn begin<P: Place>(sk: P, task: &Task, tuple: &Tuple, direction: u8, via: u32) -> u64 {
    let started = now();
    // No two begin in the same nanosecond on one CPU; ten bits for the CPU leave 208 days before it wraps.
    let id = started << 10 | (emit::cpu() & 1023) as u64;
    let mut room = MaybeUninit::uninit();
    let conn: &mut Conn = zeroed(&mut room);
    conn.started = started;
    conn.task = *task;
    conn.last.id = id;
    conn.last.tuple = *tuple;
    conn.last.direction = direction;
    conn.via = via;
    if CONNS.insert(sk.address().0, conn, 0).is_ok() { id } else { 0 }
}

/// The socket's entry; made now, without a process, for one that wasn't seen before and passes the filters.
#[inline(never)]
pub fn follow<P: Place>(sk: P, direction: u8) -> Option<&'static mut Conn> {
    if let Some(conn) = followed(sk) {
        return Some(conn);
    }
    if !filter::unknown_task(netns(sk)) {
        return None;
    }
    let mut room = MaybeUninit::uninit();
    let endpoints = zeroed(&mut room);
    tuple(sk, endpoints);
    if !filter::ports(endpoints.local_port, endpoints.remote_port) {
        return None;
    }
    // Whoever is connecting has opened it, seen or not.
    let connecting = sk.read::<u8>(offset!(skc_state)) as u32 == state::SYN_SENT;
    let direction = if connecting { direction::OUTBOUND } else { direction };
    begin(sk, &task::NOBODY, endpoints, direction, 0);
    followed(sk)
}

/// Forgets a socket.
#[inline(always)]
pub fn forget<P: Place>(sk: P) {
    // Most sockets that end aren't followed any more.
    let _ = CONNS.remove(sk.address().0);
}

/// Marks that something went wrong with a socket, and writes who it is, once.
#[inline(always)]
pub fn trouble<P: Place>(sk: P, conn: &mut Conn) {
    conn.flags |= Conn::TROUBLE;
    introduce(sk, conn);
}

/// Writes the [`Attempt`] that other records of this socket refer to, once, and before it the process.
#[inline(never)]
pub fn introduce<P: Place>(sk: P, conn: &mut Conn) {
    if !is_new(conn) {
        return;
    }
    emit::record::<Attempt>(Wake::Later, |record| {
        record.started = conn.started;
        record.task = conn.task;
        record.via = conn.via;
        record.dialled = conn.dialled;
        describe(sk, Some(conn), &mut record.sock);
    });
}

/// Whether nothing was written of a socket yet: then the record that follows has to say who it is. Writes the process.
#[inline(always)]
pub fn is_new(conn: &mut Conn) -> bool {
    if conn.flags & Conn::WRITTEN != 0 {
        return false;
    }
    conn.flags |= Conn::WRITTEN;
    if conn.task.tgid != 0 {
        task::announce(conn.task.tgid);
    }
    true
}
