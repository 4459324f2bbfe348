//! Rows under headings. Owns: columns and escaping. Must not know: what is listed. Pure.
//!
//! A row is one line, whole: half an address is none. Where a terminal is too narrow for that, the caller writes its rows in
//! another form.

use crate::render::escape::escape;
use comfy_table::{ContentArrangement, presets::NOTHING};

/// A table being filled.
#[derive(Debug)]
pub struct Table(comfy_table::Table);

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(header: &[&str]) -> Table {
        let mut table = comfy_table::Table::new();
        table.load_preset(NOTHING).set_header(header).set_content_arrangement(ContentArrangement::Disabled);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Table(table)
    }

    /// Adds a row, made safe for a terminal.
    pub fn row(&mut self, cells: Vec<String>) {
        self.0.add_row(cells.iter().map(|cell| escape(cell).into_owned()).collect::<Vec<_>>());
    }

    /// The text, each line ended, no spaces before its end.
    #[must_use]
    pub fn finish(self) -> String {
        self.0.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".into()]).collect()
    }

    /// The text, if its lines fit into so many columns (none: a pipe, into which everything fits).
    #[must_use]
    pub fn within(self, width: Option<usize>) -> Option<String> {
        let text = self.finish();
        let fits = width.is_none_or(|width| text.lines().all(|line| line.chars().count() <= width));
        fits.then_some(text)
    }
}
