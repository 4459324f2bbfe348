//! `cargo xtask lint` and `cargo xtask fmt`: formatting and clippy. Must not know: what the code does.

use crate::test::LIVE;
use crate::workspace::Workspace;
use crate::{command, fuzz, toolchain};
use anyhow::{Context, Result};
use std::fs;

/// Checks formatting and lints everything that this machine can compile; a warning is an error.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    format(workspace, true)?;
    command::run(&mut workspace.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // Cargo leaves out of "all targets" what `cargo test` does not run by itself.
    let mut live = workspace.cargo(["clippy", "--package", "netdx-tests"]);
    live.args(LIVE.iter().flat_map(|test| ["--test", test]));
    command::run(live.args(["--", "-D", "warnings"]))?;
    lint_fuzz(workspace)?;
    lint_ebpf(workspace)
}

/// Formats everything, or checks that it is. rustfmt finds files by their `mod` lines; the causes' are made by a macro.
pub(crate) fn format(workspace: &Workspace, check: bool) -> Result<()> {
    let mut causes = Vec::new();
    let folder = workspace.root().join("netdx-user/src/explain/causes");
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        causes.push(entry.context("cannot list the causes")?.path());
    }
    let check: &[&str] = if check { &["--check"] } else { &[] };
    command::run(workspace.cargo(["fmt", "--all", "--"]).args(check).args(causes))?;
    for folder in [workspace.ebpf(), workspace.fuzz()] {
        command::run(workspace.cargo(["fmt", "--"]).args(check).current_dir(folder))?;
    }
    Ok(())
}

/// The fuzz targets are not in the workspace: they are built with other flags, and libFuzzer from C++ sources.
fn lint_fuzz(workspace: &Workspace) -> Result<()> {
    if let Err(missing) = fuzz::compiler() {
        eprintln!("skipped: clippy of the fuzz targets, because {missing:#}");
        return Ok(());
    }
    let mut clippy = workspace.cargo(["clippy", "--locked", "--bins", "--", "-D", "warnings"]);
    command::run(clippy.env("CARGO_TARGET_DIR", workspace.target()).current_dir(workspace.fuzz()))
}

/// netdx-ebpf is not in the workspace: another target, and a `core` built from source.
fn lint_ebpf(workspace: &Workspace) -> Result<()> {
    let folder = workspace.ebpf();
    if let Err(missing) = toolchain::library_sources(workspace) {
        eprintln!("skipped: clippy of netdx-ebpf, because {missing:#}");
        return Ok(());
    }
    let mut clippy = workspace.cargo(["clippy", "--release", "-Z", "build-std=core", "--target", "bpfel-unknown-none"]);
    clippy.args(["--", "-D", "warnings"]).current_dir(&folder);
    clippy.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", workspace.target().join("ebpf-lint"));
    command::run(clippy.env("RUSTFLAGS", "--cfg=bpf_target_arch=\"x86_64\""))
}
