//! The command line. Owns: the verbs' list, what all verbs share (format, colour, width), how an error is shown.
//! Must not know: what a verb does; each verb is one module with `Args` and `run`.

mod addrs;
mod check;
mod complete;
mod conns;
mod dns;
mod doctor;
mod explain;
mod filters;
mod hold;
mod listeners;
mod page;
mod record;
mod replay;
mod routes;
mod trace;

use crate::{
    exit::Exit,
    pipeline::{command::HOLD, reporter::Sheet},
    render::{escape::escape, text::Layout},
};
use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use page::Page;
use std::{
    io::{self, Write as _},
    time::Duration,
};

/// What a person sees who types `netdx` alone.
const SHORT_HELP: &str = "\
netdx says why a connection failed, with proof from the kernel.

  sudo netdx trace                      every connection and lookup that fails, as it happens
  sudo netdx trace -- curl db.internal  only what this command does
  netdx explain refused.bound-elsewhere what a verdict means and what to do

All verbs: netdx --help. What this machine allows: netdx doctor.
";

/// Says why a connection failed, with proof from the kernel.
#[derive(Debug, Parser)]
#[command(name = "netdx", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    /// When to colour: by the terminal and NO_COLOR, always, or never.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Common options")]
    color: Color,
    /// Say on stderr what netdx itself does; twice: every step.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Common options")]
    verbose: u8,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Trace(Box<trace::Args>),
    Record(Box<record::Args>),
    Replay(Box<replay::Args>),
    Explain(explain::Args),
    Addrs(addrs::Args),
    Check(check::Args),
    Conns(conns::Args),
    Dns(dns::Args),
    #[command(name = HOLD, hide = true)]
    Hold(hold::Args),
    Listeners(listeners::Args),
    Routes(routes::Args),
    Doctor(doctor::Args),
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// How a verb's answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: colour by terminal, wrapped to its width.
    #[default]
    Text,
    /// For programs: JSON, one object a line.
    Json,
}

/// Runs netdx as the command line says.
#[must_use]
pub fn main() -> Exit {
    complete::answer();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" that succeed. A closed pipe is not worth a word.
            _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    match cli.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    crate::logging::start(cli.verbose);
    let result = match cli.verb {
        None => anstream::stdout().write_all(SHORT_HELP.as_bytes()).map(|()| Exit::Done).map_err(Into::into),
        Some(Verb::Trace(args)) => trace::run(*args),
        Some(Verb::Record(args)) => record::run(*args),
        Some(Verb::Addrs(args)) => addrs::run(&args),
        Some(Verb::Check(args)) => check::run(&args),
        Some(Verb::Replay(args)) => replay::run(&args),
        Some(Verb::Explain(args)) => explain::run(&args),
        Some(Verb::Conns(args)) => conns::run(&args),
        Some(Verb::Dns(args)) => dns::run(&args),
        Some(Verb::Hold(args)) => hold::run(&args),
        Some(Verb::Listeners(args)) => listeners::run(&args),
        Some(Verb::Routes(args)) => routes::run(&args),
        Some(Verb::Doctor(args)) => doctor::run(&args),
    };
    result.unwrap_or_else(|error: anyhow::Error| fail(&error))
}

/// The whole command line, for completions and man pages.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// What was typed makes no sense, as far as only the verb itself can tell.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Usage {
    /// The error as that of what was typed.
    fn from(error: impl Into<anyhow::Error>) -> Usage {
        Usage(chain(&error.into()))
    }
}

/// An error with its causes, without those that its own words have at their end already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

/// Says what failed, with its causes; a reader that went away is no failure.
fn fail(error: &anyhow::Error) -> Exit {
    let closed = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    if error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(closed)) {
        return Exit::Done;
    }
    // What was typed, or what another host sent, may be part of it.
    let text = chain(error);
    let lines: Vec<_> = text.lines().map(escape).collect();
    say(&format!("netdx: {}\n", lines.join("\n")));
    if error.is::<Usage>() { Exit::Usage } else { Exit::Failed }
}

/// Says something on stderr. Nobody is left to tell when that is closed.
fn say(text: &str) {
    _ = io::stderr().write_all(text.as_bytes());
}

/// How text is laid out on stdout.
fn stdout_layout() -> Layout {
    Layout { width: width(), zone: TimeZone::system(), color: is_colored(&io::stdout()) }
}

/// How reports are laid out on stdout.
fn stdout_sheet() -> Sheet {
    Sheet { layout: stdout_layout(), columns: width }
}

/// How notices are laid out on stderr.
fn stderr_sheet() -> Sheet {
    let columns = || width_of(io::stderr());
    Sheet { layout: Layout { width: columns(), zone: TimeZone::system(), color: is_colored(&io::stderr()) }, columns }
}

/// How reports are laid out in a file.
fn file_sheet() -> Sheet {
    let layout = Layout { width: DEFAULT_WIDTH, zone: TimeZone::system(), color: false };
    Sheet { layout, columns: || DEFAULT_WIDTH }
}

/// By `--color` (set before), NO_COLOR and its kin, and whether it is a terminal.
fn is_colored(stream: &impl anstream::stream::RawStream) -> bool {
    anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never
}

/// Columns where there is no terminal.
const DEFAULT_WIDTH: usize = 80;

/// Columns of the terminal that stdout is; 80 where it is none.
#[must_use]
pub fn width() -> usize {
    width_of(io::stdout())
}

fn width_of(stream: impl io::IsTerminal + std::os::fd::AsFd) -> usize {
    if !stream.is_terminal() {
        return DEFAULT_WIDTH;
    }
    rustix::termios::tcgetwinsize(stream).map_or(DEFAULT_WIDTH, |size| usize::from(size.ws_col)).max(40)
}

/// A length of time in seconds, as typed: more than nothing, an hour at most.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.trim_end_matches('s').parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 3600.0 => Ok(Duration::from_secs_f64(number)),
        _ => Err("it is a number of seconds between 0 and 3600, such as 2 or 0.5".into()),
    }
}

/// What the verbs that send and wait run on.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the event loop")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_has_help() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("write a report");
        assert_eq!(fail(&error), Exit::Done);
        assert_eq!(fail(&anyhow::anyhow!("anything else")), Exit::Failed);
        assert_eq!(fail(&Usage("no such user".into()).into()), Exit::Usage);
    }

    #[test]
    fn a_recording_goes_to_a_file() {
        let cli = Cli::try_parse_from(["netdx", "record", "--output", "-"]).expect("well formed");
        let Some(Verb::Record(args)) = cli.verb else { panic!("it is record") };
        assert!(record::run(*args).expect_err("stdout is for the reports").is::<Usage>());
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::Error::new(io::Error::other("Is a directory")).context("read /tmp: Is a directory");
        assert_eq!(chain(&error.context("replay")), "replay: read /tmp: Is a directory");
    }
}
