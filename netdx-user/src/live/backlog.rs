//! Records that were taken off the ring and wait to be understood.
//!
//! Owns: how they are kept (as bytes, one after the other, and compressed when there are many), the bound of it, and how
//! they come from the thread that takes them off the ring to the one that understands them. Must not know: the ring, what
//! is in a record.
//!
//! The one that understands them gives way to whatever else runs, and is interrupted at any point. So the two share no
//! lock, nor one that is in an allocator or in the kernel's account of this process's memory: all buffers are there from
//! the beginning (untouched they take none), and each belongs to one of the two, which hands it over.

use super::sys;
use crate::time::Time;
use std::{
    collections::VecDeque,
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::compress_bound,
};

/// Bytes of a buffer.
const BUFFER: usize = 512 << 10;
/// Buffers that keep their memory while nothing waits.
const SPARE: usize = 2;
/// As many buffers stay as they are: what a burst leaves behind, which is soon understood.
const PLAIN: usize = 8;
/// The records of one failure are much like those of the next: even this makes a tenth of them, at a GB a second.
const LEVEL: i32 = 1;
/// Longer than any record.
const ROOM: usize = 4 << 10;
/// Stands where a record's length would: a loss follows.
const LOSS: u32 = u32::MAX;

/// The records in a frame, and its compressed bytes: in front of each frame.
const FRAME_HEAD: usize = 2 * size_of::<u32>();
/// What a loss takes.
const LOSS_LENGTH: usize = size_of::<u32>() + 2 * size_of::<u64>();

/// An empty backlog that takes about so many bytes of memory: where records are put in, and where they come out.
pub(super) fn backlog(limit: usize) -> (Inlet, Outlet) {
    let buffers = limit / BUFFER;
    // One more may hold the last losses, and the mark that says all was handed over needs its place, too.
    let ((full, ready), (emptied, returned)) = (sync_channel(buffers + 2), sync_channel(buffers));
    let level = Arc::new(Level::default());
    let inlet = Inlet {
        plain: Buffer::default(),
        packed: Buffer::default(),
        loss: None,
        compressor: Compressor::new(LEVEL).ok(),
        frame: Vec::with_capacity(compress_bound(BUFFER)),
        free: (0..buffers).map(|_| Free { bytes: Vec::with_capacity(BUFFER), touched: false }).collect(),
        buffers,
        level: Arc::clone(&level),
        full,
        returned,
    };
    let outlet = Outlet {
        plain: Buffer::default(),
        packed: Buffer::default(),
        next: VecDeque::new(),
        decompressor: None,
        level,
        ready,
        emptied,
    };
    (inlet, outlet)
}

/// Where records are put in, in the order in which they were taken off the ring, and where some were lost.
pub(super) struct Inlet {
    /// What is not handed over yet, the last of it.
    plain: Buffer,
    /// And what comes before that, if there is any.
    packed: Buffer,
    /// The last thing that happened, not written yet: further losses are added to it.
    loss: Option<(Time, u64)>,
    /// None: can't be made; nothing is compressed then.
    compressor: Option<Compressor<'static>>,
    /// What compressing gives.
    frame: Vec<u8>,
    /// The last is taken first: the fewest are touched.
    free: Vec<Free>,
    /// So many there are.
    buffers: usize,
    level: Arc<Level>,
    full: SyncSender<Message>,
    returned: Receiver<Vec<u8>>,
}

/// Where they come out, in the same order.
pub(super) struct Outlet {
    /// What is taken out of.
    plain: Buffer,
    /// What comes after it.
    packed: Buffer,
    /// And after that, as far as it was received.
    next: VecDeque<Buffer>,
    /// None: nothing was compressed yet.
    decompressor: Option<Decompressor<'static>>,
    level: Arc<Level>,
    ready: Receiver<Message>,
    emptied: SyncSender<Vec<u8>>,
}

/// What was handed over and not taken yet.
#[derive(Debug, Default)]
struct Level {
    buffers: AtomicUsize,
    records: AtomicU64,
}

/// From the inlet to the outlet.
enum Message {
    Full(Buffer),
    /// Everything that was put in before has been handed over.
    All,
}

/// Some records, to be taken out in order.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// They are compressed, in frames.
    packed: bool,
    /// What is before has been taken out.
    at: usize,
    /// Records in the rest.
    records: u64,
}

/// An allocation to be filled.
#[derive(Debug)]
struct Free {
    bytes: Vec<u8>,
    /// It takes memory.
    touched: bool,
}

/// How much of a backlog's memory is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// A chunk at most: what is always there for a moment.
    Empty,
    /// Less than half of it.
    Some,
    /// More.
    Crowded,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// A record.
    Record(&'a [u8]),
    /// So many records were lost here, told at this time.
    Lost(Time, u64),
}

/// Records that can't be read again.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) records: u64,
    pub(super) error: io::Error,
}

impl Inlet {
    /// Whether no more should be put in. What then is lost, is lost on the ring, where it is counted.
    pub(super) fn is_full(&mut self) -> bool {
        !self.plain.has_room(ROOM) && {
            self.reclaim();
            self.free.is_empty()
        }
    }

    /// How much of its memory is in use.
    pub(super) fn fill(&self) -> Fill {
        match self.level.buffers.load(Relaxed) {
            0 | 1 => Fill::Empty,
            _ if self.free.len() < self.buffers / 2 => Fill::Crowded,
            _ => Fill::Some,
        }
    }

    /// Adds a record. There must be room: see [`is_full`](Self::is_full).
    pub(super) fn push(&mut self, record: &[u8]) {
        self.write_loss();
        // The kernel's own limit of a record's length is less than 2^30 (`BPF_RINGBUF_HDR_SZ`, `len_mask`).
        let length = u32::try_from(record.len()).unwrap_or(LOSS - 1);
        if !self.plain.has_room(size_of::<u32>() + record.len()) {
            self.put_away();
        }
        self.plain.bytes.extend_from_slice(&length.to_ne_bytes());
        self.plain.bytes.extend_from_slice(record);
        self.plain.records += 1;
    }

    /// Adds that records were lost.
    pub(super) fn lost(&mut self, time: Time, count: u64) {
        let before = self.loss.map_or(0, |(_, count)| count);
        self.loss = Some((time, before + count));
    }

    /// Hands over what was put in; whether there was anything. Not while so much is waiting that the outlet comes to it
    /// later anyhow: then buffers are filled.
    pub(super) fn offer(&mut self) -> bool {
        self.level.buffers.load(Relaxed) <= 1 && self.hand_over()
    }

    /// Hands over everything, and says that.
    pub(super) fn offer_all(&mut self) {
        self.hand_over();
        if self.loss.is_some() {
            // Every buffer is full, and there comes nothing after it.
            self.plain.bytes = Vec::with_capacity(LOSS_LENGTH);
            self.hand_over();
        }
        // Nobody to take it: netdx ends.
        _ = self.full.send(Message::All);
    }

    /// Something was put in and not handed over.
    pub(super) fn holds_back(&self) -> bool {
        !self.packed.is_empty() || !self.plain.is_empty() || self.loss.is_some()
    }

    /// Gives back the memory that a flood took.
    pub(super) fn rest(&mut self) {
        self.reclaim();
        for free in self.free.iter_mut().rev().skip(SPARE) {
            if mem::take(&mut free.touched) {
                sys::give_back(free.bytes.spare_capacity_mut());
            }
        }
    }

    fn reclaim(&mut self) {
        self.free.extend(self.returned.try_iter().map(|bytes| Free { bytes, touched: true }));
    }

    /// Where there is no room at all it waits.
    fn write_loss(&mut self) {
        if self.loss.is_some() && !self.plain.has_room(LOSS_LENGTH) && !self.is_full() {
            self.put_away();
        }
        if self.plain.has_room(LOSS_LENGTH)
            && let Some((time, count)) = self.loss.take()
        {
            self.plain.bytes.extend_from_slice(&LOSS.to_ne_bytes());
            self.plain.bytes.extend_from_slice(&time.0.to_ne_bytes());
            self.plain.bytes.extend_from_slice(&count.to_ne_bytes());
        }
    }

    /// Makes room after a full buffer, compresses that if there are many.
    fn put_away(&mut self) {
        if self.level.buffers.load(Relaxed) < PLAIN || self.pack().is_none() {
            self.send();
            self.plain.bytes = self.take_free().unwrap_or_default();
        }
    }

    fn pack(&mut self) -> Option<()> {
        let compressor = self.compressor.as_mut()?;
        compressor.compress_to_buffer(&self.plain.bytes, &mut self.frame).ok()?;
        let length = u32::try_from(self.frame.len()).ok().filter(|_| self.frame.len() < BUFFER / 2)?;
        if !self.packed.has_room(FRAME_HEAD + self.frame.len()) {
            let free = self.take_free()?;
            self.send_packed();
            self.packed = Buffer { bytes: free, packed: true, ..Buffer::default() };
        }
        // No buffer has room for 2^32 records.
        let records = self.plain.records as u32;
        self.packed.bytes.extend_from_slice(&records.to_ne_bytes());
        self.packed.bytes.extend_from_slice(&length.to_ne_bytes());
        self.packed.bytes.extend_from_slice(&self.frame);
        self.packed.records += mem::take(&mut self.plain.records);
        self.plain.bytes.clear();
        Some(())
    }

    fn take_free(&mut self) -> Option<Vec<u8>> {
        self.reclaim();
        self.free.pop().map(|free| free.bytes)
    }

    fn hand_over(&mut self) -> bool {
        let anything = self.holds_back();
        self.write_loss();
        self.send();
        anything
    }

    fn send(&mut self) {
        self.send_packed();
        let plain = mem::take(&mut self.plain);
        self.send_one(plain);
    }

    fn send_packed(&mut self) {
        let packed = mem::take(&mut self.packed);
        self.send_one(packed);
    }

    fn send_one(&mut self, buffer: Buffer) {
        if !buffer.is_empty() {
            self.level.buffers.fetch_add(1, Relaxed);
            self.level.records.fetch_add(buffer.records, Relaxed);
            // Nobody to take it: netdx ends.
            _ = self.full.send(Message::Full(buffer));
        }
    }
}

impl Outlet {
    /// Nothing is ready to be taken out.
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.packed.is_empty() && self.level.buffers.load(Relaxed) == 0
    }

    /// How many records are ready to be taken out.
    pub(super) fn records(&self) -> u64 {
        self.plain.records + self.packed.records + self.level.records.load(Relaxed)
    }

    /// Takes the next entry out, if one is ready.
    ///
    /// # Errors
    /// So many records can't be read again. None, unless memory was damaged.
    pub(super) fn take(&mut self) -> Result<Option<Entry<'_>>, Unreadable> {
        while self.plain.is_empty() {
            if self.packed.is_empty() && !self.proceed() {
                return Ok(None);
            }
            if !self.packed.is_empty() {
                self.unpack().map_err(|error| {
                    let records = mem::take(&mut self.packed).records;
                    Unreadable { records, error }
                })?;
            }
        }
        Ok(self.plain.take())
    }

    /// Waits for everything that has been put in when the inlet offers all of it. At once, when there is no inlet any more.
    pub(super) fn catch_up(&mut self) {
        while let Ok(Message::Full(buffer)) = self.ready.recv() {
            self.next.push_back(buffer);
        }
    }

    /// Goes on to the next buffer, if one is ready.
    fn proceed(&mut self) -> bool {
        let Some(buffer) = self.next.pop_front().or_else(|| self.receive()) else { return false };
        self.level.buffers.fetch_sub(1, Relaxed);
        self.level.records.fetch_sub(buffer.records, Relaxed);
        let place = if buffer.packed { &mut self.packed } else { &mut self.plain };
        let mut done = mem::replace(place, buffer).bytes;
        if done.capacity() >= BUFFER {
            done.clear();
            // Where all are there already it is freed.
            _ = self.emptied.try_send(done);
        }
        true
    }

    fn receive(&mut self) -> Option<Buffer> {
        match self.ready.try_recv() {
            Ok(Message::Full(buffer)) => Some(buffer),
            // Whoever asked for all has received that.
            Ok(Message::All) | Err(_) => None,
        }
    }

    /// Makes the records of the next frame readable.
    fn unpack(&mut self) -> io::Result<()> {
        let mut rest = &self.packed.bytes[self.packed.at..];
        let mut number = || rest.split_off(..4).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_ne_bytes(*bytes));
        let (records, length) = number().zip(number()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let frame = rest.split_off(..length as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new()?),
        };
        let plain = &mut self.plain.bytes;
        plain.clear();
        plain.reserve_exact(BUFFER);
        decompressor.decompress_to_buffer(frame, plain)?;
        self.plain.at = 0;
        self.plain.records = records.into();
        self.packed.at = self.packed.bytes.len() - rest.len();
        self.packed.records = self.packed.records.saturating_sub(records.into());
        Ok(())
    }
}

impl Buffer {
    fn has_room(&self, length: usize) -> bool {
        self.bytes.len() + length <= self.bytes.capacity()
    }

    /// Everything was taken out.
    fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Takes the next entry out.
    fn take(&mut self) -> Option<Entry<'_>> {
        let mut rest = self.bytes.get(self.at..)?;
        let length = u32::from_ne_bytes(*rest.split_off(..4)?.first_chunk()?);
        let entry = if length == LOSS {
            let mut number = || Some(u64::from_ne_bytes(*rest.split_off(..8)?.first_chunk()?));
            Entry::Lost(Time(number()?), number()?)
        } else {
            self.records = self.records.saturating_sub(1);
            Entry::Record(rest.split_off(..length as usize)?)
        };
        self.at = self.bytes.len() - rest.len();
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outlet: &mut Outlet) -> Vec<Result<Vec<u8>, (u64, u64)>> {
        let mut all = Vec::new();
        while let Some(entry) = outlet.take().expect("what was put in") {
            all.push(match entry {
                Entry::Record(bytes) => Ok(bytes.to_vec()),
                Entry::Lost(time, count) => Err((time.0, count)),
            });
        }
        assert!(outlet.is_empty() && outlet.records() == 0);
        all
    }

    #[test]
    fn records_and_losses_come_out_in_order() {
        let (mut inlet, mut outlet) = backlog(1 << 20);
        inlet.push(b"one");
        inlet.lost(Time(5), 2);
        inlet.lost(Time(6), 3);
        inlet.push(b"");
        inlet.push(b"three");
        inlet.lost(Time(9), 1);
        assert_eq!(all(&mut outlet), [], "nothing was handed over");
        inlet.offer();
        assert_eq!(outlet.records(), 3);
        let expected = [Ok(b"one".to_vec()), Err((6, 5)), Ok(vec![]), Ok(b"three".to_vec()), Err((9, 1))];
        assert_eq!(all(&mut outlet), expected);
        assert_eq!(all(&mut outlet), []);
    }

    #[test]
    fn whoever_is_behind_gets_the_rest_when_all_is_asked_for() {
        let (mut inlet, mut outlet) = backlog(1 << 20);
        for record in [b"one", b"two", b"six"] {
            inlet.push(record);
            inlet.offer();
        }
        assert_eq!(outlet.records(), 2, "the third waits for more to come");
        inlet.offer_all();
        outlet.catch_up();
        assert_eq!(all(&mut outlet), [Ok(b"one".to_vec()), Ok(b"two".to_vec()), Ok(b"six".to_vec())]);
        drop(inlet);
        outlet.catch_up();
        assert_eq!(all(&mut outlet), []);
    }

    #[test]
    fn it_is_bounded_and_loses_nothing_below_the_bound() {
        let limit = 2 * PLAIN * BUFFER;
        let (mut inlet, mut outlet) = backlog(limit);
        let mut put = 0u64;
        while !inlet.is_full() {
            // What can be compressed, and what can't.
            let mixed =
                |n: usize| put.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n as u32).wrapping_mul(n as u64 | 1);
            let words = if (put / 1_000).is_multiple_of(2) { [put; 100] } else { std::array::from_fn(mixed) };
            inlet.push(&[&put.to_ne_bytes()[..], &words.map(u64::to_ne_bytes).concat()].concat());
            put += 1;
        }
        assert_eq!(inlet.fill(), Fill::Crowded);
        inlet.lost(Time(1), 7);
        inlet.offer_all();
        outlet.catch_up();
        let bytes: usize = outlet.next.iter().map(|buffer| buffer.bytes.len()).sum();
        assert!(bytes <= limit && bytes > limit - limit / 4, "{bytes} of {limit}");
        assert!(outlet.next.iter().any(|buffer| buffer.packed), "some were compressed");
        assert_eq!(outlet.records(), put);
        let mut taken = all(&mut outlet);
        assert_eq!(taken.pop(), Some(Err((1, 7))));
        let numbers: Vec<u64> = taken
            .into_iter()
            .map(|record| u64::from_ne_bytes(*record.expect("no loss").first_chunk().expect("its number")))
            .collect();
        assert_eq!(numbers, (0..put).collect::<Vec<_>>());
        assert!(!inlet.is_full() && inlet.fill() == Fill::Empty);
        // All buffers but those that the outlet still has.
        assert!(inlet.free.len() >= inlet.buffers - 2, "{} of {}", inlet.free.len(), inlet.buffers);
        inlet.rest();
        assert_eq!(inlet.free.iter().filter(|free| free.touched).count(), SPARE);
    }
}
