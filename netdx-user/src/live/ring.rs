//! Takes records out of the ring buffer.
//!
//! Owns: the buffer, and the thread that empties it. Must not know: what is in a record
//! (see `decode`).
//!
//! Taking records off the ring is copying bytes; understanding them costs a hundred times as much, and showing what came
//! of it may wait for a slow terminal. So a thread of its own takes them off, into a backlog, as fast as a flood of
//! failures puts them in. When the backlog is full the ring fills up, and the kernel counts what it has no room for.
//! While there is a backlog, and room in it, the rest of netdx gives way to what it watches (see [`Manners`]).
//!
//! Programs wake the thread once for many records (waking for each halves a busy machine's connection rate): after it
//! was woken it looks by itself every [`INTERVAL`] until a look finds nothing, and then sleeps until it is woken again.

use super::{
    Error,
    backlog::{Entry, Inlet, Outlet, Unreadable, backlog},
    lost::Lost,
    manners::Manners,
    names::Names,
};
use crate::{
    decode,
    input::{Input, Stamped},
};
use aya::maps::{Map, MapData, RingBuf};
use netdx_common::config::WAKE_INTERVAL;
use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, Timespec, epoll, eventfd},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
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
    records: Outlet,
    /// There is something to take.
    news: Arc<Notify>,
    /// The thread; none: it has ended.
    collector: Option<Collector>,
}

/// The thread that empties the buffer, and what it can be asked for.
struct Collector {
    asks: Sender<Ask>,
    /// Written to, it wakes the thread.
    wake: OwnedFd,
    thread: JoinHandle<()>,
}

/// What the thread is asked for.
enum Ask {
    /// Everything that is on the ring now.
    All,
    /// The same, and to end.
    End,
}

impl Ring {
    /// From the map `EVENTS`.
    ///
    /// # Errors
    /// When it is of another kind, or can't be mapped or watched; when no thread can be started.
    pub(super) fn new(events: Map, lost: Lost) -> Result<Ring, Error> {
        let buffer = RingBuf::try_from(events)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from).map_err(Error::Thread)?;
        let wakes = Wakes::of(&buffer, &wake).map_err(Error::Thread)?;
        let (inlet, records) = backlog(WAITING);
        let source = Source { buffer, lost, backlog: inlet };
        let news = Arc::new(Notify::new());
        let (asks, asked) = channel();
        let of_thread = Arc::clone(&news);
        let collect = move || source.collect_until_the_end(&wakes, &asked, &of_thread);
        let thread = thread::Builder::new().name("ring".into()).spawn(collect).map_err(Error::Thread)?;
        Ok(Ring { records, news, collector: Some(Collector { asks, wake, thread }) })
    }

    /// Waits until there is something to take.
    pub(super) async fn readable(&self) {
        while !self.is_behind() {
            self.news.notified().await;
        }
    }

    /// Something was taken off the ring and not understood yet.
    pub(super) fn is_behind(&self) -> bool {
        !self.records.is_empty()
    }

    /// How many records were taken off the ring and not understood yet.
    pub(super) fn waiting(&self) -> u64 {
        self.records.records()
    }

    /// Takes everything off the ring, as far as there is room for it.
    fn collect(&mut self) {
        if let Some(collector) = &self.collector {
            collector.ask(Ask::All);
            self.records.catch_up();
        }
    }

    /// The same for the last time: what comes later stays where it is.
    pub(super) fn stop(&mut self) {
        let Some(collector) = self.collector.take() else { return };
        collector.ask(Ask::End);
        self.records.catch_up();
        // A panic of it was shown.
        _ = collector.thread.join();
    }

    /// Understands some of what was recorded until now, in order.
    pub(super) fn drain(&mut self, names: &Names, out: &mut Vec<Stamped>) {
        // While there is a backlog its thread goes on collecting: what is on the ring is later than all of it.
        if !self.is_behind() {
            self.collect();
        }
        for _ in 0..SLICE {
            match self.records.take() {
                Ok(None) => break,
                Ok(Some(Entry::Record(record))) => {
                    if let Err(error) = decode::decode(record, names, out) {
                        out.push(Stamped { t: super::now(), input: Input::Malformed(error.to_string()) });
                    }
                }
                Ok(Some(Entry::Lost(t, count))) => out.push(Stamped { t, input: Input::Lost(count) }),
                Err(Unreadable { records, error }) => {
                    tracing::warn!("{records} records can't be read again: {error}");
                    out.push(Stamped { t: super::now(), input: Input::Lost(records) });
                }
            }
        }
    }
}

impl Collector {
    fn ask(&self, what: Ask) {
        // It listens until it is told to end.
        _ = self.asks.send(what);
        // Only a counter that is full could refuse it.
        _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread has.
struct Source {
    buffer: RingBuf<MapData>,
    lost: Lost,
    backlog: Inlet,
}

impl Source {
    /// The thread.
    fn collect_until_the_end(mut self, wakes: &Wakes, asked: &Receiver<Ask>, news: &Notify) {
        let mut manners = Manners::of_this_thread();
        let mut pause = INTERVAL;
        loop {
            let woken = wakes.wait(pause).unwrap_or_else(|error| {
                tracing::warn!("the event buffer can't be watched, and is read once a second: {error}");
                thread::sleep(LOSSES);
                true
            });
            // What is asked for is what is on the ring after that.
            let ask = asked.try_recv();
            let found = self.collect();
            if self.backlog.offer() {
                news.notify_one();
            }
            match ask {
                Ok(Ask::All) => self.backlog.offer_all(),
                Ok(Ask::End) => return self.backlog.offer_all(),
                // Whoever would ask has gone.
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            let gives_way = manners.suit(self.backlog.fill());
            let is_calm = !(found || woken || gives_way || self.backlog.holds_back());
            if is_calm {
                self.backlog.rest();
            }
            pause = if is_calm { LOSSES } else { INTERVAL };
        }
    }

    /// Takes everything off the ring, and notes what was lost since the last time; whether there was any of it.
    fn collect(&mut self) -> bool {
        let mut found = false;
        while !self.backlog.is_full()
            && let Some(record) = self.buffer.next()
        {
            self.backlog.push(&record);
            found = true;
        }
        match self.lost.more() {
            Ok(0) => {}
            Ok(more) => {
                self.backlog.lost(super::now(), more);
                found = true;
            }
            Err(error) => tracing::warn!("what was lost can't be read: {error}"),
        }
        found
    }
}

/// What wakes the thread.
struct Wakes(OwnedFd);

impl Wakes {
    const RECORDS: u64 = 0;
    const ASKED: u64 = 1;

    /// Both edge-triggered: what is put in after a look says nothing until a program wakes us.
    fn of(buffer: &RingBuf<MapData>, asked: &OwnedFd) -> io::Result<Wakes> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (fd, data) in [(buffer.as_fd(), Self::RECORDS), (asked.as_fd(), Self::ASKED)] {
            epoll::add(&set, fd, epoll::EventData::new_u64(data), epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        }
        Ok(Wakes(set))
    }

    /// Waits so long at most; whether there are records.
    fn wait(&self, pause: Duration) -> io::Result<bool> {
        let pause = Timespec::try_from(pause).map_err(io::Error::other)?;
        let mut events = Vec::with_capacity(2);
        match epoll::wait(&self.0, spare_capacity(&mut events), Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(events.iter().any(|event: &epoll::Event| event.data.u64() == Self::RECORDS))
    }
}
