//! Where a verb's answer goes: stdout, as text for its width or as JSON lines. Owns: [`Page`]. Must not know: what is said.

use super::Format;
use crate::inspect::phrase::View;
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write as _};

/// Standard output, buffered; written out when dropped or when a line has to be seen at once.
pub(super) struct Page {
    out: BufWriter<Stdout>,
    view: View,
}

impl Page {
    /// Standard output. Text is wrapped to a terminal's width, never in a pipe.
    #[must_use]
    pub(super) fn new(format: Format) -> Page {
        let stdout = io::stdout();
        let width = (format == Format::Text && stdout.is_terminal()).then(super::width);
        let view = View { width, color: super::is_colored(&stdout) };
        Page { out: BufWriter::new(stdout), view }
    }

    /// What text is laid out for.
    #[must_use]
    pub(super) fn view(&self) -> View {
        self.view
    }

    /// Writes text as it is.
    ///
    /// # Errors
    /// Standard output can't be written to.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Writes one object on one line.
    ///
    /// # Errors
    /// Standard output can't be written to.
    pub(super) fn json(&mut self, object: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, object).map_err(io::Error::from)?;
        self.out.write_all(b"\n")
    }

    /// Sends what is buffered on its way.
    ///
    /// # Errors
    /// Standard output can't be written to.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
