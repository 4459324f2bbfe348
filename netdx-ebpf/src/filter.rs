//! What is written at all, as far as it can be told in the kernel.
//!
//! Owns: the filters. Must not know: records. The port of name lookups always passes while DNS is on: a lookup that
//! fails has no other port. Ports are those of sockets: on its way a packet may get others (network address translation).

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use netdx_common::config::flag;

use crate::{
    maps::{CGROUPS, NETNS, PIDS, TREE, UIDS},
    read::{Kernel, Place, config, current, offset},
    task,
};

/// Port of DNS.
pub const DNS_PORT: u16 = 53;

/// How deep cgroups are searched for one that is asked for.
const CGROUP_DEPTH: u32 = 12;

/// Whether all the flags in `mask` are set.
#[inline(always)]
pub fn on(mask: u32) -> bool {
    config!(flags) & mask == mask
}

/// Whether any of the flags in `mask` is set.
#[inline(always)]
pub fn any(mask: u32) -> bool {
    config!(flags) & mask != 0
}

/// Whether what the current task does is wanted. Only in its own context; reads no more than the filters need.
#[inline(always)]
pub fn current_task() -> bool {
    process((bpf_get_current_pid_tgid() >> 32) as u32)
}

/// The same in a cgroup_skb program.
#[inline(always)]
pub fn current_task_of_packet() -> bool {
    if config!(task_helpers) != 0 { current_task() } else { process(current().read(offset!(task_tgid))) }
}

/// The current task is of this process.
#[inline(always)]
fn process(tgid: u32) -> bool {
    if tgid == config!(own_tgid) && tgid != 0 {
        return false;
    }
    (!on(flag::PIDS) || PIDS.get_ptr(tgid).is_some())
        && (!on(flag::TREE) || TREE.get_ptr(tgid).is_some())
        && (!on(flag::UIDS) || uid(current()))
        && (!on(flag::NETNS) || netns(task::netns(current())))
        && (!on(flag::CGROUPS) || cgroup())
}

#[inline(always)]
fn uid(task: Kernel) -> bool {
    UIDS.get_ptr(task.pointer(offset!(task_cred)).read::<u32>(offset!(cred_uid))).is_some()
}

/// Whether a socket whose process isn't known is wanted.
#[inline(always)]
pub fn unknown_task(namespace: u32) -> bool {
    !any(flag::TASK_FILTERS & !flag::NETNS) && (!on(flag::NETNS) || netns(namespace))
}

#[inline(always)]
fn netns(inode: u32) -> bool {
    NETNS.get_ptr(inode).is_some()
}

/// Whether the current task is in a cgroup that is asked for, or below one.
#[inline(always)]
fn cgroup() -> bool {
    let mut cgroup = current().pointer(offset!(task_cgroups)).pointer(offset!(css_set_cgroup));
    for _ in 0..CGROUP_DEPTH {
        if cgroup.is_null() {
            return false;
        }
        let id: u64 = cgroup.pointer(offset!(cgroup_kn)).read(offset!(kernfs_id));
        if CGROUPS.get_ptr(id).is_some() {
            return true;
        }
        let parent: Kernel = cgroup.field(offset!(cgroup_self)).pointer(offset!(css_parent));
        if parent.is_null() {
            return false;
        }
        cgroup = parent.pointer(offset!(css_cgroup));
    }
    false
}

/// Whether `port` (host order) is asked for.
#[inline(always)]
pub fn port(port: u16) -> bool {
    let count = config!(port_count);
    if count == 0 {
        return true;
    }
    if port == DNS_PORT && on(flag::DNS) {
        return true;
    }
    let ports = config!(ports);
    let [a, b, c, d, e, f, g, h] = ports;
    port == a && count > 0
        || port == b && count > 1
        || port == c && count > 2
        || port == d && count > 3
        || port == e && count > 4
        || port == f && count > 5
        || port == g && count > 6
        || port == h && count > 7
}

/// Whether either port is asked for.
#[inline(always)]
pub fn ports(one: u16, other: u16) -> bool {
    port(one) || port(other)
}
