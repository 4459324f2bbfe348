//! The probes: one file for each hook or pair of hooks, with the kernel prototype it relies on.
//!
//! A tracepoint's program exists twice with one body: `NAME` (`tp_btf`) and `NAME_raw` (`raw_tp`), which get the same
//! arguments; the second is for a kernel or privileges without the first. Where a kernel has no such tracepoint but calls a
//! function with the same arguments, the loader attaches `NAME` to the function's entry (fentry), or a third program,
//! `NAME_kprobe`.
//!
//! A tracepoint of which no event may be missed has one more, `NAME_again` (see `again`).

mod again;
mod bind;
mod cgroup;
mod connect;
mod drop;
mod error;
mod getaddrinfo;
mod icmp;
mod neighbor;
mod process;
mod registers;
mod request;
mod reset;
mod retransmit;
mod route;
mod send;
mod state;

use aya_ebpf::{
    EbpfContext,
    programs::{BtfTracePointContext, FExitContext, ProbeContext, RawTracePointContext, TracePointContext},
};

use crate::read::{Kernel, Place, Typed};
pub use again::{Note, Watched};

/// A context with a tracepoint's arguments.
trait Arguments: EbpfContext {
    /// What its pointers are: `Typed`, if the verifier allows loads through them.
    type Pointer: Place;

    /// The argument at `position`.
    fn number(&self, position: usize) -> u64;

    /// The pointer at `position`.
    #[inline(always)]
    fn pointer(&self, position: usize) -> Self::Pointer {
        Self::Pointer::at(self.number(position))
    }
}

impl Arguments for BtfTracePointContext {
    type Pointer = Typed;

    #[inline(always)]
    fn number(&self, position: usize) -> u64 {
        self.arg(position)
    }
}

impl Arguments for RawTracePointContext {
    type Pointer = Kernel;

    #[inline(always)]
    fn number(&self, position: usize) -> u64 {
        self.arg(position)
    }
}

/// The result comes after the last argument.
impl Arguments for FExitContext {
    type Pointer = Typed;

    #[inline(always)]
    fn number(&self, position: usize) -> u64 {
        self.arg(position)
    }
}

impl Arguments for ProbeContext {
    type Pointer = Kernel;

    #[inline(always)]
    fn number(&self, position: usize) -> u64 {
        self.arg(position).unwrap_or(0)
    }
}

/// Two programs from one body; with a third one for what the first misses.
macro_rules! tracepoint {
    ($tracepoint:literal, $name:ident, $raw:ident, $body:expr) => {
        #[doc = concat!("`", $tracepoint, "`, `tp_btf`.")]
        #[aya_ebpf::macros::btf_tracepoint(function = $tracepoint)]
        pub fn $name(context: aya_ebpf::programs::BtfTracePointContext) -> i32 {
            ($body)(&context);
            0
        }

        #[doc = concat!("`", $tracepoint, "`, `raw_tp`.")]
        #[aya_ebpf::macros::raw_tracepoint(tracepoint = $tracepoint)]
        pub fn $raw(context: aya_ebpf::programs::RawTracePointContext) -> i32 {
            ($body)(&context);
            0
        }
    };
    ($tracepoint:literal, $name:ident, $raw:ident, $again:ident, $watched:expr, $body:expr) => {
        $crate::probes::tracepoint!($tracepoint, $name, $raw, |context| {
            $crate::probes::again::first($watched, context);
            $body(context);
        });

        #[doc = concat!("`", $tracepoint, "`, `tp_btf`, after the first.")]
        #[aya_ebpf::macros::btf_tracepoint(function = $tracepoint)]
        pub fn $again(context: aya_ebpf::programs::BtfTracePointContext) -> i32 {
            if $crate::probes::again::is_missed($watched, &context) {
                $body(&context);
            }
            0
        }
    };
}
use tracepoint;

/// Two programs for a system call's entry or return, the second for what the first misses.
macro_rules! syscall {
    ($tracepoint:literal, $name:ident, $again:ident, $watched:expr, $body:expr) => {
        #[doc = concat!("`syscalls/", $tracepoint, "`.")]
        #[aya_ebpf::macros::tracepoint(category = "syscalls", name = $tracepoint)]
        pub fn $name(context: aya_ebpf::programs::TracePointContext) -> u32 {
            $crate::probes::again::first($watched, &context);
            ($body)(&context);
            0
        }

        #[doc = concat!("`syscalls/", $tracepoint, "`, after the first.")]
        #[aya_ebpf::macros::tracepoint(category = "syscalls", name = $tracepoint)]
        pub fn $again(context: aya_ebpf::programs::TracePointContext) -> u32 {
            if $crate::probes::again::is_missed($watched, &context) {
                ($body)(&context);
            }
            0
        }
    };
}
use syscall;

/// A program for the entry of a function that has a tracepoint's arguments, from the same body.
macro_rules! kprobe {
    ($function:literal, $name:ident, $body:path) => {
        #[doc = concat!("`", $function, "`, kprobe.")]
        #[aya_ebpf::macros::kprobe(function = $function)]
        pub fn $name(context: aya_ebpf::programs::ProbeContext) -> u32 {
            ($body)(&context);
            0
        }
    };
}
use kprobe;

/// A field of a classic tracepoint's record, 8 bytes at `offset`. Those of `sys_enter_*` are the system call's
/// arguments from 16 on, of `sys_exit_*` the result at 16 (kernel/trace/trace_syscalls.c).
#[inline(always)]
fn syscall_field(context: &TracePointContext, position: usize) -> u64 {
    // SAFETY: the verifier checks that the record is that long.
    unsafe { context.as_ptr().cast::<u64>().add(2 + position).read_volatile() }
}

/// The system call's number, in a classic tracepoint's record: 4 bytes at 8.
#[inline(always)]
fn syscall_number(context: &TracePointContext) -> i32 {
    // SAFETY: the verifier checks that the record is that long.
    unsafe { context.as_ptr().cast::<i32>().add(2).read_volatile() }
}
