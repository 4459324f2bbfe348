//! Where rendered reports go. Owns: the output, and which renderer is in use. Must not know: how a report looks.
//!
//! Reports go to stdout or a file. In text, what is said about the run itself goes to stderr, so that a file holds
//! reports only; JSON has its `start` and `summary` objects in line.

use super::Error;
use crate::{
    input::Stamped,
    recording::Header,
    render::{Summary, html, json, pcapng, text},
    report::Report,
};
use std::io::{self, BufWriter, Write};

/// Where reports go, and how.
pub struct Reporter {
    out: BufWriter<Box<dyn Write>>,
    to: String,
    style: Style,
    /// How to write notices on stderr.
    notices: Sheet,
}

/// A layout whose width is looked at for each report: a terminal's window changes while a run goes on.
#[derive(Debug)]
pub struct Sheet {
    /// All but the width.
    pub layout: text::Layout,
    /// Columns there are now.
    pub columns: fn() -> usize,
}

impl Sheet {
    fn now(&self) -> text::Layout {
        text::Layout { width: (self.columns)(), ..self.layout.clone() }
    }
}

/// How reports are written.
#[derive(Debug)]
pub enum Style {
    /// For people.
    Text(Sheet),
    /// One object a line.
    Json,
    /// One page at the end, of these parts.
    Html(Vec<String>),
    /// The packets that the inputs tell of, rather than reports.
    Pcapng,
    /// Not at all; only counted.
    Silent,
}

impl Reporter {
    /// Writes to `out`, which messages call `to`.
    #[must_use]
    pub fn new(out: Box<dyn Write>, to: String, style: Style, notices: Sheet) -> Reporter {
        Reporter { out: BufWriter::with_capacity(1 << 16, out), to, style, notices }
    }

    pub(super) fn start(&mut self, header: &Header, live: bool) -> Result<(), Error> {
        match &self.style {
            Style::Json => {
                self.write(&json::start(header))?;
                self.flush()
            }
            Style::Pcapng => self.write_bytes(&pcapng::start(header)),
            Style::Text(_) | Style::Html(_) | Style::Silent => {
                self.notice(&text::start(header, live, &self.notices.now()));
                Ok(())
            }
        }
    }

    pub(super) fn report(&mut self, report: &Report, header: &Header) -> Result<(), Error> {
        let text = match &mut self.style {
            Style::Text(sheet) => text::report(report, header, &sheet.now()),
            Style::Json => json::report(report, &header.start),
            Style::Html(parts) => {
                parts.push(html::report(report, header));
                return Ok(());
            }
            Style::Pcapng | Style::Silent => return Ok(()),
        };
        self.write(&text)
    }

    /// Shows what an input tells by itself.
    pub(super) fn input(&mut self, stamped: &Stamped, header: &Header) -> Result<(), Error> {
        match &self.style {
            Style::Pcapng => match pcapng::packet(stamped, &header.start) {
                Some(packet) => self.write_bytes(&packet),
                None => Ok(()),
            },
            Style::Text(_) | Style::Json | Style::Html(_) | Style::Silent => Ok(()),
        }
    }

    pub(super) fn finish(&mut self, summary: &Summary, header: &Header) -> Result<(), Error> {
        match &self.style {
            Style::Json => self.write(&json::summary(summary, header))?,
            Style::Html(parts) => {
                let page = html::page(parts, summary, header);
                self.write(&page)?;
            }
            Style::Text(_) | Style::Pcapng | Style::Silent => {
                // In order, where both go to one terminal.
                self.flush()?;
                self.notice(&text::summary(summary, header, &self.notices.now()));
            }
        }
        self.flush()
    }

    /// Says something about the run, on stderr. Nobody is left to tell when that is closed.
    pub(super) fn notice(&self, text: &str) {
        _ = io::stderr().write_all(text.as_bytes());
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(|source| Error::Write { to: self.to.clone(), source })
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        self.write_bytes(text.as_bytes())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|source| Error::Write { to: self.to.clone(), source })
    }
}
