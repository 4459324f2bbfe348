//! Files as a process sees them, also when it has ended. Owns: which process can show them. Must not know: what is in them.
//!
//! A process that has ended has no root directory any more. Another one of the same mount namespace, with the same root,
//! sees the same files.

use super::{Error, process};
use crate::event::Root;
use rustix::ioctl::{Getter, Opcode, ioctl, opcode};
use std::{fs, os::unix::fs::MetadataExt};

/// A process through whose root the files of `pid` are seen. `root`: what the kernel said of its root while it was there;
/// none: only itself will do.
///
/// # Errors
/// It has ended, and nobody that may be looked at sees its files.
fn seen_by(pid: u32, root: Option<Root>) -> Result<u32, Error> {
    let Some(root) = root else { return Ok(pid) };
    if sees(pid, root) {
        return Ok(pid);
    }
    let own = std::process::id();
    if sees(own, root) {
        return Ok(own);
    }
    let entries = fs::read_dir("/proc").map_err(|e| Error::read("/proc", e))?;
    let mut pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|other| sees(*other, root) && (is_there(*other, root).is_some() || is_older(*other, root)))
        .ok_or(Error::Ended(pid))
}

/// Whether its mount namespace is the one of this id; none: this kernel tells none (before 6.11).
fn is_there(pid: u32, root: Root) -> Option<bool> {
    /// `_IOR(NSIO, 0x5, __u64)` (linux/nsfs.h)
    const NS_GET_MNTNS_ID: Opcode = opcode::read::<u64>(0xb7, 5);
    let known = root.mounts_id?;
    let namespace = fs::File::open(format!("/proc/{pid}/ns/mnt")).ok()?;
    // SAFETY: writes the id, a number of 8 bytes.
    let id = unsafe { ioctl(namespace, Getter::<NS_GET_MNTNS_ID, u64>::new()) }.ok()?;
    Some(known == id)
}

/// It was there before the process that has ended: a namespace made since may have got the number of one that is gone. Made by
/// a process that was there before it may have, too.
fn is_older(pid: u32, root: Root) -> bool {
    let nanoseconds_a_tick = 1_000_000_000 / procfs::ticks_per_second();
    process::started(pid).is_some_and(|ticks| ticks.saturating_mul(nanoseconds_a_tick) < root.started.0)
}

/// What `read` finds through a process that sees the files of `pid`.
///
/// # Errors
/// As [`seen_by`]; or what `read` says.
pub fn through<T>(pid: u32, root: Option<Root>, read: impl Fn(u32) -> Result<T, Error>) -> Result<T, Error> {
    /// A process may end while its files are read: its mounts are taken apart then, and what lies under them appears.
    const TRIES: usize = 3;
    for _ in 0..TRIES {
        let by = seen_by(pid, root)?;
        let found = read(by)?;
        let is_there = root.map_or_else(|| fs::metadata(format!("/proc/{by}/root/")).is_ok(), |root| sees(by, root));
        if is_there {
            return Ok(found);
        }
    }
    Err(Error::Ended(pid))
}

/// Its mount namespace and its root directory are these, as far as the kernel tells. An overlay may give its root another
/// number in stat(2) than in the kernel: then nobody is found, which is safe.
fn sees(pid: u32, root: Root) -> bool {
    let mounts = fs::metadata(format!("/proc/{pid}/ns/mnt")).is_ok_and(|m| m.ino() == u64::from(root.mounts));
    mounts
        && fs::metadata(format!("/proc/{pid}/root/")).is_ok_and(|m| m.ino() == root.inode)
        && is_there(pid, root) != Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn root(pid: u32) -> Root {
        let inode = |path: &str| fs::metadata(format!("/proc/{pid}/{path}")).expect("it runs").ino();
        Root {
            mounts: u32::try_from(inode("ns/mnt")).expect("32 bits"),
            mounts_id: None,
            inode: inode("root/"),
            started: crate::time::Time(u64::MAX),
        }
    }

    #[test]
    fn another_process_of_the_same_root_will_do() {
        let mut child = Command::new("sleep").arg("100").spawn().expect("sleep runs");
        let (pid, known) = (child.id(), root(child.id()));
        assert_eq!(seen_by(pid, Some(known)).expect("it runs"), pid);
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        assert_eq!(seen_by(pid, Some(known)).expect("this process sees the same"), std::process::id());
        assert_eq!(seen_by(pid, None).expect("itself"), pid);
    }

    #[test]
    fn nobody_else_will_do() {
        let own = root(std::process::id());
        let others = [Root { mounts: 1, ..own }, Root { inode: u64::MAX, ..own }];
        // A kernel that tells no ids does not tell them apart.
        let told = is_there(std::process::id(), Root { mounts_id: Some(u64::MAX), ..own });
        let by_id = told.map(|_| Root { mounts_id: Some(u64::MAX), ..own });
        for other in others.into_iter().chain(by_id) {
            assert!(matches!(seen_by(u32::MAX, Some(other)), Err(Error::Ended(u32::MAX))));
        }
    }
}
