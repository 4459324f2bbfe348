//! What the fuzz targets share. Owns: the way of anything that netdx has read to what a person sees of it, and what has to
//! hold there. Must not know: libFuzzer.

use netdx::{
    coverage::{Coverage, Probe},
    diagnosis::{Diagnosis, Settings as Judging},
    event::Name,
    input::{Input, Stamped},
    recording::{FORMAT, Header, Reader, Settings, Start, Writer},
    render::{Summary, escape::escape, html, json, pcapng, text},
    time::Time,
};
use std::borrow::Cow;

/// More inputs than this are cut off: a fuzzer gains nothing from long runs.
const MOST: usize = 400;

/// Everything is observed, and everything is reported.
#[must_use]
pub fn header() -> Header {
    let probe = |name: &str| Probe {
        name: name.into(),
        hook: Some("tracepoint".into()),
        reason: None,
        gives: "something".into(),
    };
    Header {
        format: FORMAT,
        netdx: "0.1.0".into(),
        kernel: "6.18.0".into(),
        start: Start { boot_ns: 1_000_000, utc: jiff::Timestamp::UNIX_EPOCH },
        coverage: Coverage { probes: netdx::live::probes::FACTS.iter().map(|fact| probe(fact.name)).collect() },
        filters: Vec::new(),
        redacted: false,
        settings: Settings { all: true, slow_ns: Some(1), dns: true, inbound: true },
    }
}

/// Names for every number, so that nothing is left out for lack of one.
#[derive(Debug)]
pub struct Names;

impl netdx::decode::Names for Names {
    fn function(&self, address: u64) -> Option<Name> {
        Some(Name::Borrowed(match address % 7 {
            0 => "nft_do_chain",
            1 => "nf_hook_slow",
            2 => "ip_local_deliver",
            3 => "ip_forward",
            4 => "tcp_v4_rcv",
            5 => "ip_rcv_finish_core",
            _ => return None,
        }))
    }

    fn drop_reason(&self, value: i32) -> Option<Name> {
        Some(Name::Borrowed(match value.rem_euclid(8) {
            0 => "NETFILTER_DROP",
            1 => "NO_SOCKET",
            2 => "SOCKET_RCVBUFF",
            3 => "IP_RPFILTER",
            4 => "TCP_LISTEN_OVERFLOW",
            5 => "NEIGH_FAILED",
            6 => "BPF_CGROUP_EGRESS",
            _ => return None,
        }))
    }

    fn reset_reason(&self, value: i32) -> Option<Name> {
        Some(Name::Borrowed(match value.rem_euclid(4) {
            0 => "NO_SOCKET",
            1 => "TCP_ABORT_ON_DATA",
            2 => "NOT_SPECIFIED",
            _ => return None,
        }))
    }
}

/// Runs the inputs to their end, and shows what comes of it in every way there is.
///
/// # Panics
/// When something unsafe for a terminal comes out, or JSON is none.
pub fn run(header: &Header, inputs: &[Stamped]) {
    let recorded = header.settings;
    let settings = Judging { all: recorded.all, slow: recorded.slow(), dns: recorded.dns, inbound: recorded.inbound };
    let mut core = Diagnosis::new(header.coverage.clone(), settings);
    let mut summary = Summary::default();
    let layout = text::Layout { width: 80, zone: jiff::tz::TimeZone::UTC, color: false };
    let mut parts = Vec::new();
    let mut last = Time(header.start.boot_ns);
    let mut take = |stamped: &Stamped, core: &mut Diagnosis| {
        last = last.max(stamped.t);
        summary.input(stamped.t, &stamped.input);
        // Packets for packet tools are bytes: only that they can be written.
        _ = pcapng::packet(stamped, &header.start);
        for report in core.apply(stamped.clone()).reports {
            summary.report(&report);
            plain(&text::report(&report, header, &layout));
            object(&json::report(&report, &header.start));
            parts.push(html::report(&report, header));
        }
        last
    };
    let mut now = Time(header.start.boot_ns);
    for stamped in inputs.iter().take(MOST) {
        now = take(stamped, &mut core);
    }
    now = take(&Stamped { t: now, input: Input::End }, &mut core);
    // What waits for answers that never come.
    for _ in 0..MOST {
        let Some(deadline) = core.deadline().filter(|deadline| *deadline > now && !core.idle()) else { break };
        now = take(&Stamped { t: deadline, input: Input::Tick }, &mut core);
    }
    plain(&text::start(header, false, &layout));
    plain(&text::summary(&summary, header, &layout));
    object(&json::start(header));
    object(&json::summary(&summary, header));
    plain(&html::page(&parts, &summary, header));
}

/// A recording of these inputs reads back as they are.
///
/// # Panics
/// When it does not.
pub fn round_trip(header: &Header, inputs: &[Stamped], compressed: bool) {
    let file = write(header, inputs, compressed);
    let mut reader = Reader::new(&file[..]).expect("what netdx wrote is a recording");
    let again: Vec<Stamped> = reader.by_ref().collect();
    assert!(reader.damage().sentences().is_empty(), "{:?}", reader.damage());
    assert_eq!(reader.header(), header);
    assert_eq!(again, inputs);
    assert_eq!(write(reader.header(), &again, compressed), file, "a recording of a replay is the recording");
}

fn write(header: &Header, inputs: &[Stamped], compressed: bool) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header, compressed).expect("memory takes everything");
    inputs.iter().for_each(|input| writer.write(input.clone()).expect("memory takes everything"));
    writer.finish().expect("memory takes everything")
}

/// Text for a terminal: lines of what is safe there.
///
/// # Panics
/// When there is a control, bidirectional or invisible character.
pub fn plain(text: &str) {
    for line in text.lines() {
        assert!(matches!(escape(line), Cow::Borrowed(_)), "not safe for a terminal: {}", escape(line));
    }
}

fn object(line: &str) {
    plain(line);
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(value.is_object() && line.ends_with('\n') && line.lines().count() == 1, "one object a line: {line}");
}
