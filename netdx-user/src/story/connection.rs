//! The story of one connection. Owns: [`Connection`], what its events say taken together. Must not know: causes, wording.

use crate::{
    event::{
        Call, Discovery, Event, IcmpError, Name, Netns, Opened, Packet, Protocol, Root, RouteLookups, Sock, SockId,
        Task, TcpCounters, TcpState, Tuple, Via,
    },
    fact::{Answer, Translation},
    report::Outcome,
    time::Time,
    want::Want,
};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// How many events a story keeps. The first ones and the last ones tell it; `omitted` counts the rest.
const LIMIT: usize = 160;

/// What the host answered, by question: a few answers, which stories share.
#[derive(Clone, Debug, Default)]
pub struct Facts(Vec<(Want, Arc<Answer>)>);

impl Facts {
    /// Adds an answer.
    pub fn insert(&mut self, want: Want, answer: impl Into<Arc<Answer>>) {
        match self.find(&want) {
            Ok(at) => self.0[at].1 = answer.into(),
            Err(at) => self.0.insert(at, (want, answer.into())),
        }
    }

    /// The answer to a question; none: it was not asked, or not answered yet.
    #[must_use]
    pub fn get(&self, want: &Want) -> Option<&Answer> {
        self.find(want).ok().map(|at| &*self.0[at].1)
    }

    /// All of them, in the order of the questions.
    pub fn iter(&self) -> impl Iterator<Item = (&Want, &Answer)> {
        self.0.iter().map(|(want, answer)| (want, &**answer))
    }

    fn find(&self, want: &Want) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(want))
    }
}

/// What the kernel told of a process's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Command line.
    pub argv: Vec<String>,
    /// Parent's process id.
    pub parent: u32,
    /// When the process started.
    pub started: Time,
    /// Where it sees its files.
    pub root: Option<Root>,
}

/// How a TCP socket came to its end.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// When.
    pub time: Time,
    /// State before.
    pub old: TcpState,
    /// State after.
    pub new: TcpState,
    /// `sk_err`.
    pub error: i32,
    /// The ICMP error on the socket.
    pub icmp: Option<IcmpError>,
    /// Counters.
    pub tcp: TcpCounters,
    /// Whoever was running.
    pub current: Option<&'a Task>,
    /// How the kernel came there.
    pub stack: &'a [Name],
}

/// One attempt to connect and what became of it; for UDP one conversation that failed.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Number of the report.
    pub serial: u64,
    /// The kernel side's id; none: no socket got as far as sending.
    pub id: Option<SockId>,
    /// When the attempt began.
    pub began: Time,
    /// When it was established.
    pub established: Option<Time>,
    /// When it ended, as far as the application goes.
    pub ended: Option<Time>,
    /// Who; none: not known (the socket is older than netdx, or a peer opened it).
    pub task: Option<Task>,
    /// What the process runs.
    pub program: Option<Arc<Program>>,
    /// When the process ended, and its wait status.
    pub died: Option<(Time, u32)>,
    /// Endpoints.
    pub tuple: Tuple,
    /// AF_INET6 socket.
    pub v6_socket: bool,
    /// The socket's namespace.
    pub netns: Netns,
    /// Which side opened it.
    pub opened: Opened,
    /// How it was begun.
    pub via: Via,
    /// Interface the socket is bound to, 0 none.
    pub bound_device: u32,
    /// SO_MARK.
    pub mark: u32,
    /// The name that was looked up for the address.
    pub name: Option<String>,
    /// Names the process had resolved before, the latest first, if no answer that was seen gave it the address: the
    /// address may be one of theirs.
    pub looked_up: Vec<String>,
    /// The threshold it exceeded, if it was slow.
    pub slow: Option<Duration>,
    /// What the application got (positive errno).
    pub errno: Option<i32>,
    /// How it ended.
    pub outcome: Outcome,
    /// What happened, in order.
    pub events: Vec<(Time, Arc<Event>)>,
    /// Events that were not kept.
    pub omitted: u32,
    /// Records the kernel lost while this went on.
    pub lost: u64,
    /// Told from the packets of a peer that was not let in: the endpoints are as the peer sees them.
    pub mirrored: bool,
    /// Told from a datagram that was dropped after it came in from somewhere: whose it was is not known yet, and `netns` is
    /// where it was dropped.
    pub wayside: bool,
    /// What network address translation made of its packets: the namespace that did it, or in which one was seen so.
    pub translated: Vec<Translation>,
    /// The other end, which opened it, is on this host and tells the same story.
    pub folded: bool,
    /// An IPv6 attempt of the same application that came to nothing before this one, by IPv4, worked.
    pub fallback_from: Option<Box<Fallback>>,
    /// What the application went on to by IPv4, and that worked, as this IPv6 attempt came to nothing: the address, and
    /// how much later it was tried.
    pub fell_back_to: Option<(IpAddr, Duration)>,
    /// What the host answered.
    pub facts: Facts,
}

/// What was tried before, in vain.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// The story of that attempt, without facts.
    pub attempt: Connection,
    /// How much later the one that worked was tried.
    pub delay: Duration,
}

impl Connection {
    /// A story that begins with a socket.
    #[must_use]
    pub fn new(serial: u64, began: Time, sock: &Sock) -> Self {
        Connection {
            serial,
            id: sock.id,
            began,
            established: None,
            ended: None,
            task: None,
            program: None,
            died: None,
            tuple: sock.tuple,
            v6_socket: sock.v6,
            netns: sock.netns,
            opened: sock.opened,
            via: Via::Unknown,
            bound_device: sock.bound_device,
            mark: sock.mark,
            name: None,
            looked_up: Vec::new(),
            slow: None,
            errno: None,
            outcome: Outcome::Failed,
            events: Vec::new(),
            omitted: 0,
            lost: 0,
            mirrored: false,
            wayside: false,
            translated: Vec::new(),
            folded: false,
            fallback_from: None,
            fell_back_to: None,
            facts: Facts::default(),
        }
    }

    /// Adds an event, in order of time.
    pub fn push(&mut self, time: Time, event: Arc<Event>) {
        if self.events.len() >= LIMIT {
            // What began it stays; of what repeats, the latest.
            self.events.remove(LIMIT / 2);
            self.omitted += 1;
        }
        let at = self.events.partition_point(|(t, _)| *t <= time);
        self.events.insert(at, (time, event));
    }

    /// Takes over what a later snapshot of the socket knows better: the local end is known only once it is bound.
    pub fn learn(&mut self, sock: &Sock) {
        if sock.tuple.local_port != 0 {
            self.tuple.local_port = sock.tuple.local_port;
        }
        if !sock.tuple.local.is_unspecified() {
            self.tuple.local = sock.tuple.local;
        }
        if sock.tuple.remote_port != 0 && !sock.tuple.remote.is_unspecified() {
            self.tuple.remote_port = sock.tuple.remote_port;
            self.tuple.remote = sock.tuple.remote;
        }
    }

    /// Takes in what the host answered.
    pub fn answered(&mut self, want: &Want, answer: &Arc<Answer>) {
        match (want, &**answer) {
            (Want::Owners { address, .. }, Answer::Owners(owners)) if self.wayside && *address == self.tuple.local => {
                match owners[..] {
                    [] => (self.mirrored, self.opened, self.wayside) = (true, Opened::ByPeer, false),
                    [one] => (self.netns, self.wayside) = (one, false),
                    // Several namespaces have that address: the one that has the socket sent it.
                    _ => {}
                }
            }
            (Want::Owner { netns, tuple }, Answer::Sockets(sockets))
                if self.wayside && *tuple == self.tuple && !sockets.is_empty() =>
            {
                (self.netns, self.wayside) = (*netns, false);
            }
            (Want::Translations { packet }, Answer::Translations(hops)) if *packet == self.tuple => {
                self.translated.clone_from(hops);
            }
            _ => {}
        }
        self.facts.insert(want.clone(), Arc::clone(answer));
    }

    /// The endpoints that its packets arrive with: those it was given, unless this host translates them on their way.
    #[must_use]
    pub fn reached(&self) -> Tuple {
        self.translated.last().map_or(self.tuple, |hop| hop.to)
    }

    /// Sequence number of its SYN, where an event from before the end of the handshake has it.
    #[must_use]
    pub fn syn_sequence(&self) -> Option<u32> {
        let first = self.events.iter().find_map(|(_, e)| match &**e {
            Event::State { old: TcpState::SynSent, new: TcpState::Close, tcp, .. } => Some(tcp.sequence),
            Event::Retransmit { sock, tcp, .. } | Event::ResetReceived { sock, tcp }
                if sock.state == TcpState::SynSent =>
            {
                Some(tcp.sequence)
            }
            _ => None,
        });
        first.filter(|n| *n != 0)
    }

    /// A packet with these endpoints is one of this side's, wherever on its way it was seen.
    fn sent_by_us(&self, packet: Tuple) -> bool {
        packet == self.tuple || self.translated.iter().any(|hop| hop.to == packet)
    }

    /// How long it took.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.ended.or(self.established).unwrap_or(self.began).since(self.began)
    }

    /// It is TCP (or MPTCP).
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        matches!(self.tuple.protocol, Protocol::Tcp | Protocol::Mptcp)
    }

    /// Seen from a listener's side.
    #[must_use]
    pub fn inbound(&self) -> bool {
        self.opened == Opened::ByPeer
    }

    /// The user the process runs as; root's when nobody is known (what routing rules by user see for a kernel socket).
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.task.as_ref().map_or(0, |t| t.uid)
    }

    /// The call that told the application, if one did.
    #[must_use]
    pub fn failed_call(&self) -> Option<FailedCall> {
        self.events.iter().rev().find_map(|(time, e)| match &**e {
            Event::CallFailed { call, result, route, cgroup_hook, started, socket_type, protocol, family, .. }
                if *call != Call::Receive || self.established.is_some() || !self.is_tcp() =>
            {
                Some(FailedCall {
                    time: *time,
                    call: *call,
                    errno: -*result,
                    route: *route,
                    cgroup_hook: *cgroup_hook,
                    // Sending and receiving are seen on their return only.
                    entered: started.is_some() || matches!(call, Call::Send | Call::Receive),
                    socket_type: *socket_type,
                    protocol: *protocol,
                    family: *family,
                })
            }
            _ => None,
        })
    }

    /// SYNs went out (or would have): the socket reached SYN_SENT.
    #[must_use]
    pub fn tried(&self) -> bool {
        self.is_tcp() && self.id.is_some()
    }

    /// Retransmissions of the SYN: time and result of each.
    pub fn syn_retransmits(&self) -> impl Iterator<Item = (Time, Option<i32>)> + '_ {
        self.events.iter().filter_map(|(t, e)| match &**e {
            Event::Retransmit { sock, result, .. } if sock.state == TcpState::SynSent => Some((*t, *result)),
            _ => None,
        })
    }

    /// Retransmissions after the handshake: time, counters, result, length, sequence number.
    pub fn retransmits(&self) -> impl Iterator<Item = (Time, &TcpCounters, Option<i32>, u32, u32)> + '_ {
        self.events.iter().filter_map(|(t, e)| match &**e {
            Event::Retransmit { sock, tcp, result, length, sequence } if sock.state != TcpState::SynSent => {
                Some((*t, tcp, *result, *length, *sequence))
            }
            _ => None,
        })
    }

    /// The RST that answered the SYN.
    #[must_use]
    pub fn reset_in_handshake(&self) -> Option<Time> {
        self.events.iter().find_map(|(t, e)| match &**e {
            Event::ResetReceived { sock, .. } if sock.state == TcpState::SynSent => Some(*t),
            _ => None,
        })
    }

    /// The RST that broke the connection.
    #[must_use]
    pub fn reset_received(&self) -> Option<(Time, &TcpCounters)> {
        self.events.iter().find_map(|(t, e)| match &**e {
            Event::ResetReceived { sock, tcp } if sock.state != TcpState::SynSent => Some((*t, tcp)),
            _ => None,
        })
    }

    /// RSTs that a TCP of this host sent in answer to this side's packets (`to_us`) or to the other side's.
    pub fn resets_sent(&self, to_us: bool) -> impl Iterator<Item = SentReset<'_>> + '_ {
        self.events.iter().filter_map(move |(time, e)| match &**e {
            Event::ResetSent { packet, sock, reason, current, stack } => {
                let ours = match (packet.as_ref().and_then(|p| p.tuple), sock) {
                    (Some(t), _) => self.sent_by_us(t),
                    (None, Some(s)) => s.tuple != self.tuple,
                    (None, None) => return None,
                };
                (ours == to_us).then_some(SentReset {
                    time: *time,
                    packet: packet.as_ref(),
                    sock: sock.as_ref(),
                    reason: reason.as_deref(),
                    current: current.as_ref(),
                    stack,
                })
            }
            _ => None,
        })
    }

    /// Packets of this connection that were dropped on this host.
    pub fn drops(&self) -> impl Iterator<Item = Dropped<'_>> + '_ {
        self.all_drops().filter(|d| d.discovery.is_none())
    }

    /// Questions for the link address of a neighbour, and answers to them, that were dropped on this host meanwhile.
    pub fn discovery_drops(&self) -> impl Iterator<Item = (Dropped<'_>, &Discovery)> + '_ {
        self.all_drops().filter_map(|d| d.discovery.map(|discovery| (d, discovery)))
    }

    fn all_drops(&self) -> impl Iterator<Item = Dropped<'_>> + '_ {
        self.events.iter().filter_map(|(time, e)| match &**e {
            Event::Drop { packet, discovery, sock, receiver, reason, at, hook, stack, .. } => {
                let ours = match (discovery, packet.tuple) {
                    (Some(discovery), _) => discovery.asks,
                    (None, Some(tuple)) => self.sent_by_us(tuple),
                    (None, None) => return None,
                };
                Some(Dropped {
                    discovery: discovery.as_ref(),
                    time: *time,
                    packet,
                    sock: sock.as_ref(),
                    receiver: *receiver,
                    reason: reason.as_deref().unwrap_or(""),
                    at: at.as_deref().unwrap_or(""),
                    hook: *hook,
                    stack,
                    ours,
                })
            }
            _ => None,
        })
    }

    /// ICMP errors about this connection: those the socket got, and those seen coming in.
    pub fn icmp_errors(&self) -> impl Iterator<Item = (Time, IcmpError)> + '_ {
        self.events.iter().filter_map(|(t, e)| match &**e {
            Event::State { icmp: Some(i), .. } | Event::SocketError { icmp: Some(i), .. } => Some((*t, *i)),
            Event::IcmpReceived { packet, quoted: Some(q), info } if self.sent_by_us(*q) => {
                let outer = packet.tuple?;
                Some((
                    *t,
                    IcmpError {
                        from: outer.local,
                        v6: outer.protocol == Protocol::Icmpv6,
                        kind: packet.icmp_type,
                        code: packet.icmp_code,
                        info: *info,
                    },
                ))
            }
            _ => None,
        })
    }

    /// ICMP errors that this host's own stack sent about this side's packets: time, packet, stack.
    pub fn icmp_sent(&self) -> impl Iterator<Item = (Time, &Packet, &[Name])> + '_ {
        self.events.iter().filter_map(|(t, e)| match &**e {
            Event::IcmpSent { packet, stack } if packet.tuple.is_some_and(|t| self.sent_by_us(t)) => {
                Some((*t, packet, stack.as_slice()))
            }
            _ => None,
        })
    }

    /// A neighbour that did not answer while this went on: time, namespace, address, interface name.
    pub fn silent_neighbors(&self) -> impl Iterator<Item = (Time, Netns, IpAddr, &str)> + '_ {
        self.events.iter().filter_map(|(t, e)| match &**e {
            Event::NeighborFailed { netns, address, device_name, .. } => {
                Some((*t, *netns, *address, device_name.as_str()))
            }
            _ => None,
        })
    }

    /// A full listener that this side's SYN reached.
    #[must_use]
    pub fn overflow(&self) -> Option<(Time, &Sock)> {
        self.events.iter().find_map(|(t, e)| match &**e {
            Event::ListenOverflow { listener, .. } => Some((*t, listener)),
            _ => None,
        })
    }

    /// SYN-ACKs sent again by a listener of this host.
    #[must_use]
    pub fn synack_retransmits(&self) -> usize {
        self.events.iter().filter(|(_, e)| matches!(**e, Event::SynAckRetransmit { .. })).count()
    }

    /// How the socket ended: its change to TCP_CLOSE, or to a closing state when the application left it so.
    #[must_use]
    pub fn ending(&self) -> Option<Ending<'_>> {
        let change = |wanted: fn(TcpState) -> bool| {
            self.events.iter().rev().find_map(move |(time, e)| match &**e {
                Event::State { sock, old, new, current, icmp, tcp, stack } if wanted(*new) => Some(Ending {
                    time: *time,
                    old: *old,
                    new: *new,
                    error: sock.error,
                    icmp: *icmp,
                    tcp: *tcp,
                    current: current.as_ref(),
                    stack,
                }),
                _ => None,
            })
        };
        change(|s| s == TcpState::Close)
            .or_else(|| change(|s| matches!(s, TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing)))
    }

    /// The latest counters seen.
    #[must_use]
    pub fn counters(&self) -> Option<&TcpCounters> {
        self.events.iter().rev().find_map(|(_, e)| match &**e {
            Event::State { tcp, .. } | Event::Retransmit { tcp, .. } | Event::ResetReceived { tcp, .. } => Some(tcp),
            _ => None,
        })
    }

    /// The question for the route this connection takes.
    #[must_use]
    pub fn route_want(&self) -> Want {
        let from = (!self.tuple.local.is_unspecified()).then_some(self.tuple.local);
        Want::Route {
            netns: self.netns,
            to: self.tuple.remote,
            from,
            device: self.bound_device,
            mark: self.mark,
            uid: self.uid(),
        }
    }
}

/// A call that failed, as a story needs it.
#[derive(Clone, Copy, Debug)]
pub struct FailedCall {
    /// When it returned.
    pub time: Time,
    /// Which.
    pub call: Call,
    /// Positive errno (512 ... 516: interrupted).
    pub errno: i32,
    /// What its routing lookups said.
    pub route: RouteLookups,
    /// A cgroup program slot was reached; none: netdx has none there.
    pub cgroup_hook: Option<bool>,
    /// Its entry was seen (seccomp answers before it).
    pub entered: bool,
    /// SOCK_*; 0 unknown.
    pub socket_type: u16,
    /// Protocol asked for.
    pub protocol: u32,
    /// AF_* of the address given.
    pub family: u16,
}

/// An RST sent by this host.
#[derive(Clone, Copy, Debug)]
pub struct SentReset<'a> {
    /// When.
    pub time: Time,
    /// The packet it answers.
    pub packet: Option<&'a Packet>,
    /// The socket it is about.
    pub sock: Option<&'a Sock>,
    /// `enum sk_rst_reason` by name.
    pub reason: Option<&'a str>,
    /// Whoever was running.
    pub current: Option<&'a Task>,
    /// How the kernel came there.
    pub stack: &'a [Name],
}

/// A packet dropped on this host.
#[derive(Clone, Copy, Debug)]
pub struct Dropped<'a> {
    /// When.
    pub time: Time,
    /// The packet.
    pub packet: &'a Packet,
    /// It asked for the link address of a neighbour, or answered that.
    pub discovery: Option<&'a Discovery>,
    /// A socket it belongs to.
    pub sock: Option<&'a Sock>,
    /// That socket was to get it.
    pub receiver: bool,
    /// Reason by name, without SKB_DROP_REASON_; empty: this kernel gives none.
    pub reason: &'a str,
    /// Function that dropped it; empty: not known.
    pub at: &'a str,
    /// Netfilter hook it was at.
    pub hook: Option<crate::event::Hook>,
    /// How the kernel came there.
    pub stack: &'a [Name],
    /// It was on its way from this side; else it was an answer.
    pub ours: bool,
}

impl Dropped<'_> {
    /// The namespace it was in.
    #[must_use]
    pub fn netns(&self) -> Option<Netns> {
        self.packet.netns.or_else(|| self.sock.map(|s| s.netns))
    }
    /// The kernel came by this function.
    #[must_use]
    pub fn by(&self, function: &str) -> bool {
        self.at == function || self.stack.iter().any(|f| f == function)
    }
}
