//! What a person asks first when something does not connect: names, the ladder, sockets, routes, addresses.
//!
//! Owns: the answers of the verbs that need no tracing, their models, and how each is written as text.
//! Must not know: the command line (`cli/` is thin above it), or how the host is read (`host/` answers `Want`s).
//! `dns` and `check` send packets, which is what they are for; nothing else here does.

pub mod addrs;
pub mod conns;
pub mod dns;
pub mod getaddrinfo;
pub mod ladder;
pub mod listeners;
pub mod phrase;
pub mod routes;
#[cfg(test)]
pub(crate) mod samples;
pub mod sheet;
pub mod table;
pub mod unseen;
pub mod who;
pub mod zone;

use crate::{fact::Answer, host::Host, want::Want};
use std::{io, time::Duration};

/// Whoever answers questions about the host.
pub trait Ask {
    /// The answer, or why there is none.
    fn ask(&mut self, want: &Want) -> Answer;
}

impl Ask for Host {
    fn ask(&mut self, want: &Want) -> Answer {
        self.answer(want)
    }
}

/// Runs futures side by side, results in their order.
async fn all<F>(futures: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let tasks = tokio::task::LocalSet::new();
    let running: Vec<_> = futures.map(|future| tasks.spawn_local(future)).collect();
    tasks
        .run_until(async {
            let mut results = Vec::with_capacity(running.len());
            for task in running {
                match task.await {
                    Ok(result) => results.push(result),
                    // A task of this set is never aborted, so it has panicked: so does its owner.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
            results
        })
        .await
}

/// A length of time in nanoseconds, as reports have it.
fn nanoseconds(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// What the kernel said, with the name of its errno: `Connection refused (ECONNREFUSED)`.
fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(errno) => {
            let words = text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words);
            format!("{words} ({})", crate::explain::errno::name(errno))
        }
        None => text,
    }
}
