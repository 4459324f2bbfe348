//! How resolvers ask. Owns: what a process's is set to, and what shows from outside that musl's gave a lookup up. Must not know:
//! causes.
//!
//! A program that is linked statically has its C library in itself, and what getaddrinfo returned is not seen. musl takes one
//! answer of two (A and AAAA) for none (`name_from_dns`, 1.2.3: EAI_AGAIN), where other resolvers make do with it.

use super::{Lookup, Query};
use crate::{fact, time::Time};
use std::time::Duration;

/// resolv.conf(5): the time-out and the number of attempts where none is configured.
const TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 2;
/// musl counts in ms.
const MUSL_EARLY: Duration = Duration::from_millis(2);

/// What a process's resolver is set to.
#[derive(Debug)]
pub(super) struct Habits {
    /// The longest it waits for one server.
    pub(super) patience: Duration,
    /// After so long musl asks again where a server failed: it takes that for no answer.
    pub(super) retry: Duration,
    /// How often it asks.
    pub(super) attempts: u32,
    /// Its search list, lower case, without last dots.
    pub(super) search: Vec<String>,
}

impl Habits {
    /// glibc waits for a server `timeout << n` seconds in its n-th round, shared among all servers in every round but the
    /// first (`__res_context_send`, glibc 2.36).
    pub(super) fn of(r: &fact::Resolver) -> Habits {
        let timeout = r.timeout.clamp(1, 30);
        let servers = u32::try_from(r.servers.len()).unwrap_or(u32::MAX).clamp(1, 3);
        let rounds = (1..r.attempts.clamp(1, 5)).map(|n| (timeout << n) / servers);
        let longest = rounds.chain([timeout]).max().unwrap_or(timeout);
        let search = r.search.iter().map(|s| s.trim_end_matches('.').to_lowercase()).collect();
        let attempts = r.attempts.clamp(1, 5);
        let retry = Duration::from_secs(timeout.into()) / attempts;
        Habits { patience: Duration::from_secs(longest.into()), retry, attempts, search }
    }

    /// It got addresses, and yet gave up, as far as its pace tells: musl asks from one socket, what was not answered again as
    /// often as there are attempts, that much of the time-out apart, and waits as long after the last one (`__res_msend_rc`,
    /// 1.2.3; its timer may fire late). c-ares, which makes do with one answer, waits the whole time-out before it asks again.
    pub(super) fn gave_up(&self, l: &Lookup, ended: Time) -> bool {
        let rounds = self.attempts - 1;
        // Its clock starts before the first one.
        let first = |name: &str| l.queries.iter().filter(|q| q.name == name).map(|q| q.sent).min();
        let paced = |q: &Query| {
            let waited = q.last.since(first(&q.name).unwrap_or(q.sent)) + MUSL_EARLY;
            let whole = self.retry * rounds;
            q.tries == self.attempts
                && (whole..whole + self.retry / 2).contains(&waited)
                && ended.after(MUSL_EARLY) >= q.last.after(self.retry)
        };
        let socket = l.queries.first().and_then(|q| q.cookie);
        rounds > 0
            && l.resolved.is_none()
            && socket.is_some()
            && l.queries.iter().all(|q| q.cookie == socket)
            && l.queries.iter().any(Query::useful)
            && l.open().next().is_some()
            && l.open().all(paced)
    }
}

impl Default for Habits {
    fn default() -> Self {
        Habits { patience: TIMEOUT, retry: TIMEOUT / ATTEMPTS, attempts: ATTEMPTS, search: Vec::new() }
    }
}
