//! Connection tracking. Owns: reading its fill and its drop counters. Must not know: rules.

use super::{Error, sysctl};
use crate::fact::Conntrack;
use std::{fs, io};

/// Connection tracking of the calling thread's namespace.
///
/// # Errors
/// It is not in use (its module is not loaded), or may not be read.
pub fn read() -> Result<Conntrack, Error> {
    // The kernel may be built without this file (NF_CONNTRACK_PROCFS); fill and limit are told all the same.
    let path = "/proc/thread-self/net/stat/nf_conntrack";
    let statistics = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::read(path, e)),
    };
    let number = |key: &str| -> Result<u64, Error> {
        let text = match sysctl::read(key) {
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoTracking);
            }
            other => other?,
        };
        text.parse()
            .map_err(|e| Error::Malformed { what: format!("/proc/sys/net/{key}"), why: format!("{e}: {text:?}") })
    };
    let counter = |name| statistics.as_deref().and_then(|text| column(text, name));
    Ok(Conntrack {
        count: number("netfilter/nf_conntrack_count")?,
        max: number("netfilter/nf_conntrack_max")?,
        drop: counter("drop").unwrap_or(0),
        invalid: counter("invalid").unwrap_or(0),
        early_drop: counter("early_drop").unwrap_or(0),
        insert_failed: counter("insert_failed").unwrap_or(0),
        counted: statistics.is_some(),
    })
}

/// The sum over all processors of one column, which has hexadecimal numbers; none: there is no such column.
fn column(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let index = lines.next()?.split_whitespace().position(|n| n == name)?;
    let values = lines.filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(index)?, 16).ok());
    Some(values.fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_summed_over_processors() {
        let text =
            "entries  clashres found invalid drop\n0000000a 0 0 00000010 00000001\n0000000a 0 0 00000001 0000000f\ncut";
        assert_eq!(column(text, "invalid"), Some(17));
        assert_eq!(column(text, "drop"), Some(16));
        assert_eq!(column(text, "early_drop"), None);
    }
}
