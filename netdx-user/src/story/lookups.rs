//! Lookups in progress. Owns: which messages make one lookup, when it has ended. Must not know: causes.
//!
//! One lookup is what one thread asks for one name: A and AAAA at once, the search list, the next server, TCP after a cut
//! answer. It ends when getaddrinfo returns, where that is observed and used; else when every question has its answer and
//! no further one follows, or when no answer came and the resolver's time-out has passed.

use super::{
    Connection, Facts, Lookup, Query,
    lookup::Resolved,
    tracker::{Memory, Settings},
};
use crate::{
    event::{Call, Cookie, DnsMessage, Event, Netns, Opened, Protocol, Sock, Task, TcpState, Tuple},
    fact::{Answer, Fact},
    time::Time,
    want::Want,
};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// After the last answer a resolver goes on at once: with the next name of the search list, or by returning.
const GRACE: Duration = Duration::from_millis(60);
/// After getaddrinfo has returned: for the TCP connection it made meanwhile to be told.
const TOLD: Duration = Duration::from_millis(30);
/// How late a resolver's own timer may fire.
const LATE: Duration = Duration::from_millis(500);
/// resolv.conf(5): the time-out where none is configured.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How many are kept.
const LIMIT: usize = 65_536;

/// Lookups in progress.
#[derive(Debug)]
pub(super) struct Lookups {
    settings: Settings,
    open: BTreeMap<u64, Lookup>,
    /// The lookup that a thread is at.
    by_thread: HashMap<u32, u64>,
    /// By thread: when the last lookup began that was over before getaddrinfo returned, as far as could be told.
    told: HashMap<u32, Time>,
    /// Where an answer belongs: socket and message id.
    by_message: HashMap<(Option<Cookie>, u16, Protocol), u64>,
    due: BTreeMap<(Time, u64), ()>,
    when: HashMap<u64, Time>,
    /// By process: its resolver's time-out and search list.
    resolvers: HashMap<u32, (Duration, Vec<String>)>,
}

impl Lookups {
    pub(super) fn new(settings: Settings) -> Self {
        Lookups {
            settings,
            open: BTreeMap::new(),
            by_thread: HashMap::new(),
            told: HashMap::new(),
            by_message: HashMap::new(),
            due: BTreeMap::new(),
            when: HashMap::new(),
            resolvers: HashMap::new(),
        }
    }

    /// A DNS message passed by. Returns questions for the host.
    pub(super) fn message(&mut self, time: Time, event: Event, memory: &mut Memory) -> Vec<Want> {
        let Event::Dns { current, cookie, tuple, netns, leaving, message } = event else { return Vec::new() };
        match (leaving, message.answer) {
            (true, false) => self.query(time, current, cookie, tuple, netns, message, memory),
            (false, true) => {
                self.answer(time, cookie, tuple, message, memory);
                Vec::new()
            }
            // A server of this host that is asked, or answers.
            _ => Vec::new(),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one event")]
    fn query(
        &mut self,
        time: Time,
        task: Option<Task>,
        cookie: Option<Cookie>,
        tuple: Tuple,
        netns: Option<Netns>,
        message: DnsMessage,
        memory: &mut Memory,
    ) -> Vec<Want> {
        let Some(question) = message.question else { return Vec::new() };
        let mut wants = Vec::new();
        let tid = task.as_ref().map_or(0, |t| t.tid);
        let current = self.by_thread.get(&tid).copied().filter(|k| self.continues(*k, &question.name));
        let key = match current {
            Some(key) => key,
            None => {
                if let Some(t) = &task {
                    wants.push(Want::Process { pid: t.pid });
                    wants.push(Want::Resolver { pid: t.pid });
                }
                self.begin(time, task, netns, memory)
            }
        };
        let Some(lookup) = self.open.get_mut(&key) else { return wants };
        let known = lookup
            .queries
            .iter_mut()
            .rev()
            .find(|q| q.cookie == cookie && q.id == message.id && q.tuple.remote == tuple.remote);
        match known {
            Some(q) if q.name == question.name && q.kind == question.kind => {
                q.tries += 1;
                q.last = time;
            }
            _ => lookup.queries.push(Query {
                sent: time,
                tries: 1,
                last: time,
                name: question.name,
                kind: question.kind,
                id: message.id,
                cookie,
                tuple,
                answer: None,
            }),
        }
        self.by_message.insert((cookie, message.id, tuple.protocol), key);
        self.schedule(key);
        wants
    }

    fn answer(&mut self, time: Time, cookie: Option<Cookie>, tuple: Tuple, message: DnsMessage, memory: &mut Memory) {
        let Some(&key) = self.by_message.get(&(cookie, message.id, tuple.protocol)) else { return };
        let Some(lookup) = self.open.get_mut(&key) else { return };
        let asked = |q: &&mut Query| {
            q.cookie == cookie
                && q.id == message.id
                && q.tuple.remote == tuple.remote
                && q.answer.is_none()
                && message.question.as_ref().is_none_or(|m| m.name == q.name && m.kind == q.kind)
        };
        let Some(query) = lookup.queries.iter_mut().find(asked) else { return };
        let addresses = message.addresses.clone();
        query.answer = Some((time, message));
        if let Some(task) = &lookup.task {
            let name = lookup.name().to_owned();
            for address in addresses {
                memory.names.insert((task.pid, address), name.clone());
            }
        }
        self.schedule(key);
    }

    /// A call that should have led to a server failed. True: it is a lookup's.
    pub(super) fn call_failed(
        &mut self,
        time: Time,
        started: Option<Time>,
        event: &Event,
        memory: &mut Memory,
    ) -> bool {
        let Event::CallFailed { call, task, sock: Some(sock), address, port, .. } = event else { return false };
        let mut tuple = sock.tuple;
        if matches!(call, Call::Connect | Call::Send | Call::IoUringConnect)
            && let Some(address) = address
        {
            (tuple.remote, tuple.remote_port) = (*address, *port);
        }
        if tuple.remote_port != 53 {
            return false;
        }
        let key = match self.by_thread.get(&task.tid).copied().filter(|k| self.open.contains_key(k)) {
            Some(key) => key,
            None => self.begin(started.unwrap_or(time), Some(task.clone()), Some(sock.netns), memory),
        };
        self.join(key, time, tuple, sock, event.clone());
        self.schedule(key);
        true
    }

    /// An event on the way to or from a server. True: it is a lookup's, or a server's own business.
    pub(super) fn path(&mut self, time: Time, tuple: Tuple, event: &Event) -> bool {
        let outward = if tuple.remote_port == 53 { tuple } else { tuple.reversed() };
        if outward.remote_port != 53 {
            return false;
        }
        let cookie = match event {
            Event::SocketError { sock, .. } => sock.cookie,
            _ => None,
        };
        let found = self.open.iter().rev().find(|(_, l)| {
            l.queries.iter().any(|q| q.tuple == outward || (cookie.is_some() && q.cookie == cookie))
                || l.paths.iter().any(|p| p.tuple == outward)
        });
        if let Some(key) = found.map(|(k, _)| *k) {
            let sock = match event {
                Event::SocketError { sock, .. } => sock.clone(),
                _ => blank(outward, self.open.get(&key).and_then(|l| l.netns).unwrap_or(Netns(0))),
            };
            self.join(key, time, outward, &sock, event.clone());
            self.schedule(key);
        }
        true
    }

    /// A TCP connection to a server that failed. True: it belongs to a lookup and is told there.
    pub(super) fn adopt(&mut self, c: &Connection) -> bool {
        let Some(task) = &c.task else { return false };
        let asked = |l: &Lookup| {
            let within = c.began >= l.began && l.resolved.as_ref().is_none_or(|r| c.began <= r.time);
            within && l.task.as_ref().is_some_and(|t| t.tid == task.tid)
        };
        let Some((&key, lookup)) = self.open.iter_mut().rev().find(|(_, l)| asked(l)) else { return false };
        lookup.paths.push(c.clone());
        self.schedule(key);
        true
    }

    /// getaddrinfo returned: what its thread asked meanwhile was one lookup, and is over.
    #[allow(clippy::too_many_arguments, reason = "the parts of one event")]
    pub(super) fn resolved(
        &mut self,
        time: Time,
        started: Time,
        task: Task,
        result: i32,
        name: String,
        service: String,
        memory: &mut Memory,
    ) {
        let of_thread: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, l)| {
                l.began >= started && l.resolved.is_none() && l.task.as_ref().is_some_and(|t| t.tid == task.tid)
            })
            .map(|(k, _)| *k)
            .collect();
        let resolved = Resolved { time, result, name, service };
        let key = match of_thread.split_first() {
            // Found without asking a server.
            None if result == 0 || resolved.name.is_empty() => return,
            // A thread that had to wait for a processor returns late: its questions are told already.
            None if self.told.remove(&task.tid).is_some_and(|began| began >= started) => return,
            None => self.begin(started, Some(task), None, memory),
            Some((&first, others)) => {
                // What the library asked in one call is one lookup, whatever it looked like from outside.
                for key in others {
                    let Some(part) = self.remove(*key) else { continue };
                    let Some(whole) = self.open.get_mut(&first) else { continue };
                    whole.queries.extend(part.queries);
                    whole.paths.extend(part.paths);
                    whole.lost = whole.lost.max(part.lost);
                }
                first
            }
        };
        let Some(lookup) = self.open.get_mut(&key) else { return };
        lookup.resolved = Some(resolved);
        if let Some(task) = &lookup.task {
            let name = lookup.name().to_owned();
            for address in
                lookup.queries.iter().filter_map(|q| q.answer.as_ref()).flat_map(|(_, m)| m.addresses.clone())
            {
                memory.names.insert((task.pid, address), name.clone());
            }
        }
        self.schedule(key);
    }

    /// A process ended: nobody waits for its answers any more.
    pub(super) fn process_ended(&mut self, pid: u32, time: Time, memory: &mut Memory) -> Vec<Lookup> {
        let keys: Vec<u64> =
            self.open.iter().filter(|(_, l)| l.task.as_ref().is_some_and(|t| t.pid == pid)).map(|(k, _)| *k).collect();
        self.close(&keys, time, memory)
    }

    /// What the host answered about a resolver.
    pub(super) fn fact(&mut self, fact: &Fact) {
        if let (Want::Resolver { pid }, Answer::Resolver(r)) = (&fact.want, &fact.answer) {
            let timeout = Duration::from_secs(u64::from(r.timeout.clamp(1, 30)));
            if self.resolvers.len() > LIMIT {
                self.resolvers.clear();
            }
            let search = r.search.iter().map(|s| s.trim_end_matches('.').to_lowercase()).collect();
            self.resolvers.insert(*pid, (timeout, search));
            let keys: Vec<u64> = self
                .open
                .iter()
                .filter(|(_, l)| l.task.as_ref().is_some_and(|t| t.pid == *pid))
                .map(|(k, _)| *k)
                .collect();
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
            let ended_at = self.open.get(&key).map_or(time, |l| match &l.resolved {
                Some(r) => r.time,
                // A time-out ends when the resolver gives up, an answered one when the answer came.
                None if l.open().next().is_some() => time,
                None => last_moment(l).max(l.began),
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
        self.due.first_key_value().map(|((t, _), ())| *t)
    }

    /// Records were lost.
    pub(super) fn lost(&mut self, n: u64) {
        for l in self.open.values_mut() {
            l.lost += n;
        }
    }

    fn begin(&mut self, time: Time, task: Option<Task>, netns: Option<Netns>, memory: &mut Memory) -> u64 {
        let serial = memory.serial.next();
        let program = task.as_ref().and_then(|t| memory.programs.get(&t.pid).cloned());
        if let Some(t) = &task {
            self.by_thread.insert(t.tid, serial);
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
        }
        serial
    }

    /// Whether a question for this name goes on with a lookup: the same name, or the next one of the search list after
    /// every question so far was answered in the negative.
    fn continues(&self, key: u64, name: &str) -> bool {
        let Some(lookup) = self.open.get(&key).filter(|l| l.resolved.is_none()) else { return false };
        let names = lookup.candidates();
        if names.is_empty() || names.contains(&name) {
            return true;
        }
        if lookup.queries.iter().any(Query::useful) {
            return false;
        }
        let search: &[String] =
            lookup.task.as_ref().and_then(|t| self.resolvers.get(&t.pid)).map_or(&[], |(_, s)| s.as_slice());
        let bases = |n: &str| -> Vec<String> {
            let expanded = search.iter().filter_map(|s| n.strip_suffix(s.as_str()).and_then(|b| b.strip_suffix('.')));
            std::iter::once(n).chain(expanded).map(str::to_owned).collect()
        };
        let asked = bases(name);
        names.iter().all(|n| bases(n).iter().any(|b| asked.contains(b)))
    }

    fn join(&mut self, key: u64, time: Time, tuple: Tuple, sock: &Sock, event: Event) {
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
        match &event {
            Event::CallFailed { result, .. } => path.errno = Some(-result),
            Event::SocketError { sock, .. } if sock.error > 0 => path.errno = path.errno.or(Some(sock.error)),
            _ => {}
        }
        path.ended = Some(time);
        path.push(time, event);
    }

    /// Sets when a lookup ends if nothing more comes.
    fn schedule(&mut self, key: u64) {
        let Some(lookup) = self.open.get(&key) else { return };
        let timeout =
            lookup.task.as_ref().and_then(|t| self.resolvers.get(&t.pid)).map_or(TIMEOUT, |(timeout, _)| *timeout);
        let last = last_moment(lookup);
        let waiting = lookup.open().next().is_some();
        let useful = lookup.queries.iter().any(Query::useful);
        let due = if let Some(r) = &lookup.resolved {
            r.time.after(TOLD)
        } else if waiting {
            last.after(timeout + LATE)
        } else if useful && !self.settings.getaddrinfo {
            last
        } else {
            last.after(GRACE)
        };
        if let Some(old) = self.when.insert(key, due) {
            self.due.remove(&(old, key));
        }
        self.due.insert((due, key), ());
    }

    fn remove(&mut self, key: u64) -> Option<Lookup> {
        let lookup = self.open.remove(&key)?;
        if let Some(when) = self.when.remove(&key) {
            self.due.remove(&(when, key));
        }
        for q in &lookup.queries {
            self.by_message.remove(&(q.cookie, q.id, q.tuple.protocol));
        }
        if let Some(t) = &lookup.task
            && self.by_thread.get(&t.tid) == Some(&key)
        {
            self.by_thread.remove(&t.tid);
        }
        Some(lookup)
    }

    fn close(&mut self, keys: &[u64], time: Time, memory: &mut Memory) -> Vec<Lookup> {
        let slow = self.settings.slow;
        if self.told.len() > LIMIT {
            self.told.clear();
        }
        for lookup in keys.iter().filter_map(|k| self.open.get(k)).filter(|l| l.resolved.is_none()) {
            self.told.extend(lookup.task.as_ref().map(|t| (t.tid, lookup.began)));
        }
        keys.iter().filter_map(|k| self.remove(*k)).map(|l| finish(l, time, slow, memory)).collect()
    }
}

fn last_moment(l: &Lookup) -> Time {
    let queries = l.queries.iter().map(|q| q.answer.as_ref().map_or(q.last, |(t, _)| (*t).max(q.last)));
    let paths = l.paths.iter().filter_map(|p| p.ended);
    queries.chain(paths).max().unwrap_or(l.began)
}

fn blank(tuple: Tuple, netns: Netns) -> Sock {
    Sock {
        id: None,
        cookie: None,
        tuple,
        v6: tuple.remote.is_ipv6(),
        netns,
        state: TcpState::Established,
        error: 0,
        soft_error: 0,
        mark: 0,
        bound_device: 0,
        backlog: 0,
        max_backlog: 0,
        retransmits: 0,
        opened: Opened::Here,
    }
}

/// The whole lookup, with what happened to its packets.
fn finish(mut lookup: Lookup, time: Time, slow: Option<Duration>, memory: &mut Memory) -> Lookup {
    lookup.ended = Some(time);
    if lookup.program.is_none() {
        lookup.program = lookup.task.as_ref().and_then(|t| memory.programs.get(&t.pid).cloned());
    }
    lookup.slow = slow.filter(|s| time.since(lookup.began) >= *s);
    let netns = lookup.netns.unwrap_or(Netns(0));
    let mut tuples: Vec<Tuple> = Vec::new();
    for q in lookup.queries.iter().filter(|q| q.answer.is_none()) {
        if !tuples.contains(&q.tuple) {
            tuples.push(q.tuple);
        }
    }
    for tuple in tuples {
        let events = memory.packets.between(tuple, lookup.began, time.after(GRACE));
        if events.is_empty() {
            continue;
        }
        let at = match lookup.paths.iter().position(|p| p.tuple == tuple) {
            Some(at) => at,
            None => {
                let mut c = Connection::new(lookup.serial, lookup.began, &blank(tuple, netns));
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
