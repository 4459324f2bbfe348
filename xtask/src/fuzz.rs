//! `cargo xtask fuzz`: what netdx reads from outside, fed with anything for a bounded time. Owns: building and running the
//! targets of `fuzz/`. Must not know: what a target does.
//!
//! Stable Rust is enough: coverage comes from LLVM's own pass, and libFuzzer from its sources (which takes a C++ compiler).

use crate::{command, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The targets, each a file of `fuzz/fuzz_targets`, and folders with seeds for it beside `fuzz/corpus/TARGET`.
const TARGETS: [(&str, &[&str]); 5] =
    [("ring", &[]), ("dns", &[]), ("recording", &["tests/recordings"]), ("rules", &[]), ("btf", &[])];

/// Longest input that is tried: longer ones only make it slow.
const MAX_LENGTH: u32 = 32 << 10;
/// An input that takes longer (s, by the clock on the wall, on a machine that may be busy with other things) is a finding.
const TIMEOUT: u32 = 60;
/// An input for which more memory (MiB) is used is a finding.
const MEMORY: u32 = 1024;

/// The flags that cargo-fuzz gives rustc: edges counted, comparisons told, the control flow that is never reached included.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// Builds the targets and runs one, or all of them, for so many seconds in all.
pub(crate) fn fuzz(workspace: &Workspace, target: Option<&str>, seconds: u64, seed: u32) -> Result<()> {
    let chosen: Vec<_> = TARGETS.iter().filter(|(name, _)| target.is_none_or(|target| target == *name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        bail!("there is no such target: {}", names.join(", "));
    }
    let built = build(workspace)?;
    let each = (seconds / chosen.len() as u64).max(1);
    let mut failed = Vec::new();
    for (name, seeds) in chosen {
        if let Err(error) = run(workspace, &built, name, seeds, each, seed) {
            eprintln!("{name}: {error:#}");
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        bail!("something was found by: {}", failed.join(", "));
    }
    Ok(())
}

/// What libFuzzer is built with; the error says what to install.
pub(crate) fn compiler() -> Result<()> {
    if ["c++", "g++", "clang++"].iter().all(|compiler| command::find(compiler).is_none()) {
        bail!("libFuzzer is built from C++ sources: install a C++ compiler (apt-get install g++)");
    }
    Ok(())
}

/// Builds all targets; the folder they are in.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    compiler()?;
    let host = host()?;
    let target = workspace.target().join("fuzz");
    let mut cargo = workspace.cargo(["build", "--quiet", "--release", "--locked", "--bins", "--target", &host]);
    cargo.arg("--manifest-path").arg(workspace.fuzz().join("Cargo.toml"));
    // With a target named, build scripts and macros get none of these flags.
    cargo.env("CARGO_TARGET_DIR", &target).env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    command::run(&mut cargo)?;
    Ok(target.join(host).join("release"))
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// Runs one target. What it finds on its way stays in the target folder, for the next run.
fn run(workspace: &Workspace, built: &Path, name: &str, seeds: &[&str], seconds: u64, seed: u32) -> Result<()> {
    let found = workspace.target().join("fuzz/corpus").join(name);
    let findings = workspace.target().join("fuzz/findings").join(name);
    for folder in [&found, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let log = findings.join("log");
    let output = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let also = output.try_clone().context("cannot use the log twice")?;
    let mut fuzzer = Command::new(built.join(name));
    fuzzer.arg(&found).arg(workspace.fuzz().join("corpus").join(name));
    fuzzer.args(seeds.iter().map(|folder| workspace.root().join(folder)));
    fuzzer.arg(format!("-artifact_prefix={}/", findings.display())).arg("-print_final_stats=1");
    fuzzer.args([format!("-max_total_time={seconds}"), format!("-max_len={MAX_LENGTH}")]);
    fuzzer.args([format!("-timeout={TIMEOUT}"), format!("-rss_limit_mb={MEMORY}"), format!("-seed={seed}")]);
    let began = Instant::now();
    let status = fuzzer.stdout(Stdio::from(output)).stderr(Stdio::from(also)).status();
    let status = status.with_context(|| format!("cannot run {}", built.join(name).display()))?;
    let said = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    if !status.success() {
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('#')).collect();
        let last = lines[lines.len().saturating_sub(40)..].join("\n");
        bail!(
            "{status}\n{last}\nwhole log: {}\nagain: {} FILE (in {})",
            log.display(),
            built.join(name).display(),
            findings.display()
        );
    }
    let number = |label: &str| said.lines().find_map(|line| line.strip_prefix(label)).unwrap_or("?").trim();
    println!(
        "{name}: {} inputs in {:.0} s, {} new, nothing found",
        number("stat::number_of_executed_units:"),
        began.elapsed().as_secs_f64(),
        number("stat::new_units_added:")
    );
    Ok(())
}
