//! `netdx hold -- CMD`, which netdx runs by itself: stops, and when continued becomes the command.
//! Owns: what happens between fork and exec of a traced command. Must not know: who continues it (`pipeline/command`).

use crate::exit::Exit;
use anyhow::Context as _;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};
use std::{ffi::OsString, num::NonZero, os::unix::process::CommandExt as _, process::Command};

/// As shells have it: the command was not found, or could not be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// The command.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Process id of the netdx that will continue it.
    #[arg(long)]
    parent: i32,
    /// The command and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Stops this process until somebody continues it, then runs the command in its place.
///
/// # Errors
/// It could not be stopped.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    // Should netdx die meanwhile, nobody would ever continue this process.
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to end with netdx")?;
    // It may have died before this was asked for.
    if getppid().map(Pid::as_raw_nonzero).map(NonZero::get) != Some(args.parent) {
        return Ok(Exit::Failed);
    }
    kill_process(getpid(), Signal::STOP).context("stop until the probes are attached")?;
    set_parent_process_death_signal(None).context("live on without netdx")?;
    let [program, arguments @ ..] = args.command.as_slice() else { return Ok(Exit::Usage) };
    // Only returns when it fails.
    let error = Command::new(program).args(arguments).exec();
    let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN };
    super::say(&format!("netdx: run {}: {error}\n", program.to_string_lossy().escape_debug()));
    Ok(Exit::Command(code))
}
