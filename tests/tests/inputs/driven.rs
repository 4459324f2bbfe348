//! The core, driven by the inputs of a recording. Owns: how inputs are fed, and who answers. Must not know: what is tested.

use netdx::diagnosis::{Diagnosis, Settings};
use netdx::fact::{Answer, Fact};
use netdx::input::{Input, Stamped};
use netdx::recording::{Header, Reader};
use netdx::render::json;
use netdx::time::Time;
use netdx::want::Want;
use netdx_tests::recordings;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A recording in memory: its events by when they happened, and what the host answered.
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) header: Header,
    pub(crate) events: Vec<Stamped>,
    pub(crate) answers: HashMap<Want, Answer>,
    pub(crate) end: Time,
}

pub(crate) static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
    let read = |recording: recordings::Recording| {
        let mut reader = Reader::new(&recording.bytes[..]).expect("a recording");
        let header = reader.header().clone();
        let (mut events, mut answers, mut end) = (Vec::new(), HashMap::new(), Time(header.start.boot_ns));
        for stamped in reader.by_ref() {
            end = end.max(stamped.t);
            match stamped.input {
                Input::Event(_) => events.push(stamped),
                // Asked again it would say what it said at first: here the answer must not depend on when it is asked.
                Input::Fact(Fact { want, answer }) => _ = answers.entry(want).or_insert(answer),
                _ => {}
            }
        }
        events.sort_by_key(|stamped| stamped.t);
        Recorded { name: recording.name, header, events, answers, end }
    };
    recordings::all().into_iter().map(read).collect()
});

/// The core with a host that answers at once, told of the time whenever it asks for it.
pub(crate) struct Run<'a> {
    of: &'a Recorded,
    pub(crate) core: Diagnosis,
    pub(crate) now: Time,
    pub(crate) reports: Vec<String>,
}

impl<'a> Run<'a> {
    /// A core as it was for a recording, which knows nothing yet.
    pub(crate) fn new(of: &'a Recorded) -> Run<'a> {
        let recorded = of.header.settings;
        let settings =
            Settings { all: recorded.all, slow: recorded.slow(), dns: recorded.dns, inbound: recorded.inbound };
        Run::with(of, settings)
    }

    /// The same with other settings.
    pub(crate) fn with(of: &'a Recorded, settings: Settings) -> Run<'a> {
        let core = Diagnosis::new(of.header.coverage.clone(), settings);
        Run { of, core, now: Time(of.header.start.boot_ns), reports: Vec::new() }
    }

    pub(crate) fn feed(&mut self, input: Stamped) {
        self.now = self.now.max(input.t);
        let mut pending = vec![input];
        while let Some(input) = pending.pop() {
            let step = self.core.apply(input);
            self.reports.extend(step.reports.iter().map(|report| json::report(report, &self.of.header.start)));
            pending.extend(step.wants.into_iter().map(|want| {
                let known = self.of.answers.get(&want).cloned();
                let answer = known.unwrap_or_else(|| Answer::Unavailable("it was not asked".into()));
                Stamped { t: self.now, input: Input::Fact(Fact { want, answer }) }
            }));
        }
    }

    /// Time passes until then.
    pub(crate) fn until(&mut self, then: Time) {
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= then) {
            self.feed(Stamped { t: self.now.max(deadline), input: Input::Tick });
        }
    }
}
