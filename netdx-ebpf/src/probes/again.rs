//! For tracepoints of which no event may be missed: two programs of one body, one after the other.
//!
//! The kernel does not run a program that is at work on the same CPU already, when a softirq interrupts it (`__bpf_trace_run`,
//! 6.1) or, from 7.2 on, another task (system calls: `trace_call_bpf_faultable`): what happens meanwhile it misses. The second
//! program is run for that event all the same, and acts in the first one's place. It knows an event that the first was run for
//! by where the arguments are: on the stack of `bpf_trace_run*` or `perf_call_bpf_enter`, called from one place for both.
//!
//! Owns: the notes, and the count of what was caught.

use aya_ebpf::EbpfContext;
use netdx_common::config::flag;

use crate::{emit, filter, maps::NOTES};

/// Events that the first program was run for and the second one not yet, by where their arguments are; 0: none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Note {
    last: u64,
    /// The one that this has interrupted.
    before: u64,
}

/// The first programs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Of `inet_sock_set_state`.
    State,
    /// Of `inet_sk_error_report`.
    SocketError,
    /// Of `tcp_receive_reset`: it and all below are seldom interrupted by what they are run for, but by tasks.
    ResetReceived,
    /// Of `tcp_send_reset`.
    ResetSent,
    /// Of `kfree_skb`.
    Drop,
    /// Of `sock_send_length`.
    Sent,
    /// Of `sock_recv_length`.
    Received,
    /// Of `sched_process_exit`.
    ProcessEnd,
    /// Of `sys_enter_connect`.
    Connect,
    /// Of `sys_enter_bind`.
    Bind,
    /// Of `sys_enter_socket`.
    Socket,
    /// Of `sys_enter_listen`.
    Listen,
    /// Of the returns of all of these.
    Return,
}

impl Watched {
    /// How many there are.
    pub const COUNT: u32 = Watched::Return as u32 + 1;

    /// Whether it is interrupted so often that it has a second one.
    #[inline(always)]
    fn is_interrupted(self) -> bool {
        (self as u32) < Watched::ResetReceived as u32 || filter::on(flag::PREEMPTED)
    }
}

/// Notes that the first program is run for an event.
#[inline(always)]
pub fn first<C: EbpfContext>(program: Watched, arguments: &C) {
    let event = arguments.as_ptr() as u64;
    if program.is_interrupted()
        && let Some(note) = note(program)
        // It is there still if the second was not run for the last event of this place.
        && note.last != event
    {
        note.before = note.last;
        note.last = event;
    }
}

/// Whether the first program was not run for an event.
#[inline(always)]
pub fn is_missed<C: EbpfContext>(program: Watched, arguments: &C) -> bool {
    let event = arguments.as_ptr() as u64;
    let Some(note) = note(program) else {
        return false;
    };
    if note.last == event {
        note.last = note.before;
        note.before = 0;
        return false;
    }
    if note.before == event {
        // Interrupted here, by an event for which this program was not run.
        note.before = 0;
        return false;
    }
    if let Some(counts) = emit::counts() {
        counts.caught += 1;
    }
    true
}

#[inline(always)]
fn note(program: Watched) -> Option<&'static mut Note> {
    // SAFETY: this CPU's own slot. What interrupts the first program changes nothing, for that isn't run then; what interrupts
    // the second is provided for.
    NOTES.get_ptr_mut(program as u32).map(|note| unsafe { &mut *note })
}
