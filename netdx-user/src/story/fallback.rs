//! Programs that try IPv6 and, when it comes to nothing, IPv4. Owns: which two attempts are of one such program. Must not
//! know: why one failed.

use super::{Connection, Fallback};
use crate::{event::Opened, report::Outcome, time::Time};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// How long after an IPv6 attempt an IPv4 one counts as its fallback.
const WINDOW: Duration = Duration::from_secs(10);
/// How long at most a connection that worked waits for the IPv6 attempt beside it to be given up: programs do so at once,
/// but on a busy machine that may take its time.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long attempts are remembered: one that nobody answers takes 127 s with the usual six repetitions of its SYN.
const KEPT: Duration = Duration::from_secs(180);
/// How many attempts are remembered, and how many connections wait.
const LIMIT: usize = 512;

/// Attempts of programs that have another way to go.
#[derive(Debug, Default)]
pub(super) struct Fallbacks {
    /// IPv6 attempts that came to nothing, the latest last.
    failed: VecDeque<Connection>,
    /// Connections by IPv4 that worked, the latest last.
    worked: VecDeque<Connection>,
    /// Those that wait to be told.
    waiting: BTreeMap<(Time, u64), Connection>,
}

/// Whether `other` came, by IPv4, instead of `c`.
pub(super) fn instead(c: &Connection, other: &Connection) -> bool {
    let (Some(one), Some(two)) = (&c.task, &other.task) else { return false };
    c.tuple.remote.is_ipv6()
        && other.tuple.remote.is_ipv4()
        && one.pid == two.pid
        && c.tuple.protocol == other.tuple.protocol
        && c.tuple.remote_port == other.tuple.remote_port
        && c.opened == Opened::Here
        && c.established.is_none()
        && other.began >= c.began
        && other.began.since(c.began) < WINDOW
        && c.name.is_none() | other.name.is_none() | (c.name == other.name)
}

impl Fallbacks {
    /// An attempt came to nothing, and is about to be told.
    pub(super) fn failed(&mut self, c: &mut Connection) {
        if !c.tuple.remote.is_ipv6() || !matches!(c.outcome, Outcome::Failed | Outcome::Abandoned) {
            return;
        }
        let other = self.worked.iter().filter(|o| instead(c, o)).min_by_key(|o| o.began);
        c.fell_back_to = other.map(|o| (o.tuple.remote, o.began.since(c.began)));
        // They have waited for this.
        for (_, o) in self.waiting.extract_if(.., |_, o| instead(c, o)).collect::<Vec<_>>() {
            self.waiting.insert((Time(0), o.serial), o);
        }
        self.failed.push_back(c.clone());
        if self.failed.len() > LIMIT {
            self.failed.pop_front();
        }
    }

    /// A connection worked. `waits`: the same program is still at another address.
    pub(super) fn worked(&mut self, c: Connection, time: Time, waits: bool) {
        if c.tuple.remote.is_ipv4() && c.opened == Opened::Here {
            self.worked.push_back(c.clone());
            if self.worked.len() > LIMIT {
                self.worked.pop_front();
            }
        }
        let due = if waits && self.waiting.len() < LIMIT { time.after(PATIENCE) } else { time };
        self.waiting.insert((due, c.serial), c);
    }

    /// Connections that are to be told now, with what they came instead of.
    pub(super) fn due(&mut self, now: Time) -> Vec<Connection> {
        let mut due = Vec::new();
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now
        {
            let mut c = entry.remove();
            let before = self.failed.iter().filter(|o| instead(o, &c)).min_by_key(|o| o.began);
            c.fallback_from = before.map(|o| Box::new(Fallback { attempt: o.clone(), delay: c.began.since(o.began) }));
            due.push(c);
        }
        due
    }

    /// Forgets what is too old by now.
    pub(super) fn forget(&mut self, now: Time) {
        for attempts in [&mut self.failed, &mut self.worked] {
            while attempts.pop_front_if(|c| c.began.after(KEPT) <= now).is_some() {}
        }
    }

    /// When the next one is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiting.first_key_value().map(|((t, _), _)| *t)
    }
}
