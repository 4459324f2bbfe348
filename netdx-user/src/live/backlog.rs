//! Records that were taken off the ring and wait to be understood.
//!
//! Owns: how they are kept (as bytes, one after the other, and compressed when there are many), and the bound of it. Must
//! not know: the ring, what is in a record.

use crate::time::Time;
use std::{collections::VecDeque, io, mem};
use zstd::bulk::{Compressor, Decompressor};

/// One allocation.
const CHUNK: usize = 256 << 10;
/// Chunks kept to be filled again.
const SPARE: usize = 2;
/// As many chunks stay as they are: what a burst leaves behind, which is soon understood.
const PLAIN: usize = 16;
/// The records of one failure are much like those of the next: even this makes a tenth of them, at a GB a second.
const LEVEL: i32 = 1;
/// Longer than any record.
const ROOM: usize = 4 << 10;
/// Stands where a record's length would: a loss follows.
const LOSS: u32 = u32::MAX;

/// Records in the order in which they were taken off the ring, and where some were lost.
pub(super) struct Backlog {
    chunks: VecDeque<Chunk>,
    spare: Vec<Vec<u8>>,
    /// The last thing that happened, not written yet: further losses are added to it.
    loss: Option<(Time, u64)>,
    /// None: can't be made; nothing is compressed then.
    compressor: Option<Compressor<'static>>,
    /// Bytes in the chunks.
    held: usize,
    /// Bytes at most.
    limit: usize,
}

/// Some records, to be taken out in order.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    /// The bytes are compressed.
    packed: bool,
    /// What is before has been taken out.
    at: usize,
    /// Records in the rest.
    records: u64,
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

impl Backlog {
    /// One that takes about so many bytes of memory.
    pub(super) fn new(limit: usize) -> Backlog {
        Backlog {
            chunks: VecDeque::new(),
            spare: Vec::new(),
            loss: None,
            compressor: Compressor::new(LEVEL).ok(),
            held: 0,
            limit,
        }
    }

    /// Whether no more should be put in. What then is lost, is lost on the ring, where it is counted.
    pub(super) fn is_full(&self) -> bool {
        self.held + CHUNK > self.limit && self.chunks.back().is_none_or(|last| !last.has_room(ROOM))
    }

    /// Nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.loss.is_none()
    }

    /// How much of its memory is in use.
    pub(super) fn fill(&self) -> Fill {
        match self.chunks.len() {
            0 | 1 => Fill::Empty,
            _ if self.held > self.limit / 2 => Fill::Crowded,
            _ => Fill::Some,
        }
    }

    /// How many records are in it.
    pub(super) fn records(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.records).sum()
    }

    /// Adds a record.
    pub(super) fn push(&mut self, record: &[u8]) {
        self.write_loss();
        // The kernel's own limit of a record's length is less than 2^30 (`BPF_RINGBUF_HDR_SZ`, `len_mask`).
        let length = u32::try_from(record.len()).unwrap_or(LOSS - 1);
        let chunk = self.chunk(record.len());
        chunk.bytes.extend_from_slice(&length.to_ne_bytes());
        chunk.bytes.extend_from_slice(record);
        chunk.records += 1;
    }

    /// Adds that records were lost.
    pub(super) fn lost(&mut self, time: Time, count: u64) {
        let before = self.loss.map_or(0, |(_, count)| count);
        self.loss = Some((time, before + count));
    }

    fn write_loss(&mut self) {
        let Some((time, count)) = self.loss.take() else { return };
        let chunk = self.chunk(2 * size_of::<u64>());
        chunk.bytes.extend_from_slice(&LOSS.to_ne_bytes());
        chunk.bytes.extend_from_slice(&time.0.to_ne_bytes());
        chunk.bytes.extend_from_slice(&count.to_ne_bytes());
    }

    /// The chunk that so many bytes go to.
    fn chunk(&mut self, length: usize) -> &mut Chunk {
        if self.chunks.back().is_none_or(|last| !last.has_room(length)) {
            self.pack_last();
            let bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK));
            self.held += CHUNK;
            self.chunks.push_back(Chunk { bytes, ..Chunk::default() });
        }
        let last = self.chunks.len() - 1;
        &mut self.chunks[last]
    }

    /// Compresses the last chunk, if there are many.
    fn pack_last(&mut self) {
        let Some(compressor) = self.compressor.as_mut().filter(|_| self.chunks.len() >= PLAIN) else { return };
        let Some(last) = self.chunks.back_mut() else { return };
        if let Ok(packed) = compressor.compress(&last.bytes)
            && packed.len() < CHUNK / 2
        {
            let bytes = mem::replace(&mut last.bytes, packed);
            last.bytes.shrink_to_fit();
            last.packed = true;
            self.held = self.held - CHUNK + last.bytes.len();
            self.keep(bytes);
        }
    }

    /// Exchanges a chunk of which everything was taken out for the next one; an empty one, if there is none.
    pub(super) fn next(&mut self, done: &mut Chunk) {
        self.write_loss();
        let next = self.chunks.pop_front().unwrap_or_default();
        self.held -= if next.packed { next.bytes.len() } else { next.bytes.capacity().min(CHUNK) };
        let bytes = mem::replace(done, next).bytes;
        self.keep(bytes);
    }

    /// Keeps an allocation to be filled again.
    fn keep(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() == CHUNK && self.spare.len() < SPARE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

impl Chunk {
    fn has_room(&self, length: usize) -> bool {
        !self.packed && self.bytes.len() + size_of::<u32>() + length <= CHUNK
    }

    /// Makes the entries readable.
    ///
    /// # Errors
    /// None, unless memory was damaged.
    pub(super) fn unpack(&mut self) -> io::Result<()> {
        if mem::take(&mut self.packed) {
            self.bytes = Decompressor::new()?.decompress(&self.bytes, CHUNK)?;
        }
        Ok(())
    }

    /// Everything was taken out.
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// How many records are left in it.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Takes the next entry out.
    pub(super) fn take(&mut self) -> Option<Entry<'_>> {
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

    fn all(backlog: &mut Backlog) -> Vec<Result<Vec<u8>, (u64, u64)>> {
        let (mut all, mut chunk) = (Vec::new(), Chunk::default());
        loop {
            while let Some(entry) = chunk.take() {
                all.push(match entry {
                    Entry::Record(bytes) => Ok(bytes.to_vec()),
                    Entry::Lost(time, count) => Err((time.0, count)),
                });
            }
            assert!(chunk.is_empty() && chunk.records() == 0);
            if backlog.is_empty() {
                return all;
            }
            backlog.next(&mut chunk);
            chunk.unpack().expect("what was compressed");
        }
    }

    #[test]
    fn records_and_losses_come_out_in_order() {
        let mut backlog = Backlog::new(1 << 20);
        backlog.push(b"one");
        backlog.lost(Time(5), 2);
        backlog.lost(Time(6), 3);
        backlog.push(b"");
        backlog.push(b"three");
        backlog.lost(Time(9), 1);
        assert_eq!(backlog.records(), 3);
        let expected = [Ok(b"one".to_vec()), Err((6, 5)), Ok(vec![]), Ok(b"three".to_vec()), Err((9, 1))];
        assert_eq!(all(&mut backlog), expected);
        assert_eq!(all(&mut backlog), []);
    }

    #[test]
    fn it_is_bounded_and_loses_nothing_below_the_bound() {
        let limit = 2 * PLAIN * CHUNK;
        let mut backlog = Backlog::new(limit);
        let mut put = 0u64;
        while !backlog.is_full() {
            // What can be compressed, and what can't.
            let mixed =
                |n: usize| put.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n as u32).wrapping_mul(n as u64 | 1);
            let words = if (put / 1_000).is_multiple_of(2) { [put; 100] } else { std::array::from_fn(mixed) };
            backlog.push(&[&put.to_ne_bytes()[..], &words.map(u64::to_ne_bytes).concat()].concat());
            put += 1;
        }
        let bytes: usize = backlog.chunks.iter().map(|chunk| chunk.bytes.capacity()).sum();
        assert!(bytes <= limit && bytes > limit - 2 * CHUNK, "{bytes} of {limit}");
        assert!(backlog.chunks.iter().any(|chunk| chunk.packed), "some were compressed");
        assert_eq!(backlog.records(), put);
        let numbers: Vec<u64> = all(&mut backlog)
            .into_iter()
            .map(|record| u64::from_ne_bytes(*record.expect("no loss").first_chunk().expect("its number")))
            .collect();
        assert_eq!(numbers, (0..put).collect::<Vec<_>>());
        assert!(!backlog.is_full() && backlog.held == 0);
    }
}
