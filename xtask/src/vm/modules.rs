//! A kernel's modules for a guest: those of the network, and what they need. Owns: which ones. Must not know: who loads
//! them.

use super::archive::Kernel;
use super::guest::{archive, copy};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that guests get whole, below `kernel/`.
const FOLDERS: [&str; 5] = ["net", "lib", "crypto", "arch/x86/crypto", "fs/overlayfs"];

/// Network devices that scenarios may make; those of hardware stay out.
const DEVICES: [&str; 11] =
    ["veth", "tun", "dummy", "ifb", "macvlan", "ipvlan", "vrf", "bonding", "vxlan", "geneve", "wireguard"];

/// The archive of a kernel's modules; made once, and again by another xtask, which may want others.
pub(super) fn of(kernel: &Kernel) -> Result<PathBuf> {
    let made = kernel.folder.join("modules.cpio");
    let since =
        std::env::current_exe().and_then(|program| program.metadata()?.modified()).context("this program's age")?;
    if made.metadata().and_then(|archive| archive.modified()).is_ok_and(|when| when > since) {
        return Ok(made);
    }
    let stage =
        tempfile::Builder::new().prefix("modules-").tempdir_in(&kernel.folder).context("cannot make a folder")?;
    let to = stage.path().join("usr/lib/modules").join(&kernel.release);
    for file in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        if kernel.modules.join(file).exists() {
            copy(&kernel.modules.join(file), &to.join(file))?;
        }
    }
    for folder in FOLDERS {
        copy_modules(&kernel.modules, &to, &PathBuf::from("kernel").join(folder), &|_| true)?;
    }
    let is_wanted = |name: &str| DEVICES.iter().any(|device| name.starts_with(device));
    copy_modules(&kernel.modules, &to, Path::new("kernel/drivers/net"), &is_wanted)?;
    // depmod looks below lib/modules of its root.
    std::os::unix::fs::symlink("usr/lib", stage.path().join("lib")).context("cannot make a link")?;
    crate::command::run(Command::new("depmod").arg("-b").arg(stage.path()).arg(&kernel.release))?;
    archive(stage.path(), &made)?;
    Ok(made)
}

/// Copies the modules of a folder and those below it. `is_wanted`: by the name of the first file or folder.
fn copy_modules(from: &Path, to: &Path, below: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    let folder = from.join(below);
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_wanted(&name) {
            continue;
        }
        let path = below.join(&name);
        if entry.file_type().with_context(|| format!("cannot look at {}", path.display()))?.is_dir() {
            copy_modules(from, to, &path, &|_| true)?;
        } else {
            copy(&from.join(&path), &to.join(&path))?;
        }
    }
    Ok(())
}
