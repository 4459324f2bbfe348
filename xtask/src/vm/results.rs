//! What came of the scenarios, kernel by kernel. Owns: reading it from a guest's output, the table, the page, which is also
//! where what was not run again is kept. Must not know: how a guest runs.

use super::machine::MARK;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// It went as it does everywhere.
    Passed,
    /// The kernel lacks something, which the scenario showed; netdx said less than elsewhere, and nothing wrong.
    Weaker(String),
    /// The kernel lacks what it is about, which the scenario showed.
    Skipped(String),
    /// netdx said something else, or nothing.
    Failed,
}

/// What came of the scenarios on one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    outcomes: BTreeMap<String, Outcome>,
    details: String,
}

impl Report {
    /// Reads the output of the test programs: libtest's lines, and those of tests/tests/live/needs.rs.
    pub(super) fn read(output: &str) -> Result<Report> {
        let mut report = Report::default();
        let mut notes: Vec<(String, Outcome)> = Vec::new();
        let mut program = "";
        let mut is_detail = false;
        // With one scenario at a time its name comes before what it tells, and its outcome in a line of its own.
        let output = NOTES
            .iter()
            .fold(output.to_owned(), |text, note| text.replace(&format!(" ... {note}"), &format!(" ...\n{note}")));
        let mut begun = None;
        for line in output.lines() {
            if let Some(name) = line.strip_prefix(MARK) {
                (program, is_detail) = (name.trim(), false);
            } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ...")) {
                begun = Some(name);
            } else if let (Some(name), "ok" | "FAILED") = (begun, line) {
                let outcome = if line == "ok" { Outcome::Passed } else { Outcome::Failed };
                report.outcomes.insert(full_name(program, name), outcome);
                begun = None;
            } else if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
            {
                let outcome = if outcome == "ok" { Outcome::Passed } else { Outcome::Failed };
                report.outcomes.insert(full_name(program, name), outcome);
            } else if let Some((name, why)) = line.strip_prefix("skipped: ").and_then(|rest| rest.split_once(": ")) {
                notes.push((full_name(program, name), Outcome::Skipped(why.to_owned())));
            } else if let Some((name, why)) = line.strip_prefix("weaker: ").and_then(|rest| rest.split_once(": ")) {
                notes.push((full_name(program, name), Outcome::Weaker(why.to_owned())));
            }
            is_detail |= line == "failures:";
            if is_detail {
                _ = writeln!(report.details, "{line}");
            }
        }
        for (name, note) in notes {
            match report.outcomes.get_mut(&name) {
                Some(outcome @ Outcome::Passed) => *outcome = note,
                Some(_) => {}
                None => bail!("{name} said that something is missing, and has no result"),
            }
        }
        Ok(report)
    }

    /// What failed scenarios said.
    pub(super) fn failures(&self) -> &str {
        &self.details
    }

    /// How many of each.
    pub(super) fn counts(&self) -> String {
        let count = |fits: fn(&Outcome) -> bool| self.outcomes.values().filter(|outcome| fits(outcome)).count();
        let mut text = format!("{} passed", count(|outcome| matches!(outcome, Outcome::Passed)));
        for (number, what) in [
            (count(|outcome| matches!(outcome, Outcome::Weaker(_))), "passed with a weaker answer"),
            (count(|outcome| matches!(outcome, Outcome::Skipped(_))), "skipped"),
            (count(|outcome| matches!(outcome, Outcome::Failed)), "FAILED"),
        ] {
            if number > 0 {
                _ = write!(text, ", {number} {what}");
            }
        }
        text
    }
}

/// What begins the lines of tests/tests/live/needs.rs.
const NOTES: [&str; 2] = ["skipped: ", "weaker: "];

/// The scenarios of `live` have their families in their names already.
fn full_name(program: &str, name: &str) -> String {
    if program == "live" { name.to_owned() } else { format!("{program}::{name}") }
}

/// The results of several kernels.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Matrix(Vec<Column>);

/// The results of a kernel.
#[derive(Debug, PartialEq, Eq)]
struct Column {
    release: String,
    /// What was run: all scenarios, then some.
    runs: Vec<(String, usize)>,
    report: Report,
}

impl Matrix {
    /// Reads a page.
    ///
    /// # Errors
    /// It isn't one that [`Matrix::page`] makes.
    pub(super) fn read(page: &str) -> Result<Matrix> {
        let mut reasons = BTreeMap::new();
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        for line in page.lines() {
            if let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix('|')) {
                rows.push(row.split('|').map(str::trim).collect::<Vec<_>>());
            } else if let Some((number, why)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
                reasons.insert(number, why.trim_end());
            } else if let Some(run) = line.strip_prefix("- ").filter(|_| !rows.is_empty()) {
                columns.push(Column::of(run).with_context(|| format!("no kernel and its runs: {line}"))?);
            }
        }
        for row in rows.get(1..).unwrap_or_default() {
            let (scenario, cells) = row.split_first().context("a row without a name")?;
            if cells.len() != columns.len() {
                bail!("{scenario} has {} results, and there are {} kernels", cells.len(), columns.len());
            }
            for (cell, column) in cells.iter().zip(&mut columns) {
                if *cell != "no result" {
                    let outcome =
                        outcome(cell, &reasons).with_context(|| format!("no result of {scenario}: {cell}"))?;
                    column.report.outcomes.insert((*scenario).to_owned(), outcome);
                }
            }
        }
        Ok(Matrix(columns))
    }

    /// Adds a run of all scenarios on a kernel, in place of what was run on others of the same version.
    pub(super) fn replace(&mut self, release: &str, sources: &str, report: Report) {
        self.0.retain(|column| short(&column.release) != short(release));
        self.add(release, sources, report);
    }

    /// Adds a run on a kernel; where the kernel had one, its outcomes take the place of older ones. `sources`: what was run.
    pub(super) fn add(&mut self, release: &str, sources: &str, report: Report) {
        let run = (sources.to_owned(), report.outcomes.len());
        if let Some(column) = self.0.iter_mut().find(|column| column.release == release) {
            column.report.outcomes.extend(report.outcomes);
            column.runs.push(run);
            return;
        }
        let at = self.0.partition_point(|column| version(&column.release) < version(release));
        self.0.insert(at, Column { release: release.to_owned(), runs: vec![run], report });
    }

    /// One row for each scenario, one column for each kernel, and the reasons below.
    pub(super) fn table(&self) -> String {
        let names: BTreeSet<&String> = self.0.iter().flat_map(|column| column.report.outcomes.keys()).collect();
        let mut reasons: Vec<&str> = Vec::new();
        let mut rows = vec![vec!["Scenario".to_owned()]];
        rows[0].extend(self.0.iter().map(|column| short(&column.release).to_owned()));
        for name in names {
            let mut row = vec![name.clone()];
            for column in &self.0 {
                row.push(match column.report.outcomes.get(name) {
                    Some(Outcome::Passed) => "ok".to_owned(),
                    Some(Outcome::Weaker(why)) => format!("ok [{}]", number(&mut reasons, why)),
                    Some(Outcome::Skipped(why)) => format!("skipped [{}]", number(&mut reasons, why)),
                    Some(Outcome::Failed) => "FAILED".to_owned(),
                    None => "no result".to_owned(),
                });
            }
            rows.push(row);
        }
        let columns = rows[0].len();
        let widths: Vec<usize> =
            (0..columns).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default()).collect();
        let mut text = String::new();
        for (index, row) in rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                _ = write!(text, "| {cell:width$} ");
            }
            text += "|\n";
            if index == 0 {
                for width in &widths {
                    _ = write!(text, "|{}", "-".repeat(width + 2));
                }
                text += "|\n";
            }
        }
        if !reasons.is_empty() {
            text += "\n";
        }
        for (index, reason) in reasons.iter().enumerate() {
            _ = writeln!(text, "[{}] {reason}  ", index + 1);
        }
        text
    }

    /// docs/kernels.md.
    pub(super) fn page(&self) -> String {
        let mut page = format!("{PAGE}{}\n\nWhat was run:\n\n", self.table().trim_end());
        for Column { release, runs, .. } in &self.0 {
            _ = write!(page, "- {release}: ");
            for (index, (sources, count)) in runs.iter().enumerate() {
                let again = if index == 0 { "" } else { ", then " };
                let plural = if *count == 1 { "" } else { "s" };
                _ = write!(page, "{again}{count} scenario{plural} of commit {sources}");
            }
            page += "\n";
        }
        page
    }

    /// An error when anything failed.
    pub(super) fn verdict(&self) -> Result<()> {
        let names: BTreeSet<&String> = self.0.iter().flat_map(|column| column.report.outcomes.keys()).collect();
        if names.is_empty() {
            bail!("no scenario has such a name");
        }
        let failed = |column: &Column| {
            let failed = |name: &&&String| matches!(column.report.outcomes.get(**name), None | Some(Outcome::Failed));
            names.iter().filter(failed).count()
        };
        match self.0.iter().map(failed).sum::<usize>() {
            0 => Ok(()),
            count => bail!("{count} scenarios failed"),
        }
    }
}

impl Column {
    /// A kernel and what was run on it, as a page says it.
    fn of(text: &str) -> Option<Column> {
        let (release, runs) = text.split_once(": ")?;
        let run = |run: &str| {
            let (count, sources) = run.split_once(" scenario")?;
            let (_, sources) = sources.split_once(" of commit ")?;
            Some((sources.to_owned(), count.parse().ok()?))
        };
        let runs = runs.split(", then ").map(run).collect::<Option<_>>()?;
        Some(Column { release: release.to_owned(), runs, report: Report::default() })
    }
}

/// The outcome that a cell of a page stands for.
fn outcome(cell: &str, reasons: &BTreeMap<&str, &str>) -> Option<Outcome> {
    let Some((what, number)) = cell.strip_suffix(']').and_then(|cell| cell.split_once(" [")) else {
        return match cell {
            "ok" => Some(Outcome::Passed),
            "FAILED" => Some(Outcome::Failed),
            _ => None,
        };
    };
    let why = (*reasons.get(number)?).to_owned();
    match what {
        "ok" => Some(Outcome::Weaker(why)),
        "skipped" => Some(Outcome::Skipped(why)),
        _ => None,
    }
}

/// The beginning of the page.
const PAGE: &str = "# Kernels

Every live scenario on Debian's kernels, each booted in a virtual machine of its own with one processor: `cargo xtask vm
--write` wrote this page. A number in brackets stands for what the kernel lacks; the scenario has shown that it is missing by looking for it
in the kernel's own type information, not by the kernel's version.

- *ok*: netdx gives the verdict that it gives everywhere.
- *ok [n]*: netdx cannot prove as much on this kernel. It gives the weaker answer that it should, and says what was missing.
- *skipped [n]*: the kernel cannot do what the scenario is about.
- *FAILED*: netdx said something else, said less than it should, or came too late.
- *no result*: it has not run there yet.

Kernels and scenarios that do not stand here were not run when this was written.

";

/// `6.12` of `6.12.107+deb13-cloud-amd64`.
fn short(release: &str) -> &str {
    release.match_indices('.').nth(1).map_or(release, |(end, _)| &release[..end])
}

/// The numbers of `6.12.107+deb13-cloud-amd64` that put it after `6.1.0-50-cloud-amd64`.
fn version(release: &str) -> Vec<u32> {
    short(release).split('.').filter_map(|number| number.parse().ok()).collect()
}

/// The number of a reason, from 1.
fn number<'a>(reasons: &mut Vec<&'a str>, why: &'a str) -> usize {
    if let Some(index) = reasons.iter().position(|known| *known == why) {
        return index + 1;
    }
    reasons.push(why);
    reasons.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "== netdx: live
test refused::nobody_listens ... ok
weaker: firewall::rejects: no tracepoint icmp_send
test firewall::rejects ... ok
skipped: refused::by_mptcp: no MPTCP
test refused::by_mptcp ... ok
== netdx: verb_dns
test a_name ... FAILED
failures:
---- a_name stdout ----
== netdx:
";

    #[test]
    fn a_guests_output_is_read() {
        let report = Report::read(OUTPUT).expect("an output");
        assert_eq!(report.counts(), "1 passed, 1 passed with a weaker answer, 1 skipped, 1 FAILED");
        assert!(report.failures().contains("a_name stdout"));
        let mut matrix = Matrix::default();
        matrix.add("5.10.0-32-cloud-amd64", "055edd1", report);
        let table = matrix.table();
        assert!(table.contains("| verb_dns::a_name        | FAILED      |"), "{table}");
        assert!(table.contains("| firewall::rejects       | ok [1]      |"), "{table}");
        assert!(table.contains("| refused::by_mptcp       | skipped [2] |"), "{table}");
        assert!(table.contains("[1] no tracepoint icmp_send"), "{table}");
        assert!(matrix.verdict().is_err());
    }

    #[test]
    fn what_was_run_again_counts() {
        let read = |output| Report::read(output).expect("an output");
        let mut matrix = Matrix::default();
        matrix.add("5.10.0-1", "aaa", read("== netdx: live\ntest a ... FAILED\ntest b ... ok\n"));
        assert!(matrix.verdict().is_err());
        matrix.add("5.10.0-1", "bbb", read("== netdx: live\nweaker: a: no c\ntest a ... ok\n"));
        assert!(matrix.verdict().is_ok());
        let page = matrix.page();
        assert!(page.contains("| a        | ok [1] |"), "{page}");
        assert!(page.ends_with("- 5.10.0-1: 2 scenarios of commit aaa, then 1 scenario of commit bbb\n"), "{page}");
    }

    #[test]
    fn a_page_says_all_that_it_was_made_of() {
        let mut matrix = Matrix::default();
        let report = || Report { details: String::new(), ..Report::read(OUTPUT).expect("an output") };
        for release in ["6.12.1-a", "6.1.0-2", "5.10.0-1"] {
            matrix.add(release, "aaa", report());
        }
        matrix.add("6.1.0-2", "bbb", Report::read("== netdx: live\ntest only_here ... ok\n").expect("an output"));
        let page = matrix.page();
        assert_eq!(Matrix::read(&page).expect("a page"), matrix, "{page}");
        assert!(page.contains("| Scenario                | 5.10        | 6.1         | 6.12        |"), "{page}");
        matrix.replace("6.1.0-3", "ccc", report());
        let page = matrix.page();
        assert!(!page.contains("only_here") && page.contains("- 6.1.0-3: 4 scenarios of commit ccc\n"), "{page}");
        assert_eq!(Matrix::read("").expect("nothing yet"), Matrix::default());
        let written = include_str!("../../../docs/kernels.md");
        assert_eq!(Matrix::read(written).expect("the page").page(), written);
        Matrix::read(&page.replace("skipped [2]", "skipped [9]")).expect_err("a reason is missing");
    }

    #[test]
    fn one_scenario_at_a_time_is_read_too() {
        let output =
            "== netdx: live\ntest a ... weaker: a: no c\nok\ntest b ... skipped: b: no d\nFAILED\ntest e ... ok\n";
        let report = Report::read(output).expect("an output");
        assert_eq!(report.counts(), "1 passed, 1 passed with a weaker answer, 1 FAILED");
    }

    #[test]
    fn what_fails_after_a_note_has_failed() {
        let report = Report::read("weaker: a: b\ntest a ... FAILED\n").expect("an output");
        assert_eq!(report.counts(), "0 passed, 1 FAILED");
        assert!(Report::read("weaker: a: b\n").is_err());
    }

    #[test]
    fn a_scenario_without_a_result_is_no_success() {
        let mut matrix = Matrix::default();
        matrix.add(
            "6.1.0-1-cloud-amd64",
            "055edd1",
            Report::read("test a ... ok\ntest b ... ok\n").expect("an output"),
        );
        assert!(matrix.verdict().is_ok());
        matrix.add("5.10.0-1-cloud-amd64", "055edd1", Report::read("test a ... ok\n").expect("an output"));
        assert!(matrix.table().contains("no result"));
        assert!(matrix.verdict().is_err());
    }
}
