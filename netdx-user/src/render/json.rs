//! Reports as JSON, one object a line (DESIGN.md §6, a contract). Owns: the order of fields, times, the `start` and
//! `summary` objects. Must not know: where the lines go.

use super::{Summary, escape::is_unsafe};
use crate::{
    coverage::Coverage,
    recording::{Header, Start},
    report::{self, Report, SCHEMA},
    time::Time,
};
use jiff::{SignedDuration, Timestamp, fmt::temporal::DateTimePrinter};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// Times are in RFC 3339 UTC with microseconds, always six digits: they sort as text.
const TIME: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// A report's line, with its line end.
#[must_use]
pub fn report(report: &Report, start: &Start) -> String {
    // Every field by name: a new one doesn't compile until it is shown.
    let Report {
        schema,
        kind,
        id,
        began,
        duration_ns,
        process,
        netns,
        protocol,
        call,
        direction,
        local,
        remote,
        reached,
        name,
        outcome,
        errno,
        verdict,
        also,
        route,
        listeners,
        query,
        attempts,
        timeline,
    } = report;
    #[derive(Serialize)]
    struct Line<'a> {
        schema: u32,
        kind: report::Kind,
        id: u64,
        time: Option<String>,
        duration_ns: Option<u64>,
        process: &'a Option<report::Process>,
        netns: Option<u32>,
        protocol: crate::event::Protocol,
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<&'a str>,
        direction: report::Direction,
        local: Option<report::Endpoint>,
        remote: Option<report::Endpoint>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reached: Option<report::Endpoint>,
        name: &'a Option<String>,
        outcome: report::Outcome,
        errno: &'a Option<String>,
        verdict: &'a Option<report::Verdict>,
        also: &'a [report::Also],
        route: &'a Option<report::Route>,
        listeners: &'a [report::Listener],
        #[serde(skip_serializing_if = "Option::is_none")]
        query: &'a Option<report::Query>,
        #[serde(skip_serializing_if = "Option::is_none")]
        attempts: &'a Option<Vec<report::LookupAttempt>>,
        timeline: &'a [report::Moment],
    }
    line(&Line {
        schema: *schema,
        kind: *kind,
        id: *id,
        time: time(start, *began),
        duration_ns: *duration_ns,
        process,
        netns: *netns,
        protocol: *protocol,
        call: *call,
        direction: *direction,
        local: *local,
        remote: *remote,
        reached: *reached,
        name,
        outcome: *outcome,
        errno,
        verdict,
        also,
        route,
        listeners,
        query,
        attempts,
        timeline,
    })
}

/// The first line: every probe is attached (or the recording is open), and this is what is watched.
#[must_use]
pub fn start(header: &Header) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        schema: u32,
        kind: &'static str,
        time: Option<String>,
        version: &'a str,
        kernel: &'a str,
        filters: &'a [String],
        redacted: bool,
        coverage: &'a Coverage,
    }
    line(&Line {
        schema: SCHEMA,
        kind: "start",
        time: time(&header.start, Time(header.start.boot_ns)),
        version: &header.netdx,
        kernel: &header.kernel,
        filters: &header.filters,
        redacted: header.redacted,
        coverage: &header.coverage,
    })
}

/// The last line.
#[must_use]
pub fn summary(summary: &Summary, header: &Header) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        schema: u32,
        kind: &'static str,
        time: Option<String>,
        reports: u64,
        failures: u64,
        filtered: u64,
        counts: &'a BTreeMap<&'static str, u64>,
        lost_events: u64,
        malformed_events: u64,
        notes: &'a [String],
        coverage: &'a Coverage,
    }
    line(&Line {
        schema: SCHEMA,
        kind: "summary",
        time: summary.ended.and_then(|ended| time(&header.start, ended)),
        reports: summary.reports,
        failures: summary.failures,
        filtered: summary.filtered,
        counts: &summary.by_code,
        lost_events: summary.lost(),
        malformed_events: summary.inputs.malformed,
        notes: &summary.notes,
        coverage: &header.coverage,
    })
}

fn time(start: &Start, time: Time) -> Option<String> {
    start.utc_of(time).map(|utc| TIME.timestamp_to_string(&floor(utc)))
}

/// To the microsecond, downwards: a report never shows a moment that wasn't yet.
fn floor(utc: Timestamp) -> Timestamp {
    let spare = utc.as_nanosecond().rem_euclid(1000);
    utc.checked_sub(SignedDuration::from_nanos(spare as i64)).unwrap_or(utc)
}

fn line(content: &impl Serialize) -> String {
    let mut text = Vec::with_capacity(1024);
    // A Vec takes everything, and no map here has keys that aren't strings.
    content.serialize(&mut Serializer::with_formatter(&mut text, Safe)).expect("a report can be written as JSON");
    text.push(b'\n');
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// Compact JSON whose strings are safe on a terminal too: what `escape` escapes is `\uNNNN`, which any reader undoes.
struct Safe;

impl Formatter for Safe {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            CompactFormatter.write_string_fragment(out, &rest[..at])?;
            let mut after = rest[at..].chars();
            for unit in after.next().into_iter().collect::<String>().encode_utf16() {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = after.as_str();
        }
        CompactFormatter.write_string_fragment(out, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    #[test]
    fn the_contract() {
        let all: String = samples::all().iter().map(|sample| report(sample, &samples::header().start)).collect();
        insta::assert_snapshot!(all);
    }

    #[test]
    fn the_first_and_the_last_line() {
        insta::assert_snapshot!(start(&samples::header()) + &summary(&samples::summary(), &samples::header()));
    }

    #[test]
    fn outside_text_is_safe_and_reads_back() {
        let hostile = samples::hostile();
        let line = report(&hostile, &samples::header().start);
        assert!(!line.trim_end().contains(is_unsafe), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(read["process"]["comm"].as_str(), Some(samples::HOSTILE));
    }

    #[test]
    fn times_have_microseconds_rounded_down() {
        let start = samples::header().start;
        assert_eq!(time(&start, Time(start.boot_ns + 1_999)).as_deref(), Some("2026-01-02T10:32:01.000001Z"));
        assert_eq!(time(&start, Time(start.boot_ns - 1)).as_deref(), Some("2026-01-02T10:32:00.999999Z"));
    }
}
