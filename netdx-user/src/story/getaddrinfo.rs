//! What getaddrinfo returned. Owns: what one call of it asked. Must not know: causes, messages.

use super::{Lookup, Query, lookup::Resolved, lookups::Lookups, memory::Memory};
use crate::{event::Task, time::Time};

impl Lookups {
    /// getaddrinfo returned: what its thread asked meanwhile was one lookup, and is over.
    pub(super) fn resolved(&mut self, started: Time, task: Task, resolved: Resolved, memory: &mut Memory) {
        let of_thread = self.of_call(started, &task, memory);
        let paths = self.held.take(task.tid, started);
        let (time, result) = (resolved.time, resolved.result);
        let key = match of_thread.split_first() {
            // Found without asking a server.
            None if resolved.name.is_empty() => return,
            None if result == 0 && self.settings.slow.is_none_or(|slow| time.since(started) < slow) => return,
            // A thread that had to wait for a processor returns late: its questions are told already.
            None if self.told.get(&task.tid).is_some_and(|began| *began >= started) => return,
            None => self.begin(started, Some(task), None, memory),
            Some((&first, others)) => {
                // What the library asked in one call is one lookup, whatever it looked like from outside.
                for key in others {
                    let Some(part) = self.remove(*key) else { continue };
                    self.merge(first, part);
                }
                first
            }
        };
        let Some(lookup) = self.open.get_mut(&key) else { return };
        lookup.resolved = Some(resolved);
        lookup.paths.extend(paths);
        lookup.began = lookup.began.min(started);
        if let Some(task) = &lookup.task {
            let answers = lookup.queries.iter().filter_map(|q| q.answer.as_ref());
            let addresses = answers.flat_map(|(_, m)| m.addresses.clone()).collect();
            memory.named(time, task.pid, addresses, lookup.name());
        }
        self.schedule(key);
    }

    /// The lookups that one call of getaddrinfo made. Queries of its thread that were taken for another's lookup, and
    /// others' in its own, are told apart by it.
    fn of_call(&mut self, started: Time, task: &Task, memory: &mut Memory) -> Vec<u64> {
        let keys: Vec<u64> = self.by_process.get(&task.pid).into_iter().flatten().copied().collect();
        let mut found = Vec::new();
        for key in keys {
            let Some(lookup) = self.open.get_mut(&key).filter(|l| l.resolved.is_none()) else { continue };
            let own = lookup.task.as_ref().is_some_and(|t| t.tid == task.tid) && lookup.began >= started;
            let of_other = |q: &Query| {
                let in_call = q.task.as_ref().is_some_and(|t| t.tid == task.tid) && q.sent >= started;
                in_call != own
            };
            let (apart, stay) = std::mem::take(&mut lookup.queries).into_iter().partition(of_other);
            lookup.queries = stay;
            let apart: Vec<Query> = apart;
            let netns = lookup.netns;
            if own {
                found.push(key);
            }
            let Some(first) = apart.first() else { continue };
            let new = self.begin(first.sent, first.task.clone(), netns, memory);
            for q in &apart {
                if !self.open.get(&key).is_some_and(|l| l.queries.iter().any(|stays| stays.name == q.name)) {
                    self.is_not_asked(&q.name, key);
                }
                self.belongs(q, new);
            }
            if let Some(lookup) = self.open.get_mut(&new) {
                lookup.queries = apart;
            }
            self.schedule(new);
            if !own {
                found.push(new);
            }
        }
        found
    }

    /// What was taken for two lookups is one.
    pub(super) fn merge(&mut self, whole: u64, part: Lookup) {
        for q in &part.queries {
            self.belongs(q, whole);
        }
        let Some(whole) = self.open.get_mut(&whole) else { return };
        whole.queries.extend(part.queries);
        whole.queries.sort_by_key(|q| q.sent);
        whole.paths.extend(part.paths);
        whole.strays.extend(part.strays);
    }
}
