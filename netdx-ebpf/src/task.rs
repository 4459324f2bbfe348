//! Tasks and processes.
//!
//! Owns: how a [`Task`] is read, and the one record that says what a process is. Must not know: sockets.
//!
//! In a softirq the current task is whoever was interrupted: only a hook in process context may take it for the cause.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_uid_gid};
use netdx_common::config::ABSENT;
use netdx_common::record::{ARGV_LEN, COMM_LEN, Process, ProcessExit, Task};

use crate::{
    emit::{self, Wake},
    maps::{Known, PROCESSES, find},
    read::{Kernel, Place, User, config, current, current_comm, offset},
};

/// No task.
pub const NOBODY: Task = Task { tgid: 0, tid: 0, uid: 0, netns: 0, cgroup: 0, comm: [0; COMM_LEN] };

/// What a process has before it is read. Static: it is too large for the stack.
static UNREAD: Known = Known {
    started: 0,
    task: NOBODY,
    exec_id: 0,
    written: 0,
    parent: 0,
    argv_len: 0,
    root: 0,
    mounts: 0,
    _pad: 0,
    mounts_id: 0,
    argv: [0; ARGV_LEN],
};

/// Inode of a task's network namespace; 0 for one that is exiting (its `nsproxy` is gone).
#[inline(always)]
pub fn netns<P: Place>(task: P) -> u32 {
    let nsproxy = task.pointer(offset!(task_nsproxy));
    if nsproxy.is_null() { 0 } else { nsproxy.pointer(offset!(nsproxy_net)).read(offset!(net_inum)) }
}

/// The current task, in a tracing program.
#[inline(always)]
pub fn read_current() -> Task {
    let ids = bpf_get_current_pid_tgid();
    Task {
        tgid: (ids >> 32) as u32,
        tid: ids as u32,
        uid: bpf_get_current_uid_gid() as u32,
        netns: netns(current()),
        // SAFETY: no arguments, no preconditions.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        comm: current_comm(),
    }
}

/// The current task in a cgroup_skb program.
#[inline(always)]
pub fn read_current_of_packet() -> Task {
    if config!(task_helpers) != 0 { read_current() } else { by_offset(current()) }
}

#[inline(always)]
fn by_offset(task: Kernel) -> Task {
    let cgroup = task.pointer(offset!(task_cgroups)).pointer(offset!(css_set_cgroup));
    Task {
        tgid: task.read(offset!(task_tgid)),
        tid: task.read(offset!(task_pid)),
        uid: task.pointer(offset!(task_cred)).read(offset!(cred_uid)),
        netns: netns(task),
        cgroup: cgroup.pointer(offset!(cgroup_kn)).read(offset!(kernfs_id)),
        comm: task.read(offset!(task_comm)),
    }
}

/// Whether seccomp filters the current task's system calls (SECCOMP_MODE_FILTER, uapi/linux/seccomp.h).
#[inline(always)]
pub fn is_filtered() -> bool {
    const FILTER: u32 = 2;
    current().read::<u32>(offset!(task_seccomp_mode)) == FILTER
}

/// The current thread's id.
#[inline(always)]
pub fn tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// Keeps what the current process is, for a record that may come when it no longer is current. Only in its own context;
/// costs a busy process one lookup.
#[inline(never)]
pub fn remember(task: &Task) {
    let thread = current();
    let exec_id: u32 = thread.read(offset!(task_exec_id));
    if let Some(known) = find!(PROCESSES, task.tgid)
        && known.exec_id == exec_id
    {
        return;
    }
    if PROCESSES.insert(task.tgid, &UNREAD, 0).is_err() {
        return;
    }
    let Some(known) = find!(PROCESSES, task.tgid) else {
        return;
    };
    known.task = *task;
    known.exec_id = exec_id;
    let leader = thread.pointer(offset!(task_leader));
    known.started = leader.read(offset!(task_start));
    known.parent = leader.pointer(offset!(task_parent)).read(offset!(task_tgid));
    // Where its resolv.conf and hosts file are, should it have ended when somebody looks.
    let nsproxy = thread.pointer(offset!(task_nsproxy));
    if !nsproxy.is_null() {
        let mounts = nsproxy.pointer(offset!(nsproxy_mounts));
        known.mounts = mounts.read(offset!(mounts_inum));
        known.mounts_id = if offset!(mounts_id) != ABSENT {
            mounts.read(offset!(mounts_id))
        } else {
            mounts.read(offset!(mounts_seq))
        };
    }
    let root = thread.pointer(offset!(task_fs)).pointer(offset!(fs_root));
    known.root = root.pointer(offset!(dentry_inode)).read(offset!(inode_number));
    let memory = thread.pointer(offset!(task_mm));
    if memory.is_null() {
        return;
    }
    let start: u64 = memory.read(offset!(mm_arg_start));
    let end: u64 = memory.read(offset!(mm_arg_end));
    if end > start {
        known.argv_len = User(start).copy(end - start, &mut known.argv);
    }
}

/// Writes what a process is, before the first other record of it.
#[inline(never)]
pub fn announce(tgid: u32) {
    let Some(known) = find!(PROCESSES, tgid) else {
        return;
    };
    if known.written != 0 {
        return;
    }
    known.written = 1;
    emit::record::<Process>(Wake::Later, |record| {
        record.task = known.task;
        record.started = known.started;
        record.parent = known.parent;
        record.argv_len = known.argv_len;
        record.root = known.root;
        record.mounts = known.mounts;
        record.mounts_id = known.mounts_id;
        Kernel(known.argv.as_ptr() as u64).copy::<ARGV_LEN>(0, &mut record.argv);
    });
}

/// Writes that the current process ended, if it had records or was killed, and forgets it. In its last thread's context.
#[inline(always)]
pub fn ended(tgid: u32, status: u32) {
    /// The signal in a status (wait(2)). What it killed may have accepted connections, which are reset now.
    const SIGNAL: u32 = 0x7f;
    let known = find!(PROCESSES, tgid);
    if status & SIGNAL != 0 || known.as_ref().is_some_and(|known| known.written != 0) {
        emit::record::<ProcessExit>(Wake::Later, |record| {
            record.task = read_current();
            record.status = status;
        });
    }
    if known.is_some() {
        // It may be gone already, evicted: then there is nothing to forget.
        let _ = PROCESSES.remove(tgid);
    }
}
