//! Running programs. Owns: how a command is shown and how its failure is said. Must not know: any task.

use anyhow::{Context, Result, bail};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Shows the command, runs it to its end and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("+ {line}");
    let status = command.status().with_context(|| format!("cannot run {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// Runs the command and returns what it wrote to its standard output, without the last line break.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {line}"))?;
    if !output.status.success() {
        bail!("{line}: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Shows the command and what it writes to its standard output, line by line, runs it to its end and returns whether it succeeded.
pub(crate) fn watch(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    let line = line(command);
    eprintln!("+ {line}");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {line}"))?;
    let output = child.stdout.take().context("its standard output")?;
    for said in BufReader::new(output).split(b'\n') {
        let said = said.with_context(|| format!("cannot read what {line} says"))?;
        let said = String::from_utf8_lossy(&said);
        println!("{said}");
        each(&said);
    }
    Ok(child.wait().with_context(|| format!("cannot wait for {line}"))?.success())
}

/// The program of that name in the folders of `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| is_executable(program))
}

fn is_executable(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    program.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Whether this process has root's user id.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
