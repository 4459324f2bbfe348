//! `cargo xtask soak`. Owns: building what it takes. Must not know: the load (`tests/src/soak`).

use crate::{command, run, workspace::Workspace};
use anyhow::{Result, bail};

/// Runs netdx beside a load that comes and goes.
pub(crate) fn soak(workspace: &Workspace, minutes: u64) -> Result<()> {
    if !command::is_root() {
        bail!("the soak loads eBPF programs and makes network namespaces of its own: run this as root");
    }
    run::build(workspace, false)?;
    // The load's client stands beside it.
    command::run(&mut workspace.cargo(["build", "--quiet", "--package", "netdx-tests", "--bins"]))?;
    let seconds = (minutes * 60).to_string();
    let mut soak = workspace.cargo(["run", "--quiet", "--package", "netdx-tests", "--bin", "soak", "--"]);
    command::run(soak.arg(seconds).env("NETDX", workspace.netdx(false)))
}
