//! Order across CPUs. Owns: the window in which events may come late. Must not know: what events mean.

use crate::{event::Event, time::Time};
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
    time::Duration,
};

/// How late an event may be. Records are reserved in one shared ring right after their time is taken, so that only an
/// interrupt in between can disorder them: microseconds. This leaves room for a preempted virtual CPU.
const WINDOW: Duration = Duration::from_millis(2);

/// A buffer that gives events back in the order of their times.
#[derive(Debug, Default)]
pub struct Order {
    waiting: BinaryHeap<Reverse<Entry>>,
    arrived: u64,
    now: Time,
}

#[derive(Debug)]
struct Entry {
    time: Time,
    arrived: u64,
    event: Arc<Event>,
}

impl Entry {
    fn key(&self) -> (Time, u64) {
        (self.time, self.arrived)
    }
}
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Order {
    /// Takes an event.
    pub fn push(&mut self, time: Time, event: Arc<Event>) {
        self.arrived += 1;
        self.waiting.push(Reverse(Entry { time, arrived: self.arrived, event }));
        self.advance(time);
    }

    /// The latest moment seen so far is at least `now`.
    pub fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// The next event that nothing earlier can precede any more.
    pub fn pop(&mut self) -> Option<(Time, Arc<Event>)> {
        let Reverse(first) = self.waiting.peek()?;
        if first.time.after(WINDOW) > self.now {
            return None;
        }
        self.waiting.pop().map(|Reverse(e)| (e.time, e.event))
    }

    /// The next event, whether or not an earlier one could still come: for the end of a run.
    pub fn pop_any(&mut self) -> Option<(Time, Arc<Event>)> {
        self.waiting.pop().map(|Reverse(e)| (e.time, e.event))
    }

    /// When the first waiting event may be taken.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.waiting.peek().map(|Reverse(e)| e.time.after(WINDOW))
    }

    /// The latest moment seen.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }
}
