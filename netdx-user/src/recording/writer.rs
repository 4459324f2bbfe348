//! Writes a recording. Owns: [`Writer`]. Must not know: where the bytes go, or when to flush (the pipeline says so).

use super::{Counts, Header, Trailer, shift};
use crate::input::Stamped;
use serde::Serialize;
use std::io::{self, BufWriter, Write};

/// A recording being written. Without [`Writer::finish`] the file has no last line, and a reader says that it was cut.
pub struct Writer<W: Write> {
    out: Sink<W>,
    base: u64,
    counts: Counts,
}

enum Sink<W: Write> {
    Plain(BufWriter<W>),
    Zstd(Box<zstd::Encoder<'static, BufWriter<W>>>),
}

impl<W: Write> Sink<W> {
    fn get(&mut self) -> &mut dyn Write {
        match self {
            Sink::Plain(out) => out,
            Sink::Zstd(out) => out,
        }
    }
}

impl<W: Write> Writer<W> {
    /// Begins a recording with its header.
    ///
    /// # Errors
    /// What writing gives: a full disk, a closed pipe.
    pub fn new(out: W, header: &Header, compressed: bool) -> io::Result<Writer<W>> {
        let out = BufWriter::with_capacity(1 << 16, out);
        let out = if compressed { Sink::Zstd(Box::new(zstd::Encoder::new(out, 3)?)) } else { Sink::Plain(out) };
        let mut writer = Writer { out, base: header.start.boot_ns, counts: Counts::default() };
        writer.line(header)?;
        Ok(writer)
    }

    /// Adds an input.
    ///
    /// # Errors
    /// What writing gives.
    pub fn write(&mut self, mut stamped: Stamped) -> io::Result<()> {
        let base = self.base;
        self.counts.add(&stamped.input);
        shift(&mut stamped, |t| t.wrapping_sub(base));
        self.line(&stamped)
    }

    /// Hands everything written so far to the system, so that a killed run leaves a readable file.
    ///
    /// # Errors
    /// What writing gives.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.get().flush()
    }

    /// What was written so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Ends the recording with its counts and gives back what was written to.
    ///
    /// # Errors
    /// What writing gives; the recording then lacks its end.
    pub fn finish(mut self) -> io::Result<W> {
        self.line(&Trailer { counts: self.counts })?;
        let out = match self.out {
            Sink::Plain(out) => out,
            Sink::Zstd(out) => out.finish()?,
        };
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }

    fn line(&mut self, content: &impl Serialize) -> io::Result<()> {
        let out = self.out.get();
        serde_json::to_writer(&mut *out, content)?;
        out.write_all(b"\n")
    }
}
