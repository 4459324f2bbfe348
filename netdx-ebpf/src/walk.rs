//! `bpf_iter_task(struct bpf_iter_meta *meta, struct task_struct *task)`, 5.8: a walk over all tasks of the host, which says
//! in what network namespaces they are. No hook: it runs when user space reads.

use aya_ebpf::helpers::generated::bpf_seq_write;
use netdx_common::record::Walked;
use zerocopy::IntoBytes;

use crate::{
    read::{Place, Typed, offset},
    task,
};

/// `struct bpf_iter__task` (kernel/bpf/task_iter.c): what the verifier gives each step.
#[repr(C)]
pub struct Step {
    /// `struct bpf_iter_meta`, whose first member is the file that is read.
    meta: u64,
    /// The task; null: the walk is over.
    task: u64,
}

/// Writes each process, and each thread that isn't in the namespace of its process.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
pub extern "C" fn walk(step: *const Step) -> i32 {
    // SAFETY: the program's own context.
    let Step { meta, task } = unsafe { step.read_volatile() };
    let (meta, task) = (Typed::at(meta), Typed::at(task));
    if task.is_null() {
        return 0;
    }
    let netns = task::netns(task);
    let (tgid, tid): (u32, u32) = (task.read(offset!(task_tgid)), task.read(offset!(task_pid)));
    // One that ends has none any more.
    if netns == 0 || tid != tgid && netns == task::netns(task.pointer(offset!(task_leader))) {
        return 0;
    }
    let walked = Walked { tgid, tid, netns };
    let bytes = walked.as_bytes();
    // SAFETY: as many bytes as there are, to the file of this walk. Without room the kernel has this step again.
    unsafe { bpf_seq_write(meta.read::<u64>(0) as *mut _, bytes.as_ptr().cast_mut().cast(), bytes.len() as u32) };
    0
}
