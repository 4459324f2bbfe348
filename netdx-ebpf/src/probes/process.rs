//! `sched_process_fork(struct task_struct *parent, struct task_struct *child)` and `sched_process_exit(struct
//! task_struct *p)` (6.16 adds an argument), 2.6.28.

use netdx_common::config::{ABSENT, flag};

use super::{Arguments, Watched, tracepoint};
use crate::{
    filter,
    maps::{CALLS, FAILED_LOOKUPS, LOOKUPS, SUBMITTED, TREE},
    read::{Place, offset},
    task,
};

tracepoint!("sched_process_fork", sched_process_fork, sched_process_fork_raw, forked);
tracepoint!(
    "sched_process_exit",
    sched_process_exit,
    sched_process_exit_raw,
    sched_process_exit_again,
    Watched::ProcessEnd,
    exited
);

#[inline(always)]
fn forked<A: Arguments>(arguments: &A) {
    let (parent, child) = (arguments.pointer(0).address(), arguments.pointer(1).address());
    let (from, to): (u32, u32) = (parent.read(offset!(task_tgid)), child.read(offset!(task_tgid)));
    if from != to && TREE.get_ptr(from).is_some() {
        // A full map is a tree of 32768 processes; what is beyond isn't followed.
        let _ = TREE.insert(to, 1, 0);
    }
}

#[inline(always)]
fn exited<A: Arguments>(arguments: &A) {
    let thread = arguments.pointer(0).address();
    forget(task::tid());
    // do_exit has counted this thread out already; the last one ends the process.
    if offset!(signal_live) != ABSENT && thread.pointer(offset!(task_signal)).read::<u32>(offset!(signal_live)) != 0 {
        return;
    }
    let tgid: u32 = thread.read(offset!(task_tgid));
    task::ended(tgid, thread.read(offset!(task_exit_code)));
    if filter::on(flag::TREE) {
        // Most processes aren't in the tree.
        let _ = TREE.remove(tgid);
    }
}

/// Forgets what is kept of a thread that ends: killed in getaddrinfo it never returns from it, and its id will be another's.
/// Most threads have none of it.
#[inline(always)]
fn forget(tid: u32) {
    let _ = FAILED_LOOKUPS.remove(tid);
    if filter::on(flag::CONNECT_CALLS) {
        let _ = CALLS.remove(tid);
    }
    if filter::on(flag::DNS) {
        let _ = LOOKUPS.remove(tid);
    }
    if filter::on(flag::IO_URING) {
        let _ = SUBMITTED.remove(tid);
    }
}
