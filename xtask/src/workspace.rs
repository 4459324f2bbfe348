//! Where things are in this checkout. Owns: paths. Must not know: what the tasks do with them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout that this xtask was built from.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The checkout of this xtask, and the target folder that cargo uses for it.
    pub(crate) fn find() -> Self {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = xtask.parent().unwrap_or(xtask).to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        Self { root, target }
    }

    /// The checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where builds go.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The crate of the eBPF programs.
    pub(crate) fn ebpf(&self) -> PathBuf {
        self.root.join("netdx-ebpf")
    }

    /// The crate of the fuzz targets.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.root.join("fuzz")
    }

    /// The folder of the committed eBPF objects.
    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("netdx-user/bpf")
    }

    /// Where tools that the tasks install for themselves live.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The netdx binary of a profile.
    pub(crate) fn netdx(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" }).join("netdx")
    }

    /// `cargo` in the checkout.
    pub(crate) fn cargo<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).args(arguments);
        cargo
    }
}
