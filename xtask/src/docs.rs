//! `cargo xtask docs`: man pages and shell completions, from the command line as it is. Owns: where they go.
//!
//! netdx itself writes them (its example `docs`), so that xtask need not be built with all of netdx in it.

use crate::{command::run, workspace::Workspace};

/// Writes them under the build folder, which is told.
pub(crate) fn docs(workspace: &Workspace) -> anyhow::Result<()> {
    let folder = workspace.target().join("docs");
    let mut cargo = workspace.cargo(["run", "--quiet", "--package", "netdx", "--example", "docs", "--"]);
    run(cargo.arg(&folder))?;
    println!("man pages: {0}/man (man -l {0}/man/netdx-check.1)", folder.display());
    println!("completions: {}/completions (or, always fresh: source <(COMPLETE=bash netdx))", folder.display());
    Ok(())
}
