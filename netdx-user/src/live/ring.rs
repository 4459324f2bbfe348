//! Takes records out of the ring buffer.
//!
//! Owns: the buffer and the counters of what was lost. Must not know: what is in a record (see `decode`).
//!
//! Programs wake the reader once for many records (waking for each halves a busy machine's connection rate): after it
//! was woken it looks by itself every [`INTERVAL`] until a look finds nothing, and then sleeps until it is woken again.

use super::{names::Names, sys};
use crate::{
    decode,
    input::{Input, Stamped},
};
use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use netdx_common::config::WAKE_INTERVAL;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};
use tokio::{io::unix::AsyncFd, time::Instant};

/// How long a record may wait.
const INTERVAL: Duration = Duration::from_nanos(WAKE_INTERVAL);
/// How long losses may wait where nobody wakes: what is lost wakes nobody.
const LOSSES: Duration = Duration::from_secs(1);
/// How many records one drain takes at most: bounds memory and the time until reports are written.
const BATCH: usize = 4096;

/// The reading end of the programs' buffer.
pub(super) struct Ring {
    buffer: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
    /// Lost records that were told.
    told: u64,
    /// Registered with the runtime when it is first waited for.
    wakes: Option<AsyncFd<OwnedFd>>,
    /// The last drain stopped at [`BATCH`].
    more: bool,
    looked: Option<Instant>,
    /// The last look, no sooner than [`INTERVAL`] after a program woke us, found nothing: the next record will.
    quiet: bool,
}

impl Ring {
    /// From maps `EVENTS` and `LOST`.
    ///
    /// # Errors
    /// When they are of another kind, or can't be mapped.
    pub(super) fn new(events: Map, lost: Map) -> Result<Ring, MapError> {
        Ok(Ring {
            buffer: RingBuf::try_from(events)?,
            lost: PerCpuArray::try_from(lost)?,
            told: 0,
            wakes: None,
            more: false,
            looked: None,
            quiet: false,
        })
    }

    /// Waits until there is something to drain.
    ///
    /// # Errors
    /// When the runtime can't watch the buffer.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        if self.more {
            return Ok(());
        }
        if self.wakes.is_none() {
            self.wakes = Some(sys::watch(self.buffer.as_fd().try_clone_to_owned()?)?);
        }
        let Some(wakes) = &self.wakes else { return Ok(()) };
        loop {
            let pause = if self.quiet { LOSSES } else { INTERVAL };
            let next = self.looked.map_or_else(Instant::now, |looked| looked + pause);
            let woken = tokio::select! {
                guard = wakes.readable() => {
                    guard?.clear_ready();
                    true
                }
                () = tokio::time::sleep_until(next) => false,
            };
            self.looked = Some(Instant::now());
            let found = waiting(&self.buffer)?;
            let losses_are_due = self.quiet && !woken;
            self.quiet = !found && !woken;
            if found || losses_are_due {
                return Ok(());
            }
        }
    }

    /// Decodes what is there into `out`, and says what was lost since the last time.
    pub(super) fn drain(&mut self, names: &Names, out: &mut Vec<Stamped>) {
        let mut taken = 0;
        while taken < BATCH {
            let Some(record) = self.buffer.next() else { break };
            taken += 1;
            out.push(match decode::decode(&record, names) {
                Ok(event) => event,
                Err(error) => Stamped { t: super::now(), input: Input::Malformed(error.to_string()) },
            });
        }
        self.more = taken == BATCH;
        match self.lost.get(&0, 0) {
            Ok(counts) => {
                let all: u64 = counts.iter().sum();
                if all > self.told {
                    out.push(Stamped { t: super::now(), input: Input::Lost(all - self.told) });
                    self.told = all;
                }
            }
            Err(error) => tracing::warn!("what was lost can't be read: {error}"),
        }
    }
}

/// Whether a record waits, asked without waiting.
fn waiting(buffer: &RingBuf<MapData>) -> io::Result<bool> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(buffer, PollFlags::IN)], Some(&at_once)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
