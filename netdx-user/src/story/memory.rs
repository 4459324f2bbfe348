//! What is known beside the stories: processes, names, packets, losses. Owns: the bounds of it. Must not know: which story
//! asks.

use super::{Connection, connection::Program, packets::Packets};
use crate::{event::Task, time::Time};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

/// How many processes, names and failures are remembered.
const MEMORY: usize = 8_192;

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

/// When the kernel lost records: whatever went on then may miss something.
#[derive(Debug, Default)]
pub(super) struct Losses(VecDeque<(Time, u64)>);

impl Losses {
    /// So many were lost, as was found out now.
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
    pub(super) exits: Recent<u32, (Time, u32)>,
    /// By process and address: the name it was looked up by.
    pub(super) names: Recent<(u32, IpAddr), String>,
    /// By name and address: a server of somebody on this host answered so.
    pub(super) answers: Recent<(String, IpAddr), ()>,
    /// By thread: the name getaddrinfo gave it last, and when.
    pub(super) resolved: Recent<u32, (Time, Time, String)>,
    /// By process: the names getaddrinfo gave it last, the latest first.
    pub(super) resolved_names: Recent<u32, VecDeque<String>>,
    pub(super) packets: Packets,
    pub(super) serial: Serial,
    pub(super) losses: Losses,
}

impl Memory {
    /// Nothing is known yet.
    pub(super) fn new() -> Memory {
        Memory {
            programs: Recent::new(),
            exits: Recent::new(),
            names: Recent::new(),
            answers: Recent::new(),
            resolved: Recent::new(),
            resolved_names: Recent::new(),
            packets: Packets::default(),
            serial: Serial::default(),
            losses: Losses::default(),
        }
    }

    /// A name was answered with these addresses.
    pub(super) fn named(&mut self, pid: u32, addresses: Vec<IpAddr>, name: &str) {
        for address in addresses {
            self.names.insert((pid, address), name.to_owned());
            self.answers.insert((name.to_owned(), address), ());
        }
    }

    /// getaddrinfo gave addresses for a name.
    pub(super) fn resolved(&mut self, task: &Task, started: Time, time: Time, name: &str) {
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
