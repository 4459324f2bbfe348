//! The eBPF objects: built from netdx-ebpf, committed in netdx-user/bpf, embedded by netdx.
//! Owns: how they are built, and the proof that they are what the sources give. Must not know: what the programs do.
//!
//! The build is the same byte for byte wherever the checkout, cargo's home and the toolchain are: their paths are
//! remapped, and there is no debug information. (LLVM 22 numbers BTF types in the order of its own heap's addresses, so
//! that the same IR gives objects that differ from one path to the next; no map or program of netdx needs BTF of its own.)
//! What is left of the path are the hashes in the names of functions: see [`elf`].
//! One object for each architecture, because registers (`bpf_target_arch`) differ.

use crate::command;
use crate::elf;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The architectures that netdx has an object for, as `bpf_target_arch` and `std::env::consts::ARCH` call them.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// What the objects are made of, relative to the checkout.
const SOURCES: [&str; 4] = ["Cargo.toml", "rust-toolchain.toml", "netdx-common", "netdx-ebpf"];

/// In the folder of the objects: the digest of the sources that they were built from.
const DIGEST: &str = "sources.sha256";

/// Builds the objects into netdx-user/bpf.
pub(crate) fn rebuild(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::prepare(workspace)?;
    write_objects(workspace, &toolchain)
}

/// Builds the objects again when the sources are not those they were built from. Where a piece of the toolchain is
/// missing, says so and goes on with the committed objects.
pub(crate) fn refresh(workspace: &Workspace) -> Result<()> {
    if is_fresh(workspace)? {
        return Ok(());
    }
    match Toolchain::present(workspace) {
        Ok(toolchain) => write_objects(workspace, &toolchain),
        Err(missing) => {
            eprintln!(
                "warning: netdx-ebpf changed since the committed eBPF objects were built, and they stay: {missing:#}"
            );
            eprintln!("         `cargo xtask ebpf` rebuilds them");
            Ok(())
        }
    }
}

/// Builds the objects in a copy of the sources elsewhere and compares them with the committed ones.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::prepare(workspace)?;
    let elsewhere =
        tempfile::Builder::new().prefix("netdx-ebpf-").tempdir().context("cannot make a temporary folder")?;
    for source in SOURCES {
        copy(&workspace.root().join(source), &elsewhere.path().join(source))?;
    }
    let mut differing = Vec::new();
    for architecture in ARCHITECTURES {
        let object = build(workspace, &toolchain, elsewhere.path(), &elsewhere.path().join("target"), architecture)?;
        let committed = workspace.objects().join(file_name(architecture));
        if fs::read(&committed).ok().as_deref() != Some(&object) {
            differing.push(committed.display().to_string());
        }
    }
    if !is_fresh(workspace)? {
        differing.push(workspace.objects().join(DIGEST).display().to_string());
    }
    if !differing.is_empty() {
        bail!("not what the sources give: {}; run `cargo xtask ebpf` and commit the result", differing.join(", "));
    }
    println!("the committed eBPF objects are what the sources give, byte for byte, from another path too");
    Ok(())
}

fn write_objects(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    fs::create_dir_all(workspace.objects()).context("cannot make netdx-user/bpf")?;
    for architecture in ARCHITECTURES {
        let object = build(workspace, toolchain, workspace.root(), &workspace.target().join("ebpf"), architecture)?;
        let path = workspace.objects().join(file_name(architecture));
        fs::write(&path, &object).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{} ({} bytes)", path.display(), object.len());
    }
    let path = workspace.objects().join(DIGEST);
    fs::write(&path, digest(workspace.root())?).with_context(|| format!("cannot write {}", path.display()))
}

fn file_name(architecture: &str) -> String {
    format!("netdx-{architecture}.o")
}

/// Builds one object from the sources in `root`.
fn build(workspace: &Workspace, toolchain: &Toolchain, root: &Path, target: &Path, arch: &str) -> Result<Vec<u8>> {
    let crate_folder = root.join("netdx-ebpf");
    if !crate_folder.join("Cargo.toml").is_file() {
        bail!("{} has no crate", crate_folder.display());
    }
    let mut cargo = workspace.cargo(["build", "--release", "--locked", "-Z", "build-std=core"]);
    cargo.args(["--target", "bpfel-unknown-none"]).current_dir(&crate_folder);
    cargo.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust_flags(toolchain, root, arch)?).env("PATH", path_with(toolchain)?);
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    command::run(&mut cargo)?;
    let linked = target.join("bpfel-unknown-none/release/netdx");
    let object = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    elf::with_plain_names(&object)
}

fn rust_flags(toolchain: &Toolchain, root: &Path, arch: &str) -> Result<String> {
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo"),
    };
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    Ok([
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        remap(&cargo_home, "/cargo"),
        remap(&toolchain.sysroot, "/rust"),
        remap(root, "/netdx"),
    ]
    .join("\x1f"))
}

fn path_with(toolchain: &Toolchain) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(toolchain.linker_folder.clone()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("PATH")
}

fn is_fresh(workspace: &Workspace) -> Result<bool> {
    let recorded = fs::read_to_string(workspace.objects().join(DIGEST)).unwrap_or_default();
    Ok(recorded == digest(workspace.root())?)
}

/// One line for each source file: its SHA-256 and its path.
fn digest(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for source in ["netdx-common", "netdx-ebpf"] {
        list(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut lines = String::new();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display();
        for byte in Sha256::digest(&bytes) {
            write!(lines, "{byte:02x}")?;
        }
        writeln!(lines, "  {name}")?;
    }
    Ok(lines)
}

/// Every file below a source folder; build output is not a source.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        match path.is_dir() {
            true if path.file_name().is_some_and(|name| name == "target") => {}
            true => list(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut files = Vec::new();
    if from.is_dir() {
        list(from, &mut files)?;
    } else {
        files.push(from.to_path_buf());
    }
    for file in files {
        let relative = file.strip_prefix(from).unwrap_or(Path::new(""));
        let copy = if relative.as_os_str().is_empty() { to.to_path_buf() } else { to.join(relative) };
        let folder = copy.parent().unwrap_or(to);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::copy(&file, &copy).with_context(|| format!("cannot copy {} to {}", file.display(), copy.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_names_what_changed_and_ignores_build_output() {
        let root = tempfile::tempdir().expect("temporary folder");
        for folder in ["netdx-common/src", "netdx-ebpf/target"] {
            fs::create_dir_all(root.path().join(folder)).expect("folder");
        }
        let source = root.path().join("netdx-common/src/lib.rs");
        fs::write(&source, "one").expect("write");
        let before = digest(root.path()).expect("digest");
        fs::write(root.path().join("netdx-ebpf/target/object"), "built").expect("write");
        assert_eq!(digest(root.path()).expect("digest"), before);
        fs::write(&source, "two").expect("write");
        let after = digest(root.path()).expect("digest");
        assert_ne!(after, before);
        assert!(after.ends_with("  netdx-common/src/lib.rs\n"), "{after}");
    }

    #[test]
    fn a_copy_has_every_source_file() {
        let from = tempfile::tempdir().expect("temporary folder");
        let to = tempfile::tempdir().expect("temporary folder");
        fs::create_dir_all(from.path().join("a/src")).expect("folder");
        fs::write(from.path().join("a/src/lib.rs"), "x").expect("write");
        fs::write(from.path().join("f.toml"), "y").expect("write");
        for name in ["a", "f.toml"] {
            copy(&from.path().join(name), &to.path().join(name)).expect("copy");
        }
        assert_eq!(fs::read(to.path().join("a/src/lib.rs")).expect("read"), b"x");
        assert_eq!(fs::read(to.path().join("f.toml")).expect("read"), b"y");
    }
}
