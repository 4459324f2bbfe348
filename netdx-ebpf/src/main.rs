//! netdx's eBPF programs: they say what the kernel does to connections that are in trouble, and judge nothing.
//!
//! `probes/` has one file for each hook, with the kernel prototype it relies on; `read` does all reads of kernel and
//! user memory, `emit` alone writes to the ring buffer, `maps` holds all state. `walk` runs when user space asks.
#![no_std]
#![no_main]

mod emit;
mod filter;
mod maps;
mod packet;
mod probes;
mod read;
mod socket;
mod task;
mod walk;

/// Helpers that tracing needs are for programs under a licence that the GPL agrees with (`license_is_gpl_compatible`, 5.10).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable in a program that the verifier accepts.
    loop {}
}
