//! Lookups of one name by two processes: one may be the other's doing. Owns: which lookups overlap. Must not know: whether
//! the second process has the address that the first one asked (the host knows).
//!
//! A stub resolver or forwarder on this host asks others what it is asked. Its client's report tells both. So does that of a
//! program whose C library has a daemon ask.

use super::{Lookup, Query, lookup::Client, questions::is_expanded};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// How long ended lookups are remembered: longer than a resolver waits.
const MEMORY: Duration = Duration::from_secs(30);
/// How many are remembered.
const LIMIT: usize = 256;

/// Daemons that look names up for the C libraries of others, which ask them by other ways than DNS, and the source of
/// nsswitch.conf that leads to each; nscd is asked before any.
const DAEMONS: [(&str, Option<&str>); 3] =
    [("systemd-resolve", Some("resolve")), ("sssd_be", Some("sss")), ("nscd", None)];

/// With these sources a C library may ask that daemon; none: they are not known.
#[must_use]
pub fn lead_to(sources: &[String], daemon: &str) -> bool {
    let has =
        |source: &Option<&str>| source.is_none_or(|s| sources.is_empty() || sources.iter().any(|known| known == s));
    DAEMONS.iter().any(|(comm, source)| *comm == daemon && has(source))
}

/// Lookups that have ended.
#[derive(Debug, Default)]
pub(super) struct Relays {
    ended: VecDeque<Lookup>,
}

impl Relays {
    /// Tells a lookup that ends of those that overlap with it, and remembers it. `so_far`: what an open one has come to.
    pub(super) fn join(
        &mut self,
        lookup: &mut Lookup,
        open: &BTreeMap<u64, Lookup>,
        mut so_far: impl FnMut(&Lookup) -> Lookup,
    ) {
        let Some(ended) = lookup.ended else { return };
        self.ended.retain(|o| o.ended.is_some_and(|t| ended.since(t) < MEMORY));
        let others: Vec<&Lookup> = self.ended.iter().chain(open.values()).collect();
        for other in others {
            if !same_name(lookup, other) && !has_asked(lookup, other) && !has_asked(other, lookup) {
                continue;
            }
            let end = other.ended.unwrap_or(ended);
            if other.began >= lookup.began && other.began <= ended {
                let mut relay = if other.ended.is_some() { other.clone() } else { so_far(other) };
                relay.ended = relay.ended.min(Some(ended));
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

/// The C library of a process asked no server itself, and one of the daemons that it may ask had the name asked for.
fn has_asked(client: &Lookup, daemon: &Lookup) -> bool {
    let (Some(name), Some(by)) = (client.resolved.as_ref().map(|r| &r.name), &daemon.task) else { return false };
    let name = name.trim_end_matches('.').to_lowercase();
    client.queries.is_empty()
        && client.paths.is_empty()
        && lead_to(&[], &by.comm)
        && daemon.queries.iter().any(|q| q.name == name || is_expanded(&q.name, &name))
}
