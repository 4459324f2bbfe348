//! One run of the core, live or replayed. Owns: the order recorded, judged, filtered, shown, counted.
//! Must not know: where inputs come from.

use super::{Asked, Error, Recorder, Reporter, recorder};
use crate::{
    diagnosis::{self, Diagnosis},
    filter::{Code, Filter},
    input::{Input, Stamped},
    recording::Header,
    render::Summary,
    report::Report,
    time::Time,
    want::Want,
};

/// What to do with the reports of a run.
#[derive(Debug, Default)]
pub struct Plan {
    /// Which reports are shown.
    pub filter: Filter,
    /// Which processes the kernel was to leave in.
    pub asked: Asked,
    /// Verdicts that make the run fail.
    pub fail_on: Vec<Code>,
    /// End after so many reports.
    pub count: Option<u64>,
}

/// A run.
pub struct Session {
    header: Header,
    core: Diagnosis,
    plan: Plan,
    reporter: Reporter,
    recorder: Option<Recorder>,
    recording_failed: bool,
    summary: Summary,
    seen: bool,
}

impl Session {
    /// A run that has not begun.
    #[must_use]
    pub fn new(header: Header, plan: Plan, reporter: Reporter, recorder: Option<Recorder>) -> Session {
        let recorded = header.settings;
        let settings = diagnosis::Settings {
            all: recorded.all,
            slow: recorded.slow(),
            dns: recorded.dns,
            inbound: recorded.inbound,
        };
        Session {
            core: Diagnosis::new(header.coverage.clone(), settings),
            header,
            plan,
            reporter,
            recorder,
            recording_failed: false,
            summary: Summary::default(),
            seen: false,
        }
    }

    /// Says that the run begins.
    pub(super) fn start(&mut self, live: bool) -> Result<(), Error> {
        self.reporter.start(&self.header, live)
    }

    /// Takes an input: into the recording first, then to the core. Gives the core's questions.
    pub(super) fn input(&mut self, stamped: Stamped) -> Result<Vec<Want>, Error> {
        self.summary.input(stamped.t, &stamped.input);
        if let Some(recorder) = &mut self.recorder {
            let result = recorder.input(&stamped);
            self.recorded(result);
        }
        self.reporter.input(&stamped, &self.header)?;
        let now = stamped.t;
        let step = self.core.apply(stamped);
        self.summary.given_up += step.given_up;
        for report in &step.reports {
            if self.is_full() {
                break;
            }
            self.report(report, now)?;
        }
        Ok(step.wants)
    }

    /// Time passes for what still waits when a recording is over: the run that was recorded is no longer by it.
    pub(super) fn after_the_end(&mut self, then: Time) -> Result<(), Error> {
        let ended = self.summary.ended;
        self.input(Stamped { t: then, input: Input::Tick })?;
        self.summary.ended = ended;
        Ok(())
    }

    fn report(&mut self, report: &Report, now: Time) -> Result<(), Error> {
        if !self.plan.filter.wants(report) || !self.plan.asked.holds(report.process.as_ref()) {
            self.summary.filtered += 1;
            return Ok(());
        }
        self.summary.report(report);
        self.seen |= self.plan.fail_on.iter().any(|code| code.holds(report));
        if Code::Any.holds(report)
            && let Some(recorder) = &mut self.recorder
        {
            let result = recorder.failure(now);
            self.recorded(result);
        }
        self.reporter.report(report, &self.header)
    }

    /// A recording that can't be written ends; the run goes on. It is said at once, and again at the end.
    fn recorded(&mut self, result: Result<(), recorder::Error>) {
        let Err(error) = result else { return };
        self.recorder = None;
        self.recording_failed = true;
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let sentence = format!("{error}{cause}; the recording ends here, {} after the start", self.elapsed());
        self.reporter.notice(&format!("netdx: {sentence}\n"));
        self.summary.notes.push(sentence);
    }

    fn elapsed(&self) -> String {
        let ended = self.summary.ended.unwrap_or_default();
        crate::quantity::duration(ended.0.saturating_sub(self.header.start.boot_ns))
    }

    /// Hands everything to the system that was written so far.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        if let Some(recorder) = &mut self.recorder {
            let result = recorder.flush();
            self.recorded(result);
        }
        self.reporter.flush()
    }

    /// When the core must hear of the time again.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.core.deadline()
    }

    /// Nothing is open: after the end of the inputs the run may end.
    pub(super) fn is_idle(&self) -> bool {
        self.core.idle()
    }

    /// How many stories wait for answers.
    pub(super) fn waiting(&self) -> usize {
        self.core.waiting()
    }

    /// As many reports were shown as were asked for.
    pub(super) fn is_full(&self) -> bool {
        self.plan.count.is_some_and(|count| self.summary.reports >= count)
    }

    /// Something that a reader must know at the end.
    pub(super) fn note(&mut self, sentence: String) {
        self.summary.notes.push(sentence);
    }

    /// Takes how far UTC is from the clock of events now. Times of a run go by what it was at the start: a step of the wall
    /// clock (by hand, or by a time service) changes none, so that they stay in order and a replay shows the same.
    pub(super) fn clock(&mut self, utc_offset: i128) {
        let start = self.header.start;
        let step = utc_offset - (start.utc.as_nanosecond() - i128::from(start.boot_ns));
        self.summary.notes.extend(stepped(step));
    }

    /// Ends the recording and says what it came to.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if let Some(recorder) = self.recorder.take() {
            match recorder.finish() {
                Ok(notes) => self.summary.notes.extend(notes),
                Err(error) => self.recorded(Err(error)),
            }
        }
        self.reporter.finish(&self.summary, &self.header)
    }

    /// A verdict was seen that makes the run fail.
    #[must_use]
    pub fn failed_on(&self) -> bool {
        self.seen
    }

    /// The recording was not written to its end.
    #[must_use]
    pub fn recording_failed(&self) -> bool {
        self.recording_failed
    }
}

/// Less is the time between two readings of clocks, on a busy machine.
const LEAST_STEP: u64 = 100_000_000;

/// What a step of the wall clock by so many nanoseconds means for a reader.
fn stepped(step: i128) -> Option<String> {
    let size = u64::try_from(step.unsigned_abs()).unwrap_or(u64::MAX);
    let way = if step < 0 { "back" } else { "forward" };
    (size >= LEAST_STEP).then(|| {
        let size = crate::quantity::duration(size);
        format!("the system's clock was set {way} by {size} during the run: times are those of the clock before")
    })
}

#[cfg(test)]
mod tests {
    use super::stepped;

    #[test]
    fn a_step_of_the_wall_clock_is_told() {
        assert_eq!(stepped(0), None);
        assert_eq!(stepped(-2_000_000), None, "two readings apart");
        let said = stepped(7_200_000_000_000).expect("two hours");
        assert!(said.starts_with("the system's clock was set forward by 2 h"), "{said}");
        let said = stepped(-1_500_000_000).expect("a second and a half");
        assert!(said.starts_with("the system's clock was set back by 1.5 s"), "{said}");
    }
}
