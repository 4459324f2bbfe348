//! What scenarios said on each kernel, kept for the page until they say something else. Owns: the file of it beside each
//! kernel. Must not know: what it means.
//!
//! A file has the last run of all scenarios, and after it those of some of them that were run since.

use super::archive;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The name of its file, in the folder of the kernel.
const NAME: &str = "results";

/// Before each run's output stands a line with this and the sources that were run.
const RUN: &str = "== run of ";

/// One run of scenarios.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// What was run.
    pub(super) sources: String,
    /// What the guest wrote.
    pub(super) output: String,
}

/// Keeps a run of all scenarios, in place of what was kept.
pub(super) fn replace(kernel: &Path, run: &Run) -> Result<()> {
    let path = kernel.join(NAME);
    let part = path.with_extension("part");
    fs::write(&part, text(run)).with_context(|| format!("cannot write {}", part.display()))?;
    fs::rename(&part, &path).with_context(|| format!("cannot write {}", path.display()))
}

/// Keeps a run of some scenarios beside what was kept.
pub(super) fn add(kernel: &Path, run: &Run) -> Result<()> {
    let path = kernel.join(NAME);
    let open = || File::options().create(true).append(true).open(&path)?.write_all(text(run).as_bytes());
    open().with_context(|| format!("cannot write {}", path.display()))
}

/// What is kept of the kernel whose version begins so, its release first: that which was run last, if there are several.
pub(super) fn newest(folder: &Path, version: &str) -> Result<Option<(String, Vec<Run>)>> {
    let mut found: Vec<(_, String, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder.join("kernels")).into_iter().flatten().flatten() {
        let release = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path().join(NAME);
        let is_wanted = archive::is_version(&release, version);
        if let (true, Ok(time)) = (is_wanted, path.metadata().and_then(|metadata| metadata.modified())) {
            found.push((time, release, path));
        }
    }
    let Some((_, release, path)) = found.into_iter().max() else { return Ok(None) };
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let runs = parse(&text).with_context(|| format!("{} is not as xtask writes it", path.display()))?;
    Ok(Some((release, runs)))
}

fn text(run: &Run) -> String {
    format!("{RUN}{}\n{}\n", run.sources, run.output.trim_end())
}

fn parse(text: &str) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix(RUN), runs.last_mut()) {
            (Some(sources), _) => runs.push(Run { sources: sources.to_owned(), output: String::new() }),
            (None, Some(run)) => run.output += &format!("{line}\n"),
            (None, None) => bail!("it begins with {line:?}"),
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_come_back_in_their_order() {
        let folder = tempfile::tempdir().expect("make a folder");
        let kernel = folder.path().join("kernels/5.10.0-32-cloud-amd64");
        fs::create_dir_all(&kernel).expect("make a folder");
        assert_eq!(newest(folder.path(), "5.10").expect("nothing is kept"), None);
        let run = |sources: &str, output: &str| Run { sources: sources.to_owned(), output: output.to_owned() };
        add(&kernel, &run("0", "test c ... ok\n")).expect("it is written");
        replace(&kernel, &run("1", "test a ... FAILED\n")).expect("it is written");
        replace(&kernel, &run("2", "test a ... FAILED\ntest b ... ok\n")).expect("it is written");
        add(&kernel, &run("3", "test a ... ok\n")).expect("it is written");
        let kept = [run("2", "test a ... FAILED\ntest b ... ok\n"), run("3", "test a ... ok\n")];
        let expected = Some(("5.10.0-32-cloud-amd64".to_owned(), Vec::from(kept)));
        assert_eq!(newest(folder.path(), "5.10").expect("it is read"), expected);
        assert_eq!(newest(folder.path(), "6.1").expect("nothing is kept"), None);
    }

    #[test]
    fn what_is_no_run_is_an_error() {
        parse("test a ... ok\n").expect_err("no line says what was run");
    }
}
