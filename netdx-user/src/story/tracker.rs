//! From events to stories. Owns: which event belongs to which connection, and when a connection's story has ended.
//! Must not know: causes, clocks (time comes in with the inputs), where events come from.

use super::{
    Connection, Lookup, Order, Story,
    connection::Program,
    datagrams::Datagrams,
    fallback::{self, Fallbacks},
    inbound::Inbound,
    lookup::Resolved,
    lookups::Lookups,
    memory::{Memory, Over},
    neighbors::Neighbors,
    packets::{Packets, syn},
    rules::Rules,
    settling::Settling,
    subflows::Subflows,
};
use crate::{
    event::{Event, Netns, Opened, Packet, Protocol, Sock, SockId, Task, TcpState, Tuple, Via},
    fact::Fact,
    report::Outcome,
    time::Time,
    want::Want,
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

/// How long after its end a story waits for what belongs to it: packets on another CPU, and the return of the call, for
/// which the process must run again.
const SETTLE: Duration = Duration::from_millis(20);
/// How long the story of a connection that somebody else opened waits for the one who did: where both ends are on this
/// host, it is told from that side.
const SETTLE_OTHER: Duration = Duration::from_millis(100);
/// How many connections are followed at once; beyond that the oldest are given up, which is counted.
const OPEN_LIMIT: usize = 262_144;

/// What changes stories.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Stories of what worked are told, too.
    pub all: bool,
    /// What takes longer than this is slow.
    pub slow: Option<Duration>,
    /// What this host did not let in is told.
    pub inbound: bool,
    /// getaddrinfo is observed: a lookup ends when it returns.
    pub getaddrinfo: bool,
}

/// Joins events into stories.
#[derive(Debug)]
pub struct Tracker {
    settings: Settings,
    order: Order,
    pub(super) memory: Memory,
    pub(super) open: BTreeMap<SockId, Box<Connection>>,
    pub(super) settling: Settling,
    pub(super) datagrams: Datagrams,
    inbound: Inbound,
    pub(super) lookups: Lookups,
    neighbors: Neighbors,
    rules: Rules,
    /// Connections that were opened here, by their endpoints.
    opened: Over<Tuple>,
    /// Connections whose story has been told: what still comes of their sockets is the kernel's own tidying up.
    pub(super) told: Over<SockId>,
    fallbacks: Fallbacks,
    subflows: Subflows,
    ended: VecDeque<Story>,
    pub(super) wants: Vec<Want>,
}

impl Tracker {
    /// A tracker that has seen nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Tracker {
            lookups: Lookups::new(settings.clone()),
            settings,
            order: Order::default(),
            memory: Memory::new(),
            open: BTreeMap::new(),
            settling: Settling::default(),
            datagrams: Datagrams::default(),
            inbound: Inbound::default(),
            neighbors: Neighbors::default(),
            rules: Rules::default(),
            opened: Over::default(),
            told: Over::default(),
            fallbacks: Fallbacks::default(),
            subflows: Subflows::default(),
            ended: VecDeque::new(),
            wants: Vec::new(),
        }
    }

    /// An event came in; it is taken in the order of its time.
    pub fn event(&mut self, time: Time, event: Event) {
        self.order.push(time, Arc::new(event));
        self.advance();
    }

    /// Time passed.
    pub fn tick(&mut self, now: Time) {
        self.order.advance(now);
        self.advance();
    }

    /// Records were lost: whatever is going on may miss something, also what waits to be put in order.
    pub fn lost(&mut self, time: Time, n: u64) {
        self.memory.losses.push(time, n);
    }

    /// The host answered something.
    pub fn fact(&mut self, fact: &Fact) {
        self.lookups.fact(fact);
        self.rules.fact(fact);
    }

    /// Nothing more comes: every story ends here.
    pub fn end(&mut self) {
        while let Some((time, event)) = self.order.pop_any() {
            self.take(time, event);
        }
        let now = self.order.now();
        for (_, mut c) in std::mem::take(&mut self.open) {
            let came_to_be = c.established.is_some() && !in_trouble(&c);
            if came_to_be || c.established.is_none() && c.opened != Opened::Here {
                continue;
            }
            c.ended = Some(now);
            c.outcome = if c.established.is_some() { Outcome::Broken } else { Outcome::Abandoned };
            self.settle(c, now);
        }
        while let Some(c) = self.settling.pop_due(Time(u64::MAX)) {
            self.finish(c);
        }
        for c in self.datagrams.end(&mut self.memory) {
            self.finish(Box::new(c));
        }
        for c in self.inbound.end(&self.memory) {
            self.ended.push_back(Story::Connection(Box::new(c)));
        }
        for c in self.fallbacks.due(Time(u64::MAX)) {
            self.ended.push_back(Story::Connection(Box::new(c)));
        }
        for lookup in self.lookups.end(now, &mut self.memory) {
            self.tell(lookup);
        }
        while let Some(c) = self.lookups.let_go(Time(u64::MAX)) {
            self.ended.push_back(Story::Connection(c));
        }
    }

    /// Gives a story that has ended what happened to its packets once their addresses were translated.
    pub fn follow(&self, c: &mut Connection) {
        let end = c.ended.unwrap_or(c.began).after(SETTLE);
        for hop in c.translated.clone() {
            collect(&self.memory.packets, c, hop.to, end);
        }
    }

    /// A UDP conversation with these endpoints failed a moment ago, and is told, or a lookup was made with them.
    #[must_use]
    pub fn tells_of(&self, tuple: Tuple) -> bool {
        self.datagrams.tells_of(tuple) || self.lookups.tells_of(tuple)
    }

    /// A story that has ended.
    pub fn take_ended(&mut self) -> Option<Story> {
        self.ended.pop_front()
    }

    /// Questions that should be answered while the processes are still there.
    pub fn take_wants(&mut self) -> Vec<Want> {
        std::mem::take(&mut self.wants)
    }

    /// How many stories were given up since this was asked last: too many were open at once.
    pub fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.memory.given_up)
    }

    /// When time must be told.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let parts =
            [self.datagrams.deadline(), self.inbound.deadline(), self.lookups.deadline(), self.fallbacks.deadline()];
        [self.order.deadline(), self.settling.deadline()].into_iter().chain(parts).flatten().min()
    }

    fn advance(&mut self) {
        while let Some((time, event)) = self.order.pop() {
            self.take(time, event);
        }
        let now = self.order.now();
        self.forget(now);
        while let Some(c) = self.settling.pop_due(now) {
            self.finish(c);
        }
        for c in self.datagrams.due(now, &mut self.memory) {
            self.finish(Box::new(c));
        }
        for c in self.inbound.due(now, &self.memory) {
            self.ended.push_back(Story::Connection(Box::new(c)));
        }
        for c in self.fallbacks.due(now) {
            self.ended.push_back(Story::Connection(Box::new(c)));
        }
        for lookup in self.lookups.due(now, &mut self.memory) {
            self.tell(lookup);
        }
        while let Some(c) = self.lookups.let_go(now) {
            self.ended.push_back(Story::Connection(c));
        }
    }

    /// Forgets what nothing that comes can need any more.
    fn forget(&mut self, now: Time) {
        self.opened.forget(now);
        self.told.forget(now);
        self.neighbors.forget(now);
        self.rules.forget(now);
        self.fallbacks.forget(now);
        self.inbound.forget(now);
        let processes = self.memory.forget(now);
        self.lookups.forget(now, &processes);
    }

    fn take(&mut self, time: Time, event: Arc<Event>) {
        self.wants.extend(self.rules.question(time, &event));
        match &*event {
            Event::Attempt { started, task, sock, via, dialled } => {
                self.attempt(*started, task.clone(), sock, *via, *dialled);
            }
            Event::State { sock, old, new, .. } => self.state(time, sock, *old, *new, &event),
            Event::SocketError { sock, .. } if sock.tuple.protocol == Protocol::Udp => {
                self.datagram(time, sock.netns, sock.tuple, None, &event);
            }
            Event::SocketError { sock, .. } | Event::ResetReceived { sock, .. } | Event::Retransmit { sock, .. } => {
                if let Some(c) = self.connection(time, sock) {
                    c.learn(sock);
                    c.push(time, Arc::clone(&event));
                }
                if let Event::Retransmit { sock, tcp, .. } = &*event {
                    self.closed_unused(time, sock, tcp);
                }
            }
            Event::ResetSent { packet, sock, .. } => {
                let tuple = packet.as_ref().and_then(|p| p.tuple).or(sock.as_ref().map(|s| s.tuple));
                if let Some(packet) = packet {
                    self.not_let_in(time, packet, packet.netns);
                }
                if let Some(tuple) = tuple {
                    self.memory.packets.push(tuple, time, event);
                }
            }
            Event::SynAckRetransmit { tuple, .. } => self.memory.packets.push(*tuple, time, event),
            Event::Drop { .. } if event.is_of_question() => {}
            Event::NeighborFailed { .. } | Event::Drop { discovery: Some(_), .. } => self.neighbors.push(time, event),
            Event::Drop { packet, inner, sock, .. } => {
                // A tunnel's packet is that of the connection in it.
                if let Some(outer) = packet.tuple.filter(|_| inner.is_some()) {
                    self.memory.carried(time, outer);
                }
                let packet = inner.as_deref().unwrap_or(packet);
                let Some(tuple) = packet.tuple.or(sock.as_ref().map(|s| s.tuple)) else { return };
                let netns = packet.netns.or(sock.as_ref().map(|s| s.netns));
                self.not_let_in(time, packet, netns);
                self.packet(time, tuple, netns, packet, &event);
            }
            Event::IcmpReceived { quoted: Some(tuple), packet, .. } => {
                self.packet(time, *tuple, packet.netns, packet, &event);
            }
            Event::IcmpReceived { .. } => {}
            Event::IcmpSent { packet, .. } => {
                if let Some(tuple) = packet.tuple {
                    self.memory.packets.push(tuple, time, event);
                }
            }
            Event::ListenOverflow { packet, listener } => {
                self.not_let_in(time, packet, Some(listener.netns));
                if let Some(tuple) = packet.tuple {
                    self.memory.packets.push(tuple, time, event);
                }
            }
            Event::CallFailed { .. } => self.call_failed(time, &event),
            Event::Dns { .. } => {
                let wants = self.lookups.message(time, &event, &mut self.memory);
                self.wants.extend(wants);
            }
            Event::GetAddrInfo { task, started, result, family, name, service } => {
                if *result == 0 && !name.is_empty() {
                    self.memory.resolved(task, *started, time, name);
                }
                self.datagrams.resolver_returned(task.tid, *started, time);
                let (name, service) = (name.clone(), service.clone());
                let resolved = Resolved { time, result: *result, name, service, family: *family };
                self.lookups.resolved(*started, task.clone(), resolved, &mut self.memory);
            }
            Event::Process { task, started, parent, argv, root } => {
                let program = Program { argv: argv.clone(), parent: *parent, started: *started, root: *root };
                self.memory.runs(time, task.pid, program);
            }
            Event::ProcessExit { task, status } => {
                let (pid, status) = (task.pid, *status);
                self.memory.exited(time, pid, status);
                for c in self.open.values_mut() {
                    if c.task.as_ref().is_some_and(|t| t.pid == pid) {
                        c.died = Some((time, status));
                    }
                }
                self.lookups.process_ended(pid, time);
            }
        }
    }

    fn attempt(&mut self, started: Time, task: Option<Task>, sock: &Sock, via: Via, dialled: Option<SocketAddr>) {
        let Some(id) = sock.id else { return };
        let mut c = Connection::new(self.memory.serial.next(), started, sock);
        if let Some(task) = &task {
            let want = Want::Process { pid: task.pid };
            if !self.wants.contains(&want) {
                self.wants.push(want);
            }
        }
        // Nothing is told of a connection that works: it may have come to be long before.
        if came_to_be(sock.state) {
            c.established = Some(started);
        }
        c.under_way = sock.opened == Opened::Unseen || sock.opened == Opened::Here && task.is_none();
        c.task = task;
        c.via = via;
        c.redirected = dialled;
        self.memory.dress(&mut c);
        self.subflows.began(&c);
        self.open.insert(id, Box::new(c));
        if self.open.len() > OPEN_LIMIT {
            self.open.pop_first();
            self.memory.given_up += 1;
        }
    }

    /// The story of a socket; one that began before netdx gets one here.
    fn connection(&mut self, time: Time, sock: &Sock) -> Option<&mut Connection> {
        let id = sock.id?;
        if !self.open.contains_key(&id) {
            if self.told.holds(&id) {
                return self.settling.of_socket(id);
            }
            let mut c = Connection::new(self.memory.serial.next(), time, sock);
            c.under_way = true;
            if !matches!(sock.state, TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv) {
                c.established = Some(time);
            }
            self.open.insert(id, Box::new(c));
        }
        self.open.get_mut(&id).map(|c| &mut **c)
    }

    fn state(&mut self, time: Time, sock: &Sock, old: TcpState, new: TcpState, event: &Arc<Event>) {
        let all = self.settings.all;
        let slow = self.settings.slow;
        let Some(c) = self.connection(time, sock) else { return };
        c.learn(sock);
        c.push(time, Arc::clone(event));
        if c.task.is_none() {
            c.task = closer(event).cloned();
        }
        match new {
            TcpState::Established if c.established.is_none() => {
                c.established = Some(time);
                let slow = slow.filter(|s| time.since(c.began) >= *s);
                if all || slow.is_some() {
                    let mut worked = c.clone();
                    worked.slow = slow;
                    worked.outcome = Outcome::Established;
                    self.memory.dress(&mut worked);
                    let tuple = worked.tuple;
                    collect(&self.memory.packets, &mut worked, tuple, time);
                    self.worked(worked, time);
                }
            }
            TcpState::Close => {
                let id = c.id;
                let Some(mut c) = id.and_then(|id| self.open.remove(&id)) else { return };
                if left(old, sock) {
                    return;
                }
                if c.established.is_none()
                    && !matches!(old, TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv)
                {
                    c.established = Some(c.began);
                }
                c.ended = Some(time);
                let in_connect = connecting(&c);
                c.outcome = match (c.established, sock.error) {
                    (Some(_), _) => Outcome::Broken,
                    (None, 0) if !in_connect => Outcome::Abandoned,
                    (None, _) => Outcome::Failed,
                };
                if sock.error > 0 {
                    c.errno = Some(sock.error);
                } else if let Some(errno) = taken(&c, sock) {
                    c.errno = Some(errno);
                    c.outcome = Outcome::Failed;
                }
                self.settle(c, time);
            }
            TcpState::FinWait1 | TcpState::LastAck if sock.left.unwrap_or(true) && in_trouble(c) => {
                let id = c.id;
                let Some(mut c) = id.and_then(|id| self.open.remove(&id)) else { return };
                c.ended = Some(time);
                c.outcome = Outcome::Broken;
                self.settle(c, time);
            }
            _ => {}
        }
    }

    pub(super) fn settle(&mut self, c: Box<Connection>, time: Time) {
        let wait = if c.opened == Opened::Here {
            if c.tuple.local_port != 0 {
                self.opened.insert(time, c.tuple, c.established.is_some());
            }
            SETTLE
        } else {
            SETTLE_OTHER
        };
        if let Some(id) = c.id {
            self.told.insert(time, id, c.established.is_some());
        }
        self.settling.insert(time.after(wait), c);
    }

    fn not_let_in(&mut self, time: Time, packet: &Packet, netns: Option<Netns>) {
        if self.settings.inbound {
            self.inbound.take(time, packet, netns, &mut self.memory);
        }
    }

    /// A packet event: kept for the connection that asks for it; of a datagram it may be all there is.
    fn packet(&mut self, time: Time, tuple: Tuple, netns: Option<Netns>, packet: &Packet, event: &Arc<Event>) {
        if tuple.protocol == Protocol::Udp
            && let Some(netns) = netns
        {
            self.datagram(time, netns, tuple, Some(packet), event);
        }
        self.memory.packets.push(tuple, time, Arc::clone(event));
    }

    fn datagram(&mut self, time: Time, netns: Netns, tuple: Tuple, packet: Option<&Packet>, event: &Arc<Event>) {
        if self.lookups.path(time, tuple, event) {
            return;
        }
        self.datagrams.take(time, netns, tuple, packet, event, &mut self.memory);
    }

    /// A story whose events are all there.
    fn finish(&mut self, mut c: Box<Connection>) {
        if c.tuple.protocol == Protocol::Mptcp {
            // Its first subflow tells the story.
            if c.tuple.remote.is_unspecified() || self.subflows.had(&c) {
                return;
            }
            if c.established.is_none() && c.errno.is_some() {
                // No subflow came to be, so no packet was made: the call's failure is the whole story.
                c.id = None;
                c.outcome = Outcome::Failed;
            }
        }
        self.memory.note_losses(&mut c);
        let end = c.ended.unwrap_or(c.began).after(SETTLE);
        self.memory.dress(&mut c);
        if c.tuple.protocol != Protocol::Udp {
            let tuple = c.tuple;
            collect(&self.memory.packets, &mut c, tuple, end);
            self.memory.packets.told(tuple, end);
        }
        self.memory.end_peer(&mut c);
        if let Some(sequence) = c.syn_sequence() {
            c.translated = self.memory.packets.translated(c.tuple, sequence, c.began, end);
            self.follow(&mut c);
        }
        for (time, event) in self.neighbors.of(c.tuple, c.reached(), c.began, end) {
            c.push(time, event);
        }
        self.rules.tell(&mut c);
        self.fallbacks.failed(&mut c);
        c.folded = c.opened != Opened::Here && {
            let other = c.tuple.reversed();
            self.opened.holds(&other) || self.open.values().any(|o| o.opened == Opened::Here && o.tuple == other)
        };
        let c = if c.tuple.remote_port == 53 { self.lookups.adopt(c) } else { Some(c) };
        self.ended.extend(c.map(Story::Connection));
    }

    /// A lookup has ended: neighbours that were silent meanwhile matter on the way to its servers.
    fn tell(&mut self, mut lookup: Lookup) {
        let end = lookup.ended.unwrap_or(lookup.began).after(SETTLE);
        let of_relays = lookup.relays.iter_mut().flat_map(|relay| &mut relay.paths);
        for path in lookup.paths.iter_mut().chain(of_relays) {
            for (time, event) in self.neighbors.of(path.tuple, path.reached(), lookup.began, end) {
                path.push(time, event);
            }
            self.rules.tell(path);
        }
        self.ended.push_back(Story::Lookup(Box::new(lookup)));
    }

    /// A connection that worked is told; where the same program is still at an IPv6 address, once that is known, too.
    fn worked(&mut self, c: Connection, time: Time) {
        let beside = |o: &Connection| fallback::instead(o, &c);
        let waits = self.open.values().chain(self.settling.iter()).any(|c| beside(c));
        self.fallbacks.worked(c, time, waits);
        for c in self.fallbacks.due(time) {
            self.ended.push_back(Story::Connection(Box::new(c)));
        }
    }
}

/// The error that the application had taken from a socket which it then closed. An ICMP error that comes while connect is
/// at work on the socket does not end it: it is queued, wakes whoever polls, and stays as `sk_err_soft` (tcp_v4_err, 6.18)
/// until SO_ERROR takes it (sock_getsockopt).
fn taken(c: &Connection, sock: &Sock) -> Option<i32> {
    if c.established.is_some() || sock.soft_error != 0 {
        return None;
    }
    c.ending()?.icmp?.errno()
}

/// The process that closed a socket, or disconnected it: the kernel came from its call, or its end, and not from a packet or a
/// timer that interrupted some other process. (`ss -K` comes by tcp_abort.)
fn closer(event: &Event) -> Option<&Task> {
    let Event::State { current, stack, .. } = event else { return None };
    let first = stack.first().map(|f| &**f);
    let by_call = matches!(first, Some("__tcp_close" | "tcp_close" | "tcp_disconnect" | "inet_shutdown"));
    current.as_ref().filter(|_| by_call && !stack.iter().any(|f| f == "tcp_abort"))
}

/// In this state its handshake is over, and its end is not.
fn came_to_be(state: TcpState) -> bool {
    use TcpState::{CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, TimeWait};
    matches!(state, Established | CloseWait | FinWait1 | FinWait2 | Closing | LastAck | TimeWait)
}

/// The application had closed the connection before: what becomes of it then is no failure of the application's. One that has
/// only said that it sends no more (shutdown) still waits for what comes.
fn left(state: TcpState, sock: &Sock) -> bool {
    match state {
        TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck => sock.left.unwrap_or(true),
        TcpState::TimeWait => true,
        _ => false,
    }
}

/// Gives a connection what happened to its packets.
pub(super) fn collect(packets: &Packets, c: &mut Connection, tuple: Tuple, end: Time) {
    if tuple.local_port == 0 {
        return;
    }
    let from = c.began.before(Duration::from_millis(1));
    let own = c.syn_sequence();
    for (time, event) in packets.between(tuple, from, end) {
        // Another attempt may have had the same endpoints a moment ago.
        let other = own.is_some_and(|own| syn(&event).is_some_and(|(sequence, _)| sequence != own));
        if !other {
            c.push(time, event);
        }
    }
}

/// The socket was closed again within connect itself.
fn connecting(c: &Connection) -> bool {
    c.ending().is_some_and(|e| {
        !e.stack.iter().any(|f| f.contains("close") || f.contains("tcp_disconnect"))
            && e.stack.iter().any(|f| f == "tcp_v4_connect" || f == "tcp_v6_connect")
    })
}

/// Something is wrong that did not get right again: data unacknowledged after a retransmission timer ran out.
fn in_trouble(c: &Connection) -> bool {
    let latest = c.events.iter().rev().find_map(|(_, e)| match &**e {
        Event::State { sock, tcp, .. } | Event::Retransmit { sock, tcp, .. } => Some((sock.retransmits, tcp)),
        _ => None,
    });
    latest.is_some_and(|(retransmits, tcp)| retransmits > 0 && tcp.unacknowledged > 0)
}
