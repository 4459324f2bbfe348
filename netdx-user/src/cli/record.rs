//! `netdx record`: what `trace` does, and a recording of it. Owns: its flags. Must not know: the recording's shape.

use super::{Usage, filters, trace};
use crate::{
    exit::Exit,
    pipeline::{Reporter, recorder::Target, reporter::Style},
};
use std::{io, path::PathBuf, time::Duration};

/// Flags of `record`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Do what trace does and write a recording (needs root)",
    long_about = "Does what trace does, and writes everything that was seen to a file, from which netdx replay gives the \
                  same reports again, anywhere, without root.\n\nThe file can be read by its owner only. It holds \
                  addresses, names and command lines: --redact makes pseudonyms of them.\n\nWith --window, netdx keeps the \
                  last so many seconds in memory and writes them out when something fails, with what happens until the \
                  same time has passed without another failure. Each such file has its number before its extensions: \
                  FILE, then db.2.netdx.jsonl."
)]
pub(super) struct Args {
    /// The recording (NAME.netdx.jsonl); compressed when the name ends in .zst.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace FILE if it is there.
    #[arg(long)]
    force: bool,
    /// Keep so much in memory (60s, 5m), and write it only when something fails.
    #[arg(long, value_name = "DURATION", value_parser = filters::duration, allow_hyphen_values = true)]
    window: Option<Duration>,
    /// Write pseudonyms for addresses, names, users and command lines: the same all through one recording. The reports
    /// shown meanwhile are plain.
    #[arg(long)]
    redact: bool,
    /// Show no reports.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    live: trace::LiveArgs,
}

/// Records.
///
/// # Errors
/// Nothing can be traced, or the file can't be made.
pub(super) fn run(args: Args) -> anyhow::Result<Exit> {
    if args.output.as_os_str() == "-" {
        return Err(Usage("the reports go to stdout, the recording to a file: --output NAME.netdx.jsonl".into()).into());
    }
    let style = if args.quiet { Style::Silent } else { filters::style(args.live.format(), true) };
    let reporter = Reporter::new(Box::new(io::stdout()), "stdout".into(), style, super::stderr_sheet());
    args.live
        .run(reporter, Some(Target { path: args.output, force: args.force, window: args.window, redact: args.redact }))
}
