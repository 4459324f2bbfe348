//! How reports are shown. Owns: every word and mark on the screen that isn't in a report, and the [`Summary`].
//! Must not know: where the text goes (renderers return strings), clocks, terminals.

pub mod escape;
pub mod html;
pub(crate) mod ink;
pub mod json;
pub mod page;
pub mod pcapng;
pub mod text;
mod words;
mod wrap;

use crate::{
    input::Input,
    recording::Counts,
    report::{Outcome, Report},
    time::Time,
};
use std::collections::BTreeMap;

/// What a run came to: the last object of `--format json`, the last lines of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Reports shown.
    pub reports: u64,
    /// Of those: attempts and lookups that failed, broke or were given up.
    pub failures: u64,
    /// Reports shown, by code of their verdict.
    pub by_code: BTreeMap<&'static str, u64>,
    /// Reports that the filters kept back.
    pub filtered: u64,
    /// What came in.
    pub inputs: Counts,
    /// Stories that were given up untold, for too many were open at once.
    pub given_up: u64,
    /// The time of the last input; none: there was none.
    pub ended: Option<Time>,
    /// What else a reader must know: a recording that is damaged or could not be written to its end.
    pub notes: Vec<String>,
}

impl Summary {
    /// Counts an input.
    pub fn input(&mut self, t: Time, input: &Input) {
        self.inputs.add(input);
        self.ended = self.ended.max(Some(t));
    }

    /// What went unseen: records that the kernel could not hand over, and stories that were given up.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inputs.lost.saturating_add(self.given_up)
    }

    /// Counts a report that is shown.
    pub fn report(&mut self, report: &Report) {
        self.reports += 1;
        if !matches!(report.outcome, Outcome::Established | Outcome::Answered) {
            self.failures += 1;
        }
        if let Some(verdict) = &report.verdict {
            *self.by_code.entry(verdict.code).or_default() += 1;
        }
    }
}

#[cfg(test)]
pub(crate) mod samples;
