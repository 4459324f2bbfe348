//! What this kernel and this system offer to a tracer: release, lockdown, where tracefs and the v2 cgroups are.
//!
//! Owns: finding that out, without changing anything. Must not know: what it is needed for.

use rustix::{
    fs::{Mode, OFlags, openat},
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// Inode of the machine's own process-id namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h, 3.8).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Whether a link leads to the machine's own process-id namespace; none: it can't be told.
fn is_first_pid_namespace(link: &str) -> Option<bool> {
    fs::metadata(link).ok().map(|namespace| namespace.ino() == FIRST_PID_NAMESPACE)
}

/// Whether this process counts processes as the kernel's records do: not in a container that has process ids of its own.
#[must_use]
pub fn counts_processes_alike() -> bool {
    is_first_pid_namespace("/proc/self/ns/pid").unwrap_or(true)
}

/// Whether /proc does.
#[must_use]
pub fn proc_counts_processes_alike() -> bool {
    static ALIKE: LazyLock<bool> = LazyLock::new(|| {
        // The namespace of its process 1, at which not everybody may look. If /proc has another number for this process
        // than the process itself, it is of one further out.
        let further_out = || ids(&fs::read_to_string("/proc/self/status").unwrap_or_default()) > 1;
        is_first_pid_namespace("/proc/1/ns/pid").unwrap_or_else(|| further_out() || counts_processes_alike())
    });
    *ALIKE
}

/// How many numbers a process has, from the namespace of the /proc that is read to its own (`NSpid`, proc(5)).
fn ids(status: &str) -> usize {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.map_or(0, |numbers| numbers.split_whitespace().count())
}

/// Said where that is not so.
pub const OTHER_PROCESS_IDS: &str = "netdx runs in a process-id namespace of its own, as in a container: what the kernel \
     calls a process is another one here. Start netdx outside, or the container with the machine's: docker run --pid=host";

/// A mounted file system, from /proc/self/mountinfo (proc(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What of the file system is mounted (`/`: all of it).
    pub root: String,
    /// Where.
    pub at: PathBuf,
    /// Its type.
    pub file_system: String,
}

/// The mounts that this process sees; later ones lie over earlier ones.
#[must_use]
pub fn mounts() -> Vec<Mount> {
    mount_table(Path::new("/proc/self/mountinfo"))
}

/// The mounts of a table; none when it can't be read.
#[must_use]
pub fn mount_table(path: &Path) -> Vec<Mount> {
    let text = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(parse_mount).collect()
}

/// `36 35 98:0 /root /mount/point options optional... - type source options`
fn parse_mount(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut fields = place.split(' ').skip(3);
    let (root, at) = (fields.next()?, fields.next()?);
    Some(Mount { root: unescape(root), at: unescape(at).into(), file_system: kind.split(' ').next()?.to_owned() })
}

/// Spaces, tabs, newlines and backslashes are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after.get(..3).and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn visible(mounts: &[Mount], file_system: &str) -> Option<PathBuf> {
    mounts.iter().rev().find(|m| m.file_system == file_system && m.root == "/" && m.at.is_dir()).map(|m| m.at.clone())
}

/// A directory of the kernel's, held open.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    /// Where it is mounted; none: nowhere that this process sees, it is open for netdx alone.
    pub mounted_at: Option<PathBuf>,
}

impl Directory {
    /// Where `mounts` show the file system; else by a mount of its own, which is attached nowhere: nobody else sees it,
    /// and it ends with this value (fsmount(2), Linux 5.2; needs CAP_SYS_ADMIN).
    ///
    /// # Errors
    /// When the kernel doesn't have the file system or refuses.
    fn open(mounts: &[Mount], file_system: &str) -> io::Result<Directory> {
        if let Some(path) = visible(mounts, file_system) {
            return Ok(Directory { fd: File::open(&path)?.into(), mounted_at: Some(path) });
        }
        Directory::unmounted(file_system).map_err(|errno| match errno {
            Errno::NODEV => io::Error::new(io::ErrorKind::Unsupported, "this kernel does not have it"),
            Errno::PERM => io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("it is not mounted, and opening it unmounted takes CAP_SYS_ADMIN{}", mount_advice(file_system)),
            ),
            other => io::Error::from(other),
        })
    }

    /// By a mount of its own.
    fn unmounted(file_system: &str) -> rustix::io::Result<Directory> {
        let context = fsopen(file_system, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let harmless = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok(Directory { fd: fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, harmless)?, mounted_at: None })
    }

    /// A small file in it, as text.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let fd = openat(&self.fd, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// How to mount it for everybody.
fn mount_advice(file_system: &str) -> &'static str {
    match file_system {
        "tracefs" => " (root can mount it: mount -t tracefs tracefs /sys/kernel/tracing)",
        "cgroup2" => " (root can mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup)",
        _ => "",
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The root of the v2 cgroup hierarchy.
///
/// # Errors
/// When it can't be had.
pub fn cgroup_root(mounts: &[Mount]) -> io::Result<Directory> {
    Directory::open(mounts, "cgroup2")
}

/// Where the ids of classic tracepoints are. (`ip netns exec` hides the system's.)
///
/// # Errors
/// When it can't be had.
pub fn tracefs(mounts: &[Mount]) -> io::Result<Directory> {
    Directory::open(mounts, "tracefs")
}

/// Type of the uprobe performance unit, and the bit of its configuration that asks for returns.
///
/// # Errors
/// Which file could not be read, and why.
pub fn uprobe_pmu() -> Result<(u32, u32), (PathBuf, io::Error)> {
    Ok((pmu_number("uprobe/type")?, pmu_number("uprobe/format/retprobe")?))
}

/// Type of the kprobe performance unit.
///
/// # Errors
/// As above; without kprobes in the kernel it has no such file.
pub fn kprobe_pmu() -> Result<u32, (PathBuf, io::Error)> {
    pmu_number("kprobe/type")
}

fn pmu_number(file: &str) -> Result<u32, (PathBuf, io::Error)> {
    let path = Path::new("/sys/bus/event_source/devices").join(file);
    let text = fs::read_to_string(&path).map_err(|e| (path.clone(), e))?;
    let digits = text.trim().trim_start_matches("config:");
    digits.parse().map_err(|e| (path, io::Error::other(e)))
}

/// How far the kernel is locked down (`none`, `integrity`, `confidentiality`); none: it doesn't say.
#[must_use]
pub fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// The running kernel's release.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The version that a kernel's release begins with; (0, 0) where it begins with none.
#[must_use]
pub fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-', '+']).map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A sysctl by its path under /proc/sys.
#[must_use]
pub fn sysctl(key: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(key)).ok().map(|s| s.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_number_in_each_namespace() {
        assert_eq!(ids("Name:\tsh\nNSpid:\t4711\t1\n"), 2);
        assert_eq!(ids("NSpid:\t4711\n"), 1);
        assert_eq!(ids("Name:\tsh\n"), 0, "Linux before 4.1");
        assert!(ids(&fs::read_to_string("/proc/self/status").expect("its own")) >= 1);
    }

    #[test]
    fn a_directory_is_found_or_the_kernel_says_why_not() {
        match cgroup_root(&mounts()) {
            Ok(root) => assert!(root.read("cgroup.procs").is_ok()),
            Err(error) => assert_ne!(rustix::process::geteuid().as_raw(), 0, "{error}"),
        }
        let nothing = Directory::open(&[], "no-such-file-system").expect_err("no kernel has it");
        let said = nothing.to_string();
        assert!(said == "this kernel does not have it" || said.contains("takes CAP_SYS_ADMIN"), "{said}");
    }

    #[test]
    fn mountinfo_lines_are_read() {
        let m = parse_mount(r"36 35 98:0 / /mnt\040a\134b rw,noatime master:1 - cgroup2 none rw").expect("a mount");
        assert_eq!(m, Mount { root: "/".into(), at: PathBuf::from(r"/mnt a\b"), file_system: "cgroup2".into() });
        assert_eq!(parse_mount("36 35 98:0 /"), None);
        assert_eq!(unescape(r"a\04"), r"a\04");
    }
}
