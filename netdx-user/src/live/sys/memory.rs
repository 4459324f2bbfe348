//! Memory: files and maps that are mapped, and how the heap is laid out. Must not know: what is in them.

use std::{
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
};
use zerocopy::FromBytes;

/// Memory mapped read-only.
struct Mapped {
    start: *const u8,
    length: usize,
}

// SAFETY: nobody writes through it, from any thread.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    fn new(file: BorrowedFd<'_>, length: usize, flags: libc::c_int) -> io::Result<Mapped> {
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapped { start: start.cast(), length })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped; no reference into it outlives `self`. Its result can't be acted on.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.length) };
    }
}

/// A file mapped read-only.
pub struct Mapping(Mapped);

impl Mapping {
    /// Maps a whole file of sysfs. Only for files that don't change or shrink while mapped.
    pub fn of_kernel_file(path: &Path) -> io::Result<Mapping> {
        let file = std::fs::File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        Mapped::new(file.as_fd(), length, libc::MAP_PRIVATE).map(Mapping)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the beginning of a readable mapping of `length` bytes that lives as long as `self`, of a kernel file whose
        // contents are fixed while the kernel runs.
        unsafe { std::slice::from_raw_parts(self.0.start, self.0.length) }
    }
}

/// The elements of an array map (BPF_F_MMAPABLE, 5.5), read without a call.
pub(in crate::live) struct Shared<T> {
    memory: Mapped,
    count: usize,
    element: PhantomData<T>,
}

impl<T: FromBytes> Shared<T> {
    /// Maps an array of so many elements.
    pub(in crate::live) fn of_map(map: BorrowedFd<'_>, count: usize) -> io::Result<Shared<T>> {
        const { assert!(size_of::<T>().is_multiple_of(size_of::<u64>()), "the kernel rounds up elements to 8 bytes") };
        let memory = Mapped::new(map, count * size_of::<T>(), libc::MAP_SHARED)?;
        Ok(Shared { memory, count, element: PhantomData })
    }

    /// The elements as they are now.
    pub(in crate::live) fn read(&self) -> impl Iterator<Item = T> {
        let start = self.memory.start.cast::<T>();
        // SAFETY: within the mapping, which begins at a page; any bytes are valid. Volatile: programs write to it meanwhile.
        (0..self.count).map(move |index| unsafe { start.add(index).read_volatile() })
    }
}

/// Gives the memory of the unused part of an allocation back to the kernel; it comes again when it is written to.
pub(in crate::live) fn give_back(unused: &mut [MaybeUninit<u8>]) {
    let pages = unused.as_mut_ptr_range();
    let page = rustix::param::page_size();
    let start = pages.start.wrapping_add(pages.start.align_offset(page));
    let length = (pages.end.addr().saturating_sub(start.addr())) & !(page - 1);
    if length > 0 {
        // SAFETY: whole pages of private memory that nobody else has, and nothing in it has to stay. Refused, it is kept.
        unsafe { libc::madvise(start.cast(), length, libc::MADV_DONTNEED) };
    }
}

/// Keeps the heap small: what is large is mapped by itself and given back when it is freed (glibc raises that bound each
/// time), and threads share their heaps, which each would keep for itself.
pub(in crate::live) fn keep_heap_small() {
    #[cfg(target_env = "gnu")]
    keep_heap_small_of_glibc();
}

#[cfg(target_env = "gnu")]
fn keep_heap_small_of_glibc() {
    const LARGE: libc::c_int = 128 << 10;
    for (what, value) in [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, 1 << 20), (libc::M_ARENA_MAX, 2)] {
        // SAFETY: takes integers; sets how allocations made from now on are laid out. What it can't set stays as it was.
        unsafe { libc::mallopt(what, value) };
    }
}
