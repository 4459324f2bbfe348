//! Processes, as /proc has them. Owns: what a process is, and who holds a socket. Must not know: namespaces, netlink.

use super::Error;
use crate::{
    event::Netns,
    fact::{self, Owner},
};
use procfs::ProcError;
use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat_raw};
use std::{
    collections::BTreeMap,
    fs,
    mem::MaybeUninit,
    path::Path,
    time::{Duration, Instant},
};

/// Every process id.
///
/// # Errors
/// /proc can't be read.
pub fn pids() -> Result<Vec<u32>, Error> {
    let path = Path::new("/proc");
    let entries = fs::read_dir(path).map_err(|e| Error::read(path, e))?;
    Ok(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
}

/// A process's name, bytes that are not UTF-8 replaced; none: it has ended.
#[must_use]
pub fn comm(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(&bytes)).into_owned())
}

/// When a process started, in clock ticks since boot; none: it has ended.
#[must_use]
pub fn started(pid: u32) -> Option<u64> {
    open(pid)?.stat().ok().map(|s| s.starttime)
}

fn open(pid: u32) -> Option<procfs::process::Process> {
    procfs::process::Process::new(i32::try_from(pid).ok()?).ok()
}

/// What a process is; none: it has ended. What may not be seen is none in it.
///
/// # Errors
/// /proc/PID/status is there and can't be read.
pub fn describe(pid: u32) -> Result<Option<fact::Process>, Error> {
    let Some(process) = open(pid) else { return Ok(None) };
    let status = match process.status() {
        Ok(status) => status,
        Err(ProcError::NotFound(_)) => return Ok(None),
        Err(e) => return Err(Error::Malformed { what: format!("/proc/{pid}/status"), why: e.to_string() }),
    };
    let Some(comm) = comm(pid) else { return Ok(None) };
    let argv = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let argv = argv.strip_suffix(b"\0").unwrap_or(&argv);
    let place = place(pid);
    Ok(Some(fact::Process {
        pid,
        comm,
        exe: process.exe().ok().map(|p| p.to_string_lossy().into_owned()),
        argv: match argv {
            [] => Vec::new(),
            argv => argv.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect(),
        },
        uid: status.ruid,
        cgroup: place.cgroup,
        unit: place.unit,
        container: place.container,
        netns: process.namespaces().ok().and_then(|n| {
            n.0.get(std::ffi::OsStr::new("net")).and_then(|n| u32::try_from(n.identifier).ok()).map(Netns)
        }),
        seccomp: status.seccomp.unwrap_or(0),
        label: label(pid),
        files: files(&process),
        all_files: all_files(),
    }))
}

/// Open files and the soft limit.
fn files(process: &procfs::process::Process) -> Option<(u64, u64)> {
    let open = process.fd_count().ok()?;
    let limit = match process.limits().ok()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Unlimited => u64::MAX,
        procfs::process::LimitValue::Value(n) => n,
    };
    Some((open as u64, limit))
}

/// Open files of the whole host, and fs.file-max (proc(5), /proc/sys/fs/file-nr).
fn all_files() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").ok()?;
    let mut numbers = text.split_whitespace().map(|n| n.parse().ok());
    // Allocated, of these unused (always 0 since 2.6), the limit.
    let (open, unused, limit): (u64, u64, u64) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some((open.saturating_sub(unused), limit))
}

/// The label of the security module, unless it says that nothing is confined.
fn label(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/attr/current")).ok()?;
    let text = text.trim_end_matches(['\0', '\n']);
    (!text.is_empty() && text != "unconfined").then(|| text.to_string())
}

/// Where a process stands in the cgroup tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Path in the v2 hierarchy, or, when that says nothing, in systemd's v1 hierarchy.
    pub cgroup: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// Container id or name.
    pub container: Option<String>,
}

/// Where a process stands in the cgroup tree; all none: it has ended.
#[must_use]
pub fn place(pid: u32) -> Place {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).map(|text| place_of(&text)).unwrap_or_default()
}

/// The path of a process's cgroup in the v2 hierarchy, `/` for its root.
///
/// # Errors
/// The process has ended, or there is no such hierarchy.
pub fn cgroup(pid: u32) -> Result<String, Error> {
    let file = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&file).map_err(|e| Error::read(file.as_str(), e))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    path.map(str::to_string).ok_or_else(|| Error::Malformed { what: file, why: "it has no line of cgroups v2".into() })
}

/// Reads /proc/PID/cgroup (cgroups(7)): `hierarchy:controllers:path` lines. With both versions mounted, v2 may hold
/// every process in its root while systemd's v1 hierarchy or a controller's has the real place.
fn place_of(text: &str) -> Place {
    let lines: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let (id, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            Some((id, controllers, path))
        })
        .collect();
    let v2 = lines.iter().find(|(id, controllers, _)| *id == "0" && controllers.is_empty());
    let systemd = lines.iter().find(|(_, controllers, _)| *controllers == "name=systemd");
    let candidates = v2.into_iter().chain(systemd).chain(&lines).map(|(_, _, path)| *path);
    let cgroup = v2.filter(|(_, _, path)| *path != "/").or(systemd).or(v2).map(|(_, _, path)| (*path).to_string());
    Place {
        unit: candidates.clone().find_map(unit).map(str::to_string),
        container: candidates.clone().find_map(container).map(str::to_string),
        cgroup,
    }
}

/// The systemd unit of a cgroup path: the innermost `.service` or `.scope`, else `.socket`, `.mount`, `.swap`. A
/// container's scope is no unit that a person named.
#[must_use]
pub fn unit(path: &str) -> Option<&str> {
    const KINDS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
    path.split('/').rev().find(|part| {
        KINDS.iter().any(|kind| part.ends_with(kind) && part.len() > kind.len()) && container(part).is_none()
    })
}

/// The container id or name of a cgroup path, as Docker, Podman, containerd and CRI-O under Kubernetes, LXC and
/// systemd-nspawn lay them out.
#[must_use]
pub fn container(path: &str) -> Option<&str> {
    const PREFIXES: [&str; 6] = ["docker-", "libpod-", "cri-containerd-", "crio-", "nerdctl-", "containerd-"];
    let mut before = "";
    let mut found = None;
    for part in path.split('/') {
        let scope = part.strip_suffix(".scope");
        let id = PREFIXES.iter().find_map(|p| scope.unwrap_or(part).strip_prefix(p)).filter(|id| is_id(id));
        let plain = is_id(part).then_some(part);
        let lxc =
            part.strip_prefix("lxc.payload.").or_else(|| (before == "lxc" || before == "lxc.payload").then_some(part));
        let machine = scope.and_then(|s| s.strip_prefix("machine-"));
        let nspawn = part.strip_prefix("systemd-nspawn@").and_then(|s| s.strip_suffix(".service"));
        if let Some(name) = id.or(plain).or(lxc).or(machine).or(nspawn).filter(|n| !n.is_empty()) {
            found = Some(name);
        }
        before = part;
    }
    found
}

/// Container runtimes name a container by 64 hexadecimal digits; containerd in a Kubernetes pod does the same.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Who holds which socket: the open files of all processes, looked through when a socket is asked for that isn't known.
#[derive(Debug, Default)]
pub struct Holders {
    /// (inode, pid, file descriptor), sorted.
    seen: Vec<(u32, u32, i32)>,
    /// Inodes that nobody was seen to hold, and when.
    orphans: BTreeMap<u32, Instant>,
}

/// How long it is believed that nobody holds a socket: those of the kernel itself would cost a search every time. A socket gets
/// its file within microseconds.
const ORPHAN: Duration = Duration::from_secs(1);

impl Holders {
    /// The processes that hold each of these sockets, the one that started first before those it has made since. Inode 0 is
    /// nobody's. What was seen earlier is believed only as far as the file is still that socket.
    pub fn of(&mut self, inodes: &[u32]) -> BTreeMap<u32, Vec<Owner>> {
        let now = Instant::now();
        self.orphans.retain(|_, since| now.duration_since(*since) < ORPHAN);
        let wanted = |i: &&u32| **i != 0 && !self.orphans.contains_key(*i);
        let asked: Vec<u32> = inodes.iter().filter(wanted).copied().collect();
        let mut found = self.known(&asked);
        if found.len() < asked.iter().collect::<std::collections::BTreeSet<_>>().len() {
            self.look();
            found = self.known(&asked);
            self.orphans.extend(asked.iter().filter(|i| !found.contains_key(i)).map(|i| (*i, now)));
        }
        found
    }

    fn known(&self, inodes: &[u32]) -> BTreeMap<u32, Vec<Owner>> {
        let mut names: BTreeMap<u32, Option<String>> = BTreeMap::new();
        let mut found = BTreeMap::new();
        for inode in inodes {
            let first = self.seen.partition_point(|(i, _, _)| i < inode);
            let mut owners: Vec<Owner> = Vec::new();
            for (_, pid, fd) in self.seen[first..].iter().take_while(|(i, _, _)| i == inode) {
                if owners.last().is_none_or(|o| o.pid != *pid) && is_socket(*pid, *fd, *inode) {
                    let name = names.entry(*pid).or_insert_with(|| comm(*pid));
                    owners.extend(name.clone().map(|comm| Owner { pid: *pid, comm }));
                }
            }
            if owners.len() > 1 {
                owners.sort_by_cached_key(|owner| (started(owner.pid).unwrap_or(u64::MAX), owner.pid));
            }
            if !owners.is_empty() {
                found.insert(*inode, owners);
            }
        }
        found
    }

    /// Looks at every open file of every process that may be seen.
    fn look(&mut self) {
        self.seen.clear();
        for pid in pids().unwrap_or_default() {
            let path = format!("/proc/{pid}/fd");
            let Ok(folder) = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            else {
                continue;
            };
            let Ok(entries) = Dir::read_from(&folder) else { continue };
            for entry in entries.flatten() {
                let mut buffer = [MaybeUninit::uninit(); 64];
                let Ok((target, _)) = readlinkat_raw(&folder, entry.file_name(), &mut buffer[..]) else { continue };
                let fd = entry.file_name().to_str().ok().and_then(|n| n.parse().ok());
                if let (Some(inode), Some(fd)) = (socket_inode(target), fd) {
                    self.seen.push((inode, pid, fd));
                }
            }
        }
        self.seen.sort_unstable();
        self.seen.shrink_to_fit();
    }
}

fn is_socket(pid: u32, fd: i32, inode: u32) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 64];
    readlinkat_raw(CWD, format!("/proc/{pid}/fd/{fd}"), &mut buffer[..])
        .is_ok_and(|(target, _)| socket_inode(target) == Some(inode))
}

/// The inode that a link like `socket:[12345]` names.
fn socket_inode(target: &[u8]) -> Option<u32> {
    std::str::from_utf8(target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, os::unix::fs::MetadataExt};

    const ID: &str = "4f3c1f0a9d5a4b0f8e8d3d9f1c2b3a495867768594a3b2c1d0e9f8a7b6c5d4e3";

    #[test]
    fn units_and_containers_from_cgroup_paths() {
        let table: [(String, Option<&str>, Option<&str>); 14] = [
            ("/system.slice/postgresql@15-main.service".into(), Some("postgresql@15-main.service"), None),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope".into(), Some("app-x.scope"), None),
            ("/user.slice/user-1000.slice/session-3.scope".into(), Some("session-3.scope"), None),
            ("/system.slice/cups.socket".into(), Some("cups.socket"), None),
            ("/init.scope".into(), Some("init.scope"), None),
            (format!("/docker/{ID}"), None, Some(ID)),
            (format!("/system.slice/docker-{ID}.scope"), None, Some(ID)),
            (format!("/machine.slice/libpod-{ID}.scope/container"), None, Some(ID)),
            (format!("/kubepods/burstable/pod1c8a/{ID}"), None, Some(ID)),
            (format!("/kubepods.slice/kubepods-pod1c8a.slice/cri-containerd-{ID}.scope"), None, Some(ID)),
            ("/lxc.payload.web1/system.slice/nginx.service".into(), Some("nginx.service"), Some("web1")),
            ("/lxc/web1".into(), None, Some("web1")),
            ("/machine.slice/systemd-nspawn@build.service/payload".into(), None, Some("build")),
            ("/".into(), None, None),
        ];
        for (path, a_unit, a_container) in table {
            assert_eq!((unit(&path), container(&path)), (a_unit, a_container), "{path}");
        }
    }

    #[test]
    fn the_systemd_hierarchy_counts_where_v2_says_nothing() {
        let hybrid = "9:name=systemd:/system.slice/a.service\n4:memory:/x\n0::/\n";
        let place = place_of(hybrid);
        assert_eq!(place.cgroup.as_deref(), Some("/system.slice/a.service"));
        assert_eq!(place.unit.as_deref(), Some("a.service"));
        let unified = place_of("0::/system.slice/b.service\n");
        assert_eq!(unified.cgroup.as_deref(), Some("/system.slice/b.service"));
        let v1 = place_of(&format!("4:memory:/docker/{ID}\n0::/\n"));
        assert_eq!((v1.cgroup.as_deref(), v1.container.as_deref()), (Some("/"), Some(ID)));
        assert_eq!(place_of("nonsense"), Place::default());
    }

    #[test]
    fn a_socket_is_held_until_it_is_closed() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let inode = fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().ino() as u32;
        let mut holders = Holders::default();
        let owners = holders.of(&[inode, 0]);
        let pids: Vec<u32> = owners[&inode].iter().map(|o| o.pid).collect();
        assert_eq!((owners.len(), pids), (1, vec![std::process::id()]));
        drop(socket);
        assert_eq!(holders.of(&[inode]), BTreeMap::new());
    }

    /// Their numbers begin anew at the end of the range: a child's may be the lower one.
    #[test]
    fn who_made_a_socket_comes_before_its_children() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let inode = fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().ino() as u32;
        let holding = std::os::fd::OwnedFd::from(socket.try_clone().unwrap());
        let mut child = std::process::Command::new("sleep").arg("60").stdin(holding).spawn().unwrap();
        let owners = Holders::default().of(&[inode]);
        child.kill().unwrap();
        child.wait().unwrap();
        let pids: Vec<u32> = owners[&inode].iter().map(|o| o.pid).collect();
        assert_eq!(pids.first(), Some(&std::process::id()), "{pids:?}");
        assert!(pids.contains(&child.id()), "{pids:?}");
    }

    #[test]
    fn describes_this_process() {
        let me = describe(std::process::id()).unwrap().unwrap();
        assert_eq!(me.argv, std::env::args().collect::<Vec<_>>());
        assert_eq!(me.exe.as_deref(), std::env::current_exe().unwrap().to_str());
        assert!(me.netns.is_some());
        assert!(me.files.is_some_and(|(open, limit)| open > 2 && open <= limit));
        assert!(me.all_files.is_some_and(|(open, limit)| open > 2 && open <= limit));
        assert_eq!(describe(u32::MAX).unwrap(), None);
    }
}
