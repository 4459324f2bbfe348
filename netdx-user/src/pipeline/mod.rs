//! The one loop of live and replay: inputs into the core, its questions to the host, its reports out.
//!
//! Owns: the order of things (recorded first, then judged, then shown), the deadlines, how a run ends.
//! Must not know: what an input means, how a report looks.

mod answers;
pub mod asked;
pub mod command;
pub mod recorder;
pub mod reporter;
pub mod session;
mod watch;

pub use asked::Asked;
pub use command::Command;
pub use recorder::Recorder;
pub use reporter::Reporter;
pub use session::Session;
pub use watch::{Until, watch};

use crate::{
    input::{Input, Stamped},
    recording::Reader,
    time::Time,
};
use std::io;

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A report could not be written.
    #[error("write the report to {to}")]
    Write {
        /// Where.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// Signals can't be watched, a thread can't be started.
    #[error("{operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The traced command.
    #[error(transparent)]
    Command(#[from] command::Error),
}

/// Runs a recording through the core.
///
/// # Errors
/// A report could not be written.
pub fn replay(recording: &mut Reader<'_>, session: &mut Session) -> Result<(), Error> {
    session.start(false)?;
    let mut last = Time(recording.header().start.boot_ns);
    let mut ended = false;
    for stamped in recording.by_ref() {
        ended |= stamped.input == Input::End;
        last = last.max(stamped.t);
        // The answers that the run got are in the file.
        session.input(stamped)?;
        if session.is_full() {
            break;
        }
    }
    if !session.is_full() {
        if !ended {
            session.input(Stamped { t: last, input: Input::End })?;
        }
        // What the run that was recorded did not wait for.
        while let Some(deadline) = session.deadline().filter(|deadline| *deadline > last && !session.is_idle()) {
            last = deadline;
            session.after_the_end(last)?;
        }
        recording.damage().sentences().into_iter().for_each(|sentence| session.note(sentence));
    }
    session.finish()
}
