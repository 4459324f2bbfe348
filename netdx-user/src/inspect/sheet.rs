//! Labelled lines: a title, then rows of a label and what there is to say, aligned. Owns: alignment, wrapping and escaping.
//! Must not know: what is said. Pure.
//!
//! On a terminal long text goes on under itself; in a pipe a row is one line, whole.

use crate::render::escape::escape;
use std::fmt::Write as _;

/// Lines being collected.
#[derive(Debug)]
pub struct Sheet {
    rows: Vec<Row>,
    width: Option<usize>,
}

#[derive(Debug)]
enum Row {
    Title(String),
    Labelled(String, String),
    Blank,
}

impl Sheet {
    /// Nothing yet. `width`: columns of the terminal; none: a pipe.
    #[must_use]
    pub fn new(width: Option<usize>) -> Sheet {
        Sheet { rows: Vec::new(), width }
    }

    /// A line of its own.
    pub fn title(&mut self, text: impl AsRef<str>) {
        self.rows.push(Row::Title(escape(text.as_ref()).into_owned()));
    }

    /// A label and its text; an empty label goes on with the row before.
    pub fn row(&mut self, label: impl AsRef<str>, text: impl AsRef<str>) {
        self.rows.push(Row::Labelled(escape(label.as_ref()).into_owned(), escape(text.as_ref()).into_owned()));
    }

    /// An empty line.
    pub fn blank(&mut self) {
        self.rows.push(Row::Blank);
    }

    /// The text, each line ended.
    #[must_use]
    pub fn finish(self) -> String {
        let labels = self.rows.iter().filter_map(|row| match row {
            Row::Labelled(label, _) => Some(label.chars().count()),
            Row::Title(_) | Row::Blank => None,
        });
        // A label longer than this pushes its own text, not everybody's.
        let column = labels.filter(|&length| length <= 26).max().unwrap_or(0) + 4;
        let mut text = String::new();
        for row in &self.rows {
            match row {
                Row::Blank => text.push('\n'),
                Row::Title(title) => lines(&mut text, "", title, 0, 0, self.width),
                Row::Labelled(label, said) => {
                    let first = format!("  {label:<fill$}", fill = column - 4);
                    lines(
                        &mut text,
                        &format!("{first}  "),
                        said,
                        column,
                        said.len() - said.trim_start().len(),
                        self.width,
                    );
                }
            }
        }
        text
    }
}

/// Writes `first` and `said`, wrapped at words under `column`, with `extra` more columns for what goes on.
fn lines(out: &mut String, first: &str, said: &str, column: usize, extra: usize, width: Option<usize>) {
    let Some(width) = width else {
        // Writing to a String can't fail.
        _ = writeln!(out, "{}", format!("{first}{said}").trim_end());
        return;
    };
    let hang = " ".repeat(column + extra + usize::from(column > 0) * 2);
    let mut line = format!("{first}{}", " ".repeat(extra));
    let mut fresh = true;
    for word in said.trim_start().split(' ') {
        let needed = line.chars().count() + usize::from(!fresh) + word.chars().count();
        if !fresh && needed > width {
            _ = writeln!(out, "{}", line.trim_end());
            line = hang.clone();
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(word);
        fresh = false;
    }
    _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::Sheet;

    fn sheet(width: Option<usize>) -> String {
        let mut sheet = Sheet::new(width);
        sheet.title("db.internal");
        sheet.row("hosts", "one two three four five six seven");
        sheet.row("", "  under it all the words go on");
        sheet.row("system", "short\u{1b}[2J");
        sheet.finish()
    }

    #[test]
    fn a_pipe_keeps_each_row_whole() {
        assert_eq!(
            sheet(None),
            "db.internal\n  hosts   one two three four five six seven\n            under it all the words go on\n  system  short\\x1b[2J\n"
        );
    }

    #[test]
    fn a_terminal_wraps_under_the_text() {
        let text = sheet(Some(30));
        assert!(text.lines().all(|line| line.chars().count() <= 30), "{text}");
        assert!(text.contains("\n            four five six\n") || text.contains("\n            five six"), "{text}");
    }
}
