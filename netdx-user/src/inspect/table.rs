//! Rows under headings. Owns: columns. Must not know: what is listed. Pure.
//!
//! A row is one line, whole: half an address is none. Where a terminal is too narrow for that, the caller writes its rows in
//! another form.

use super::phrase::{Phrase, View};
use crate::render::ink::DIM;

/// Spaces between columns.
const GAP: usize = 2;

/// A table being filled.
#[derive(Debug)]
pub struct Table(Vec<Vec<Phrase>>);

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(header: &[&str]) -> Table {
        Table(vec![header.iter().map(|heading| Phrase::of(DIM, heading)).collect()])
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Phrase>) {
        self.0.push(cells);
    }

    /// The text, each line ended, no spaces before its end.
    #[must_use]
    pub fn finish(&self, view: View) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.0 {
            let mut due = 0;
            for (cell, width) in row.iter().zip(&widths) {
                if !cell.is_empty() {
                    text.extend(std::iter::repeat_n(' ', due));
                    text += &cell.painted(view.color);
                    due = 0;
                }
                due += width + GAP - cell.columns();
            }
            text.push('\n');
        }
        text
    }

    /// The text, if its lines fit; in a pipe they do.
    #[must_use]
    pub fn within(&self, view: View) -> Option<String> {
        let widths = self.widths();
        let line = |row: &Vec<Phrase>| {
            let cells = row.iter().zip(&widths).scan(0, |begin, (cell, width)| {
                let end = *begin + cell.columns();
                *begin += width + GAP;
                Some(if cell.is_empty() { 0 } else { end })
            });
            cells.max().unwrap_or(0)
        };
        view.holds(self.0.iter().map(line).max().unwrap_or(0)).then(|| self.finish(view))
    }

    /// The columns of each column.
    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.0 {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.columns().max(*width);
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::ink::BAD;

    #[test]
    fn columns_line_up_with_and_without_colour() {
        let mut table = Table::new(&["A", "", "LONG"]);
        table.row(vec!["日本".into(), Phrase::of(BAD, "->"), Phrase::default()]);
        table.row(vec!["x".into(), "<-".into(), "end".into()]);
        let plain = table.finish(View::default());
        assert_eq!(plain, "A         LONG\n日本  ->\nx     <-  end\n");
        let painted = table.finish(View { width: None, color: true });
        assert!(painted.contains(&format!("日本  {BAD}->{BAD:#}\n")), "{painted}");
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), plain);
        assert!(table.within(View { width: Some(14), color: true }).is_some());
        assert_eq!(table.within(View { width: Some(13), color: true }), None);
    }
}
