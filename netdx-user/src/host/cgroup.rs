//! The v2 cgroup hierarchy. Owns: finding a cgroup by its id, and what stands above it. Must not know: processes, programs.

use super::Error;
use crate::live::features::{self, Directory};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

/// The hierarchy, and what was seen of it.
#[derive(Debug)]
pub struct Cgroups {
    root: Directory,
    seen: BTreeMap<u64, PathBuf>,
}

impl Cgroups {
    /// Opens the hierarchy.
    ///
    /// # Errors
    /// It is mounted nowhere and can't be.
    pub fn open() -> Result<Self, Error> {
        let root = features::cgroup_root(&features::mounts()).map_err(|e| Error::read("the v2 cgroup hierarchy", e))?;
        Ok(Self { root, seen: BTreeMap::new() })
    }

    fn base(&self) -> PathBuf {
        let open = || format!("/proc/self/fd/{}", self.root.as_fd().as_raw_fd()).into();
        self.root.mounted_at.clone().unwrap_or_else(open)
    }

    /// The path of a cgroup below the root of the hierarchy, `/` for the root itself; none: it is gone. An id is the inode
    /// number of its directory (`kernfs_ino`, Linux 5.10 to 6.18 on 64-bit machines).
    pub fn path(&mut self, id: u64) -> Option<PathBuf> {
        let base = self.base();
        let still = |path: &PathBuf| fs::metadata(below(&base, path)).is_ok_and(|m| m.ino() == id);
        if let Some(path) = self.seen.get(&id).filter(|p| still(p)) {
            return Some(path.clone());
        }
        self.seen.clear();
        walk(&base, Path::new("/"), &mut self.seen);
        self.seen.get(&id).cloned()
    }

    /// A cgroup and those above it, the innermost first, opened.
    ///
    /// # Errors
    /// One of them is gone or may not be opened.
    pub fn ancestors(&self, path: &Path) -> Result<Vec<(PathBuf, File)>, Error> {
        let base = self.base();
        let open = |path: &Path| {
            let full = below(&base, path);
            File::open(&full).map(|file| (path.to_path_buf(), file)).map_err(|e| Error::read(full, e))
        };
        path.ancestors().map(open).collect()
    }
}

fn below(base: &Path, path: &Path) -> PathBuf {
    base.join(path.strip_prefix("/").unwrap_or(path))
}

fn walk(base: &Path, path: &Path, seen: &mut BTreeMap<u64, PathBuf>) {
    let folder = below(base, path);
    if let Ok(metadata) = fs::metadata(&folder) {
        seen.insert(metadata.ino(), path.to_path_buf());
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(base, &path.join(entry.file_name()), seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_by_its_id() {
        // Reading needs no right; a machine without v2 cgroups has none to find, and says so.
        let mut cgroups = match Cgroups::open() {
            Ok(cgroups) => cgroups,
            Err(e) => return assert!(e.to_string().contains("cgroup"), "{e}"),
        };
        let root = fs::metadata(cgroups.base()).unwrap().ino();
        assert_eq!(cgroups.path(root).as_deref(), Some(Path::new("/")));
        assert_eq!(cgroups.path(u64::MAX), None);
        assert_eq!(cgroups.ancestors(Path::new("/")).unwrap().len(), 1);
    }
}
