//! What this kernel and this system offer to a tracer: release, lockdown, where tracefs and the v2 cgroups are.
//!
//! Owns: finding that out, without changing anything (nothing is mounted). Must not know: what it is needed for.

use std::{
    fs,
    path::{Path, PathBuf},
};

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
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
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

/// The root of the v2 cgroup hierarchy, if it is mounted where this process can see it.
#[must_use]
pub fn cgroup_root(mounts: &[Mount]) -> Option<PathBuf> {
    visible(mounts, "cgroup2")
}

/// Where tracefs is, if it is mounted where this process can see it.
#[must_use]
pub fn tracefs(mounts: &[Mount]) -> Option<PathBuf> {
    let inside_debugfs = || visible(mounts, "debugfs").map(|d| d.join("tracing"));
    let has_events = |p: &PathBuf| p.join("events").is_dir();
    visible(mounts, "tracefs").filter(has_events).or_else(|| inside_debugfs().filter(has_events))
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

/// A sysctl by its path under /proc/sys.
#[must_use]
pub fn sysctl(key: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(key)).ok().map(|s| s.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_are_read() {
        let m = parse_mount(r"36 35 98:0 / /mnt\040a\134b rw,noatime master:1 - cgroup2 none rw").expect("a mount");
        assert_eq!(m, Mount { root: "/".into(), at: PathBuf::from(r"/mnt a\b"), file_system: "cgroup2".into() });
        assert_eq!(parse_mount("36 35 98:0 /"), None);
        assert_eq!(unescape(r"a\04"), r"a\04");
    }
}
