//! What the kernel's side could not tell.
//!
//! Owns: the counts of it: records that found no room or were too many, by the programs' own map; and runs of programs that
//! did not come to be. Must not know: who is told.

use super::{Error, sys};
use aya::util::nr_cpus;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

/// The counters. Read into memory that is there already: to ask for some is to wait for whoever is interrupted while it does
/// the same.
pub(super) struct Lost {
    /// `LOST`, with a count for each possible CPU.
    map: OwnedFd,
    counts: Vec<u8>,
    /// A program that is interrupted, by a softirq or (7.3) by another task, is not run again before it goes on, whatever
    /// happens there (__bpf_trace_run, from 5.12).
    programs: Vec<Arc<OwnedFd>>,
    /// Of all these so many were told.
    told: u64,
}

impl Lost {
    /// Nothing was told yet.
    ///
    /// # Errors
    /// When it can't be found out how many CPUs there can be.
    pub(super) fn new(map: OwnedFd, programs: Vec<Arc<OwnedFd>>) -> Result<Lost, Error> {
        let cpus = nr_cpus().map_err(|(_, error)| Error::Processors(error))?;
        Ok(Lost { map, counts: vec![0; cpus * size_of::<u64>()], programs, told: 0 })
    }

    /// How many more were lost since the last time.
    pub(super) fn more(&mut self) -> io::Result<u64> {
        sys::lookup_map(self.map.as_fd(), &0u32.to_ne_bytes(), &mut self.counts)?;
        let (counts, _) = self.counts.as_chunks();
        let mut all: u64 = counts.iter().map(|count| u64::from_ne_bytes(*count)).sum();
        for program in &self.programs {
            all += sys::misses(program.as_fd())?;
        }
        let more = all.saturating_sub(self.told);
        self.told = all;
        Ok(more)
    }
}
