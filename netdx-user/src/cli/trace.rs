//! `netdx trace`: one report for each failure, as it happens. Owns: the flags of a live run, shared with `record`.
//! Must not know: probes, verdicts.

use super::{Format, complete, filters};
use crate::{
    exit::Exit,
    filter::{Code, Filter},
    live::{self, Live},
    pipeline::{self, Asked, Command, Recorder, Reporter, Session, recorder::Target, session::Plan},
    privilege,
    recording::{FORMAT, Header, Settings, Start},
};
use anyhow::Context as _;
use clap_complete::ArgValueCandidates;
use jiff::Timestamp;
use rustix::thread::CapabilitySet;
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// Smallest event buffer: a page would do for the kernel, but not for a burst.
const MIN_BUFFER: u32 = 64 << 10;

/// Flags of `trace`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Report every connection and lookup that fails, as it happens (needs root)",
    long_about = "Watches the running kernel and writes one report for each connection or name lookup that fails: what \
                  happened, why, the proof and what to do. Sends nothing and changes nothing.\n\nWith -- CMD, only that \
                  command and what it starts; ends when it ends, with its exit status. The command has its own stdin, \
                  stdout and stderr: use --output FILE to keep the reports apart from what it prints. Where --count or \
                  --duration end tracing before that, the command goes on, and netdx waits for it.",
    after_help = "A connection between two programs of this host is told once, from the side that opened it; --inbound asks \
                  for the listener's side.\n\nExit status: 0 done, 1 netdx failed, 2 wrong usage, 3 a verdict of --fail-on was seen; with -- CMD, its own."
)]
pub(super) struct Args {
    /// Write the reports to FILE instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    live: LiveArgs,
}

/// What `trace` and `record` share.
#[derive(Debug, clap::Args)]
pub(super) struct LiveArgs {
    /// Report what worked, too.
    #[arg(long)]
    all: bool,
    /// Report what worked but took longer than this (500ms, 2s), too.
    #[arg(long, value_name = "DURATION", value_parser = filters::duration, allow_hyphen_values = true)]
    slow: Option<Duration>,
    /// How reports are written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// End after so much time (30s, 5m).
    #[arg(long, value_name = "DURATION", value_parser = filters::duration, allow_hyphen_values = true)]
    duration: Option<Duration>,
    /// End after so many reports.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), allow_negative_numbers = true)]
    count: Option<u64>,
    /// Exit with status 3 when such a verdict was shown: a code, a family of codes, or any.
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = filters::fail_on, add = ArgValueCandidates::new(complete::codes))]
    fail_on: Vec<Code>,
    /// Don't attach to system calls: they cost about 75 ns on each call of the machine, and tell what the application
    /// got back.
    #[arg(long)]
    no_syscalls: bool,
    /// Size of the buffer for events, a power of two.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = buffer)]
    buffer: u32,
    /// BTF of exactly the running kernel, where it has none of its own.
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
    /// Trace only this command and what it starts.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
    // Last, because its heading would stand over what follows.
    #[command(flatten)]
    filters: filters::Filters,
}

/// Traces.
///
/// # Errors
/// Nothing can be traced, or the reports can't be written.
pub(super) fn run(args: Args) -> anyhow::Result<Exit> {
    let (out, to): (Box<dyn Write>, String) = match &args.output {
        None => (Box::new(io::stdout()), "stdout".into()),
        Some(path) => {
            let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
            (Box::new(file), path.display().to_string())
        }
    };
    let style = filters::style(args.live.format, args.output.is_none());
    args.live.run(Reporter::new(out, to, style, super::stderr_sheet()), None)
}

impl LiveArgs {
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Attaches the probes and watches until the end.
    pub(super) fn run(self, reporter: Reporter, target: Option<Target>) -> anyhow::Result<Exit> {
        let mut filter = self.filters.resolve()?;
        filters::here(&filter)?;
        let (kernel_filter, cgroups) = kernel_filter(&mut filter, !self.command.is_empty());
        enough_descriptors()?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        runtime.block_on(async {
            // A file that may not grow further (ulimit -f) is told as any other that can't be written. A handler is gone in
            // what the command runs, unlike a signal that is ignored.
            let _too_large = signal(SignalKind::from_raw(libc::SIGXFSZ)).context("watch for SIGXFSZ")?;
            // Held before anything is given up that the command may need.
            let command = if self.command.is_empty() { None } else { Some(Command::hold(&self.command)?) };
            let live = Live::start(&self.live_settings(kernel_filter))?;
            give_up_rights(command.is_some());
            let header = self.header(&live)?;
            let recorder = target.map(|target| Recorder::new(target, header.clone())).transpose()?;
            let asked = Asked { cgroups, tree: command.is_some().then(|| live.tree()) };
            let plan = Plan { fail_on: self.fail_on.clone(), count: self.count, filter, asked };
            let mut session = Session::new(header, plan, reporter, recorder);
            let until = pipeline::Until { command, duration: self.duration };
            let status = pipeline::watch(live, &mut session, until).await?;
            Ok(match status {
                _ if session.failed_on() => Exit::Verdict,
                Some(status) => Exit::of_command(status),
                None if session.recording_failed() => Exit::Failed,
                None => Exit::Done,
            })
        })
    }

    fn live_settings(&self, filter: live::KernelFilter) -> live::Settings {
        live::Settings {
            filter,
            all: self.all,
            slow: self.slow,
            inbound: self.filters.inbound(),
            syscalls: !self.no_syscalls,
            own: false,
            dns: self.filters.lookups(),
            buffer_bytes: self.buffer,
            btf: self.btf.clone(),
        }
    }

    /// The traced command, as it could be typed again after the filters.
    fn command_words(&self) -> Option<String> {
        let words: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
        (!words.is_empty()).then(|| format!("-- {}", words.join(" ")))
    }

    fn header(&self, live: &Live) -> anyhow::Result<Header> {
        let now = live::now();
        let utc = Timestamp::from_nanosecond(live::utc_offset() + i128::from(now.0)).context("read the clock")?;
        Ok(Header {
            format: FORMAT,
            netdx: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            start: Start { boot_ns: now.0, utc },
            coverage: live.coverage().clone(),
            filters: self.filters.words().into_iter().chain(self.command_words()).collect(),
            redacted: false,
            settings: Settings {
                all: self.all,
                slow_ns: self.slow.map(|slow| u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX)),
                dns: self.filters.lookups(),
                inbound: self.filters.inbound(),
            },
        })
    }
}

/// What the kernel can leave out of it, and the cgroups that it then filters by. The rest is left out of the reports.
fn kernel_filter(filter: &mut Filter, tree: bool) -> (live::KernelFilter, Vec<String>) {
    let (cgroups, paths) = filters::take_cgroups(filter);
    let ports = filter.ports.iter().flat_map(|ports| ports.0.clone());
    let kernel = live::KernelFilter {
        ports: ports.collect(),
        pids: filter.pids.clone(),
        uids: filter.uids.clone(),
        netns: filter.netns.clone(),
        cgroups,
        tree,
    };
    (kernel, paths)
}

/// Where there are hardly any, the runtime can't even be started, and it panics. With some more what is missing is told as
/// it is found out.
fn enough_descriptors() -> anyhow::Result<()> {
    const LEAST: usize = 12;
    let stdin = io::stdin();
    let taken: io::Result<Vec<OwnedFd>> = (0..LEAST).map(|_| stdin.as_fd().try_clone_to_owned()).collect();
    taken.map(drop).context(
        "too few files may be open at once; tracing takes about a hundred (ulimit -n; LimitNOFILE= in a systemd unit)",
    )
}

/// With the probes attached, fewer rights will do. Kept beside those that reading this host's state takes: signalling a
/// command that has become another user, making files where the user can, and what iptables-save wants.
fn give_up_rights(command: bool) {
    let mut also = CapabilitySet::DAC_OVERRIDE | CapabilitySet::NET_RAW;
    if command {
        also |= CapabilitySet::KILL;
    }
    if let Err(error) = privilege::reduce(also) {
        tracing::warn!("rights that are not needed any more could not be given up: {error}");
    }
}

fn buffer(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && bytes >= MIN_BUFFER => Ok(bytes),
        _ => Err(format!("a power of two, at least {MIN_BUFFER} bytes")),
    }
}
