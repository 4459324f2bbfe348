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
use anyhow::{Context, Result, bail};
use archive::{Archive, Kernel};
use guest::Guest;
use results::{Matrix, Report};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
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
    /// Write the results to docs/kernels.md (every scenario; kernels left out stand there as they were the last time)
    #[arg(long, conflicts_with = "filters")]
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
    let guest = Guest::make(&programs)?;
    let archive = Archive::find(&folder)?;
    let sources = sources(workspace);
    let is_wanted = |version: &str| arguments.kernels.is_empty() || arguments.kernels.iter().any(|v| v == version);
    let wanted = KERNELS.iter().filter(|(version, _)| is_wanted(version));
    let kernels = wanted.map(|(version, suite)| archive.kernel(suite, version)).collect::<Result<Vec<_>>>()?;
    guest.prepare(&folder, &arguments.filters)?;
    let queue = Mutex::new(kernels.iter());
    let work = || {
        let mut done = Vec::new();
        while let Some(kernel) = queue.lock().ok().and_then(|mut queue| queue.next()) {
            done.push((&kernel.release, run_one(kernel, &folder, &sources, arguments.filters.is_empty())));
        }
        done
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs.get()).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let mut done: BTreeMap<_, _> = done.into_iter().collect();
    let mut matrix = Matrix::default();
    let mut broken = Vec::new();
    for (version, _) in KERNELS {
        match kernels.iter().find(|kernel| archive::is_version(&kernel.release, version)) {
            Some(kernel) => match done.remove(&kernel.release) {
                Some(Ok(report)) => matrix.add(&kernel.release, &sources, report),
                Some(Err(error)) => broken.push(format!("Linux {}: {error:#}", kernel.release)),
                None => broken.push(format!("Linux {} was not run", kernel.release)),
            },
            // The page has every kernel: this one as it was the last time.
            None if arguments.write => {
                if let Some(kept) = Kept::newest(&folder, version)? {
                    matrix.add(&kept.release, &kept.sources, Report::read(&kept.output)?);
                }
            }
            None => {}
        }
    }
    print!("{}", matrix.table());
    if arguments.write {
        let page = workspace.root().join("docs/kernels.md");
        fs::write(&page, matrix.page()).with_context(|| format!("cannot write {}", page.display()))?;
        eprintln!("written: {}", page.display());
    }
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    matrix.verdict()
}

/// Runs the scenarios on one kernel. `whole`: all of them, which is kept for the page.
fn run_one(kernel: &Kernel, folder: &Path, sources: &str, whole: bool) -> Result<Report> {
    let began = Instant::now();
    eprintln!("Linux {}: begins", kernel.release);
    let output = machine::run(kernel, folder)?;
    let report = Report::read(&output)?;
    let failures = report.failures();
    let time = began.elapsed().as_secs_f64();
    eprintln!("{failures}Linux {}: {} in {time:.0} s", kernel.release, report.counts());
    if whole {
        Kept::write(&kernel.folder, sources, &output)?;
    }
    Ok(report)
}

/// The sources that are built, by their commit.
fn sources(workspace: &Workspace) -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--exclude=*"]).current_dir(workspace.root());
    command::output(&mut git).unwrap_or_else(|_| "sources without a commit".to_owned())
}

/// What every scenario said on a kernel, kept for the page.
struct Kept {
    release: String,
    sources: String,
    output: String,
}

impl Kept {
    /// The name of its file, in the folder of the kernel.
    const NAME: &str = "results";

    fn write(kernel: &Path, sources: &str, output: &str) -> Result<()> {
        let path = kernel.join(Self::NAME);
        fs::write(&path, format!("{sources}\n{output}")).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The one that was written last for a kernel whose version begins so.
    fn newest(folder: &Path, version: &str) -> Result<Option<Kept>> {
        let kernels = folder.join("kernels");
        let mut found = Vec::new();
        for entry in fs::read_dir(&kernels).into_iter().flatten().flatten() {
            let release = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path().join(Self::NAME);
            let is_wanted = archive::is_version(&release, version);
            if let (true, Ok(time)) = (is_wanted, path.metadata().and_then(|metadata| metadata.modified())) {
                found.push((time, release, path));
            }
        }
        let Some((_, release, path)) = found.into_iter().max() else { return Ok(None) };
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (sources, output) = text.split_once('\n').with_context(|| format!("{} is empty", path.display()))?;
        Ok(Some(Kept { release, sources: sources.to_owned(), output: output.to_owned() }))
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
