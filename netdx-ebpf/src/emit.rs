//! The way to user space.
//!
//! Owns: ring-buffer space, the count of what was lost, and when the reader is woken. Nothing else reserves space.
//! Must not know: what records mean.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use netdx_common::{
    config::{Counts, WAKE_INTERVAL},
    record::*,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::{
    maps::{COUNTS, EVENTS, FLOOD, SCRATCH, SCRATCH_SIZE, WOKEN},
    read::{now, zeroed},
};

/// `BPF_RB_NO_WAKEUP`
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`
const FORCE_WAKEUP: u64 = 2;
/// `BPF_RB_AVAIL_DATA`, for a query.
const AVAILABLE: u64 = 0;
/// `BPF_RB_RING_SIZE`, for a query.
const SIZE: u64 = 1;

/// No sooner than this after the last time is the reader woken for a record that ends a story (ns).
const STORY_INTERVAL: u64 = 10_000_000;
/// No sooner than this for a ring that fills up (ns).
const FILL_INTERVAL: u64 = 1_000_000;

/// So many records of what anybody on the network can cause are written by a CPU in each [`FLOOD_WINDOW`]: more than this
/// host's own connections cause when each of them is refused as fast as a CPU can make them (80,000 a second).
const FLOOD_LIMIT: u64 = 10_000;
/// ns
const FLOOD_WINDOW: u64 = 50_000_000;

/// How soon a record should be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Only if the ring fills up: there is nothing to read.
    Never,
    /// Within [`WAKE_INTERVAL`].
    Later,
    /// At once: it is what a failing story ends with.
    Now,
}

/// A record of fixed size.
pub trait Record: FromZeros + IntoBytes + 'static {
    /// What it is.
    const KIND: Kind;
    /// Its header.
    fn header(&mut self) -> &mut Header;
}

macro_rules! records {
    ($($record:ident = $kind:ident;)*) => {$(
        impl Record for $record {
            const KIND: Kind = Kind::$kind;

            #[inline(always)]
            fn header(&mut self) -> &mut Header {
                &mut self.header
            }
        }
    )*};
}
records! {
    Attempt = ATTEMPT;
    State = STATE;
    SocketError = SOCKET_ERROR;
    ResetReceived = RESET_RECEIVED;
    ResetSent = RESET_SENT;
    Retransmit = RETRANSMIT;
    SynAckRetransmit = SYNACK_RETRANSMIT;
    Drop = DROP;
    IcmpReceived = ICMP_RECEIVED;
    IcmpSent = ICMP_SENT;
    NeighborFailed = NEIGHBOR_FAILED;
    CallFailed = CALL_FAILED;
    ListenOverflow = LISTEN_OVERFLOW;
    Process = PROCESS;
    ProcessExit = PROCESS_EXIT;
    GetAddrInfo = GETADDRINFO;
    ResetAnswer = RESET_ANSWER;
    ResetEnd = RESET_END;
}

/// Writes a record: zeroes and the header first, then what `fill` says.
#[inline(always)]
pub fn record<T: Record>(wake: Wake, fill: impl FnOnce(&mut T)) {
    record_of::<T>(wake, now(), 1, fill);
}

/// The same for a record that tells of several `events` at once, of a moment.
#[inline(always)]
pub fn record_of<T: Record>(wake: Wake, time: u64, events: u64, fill: impl FnOnce(&mut T)) {
    let Some(mut space) = EVENTS.reserve::<T>(0) else {
        return lost(events);
    };
    // SAFETY: the ring gave `size_of::<T>()` writable bytes, aligned to 8.
    fill(unsafe { begun(space.as_mut_ptr(), time) });
    space.submit(flags(wake, time));
}

/// Writes a record, unless `fill` finds that it isn't worth one. It may write no other record, which would come later.
/// While the ring is full it still looks, in this CPU's own memory: what isn't worth a record is no loss.
///
/// What a packet's headers decide is read into the ring's memory, not to the stack: there the verifier would follow
/// each way the bytes can have come, which took it ten times as long (kfree_skb: 165,000 instructions, now 17,000).
///
/// The ring's memory and the CPU's own are written by code of their own: where it is one code for both, it asks in the end
/// which it was, and verifiers before 6.4 do not know any more that the ring's memory isn't null.
#[inline(always)]
pub fn record_if<T: Record>(wake: Wake, fill: impl FnOnce(&mut T) -> bool) {
    let Some(mut space) = EVENTS.reserve::<T>(0) else {
        // SAFETY: the memory is as large and as aligned as a T.
        if own::<T>().is_none_or(|memory| fill(unsafe { begun(memory, now()) })) {
            lost(1);
        }
        return;
    };
    let time = now();
    // SAFETY: the ring gave `size_of::<T>()` writable bytes, aligned to 8.
    if fill(unsafe { begun(space.as_mut_ptr(), time) }) {
        space.submit(flags(wake, time));
    } else {
        space.discard(flags(Wake::Never, time));
    }
}

/// Lends memory for what is looked at before it is known whether to write a record: the ring's, or, while the
/// ring is full, this CPU's own, which is not to be written from: a softirq may have put something else there. `look` gets to
/// know whether there is room.
#[inline(always)]
pub fn scratch<T: FromZeros + 'static>(look: impl FnOnce(&mut T, bool)) {
    let Some(mut space) = EVENTS.reserve::<T>(0) else {
        match own::<T>() {
            // SAFETY: the memory is as large and as aligned as a T.
            Some(memory) => look(zeroed(unsafe { &mut *memory.cast() }), false),
            None => lost(1),
        }
        return;
    };
    // SAFETY: the ring gave `size_of::<T>()` writable bytes, aligned to 8.
    look(zeroed(unsafe { &mut *space.as_mut_ptr().cast() }), true);
    space.discard(flags(Wake::Never, now()));
}

/// This CPU's own memory, for when the ring gives none. Not always the CPU's own: before 6.1 the kernel lets a softirq run
/// the same program in between, which would put another record there. With the ring full that costs no more than a count.
#[inline(always)]
fn own<T>() -> Option<*mut T> {
    const { assert!(size_of::<T>() <= SCRATCH_SIZE, "SCRATCH is too small") };
    SCRATCH.get_ptr_mut(0).map(<*mut _>::cast)
}

/// A record of nothing but its header.
///
/// # Safety
/// There must be `size_of::<T>()` writable bytes, aligned to 8.
#[inline(always)]
unsafe fn begun<'a, T: Record>(memory: *mut T, time: u64) -> &'a mut T {
    // SAFETY: the caller's.
    let record: &mut T = zeroed(unsafe { &mut *memory.cast() });
    *record.header() = header(T::KIND, size_of::<T>() as u16, time);
    record
}

/// Writes the first `length` bytes of a DNS record, whose header is set here.
#[inline(always)]
pub fn dns(record: &mut Dns, length: usize) {
    if length > size_of::<Dns>() {
        return;
    }
    let time = now();
    record.header = header(Kind::DNS, length as u16, time);
    // SAFETY: no more than the record has is read from it.
    let bytes = unsafe { core::slice::from_raw_parts((&raw const *record).cast::<u8>(), length) };
    if EVENTS.output::<[u8]>(bytes, flags(Wake::Later, time)).is_err() {
        lost(1);
    }
}

#[inline(always)]
fn header(kind: Kind, size: u16, time: u64) -> Header {
    Header { kind, size, cpu: cpu(), time }
}

/// The CPU this runs on.
#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: no arguments, no preconditions.
    unsafe { bpf_get_smp_processor_id() }
}

/// Whether a record that anybody on the network can cause may still be written. A flood must cost this host no more than
/// it does without netdx; what isn't written counts as lost.
#[inline(never)]
pub fn has_room_for_flood(time: u64) -> bool {
    let Some(flood) = FLOOD.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this CPU's own slot; a softirq in between may cost one count.
    let many = unsafe {
        if time.wrapping_sub((*flood).began) >= FLOOD_WINDOW {
            (*flood).began = time;
            (*flood).count = 0;
        }
        (*flood).count += 1;
        (*flood).count > FLOOD_LIMIT
    };
    if many {
        lost(1);
    }
    !many
}

/// Whether a record of what works may be written: it must leave half of the ring to what doesn't. What isn't written
/// counts as lost.
#[inline(never)]
pub fn has_room_for_what_works() -> bool {
    let room = EVENTS.query(AVAILABLE) < EVENTS.query(SIZE) / 2;
    if !room {
        lost(1);
    }
    room
}

/// Counts events whose record found no room, or that were too many.
#[inline(never)]
pub fn lost(events: u64) {
    if let Some(counts) = counts() {
        counts.lost += events;
    }
}

/// This CPU's counts. A softirq that interrupts an addition may cost one.
#[inline(always)]
pub fn counts() -> Option<&'static mut Counts> {
    // SAFETY: plain integers, to which only this CPU writes.
    COUNTS.get_ptr_mut(cpu()).map(|counts| unsafe { &mut *counts })
}

/// Whether to wake the reader: waking for each record is what makes tracers slow.
#[inline(never)]
fn flags(wake: Wake, time: u64) -> u64 {
    let interval = match wake {
        Wake::Now => STORY_INTERVAL,
        _ if EVENTS.query(AVAILABLE) >= EVENTS.query(SIZE) / 4 => FILL_INTERVAL,
        Wake::Later => WAKE_INTERVAL,
        Wake::Never => return NO_WAKEUP,
    };
    let Some(woken) = WOKEN.get_ptr_mut(0) else {
        return NO_WAKEUP;
    };
    // SAFETY: this CPU's own slot; a softirq in between may wake once too often.
    unsafe {
        // The record may be of a moment before that.
        if time < *woken + interval {
            return NO_WAKEUP;
        }
        *woken = time;
    }
    FORCE_WAKEUP
}
