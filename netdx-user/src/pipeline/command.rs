//! The traced command: held until every probe is attached, then run as if netdx weren't there.
//!
//! Owns: the child process. Must not know: probes.
//!
//! netdx starts itself once more (`netdx hold --parent PID -- CMD`, see `cli/hold`), which stops itself and, when continued, becomes
//! the command: same process id, own stdin, stdout and stderr. So nothing of the command runs untraced, and no code runs
//! between fork and exec.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::{ffi::OsString, io, process::ExitStatus};
use tokio::{process::Child, signal::unix::SignalKind};

/// Name of the verb that holds a command.
pub const HOLD: &str = "hold";
/// The running program, even if its file was replaced meanwhile (proc(5)).
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Why the command did not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No process could be made.
    #[error("start a process for {command}")]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It could not be waited for or continued.
    #[error("{operation} the traced command")]
    Control {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It ended before it was let go.
    #[error("the process made for {command} ended before the command could run")]
    Gone {
        /// The command.
        command: String,
    },
    /// The probes can't be told of it.
    #[error("follow the traced command")]
    Follow {
        /// Why not.
        source: crate::live::Error,
    },
}

/// A command that is held, runs, or has ended.
#[derive(Debug)]
pub struct Command {
    child: Child,
    pid: u32,
}

impl Command {
    /// Makes the process and waits until it has stopped itself. Needs the runtime.
    ///
    /// # Errors
    /// No process could be made. That there is no such program shows later, by its status 127.
    pub fn hold(command: &[OsString]) -> Result<Command, Error> {
        let name = || command.first().map(|c| c.to_string_lossy().into_owned()).unwrap_or_default();
        let start = |source| Error::Start { command: name(), source };
        let parent = std::process::id().to_string();
        let mut hold = tokio::process::Command::new(OWN_PROGRAM);
        let child = hold.args([HOLD, "--parent", &parent, "--"]).args(command).spawn().map_err(start)?;
        let gone = || Error::Gone { command: name() };
        let pid = child.id().ok_or_else(gone)?;
        let control = |source: rustix::io::Errno| Error::Control { operation: "wait for", source: source.into() };
        let id = WaitId::Pid(as_pid(pid).ok_or_else(gone)?);
        // Looking only (NOWAIT): the runtime still has to get its status.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        match waitid(id, options).map_err(control)? {
            Some(state) if state.stopped() => Ok(Command { child, pid }),
            _ => Err(gone()),
        }
    }

    /// Its process id, the one that the command has.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets the command run.
    pub(super) fn release(&self) -> Result<(), Error> {
        self.signal(Signal::CONT).map_err(|source| Error::Control { operation: "continue", source })
    }

    /// Its end.
    pub(super) async fn wait(&mut self) -> Result<ExitStatus, Error> {
        self.child.wait().await.map_err(|source| Error::Control { operation: "wait for", source })
    }

    /// Passes a signal on that only netdx got. Ctrl-C went to the whole foreground process group already.
    pub(super) fn pass_on(&self, signal: SignalKind) {
        let signal = match signal {
            signal if signal == SignalKind::terminate() => Signal::TERM,
            signal if signal == SignalKind::hangup() => Signal::HUP,
            _ => return,
        };
        // It may have ended just now.
        _ = self.signal(signal);
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        // The id is still its own: its status is fetched by `wait` only, after which nothing is sent.
        let pid = self.child.id().and_then(as_pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(kill_process(pid, signal)?)
    }
}

fn as_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}
