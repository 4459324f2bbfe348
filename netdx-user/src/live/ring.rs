//! Takes records out of the ring buffer.
//!
//! Owns: the buffer, the counters of what was lost, and the thread that empties it. Must not know: what is in a record
//! (see `decode`).
//!
//! Taking records off the ring is copying bytes; understanding them costs a hundred times as much, and showing what came
//! of it may wait for a slow terminal. So a thread of its own takes them off, into a [`Backlog`], as fast as a flood of
//! failures puts them in. When the backlog is full the ring fills up, and the kernel counts what it has no room for.
//! While there is a backlog, and room in it, the rest of netdx gives way to what it watches (see [`Manners`]).
//!
//! Programs wake the thread once for many records (waking for each halves a busy machine's connection rate): after it
//! was woken it looks by itself every [`INTERVAL`] until a look finds nothing, and then sleeps until it is woken again.

use super::{
    Error,
    backlog::{Backlog, Chunk, Entry},
    manners::Manners,
    names::Names,
};
use crate::{
    decode,
    input::{Input, Stamped},
};
use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use netdx_common::config::WAKE_INTERVAL;
use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, Timespec, epoll, eventfd},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::Notify;

/// How long a record may wait.
const INTERVAL: Duration = Duration::from_nanos(WAKE_INTERVAL);
/// How long losses may wait where nobody wakes: what is lost wakes nobody.
const LOSSES: Duration = Duration::from_secs(1);
/// How many records are understood at a time: bounds memory and the time until reports are written.
const SLICE: usize = 256;
/// Bytes that may wait, compressed: seconds of refused connections, at the highest rate that one CPU makes.
const WAITING: usize = 64 << 20;

/// The reading end of the programs' buffer.
pub(super) struct Ring {
    shared: Arc<Shared>,
    /// What is understood next.
    chunk: Chunk,
    /// Written to, it ends the thread.
    end: OwnedFd,
    collector: Option<JoinHandle<()>>,
}

/// What the thread and the reader share.
struct Shared {
    source: Mutex<Source>,
    /// There is something in the backlog.
    news: Notify,
}

struct Source {
    buffer: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
    /// Lost records that were told.
    told: u64,
    backlog: Backlog,
}

impl Ring {
    /// From maps `EVENTS` and `LOST`.
    ///
    /// # Errors
    /// When they are of another kind, or can't be mapped or watched; when no thread can be started.
    pub(super) fn new(events: Map, lost: Map) -> Result<Ring, Error> {
        let buffer = RingBuf::try_from(events)?;
        let end = eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from).map_err(Error::Thread)?;
        let wakes = Wakes::of(&buffer, &end).map_err(Error::Thread)?;
        let source = Source { buffer, lost: PerCpuArray::try_from(lost)?, told: 0, backlog: Backlog::new(WAITING) };
        let shared = Arc::new(Shared { source: Mutex::new(source), news: Notify::new() });
        let of_thread = Arc::clone(&shared);
        let collect = move || {
            if let Err(error) = of_thread.collect_until_the_end(&wakes, &mut Manners::of_this_thread()) {
                // The reader still looks whenever its deadlines come.
                tracing::warn!("the event buffer can't be watched: {error}");
            }
        };
        let collector = thread::Builder::new().name("ring".into()).spawn(collect).map_err(Error::Thread)?;
        Ok(Ring { shared, chunk: Chunk::default(), end, collector: Some(collector) })
    }

    /// Waits until there is something to take.
    pub(super) async fn readable(&self) {
        while !self.is_behind() {
            self.shared.news.notified().await;
        }
    }

    /// Something was taken off the ring and not understood yet.
    pub(super) fn is_behind(&self) -> bool {
        !self.chunk.is_empty() || !self.shared.source().backlog.is_empty()
    }

    /// How many records were taken off the ring and not understood yet.
    pub(super) fn waiting(&self) -> u64 {
        self.chunk.records() + self.shared.source().backlog.records()
    }

    /// Takes everything off the ring, as far as there is room for it.
    fn collect(&self) {
        if self.collector.is_some() {
            self.shared.source().collect();
        }
    }

    /// The same for the last time: what comes later stays where it is.
    pub(super) fn stop(&mut self) {
        self.collect();
        let Some(collector) = self.collector.take() else { return };
        // Only a counter that is full could refuse it.
        _ = rustix::io::write(&self.end, &1u64.to_ne_bytes());
        // A panic of it was shown.
        _ = collector.join();
    }

    /// Understands some of what was recorded until now, in order.
    pub(super) fn drain(&mut self, names: &Names, out: &mut Vec<Stamped>) {
        let mut collected = false;
        for _ in 0..SLICE {
            // While there is a backlog its thread goes on collecting: what is on the ring is later than all of it.
            if !collected && !self.is_behind() {
                self.collect();
                collected = true;
            }
            if self.chunk.is_empty() {
                self.shared.source().backlog.next(&mut self.chunk);
                if let Err(error) = self.chunk.unpack() {
                    let lost = self.chunk.records();
                    self.chunk = Chunk::default();
                    tracing::warn!("{lost} records can't be read again: {error}");
                    out.push(Stamped { t: super::now(), input: Input::Lost(lost) });
                }
            }
            let Some(entry) = self.chunk.take() else { break };
            match entry {
                Entry::Record(record) => {
                    if let Err(error) = decode::decode(record, names, out) {
                        out.push(Stamped { t: super::now(), input: Input::Malformed(error.to_string()) });
                    }
                }
                Entry::Lost(t, count) => out.push(Stamped { t, input: Input::Lost(count) }),
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn source(&self) -> MutexGuard<'_, Source> {
        // Bytes that were copied are whole even if the other thread has panicked.
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn collect_until_the_end(&self, wakes: &Wakes, manners: &mut Manners) -> io::Result<()> {
        let mut pause = INTERVAL;
        loop {
            let woken = match wakes.wait(pause)? {
                Wake::Records => true,
                Wake::Time => false,
                Wake::End => return Ok(()),
            };
            let (found, fill) = {
                let mut source = self.source();
                (source.collect(), source.backlog.fill())
            };
            if found {
                self.news.notify_one();
            }
            let gives_way = manners.suit(fill);
            pause = if found || woken || gives_way { INTERVAL } else { LOSSES };
        }
    }
}

impl Source {
    /// Takes everything off the ring, and notes what was lost since the last time; whether there was any of it.
    fn collect(&mut self) -> bool {
        let mut found = false;
        while !self.backlog.is_full()
            && let Some(record) = self.buffer.next()
        {
            self.backlog.push(&record);
            found = true;
        }
        match self.lost.get(&0, 0) {
            Ok(counts) => {
                let all: u64 = counts.iter().sum();
                if all > self.told {
                    self.backlog.lost(super::now(), all - self.told);
                    self.told = all;
                    found = true;
                }
            }
            Err(error) => tracing::warn!("what was lost can't be read: {error}"),
        }
        found
    }
}

/// What wakes the thread.
struct Wakes(OwnedFd);

/// Why it woke.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wake {
    Records,
    Time,
    End,
}

impl Wakes {
    const RECORDS: u64 = 0;
    const END: u64 = 1;

    /// Records, edge-triggered: what is put in after a look says nothing until a program wakes us.
    fn of(buffer: &RingBuf<MapData>, end: &OwnedFd) -> io::Result<Wakes> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64;
        epoll::add(&set, buffer.as_fd(), data(Self::RECORDS), epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        epoll::add(&set, end.as_fd(), data(Self::END), epoll::EventFlags::IN)?;
        Ok(Wakes(set))
    }

    fn wait(&self, pause: Duration) -> io::Result<Wake> {
        let pause = Timespec::try_from(pause).map_err(io::Error::other)?;
        let mut events = Vec::with_capacity(2);
        match epoll::wait(&self.0, spare_capacity(&mut events), Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let woke_by = |what: u64| events.iter().any(|event: &epoll::Event| event.data.u64() == what);
        Ok(match (woke_by(Self::END), woke_by(Self::RECORDS)) {
            (true, _) => Wake::End,
            (false, true) => Wake::Records,
            (false, false) => Wake::Time,
        })
    }
}
