//! `cargo xtask bench`. Owns: which measurements there are, and where their page is. Must not know: how one is made.

use crate::{Measurement, command, workspace::Workspace};
use anyhow::{Result, bail};
use clap::ValueEnum as _;

/// Measures netdx, built with optimizations; the measurements themselves are in `tests/src/bin/bench`.
pub(crate) fn bench(workspace: &Workspace, what: &[Measurement], write: bool) -> Result<()> {
    if !command::is_root() {
        bail!("the measurements load eBPF programs and make network namespaces of their own: run this as root");
    }
    command::run(&mut workspace.cargo(["build", "--release", "--package", "netdx"]))?;
    let mut bench =
        workspace.cargo(["run", "--quiet", "--release", "--package", "netdx-tests", "--bin", "bench", "--"]);
    bench.args(what.iter().filter_map(|what| Some(what.to_possible_value()?.get_name().to_owned())));
    if write {
        bench.arg("--write").arg(workspace.root().join("docs/performance.md"));
    }
    command::run(bench.env("NETDX", workspace.netdx(true)))
}
