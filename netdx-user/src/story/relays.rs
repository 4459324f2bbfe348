//! Lookups of one name by two processes: one may be the other's doing. Owns: which lookups overlap. Must not know: whether
//! the second process has the address that the first one asked (the host knows).
//!
//! A stub resolver or forwarder on this host asks others what it is asked. Its client's report tells both.

use super::{Lookup, Query, lookup::Client};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// How long ended lookups are remembered: longer than a resolver waits.
const MEMORY: Duration = Duration::from_secs(30);
/// How many are remembered.
const LIMIT: usize = 256;

/// Lookups that have ended.
#[derive(Debug, Default)]
pub(super) struct Relays {
    ended: VecDeque<Lookup>,
}

impl Relays {
    /// Tells a lookup that ends of those that overlap with it, and remembers it.
    pub(super) fn join(&mut self, lookup: &mut Lookup, open: &BTreeMap<u64, Lookup>) {
        let Some(ended) = lookup.ended else { return };
        self.ended.retain(|o| o.ended.is_some_and(|t| ended.since(t) < MEMORY));
        let others: Vec<&Lookup> = self.ended.iter().chain(open.values()).collect();
        for other in others {
            if !same_name(lookup, other) {
                continue;
            }
            let end = other.ended.unwrap_or(ended);
            if other.began >= lookup.began && other.began <= ended {
                let mut relay = other.clone();
                relay.ended = relay.ended.or(Some(ended)).min(Some(ended));
                lookup.relays.push(relay);
            }
            if lookup.began >= other.began
                && lookup.began <= end
                && let Some(task) = &other.task
            {
                lookup.clients.push(Client { pid: task.pid, servers: other.servers(), netns: other.netns });
            }
        }
        let mut kept = lookup.clone();
        kept.relays.clear();
        self.ended.push_back(kept);
        if self.ended.len() > LIMIT {
            self.ended.pop_front();
        }
    }
}

/// Two processes asked servers for the same name, or one of them for what the other's is an alias of.
fn same_name(a: &Lookup, b: &Lookup) -> bool {
    let (Some(x), Some(y)) = (&a.task, &b.task) else { return false };
    let leads = |from: &Query, to: &Query| from.answer.as_ref().is_some_and(|(_, m)| m.aliases.contains(&to.name));
    let same = |q: &Query, o: &Query| q.kind == o.kind && (q.name == o.name || leads(q, o) || leads(o, q));
    x.pid != y.pid && a.queries.iter().any(|q| b.queries.iter().any(|o| same(q, o)))
}
