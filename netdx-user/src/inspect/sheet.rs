//! Labelled lines: a title, then rows of a label and what there is to say, aligned. Owns: alignment and wrapping.
//! Must not know: what is said. Pure.
//!
//! On a terminal long text goes on under itself; in a pipe a row is one line, whole.

use super::phrase::{Phrase, View};
use crate::render::ink::{BOLD, DIM};
use std::fmt::Write as _;

/// Lines being collected.
#[derive(Debug)]
pub struct Sheet {
    rows: Vec<Row>,
    view: View,
}

#[derive(Debug)]
enum Row {
    Line(Phrase),
    Labelled(Phrase, Phrase),
    Blank,
}

/// Spaces before a label, and after the longest.
const GAP: usize = 2;
/// A label longer than this pushes its own text, not everybody's.
const LABEL: usize = 26;

impl Sheet {
    /// Nothing yet.
    #[must_use]
    pub fn new(view: View) -> Sheet {
        Sheet { rows: Vec::new(), view }
    }

    /// A line of its own, which the rows below are about.
    pub fn title(&mut self, text: impl Into<Phrase>) {
        self.rows.push(Row::Line(text.into().or(BOLD)));
    }

    /// A line of its own.
    pub fn line(&mut self, text: impl Into<Phrase>) {
        self.rows.push(Row::Line(text.into()));
    }

    /// A label and its text; an empty label goes on with the row before.
    pub fn row(&mut self, label: impl Into<Phrase>, text: impl Into<Phrase>) {
        self.rows.push(Row::Labelled(label.into().or(DIM), text.into()));
    }

    /// An empty line.
    pub fn blank(&mut self) {
        self.rows.push(Row::Blank);
    }

    /// The text, each line ended.
    #[must_use]
    pub fn finish(self) -> String {
        let labels = self.rows.iter().filter_map(|row| match row {
            Row::Labelled(label, _) => Some(label.columns()),
            Row::Line(_) | Row::Blank => None,
        });
        let mut column = labels.filter(|&length| length <= LABEL).max().unwrap_or(0) + 2 * GAP;
        if self.view.width.is_some_and(|width| 2 * column >= width) {
            // Text that would have half of a narrow terminal, or less, goes on below its label.
            column = 2 * GAP;
        }
        let mut text = String::new();
        for row in &self.rows {
            match row {
                Row::Blank => text.push('\n'),
                Row::Line(said) => lines(&mut text, &Phrase::default(), said, 0, self.view),
                Row::Labelled(label, said) => lines(&mut text, label, said, column, self.view),
            }
        }
        text
    }
}

/// Writes a label and what is said from `column` on; on a terminal wrapped at words, what goes on a little further in.
fn lines(out: &mut String, label: &Phrase, said: &Phrase, column: usize, view: View) {
    let gap = if column == 0 { 0 } else { GAP };
    let words = said.words();
    // Spaces that a text begins with stand under a label: what goes on stands there too.
    let extra = words.iter().take_while(|word| word.is_empty()).count().min(words.len() - 1);
    let mut line = Phrase::default();
    line.space(gap, label.clone());
    // Spaces are written only before a word, so that no line ends in any.
    let mut due = extra + column.saturating_sub(line.columns()).max(gap);
    let mut fresh = true;
    for word in words.into_iter().skip(extra) {
        if !word.is_empty() {
            if !fresh && !view.holds(line.columns() + due + word.columns()) {
                // Writing to a String can't fail.
                _ = writeln!(out, "{}", line.painted(view.color));
                (line, due) = (Phrase::default(), column + extra + gap);
            }
            line.space(due, word);
            (due, fresh) = (0, false);
        }
        due += 1;
    }
    _ = writeln!(out, "{}", line.painted(view.color));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::ink::BAD;

    fn sheet(width: Option<usize>, color: bool) -> String {
        let mut sheet = Sheet::new(View { width, color });
        sheet.title("db.internal");
        sheet.row("hosts", Phrase::from("one two three four five ").and(BAD, "six seven"));
        sheet.row("", "  under it all the words go on");
        sheet.row("system", "short\u{1b}[2J");
        sheet.finish()
    }

    #[test]
    fn a_pipe_keeps_each_row_whole() {
        assert_eq!(
            sheet(None, false),
            "db.internal\n  hosts   one two three four five six seven\n            under it all the words go on\n  system  short\\x1b[2J\n"
        );
    }

    #[test]
    fn a_terminal_wraps_under_the_text() {
        assert_eq!(
            sheet(Some(30), false),
            "db.internal\n  hosts   one two three four\n            five six seven\n            under it all the\n              words go on\n  system  short\\x1b[2J\n"
        );
    }

    #[test]
    fn long_labels_leave_room_on_a_narrow_terminal() {
        let mut sheet = Sheet::new(View { width: Some(40), color: false });
        sheet.row("type information", "ok       /sys/kernel/btf/vmlinux, without what is new");
        sheet.row("", "         lost: little");
        assert_eq!(
            sheet.finish(),
            "  type information  ok\n      /sys/kernel/btf/vmlinux, without\n      what is new\n             lost: little\n"
        );
    }

    #[test]
    fn colours_take_no_room() {
        for width in [None, Some(20), Some(30), Some(80)] {
            let painted = sheet(width, true);
            assert!(painted.contains(&format!("{BAD}six")), "{painted}");
            assert_eq!(anstream::adapter::strip_str(&painted).to_string(), sheet(width, false));
        }
    }
}
