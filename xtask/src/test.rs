//! `cargo xtask test` and `cargo xtask live`. Owns: which tests run for whom. Must not know: any test.

use crate::command;
use crate::run;
use crate::workspace::Workspace;
use anyhow::{Result, bail};

/// Tests that make network namespaces.
const LIVE: [&str; 4] = ["live", "verb_check", "verb_dns", "verb_look"];

/// Everything this user can run: without root, all but the live scenarios.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    run::build(workspace, false)?;
    command::run(&mut workspace.cargo(["test", "--workspace"]))?;
    if command::is_root() {
        return live(workspace, None);
    }
    println!("\nskipped: the live scenarios, which make network namespaces and load eBPF programs: they need root");
    println!("         `sudo -E env PATH=\"$PATH\" cargo xtask live` runs them");
    Ok(())
}

/// The live scenarios whose name contains the filter.
pub(crate) fn live(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    if !command::is_root() {
        bail!("live scenarios make network namespaces and load eBPF programs: run this as root");
    }
    run::build(workspace, false)?;
    let mut cargo = workspace.cargo(["test", "--package", "netdx-tests"]);
    cargo.args(LIVE.iter().flat_map(|test| ["--test", test]));
    command::run(cargo.args(["--no-fail-fast", "--", "--test-threads", "4"]).args(filter))
}
