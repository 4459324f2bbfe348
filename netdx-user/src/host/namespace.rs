//! Network namespaces of this host. Owns: finding them, entering them. Must not know: what is read inside.
//!
//! A namespace is found by the tasks in it (by a walk in the kernel, or by the processes in /proc), by the mounts that keep
//! it (`ip netns add`, container runtimes), and, when one is asked for that neither shows, by threads and open files. It is
//! entered on a thread of its own that ends there: no other thread of netdx ever leaves its namespace. Nothing of one is kept
//! open between questions, because an open socket or namespace file would keep a namespace alive that its owner has deleted.

use super::{Error, process};
use crate::{
    event::Netns,
    fact::{self, Owner},
    live::{Tasks, Whereabouts, features},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

/// How a namespace can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Processes in it, in the order of /proc.
    pub pids: Vec<u32>,
    /// Files of it: mounts of nsfs, `ns/net` of a thread, or (found by the thorough search) an open file.
    pub files: Vec<PathBuf>,
}

/// What came of the work in each namespace.
pub type Visits<T> = Vec<(Netns, Result<T, Error>)>;

/// The namespaces that can be seen.
#[derive(Debug)]
pub struct Namespaces {
    own: Netns,
    tasks: Option<Tasks>,
    known: BTreeMap<Netns, Place>,
    mounted: Mounted,
    hidden: usize,
    closed: usize,
    /// What [`together`](Self::together) says, and whether there was a scan since.
    together: bool,
    scanned: bool,
}

impl Namespaces {
    /// Sees nothing yet but the namespace of the calling thread. With `tasks` it need not look into /proc.
    ///
    /// # Errors
    /// /proc can't be read.
    pub fn new(tasks: Option<Tasks>) -> Result<Self, Error> {
        let path = Path::new("/proc/thread-self/ns/net");
        let own = fs::metadata(path).map_err(|e| Error::read(path, e))?;
        Ok(Self {
            own: inode(&own)?,
            tasks,
            known: BTreeMap::new(),
            mounted: Mounted::default(),
            hidden: 0,
            closed: 0,
            together: false,
            scanned: false,
        })
    }

    /// From now on one scan serves all that need one, or each makes its own again. For questions that were all asked before:
    /// a scan takes as long as there are processes.
    pub fn together(&mut self, together: bool) {
        (self.together, self.scanned) = (together, false);
    }

    /// The namespace that netdx runs in.
    #[must_use]
    pub fn own(&self) -> Netns {
        self.own
    }

    /// How many processes would not say their namespace at the last scan, for want of privilege.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// How many namespaces could not be entered at the last [`each`](Self::each), for want of privilege.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.closed
    }

    /// Looks at every task and at the mounts of this mount namespace.
    fn scan(&mut self) -> Result<(), Error> {
        self.known.clear();
        self.hidden = 0;
        self.known.insert(self.own, Place::default());
        match self.tasks.as_ref().map(Tasks::walk) {
            Some(Ok(tasks)) => self.add_tasks(&tasks),
            Some(Err(_)) | None => self.add_processes()?,
        }
        for (netns, file) in self.mounted.now() {
            self.known.entry(*netns).or_default().files.push(file.clone());
        }
        self.scanned = true;
        Ok(())
    }

    fn add_tasks(&mut self, tasks: &[Whereabouts]) {
        for task in tasks {
            let place = self.known.entry(task.netns).or_default();
            match task.thread {
                None => place.pids.push(task.pid),
                Some(thread) => place.files.push(format!("/proc/{}/task/{thread}/ns/net", task.pid).into()),
            }
        }
    }

    fn add_processes(&mut self) -> Result<(), Error> {
        for pid in process::pids()? {
            match link(Path::new(&format!("/proc/{pid}/ns/net"))) {
                Ok(Some(netns)) => self.known.entry(netns).or_default().pids.push(pid),
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => self.hidden += 1,
                Err(_ended) => {}
            }
        }
        Ok(())
    }

    /// Scans, unless that was done for others that ask together.
    fn look(&mut self) -> Result<&BTreeMap<Netns, Place>, Error> {
        if !self.together || !self.scanned {
            self.scan()?;
        }
        Ok(&self.known)
    }

    /// Looks for one namespace where a scan doesn't: threads, open files, mounts of other mount namespaces.
    fn search(&mut self, netns: Netns) -> Result<(), Error> {
        let mut mount_namespaces = Vec::new();
        for pid in process::pids()? {
            let root = PathBuf::from(format!("/proc/{pid}"));
            let mut found = Vec::new();
            for (folder, file) in [("task", Some("ns/net")), ("fd", None)] {
                for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
                    let path = file.map_or_else(|| entry.path(), |f| entry.path().join(f));
                    if link(&path).is_ok_and(|n| n == Some(netns)) {
                        found.push(path);
                    }
                }
            }
            if let Ok(mount_namespace) = fs::read_link(root.join("ns/mnt"))
                && !mount_namespaces.contains(&mount_namespace)
            {
                mount_namespaces.push(mount_namespace);
                let (table, below) = (root.join("mountinfo"), root.join("root"));
                found.extend(mounts(&table, &below).filter(|(n, _)| *n == netns).map(|(_, file)| file));
            }
            if !found.is_empty() {
                self.known.entry(netns).or_default().files.extend(found);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Opens the namespace, making sure that it is that one: a process may have ended or moved since it was seen.
    fn open(&mut self, netns: Netns) -> Result<File, Error> {
        let mut last = None;
        for step in [|_: &mut Self, _| Ok(()), |s: &mut Self, _| s.scan(), Self::search] {
            step(self, netns)?;
            match self.known.get(&netns).map(|place| place.open(netns)) {
                Some(Ok(file)) => return Ok(file),
                Some(Err(e)) => last = Some(e),
                None => {}
            }
        }
        Err(match last {
            Some(source) => Error::Enter { netns, source },
            None => Error::NoNamespace { netns, hidden: self.hidden },
        })
    }

    /// Does some work inside a namespace.
    ///
    /// # Errors
    /// The namespace is gone, can't be seen, or may not be entered.
    pub fn within<T: Send>(&mut self, netns: Netns, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        if netns == self.own {
            return Ok(work());
        }
        let file = self.open(netns)?;
        on_own_thread(|| enter(netns, &file).map(|()| work()))?
    }

    /// Does the same work inside every namespace that can be seen now. Those that vanish meanwhile are left out.
    ///
    /// # Errors
    /// /proc can't be read. A namespace that may not be entered has its own error beside it.
    pub fn each<T: Send>(&mut self, work: impl Fn(Netns) -> T + Send + Sync) -> Result<Visits<T>, Error> {
        let own = self.own;
        let places = self.look()?;
        let mut all = vec![(own, Ok(work(own)))];
        let others = on_own_thread(|| {
            let others = places.iter().filter(|(netns, _)| **netns != own);
            let visit = |(netns, place): (&Netns, &Place)| {
                let entered = match place.open(*netns) {
                    Ok(file) => enter(*netns, &file),
                    Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                        Err(Error::Enter { netns: *netns, source })
                    }
                    Err(_vanished) => return None,
                };
                Some((*netns, entered.map(|()| work(*netns))))
            };
            others.filter_map(visit).collect::<Vec<_>>()
        })?;
        all.extend(others);
        self.closed = all.iter().filter(|(_, result)| result.is_err()).count();
        Ok(all)
    }

    /// Who a namespace is.
    ///
    /// # Errors
    /// It is gone or can't be seen.
    pub fn describe(&mut self, netns: Netns) -> Result<fact::Namespace, Error> {
        self.look()?;
        if !self.known.contains_key(&netns) {
            self.search(netns)?;
        }
        let place = self.known.get(&netns).ok_or(Error::NoNamespace { netns, hidden: self.hidden })?;
        let oldest = match place.pids.first() {
            // Nothing in a pid namespace is older than its init.
            Some(1) => Some(1),
            _ => place.pids.iter().filter_map(|pid| Some((process::started(*pid)?, *pid))).min().map(|(_, pid)| pid),
        };
        let process = oldest.and_then(|pid| Some(Owner { pid, comm: process::comm(pid)? }));
        let container = process.as_ref().and_then(|p| process::place(p.pid).container);
        let name = place.files.iter().find_map(|f| name(f));
        Ok(fact::Namespace { netns, name, process, container, own: netns == self.own })
    }
}

/// The namespaces that mounts of this mount namespace keep. Read anew only after something was mounted or unmounted.
#[derive(Debug, Default)]
struct Mounted {
    /// The table, open: the kernel says on it when the mounts have changed (mounts_poll, fs/proc_namespace.c, 5.10 to 6.18).
    table: Option<File>,
    all: Vec<(Netns, PathBuf)>,
}

impl Mounted {
    fn now(&mut self) -> &[(Netns, PathBuf)] {
        let path = Path::new("/proc/self/mountinfo");
        if self.table.as_ref().is_none_or(changed) {
            if self.table.is_none() {
                self.table = File::open(path).ok();
            }
            // What changes from here on is told the next time.
            self.all = mounts(path, Path::new("/")).collect();
        }
        &self.all
    }
}

/// Whether the mounts have changed since the table was opened or this was last asked.
fn changed(table: &File) -> bool {
    let mut polled = [PollFd::new(table, PollFlags::PRI)];
    // In doubt it has.
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
}

impl Place {
    fn open(&self, netns: Netns) -> io::Result<File> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let of_processes = self.pids.iter().map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
        for path in self.files.iter().cloned().chain(of_processes) {
            match File::open(&path) {
                Ok(file) if file.metadata().is_ok_and(|m| inode(&m).is_ok_and(|n| n == netns)) => return Ok(file),
                Ok(_other) => {}
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}

/// Runs `work` on a thread that ends with it, so that whatever it changes of itself (its namespace, its capabilities) is left
/// behind.
///
/// # Errors
/// There can be no more threads.
pub fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, work).map_err(Error::Thread)?;
        thread.join().map_or_else(|panic| std::panic::resume_unwind(panic), Ok)
    })
}

fn enter(netns: Netns, file: &File) -> Result<(), Error> {
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| Error::Enter { netns, source: e.into() })
}

/// Namespace inodes are 32 bits wide (`proc_alloc_inum`, Linux 5.10 to 6.18).
fn inode(metadata: &fs::Metadata) -> Result<Netns, Error> {
    u32::try_from(metadata.ino()).map(Netns).map_err(|_| Error::Malformed {
        what: "the inode of a network namespace".into(),
        why: format!("{} has more than 32 bits", metadata.ino()),
    })
}

/// The namespace that a link like `net:[4026531840]` names; none: it is another kind of link.
fn link(path: &Path) -> io::Result<Option<Netns>> {
    Ok(fs::read_link(path)?.to_str().and_then(bracketed))
}

fn bracketed(text: &str) -> Option<Netns> {
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok().map(Netns)
}

/// The mounts of network namespaces in a mount table, below the `root` it is seen from.
fn mounts(table: &Path, root: &Path) -> impl Iterator<Item = (Netns, PathBuf)> {
    features::mount_table(table).into_iter().filter(|m| m.file_system == "nsfs").filter_map(move |mount| {
        let netns = bracketed(&mount.root)?;
        Some((netns, root.join(mount.at.strip_prefix("/").unwrap_or(&mount.at))))
    })
}

/// The name a namespace has by the file that keeps it: in the folder of `ip netns` or of a container runtime.
fn name(file: &Path) -> Option<String> {
    let folder = file.parent()?;
    (folder.ends_with("run/netns") || folder.ends_with("docker/netns"))
        .then(|| file.file_name().map(|n| n.to_string_lossy().into_owned()))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_namespaces_that_are_mounted() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
                    700 30 0:4 net:[4026532266] /run/netns/cl rw shared:7 - nsfs nsfs rw\n\
                    701 30 0:4 net:[4026532300] /run/docker/netns/a\\040b rw - nsfs nsfs rw\n\
                    702 30 0:4 mnt:[4026532301] /run/snapd/ns/x.mnt rw - nsfs nsfs rw\n\
                    cut";
        let table = tempfile::NamedTempFile::new().unwrap();
        fs::write(table.path(), text).unwrap();
        let expected = [
            (Netns(4_026_532_266), "/proc/7/root/run/netns/cl".into()),
            (Netns(4_026_532_300), "/proc/7/root/run/docker/netns/a b".into()),
        ];
        assert_eq!(mounts(table.path(), Path::new("/proc/7/root")).collect::<Vec<(Netns, PathBuf)>>(), expected);
    }

    #[test]
    fn names_only_what_a_tool_named() {
        assert_eq!(name(Path::new("/run/netns/cl")).as_deref(), Some("cl"));
        assert_eq!(name(Path::new("/var/run/docker/netns/1-abc")).as_deref(), Some("1-abc"));
        assert_eq!(name(Path::new("/proc/4/fd/7")), None);
    }
}
