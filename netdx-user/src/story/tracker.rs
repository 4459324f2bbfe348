//! From events to stories. Owns: which event belongs to which connection, and when a connection's story has ended.
//! Must not know: causes, clocks (time comes in with the inputs), where events come from.

use super::{
    Connection, Lookup, Order, Story,
    connection::Program,
    datagrams::Datagrams,
    fallback::{self, Fallbacks},
    inbound::Inbound,
    lookups::Lookups,
    neighbors::Neighbors,
    packets::Packets,
};
use crate::{
    event::{Call, Event, Netns, Opened, Packet, Protocol, Sock, SockId, Task, TcpState, Tuple, Via},
    fact::Fact,
    report::Outcome,
    time::Time,
    want::Want,
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

/// How long after its end a story waits for what belongs to it: packets on another CPU, and the return of the call, for
/// which the process must run again.
const SETTLE: Duration = Duration::from_millis(20);
/// How long it waits once the call has returned.
const SETTLE_TOLD: Duration = Duration::from_millis(2);
/// How long the story of a connection that somebody else opened waits for the one who did: where both ends are on this
/// host, it is told from that side.
const SETTLE_OTHER: Duration = Duration::from_millis(100);
/// How many connections are followed at once; the oldest are given up (and counted as lost) beyond that.
const OPEN_LIMIT: usize = 262_144;
/// How many processes, names and failures are remembered.
const MEMORY: usize = 8_192;
/// EPIPE
const EPIPE: i32 = 32;
/// ENOTCONN
const ENOTCONN: i32 = 107;

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

/// A bounded memory: the oldest entries go first.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, V>,
    ages: VecDeque<K>,
}

impl<K: Eq + std::hash::Hash + Clone, V> Recent<K, V> {
    pub(super) fn new() -> Self {
        Recent { entries: HashMap::new(), ages: VecDeque::new() }
    }
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.ages.push_back(key);
        }
        if self.ages.len() > MEMORY
            && let Some(oldest) = self.ages.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }
}

/// Numbers for reports, from 1.
#[derive(Debug, Default)]
pub(super) struct Serial(u64);

impl Serial {
    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// What is known of processes and names: shared by connections, datagrams and lookups.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) programs: Recent<u32, Program>,
    pub(super) exits: Recent<u32, (Time, u32)>,
    /// By process and address: the name it was looked up by.
    pub(super) names: Recent<(u32, IpAddr), String>,
    /// By name and address: a server of somebody on this host answered so.
    answers: Recent<(String, IpAddr), ()>,
    /// By thread: the name getaddrinfo gave it last, and when.
    pub(super) resolved: Recent<u32, (Time, Time, String)>,
    /// By process: the names getaddrinfo gave it last, the latest first.
    resolved_names: Recent<u32, VecDeque<String>>,
    pub(super) packets: Packets,
    pub(super) serial: Serial,
}

impl Memory {
    /// A name was answered with these addresses.
    pub(super) fn named(&mut self, pid: u32, addresses: Vec<IpAddr>, name: &str) {
        for address in addresses {
            self.names.insert((pid, address), name.to_owned());
            self.answers.insert((name.to_owned(), address), ());
        }
    }

    /// getaddrinfo gave addresses for a name.
    fn resolved(&mut self, task: &Task, started: Time, time: Time, name: &str) {
        /// A program that looks up several names connects to the first of them soon.
        const NAMES: usize = 8;
        self.resolved.insert(task.tid, (started, time, name.to_owned()));
        let mut names = self.resolved_names.get(&task.pid).cloned().unwrap_or_default();
        names.retain(|n| n != name);
        names.push_front(name.to_owned());
        names.truncate(NAMES);
        self.resolved_names.insert(task.pid, names);
    }

    pub(super) fn dress(&self, c: &mut Connection) {
        let Some(task) = &c.task else { return };
        if c.program.is_none() {
            c.program = self.programs.get(&task.pid).cloned();
        }
        if c.died.is_none() {
            c.died = self.exits.get(&task.pid).copied();
        }
        if c.name.is_none() {
            c.name = self.names.get(&(task.pid, c.tuple.remote)).cloned();
        }
        if c.name.is_none() && c.looked_up.is_empty() {
            c.looked_up = self.resolved_names.get(&task.pid).into_iter().flatten().cloned().collect();
            // A daemon may have asked for it (systemd-resolved, nscd): its answer tells the name.
            let answered =
                |n: &&String| self.answers.get(&(n.trim_end_matches('.').to_lowercase(), c.tuple.remote)).is_some();
            c.name = c.looked_up.iter().find(answered).cloned();
        }
    }
}

/// Joins events into stories.
#[derive(Debug)]
pub struct Tracker {
    settings: Settings,
    order: Order,
    memory: Memory,
    open: BTreeMap<SockId, Connection>,
    /// Stories that have ended, by when they are settled.
    settling: BTreeMap<(Time, u64), Connection>,
    datagrams: Datagrams,
    inbound: Inbound,
    lookups: Lookups,
    neighbors: Neighbors,
    /// Connections that were opened here, by their endpoints.
    opened: Recent<Tuple, ()>,
    /// Connections whose story has been told: what still comes of their sockets is the kernel's own tidying up.
    told: Recent<SockId, ()>,
    fallbacks: Fallbacks,
    ended: VecDeque<Story>,
    wants: Vec<Want>,
    /// When records were lost last, and how many.
    loss: Option<(Time, u64)>,
}

impl Tracker {
    /// A tracker that has seen nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Tracker {
            lookups: Lookups::new(settings.clone()),
            settings,
            order: Order::default(),
            memory: Memory {
                programs: Recent::new(),
                exits: Recent::new(),
                names: Recent::new(),
                answers: Recent::new(),
                resolved: Recent::new(),
                resolved_names: Recent::new(),
                packets: Packets::default(),
                serial: Serial::default(),
            },
            open: BTreeMap::new(),
            settling: BTreeMap::new(),
            datagrams: Datagrams::default(),
            inbound: Inbound::default(),
            neighbors: Neighbors::default(),
            opened: Recent::new(),
            told: Recent::new(),
            fallbacks: Fallbacks::default(),
            ended: VecDeque::new(),
            wants: Vec::new(),
            loss: None,
        }
    }

    /// An event came in; it is taken in the order of its time.
    pub fn event(&mut self, time: Time, event: Event) {
        self.order.push(time, event);
        self.advance();
    }

    /// Time passed.
    pub fn tick(&mut self, now: Time) {
        self.order.advance(now);
        self.advance();
    }

    /// Records were lost: whatever is going on may miss something, also what waits to be put in order.
    pub fn lost(&mut self, time: Time, n: u64) {
        self.loss = Some((time, n));
        for c in self.open.values_mut().chain(self.settling.values_mut()) {
            c.lost += n;
        }
        self.datagrams.lost(n);
        self.lookups.lost(n);
    }

    /// The host answered something.
    pub fn fact(&mut self, fact: &Fact) {
        self.lookups.fact(fact);
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
        for (_, c) in std::mem::take(&mut self.settling) {
            self.finish(c);
        }
        for c in self.datagrams.end(&mut self.memory) {
            self.finish(c);
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
    }

    /// Gives a story that has ended what happened to its packets once their addresses were translated.
    pub fn follow(&self, c: &mut Connection) {
        let end = c.ended.unwrap_or(c.began).after(SETTLE);
        for hop in c.translated.clone() {
            collect(&self.memory.packets, c, hop.to, end);
        }
    }

    /// A story that has ended.
    pub fn take_ended(&mut self) -> Option<Story> {
        self.ended.pop_front()
    }

    /// Questions that should be answered while the processes are still there.
    pub fn take_wants(&mut self) -> Vec<Want> {
        std::mem::take(&mut self.wants)
    }

    /// When time must be told.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let settled = self.settling.first_key_value().map(|((t, _), _)| *t);
        let parts =
            [self.datagrams.deadline(), self.inbound.deadline(), self.lookups.deadline(), self.fallbacks.deadline()];
        [self.order.deadline(), settled].into_iter().chain(parts).flatten().min()
    }

    fn advance(&mut self) {
        while let Some((time, event)) = self.order.pop() {
            self.take(time, event);
        }
        let now = self.order.now();
        while let Some(entry) = self.settling.first_entry()
            && entry.key().0 <= now
        {
            let c = entry.remove();
            self.finish(c);
        }
        for c in self.datagrams.due(now, &mut self.memory) {
            self.finish(c);
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
    }

    fn take(&mut self, time: Time, event: Event) {
        match event {
            Event::Attempt { started, task, sock, via } => self.attempt(started, task, &sock, via),
            Event::State { ref sock, old, new, .. } => {
                let sock = sock.clone();
                self.state(time, &sock, old, new, event);
            }
            Event::SocketError { ref sock, .. } if sock.tuple.protocol == Protocol::Udp => {
                self.datagram(time, sock.netns, sock.tuple, None, event.clone());
            }
            Event::SocketError { ref sock, .. }
            | Event::ResetReceived { ref sock, .. }
            | Event::Retransmit { ref sock, .. } => {
                let sock = sock.clone();
                if let Some(c) = self.connection(time, &sock) {
                    c.learn(&sock);
                    c.push(time, event);
                }
            }
            Event::ResetSent { ref packet, ref sock, .. } => {
                let tuple = packet.as_ref().and_then(|p| p.tuple).or(sock.as_ref().map(|s| s.tuple));
                if let Some(packet) = packet {
                    self.not_let_in(time, packet, packet.netns);
                }
                if let Some(tuple) = tuple {
                    self.memory.packets.push(tuple, time, event);
                }
            }
            Event::SynAckRetransmit { tuple, .. } => self.memory.packets.push(tuple, time, event),
            // No packet: what the kernel makes up to answer a question about a route (`ip route get`, netdx's own).
            Event::Drop { ref at, .. } if at.as_deref() == Some("inet_rtm_getroute") => {}
            Event::NeighborFailed { .. } | Event::Drop { discovery: Some(_), .. } => self.neighbors.push(time, event),
            Event::Drop { ref packet, ref sock, .. } => {
                let Some(tuple) = packet.tuple.or(sock.as_ref().map(|s| s.tuple)) else { return };
                let netns = packet.netns.or(sock.as_ref().map(|s| s.netns));
                self.not_let_in(time, packet, netns);
                self.packet(time, tuple, netns, packet.clone(), event);
            }
            Event::IcmpReceived { quoted: Some(tuple), ref packet, .. } => {
                let netns = packet.netns;
                let packet = packet.clone();
                self.packet(time, tuple, netns, packet, event);
            }
            Event::IcmpReceived { .. } => {}
            Event::IcmpSent { ref packet, .. } => {
                if let Some(tuple) = packet.tuple {
                    self.memory.packets.push(tuple, time, event);
                }
            }
            Event::ListenOverflow { ref packet, ref listener } => {
                self.not_let_in(time, packet, Some(listener.netns));
                if let Some(tuple) = packet.tuple {
                    self.memory.packets.push(tuple, time, event);
                }
            }
            Event::CallFailed { .. } => self.call_failed(time, event),
            Event::Dns { .. } => {
                let wants = self.lookups.message(time, event, &mut self.memory);
                self.wants.extend(wants);
            }
            Event::GetAddrInfo { task, started, result, name, service, .. } => {
                if result == 0 && !name.is_empty() {
                    self.memory.resolved(&task, started, time, &name);
                }
                self.datagrams.resolver_returned(task.tid, started, time);
                self.lookups.resolved(time, started, task, result, name, service, &mut self.memory);
            }
            Event::Process { task, started, parent, argv, root } => {
                let program = Program { argv, parent, started, root };
                self.memory.programs.insert(task.pid, program);
            }
            Event::ProcessExit { ref task, status } => {
                let pid = task.pid;
                self.memory.exits.insert(pid, (time, status));
                for c in self.open.values_mut() {
                    if c.task.as_ref().is_some_and(|t| t.pid == pid) {
                        c.died = Some((time, status));
                    }
                }
                self.lookups.process_ended(pid, time);
            }
        }
    }

    fn attempt(&mut self, started: Time, task: Option<Task>, sock: &Sock, via: Via) {
        let Some(id) = sock.id else { return };
        let mut c = Connection::new(self.memory.serial.next(), started, sock);
        if let Some(task) = &task {
            let want = Want::Process { pid: task.pid };
            if !self.wants.contains(&want) {
                self.wants.push(want);
            }
        }
        c.task = task;
        c.via = via;
        self.memory.dress(&mut c);
        self.open.insert(id, c);
        if self.open.len() > OPEN_LIMIT {
            self.open.pop_first();
        }
    }

    /// The story of a socket; one that began before netdx gets one here.
    fn connection(&mut self, time: Time, sock: &Sock) -> Option<&mut Connection> {
        let id = sock.id?;
        if !self.open.contains_key(&id) {
            if self.told.get(&id).is_some() {
                let key = self.settling.iter().find(|(_, c)| c.id == Some(id)).map(|(k, _)| *k)?;
                return self.settling.get_mut(&key);
            }
            let mut c = Connection::new(self.memory.serial.next(), time, sock);
            if !matches!(sock.state, TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv) {
                c.established = Some(time);
            }
            self.open.insert(id, c);
        }
        self.open.get_mut(&id)
    }

    fn state(&mut self, time: Time, sock: &Sock, old: TcpState, new: TcpState, event: Event) {
        let all = self.settings.all;
        let slow = self.settings.slow;
        let Some(c) = self.connection(time, sock) else { return };
        c.learn(sock);
        c.push(time, event);
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
                if left(old) {
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
            TcpState::FinWait1 | TcpState::LastAck if in_trouble(c) => {
                let id = c.id;
                let Some(mut c) = id.and_then(|id| self.open.remove(&id)) else { return };
                c.ended = Some(time);
                c.outcome = Outcome::Broken;
                self.settle(c, time);
            }
            _ => {}
        }
    }

    fn settle(&mut self, c: Connection, time: Time) {
        let wait = if c.opened == Opened::Here {
            if c.tuple.local_port != 0 {
                self.opened.insert(c.tuple, ());
            }
            SETTLE
        } else {
            SETTLE_OTHER
        };
        if let Some(id) = c.id {
            self.told.insert(id, ());
        }
        self.settling.insert((time.after(wait), c.serial), c);
    }

    fn not_let_in(&mut self, time: Time, packet: &Packet, netns: Option<Netns>) {
        if self.settings.inbound {
            self.inbound.take(time, packet, netns, &mut self.memory);
        }
    }

    /// A packet event: kept for the connection that asks for it; of a datagram it may be all there is.
    fn packet(&mut self, time: Time, tuple: Tuple, netns: Option<Netns>, packet: Packet, event: Event) {
        if tuple.protocol == Protocol::Udp
            && let Some(netns) = netns
        {
            self.datagram(time, netns, tuple, Some(&packet), event.clone());
        }
        self.memory.packets.push(tuple, time, event);
    }

    fn datagram(&mut self, time: Time, netns: Netns, tuple: Tuple, packet: Option<&Packet>, event: Event) {
        if self.lookups.path(time, tuple, &event) {
            return;
        }
        self.datagrams.take(time, netns, tuple, packet, event, &mut self.memory);
    }

    fn call_failed(&mut self, time: Time, event: Event) {
        let Event::CallFailed {
            call,
            started,
            ref task,
            ref sock,
            address,
            family,
            port,
            result,
            socket_type,
            protocol: asked,
            ..
        } = event
        else {
            return;
        };
        let errno = -result;
        let inet = |f: u16| f == 2 || f == 10;
        // Of a call that seccomp answered only the answer is known.
        let unentered = call == Call::Connect && started.is_none();
        if !(inet(family) || sock.is_some() || unentered) {
            return;
        }
        // Raw and ICMP sockets make no connections (SOCK_STREAM 1, SOCK_DGRAM 2; protocols TCP, UDP, MPTCP or the default).
        if call == Call::Socket && !(matches!(socket_type & 0xf, 1 | 2) && matches!(asked, 0 | 6 | 17 | 262)) {
            return;
        }
        let want = Want::Process { pid: task.pid };
        if !self.wants.contains(&want) {
            self.wants.push(want);
        }
        if sock.as_ref().is_some_and(|s| s.tuple.protocol == Protocol::Udp) {
            if self.lookups.call_failed(time, started, &event, &mut self.memory) {
                return;
            }
            self.datagrams.call_failed(time, event, &mut self.memory);
            return;
        }
        let began = started.unwrap_or(time);
        let id = sock.as_ref().and_then(|s| s.id);
        let (tid, to) = (task.tid, (address, port));
        let belongs = |c: &Connection| {
            c.id.is_some() && c.id == id
                || (matches!(call, Call::Connect | Call::IoUringConnect | Call::Send)
                    && c.task.as_ref().is_some_and(|t| t.tid == tid)
                    && c.began >= began
                    && (to.0.is_none() || to == (Some(c.tuple.remote), c.tuple.remote_port)))
        };
        let settling = self.settling.iter().rev().find(|(_, c)| belongs(c)).map(|(k, _)| *k);
        if settling.is_none() && id.is_some_and(|id| self.told.get(&id).is_some()) {
            return;
        }
        let found = match settling.and_then(|k| self.settling.remove(&k)) {
            Some(c) => Some(self.settling.entry((time.after(SETTLE_TOLD), c.serial)).or_insert(c)),
            None => id.and_then(|id| self.open.get_mut(&id)),
        };
        if let Some(c) = found {
            if matches!(call, Call::Connect | Call::IoUringConnect | Call::Send | Call::Receive) && !interrupted(errno)
            {
                let known = c.errno;
                c.errno = Some(match known {
                    // A send on a connection that was reset says EPIPE only the second time.
                    Some(first) if call == Call::Send || call == Call::Receive => first,
                    _ => errno,
                });
            }
            if let Some(address) = address
                && c.tuple.remote.is_unspecified()
            {
                // A multipath socket gets its endpoints from its first subflow, and here there was none.
                (c.tuple.remote, c.tuple.remote_port) = (address, port);
            }
            c.push(time, event);
            return;
        }
        // Fast Open: sending is what connects a socket that isn't.
        let opens = call == Call::Send
            && address.is_some()
            && sock.as_ref().is_some_and(|s| s.id.is_none() && s.state == TcpState::Close)
            && !matches!(errno, EPIPE | ENOTCONN);
        if matches!(call, Call::Send | Call::Receive) && !opens || interrupted(errno) {
            // On a socket that isn't followed nothing can be said about its history.
            return;
        }
        // No packet was ever sent for it: the call is the whole story.
        let unspecified = if family == 10 { IpAddr::from([0u16; 8]) } else { IpAddr::from([0u8; 4]) };
        let mut local = (unspecified, 0);
        let mut remote = (unspecified, 0);
        let given = (address.unwrap_or(unspecified), port);
        match call {
            Call::Bind | Call::Listen => local = given,
            _ => remote = given,
        }
        if let Some(s) = sock
            && (call != Call::Bind)
        {
            local = (s.tuple.local, s.tuple.local_port);
        }
        let protocol = sock.as_ref().map_or(Protocol::Tcp, |s| s.tuple.protocol);
        let netns = sock.as_ref().map(|s| s.netns).or(task.netns).unwrap_or(Netns(0));
        let tuple = Tuple { protocol, local: local.0, local_port: local.1, remote: remote.0, remote_port: remote.1 };
        let blank = Sock {
            id: None,
            cookie: sock.as_ref().and_then(|s| s.cookie),
            tuple,
            v6: family == 10,
            netns,
            state: TcpState::Close,
            error: 0,
            soft_error: 0,
            mark: sock.as_ref().map_or(0, |s| s.mark),
            bound_device: sock.as_ref().map_or(0, |s| s.bound_device),
            backlog: 0,
            max_backlog: 0,
            retransmits: 0,
            opened: Opened::Here,
        };
        let mut c = Connection::new(self.memory.serial.next(), began, &blank);
        c.task = Some(task.clone());
        c.ended = Some(time);
        c.errno = Some(errno);
        c.via = match call {
            Call::IoUringConnect => Via::IoUring,
            Call::Send => Via::FastOpen,
            _ => Via::Connect,
        };
        c.push(time, event);
        self.memory.dress(&mut c);
        self.settle(c, time);
    }

    /// A story whose events are all there.
    fn finish(&mut self, mut c: Connection) {
        if c.tuple.protocol == Protocol::Mptcp {
            if self.subflow_told(&c) {
                return;
            }
            if c.established.is_none() && c.errno.is_some() {
                // No subflow came to be, so no packet was made: the call's failure is the whole story.
                c.id = None;
                c.outcome = Outcome::Failed;
            }
        }
        if let Some((_, n)) = self.loss.filter(|(time, _)| c.lost == 0 && *time >= c.began) {
            c.lost = n;
        }
        let end = c.ended.unwrap_or(c.began).after(SETTLE);
        self.memory.dress(&mut c);
        if c.tuple.protocol != Protocol::Udp {
            let tuple = c.tuple;
            collect(&self.memory.packets, &mut c, tuple, end);
        }
        if let Some(sequence) = c.syn_sequence() {
            c.translated = self.memory.packets.translated(c.tuple, sequence, c.began, end);
            self.follow(&mut c);
        }
        for (time, event) in self.neighbors.of(c.tuple, c.reached(), c.began, end) {
            c.push(time, event);
        }
        self.fallbacks.failed(&mut c);
        c.folded = c.opened != Opened::Here && {
            let other = c.tuple.reversed();
            self.opened.get(&other).is_some()
                || self.open.values().any(|o| o.opened == Opened::Here && o.tuple == other)
        };
        if c.tuple.remote_port == 53 && self.lookups.adopt(&c) {
            return;
        }
        self.ended.push_back(Story::Connection(Box::new(c)));
    }

    /// A lookup has ended: neighbours that were silent meanwhile matter on the way to its servers.
    fn tell(&mut self, mut lookup: Lookup) {
        let end = lookup.ended.unwrap_or(lookup.began).after(SETTLE);
        for path in &mut lookup.paths {
            for (time, event) in self.neighbors.of(path.tuple, path.reached(), lookup.began, end) {
                path.push(time, event);
            }
        }
        self.ended.push_back(Story::Lookup(Box::new(lookup)));
    }

    /// An MPTCP connection's first subflow tells its story.
    fn subflow_told(&self, c: &Connection) -> bool {
        let Some(task) = &c.task else { return false };
        let near = |o: &Connection| {
            o.tuple.protocol == Protocol::Tcp
                && o.task.as_ref().is_some_and(|t| t.tid == task.tid)
                && o.began.since(c.began).max(c.began.since(o.began)) < Duration::from_millis(50)
        };
        self.open.values().chain(self.settling.values()).any(near)
            || self.ended.iter().any(|s| matches!(s, Story::Connection(o) if near(o)))
            || c.tuple.remote.is_unspecified()
    }

    /// A connection that worked is told; where the same program is still at an IPv6 address, once that is known, too.
    fn worked(&mut self, c: Connection, time: Time) {
        let beside = |o: &Connection| fallback::instead(o, &c);
        let waits = self.open.values().chain(self.settling.values()).any(beside);
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

/// The application had closed the connection before: what becomes of it then is no failure of the application's.
fn left(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck | TcpState::TimeWait
    )
}

/// Gives a connection what happened to its packets.
pub(super) fn collect(packets: &Packets, c: &mut Connection, tuple: Tuple, end: Time) {
    if tuple.local_port == 0 {
        return;
    }
    let from = Time(c.began.0.saturating_sub(1_000_000));
    for (time, event) in packets.between(tuple, from, end) {
        c.push(time, event);
    }
}

/// A signal interrupted the call (ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK; EINTR).
fn interrupted(errno: i32) -> bool {
    errno == 4 || (512..=516).contains(&errno)
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
    let latest = c.events.iter().rev().find_map(|(_, e)| match e {
        Event::State { sock, tcp, .. } | Event::Retransmit { sock, tcp, .. } => Some((sock.retransmits, tcp)),
        _ => None,
    });
    latest.is_some_and(|(retransmits, tcp)| retransmits > 0 && tcp.unacknowledged > 0)
}
