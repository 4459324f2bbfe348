//! The flight recorder: a rolling window in memory, written out around what fails.
//!
//! Owns: what is kept, and where an incident begins and ends. Must not know: files (whoever drives it writes
//! [`Step`]s).
//!
//! An incident begins one window before the first failure and ends when a whole window has passed without another one.
//! Inputs that older verdicts rest on (facts, processes, the beginnings of connections) are kept beyond the window,
//! because the core doesn't ask twice.

use crate::{
    event::Event,
    input::{Input, Stamped},
    time::Time,
};
use std::{collections::VecDeque, time::Duration};

/// Most inputs kept in the window; beyond it the oldest go, and the file says that they are lost.
pub const MAX_INPUTS: usize = 200_000;
/// Most inputs kept from before the window.
pub const MAX_CONTEXT: usize = 20_000;

/// What to do with the file.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Begin a file and write these.
    Begin(Vec<Stamped>),
    /// Write this to it.
    Write(Box<Stamped>),
    /// The incident is over: end the file.
    End,
}

/// The window.
#[derive(Debug)]
pub struct Window {
    length: Duration,
    recent: VecDeque<Stamped>,
    context: VecDeque<Stamped>,
    dropped: u64,
    failed: Option<Time>,
}

impl Window {
    /// An empty window of that length.
    #[must_use]
    pub fn new(length: Duration) -> Window {
        Window { length, recent: VecDeque::new(), context: VecDeque::new(), dropped: 0, failed: None }
    }

    /// Takes an input: into the file of the incident that goes on, or else into memory.
    pub fn input(&mut self, stamped: Stamped) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(failed) = self.failed {
            if stamped.t.since(failed) <= self.length {
                self.keep(stamped.clone());
                steps.push(Step::Write(Box::new(stamped)));
                return steps;
            }
            self.failed = None;
            steps.push(Step::End);
        }
        self.keep(stamped);
        steps
    }

    /// Something failed, as far as is known at `now`.
    pub fn failure(&mut self, now: Time) -> Option<Step> {
        if self.failed.replace(now).is_some() {
            return None;
        }
        let mut all: Vec<Stamped> = self.context.iter().cloned().collect();
        if self.dropped > 0 {
            let t = self.recent.front().map_or(now, |first| first.t);
            all.push(Stamped { t, input: Input::Lost(self.dropped) });
        }
        all.extend(self.recent.iter().cloned());
        Some(Step::Begin(all))
    }

    /// The run ends.
    #[must_use]
    pub fn end(&mut self) -> Option<Step> {
        self.failed.take().map(|_| Step::End)
    }

    fn keep(&mut self, stamped: Stamped) {
        // Two reads of a clock may be out of order: what came in last is now.
        let now = stamped.t;
        self.recent.push_back(stamped);
        while let Some(first) = self.recent.front() {
            let old = now.since(first.t) > self.length;
            if !old && self.recent.len() <= MAX_INPUTS {
                break;
            }
            let Some(first) = self.recent.pop_front() else { break };
            if is_context(&first.input) {
                self.context.push_back(first);
                if self.context.len() > MAX_CONTEXT {
                    self.context.pop_front();
                }
            } else if !old {
                self.dropped += 1;
            }
            if old {
                // What was dropped for want of room is now outside the window all the same.
                self.dropped = 0;
            }
        }
    }
}

/// Whether later verdicts can rest on it.
fn is_context(input: &Input) -> bool {
    matches!(input, Input::Fact(_) | Input::Event(Event::Attempt { .. } | Event::Process { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Netns,
        fact::{Answer, Fact},
        want::Want,
    };

    fn tick(second: u64) -> Stamped {
        Stamped { t: Time(second * 1_000_000_000), input: Input::Tick }
    }

    fn fact(second: u64) -> Stamped {
        let want = Want::Conntrack { netns: Netns(1) };
        let input = Input::Fact(Fact { want, answer: Answer::Unavailable("no".into()) });
        Stamped { t: Time(second * 1_000_000_000), input }
    }

    #[test]
    fn an_incident_has_a_window_before_and_after() {
        let mut window = Window::new(Duration::from_secs(10));
        for second in 0..30 {
            assert_eq!(window.input(tick(second)), []);
        }
        let Some(Step::Begin(before)) = window.failure(Time(29_000_000_000)) else { panic!("a file begins") };
        assert_eq!(before.first(), Some(&tick(19)));
        assert_eq!(before.last(), Some(&tick(29)));
        assert_eq!(window.input(tick(35)), [Step::Write(Box::new(tick(35)))]);
        assert_eq!(window.failure(Time(35_000_000_000)), None, "the same incident");
        assert_eq!(window.input(tick(45)), [Step::Write(Box::new(tick(45)))]);
        assert_eq!(window.input(tick(46)), [Step::End]);
        assert_eq!(window.end(), None);
    }

    #[test]
    fn the_run_may_end_within_an_incident() {
        let mut window = Window::new(Duration::from_secs(10));
        assert!(window.failure(Time(0)).is_some());
        assert_eq!(window.end(), Some(Step::End));
    }

    #[test]
    fn what_verdicts_rest_on_outlives_the_window() {
        let mut window = Window::new(Duration::from_secs(10));
        window.input(fact(0));
        for second in 1..100 {
            window.input(tick(second));
        }
        let Some(Step::Begin(before)) = window.failure(Time(99_000_000_000)) else { panic!("a file begins") };
        assert_eq!(before.first(), Some(&fact(0)));
        assert_eq!(before.len(), 12);
    }

    #[test]
    fn memory_is_bounded_and_what_went_is_said() {
        let mut window = Window::new(Duration::from_secs(10));
        for _ in 0..MAX_INPUTS + 5 {
            window.input(tick(1));
        }
        let Some(Step::Begin(before)) = window.failure(Time(1_000_000_000)) else { panic!("a file begins") };
        assert_eq!(before.len(), MAX_INPUTS + 1);
        assert_eq!(before[0].input, Input::Lost(5));
    }
}
