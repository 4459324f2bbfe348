//! Reports for people. Owns: the layout and the words around a report. Must not know: terminals (width, colours and
//! time zone come in), where the text goes.
//!
//! ```text
//! 10:32:01.234  psql[4121] -> db.internal (10.0.0.5) port 5432   refused after 0.31 ms
//!   why     10.0.0.5 is this host, but nothing listens on 10.0.0.5:5432: postgres[812] listens on 127.0.0.1:5432
//!   proof   +0.08 ms SYN left on lo    +0.11 ms RST came back    errno ECONNREFUSED
//! ```

use super::{
    Summary,
    escape::escape,
    ink::{self, BAD, BOLD, CODE, DIM, GOOD},
    words, wrap,
};
use crate::{
    quantity::{count, duration},
    recording::Header,
    report::Report,
    time::Time,
};
use anstyle::Style;
use jiff::tz::TimeZone;
use std::fmt::Write as _;

/// Columns before what a row says: two spaces, the label, a gap.
const INDENT: usize = 10;
/// Missing probes that are named at the start; `netdx doctor` has them all.
const MAX_MISSING: usize = 3;

/// How to lay out text.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Columns.
    pub width: usize,
    /// The zone of the times shown.
    pub zone: TimeZone,
    /// Whether to use colours.
    pub color: bool,
}

impl Layout {
    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        ink::paint(style, text, self.color).into_owned()
    }

    fn row(&self, out: &mut String, label: &str, lines: &[String]) {
        let style = if self.color { DIM } else { Style::new() };
        for (n, line) in lines.iter().enumerate() {
            let label = if n == 0 { label } else { "" };
            // Writing to a String can't fail.
            _ = writeln!(out, "{style}  {label:<8}{style:#}{line}");
        }
    }

    fn sentence(&self, out: &mut String, label: &str, text: &str) {
        self.row(out, label, &wrap::sentence(text, self.room()));
    }

    fn room(&self) -> usize {
        self.width.saturating_sub(INDENT).max(20)
    }
}

/// A report, with an empty line after it.
#[must_use]
pub fn report(report: &Report, header: &Header, layout: &Layout) -> String {
    let mut out = String::with_capacity(1024);
    headline(&mut out, report, header, layout);
    if let Some(verdict) = &report.verdict {
        let hedge = words::hedge(verdict.certainty);
        layout.sentence(&mut out, "why", &format!("{hedge}{}", escape(&verdict.because)));
        layout.row(&mut out, "proof", &wrap::items(&words::proof(report), layout.room()));
    }
    if let Some(attempts) = &report.attempts {
        layout.row(&mut out, "asked", &wrap::items(&words::asked(attempts), layout.room()));
    }
    if let Some(route) = report.route.as_ref().filter(|route| !route.text.is_empty()) {
        layout.sentence(&mut out, "route", &escape(&route.text));
    }
    for (code, what) in words::also(report) {
        layout.sentence(&mut out, "also", &format!("{code}: {what}"));
    }
    if let Some(verdict) = &report.verdict {
        for advice in &verdict.advice {
            layout.sentence(&mut out, "fix", &escape(advice));
        }
        layout.row(&mut out, "more", &[format!("netdx explain {}", layout.paint(CODE, verdict.code))]);
    }
    out.push('\n');
    out
}

/// Says, once every probe is attached or the recording is open, what is watched and what can't be.
#[must_use]
pub fn start(header: &Header, live: bool, layout: &Layout) -> String {
    let probes = &header.coverage.probes;
    let missing: Vec<_> = probes.iter().filter(|probe| probe.hook.is_none()).collect();
    let attached = format!("{} of {} attached", probes.len() - missing.len(), count(probes.len() as u64, "probe"));
    let joined = header.filters.join(" ");
    let filters = if joined.is_empty() { String::new() } else { format!(", only {}", escape(&joined)) };
    let first = if live {
        let what = if joined.is_empty() { "every process of this host".into() } else { escape(&joined) };
        format!("netdx {} watches {what} on Linux {}; {attached}", header.netdx, escape(&header.kernel))
    } else {
        format!(
            "recorded {} by netdx {} on Linux {}{}{filters}; {attached}",
            header.start.utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
            escape(&header.netdx),
            escape(&header.kernel),
            if header.redacted { ", redacted" } else { "" },
        )
    };
    let mut out = wrap::sentence(&first, layout.width).join("\n  ") + "\n";
    for probe in missing.iter().take(MAX_MISSING) {
        let why = probe.reason.as_deref().unwrap_or("not attached");
        let text = format!("without {}: {} ({})", escape(&probe.name), escape(&probe.gives), escape(why));
        let lines = wrap::sentence(&text, layout.width.saturating_sub(4));
        out += &format!("  {}\n", lines.join("\n    "));
    }
    if missing.len() > MAX_MISSING {
        out += &format!("  and {} more are missing: see netdx doctor\n", missing.len() - MAX_MISSING);
    }
    out
}

/// What it came to.
#[must_use]
pub fn summary(summary: &Summary, header: &Header, layout: &Layout) -> String {
    let time = summary.ended.map_or(0, |ended| ended.0.saturating_sub(header.start.boot_ns));
    let mut first = format!("{} in {}", count(summary.failures, "failure"), duration(time));
    let worked = summary.reports - summary.failures;
    if worked > 0 {
        first += &format!(", {worked} that worked");
    }
    if summary.filtered > 0 {
        first += &format!(", {} more filtered out", summary.filtered);
    }
    if summary.lost() > 0 {
        first += &format!("; {} lost: some failures may be missing", count(summary.lost(), "event"));
    } else {
        first += "; no event lost";
    }
    if summary.inputs.malformed > 0 {
        first += &format!("; {} could not be read", count(summary.inputs.malformed, "event"));
    }
    let mut out = wrap::sentence(&first, layout.width).join("\n  ") + "\n";
    let mut codes: Vec<_> = summary.by_code.iter().collect();
    codes.sort_by_key(|(code, n)| (u64::MAX - **n, **code));
    for (code, n) in codes {
        out += &format!("  {n:>6}  {}\n", layout.paint(CODE, code));
    }
    for note in &summary.notes {
        out += &format!("  {}\n", wrap::sentence(&escape(note), layout.width.saturating_sub(4)).join("\n    "));
    }
    out
}

/// The first line; what doesn't fit goes on in the next one.
fn headline(out: &mut String, report: &Report, header: &Header, layout: &Layout) {
    let time = clock(header, report.began, &layout.zone);
    let subject = words::subject(report);
    let (words, bad) = words::outcome(report);
    let style = if bad { BAD } else { GOOD };
    // Painted after wrapping, because a colour has no width.
    let plain = format!("{time}  {subject}   {words}");
    if plain.lines().count() == 1 && wrap::columns(&plain) <= layout.width {
        // Writing to a String can't fail.
        _ = writeln!(out, "{time}  {}   {}", layout.paint(BOLD, &subject), layout.paint(style, &words));
        return;
    }
    let mut lines = wrap::sentence(&subject, layout.width.saturating_sub(time.len() + 2).max(20)).into_iter();
    _ = writeln!(out, "{time}  {}", layout.paint(BOLD, &lines.next().unwrap_or_default()));
    for line in lines {
        _ = writeln!(out, "{:14}{}", "", layout.paint(BOLD, &line));
    }
    _ = writeln!(out, "{:14}{}", "", layout.paint(style, &words));
}

fn clock(header: &Header, time: Time, zone: &TimeZone) -> String {
    match header.start.utc_of(time) {
        Some(utc) => utc.to_zoned(zone.clone()).strftime("%H:%M:%S%.3f").to_string(),
        None => "--:--:--.---".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{escape::is_unsafe, samples},
        *,
    };

    fn layout(width: usize, color: bool) -> Layout {
        Layout { width, zone: TimeZone::UTC, color }
    }

    fn all(width: usize, color: bool) -> String {
        let layout = layout(width, color);
        samples::all().iter().map(|sample| report(sample, &samples::header(), &layout)).collect()
    }

    #[test]
    fn eighty_columns() {
        let text = all(80, false);
        let words = |line: &&str| line.split_whitespace().count() > 1;
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).filter(words).collect();
        assert_eq!(wide, [""; 0], "only a single long word may be wider");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn wide() {
        insta::assert_snapshot!(all(140, false));
    }

    #[test]
    fn coloured() {
        insta::assert_snapshot!(all(140, true).replace('\u{1b}', "<ESC>"));
    }

    #[test]
    fn outside_text_is_escaped() {
        let text = report(&samples::hostile(), &samples::header(), &layout(80, false));
        assert!(!text.replace('\n', "").contains(is_unsafe), "{text:?}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_first_and_the_last_words() {
        let header = samples::header();
        let layout = layout(80, false);
        let text = start(&header, true, &layout)
            + &start(&header, false, &layout)
            + &summary(&samples::summary(), &header, &layout)
            + &summary(&Summary::default(), &header, &layout);
        insta::assert_snapshot!(text);
    }
}
