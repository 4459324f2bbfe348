//! `int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)`, in each
//! C library.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use netdx_common::record::{GetAddrInfo, NAME_LEN, SERVICE_LEN};

use crate::{
    emit::{self, Wake},
    filter,
    maps::{LOOKUPS, Lookup, find},
    read::{Kernel, Place, User, now},
    task,
};

/// A call of nothing. Static: it is too large for the stack.
static EMPTY: Lookup = Lookup { started: 0, family: 0, _pad: 0, name: [0; NAME_LEN], service: [0; SERVICE_LEN] };

/// Offset of `ai_family` in `struct addrinfo`, behind `int ai_flags`.
const FAMILY: u64 = 4;
/// `addrinfo::ai_flags`, first.
const FLAGS: u64 = 0;
/// AI_NUMERICHOST (netdb.h; the same in glibc and musl).
const NUMERIC_HOST: u32 = 4;

/// A call begins.
#[uprobe]
pub fn getaddrinfo_enter(context: ProbeContext) -> u32 {
    let tid = task::tid();
    if !filter::current_task() || LOOKUPS.insert(tid, &EMPTY, 0).is_err() {
        return 0;
    }
    let Some(lookup) = find!(LOOKUPS, tid) else {
        return 0;
    };
    lookup.started = now();
    User(context.arg(0).unwrap_or(0)).text(&mut lookup.name);
    User(context.arg(1).unwrap_or(0)).text(&mut lookup.service);
    let hints = User(context.arg(2).unwrap_or(0));
    if hints.0 != 0 {
        if hints.read::<u32>(FLAGS) & NUMERIC_HOST != 0 {
            // Only tries whether the text is an address: nothing is looked up.
            let _ = LOOKUPS.remove(tid);
            return 0;
        }
        lookup.family = hints.read(FAMILY);
    }
    0
}

/// A call returns.
#[uretprobe]
pub fn getaddrinfo_return(context: RetProbeContext) -> u32 {
    let Some(lookup) = find!(LOOKUPS, task::tid()) else {
        return 0;
    };
    let result = context.ret::<u64>() as i32;
    if result == 0 && is_numeric(&lookup.name) {
        // Found above: it is there.
        let _ = LOOKUPS.remove(task::tid());
        return 0;
    }
    let task = task::read_current();
    task::remember(&task);
    task::announce(task.tgid);
    emit::record::<GetAddrInfo>(if result == 0 { Wake::Later } else { Wake::Now }, |record| {
        record.task = task;
        record.started = lookup.started;
        record.result = result;
        record.family = lookup.family;
        Kernel(lookup.name.as_ptr() as u64).copy::<NAME_LEN>(0, &mut record.name);
        Kernel(lookup.service.as_ptr() as u64).copy::<SERVICE_LEN>(0, &mut record.service);
    });
    // Found above: it is there.
    let _ = LOOKUPS.remove(task.tid);
    0
}

/// Whether a name is an address, or none was given: no lookup that works. Bounded as a textual address is.
#[inline(always)]
fn is_numeric(name: &[u8; NAME_LEN]) -> bool {
    /// INET6_ADDRSTRLEN
    const LONGEST: usize = 46;
    for byte in name.iter().take(LONGEST) {
        match byte {
            0 | b':' => return true,
            b'0'..=b'9' | b'.' => {}
            _ => return false,
        }
    }
    false
}
