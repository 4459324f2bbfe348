//! `cargo xtask test` and `cargo xtask live`. Owns: which tests run for whom. Must not know: any test.

use crate::command;
use crate::run;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tests that make network namespaces.
pub(crate) const LIVE: [&str; 9] =
    ["live", "faults", "full", "interrupted", "load", "loader", "verb_check", "verb_dns", "verb_look"];

/// How often at most something that failed is run again on a kernel that hides what happens.
const AGAIN: usize = 3;

/// How many at most fail there because of that: 2 were the most, 8 softirqs of a thousand being hidden.
const BY_CHANCE: usize = 8;

/// Those of them that make recordings.
const RECORDED: [&str; 2] = ["live", "full"];

/// Programs that look names up by musl, and what the compiler is told beside their source.
const MUSL_CLIENTS: [(&str, &[&str]); 2] = [("look-up-static", &["-static"]), ("look-up-musl", &[])];

/// Everything this user can run: without root, all but the live scenarios.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    run::build(workspace, false)?;
    command::run(&mut workspace.cargo(["test", "--workspace"]))?;
    if command::is_root() {
        return live(workspace, &[]);
    }
    println!("\nskipped: the live scenarios, which make network namespaces and load eBPF programs: they need root");
    println!("         `sudo -E env PATH=\"$PATH\" cargo xtask live` runs them");
    Ok(())
}

/// The live scenarios whose names contain one of the filters; a filter that is the name of a file means all of that file.
pub(crate) fn live(workspace: &Workspace, filters: &[String]) -> Result<()> {
    if !command::is_root() {
        bail!("live scenarios make network namespaces and load eBPF programs: run this as root");
    }
    run::build(workspace, false)?;
    musl_clients(workspace, false)?;
    let (mut files, names): (Vec<&str>, Vec<&str>) =
        filters.iter().map(String::as_str).partition(|filter| *filter != "live" && LIVE.contains(filter));
    if files.is_empty() {
        files = LIVE.to_vec();
    }
    let mut cargo = tests_of(workspace, &files);
    if !names.is_empty() {
        let mut listing = workspace.cargo(cargo.get_args());
        each_names_some(&command::output(listing.args(["--", "--list"]))?, &names)?;
    }
    let failed = failures(cargo.args(["--", "--test-threads", "4"]).args(names))?;
    if failed.is_empty() { Ok(()) } else { again(workspace, failed) }
}

/// The tests of these files.
fn tests_of(workspace: &Workspace, files: &[&str]) -> Command {
    let mut cargo = workspace.cargo(["test", "--package", "netdx-tests", "--no-fail-fast"]);
    cargo.args(files.iter().flat_map(|test| ["--test", test]));
    cargo
}

/// Runs tests; the names of those that failed.
fn failures(tests: &mut Command) -> Result<Vec<String>> {
    let (mut failed, mut unfinished) = (Vec::new(), 0);
    let passed = command::watch(tests, |line| {
        failed.extend(failure(line).map(str::to_owned));
        unfinished += running(line);
    })?;
    if !passed && (failed.is_empty() || unfinished != 0) {
        bail!("tests ended without saying which of them failed");
    }
    Ok(failed)
}

/// The name of the test of which this line says that it failed.
fn failure(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// How many more test programs are at work after this line: one that crashes names no test that failed.
fn running(line: &str) -> i32 {
    let begins = line.strip_prefix("running ").is_some_and(|rest| rest.ends_with(" tests") || rest.ends_with(" test"));
    i32::from(begins) - i32::from(line.starts_with("test result: "))
}

/// Runs what failed again, one by one, where the kernel keeps softirqs from every tracer (tests/src/softirqs.rs): what a timer
/// or a packet did then, netdx could not see. On any other kernel a failure is a failure.
fn again(workspace: &Workspace, mut failed: Vec<String>) -> Result<()> {
    if failed.len() > BY_CHANCE {
        bail!("{} scenarios failed", failed.len());
    }
    let unseen =
        command::output(&mut workspace.cargo(["run", "--quiet", "--package", "netdx-tests", "--bin", "softirqs"]))?;
    let all = failed.join(", ");
    for _ in 0..if unseen.is_empty() { 0 } else { AGAIN } {
        println!("\n{unseen}: what happened in one of those could not be seen. Again: {}", failed.join(", "));
        failed = failures(tests_of(workspace, &LIVE).args(["--", "--test-threads", "1", "--exact"]).args(&failed))?;
        if failed.is_empty() {
            println!("passed, but only when they ran again, because {unseen}: {all}");
            return Ok(());
        }
    }
    bail!("failed: {}", failed.join(", "));
}

/// Fails where a filter is in no name of a listing (`--list`): nothing would run, and nothing would fail.
fn each_names_some(listing: &str, filters: &[impl AsRef<str>]) -> Result<()> {
    let names: Vec<&str> = listing.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    for filter in filters.iter().map(AsRef::as_ref) {
        if !names.iter().any(|name| name.contains(filter)) {
            bail!("no scenario has {filter:?} in its name; the names: cargo test --package netdx-tests -- --list");
        }
    }
    Ok(())
}

/// Runs live scenarios while netdx records, one after the other, and accepts what the recordings say in replay.
///
/// The programs run from a folder of their own, so that no path of this checkout gets into a recording.
pub(crate) fn bless(workspace: &Workspace, filters: &[String]) -> Result<()> {
    if !command::is_root() {
        bail!("recordings are made by live scenarios: run this as root");
    }
    run::build(workspace, false)?;
    let scenarios = RECORDED.map(|name| (name, program(workspace, name, false)));
    let stage = tempfile::Builder::new().prefix("netdx-bless-").tempdir().context("cannot make a temporary folder")?;
    fs::create_dir(stage.path().join("deps")).context("cannot make a temporary folder")?;
    let beside = workspace.netdx(false);
    let beside = beside.parent().context("the target folder")?;
    for name in ["netdx", "netdx-client"] {
        copy(&beside.join(name), &stage.path().join(name))?;
    }
    for program in musl_clients(workspace, false)? {
        copy(&program, &stage.path().join(program.file_name().context("a program without a name")?))?;
    }
    let (mut staged, mut names) = (Vec::new(), String::new());
    for (name, scenarios) in scenarios {
        let program = stage.path().join("deps").join(name);
        copy(&scenarios?, &program)?;
        names += &command::output(Command::new(&program).arg("--list"))?;
        staged.push(program);
    }
    each_names_some(&names, filters)?;
    let recordings = workspace.root().join("tests/recordings");
    fs::create_dir_all(&recordings).context("cannot make tests/recordings")?;
    let passed = staged.iter().try_for_each(|program| {
        let mut live = Command::new(program);
        command::run(live.args(["--test-threads", "1"]).args(filters).env("NETDX_BLESS", &recordings))
    });
    let mut replay = workspace.cargo(["test", "--package", "netdx-tests", "--test", "replay"]);
    command::run(replay.env("INSTA_UPDATE", "always"))?;
    passed.context("some scenarios failed, and so did their recordings: delete those")
}

/// Compiles the scenarios' musl programs beside netdx; none without that compiler: the scenarios that need them say so.
pub(crate) fn musl_clients(workspace: &Workspace, release: bool) -> Result<Vec<PathBuf>> {
    let Some(compiler) = command::find("musl-gcc") else { return Ok(Vec::new()) };
    let source = workspace.root().join("tests/src/look_up.c");
    let netdx = workspace.netdx(release);
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    let mut programs = Vec::new();
    for (name, options) in MUSL_CLIENTS {
        let program = netdx.with_file_name(name);
        if changed(&program).ok() < changed(&source).ok() {
            command::run(Command::new(&compiler).args(options).arg("-o").arg(&program).arg(&source))?;
        }
        programs.push(program);
    }
    Ok(programs)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Builds live scenarios, one of [`LIVE`]; the program they are in.
pub(crate) fn program(workspace: &Workspace, test: &str, release: bool) -> Result<PathBuf> {
    let mut cargo = workspace.cargo(["test", "--package", "netdx-tests", "--test", test, "--no-run"]);
    if release {
        cargo.arg("--release");
    }
    let output = cargo.output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("the live scenarios do not compile:\n{said}");
    }
    let line = said.lines().rev().find(|line| line.contains("Executable")).context("cargo named no program")?;
    let path = line.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).context("cargo named no program")?;
    Ok(workspace.root().join(path))
}

#[cfg(test)]
mod tests {
    use super::{each_names_some, failure, running};

    #[test]
    fn a_program_that_crashes_has_no_result() {
        let said = ["running 2 tests", "test a ... ok", "running 1 test", "test b ... FAILED"];
        assert_eq!(said.map(running).iter().sum::<i32>(), 2);
        assert_eq!(running("test result: FAILED. 0 passed; 1 failed; 0 ignored"), -1);
    }

    #[test]
    fn the_tests_that_failed_are_named() {
        assert_eq!(failure("test dns::the_server_fails ... FAILED"), Some("dns::the_server_fails"));
        assert_eq!(failure("test dns::the_server_fails ... ok"), None);
        assert_eq!(failure("test result: FAILED. 252 passed; 1 failed; 0 ignored"), None);
    }

    #[test]
    fn a_filter_that_names_nothing_is_told() {
        let listing = "dns::the_server_fails: test\nroute::none: test\n\n2 tests, 0 benchmarks\n";
        assert!(each_names_some(listing, &["route", "server"]).is_ok());
        assert!(each_names_some(listing, &[""; 0]).is_ok());
        let error = each_names_some(listing, &["route", "tests"]).unwrap_err();
        assert!(error.to_string().starts_with("no scenario has \"tests\" in its name"), "{error}");
    }
}
