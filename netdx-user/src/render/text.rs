//! Reports for people. Owns: the layout and the words around a report. Must not know: terminals (width, colours and
//! time zone come in), where the text goes.
//!
//!     10:32:01.234  psql[4121] -> db.internal (10.0.0.5) port 5432   refused after 0.31 ms
//!       why     10.0.0.5 is this host, but nothing listens on 10.0.0.5:5432: postgres[812] listens on 127.0.0.1:5432
//!       proof   +0.08 ms SYN left on lo    +0.11 ms RST came back    errno ECONNREFUSED

use super::{
    Summary,
    escape::escape,
    quantity::{count, duration, offset},
    wrap,
};
use crate::{
    recording::Header,
    report::{Certainty, Direction, Endpoint, Kind, LookupAttempt, Outcome, Process, Report},
    time::Time,
};
use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use std::fmt::Write as _;

/// Columns before what a row says: two spaces, the label, a gap.
const INDENT: usize = 10;
/// Queries of a lookup that are shown; the rest is in the JSON.
const MAX_ATTEMPTS: usize = 8;
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
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn row(&self, out: &mut String, label: &str, lines: &[String]) {
        for (n, line) in lines.iter().enumerate() {
            let label = if n == 0 { label } else { "" };
            let label = self.paint(Style::new().dimmed(), &format!("  {label:<8}"));
            // Writing to a String can't fail.
            _ = writeln!(out, "{label}{line}");
        }
    }

    fn sentence(&self, out: &mut String, label: &str, text: &str) {
        self.row(out, label, &wrap::sentence(text, self.room()));
    }

    fn room(&self) -> usize {
        self.width.saturating_sub(INDENT).max(20)
    }
}

const BOLD: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const CODE: Style = AnsiColor::Cyan.on_default();

/// A report, with an empty line after it.
#[must_use]
pub fn report(report: &Report, header: &Header, layout: &Layout) -> String {
    let mut out = String::with_capacity(1024);
    headline(&mut out, report, header, layout);
    if let Some(verdict) = &report.verdict {
        let hedge = match verdict.certainty {
            Certainty::Proven => "",
            Certainty::Likely => "likely: ",
            Certainty::Possible => "possibly: ",
        };
        layout.sentence(&mut out, "why", &format!("{hedge}{}", escape(&verdict.because)));
        layout.row(&mut out, "proof", &wrap::items(&proof(report), layout.room()));
    }
    if let Some(attempts) = &report.attempts {
        layout.row(&mut out, "asked", &wrap::items(&asked(attempts), layout.room()));
    }
    if let Some(route) = report.route.as_ref().filter(|route| !route.text.is_empty()) {
        layout.sentence(&mut out, "route", &escape(&route.text));
    }
    for also in &report.also {
        layout.sentence(&mut out, "also", &format!("{}: {}", also.code, escape(&also.summary)));
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
    let filters =
        if header.filters.is_empty() { String::new() } else { format!(", only {}", escape(&header.filters.join(" "))) };
    let first = if live {
        format!("netdx {} watches Linux {}{filters}; {attached}", header.netdx, escape(&header.kernel))
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
    if summary.inputs.lost > 0 {
        first += &format!("; {} lost: some failures may be missing", count(summary.inputs.lost, "event"));
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
    let subject = match report.kind {
        Kind::Connection => connection(report),
        Kind::Lookup => lookup(report),
    };
    let (words, style) = outcome(report);
    // Painted after wrapping, because a colour has no width.
    let plain = format!("{time}  {subject}   {words}");
    if plain.lines().count() == 1 && unicode_width::UnicodeWidthStr::width(plain.as_str()) <= layout.width {
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

/// `psql[4121] -> db.internal (10.0.0.5) port 5432`
fn connection(report: &Report) -> String {
    let who = process(report.process.as_ref());
    let over = match report.protocol {
        crate::event::Protocol::Udp => " (UDP)",
        _ => "",
    };
    match (report.direction, report.remote) {
        (Direction::Outbound, Some(remote)) => match &report.name {
            Some(name) => format!("{who} -> {} ({}) port {}{over}", escape(name), remote.addr, remote.port),
            None => format!("{who} -> {} port {}{over}", remote.addr, remote.port),
        },
        (Direction::Outbound, None) => match &report.name {
            Some(name) => format!("{who} -> {}{over}", escape(name)),
            None => format!("{who} -> unknown address{over}"),
        },
        (Direction::Inbound, remote) => {
            let from = remote.map_or_else(|| "unknown address".into(), address_and_port);
            let port = report.local.map_or_else(String::new, |local| format!(" {} port {}", local.addr, local.port));
            format!("{from} -> {who}{port}{over}")
        }
    }
}

/// `curl[4121] looked up db.internal (A) at 10.0.0.53`
fn lookup(report: &Report) -> String {
    let mut text = process(report.process.as_ref());
    let name = report.query.as_ref().map(|q| &q.name).or(report.name.as_ref());
    _ = match name {
        Some(name) => write!(text, " looked up {}", escape(name)),
        None => write!(text, " looked up a name"),
    };
    if let Some(query) = &report.query {
        _ = write!(text, " ({})", escape(&query.kind));
        if let Some(server) = query.server {
            _ = write!(text, " at {server}");
        }
    }
    text
}

fn process(process: Option<&Process>) -> String {
    let Some(process) = process else { return "unknown process".into() };
    let place = process.container.as_deref().map(|c| format!(" (container {})", escape(c))).unwrap_or_default();
    format!("{}[{}]{place}", escape(&process.comm), process.pid)
}

fn address_and_port(end: Endpoint) -> String {
    std::net::SocketAddr::new(end.addr, end.port).to_string()
}

/// How it ended, in two or three words and a time.
fn outcome(report: &Report) -> (String, Style) {
    let code = report.verdict.as_ref().map_or("", |verdict| verdict.code);
    let (family, cause) = code.split_once('.').unwrap_or((code, ""));
    let word = match (report.outcome, family) {
        (Outcome::Established | Outcome::Answered, "slow") => "slow: worked",
        (Outcome::Established, _) => "connected",
        (Outcome::Answered, _) => "answered",
        (Outcome::Abandoned, _) => "given up",
        (Outcome::Broken, _) => "broken",
        (Outcome::Failed, "refused") => "refused",
        (Outcome::Failed, "firewall") if cause == "rejected" => "rejected",
        (Outcome::Failed, "denied") => "denied",
        (Outcome::Failed, "route") => "unreachable",
        (Outcome::Failed, "timeout" | "firewall") => "no answer",
        (Outcome::Failed, "dns") => match cause {
            "nxdomain" => "no such name",
            "timeout" => "no answer",
            _ => "lookup failed",
        },
        (Outcome::Failed, _) => "failed",
    };
    let style = match report.outcome {
        Outcome::Established | Outcome::Answered => GOOD,
        Outcome::Failed | Outcome::Abandoned | Outcome::Broken => BAD,
    };
    (format!("{word} after {}", duration(report.duration_ns)), style)
}

/// The evidence, each with its moment, and the errno.
fn proof(report: &Report) -> Vec<String> {
    let evidence = || report.verdict.iter().flat_map(|verdict| &verdict.evidence);
    let mut items: Vec<String> = evidence()
        .map(|e| match e.t_ns {
            Some(t) => format!("{} {}", offset(t), escape(&e.text)),
            None => escape(&e.text).into_owned(),
        })
        .collect();
    // The moment the application got it may be among the evidence.
    let told = evidence().any(|e| e.what == "errno");
    items.extend(report.errno.iter().filter(|_| !told).map(|errno| format!("errno {}", escape(errno))));
    items
}

fn asked(attempts: &[LookupAttempt]) -> Vec<String> {
    let mut items: Vec<String> = attempts
        .iter()
        .take(MAX_ATTEMPTS)
        .map(|a| {
            let answer = match (&a.rcode, a.addresses.as_slice()) {
                (None, _) => "no answer".to_owned(),
                (Some(_), [first, ..]) => first.to_string(),
                (Some(rcode), []) => escape(rcode).into_owned(),
            };
            let elapsed = a.elapsed_ns.map(|ns| format!(" after {}", duration(ns))).unwrap_or_default();
            format!("{} {} at {}: {answer}{elapsed}", escape(&a.name), escape(&a.kind), a.server)
        })
        .collect();
    if attempts.len() > MAX_ATTEMPTS {
        items.push(format!("and {} more", attempts.len() - MAX_ATTEMPTS));
    }
    items
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
        let words = |line: &&str| line.trim().split_whitespace().count() > 1;
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
