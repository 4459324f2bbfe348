//! Sysctls under /proc/sys/net. Owns: reading one. Must not know: what it means.
//!
//! /proc/sys/net shows the namespace of the task that opens it (`net_ctl_root.lookup`, Linux 5.10 to 6.18), so it is read on
//! a thread inside that namespace.

use super::Error;
use std::{
    fs,
    path::{Component, Path},
};

/// The text of a sysctl, trimmed, for example of `ipv4/ip_forward`, in the calling thread's namespace.
///
/// # Errors
/// It is not there, may not be read, or the key leads out of /proc/sys/net.
pub fn read(key: &str) -> Result<String, Error> {
    if !Path::new(key).components().all(|c| matches!(c, Component::Normal(_))) {
        return Err(Error::Malformed {
            what: format!("the sysctl name {key:?}"),
            why: "it leads out of /proc/sys/net".into(),
        });
    }
    let path = Path::new("/proc/sys/net").join(key);
    let text = fs::read_to_string(&path).map_err(|e| Error::read(&path, e))?;
    Ok(text.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_says_what_is_not_there() {
        assert!(matches!(read("ipv4/ip_forward").unwrap().as_str(), "0" | "1"));
        assert!(read("ipv4/no_such_thing").unwrap_err().to_string().contains("/proc/sys/net/ipv4/no_such_thing"));
        assert!(read("../kernel/hostname").is_err());
        assert!(read("/etc/passwd").is_err());
    }
}
