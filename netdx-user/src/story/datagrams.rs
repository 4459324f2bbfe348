//! UDP conversations that failed. Owns: which events make one, when it has been told. Must not know: causes; DNS is told
//! by `lookups`.

use super::{
    Connection,
    conversations::{Conversations, End},
    memory::Memory,
};
use crate::{
    event::{Call, Cookie, Event, Netns, Packet, Protocol, Sock, Tuple},
    report::Outcome,
    time::Time,
};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// How long a failed conversation waits for the call that tells the application.
const SETTLE: Duration = Duration::from_millis(40);
/// How long an error that the kernel has reported to a socket waits for the application to ask for it: it may be busy, or
/// wait for a processor.
const SETTLE_ASKED: Duration = Duration::from_secs(1);
/// How long a failed connect of a datagram socket waits to be recognized as the C library trying out addresses
/// (RFC 6724 destination selection connects a datagram socket to every candidate and sends nothing).
const SETTLE_CONNECT: Duration = Duration::from_millis(250);
/// The same failure of the same conversation is told again only after this.
const QUIET: Duration = Duration::from_secs(1);
/// How many wait at once: beyond that the next to be told is told early. Of those that were told as many are remembered.
const LIMIT: usize = 16_384;

/// EDESTADDRREQ
const EDESTADDRREQ: i32 = 89;

#[derive(Debug)]
struct Pending {
    due: Time,
    connection: Connection,
    /// A failed connect and nothing else.
    only_connect: bool,
    /// The socket has an error that no call has given to the application yet.
    unasked: bool,
    /// Namespace of the socket; none while only packets were seen, which pass through others.
    netns: Option<Netns>,
    /// Of the socket.
    cookie: Option<Cookie>,
}

impl Pending {
    fn end(&self) -> End {
        let c = &self.connection;
        let call = c.failed_call().or(c.call_not_entered());
        let wanted = call.is_some_and(|call| call.call == Call::Bind);
        End { tuple: c.tuple, netns: self.netns, pid: c.task.as_ref().map(|t| t.pid), cookie: self.cookie, wanted }
    }
}

/// Conversations that failed.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    /// By when they are due.
    pending: Conversations<Pending>,
    /// By when they were told.
    told: Conversations<()>,
}

impl Datagrams {
    /// An event of a conversation: an error on the socket, a drop, an ICMP error. `packet`: the one it is about.
    pub(super) fn take(
        &mut self,
        time: Time,
        netns: Netns,
        tuple: Tuple,
        packet: Option<&Packet>,
        event: &Arc<Event>,
        memory: &mut Memory,
    ) {
        // An ICMP error or a drop on the way back belongs to the same conversation, seen from its other end.
        if packet.is_some() && (!tells(tuple) || tuple.local_port == 53) {
            return;
        }
        let cookie = match &**event {
            Event::SocketError { sock, .. } => sock.cookie,
            _ => None,
        };
        let end = End { tuple, netns: packet.is_none().then_some(netns), pid: None, cookie, wanted: false };
        if let Some(mut p) = self.pending.take(end) {
            p.netns = p.netns.or(end.netns);
            p.cookie = p.cookie.or(cookie);
            let c = &mut p.connection;
            learn(c, tuple);
            if packet.is_none() {
                c.netns = netns;
                c.wayside = false;
            }
            c.push(time, Arc::clone(event));
            p.only_connect = false;
            if packet.is_none() && c.task.is_none() {
                p.due = time.after(SETTLE_ASKED);
                p.unasked = true;
            } else if !p.unasked {
                p.due = p.due.min(time.after(SETTLE));
            }
            return self.wait(p);
        }
        if self.recently(time, end) {
            return;
        }
        let error = match &**event {
            Event::SocketError { sock, .. } => sock.error,
            _ => 0,
        };
        if packet.is_none() && error == 0 {
            return;
        }
        let mut c = blank(memory, time, netns, tuple);
        c.wayside = packet.is_some_and(|p| p.in_device != 0);
        if error > 0 {
            c.errno = Some(error);
        }
        c.push(time, Arc::clone(event));
        let unasked = packet.is_none();
        let due = time.after(if unasked { SETTLE_ASKED } else { SETTLE });
        self.wait(Pending { due, connection: c, only_connect: false, unasked, netns: end.netns, cookie });
    }

    /// A call on a datagram socket failed.
    pub(super) fn call_failed(&mut self, time: Time, event: &Arc<Event>, memory: &mut Memory) {
        let Event::CallFailed { call, started, task, sock: Some(sock), address, port, result, .. } = &**event else {
            return;
        };
        let (call, started, address, port, result) = (*call, *started, *address, *port, *result);
        let mut tuple = called(call, sock.tuple, address, port);
        if call == Call::Bind
            && let Some(address) = address
        {
            tuple.local = address;
            tuple.local_port = port;
        }
        let task = task.clone();
        let errno = -result;
        let only_connect = matches!(call, Call::Connect | Call::IoUringConnect);
        let (netns, cookie) = (Some(sock.netns), sock.cookie);
        let end = End { tuple, netns, pid: Some(task.pid), cookie, wanted: call == Call::Bind };
        if let Some(mut p) = self.pending.take(end) {
            // What follows from a connect that failed, and was not heeded.
            if p.only_connect && call == Call::Send && errno == EDESTADDRREQ {
                return self.wait(p);
            }
            p.netns = netns;
            p.cookie = p.cookie.or(cookie);
            let c = &mut p.connection;
            learn(c, tuple);
            c.netns = sock.netns;
            c.wayside = false;
            c.task = Some(task);
            c.errno = Some(errno);
            c.ended = Some(time);
            c.push(time, Arc::clone(event));
            memory.dress(c);
            if std::mem::take(&mut p.unasked) {
                p.due = time.after(SETTLE);
            }
            return self.wait(p);
        }
        if self.recently(time, end) {
            return;
        }
        let mut c = blank(memory, started.unwrap_or(time), sock.netns, tuple);
        c.v6_socket = sock.v6;
        c.bound_device = sock.bound_device;
        c.mark = sock.mark;
        c.maker = sock.uid;
        c.task = Some(task);
        c.errno = Some(errno);
        c.ended = Some(time);
        c.push(time, Arc::clone(event));
        memory.dress(&mut c);
        let due = time.after(if only_connect { SETTLE_CONNECT } else { SETTLE });
        self.wait(Pending { due, connection: c, only_connect, unasked: false, netns, cookie });
    }

    /// getaddrinfo returned on this thread: what it tried out is no failure of the application.
    pub(super) fn resolver_returned(&mut self, tid: u32, from: Time, to: Time) {
        self.pending.forget(|p| {
            let within = p.connection.began >= from && p.connection.began <= to;
            p.only_connect && within && p.connection.task.as_ref().is_some_and(|t| t.tid == tid)
        });
    }

    /// Those that have been told whole by now.
    pub(super) fn due(&mut self, now: Time, memory: &mut Memory) -> Vec<Connection> {
        let mut due = Vec::new();
        while let Some(p) = self.pending.pop(now, LIMIT) {
            due.extend(self.tell(p, memory));
        }
        due
    }

    /// All that are left.
    pub(super) fn end(&mut self, memory: &mut Memory) -> Vec<Connection> {
        self.due(Time(u64::MAX), memory)
    }

    /// When the next one is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.pending.first()
    }

    fn tell(&mut self, p: Pending, memory: &mut Memory) -> Option<Connection> {
        let end = p.end();
        let mut c = p.connection;
        let last = c.events.last().map_or(c.began, |(t, _)| *t);
        c.ended = Some(c.ended.unwrap_or(last));
        if p.only_connect && selects_address(&c, memory) || c.task.is_none() && memory.is_carrier(c.tuple) {
            return None;
        }
        let from = c.began.before(Duration::from_secs(1));
        for (time, event) in memory.packets.between(c.tuple, from, p.due) {
            if !c.events.iter().any(|(t, e)| *t == time && *e == event) {
                c.push(time, event);
            }
        }
        memory.packets.told(c.tuple, p.due);
        if let Some((first, _)) = c.events.first() {
            c.began = c.began.min(*first);
        }
        let ended = c.ended.unwrap_or(last);
        self.told.insert(ended, c.serial, end, ());
        Some(c)
    }

    /// A conversation with these endpoints is told, or was a moment ago.
    pub(super) fn tells_of(&self, tuple: Tuple) -> bool {
        let end = End { tuple, netns: None, pid: None, cookie: None, wanted: false };
        self.pending.holds(end) || self.told.holds(end)
    }

    fn wait(&mut self, p: Pending) {
        self.pending.insert(p.due, p.connection.serial, p.end(), p);
    }

    fn recently(&mut self, time: Time, end: End) -> bool {
        while self.told.pop(time.before(QUIET), LIMIT).is_some() {}
        self.told.holds(end)
    }
}

/// Where a call on a socket was to lead. A connected socket sends to where it is connected: an address beside it is that
/// of the last routing lookup, which may be an older one.
pub(super) fn called(call: Call, socket: Tuple, address: Option<IpAddr>, port: u16) -> Tuple {
    let given = match call {
        Call::Connect | Call::IoUringConnect => address,
        Call::Send => address.filter(|_| socket.remote_port == 0),
        _ => None,
    };
    given.map_or(socket, |remote| Tuple { remote, remote_port: port, ..socket })
}

fn learn(c: &mut Connection, tuple: Tuple) {
    if c.tuple.remote.is_unspecified() && c.tuple.remote_port == 0 && c.tuple.local_port == tuple.local_port {
        (c.tuple.remote, c.tuple.remote_port) = (tuple.remote, tuple.remote_port);
    }
    if c.tuple.remote != tuple.remote {
        return;
    }
    if c.tuple.local.is_unspecified() {
        c.tuple.local = tuple.local;
    }
    if c.tuple.local_port == 0 {
        c.tuple.local_port = tuple.local_port;
    }
}

/// A drop or ICMP error of this conversation by itself says that an application failed: not for multicast, broadcast,
/// addresses still being configured, and a fragment, of which nobody knows whose it is.
fn tells(tuple: Tuple) -> bool {
    let broadcast = matches!(tuple.remote, IpAddr::V4(a) if a.is_broadcast() || a.octets()[3] == 255);
    let nowhere = tuple.local.is_unspecified() || tuple.remote.is_unspecified() || tuple.is_of_fragment();
    !(tuple.remote.is_multicast() || broadcast || nowhere)
}

/// The C library tried out the address while it resolved a name: a datagram socket to the port that was asked for (or to
/// none), before getaddrinfo returned. A resolver of the program's own is known only by the answers that it was given.
fn selects_address(c: &Connection, memory: &Memory) -> bool {
    let Some(task) = &c.task else { return false };
    if c.tuple.remote_port == 0 {
        return true;
    }
    let named = memory.names.get(&(task.pid, c.tuple.remote)).map(|(_, name)| name);
    // A search list may have made a longer one of the name.
    let is_of =
        |name: &str| named.is_none_or(|n| n.strip_prefix(name).is_some_and(|r| r.is_empty() || r.starts_with('.')));
    match memory.resolved.get(&task.tid) {
        Some((from, to, name)) if is_of(name) => (*from..=*to).contains(&c.began),
        _ => named.is_some(),
    }
}

fn blank(memory: &mut Memory, began: Time, netns: Netns, tuple: Tuple) -> Connection {
    let sock = Sock::unseen(Tuple { protocol: Protocol::Udp, ..tuple }, netns);
    let mut c = Connection::new(memory.serial.next(), began, &sock);
    c.outcome = Outcome::Failed;
    c
}
