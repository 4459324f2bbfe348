//! What building the eBPF side needs beyond stable Rust: the library sources and bpf-linker.
//! Owns: finding them, installing bpf-linker. Must not know: how the objects are built.
//!
//! The BPF targets have no prebuilt `core`, so cargo builds it from rust-src (`-Z build-std=core`). bpf-linker, with its
//! default features, uses the LLVM inside rustc: no LLVM has to be installed, but the version must match the compiler's.

use crate::command;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The bpf-linker that fits the compiler of rust-toolchain.toml.
const LINKER_VERSION: &str = "0.10.3";

/// The pieces, found.
pub(crate) struct Toolchain {
    /// rustc's sysroot.
    pub(crate) sysroot: PathBuf,
    /// Folder of bpf-linker.
    pub(crate) linker_folder: PathBuf,
}

impl Toolchain {
    /// Finds every piece; installs bpf-linker when it is missing.
    pub(crate) fn prepare(workspace: &Workspace) -> Result<Self> {
        let sysroot = library_sources(workspace)?;
        let linker_folder = match found_linker(workspace) {
            Some(folder) => folder,
            None => install_linker(workspace)?,
        };
        Ok(Self { sysroot, linker_folder })
    }

    /// Finds every piece; says which one is missing.
    pub(crate) fn present(workspace: &Workspace) -> Result<Self> {
        let sysroot = library_sources(workspace)?;
        let linker_folder =
            found_linker(workspace).with_context(|| format!("bpf-linker {LINKER_VERSION} is not installed"))?;
        Ok(Self { sysroot, linker_folder })
    }
}

/// The sysroot, when the library sources are in it.
pub(crate) fn library_sources(workspace: &Workspace) -> Result<PathBuf> {
    let sysroot = command::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace.root()))?;
    let sysroot = PathBuf::from(sysroot);
    if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
        bail!(
            "the Rust library sources (rust-src) are not in {}: run `rustup component add rust-src`",
            sysroot.display()
        );
    }
    Ok(sysroot)
}

fn found_linker(workspace: &Workspace) -> Option<PathBuf> {
    let own = workspace.tools().join("bin/bpf-linker");
    let candidates = command::find("bpf-linker").into_iter().chain([own]);
    candidates.filter(|program| has_right_version(program)).find_map(|program| program.parent().map(Path::to_path_buf))
}

fn has_right_version(program: &Path) -> bool {
    let Ok(output) = Command::new(program).arg("--version").output() else { return false };
    String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1) == Some(LINKER_VERSION)
}

fn install_linker(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.tools();
    eprintln!("bpf-linker {LINKER_VERSION} is not installed: installing it into {} (two minutes)", root.display());
    let mut install = workspace.cargo(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--root"]);
    command::run(install.arg(&root).env("CARGO_TARGET_DIR", workspace.target().join("tools-build")))?;
    Ok(root.join("bin"))
}
