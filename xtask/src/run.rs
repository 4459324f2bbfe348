//! `cargo xtask run`: netdx from the sources, with the rights it needs. Must not know: what netdx does with them.

use crate::command;
use crate::ebpf;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Builds netdx and becomes it; returns only when that fails.
pub(crate) fn run(workspace: &Workspace, release: bool, arguments: &[OsString]) -> ExitCode {
    match start(workspace, release, arguments) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(workspace: &Workspace, release: bool, arguments: &[OsString]) -> Result<std::convert::Infallible> {
    build(workspace, release)?;
    let netdx = workspace.netdx(release);
    let error = privileged(netdx.as_os_str().to_owned())?.args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", netdx.display()))
}

/// Builds netdx, and the eBPF objects first when their sources changed.
pub(crate) fn build(workspace: &Workspace, release: bool) -> Result<()> {
    ebpf::refresh(workspace)?;
    let mut cargo = workspace.cargo(["build", "--quiet", "--package", "netdx"]);
    if release {
        cargo.arg("--release");
    }
    command::run(&mut cargo)
}

/// A command that runs as root: the program itself, or sudo with it.
pub(crate) fn privileged(program: OsString) -> Result<Command> {
    if command::is_root() {
        return Ok(Command::new(program));
    }
    let sudo = command::find("sudo").context("this needs root, and sudo is not installed: run it as root")?;
    eprintln!("netdx reads the kernel's events, which needs root: sudo may ask for your password");
    let mut command = Command::new(sudo);
    command.arg("--").arg(program);
    Ok(command)
}
