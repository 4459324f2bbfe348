//! `netdx replay`: the reports of a recording, offline. Owns: its flags, and opening the file. Must not know: its shape.

use super::{Usage, complete, filters};
use crate::{
    exit::Exit,
    filter::Code,
    pipeline::{self, Reporter, Session, reporter::Style, session::Plan},
    recording::Reader,
};
use anyhow::Context as _;
use clap_complete::ArgValueCandidates;
use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::PathBuf,
};

/// How the reports of a recording are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people: colour by terminal, wrapped to its width.
    Text,
    /// For programs: JSON, one object a line.
    Json,
    /// For people elsewhere: one page that needs nothing else.
    Html,
    /// For packet tools: the packets that the kernel told of, headers only, with what happened to each as its comment.
    /// Filters don't apply.
    Pcapng,
}

/// Flags of `replay`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Report from a recording, offline",
    long_about = "Gives the reports of a recording again: the same ones, on any Linux, as any user, without looking at this \
                  machine. What is wrong with the file is said, and what is there is used."
)]
pub(super) struct Args {
    /// The recording; - reads it from stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How reports are written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// End after so many reports.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), allow_negative_numbers = true)]
    count: Option<u64>,
    /// Exit with status 3 when such a verdict was shown: a code, a family of codes, or any.
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = filters::fail_on, add = ArgValueCandidates::new(complete::codes))]
    fail_on: Vec<Code>,
    #[command(flatten)]
    filters: filters::Filters,
}

/// Replays.
///
/// # Errors
/// The file can't be read at all, or the reports can't be written.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.format == Format::Pcapng && io::stdout().is_terminal() {
        return Err(Usage("a capture is no text for a terminal: add > NAME.pcapng".into()).into());
    }
    let plan =
        Plan { filter: args.filters.resolve()?, fail_on: args.fail_on.clone(), count: args.count, ..Plan::default() };
    let open = || format!("open {}", args.file.display());
    let source: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&args.file).with_context(open)?)
    };
    let mut recording = Reader::new(source).with_context(|| format!("replay {}", args.file.display()))?;
    let style = match args.format {
        Format::Text => Style::Text(super::stdout_sheet()),
        Format::Json => Style::Json,
        Format::Html => Style::Html(Vec::new()),
        Format::Pcapng => Style::Pcapng,
    };
    let reporter = Reporter::new(Box::new(io::stdout()), "stdout".into(), style, super::stderr_sheet());
    let mut session = Session::new(recording.header().clone(), plan, reporter, None);
    pipeline::replay(&mut recording, &mut session)?;
    Ok(if session.failed_on() { Exit::Verdict } else { Exit::Done })
}
