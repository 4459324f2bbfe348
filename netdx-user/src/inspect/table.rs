//! Rows under headings. Owns: columns and escaping. Must not know: what is listed. Pure.
//!
//! On a terminal long cells are broken inside their column; in a pipe a row is one line, whole.

use crate::render::escape::escape;
use comfy_table::{ColumnConstraint, ContentArrangement, presets::NOTHING};

/// A table being filled.
#[derive(Debug)]
pub struct Table(comfy_table::Table);

impl Table {
    /// An empty one. `width`: columns of the terminal; none: a pipe.
    #[must_use]
    pub fn new(header: &[&str], width: Option<usize>) -> Table {
        let mut table = comfy_table::Table::new();
        table.load_preset(NOTHING).set_header(header);
        match width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic);
                table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
            }
            None => _ = table.set_content_arrangement(ContentArrangement::Disabled),
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Table(table)
    }

    /// These columns are never broken: half an address is none.
    #[must_use]
    pub fn whole(mut self, columns: &[usize]) -> Table {
        for &index in columns {
            if let Some(column) = self.0.column_mut(index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self
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
}
