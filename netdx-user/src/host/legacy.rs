//! The old iptables, which does not count its changes. Owns: which tables of it there are, and a number that is another one
//! when their rules are others. Must not know: what the rules mean (see `iptables`).
//!
//! Only tables that are there are asked for: the kernel makes the others when they are (`xt_find_table_lock`, Linux 6.18).

use rustix::net::{AddressFamily, SocketType, socket};
use std::{
    fs,
    hash::{DefaultHasher, Hasher as _},
    os::fd::{AsRawFd, OwnedFd},
};

/// `IPT_SO_GET_INFO`, `IP6T_SO_GET_INFO` (include/uapi/linux/netfilter_ipv4/ip_tables.h).
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_GET_ENTRIES`, `IP6T_SO_GET_ENTRIES`
const GET_ENTRIES: libc::c_int = 65;
/// `XT_TABLE_MAXNAMELEN`
const NAME: usize = 32;
/// Bytes of `struct ipt_getinfo`, and where in it the size of the rules is.
const INFO: usize = 84;
const SIZE: usize = 80;
/// Where the rules begin in `struct ipt_get_entries`.
const ENTRIES: usize = 40;
/// How often rules are asked for again that changed while they were asked for.
const ATTEMPTS: usize = 4;

/// Where in a rule (`struct ipt_entry`, `struct ip6t_entry`) there is what.
#[derive(Clone, Copy)]
struct Layout {
    level: libc::c_int,
    family: AddressFamily,
    /// The length of the rule, 16 bits.
    next: usize,
    /// Packets and bytes, 16 bytes: they change by themselves.
    counters: usize,
}

const V4: Layout = Layout { level: libc::SOL_IP, family: AddressFamily::INET, next: 90, counters: 96 };
const V6: Layout = Layout { level: libc::SOL_IPV6, family: AddressFamily::INET6, next: 142, counters: 152 };

/// The names of the tables that the calling thread's namespace has.
pub(super) fn tables(v6: bool) -> Vec<String> {
    let names = if v6 { "ip6_tables_names" } else { "ip_tables_names" };
    // There is no such file when the old tables are not even loaded.
    let all = fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
    all.split_whitespace().map(str::to_owned).collect()
}

/// A number for all its rules in the calling thread's namespace; none: it has no tables.
///
/// # Errors
/// They can't be read.
pub(super) fn fingerprint() -> Result<Option<u32>, ()> {
    let mut hasher = DefaultHasher::new();
    let mut any = false;
    for (layout, v6) in [(V4, false), (V6, true)] {
        for table in tables(v6) {
            any = true;
            hasher.write(table.as_bytes());
            hasher.write(&rules(layout, &table).ok_or(())?);
        }
    }
    let [number, _] = halves(hasher.finish());
    Ok(any.then_some(number))
}

fn halves(number: u64) -> [u32; 2] {
    let bytes = number.to_ne_bytes();
    [0, 4].map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

/// The rules of a table as the kernel has them, without their counters.
fn rules(layout: Layout, table: &str) -> Option<Vec<u8>> {
    let socket = socket(layout.family, SocketType::DGRAM, None).ok()?;
    (0..ATTEMPTS).find_map(|_| {
        let info = ask(&socket, layout.level, GET_INFO, table, &[], INFO)?;
        let size = info.get(SIZE..SIZE + 4)?;
        let length = ENTRIES + usize::try_from(u32::from_ne_bytes(size.try_into().ok()?)).ok()?;
        let mut entries = ask(&socket, layout.level, GET_ENTRIES, table, size, length)?.split_off(ENTRIES);
        without_counters(layout, &mut entries);
        Some(entries)
    })
}

fn without_counters(layout: Layout, entries: &mut [u8]) {
    let mut rest = entries;
    while let Some(length) = rest.get(layout.next..layout.next + 2) {
        let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
        let Some(counters) = rest.get_mut(layout.counters..layout.counters + 16) else { return };
        counters.fill(0);
        let Some((_, others)) = rest.split_at_mut_checked(length).filter(|_| length > 0) else { return };
        rest = others;
    }
}

/// Asks about a table: its name and what belongs to the question are given, as many bytes as fit are the answer.
fn ask(
    socket: &OwnedFd,
    level: libc::c_int,
    what: libc::c_int,
    table: &str,
    question: &[u8],
    length: usize,
) -> Option<Vec<u8>> {
    let mut buffer = vec![0; length.max(NAME + question.len())];
    buffer.get_mut(..NAME - 1)?.get_mut(..table.len())?.copy_from_slice(table.as_bytes());
    buffer[NAME..NAME + question.len()].copy_from_slice(question);
    let mut length = libc::socklen_t::try_from(buffer.len()).ok()?;
    // SAFETY: it reads and writes no more than `length` bytes, which are there.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, what, buffer.as_mut_ptr().cast(), &raw mut length) };
    (result == 0 && length as usize == buffer.len()).then_some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_no_rules() {
        let rule = |length: u16, filler: u8| {
            let mut rule = vec![filler; usize::from(length)];
            rule[V4.next..V4.next + 2].copy_from_slice(&length.to_ne_bytes());
            rule
        };
        let clean = |rules: &[Vec<u8>]| {
            let mut all = rules.concat();
            without_counters(V4, &mut all);
            all
        };
        let all = clean(&[rule(112, 7), rule(152, 7)]);
        assert_eq!(all.iter().filter(|byte| **byte == 0).count(), 16 + 16 + 2, "{all:?}");
        assert_ne!(all, clean(&[rule(112, 7), rule(152, 8)]));
        // What ends early, or claims no length, is no reason to go on.
        assert_eq!(clean(&[vec![0; 120]]), vec![0; 120]);
        assert_eq!(clean(&[rule(112, 7)[..100].to_vec()]), rule(112, 7)[..100]);
    }
}
