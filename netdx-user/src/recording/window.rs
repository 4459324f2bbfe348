//! The flight recorder: a rolling window in memory, written out around what fails.
//!
//! Owns: what is kept, and where an incident begins and ends. Must not know: files (whoever drives it writes
//! [`Step`]s).
//!
//! An incident begins one window before the first failure and ends when a whole window has passed without another one.
//! Inputs that older verdicts rest on (facts, processes, the changes of connections that are open) are kept beyond the window,
//! because the core doesn't ask twice.

use crate::{
    event::{Event, SockId, TcpState},
    input::{Input, Stamped},
    time::Time,
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

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
    context: Context,
    dropped: u64,
    failed: Option<Time>,
}

impl Window {
    /// An empty window of that length.
    #[must_use]
    pub fn new(length: Duration) -> Window {
        Window { length, recent: VecDeque::new(), context: Context::default(), dropped: 0, failed: None }
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
        let mut all: Vec<Stamped> = self.context.inputs.values().cloned().collect();
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
                self.context.keep(first);
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

/// What is kept from before the window.
#[derive(Debug, Default)]
struct Context {
    /// By number, in the order in which they came.
    inputs: BTreeMap<u64, Stamped>,
    /// Those of each connection that is open.
    connections: HashMap<SockId, Vec<u64>>,
    kept: u64,
}

impl Context {
    fn keep(&mut self, stamped: Stamped) {
        let connection = connection(&stamped.input);
        if let Some((id, true)) = connection {
            // It is over: without its end, what it began with would be one that never ended.
            self.forget(id);
            return;
        }
        self.kept += 1;
        self.inputs.insert(self.kept, stamped);
        if let Some((id, _)) = connection {
            self.connections.entry(id).or_default().push(self.kept);
        }
        if self.inputs.len() > MAX_CONTEXT
            && let Some((_, oldest)) = self.inputs.pop_first()
            && let Some((id, _)) = self::connection(&oldest.input)
        {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: SockId) {
        for number in self.connections.remove(&id).unwrap_or_default() {
            self.inputs.remove(&number);
        }
    }
}

/// Whether later verdicts can rest on it.
fn is_context(input: &Input) -> bool {
    connection(input).is_some() || matches!(input, Input::Fact(_) | Input::Event(Event::Process { .. }))
}

/// The connection whose change it is, and whether that ends it.
fn connection(input: &Input) -> Option<(SockId, bool)> {
    match input {
        Input::Event(Event::Attempt { sock, .. }) => Some((sock.id?, false)),
        Input::Event(Event::State { sock, new, .. }) => Some((sock.id?, *new == TcpState::Close)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Netns, Protocol, Sock, TcpCounters, Tuple, Via},
        fact::{Answer, Fact},
        want::Want,
    };
    use std::sync::Arc;

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

    fn attempt(second: u64, id: u64) -> Stamped {
        let (started, sock) = (Time(second * 1_000_000_000), sock(id, TcpState::SynSent));
        let event = Event::Attempt { started, task: None, sock, via: Via::Connect, dialled: None };
        Stamped { t: started, input: Input::Event(event) }
    }

    fn change(second: u64, id: u64, old: TcpState, new: TcpState) -> Stamped {
        let (tcp, stack) = (TcpCounters::default(), Arc::default());
        let event = Event::State { sock: sock(id, old), old, new, current: None, icmp: None, tcp, stack };
        Stamped { t: Time(second * 1_000_000_000), input: Input::Event(event) }
    }

    fn sock(id: u64, state: TcpState) -> Sock {
        let any = "10.0.0.1".parse().expect("an address");
        let tuple = Tuple { protocol: Protocol::Tcp, local: any, local_port: 1, remote: any, remote_port: 2 };
        Sock { id: Some(SockId(id)), state, ..Sock::unseen(tuple, Netns(1)) }
    }

    #[test]
    fn of_connections_that_are_over_nothing_is_kept_and_of_those_that_are_up_that_they_are() {
        let mut window = Window::new(Duration::from_secs(10));
        let up = [attempt(0, 1), change(0, 1, TcpState::SynSent, TcpState::Established)];
        let over = [attempt(0, 2), change(1, 2, TcpState::SynSent, TcpState::Close)];
        for input in up.iter().chain(&over).cloned().chain((2..100).map(tick)) {
            window.input(input);
        }
        let Some(Step::Begin(before)) = window.failure(Time(99_000_000_000)) else { panic!("a file begins") };
        assert_eq!(before[..2], up);
        assert_eq!(before[2], tick(89));
        assert!(window.context.connections.len() == 1, "{:?}", window.context.connections);
    }

    #[test]
    fn what_is_kept_from_before_is_bounded() {
        let mut context = Context::default();
        for id in 0..MAX_CONTEXT as u64 + 7 {
            context.keep(attempt(0, id));
            context.keep(change(0, id, TcpState::SynSent, TcpState::Established));
        }
        assert!(context.inputs.len() <= MAX_CONTEXT && context.connections.len() <= MAX_CONTEXT / 2 + 1);
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
