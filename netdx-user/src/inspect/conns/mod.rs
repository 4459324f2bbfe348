//! `netdx conns`: connections, who holds them, and how they do.
//!
//! Owns: [`Conn`], [`Summary`], which connections are wanted. Must not know: how the kernel is asked (`passes`), how they are
//! shown (`text`).
//! Sockets are handed on one by one: what is kept is the inode of each that has one, and who holds it.

mod passes;
pub mod text;

use super::who::{Directory, Where, Who};
use crate::{
    event::{Netns, Protocol},
    filter::{Filter, HolderView, SocketView},
    host::{Error, Host, sockets::Socket},
    report::{Direction, Endpoint, SCHEMA},
};
use netlink_packet_sock_diag::inet::Timer;
use passes::Listened;
use serde::Serialize;
use std::{collections::BTreeMap, io, net::IpAddr};

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// TCP.
    pub tcp: bool,
    /// Connected UDP.
    pub udp: bool,
    /// Time-wait too.
    pub all: bool,
    /// Only these states, by name; empty: every one.
    pub states: Vec<String>,
    /// What else to leave out.
    pub filter: Filter,
}

/// A connection: one line of `--format json`.
#[derive(Clone, Debug, Serialize)]
pub struct Conn {
    /// Version of the shape.
    pub schema: u32,
    /// `connection`
    pub kind: &'static str,
    /// tcp or udp.
    pub protocol: &'static str,
    /// Which side opened it: inbound where this side's port is listened on.
    pub direction: Direction,
    /// This side.
    pub local: Endpoint,
    /// The other.
    pub remote: Endpoint,
    /// State, as ss(8) has it.
    pub state: &'static str,
    /// Namespace.
    #[serde(flatten)]
    pub place: Where,
    /// Processes that hold it; empty: none that can be seen, or none any more.
    pub owners: Vec<Who>,
    /// Owner's user id; null where the socket has no owner any more, or not yet.
    pub uid: Option<u32>,
    /// And name.
    pub user: Option<String>,
    /// Inode; 0: none (time-wait, not accepted yet).
    pub inode: u32,
    /// Bytes that the application has not read yet.
    pub receive_queue: u32,
    /// Bytes that the other side has not acknowledged yet.
    pub send_queue: u32,
    /// Which timer runs, with the time until it fires.
    pub timer: Option<String>,
    /// TCP's own counters; null for UDP and where there is no socket any more.
    pub tcp: Option<Counters>,
}

/// What `tcp_info` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// The connection is at least this old: the kernel keeps no time of birth, only those of the last packets (ms).
    pub age_at_least_ms: Option<u32>,
    /// Since data was last sent or received (ms).
    pub idle_ms: Option<u32>,
    /// Smoothed round-trip time (µs); null: none measured yet.
    pub rtt_us: Option<u32>,
    /// And its variation (µs).
    pub rttvar_us: Option<u32>,
    /// Retransmissions of the oldest unacknowledged segment, so far.
    pub retransmits: u8,
    /// Segments retransmitted over its life.
    pub total_retransmits: u32,
    /// Bytes that the other side acknowledged.
    pub bytes_acked: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Congestion window (segments).
    pub cwnd: u32,
    /// Maximum segment size (bytes).
    pub mss: u32,
    /// Path MTU (bytes).
    pub path_mtu: u32,
}

/// How many of what.
#[derive(Debug, Default)]
pub struct Summary {
    /// By protocol and state.
    pub states: BTreeMap<(&'static str, &'static str), u64>,
    /// By other end.
    pub remotes: BTreeMap<IpAddr, u64>,
    /// By namespace.
    pub places: BTreeMap<u32, u64>,
    /// What could not be seen.
    pub unseen: Vec<String>,
}

/// Why a list ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The host can't be read.
    #[error(transparent)]
    Host(#[from] Error),
    /// What was found can't be written.
    #[error("write a connection: {0}")]
    Write(#[from] io::Error),
}

/// Hands on every connection that is wanted; returns what could not be seen.
///
/// # Errors
/// The own namespace can't be read; `each` failed.
pub fn list(
    request: &Request,
    host: &mut Host,
    mut each: impl FnMut(Conn) -> io::Result<()> + Send,
) -> Result<Vec<String>, Failure> {
    let mut directory = Directory::new();
    let known = passes::first(request, host, true, &mut directory)?;
    let mut unowned = 0;
    passes::each(request, host, true, |netns, socket| {
        let Some(place) = known.places.get(&netns) else { return Ok(()) };
        let owners: Vec<Who> = known
            .holders
            .get(&socket.inode)
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|owner| directory.who(owner))
            .collect();
        let direction = direction(&known.listened, netns, &socket);
        if !wants(request, netns, &socket, direction, &owners) {
            return Ok(());
        }
        unowned += usize::from(socket.inode != 0 && owners.is_empty());
        let user = uid(&socket).and_then(|uid| directory.user(uid));
        each(conn(socket, direction, place.clone(), owners, user))
    })?;
    Ok(known.unseen.sentences(known.hidden, unowned))
}

/// Counts every connection that is wanted.
///
/// # Errors
/// The own namespace can't be read.
pub fn summary(request: &Request, host: &mut Host) -> Result<Summary, Failure> {
    let mut directory = Directory::new();
    let with_holders = request.filter.asks_for_holders();
    let known = passes::first(request, host, with_holders, &mut directory)?;
    let mut summary = Summary::default();
    passes::each(request, host, false, |netns, socket| {
        let owners: Vec<Who> = if with_holders {
            let holders = known.holders.get(&socket.inode).map(Vec::as_slice).unwrap_or_default();
            holders.iter().map(|owner| directory.who(owner)).collect()
        } else {
            Vec::new()
        };
        let direction = direction(&known.listened, netns, &socket);
        if wants(request, netns, &socket, direction, &owners) {
            *summary.states.entry((protocol(&socket), socket.state)).or_default() += 1;
            *summary.remotes.entry(socket.tuple.remote).or_default() += 1;
            *summary.places.entry(netns.0).or_default() += 1;
        }
        Ok(())
    })?;
    summary.unseen = known.unseen.sentences(known.hidden, 0);
    Ok(summary)
}

fn protocol(socket: &Socket) -> &'static str {
    if socket.tuple.protocol == Protocol::Udp { "udp" } else { "tcp" }
}

/// The kernel says 0 for a socket without an inode, whoever had it (inet_twsk_diag_fill, sock_i_uid, Linux 6.18).
fn uid(socket: &Socket) -> Option<u32> {
    (socket.inode != 0).then_some(socket.uid)
}

fn direction(listened: &Listened, netns: Netns, socket: &Socket) -> Direction {
    // A SYN that this side answers is inbound even where the listener has gone meanwhile.
    if socket.state == "syn-recv" || listened.contains(&(netns, socket.tuple.local_port)) {
        Direction::Inbound
    } else {
        Direction::Outbound
    }
}

fn wants(request: &Request, netns: Netns, socket: &Socket, direction: Direction, owners: &[Who]) -> bool {
    if !request.states.is_empty() && !request.states.iter().any(|state| state == socket.state) {
        return false;
    }
    let holders: Vec<HolderView<'_>> = owners
        .iter()
        .map(|who| HolderView {
            pid: who.pid,
            comm: &who.comm,
            cgroup: who.cgroup.as_deref(),
            unit: who.unit.as_deref(),
            container: who.container.as_deref(),
        })
        .collect();
    request.filter.wants_socket(&SocketView {
        direction,
        local_port: socket.tuple.local_port,
        remote: Endpoint { addr: socket.tuple.remote, port: socket.tuple.remote_port },
        uid: uid(socket),
        netns: netns.0,
        holders: &holders,
    })
}

fn conn(socket: Socket, direction: Direction, place: Where, owners: Vec<Who>, user: Option<String>) -> Conn {
    Conn {
        schema: SCHEMA,
        kind: "connection",
        protocol: protocol(&socket),
        direction,
        local: Endpoint { addr: socket.tuple.local, port: socket.tuple.local_port },
        remote: Endpoint { addr: socket.tuple.remote, port: socket.tuple.remote_port },
        state: socket.state,
        place,
        owners,
        uid: uid(&socket),
        user,
        inode: socket.inode,
        receive_queue: socket.receive_queue,
        send_queue: socket.send_queue,
        timer: socket.timer.as_ref().map(timer),
        tcp: counters(&socket),
    }
}

fn timer(timer: &Timer) -> String {
    match timer {
        Timer::Retransmit(left, count) => format!("retransmit in {:.1} s (number {count})", left.as_secs_f32()),
        Timer::KeepAlive(left) => format!("keepalive in {:.0} s", left.as_secs_f32()),
        Timer::TimeWait => "time-wait".into(),
        Timer::Probe(left) => format!("zero-window probe in {:.1} s", left.as_secs_f32()),
    }
}

fn counters(socket: &Socket) -> Option<Counters> {
    let info = socket.info.as_ref()?;
    // Before the handshake ends these times are not set (tcp_finish_connect, tcp_create_openreq_child, Linux 6.18).
    let handshaken = !matches!(socket.state, "syn-sent" | "syn-recv" | "bound");
    let last = [info.last_data_sent, info.last_data_recv, info.last_ack_recv];
    Some(Counters {
        age_at_least_ms: last.into_iter().max().filter(|_| handshaken),
        idle_ms: Some(info.last_data_sent.min(info.last_data_recv)).filter(|_| handshaken),
        rtt_us: Some(info.rtt).filter(|rtt| *rtt != 0),
        rttvar_us: Some(info.rttvar).filter(|_| info.rtt != 0),
        retransmits: info.retransmits,
        total_retransmits: info.total_retrans,
        bytes_acked: info.bytes_acked,
        bytes_received: info.bytes_received,
        cwnd: info.snd_cwnd,
        mss: info.snd_mss,
        path_mtu: info.pmtu,
    })
}
