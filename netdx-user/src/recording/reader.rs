//! Reads a recording, which may be hostile. Owns: [`Reader`], its limits, and what is said about a damaged file.
//! Must not know: files.
//!
//! Nothing here panics or grows with the file: a line is capped, lines are counted, and compressed data can't ask for
//! more than [`ZSTD_WINDOW_LOG`]. A line that can't be read becomes an `Input::Malformed`, so that no verdict is
//! reached by the absence of what stood there.

use super::{Counts, FORMAT, Header, Trailer, shift};
use crate::{
    input::{Input, Stamped},
    render::escape::escape,
    time::Time,
};
use serde::Deserialize;
use std::io::{self, BufRead, BufReader, Read};

/// Longest line that is read, bytes. The longest honest one is a host's firewall rules.
pub const MAX_LINE: usize = 8 << 20;
/// Most inputs that are read.
pub const MAX_INPUTS: u64 = 100_000_000;
/// zstd frames with a larger window (2^27 = 128 MiB, the format's usual limit) are refused.
const ZSTD_WINDOW_LOG: u32 = 27;
/// First bytes of a zstd frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why a recording can't be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes could not be had.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// There is nothing in it.
    #[error("the recording is empty")]
    Empty,
    /// It is something else.
    #[error("this is no netdx recording: its first line is no header ({0})")]
    NoHeader(String),
    /// It was written by a newer netdx.
    #[error("the recording has format {format}, this netdx reads up to {FORMAT}: use netdx {netdx} or newer")]
    Newer {
        /// The file's format.
        format: u32,
        /// The netdx that wrote it.
        netdx: String,
    },
}

/// What was wrong with a file that could be read all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Lines that could not be read.
    pub unreadable: u64,
    /// The first of them: its number, from 1, and why.
    pub first: Option<(u64, String)>,
    /// The file ends in the middle of a line, or of compressed data.
    pub cut: Option<String>,
    /// There is no last line with counts: the run was killed, or the file was cut.
    pub no_end: bool,
    /// The counts say that there were so many inputs; another number was found.
    pub expected: Option<u64>,
    /// There is more after [`MAX_INPUTS`].
    pub too_many: bool,
}

impl Damage {
    /// One sentence for each thing that is wrong.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let Some((line, why)) = &self.first {
            let more = self.unreadable.saturating_sub(1);
            let more = if more == 0 { String::new() } else { format!(", and {more} more") };
            all.push(format!("line {line} can't be read: {why}{more}"));
        }
        if let Some(why) = &self.cut {
            all.push(format!("the recording is cut: {why}"));
        } else if self.no_end {
            all.push("the recording has no end: the run that wrote it was killed, or the file was cut".into());
        }
        if let Some(expected) = self.expected {
            all.push(format!("the recording's own count is {expected} inputs, which is not what is in it"));
        }
        if self.too_many {
            all.push(format!("the recording has more than {MAX_INPUTS} inputs: the rest was not read"));
        }
        all
    }
}

/// A recording being read.
pub struct Reader<'r> {
    lines: Lines<'r>,
    header: Header,
    counts: Counts,
    last: Time,
    damage: Damage,
    done: bool,
}

impl<'r> Reader<'r> {
    /// Reads the header. Whether the data is compressed shows in its first bytes, whatever its name says.
    ///
    /// # Errors
    /// [`Error`]: nothing of the file can be used.
    pub fn new(source: impl Read + 'r) -> Result<Reader<'r>, Error> {
        let mut lines = Lines::new(source)?;
        let text = match lines.next()? {
            Line::End => return Err(Error::Empty),
            Line::TooLong => return Err(Error::NoHeader(format!("longer than {MAX_LINE} bytes"))),
            Line::Whole(text) | Line::Cut(text, _) => text,
        };
        let header = migrate(&text)?;
        Ok(Reader {
            last: Time(header.start.boot_ns),
            lines,
            header,
            counts: Counts::default(),
            damage: Damage::default(),
            done: false,
        })
    }

    /// What the recording says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was wrong so far. Whole once the reader has given its last input.
    #[must_use]
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// What was read so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn end(&mut self, trailer: Option<Counts>) -> Option<Stamped> {
        self.done = true;
        self.damage.no_end = trailer.is_none();
        self.damage.expected = trailer.map(|counts| counts.inputs).filter(|inputs| *inputs != self.counts.inputs);
        None
    }

    fn unreadable(&mut self, why: String) -> Stamped {
        let line = self.lines.number;
        self.damage.unreadable += 1;
        let input = Input::Malformed(format!("line {line} of the recording: {why}"));
        self.damage.first.get_or_insert((line, why));
        self.counts.add(&input);
        Stamped { t: self.last, input }
    }
}

impl Iterator for Reader<'_> {
    type Item = Stamped;

    fn next(&mut self) -> Option<Stamped> {
        if self.done {
            return None;
        }
        if self.counts.inputs >= MAX_INPUTS {
            self.damage.too_many = true;
            self.done = true;
            return None;
        }
        let text = match self.lines.next() {
            Ok(Line::Whole(text)) => text,
            Ok(Line::TooLong) => return Some(self.unreadable(format!("it is longer than {MAX_LINE} bytes"))),
            Ok(Line::End) => return self.end(None),
            Ok(Line::Cut(_, why)) => {
                self.damage.cut = Some(why);
                return self.end(None);
            }
            Err(error) => {
                self.damage.cut = Some(error.to_string());
                return self.end(None);
            }
        };
        if text.starts_with(b"{\"counts\":") {
            return match serde_json::from_slice::<Trailer>(&text) {
                Ok(trailer) => self.end(Some(trailer.counts)),
                Err(error) => Some(self.unreadable(reason(&error))),
            };
        }
        match serde_json::from_slice::<Stamped>(&text) {
            Ok(mut stamped) => {
                let base = self.header.start.boot_ns;
                shift(&mut stamped, |t| t.wrapping_add(base));
                self.last = stamped.t;
                self.counts.add(&stamped.input);
                Some(stamped)
            }
            Err(error) => Some(self.unreadable(reason(&error))),
        }
    }
}

/// Why a line can't be read: serde repeats what stands there, which may be anything.
fn reason(error: &serde_json::Error) -> String {
    escape(&error.to_string()).into_owned()
}

/// Reads a header of this or an older format. An older one would be brought to today's shape here, as JSON; there is
/// none yet, format 1 being the first.
fn migrate(text: &[u8]) -> Result<Header, Error> {
    /// What every format has had.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
        netdx: String,
    }
    let no_header = |e: serde_json::Error| Error::NoHeader(reason(&e));
    let version: Version = serde_json::from_slice(text).map_err(no_header)?;
    match version.format {
        FORMAT => serde_json::from_slice(text).map_err(no_header),
        format if format > FORMAT => Err(Error::Newer { format, netdx: escape(&version.netdx).into_owned() }),
        format => Err(Error::NoHeader(format!("format {format} never existed"))),
    }
}

enum Line {
    /// A line, without its end.
    Whole(Vec<u8>),
    /// Longer than [`MAX_LINE`]; skipped.
    TooLong,
    /// What stands before the end of the data when no line end does, and what ended it.
    Cut(Vec<u8>, String),
    /// The data ended after a whole line.
    End,
}

struct Lines<'r> {
    source: Box<dyn BufRead + 'r>,
    number: u64,
    /// The rest of a line that is too long comes next.
    too_long: bool,
}

impl<'r> Lines<'r> {
    fn new(source: impl Read + 'r) -> io::Result<Lines<'r>> {
        let mut source = BufReader::with_capacity(1 << 16, source);
        let compressed = source.fill_buf()?.starts_with(&ZSTD_MAGIC);
        let source: Box<dyn BufRead + 'r> = if compressed {
            let mut decoder = zstd::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(BufReader::with_capacity(1 << 16, decoder))
        } else {
            Box::new(source)
        };
        Ok(Lines { source, number: 0, too_long: false })
    }

    fn next(&mut self) -> io::Result<Line> {
        self.number += 1;
        if std::mem::take(&mut self.too_long) {
            self.skip_line()?;
        }
        let mut text = Vec::new();
        let limit = MAX_LINE as u64 + 1;
        if let Err(error) = (&mut self.source).take(limit).read_until(b'\n', &mut text) {
            // Compressed data that stops early: what was decoded of the line is no line.
            return Ok(Line::Cut(text, error.to_string()));
        }
        if text.last() == Some(&b'\n') {
            text.pop();
            return Ok(Line::Whole(text));
        }
        if text.len() > MAX_LINE {
            self.too_long = true;
            return Ok(Line::TooLong);
        }
        Ok(if text.is_empty() { Line::End } else { Line::Cut(text, "its last line is not whole".into()) })
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.source.fill_buf()?;
            let (used, found) = match buffer.iter().position(|b| *b == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.source.consume(used);
            if found {
                return Ok(());
            }
        }
    }
}
