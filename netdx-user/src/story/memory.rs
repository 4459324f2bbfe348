//! What is known beside the stories: processes, names, packets, losses. Owns: the bounds of it. Must not know: which story
//! asks.

use super::{Connection, SentReset, connection::Program, packets::Packets};
use crate::{
    event::{Task, Tuple},
    time::Time,
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// How many processes, names and failures are remembered.
const MEMORY: usize = 8_192;
/// What is kept as long as there is room.
pub(super) const LASTING: Duration = Duration::MAX;
/// How long a process is remembered that has ended: stories end some moments after it.
const GONE: Duration = Duration::from_secs(60);
/// So long processes that are to be forgotten wait for others: each time, all names are gone through.
const TOGETHER: Duration = Duration::from_secs(10);
/// How long the name that a thread looked up last is remembered: what it does with it follows at once.
const RESOLVED: Duration = Duration::from_secs(60);

/// How long a tunnel's endpoints are: an error about its packet comes at once, and a datagram's story ends within this.
const CARRIER: Duration = Duration::from_secs(10);

/// A bounded memory: what was put in longest ago goes first, and whatever is older than is good.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, (Time, V)>,
    /// When each was put in, in order. Of one that was put in again or taken out, older ones stand for nothing.
    ages: VecDeque<(Time, K)>,
    kept: Duration,
    limit: usize,
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    /// One that forgets what is older than that.
    pub(super) fn new(kept: Duration) -> Self {
        Recent { entries: HashMap::new(), ages: VecDeque::new(), kept, limit: MEMORY }
    }

    /// The same with room for so many.
    pub(super) fn with_room_for(self, limit: usize) -> Self {
        Recent { limit, ..self }
    }

    pub(super) fn insert(&mut self, now: Time, key: K, value: V) {
        self.entries.insert(key.clone(), (now, value));
        self.ages.push_back((now, key));
        self.forget(now);
        if self.ages.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.ages.retain(|(time, key)| entries.get(key).is_some_and(|(latest, _)| latest == time));
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Forgets what is too old by now, and what is too much.
    pub(super) fn forget(&mut self, now: Time) {
        let is_old = |time: &Time| time.after(self.kept) <= now && self.kept != LASTING;
        while self.entries.len() > self.limit || self.ages.front().is_some_and(|(time, _)| is_old(time)) {
            let Some((time, oldest)) = self.ages.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|(latest, _)| *latest == time) {
                self.entries.remove(&oldest);
            }
        }
    }

    /// Forgets what isn't worth keeping.
    pub(super) fn retain(&mut self, worth: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| worth(key));
    }
}

/// How long a connection that never came to be is remembered: the other end of it, if there is one, gives up as a connect
/// does (127 s with the usual six repetitions).
const TRIED: Duration = Duration::from_secs(180);
/// How long one is that had come to be: its other end may take as long to find out (tcp_retries2, 924 s by default), and a
/// socket that the application has left as long to end.
const HAD: Duration = Duration::from_secs(1200);

/// Connections that are over.
#[derive(Debug)]
pub(super) struct Over<K> {
    tried: Recent<K, ()>,
    had: Recent<K, ()>,
}

impl<K: Eq + Hash + Clone> Default for Over<K> {
    fn default() -> Self {
        Over { tried: Recent::new(TRIED), had: Recent::new(HAD) }
    }
}

impl<K: Eq + Hash + Clone> Over<K> {
    pub(super) fn insert(&mut self, now: Time, key: K, came_to_be: bool) {
        if came_to_be { self.had.insert(now, key, ()) } else { self.tried.insert(now, key, ()) }
    }

    pub(super) fn holds(&self, key: &K) -> bool {
        self.tried.get(key).is_some() || self.had.get(key).is_some()
    }

    /// Forgets what is too old by now.
    pub(super) fn forget(&mut self, now: Time) {
        self.tried.forget(now);
        self.had.forget(now);
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

/// When records were lost: whatever went on then may miss something.
#[derive(Debug, Default)]
pub(super) struct Losses(VecDeque<(Time, u64)>);

impl Losses {
    /// So many were lost up to this time, which is later than those before.
    pub(super) fn push(&mut self, time: Time, n: u64) {
        self.0.push_back((time, n));
        if self.0.len() > MEMORY
            && let Some((_, oldest)) = self.0.pop_front()
            && let Some((_, next)) = self.0.front_mut()
        {
            *next += oldest;
        }
    }

    /// How many were lost since something began.
    pub(super) fn since(&self, began: Time) -> u64 {
        self.0.iter().rev().take_while(|(time, _)| *time >= began).map(|(_, n)| n).sum()
    }
}

/// What is known of processes and names: shared by connections, datagrams and lookups.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) programs: Recent<u32, Arc<Program>>,
    exits: Recent<u32, (Time, u32)>,
    /// Processes that have ended, in order.
    gone: VecDeque<(Time, u32)>,
    /// By process and address: the name it was looked up by, and since when it is known by that.
    pub(super) names: Recent<(u32, IpAddr), (Time, String)>,
    /// By name and address: since when a server of somebody on this host answers so.
    answers: Recent<(String, IpAddr), Time>,
    /// By thread: the name getaddrinfo gave it last, and when.
    pub(super) resolved: Recent<u32, (Time, Time, String)>,
    /// By process: the names getaddrinfo gave it last, and since when, the latest first.
    resolved_names: Recent<u32, VecDeque<(Time, String)>>,
    pub(super) packets: Packets,
    /// Endpoints of tunnels' packets that were dropped with others in them, whose connections tell of it.
    carriers: Recent<Tuple, ()>,
    pub(super) serial: Serial,
    pub(super) losses: Losses,
    /// Stories that were given up, for too many were open at once.
    pub(super) given_up: u64,
}

impl Memory {
    /// Nothing is known yet.
    pub(super) fn new() -> Memory {
        Memory {
            programs: Recent::new(LASTING),
            exits: Recent::new(LASTING),
            gone: VecDeque::new(),
            names: Recent::new(LASTING),
            answers: Recent::new(LASTING),
            resolved: Recent::new(RESOLVED),
            resolved_names: Recent::new(LASTING),
            packets: Packets::default(),
            carriers: Recent::new(CARRIER),
            serial: Serial::default(),
            losses: Losses::default(),
            given_up: 0,
        }
    }

    /// Notes what may be missing of a story that has ended.
    pub(super) fn note_losses(&self, c: &mut Connection) {
        c.forgotten = self.packets.forgotten_since(c.began);
        c.lost = self.losses.since(c.began) + c.forgotten;
    }

    /// A tunnel's packet was dropped, and what is in it tells of that.
    pub(super) fn carried(&mut self, time: Time, outer: Tuple) {
        self.carriers.insert(time, outer, ());
    }

    /// The same was told of its packets a moment ago.
    pub(super) fn is_carrier(&self, outer: Tuple) -> bool {
        self.carriers.get(&outer).is_some()
    }

    /// A process runs a program. What is known of another process that had its number is forgotten.
    pub(super) fn runs(&mut self, time: Time, pid: u32, program: Program) {
        if self.programs.get(&pid).is_some_and(|known| known.started != program.started) {
            self.forget_processes(&HashSet::from([pid]));
        }
        self.programs.insert(time, pid, Arc::new(program));
    }

    /// A process ended.
    pub(super) fn exited(&mut self, time: Time, pid: u32, status: u32) {
        self.exits.insert(time, pid, (time, status));
        self.gone.push_back((time, pid));
    }

    /// Forgets what nobody will ask for any more. Gives the processes that are forgotten.
    pub(super) fn forget(&mut self, now: Time) -> HashSet<u32> {
        self.packets.forget(now);
        self.resolved.forget(now);
        self.carriers.forget(now);
        let mut forgotten = HashSet::new();
        if self.gone.front().is_some_and(|(ended, _)| ended.after(GONE + TOGETHER) <= now) {
            while let Some((ended, pid)) = self.gone.pop_front_if(|(ended, _)| ended.after(GONE) <= now) {
                // The number may be another process's by now.
                if self.exits.get(&pid).is_some_and(|(time, _)| *time == ended) {
                    forgotten.insert(pid);
                }
            }
            self.forget_processes(&forgotten);
        }
        forgotten
    }

    fn forget_processes(&mut self, of: &HashSet<u32>) {
        self.programs.retain(|pid| !of.contains(pid));
        self.exits.retain(|pid| !of.contains(pid));
        self.names.retain(|(pid, _)| !of.contains(pid));
        self.resolved_names.retain(|pid| !of.contains(pid));
    }

    /// A name was answered with these addresses.
    pub(super) fn named(&mut self, time: Time, pid: u32, addresses: Vec<IpAddr>, name: &str) {
        for address in addresses {
            let known =
                self.names.get(&(pid, address)).filter(|(_, known)| known == name).map_or(time, |(since, _)| *since);
            self.names.insert(time, (pid, address), (known, name.to_owned()));
            let answer = (name.to_owned(), address);
            let known = self.answers.get(&answer).copied().unwrap_or(time);
            self.answers.insert(time, answer, known);
        }
    }

    /// getaddrinfo gave addresses for a name.
    pub(super) fn resolved(&mut self, task: &Task, started: Time, time: Time, name: &str) {
        /// A program that looks up several names connects to the first of them soon.
        const NAMES: usize = 8;
        self.resolved.insert(time, task.tid, (started, time, name.to_owned()));
        let mut names = self.resolved_names.get(&task.pid).cloned().unwrap_or_default();
        let known = names.iter().find(|(_, n)| n == name).map_or(time, |(since, _)| *since);
        names.retain(|(_, n)| n != name);
        names.push_front((known, name.to_owned()));
        names.truncate(NAMES);
        self.resolved_names.insert(time, task.pid, names);
    }

    /// Notes how the process ended that reset a connection as it ended: its sockets are closed after that.
    pub(super) fn end_peer(&self, c: &mut Connection) {
        let ended = |reset: SentReset<'_>| {
            let by = reset.current.filter(|_| reset.packet.is_none())?;
            self.exits.get(&by.pid).filter(|(time, _)| (c.began..=reset.time).contains(time)).copied()
        };
        let died = c.resets_sent(true).find_map(ended);
        c.peer_died = died;
    }

    pub(super) fn dress(&self, c: &mut Connection) {
        let Some(task) = &c.task else { return };
        if c.program.is_none() {
            c.program = self.programs.get(&task.pid).cloned();
        }
        if c.died.is_none() {
            // One that ended before was another with the same number.
            c.died = self.exits.get(&task.pid).filter(|(time, _)| *time >= c.began).copied();
        }
        if c.inbound() {
            // It did not choose the address.
            return;
        }
        // What was looked up later is not what it was told.
        let before = |since: Time| since <= c.began;
        let known = |address| self.names.get(&(task.pid, address)).filter(|(since, _)| before(*since));
        if c.name.is_none() {
            c.name = known(c.dialled().ip()).map(|(_, name)| name.clone());
        }
        if c.name.is_none()
            && let Some((_, name)) = c.any_address().and_then(known)
        {
            (c.name, c.unspecified) = (Some(name.clone()), true);
        }
        if c.name.is_none() && c.looked_up.is_empty() {
            let known = self.resolved_names.get(&task.pid).into_iter().flatten().filter(|(since, _)| before(*since));
            c.looked_up = known.map(|(_, name)| name.clone()).collect();
            // A daemon may have asked for it (systemd-resolved, nscd): its answer tells the name.
            let answered = |n: &&String| {
                let answer = (n.trim_end_matches('.').to_lowercase(), c.dialled().ip());
                self.answers.get(&answer).is_some_and(|since| before(*since))
            };
            c.name = c.looked_up.iter().find(answered).cloned();
        }
    }
}
