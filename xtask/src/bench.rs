//! `cargo xtask bench`. Owns: which measurements there are. Must not know: how one is made.

use crate::{command, workspace::Workspace};
use anyhow::{Result, bail};

/// `listeners` and `conns` beside `ss`, with optimizations.
pub(crate) fn look(workspace: &Workspace) -> Result<()> {
    if !command::is_root() {
        bail!("the measurement makes a network namespace of its own: run this as root");
    }
    command::run(&mut workspace.cargo(["build", "--release", "--package", "netdx"]))?;
    let mut bench = workspace.cargo(["run", "--quiet", "--release", "--package", "netdx-tests", "--bin", "bench-look"]);
    command::run(bench.env("NETDX", workspace.netdx(true)))
}
