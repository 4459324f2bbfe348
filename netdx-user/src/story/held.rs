//! Connections to name servers that failed before it is known whether a lookup made them. Owns: how long they wait for the
//! return of getaddrinfo. Must not know: lookups.

use super::Connection;
use crate::time::Time;
use std::{collections::BTreeMap, time::Duration};

/// A resolver that gets no connection goes on at once: to the next server, or by returning.
const WAIT: Duration = Duration::from_millis(250);

/// Failed connections by when they are given up to be told by themselves.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_due: BTreeMap<(Time, u64), Box<Connection>>,
}

impl Held {
    /// One more that has failed.
    pub(super) fn hold(&mut self, c: Box<Connection>) {
        let due = c.ended.unwrap_or(c.began).after(WAIT);
        self.by_due.insert((due, c.serial), c);
    }

    /// Those that a thread began since then.
    pub(super) fn take(&mut self, tid: u32, since: Time) -> Vec<Connection> {
        let of_thread = |c: &Connection| c.began >= since && c.task.as_ref().is_some_and(|t| t.tid == tid);
        self.by_due.extract_if(.., |_, c| of_thread(c)).map(|(_, c)| *c).collect()
    }

    /// The next one that nobody has taken by now.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Box<Connection>> {
        let first = self.by_due.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    /// When the next one is given up.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }
}
