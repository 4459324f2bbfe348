//! What was measured, as tables: on the screen, and in `docs/performance.md`.
//!
//! Owns: the page. It is kept by sections, each with its own date, because measuring all takes half an hour.

use std::{fs, io, path::Path};

/// One measurement's result.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its heading.
    pub(crate) title: &'static str,
    /// What was done.
    pub(crate) about: String,
    /// The table: its head first.
    pub(crate) rows: Vec<Vec<String>>,
    /// What else is to be said.
    pub(crate) notes: Vec<String>,
}

impl Section {
    /// As Markdown, columns aligned.
    pub(crate) fn markdown(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let lengths = self.rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
            lengths.max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = format!("## {}\n{}\n\n", self.title, self.about);
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(
                    |(column, (cell, width))| {
                        if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                    },
                )
                .collect();
            text += &format!("| {} |\n", cells.join(" | "));
            if index == 0 {
                let lines: Vec<String> = widths
                    .iter()
                    .enumerate()
                    .map(|(column, width)| if column == 0 { "-".repeat(*width) } else { "-".repeat(width - 1) + ":" })
                    .collect();
                text += &format!("| {} |\n", lines.join(" | "));
            }
        }
        for note in &self.notes {
            text += &format!("\n{note}\n");
        }
        text
    }
}

const HEAD: &str = "\
# Performance
What netdx costs, measured by `cargo xtask bench WHAT --write` (root; in network namespaces of its own). A ratio is a rate
with the tracer running over the rate without, of the runs just before and just after it; the median of all such pairs.
";

/// Puts a section into the page, in place of the one with its title.
pub(crate) fn write(path: &Path, section: &Section) -> io::Result<()> {
    let old = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    let mut sections: Vec<&str> = old.split("\n## ").skip(1).collect();
    let new = section.markdown();
    let new = new.trim_start_matches("## ");
    match sections.iter_mut().find(|old| old.starts_with(&format!("{}\n", section.title))) {
        Some(old) => *old = new,
        None => sections.push(new),
    }
    let body: String = sections.iter().map(|section| format!("\n## {}\n", section.trim_end())).collect();
    fs::write(path, format!("{HEAD}{body}"))
}

/// The machine, without its name, and the day.
pub(crate) fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let virtual_machine = if info.contains(" hypervisor") { "a virtual machine with " } else { "" };
    let memory = rustix::system::sysinfo().totalram >> 30;
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let version: String = kernel.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d");
    format!("{day}, Linux {version}, {virtual_machine}{cpus} CPUs and {memory} GiB.")
}

/// The middle one; of an even number the upper.
pub(crate) fn median(values: &[f64]) -> f64 {
    at(values, 0.5)
}

/// The value that the given part of all lie below.
pub(crate) fn at(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
