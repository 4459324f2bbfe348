//! What the kernel's side could not tell.
//!
//! Owns: the counts of it: records that found no room or were too many, by the programs' own count; and runs of programs that
//! did not come to be. Must not know: who is told.

use super::sys::{self, Shared};
use netdx_common::config::Counts;
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

/// The counters.
pub(super) struct Lost {
    /// `COUNTS`.
    counts: Shared<Counts>,
    /// A program that is interrupted, by a softirq or (7.2) by another task, is not run again before it goes on, whatever
    /// happens there (`__bpf_trace_run`, 6.1; for programs on functions from 5.12).
    programs: Vec<Arc<OwnedFd>>,
    /// Of all these so many were told.
    told: u64,
}

impl Lost {
    /// Nothing was told yet. `counts`: the map, with this many elements.
    ///
    /// # Errors
    /// When the counts can't be mapped.
    pub(super) fn new(counts: BorrowedFd<'_>, cpus: usize, programs: Vec<Arc<OwnedFd>>) -> io::Result<Lost> {
        Ok(Lost { counts: Shared::of_map(counts, cpus)?, programs, told: 0 })
    }

    /// How many more were lost since the last time.
    pub(super) fn more(&mut self) -> io::Result<u64> {
        let mut all = self.sum(|counts| counts.lost);
        for program in &self.programs {
            all += sys::misses(program.as_fd())?;
        }
        // Read last: each of them was missed before.
        all = all.saturating_sub(self.sum(|counts| counts.caught));
        let more = all.saturating_sub(self.told);
        self.told = self.told.max(all);
        Ok(more)
    }

    fn sum(&self, which: impl Fn(Counts) -> u64) -> u64 {
        self.counts.read().map(which).sum()
    }
}
