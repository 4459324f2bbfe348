//! Lookups in progress. Owns: their beginning and end, and what else than messages belongs to one. Must not know: causes,
//! messages (see `questions`).
//!
//! One lookup is what one thread asks for one name: A and AAAA at once, the search list, the next server, TCP after a cut
//! answer. It ends when getaddrinfo returns, where that is observed and used; else when every question has its answer and
//! no further one follows, or when no answer came and the resolver's time-out has passed.

use super::{
    Connection, Facts, Lookup, Query,
    datagrams::called,
    habits::Habits,
    held::Held,
    lookup::{Misfit, Stray},
    memory::{Memory, Recent},
    relays::Relays,
    tracker::Settings,
};
use crate::{
    event::{Cookie, Event, Netns, Opened, Protocol, Sock, Task, Tuple},
    fact::{Answer, Fact},
    time::Time,
    want::Want,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// After the last answer a resolver goes on at once: with the next name of the search list, or by returning.
const GRACE: Duration = Duration::from_millis(60);
/// After getaddrinfo has returned, or the process has ended: for the TCP connection it made meanwhile to be told, and for
/// what happened to its packets.
const TOLD: Duration = Duration::from_millis(30);
/// A call of getaddrinfo that is under way ends when it returns, or when it has been forgotten.
const CALL: Duration = Duration::from_secs(600);
/// So long before the first thing known of a lookup its packets may have been dropped.
const BEFORE: Duration = Duration::from_millis(50);
/// How late a resolver's own timer may fire.
const LATE: Duration = Duration::from_millis(500);
/// How long an error about a lookup's packet may come after it.
const ASKED: Duration = Duration::from_secs(10);
/// How many are kept.
const LIMIT: usize = 65_536;

/// Lookups in progress.
#[derive(Debug)]
pub(super) struct Lookups {
    pub(super) settings: Settings,
    pub(super) open: BTreeMap<u64, Lookup>,
    /// The lookup that a thread is at.
    pub(super) by_thread: HashMap<u32, u64>,
    /// By thread: when the last lookup began that was over before getaddrinfo returned, as far as could be told.
    pub(super) told: Recent<u32, Time>,
    /// The lookups that a process is at.
    pub(super) by_process: HashMap<u32, BTreeSet<u64>>,
    /// Those with a question for a name.
    pub(super) by_name: HashMap<String, BTreeSet<u64>>,
    /// Where an answer belongs: socket and message id.
    pub(super) by_message: HashMap<(Option<Cookie>, u16, Protocol), u64>,
    /// Where a message belongs that answers nothing.
    pub(super) by_socket: HashMap<Cookie, u64>,
    /// By the port that a question was sent from.
    by_port: HashMap<u16, u64>,
    due: BTreeMap<(Time, u64), ()>,
    when: HashMap<u64, Time>,
    /// By process.
    pub(super) resolvers: HashMap<u32, Habits>,
    relays: Relays,
    pub(super) held: Held,
    /// Endpoints with which lookups asked that are over.
    asked: Recent<Tuple, ()>,
}

impl Lookups {
    pub(super) fn new(settings: Settings) -> Self {
        Lookups {
            settings,
            open: BTreeMap::new(),
            by_thread: HashMap::new(),
            told: Recent::new(CALL),
            by_process: HashMap::new(),
            by_name: HashMap::new(),
            by_message: HashMap::new(),
            by_socket: HashMap::new(),
            by_port: HashMap::new(),
            due: BTreeMap::new(),
            when: HashMap::new(),
            resolvers: HashMap::new(),
            relays: Relays::default(),
            held: Held::default(),
            asked: Recent::new(ASKED),
        }
    }

    /// A call that should have led to a server failed. True: it is a lookup's.
    pub(super) fn call_failed(
        &mut self,
        time: Time,
        started: Option<Time>,
        event: &Arc<Event>,
        memory: &mut Memory,
    ) -> bool {
        let Event::CallFailed { call, task, sock: Some(sock), address, port, .. } = &**event else { return false };
        let tuple = called(*call, sock.tuple, *address, *port);
        if tuple.remote_port != 53 {
            return false;
        }
        let under_way = |key: &u64| self.open.get(key).is_some_and(|l| is_under_way(l, time));
        let key = match self.by_thread.get(&task.tid).copied().filter(under_way) {
            Some(key) => key,
            None => self.begin(started.unwrap_or(time), Some(task.clone()), Some(sock.netns), memory),
        };
        self.join(key, time, tuple, sock, event);
        self.schedule(key);
        true
    }

    /// An event on the way to or from a server. True: it is a lookup's, or a server's own business.
    pub(super) fn path(&mut self, time: Time, tuple: Tuple, event: &Arc<Event>) -> bool {
        let outward = if tuple.remote_port == 53 { tuple } else { tuple.reversed() };
        if outward.remote_port != 53 {
            return self.answered_from_another_port(time, tuple, event);
        }
        if too_late(event) {
            if matches!(**event, Event::Drop { .. }) {
                self.not_asked(time, tuple);
            }
            return true;
        }
        let cookie = match &**event {
            Event::SocketError { sock, .. } => sock.cookie,
            _ => None,
        };
        let found = self.open.iter().rev().find(|(_, l)| {
            l.queries.iter().any(|q| q.tuple == outward || (cookie.is_some() && q.cookie == cookie))
                || l.paths.iter().any(|p| p.tuple == outward)
        });
        if let Some(key) = found.map(|(k, _)| *k) {
            let sock = match &**event {
                Event::SocketError { sock, .. } => sock.clone(),
                _ => Sock::unseen(outward, self.open.get(&key).and_then(|l| l.netns).unwrap_or(Netns(0))),
            };
            self.join(key, time, outward, &sock, event);
            self.schedule(key);
        }
        true
    }

    /// A server answers from another port than it was asked at: the kernel does not give that to the socket, and refuses it.
    fn answered_from_another_port(&mut self, time: Time, packet: Tuple, event: &Event) -> bool {
        let key = self.by_port.get(&packet.remote_port).filter(|_| packet.protocol == Protocol::Udp);
        let Some(lookup) = key.and_then(|key| self.open.get_mut(key)) else { return false };
        let to = (packet.remote, packet.remote_port);
        let asked = |q: &Query| (q.tuple.local, q.tuple.local_port) == to && q.tuple.remote == packet.local;
        if !lookup.queries.iter().any(asked) {
            return false;
        }
        if matches!(event, Event::Drop { .. }) {
            lookup.stray(Stray { time, from: packet.local, misfit: Misfit::Port });
        }
        true
    }

    /// A lookup asked with these endpoints, and tells what became of that.
    pub(super) fn tells_of(&self, tuple: Tuple) -> bool {
        self.asked.get(&tuple).is_some() || self.open.values().any(|l| tuples(l).any(|t| t == tuple))
    }

    /// A packet from a port 53 that the kernel did not give to the socket it came for: from a server that was not asked.
    fn not_asked(&mut self, time: Time, packet: Tuple) {
        let to = (packet.remote, packet.remote_port);
        let waits = |q: &Query| {
            let own = (q.tuple.local, q.tuple.local_port) == to;
            own && q.answer.is_none() && q.tuple.protocol == packet.protocol && q.tuple.remote != packet.local
        };
        if let Some(lookup) = self.open.values_mut().find(|l| l.queries.iter().any(waits)) {
            lookup.stray(Stray { time, from: packet.local, misfit: Misfit::Server });
        }
    }

    /// A TCP connection to a server that failed. Given back: it is no lookup's.
    pub(super) fn adopt(&mut self, c: Box<Connection>) -> Option<Box<Connection>> {
        let Some(task) = &c.task else { return Some(c) };
        let asked = |l: &Lookup| {
            let within = c.began >= l.began && l.resolved.as_ref().is_none_or(|r| c.began <= r.time);
            let same = |t: &Task| {
                t.tid == task.tid || t.pid == task.pid && l.queries.iter().any(|q| q.tuple.remote == c.tuple.remote)
            };
            within && l.task.as_ref().is_some_and(same)
        };
        if let Some((&key, lookup)) = self.open.iter_mut().rev().find(|(_, l)| asked(l)) {
            lookup.paths.push(*c);
            self.schedule(key);
        } else if self.settings.getaddrinfo && c.is_tcp() {
            // Of a lookup by TCP alone nothing is known before getaddrinfo returns.
            self.held.hold(c);
        } else {
            return Some(c);
        }
        None
    }

    /// The next connection to a server that turned out to be no lookup's.
    pub(super) fn let_go(&mut self, now: Time) -> Option<Box<Connection>> {
        self.held.pop_due(now)
    }

    /// Notes that a question is a lookup's.
    pub(super) fn belongs(&mut self, question: &Query, key: u64) {
        self.by_message.insert((question.cookie, question.id, question.tuple.protocol), key);
        self.by_socket.extend(question.cookie.map(|c| (c, key)));
        self.by_port.insert(question.tuple.local_port, key);
        match self.by_name.get_mut(&question.name) {
            Some(keys) => _ = keys.insert(key),
            None => _ = self.by_name.insert(question.name.clone(), [key].into()),
        }
    }

    /// Notes that a lookup has no question for a name any more.
    pub(super) fn is_not_asked(&mut self, name: &str, key: u64) {
        if let Some(keys) = self.by_name.get_mut(name) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_name.remove(name);
            }
        }
    }

    /// A process ended: nobody waits for its answers any more.
    pub(super) fn process_ended(&mut self, pid: u32, time: Time) {
        let keys: Vec<u64> = self.by_process.get(&pid).into_iter().flatten().copied().collect();
        for key in keys {
            if let Some(lookup) = self.open.get_mut(&key) {
                lookup.left = Some(time);
            }
            self.schedule(key);
        }
    }

    /// Forgets what is too old by now, and processes that are gone.
    pub(super) fn forget(&mut self, now: Time, processes: &HashSet<u32>) {
        self.told.forget(now);
        self.asked.forget(now);
        if !processes.is_empty() {
            self.resolvers.retain(|pid, _| !processes.contains(pid));
        }
    }

    /// What the host answered about a resolver.
    pub(super) fn fact(&mut self, fact: &Fact) {
        if let (Want::Resolver { pid, .. }, Answer::Resolver(r)) = (&fact.want, &fact.answer) {
            if self.resolvers.len() > LIMIT {
                self.resolvers.clear();
            }
            let habits = Habits::of(r);
            let patience = Some(habits.patience);
            let before = self.resolvers.insert(*pid, habits).map(|known| known.patience);
            // A process that asks much is told the same each time.
            if before == patience {
                return;
            }
            self.join_forms(*pid);
            let keys: Vec<u64> = self.by_process.get(pid).into_iter().flatten().copied().collect();
            for key in keys {
                self.schedule(key);
            }
        }
    }

    /// Lookups that have ended by now.
    pub(super) fn due(&mut self, now: Time, memory: &mut Memory) -> Vec<Lookup> {
        let mut ended = Vec::new();
        while let Some((&(time, key), ())) = self.due.first_key_value() {
            if time > now {
                break;
            }
            let ended_at = self.open.get(&key).map_or(time, |l| match (&l.resolved, l.left) {
                (Some(r), _) => r.time,
                // A time-out ends when the resolver gives up, an answered one when the answer came.
                (None, Some(left)) if l.open().next().is_some() => left,
                (None, None) if l.open().next().is_some() => time,
                (None, _) => last_moment(l).max(l.began),
            });
            ended.extend(self.close(&[key], ended_at, memory));
            self.due.remove(&(time, key));
        }
        ended
    }

    /// Everything ends.
    pub(super) fn end(&mut self, now: Time, memory: &mut Memory) -> Vec<Lookup> {
        let keys: Vec<u64> = self.open.keys().copied().collect();
        self.close(&keys, now, memory)
    }

    /// When the next one is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let due = self.due.first_key_value().map(|((t, _), ())| *t);
        due.into_iter().chain(self.held.deadline()).min()
    }

    pub(super) fn begin(&mut self, time: Time, task: Option<Task>, netns: Option<Netns>, memory: &mut Memory) -> u64 {
        let serial = memory.serial.next();
        let program = task.as_ref().and_then(|t| memory.programs.get(&t.pid).cloned());
        if let Some(t) = &task {
            self.by_thread.insert(t.tid, serial);
            self.by_process.entry(t.pid).or_default().insert(serial);
        }
        let netns = netns.or(task.as_ref().and_then(|t| t.netns));
        let lookup = Lookup {
            serial,
            began: time,
            ended: None,
            task,
            program,
            netns,
            queries: Vec::new(),
            strays: Vec::new(),
            call: None,
            left: None,
            given_up: false,
            relays: Vec::new(),
            clients: Vec::new(),
            resolved: None,
            slow: None,
            paths: Vec::new(),
            lost: 0,
            facts: Facts::default(),
        };
        self.open.insert(serial, lookup);
        if self.open.len() > LIMIT
            && let Some((&oldest, _)) = self.open.first_key_value()
        {
            self.remove(oldest);
            memory.given_up += 1;
        }
        serial
    }

    fn join(&mut self, key: u64, time: Time, tuple: Tuple, sock: &Sock, event: &Arc<Event>) {
        let Some(lookup) = self.open.get_mut(&key) else { return };
        let path = match lookup.paths.iter_mut().position(|p| {
            p.tuple.remote == tuple.remote
                && (p.tuple.local_port == tuple.local_port || p.tuple.local_port == 0 || tuple.local_port == 0)
        }) {
            Some(i) => &mut lookup.paths[i],
            None => {
                let mut c = Connection::new(lookup.serial, time, &Sock { tuple, ..sock.clone() });
                c.opened = Opened::Here;
                c.task = lookup.task.clone();
                lookup.paths.push(c);
                let last = lookup.paths.len() - 1;
                &mut lookup.paths[last]
            }
        };
        match &**event {
            Event::CallFailed { result, .. } => path.errno = Some(-result),
            Event::SocketError { sock, .. } if sock.error > 0 => path.errno = path.errno.or(Some(sock.error)),
            _ => {}
        }
        path.ended = Some(time);
        path.push(time, Arc::clone(event));
    }

    /// Sets when a lookup ends if nothing more comes.
    pub(super) fn schedule(&mut self, key: u64) {
        let Some(lookup) = self.open.get(&key) else { return };
        let unknown = Habits::default();
        let habits = self.habits(lookup).unwrap_or(&unknown);
        let last = last_moment(lookup);
        let waiting = lookup.open().next().is_some();
        let useful = lookup.queries.iter().any(Query::useful);
        let due = if let Some(r) = &lookup.resolved {
            r.time.after(TOLD)
        } else if let Some(left) = lookup.left {
            left.after(TOLD)
        } else if lookup.call.is_some() {
            lookup.began.after(CALL)
        } else if waiting {
            last.after(habits.patience + LATE)
        } else if useful && !self.settings.getaddrinfo {
            last
        } else if !useful && lookup.queries.iter().any(Query::failed) && !self.is_beside_another(lookup) {
            last.after(habits.retry + LATE)
        } else {
            last.after(GRACE)
        };
        if let Some(old) = self.when.insert(key, due) {
            self.due.remove(&(old, key));
        }
        self.due.insert((due, key), ());
    }

    fn habits(&self, lookup: &Lookup) -> Option<&Habits> {
        lookup.task.as_ref().and_then(|t| self.resolvers.get(&t.pid))
    }

    /// Another process asks for the same name: one of the two may be a forwarder, which takes an error for an answer.
    fn is_beside_another(&self, lookup: &Lookup) -> bool {
        let pid = |l: &Lookup| l.task.as_ref().map(|t| t.pid);
        let same_name = lookup.queries.iter().filter_map(|q| self.by_name.get(&q.name)).flatten();
        same_name.filter_map(|key| self.open.get(key)).any(|other| pid(other) != pid(lookup))
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<Lookup> {
        let lookup = self.open.remove(&key)?;
        if let Some(when) = self.when.remove(&key) {
            self.due.remove(&(when, key));
        }
        for q in &lookup.queries {
            let message = (q.cookie, q.id, q.tuple.protocol);
            if self.by_message.get(&message) == Some(&key) {
                self.by_message.remove(&message);
            }
            if let Some(cookie) = q.cookie.filter(|c| self.by_socket.get(c) == Some(&key)) {
                self.by_socket.remove(&cookie);
            }
            if self.by_port.get(&q.tuple.local_port) == Some(&key) {
                self.by_port.remove(&q.tuple.local_port);
            }
            self.is_not_asked(&q.name, key);
        }
        for t in lookup.task.iter().chain(lookup.queries.iter().filter_map(|q| q.task.as_ref())) {
            if self.by_thread.get(&t.tid) == Some(&key) {
                self.by_thread.remove(&t.tid);
            }
        }
        if let Some(t) = &lookup.task
            && let Some(of_process) = self.by_process.get_mut(&t.pid)
        {
            of_process.remove(&key);
            if of_process.is_empty() {
                self.by_process.remove(&t.pid);
            }
        }
        Some(lookup)
    }

    fn close(&mut self, keys: &[u64], time: Time, memory: &mut Memory) -> Vec<Lookup> {
        let slow = self.settings.slow;
        for lookup in keys.iter().filter_map(|k| self.open.get(k)).filter(|l| l.resolved.is_none()) {
            if let Some(task) = &lookup.task {
                self.told.insert(time, task.tid, lookup.began);
            }
        }
        let all = self.settings.all;
        let mut closed = Vec::new();
        for key in keys {
            let Some(mut lookup) = self.remove(*key) else { continue };
            lookup.given_up = self.habits(&lookup).is_some_and(|habits| habits.gave_up(&lookup, time));
            let mut lookup = finish(lookup, time, slow, memory);
            for tuple in tuples(&lookup) {
                self.asked.insert(time, tuple, ());
            }
            if all || !lookup.succeeded() {
                self.relays.join(&mut lookup, &self.open, |open| finish(open.clone(), time, slow, memory));
            }
            closed.push(lookup);
        }
        closed
    }
}

/// An answer came to nobody: the socket had been closed (a resolver that has what it wants closes it), or it is not from
/// the server that the socket is connected to. This host refuses it, of which nobody hears who asked.
fn too_late(event: &Event) -> bool {
    let answer = |tuple: Option<Tuple>| tuple.is_some_and(|t| t.protocol == Protocol::Udp && t.local_port == 53);
    match event {
        Event::Drop { packet, reason: Some(reason), .. } => answer(packet.tuple) && reason == "NO_SOCKET",
        // Where a kernel without reasons drops what no socket is there for.
        Event::Drop { packet, at: Some(at), .. } => {
            answer(packet.tuple) && matches!(&**at, "__udp4_lib_rcv" | "__udp6_lib_rcv")
        }
        Event::IcmpSent { packet, .. } => answer(packet.tuple),
        Event::IcmpReceived { quoted, .. } => answer(*quoted),
        _ => false,
    }
}

/// The endpoints with which it asked, or tried to.
fn tuples(l: &Lookup) -> impl Iterator<Item = Tuple> {
    l.queries.iter().map(|q| q.tuple).chain(l.paths.iter().map(|p| p.tuple))
}

/// A resolver is still at it, as far as can be told.
pub(super) fn is_under_way(l: &Lookup, now: Time) -> bool {
    l.call.is_some() || l.open().next().is_some() || now.since(last_moment(l)) <= GRACE
}

fn last_moment(l: &Lookup) -> Time {
    let queries = l.queries.iter().map(|q| q.answer.as_ref().map_or(q.last, |(t, _)| (*t).max(q.last)));
    let paths = l.paths.iter().filter_map(|p| p.ended);
    queries.chain(paths).max().unwrap_or(l.began)
}

/// The whole lookup, with what happened to its packets.
fn finish(mut lookup: Lookup, time: Time, slow: Option<Duration>, memory: &mut Memory) -> Lookup {
    lookup.ended = Some(time);
    lookup.set_late_apart();
    if lookup.program.is_none() {
        lookup.program = lookup.task.as_ref().and_then(|t| memory.programs.get(&t.pid).cloned());
    }
    lookup.lost = memory.losses.since(lookup.began);
    lookup.slow = slow.filter(|s| time.since(lookup.began) >= *s);
    let netns = lookup.netns.unwrap_or(Netns(0));
    // Of a call that failed only the end is known; what its packet met came before.
    let from = lookup.began.before(BEFORE);
    let mut tuples: Vec<Tuple> = Vec::new();
    let open = lookup.queries.iter().filter(|q| q.answer.is_none() && q.late.is_none()).map(|q| q.tuple);
    for tuple in open.chain(lookup.paths.iter().map(|p| p.tuple)) {
        if !tuples.contains(&tuple) && tuple.local_port != 0 {
            tuples.push(tuple);
        }
    }
    for tuple in tuples {
        let mut events = memory.packets.between(tuple, from, time.after(GRACE));
        memory.packets.told(tuple, time.after(GRACE));
        events.retain(|(_, event)| !too_late(event));
        if events.is_empty() {
            continue;
        }
        let at = match lookup.paths.iter().position(|p| p.tuple == tuple) {
            Some(at) => at,
            None => {
                let mut c = Connection::new(lookup.serial, lookup.began, &Sock::unseen(tuple, netns));
                c.task = lookup.task.clone();
                c.ended = Some(time);
                lookup.paths.push(c);
                lookup.paths.len() - 1
            }
        };
        for (t, event) in events {
            if !lookup.paths[at].events.iter().any(|(o, e)| *o == t && *e == event) {
                lookup.paths[at].push(t, event);
            }
        }
    }
    lookup
}
