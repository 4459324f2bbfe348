//! `cargo xtask vm`: the live scenarios on Debian's kernels, each booted in QEMU. Owns: which kernels, and the order of
//! the work. Must not know: any scenario.
//!
//! Everything comes from this machine and the Debian archive that its apt is configured with: nothing is installed, and
//! what is made or downloaded stays in `target/vm`. A guest has no network: its scenarios make their own.

mod archive;
mod guest;
mod machine;
mod modules;
mod results;

use crate::command;
use crate::run;
use crate::test::LIVE;
use crate::workspace::Workspace;
use anyhow::{Context, Result, anyhow, bail};
use archive::{Archive, Kernel};
use guest::Guest;
use results::{Matrix, Report};
use std::fs;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

/// Kernels by the beginning of their version, and the Debian suite that has them.
const KERNELS: [(&str, &str); 5] = [
    ("5.10", "bullseye"),
    ("6.1", "bookworm"),
    ("6.12", "trixie"),
    ("6.18", "trixie-backports"),
    ("7.3", "trixie-backports"),
];

/// What to run, and where.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these kernels, separated by commas: 5.10, 6.1, 6.12, 6.18, 7.3
    #[arg(long = "kernel", value_delimiter = ',', value_parser = KERNELS.map(|(version, _)| version))]
    kernels: Vec<String>,
    /// Write the results to docs/kernels.md; kernels and scenarios left out stand there as they were the last time
    #[arg(long)]
    write: bool,
    /// Guests at a time; each takes one processor and 3 GiB
    #[arg(long, default_value = "1")]
    jobs: NonZero<usize>,
    /// Only scenarios whose name contains one of these
    filters: Vec<String>,
}

/// Runs the scenarios on each kernel and shows what came of them.
pub(crate) fn vm(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    need_tools()?;
    let folder = workspace.target().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let programs = build(workspace)?;
    let guest = Guest::make(&programs, &[workspace.root().join("tests/recordings")])?;
    let archive = Archive::find(&folder)?;
    let sources = sources(workspace);
    let is_wanted = |version: &str| arguments.kernels.is_empty() || arguments.kernels.iter().any(|v| v == version);
    let wanted = KERNELS.iter().filter(|(version, _)| is_wanted(version));
    let kernels = wanted.map(|(version, suite)| archive.kernel(suite, version)).collect::<Result<Vec<_>>>()?;
    let page = if arguments.write { Some(Page::open(workspace, arguments.filters.is_empty())?) } else { None };
    guest.prepare(&folder, &arguments.filters)?;
    let queue = Mutex::new(kernels.iter());
    let work = || {
        let mut done = Vec::new();
        while let Some(kernel) = queue.lock().ok().and_then(|mut queue| queue.next()) {
            done.push((&kernel.release, run_one(kernel, &folder, &sources, page.as_ref())));
        }
        done
    };
    let done: Vec<(_, Result<Report>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs.get()).map(|_| scope.spawn(work)).collect();
        let join = |worker: ScopedJoinHandle<'_, _>| worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        workers.into_iter().flat_map(join).collect()
    });
    let mut matrix = Matrix::default();
    let mut broken = Vec::new();
    for (release, report) in done {
        match report {
            Ok(report) => matrix.add(release, &sources, report),
            Err(error) => broken.push(format!("Linux {release}: {error:#}")),
        }
    }
    print!("{}", matrix.table());
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    matrix.verdict()
}

/// docs/kernels.md, written after each kernel: what was not run again stays.
struct Page {
    path: PathBuf,
    matrix: Mutex<Matrix>,
    /// Every scenario was run: nothing older of the kernel stays.
    whole: bool,
}

impl Page {
    fn open(workspace: &Workspace, whole: bool) -> Result<Page> {
        let path = workspace.root().join("docs/kernels.md");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let matrix = Matrix::read(&text).with_context(|| format!("{} is not as xtask writes it", path.display()))?;
        Ok(Page { path, matrix: Mutex::new(matrix), whole })
    }

    fn keep(&self, release: &str, sources: &str, report: Report) -> Result<()> {
        let mut matrix = self.matrix.lock().map_err(|_| anyhow!("another kernel's results could not be kept"))?;
        if self.whole {
            matrix.replace(release, sources, report);
        } else {
            matrix.add(release, sources, report);
        }
        fs::write(&self.path, matrix.page()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Runs the scenarios on one kernel.
fn run_one(kernel: &Kernel, folder: &Path, sources: &str, page: Option<&Page>) -> Result<Report> {
    let began = Instant::now();
    eprintln!("Linux {}: begins", kernel.release);
    let report = Report::read(&machine::run(kernel, folder)?)?;
    let failures = report.failures();
    let time = began.elapsed().as_secs_f64();
    eprintln!("{failures}Linux {}: {} in {time:.0} s", kernel.release, report.counts());
    if let Some(page) = page {
        page.keep(&kernel.release, sources, report.clone())?;
    }
    Ok(report)
}

/// The sources that are built, by their commit. The page of results is none of them.
fn sources(workspace: &Workspace) -> String {
    let git = |arguments: &[&str]| command::output(Command::new("git").args(arguments).current_dir(workspace.root()));
    let changed = ["status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs/kernels.md"];
    match (git(&["rev-parse", "--short", "HEAD"]), git(&changed)) {
        (Ok(commit), Ok(changes)) if changes.is_empty() => commit,
        (Ok(commit), Ok(_)) => format!("{commit} with changes"),
        _ => "sources without a commit".to_owned(),
    }
}

/// Programs that the work itself needs, and the Debian packages they are in.
const TOOLS: [(&str, &str); 8] = [
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("ldd", "libc-bin"),
    ("musl-gcc", "musl-tools"),
    ("timeout", "coreutils"),
];

fn need_tools() -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the guests are x86-64 machines and run this machine's programs: this works on x86-64 only");
    }
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(program, _)| guest::system_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("these packages are missing: {0}\n       apt-get install {0}", missing.join(" "))
}

/// netdx, the scenarios and the client programs, with optimizations: the guests' processor is interpreted.
fn build(workspace: &Workspace) -> Result<Vec<(PathBuf, String)>> {
    run::build(workspace, true)?;
    command::run(&mut workspace.cargo(["build", "--quiet", "--release", "--package", "netdx-tests", "--bins"]))?;
    let mut programs = vec![
        (workspace.netdx(true), "/netdx/netdx".to_owned()),
        (workspace.target().join("release/netdx-client"), "/netdx/netdx-client".to_owned()),
    ];
    for program in crate::test::musl_clients(workspace, true)? {
        let name = program.file_name().context("a program without a name")?.to_string_lossy().into_owned();
        programs.push((program, format!("/netdx/{name}")));
    }
    for test in LIVE {
        let program = crate::test::program(workspace, test, true)?;
        programs.push((program, format!("{}/{test}", guest::SCENARIOS)));
    }
    Ok(programs)
}
