//! Reads of the configuration, of kernel memory by resolved offset, and of user memory; and memory that is all zero.
//!
//! Owns: all of these, and so nearly every `unsafe` of the programs.
//! Must not know: what a field means.
//!
//! A read that fails, and a field that this kernel doesn't have, give zeroes: programs say "unknown" and go on.

use core::{mem::MaybeUninit, ptr};

use aya_ebpf::helpers::{
    bpf_get_current_task, bpf_get_stack, bpf_jiffies64, bpf_ktime_get_boot_ns,
    generated::{bpf_get_current_comm, bpf_probe_read_kernel, bpf_probe_read_user, bpf_probe_read_user_str},
};
use netdx_common::config::{ABSENT, Config};
use netdx_common::record::{COMM_LEN, Stack};
use zerocopy::{FromBytes, FromZeros};

/// What the loader says: read-only and frozen, so that the verifier takes its fields for constants.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config::EMPTY;

/// One field of [`CONFIG`]. Volatile, for the compiler must not take the initial value for the final one; by itself,
/// for a copy of the whole would overflow the stack.
macro_rules! config {
    ($($field:ident).+) => {{
        // SAFETY: a field of a static that is never written.
        unsafe { core::ptr::addr_of!($crate::read::CONFIG.$($field).+).read_volatile() }
    }};
}
pub(crate) use config;

/// The offset of a kernel field.
macro_rules! offset {
    ($field:ident) => {
        $crate::read::config!(offsets.$field)
    };
}
pub(crate) use offset;

/// Something in the kernel whose fields can be read: by a helper ([`Kernel`]), or, where the verifier knows its type, by a
/// load ([`Typed`]), which takes a tenth of the time.
pub trait Place: Copy {
    /// The verifier knows its type.
    const TYPED: bool;

    /// What is at an address.
    fn at(address: u64) -> Self;

    /// Its address, for what no type is known of.
    fn address(self) -> Kernel;

    /// The field at `offset`. For a typed place of at most 8 bytes.
    fn read<T: FromBytes>(self, offset: u32) -> T;

    /// Fills the first `N` bytes of `to` from the field at `offset`. For a typed place a multiple of 4.
    fn copy<const N: usize>(self, offset: u32, to: &mut [u8]);

    /// The pointer at `offset`.
    #[inline(always)]
    fn pointer(self, offset: u32) -> Self {
        Self::at(self.read(offset))
    }

    /// Whether there is an address at all.
    #[inline(always)]
    fn is_null(self) -> bool {
        self.address().0 == 0
    }
}

/// An address in the kernel; 0: none.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Kernel(pub u64);

impl Kernel {
    /// No address.
    pub const NULL: Kernel = Kernel(0);

    /// The address of a field.
    #[inline(always)]
    pub fn field(self, offset: u32) -> Kernel {
        Kernel(self.0.wrapping_add(offset as u64))
    }
}

/// A kernel address that was put down and is taken up again: where it is put in memory that the verifier does not follow (the
/// ring's), it does not go on with each way the address can have come.
#[repr(transparent)]
#[derive(FromZeros)]
pub struct Kept(u64);

impl Kept {
    /// Puts it down.
    #[inline(always)]
    pub fn put(&mut self, address: Kernel) {
        // SAFETY: its own memory; volatile, or the compiler keeps the address at hand.
        unsafe { ptr::from_mut(&mut self.0).write_volatile(address.0) }
    }

    /// Takes it up.
    #[inline(always)]
    pub fn get(&self) -> Kernel {
        // SAFETY: the same.
        Kernel(unsafe { ptr::from_ref(&self.0).read_volatile() })
    }
}

impl Place for Kernel {
    const TYPED: bool = false;

    #[inline(always)]
    fn at(address: u64) -> Kernel {
        Kernel(address)
    }

    #[inline(always)]
    fn address(self) -> Kernel {
        self
    }

    #[inline(always)]
    fn read<T: FromBytes>(self, offset: u32) -> T {
        if offset == ABSENT {
            return T::new_zeroed();
        }
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes `size_of::<T>()` bytes into `value`, for which any bytes are valid; it checks the
        // address it reads from, and writes zeroes when it can't.
        unsafe {
            bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, self.field(offset).0 as *const _);
            value.assume_init()
        }
    }

    #[inline(always)]
    fn copy<const N: usize>(self, offset: u32, to: &mut [u8]) {
        if offset != ABSENT && to.len() >= N {
            // SAFETY: `to` has at least N bytes; the helper checks the address it reads from.
            unsafe {
                bpf_probe_read_kernel(to.as_mut_ptr().cast(), N as u32, self.field(offset).0 as *const _);
            }
        }
    }
}

/// An address of which the verifier knows the type: an argument of a `tp_btf` program, what such a thing points at, or
/// what a helper made of it. It has been checked for null, if the verifier says that it may be.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Typed(u64);

impl Place for Typed {
    const TYPED: bool = true;

    #[inline(always)]
    fn at(address: u64) -> Typed {
        Typed(address)
    }

    #[inline(always)]
    fn address(self) -> Kernel {
        Kernel(self.0)
    }

    #[inline(always)]
    fn read<T: FromBytes>(self, offset: u32) -> T {
        const { assert!(size_of::<T>() <= 8, "one load") };
        if offset == ABSENT {
            return T::new_zeroed();
        }
        // SAFETY: the verifier allows only reads of fields of the type that it knows; a fault reads as zero. Any bytes are
        // valid for T.
        unsafe { (self.0 as *const u8).add(offset as usize).cast::<T>().read_volatile() }
    }

    #[inline(always)]
    fn copy<const N: usize>(self, offset: u32, to: &mut [u8]) {
        const { assert!(N.is_multiple_of(4), "whole words") };
        if offset != ABSENT && to.len() >= N {
            for word in 0..N / 4 {
                let bytes = self.read::<u32>(offset + 4 * word as u32);
                // SAFETY: `to` has at least N bytes.
                unsafe { to.as_mut_ptr().add(4 * word).cast::<u32>().write_unaligned(bytes) }
            }
        }
    }
}

/// An address in the current process; 0: none.
#[derive(Clone, Copy)]
pub struct User(pub u64);

impl User {
    /// What is `offset` bytes on.
    #[inline(always)]
    pub fn read<T: FromBytes>(self, offset: u64) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes `size_of::<T>()` bytes into `value`, for which any bytes are valid; it checks the
        // address it reads from, and writes zeroes when it can't.
        unsafe {
            bpf_probe_read_user(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                self.0.wrapping_add(offset) as *const _,
            );
            value.assume_init()
        }
    }

    /// Fills `to` with at most `length` bytes. How many there are now: none when the memory isn't there.
    #[inline(always)]
    pub fn copy<const N: usize>(self, length: u64, to: &mut [u8; N]) -> u32 {
        if length == 0 {
            return 0;
        }
        let length = at_most::<N>(if length > N as u64 { N as u32 } else { length as u32 });
        // SAFETY: `length` is no more than `to` has; the helper checks the address it reads from.
        let failed = unsafe { bpf_probe_read_user(to.as_mut_ptr().cast(), length, self.0 as *const _) };
        if failed == 0 { length } else { 0 }
    }

    /// Fills `to` with the string here, cut and terminated.
    #[inline(always)]
    pub fn text<const N: usize>(self, to: &mut [u8; N]) {
        if self.0 != 0 {
            // SAFETY: the helper writes no more than N bytes and checks the address it reads from.
            unsafe {
                bpf_probe_read_user_str(to.as_mut_ptr().cast(), N as u32, self.0 as *const _);
            }
        }
    }
}

/// The lesser of `n`, which isn't 0, and N, a power of two, so that every verifier sees it: the compiler keeps bounds that
/// it knows in no register.
#[inline(always)]
pub fn at_most<const N: usize>(n: u32) -> u32 {
    let n = core::hint::black_box(if n > N as u32 { N as u32 } else { n });
    (n.wrapping_sub(1) & (N as u32 - 1)) + 1
}

/// Makes a value all zero, word by word: the compiler would call a function that writes one byte after the other, which takes
/// long, and the verifier goes through each.
#[inline(always)]
pub fn clear<T: FromZeros>(value: &mut T) {
    // SAFETY: zeroes are valid for this type, and nothing is read.
    zeroed(unsafe { &mut *ptr::from_mut(value).cast::<MaybeUninit<T>>() });
}

/// A value that is all zero, in the memory given.
#[inline(always)]
pub fn zeroed<T: FromZeros>(memory: &mut MaybeUninit<T>) -> &mut T {
    const { assert!(align_of::<T>() == align_of::<u64>(), "words") };
    // Volatile, or the compiler makes that call of it all the same.
    for word in 0..size_of::<T>() / size_of::<u64>() {
        // SAFETY: a word within the memory, whose size is a multiple of its alignment.
        unsafe { memory.as_mut_ptr().cast::<u64>().add(word).write_volatile(0) };
    }
    // SAFETY: all bytes were written, and zeroes are valid for this type.
    unsafe { memory.assume_init_mut() }
}

/// The current task's `comm`.
#[inline(always)]
pub fn current_comm() -> [u8; COMM_LEN] {
    let mut comm = MaybeUninit::<[u8; COMM_LEN]>::uninit();
    // SAFETY: the helper writes all of it, zeroes if it must.
    unsafe {
        bpf_get_current_comm(comm.as_mut_ptr().cast(), COMM_LEN as u32);
        comm.assume_init()
    }
}

/// The current task.
#[inline(always)]
pub fn current() -> Kernel {
    // SAFETY: no arguments, no preconditions.
    Kernel(unsafe { bpf_get_current_task() })
}

/// CLOCK_BOOTTIME in ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments, no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The tick counter, cut as TCP's `tcp_jiffies32`.
#[inline(always)]
pub fn jiffies() -> u32 {
    // SAFETY: no arguments, no preconditions.
    unsafe { bpf_jiffies64() as u32 }
}

/// The program itself and what calls it; a third may follow, by name (`bpf_trace_run`), where this code is a function.
const OWN_FRAMES: u64 = 2;

/// The kernel stack of a tracing program's context.
#[inline(always)]
pub fn stack(context: *mut core::ffi::c_void, to: &mut Stack) {
    // SAFETY: `context` is the program's own; the helper writes no more than the size of `frames`.
    unsafe {
        bpf_get_stack(context.cast(), ptr::from_mut(&mut to.frames).cast(), size_of_val(&to.frames) as u32, OWN_FRAMES);
    }
}

/// The linear part of a packet, in a program that may access it directly.
pub struct Linear {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

impl Linear {
    /// What is at `offset`, if it is in there.
    #[inline(always)]
    pub fn read<T: FromBytes>(&self, offset: usize) -> Option<T> {
        let at = self.start + offset;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: within the linear part, as the verifier sees for itself.
        Some(unsafe { (at as *const T).read_unaligned() })
    }
}
