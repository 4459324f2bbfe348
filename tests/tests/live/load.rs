//! Many connections at once: what works costs nothing, and what is lost is counted.

use netdx_tests::lab::Lab;
use netdx_tests::servers::listen;
use netdx_tests::tracer::Tracer;
use rustix::process::{Pid, RawPid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::path::Path;

/// What a recording has: events of the kernel by kind, and how many were lost. Not counted: neighbours, which fail in other
/// labs too.
fn events(recording: &Path) -> (BTreeMap<String, u64>, u64) {
    let text = std::fs::read_to_string(recording).expect("read the recording");
    let (mut events, mut lost) = (BTreeMap::new(), 0);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let event = &line["input"]["event"];
        if let Some(kind) = event["kind"].as_str().filter(|kind| *kind != "neighbor-failed") {
            let kind = if is_stray(event) { "stray" } else { kind };
            *events.entry(kind.to_owned()).or_default() += 1;
        }
        lost += line["input"]["lost"].as_u64().unwrap_or(0);
    }
    (events, lost)
}

/// A segment that came when its connection was already gone, and what the kernel does about it: to the listener that is left
/// the last acknowledgement is a stray, which it answers with a reset, and that finds the other side in TIME_WAIT. Seen on
/// 6.18 for one in some 10,000 connections that end well, where both ends run at once. The resets are real: netdx has to
/// write them.
fn is_stray(event: &Value) -> bool {
    event["sock"].is_null() && event["reason"] == "NO_SOCKET"
        || event["sock"]["state"] == "listen" && event["reason"] == "TCP_FLAGS"
        || event["sock"]["state"] == "time-wait"
}

#[test]
fn ten_thousand_connections_that_work_leave_no_event() {
    let lab = Lab::new();
    // A port of this test's own: drops and resets in other labs are those of other ports.
    let listener = listen(&lab.client, "127.0.0.1:8471");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.read_to_end(&mut Vec::new()).expect("the client closes");
        }
    });
    let folder = tempfile::tempdir().expect("make a folder");
    let file = folder.path().join("quiet.netdx.jsonl");
    let trace = Tracer::recording(&lab, &["--no-dns", "--port", "8471"], &file);
    lab.client.inside(move || {
        for _ in 0..10_000 {
            let mut stream = TcpStream::connect(address).expect("it works");
            // One end after the other: where they cross, the kernel may answer the last segment with a reset.
            stream.shutdown(Shutdown::Write).expect("it works");
            stream.read_to_end(&mut Vec::new()).expect("it works");
        }
    });
    let (reports, summary) = trace.end();
    assert!(reports.is_empty(), "{reports:#?}");
    assert_eq!(summary["lost_events"], 0);
    let (mut events, lost) = events(&file);
    events.remove("stray");
    assert_eq!((events, lost), (BTreeMap::new(), 0));
}

/// Two look at the same connections, the one with room for all of them, the other with hardly any and stopped: what the one
/// has seen the other has read or lost.
#[test]
fn what_finds_no_room_is_counted() {
    let lab = Lab::new();
    let folder = tempfile::tempdir().expect("make a folder");
    let start =
        |file: &Path, buffer: &str| Tracer::recording(&lab, &["--no-dns", "--port", "8472", "--buffer", buffer], file);
    let (everything, something) = (folder.path().join("all.netdx.jsonl"), folder.path().join("some.netdx.jsonl"));
    let witness = start(&everything, "16777216");
    let trace = start(&something, "65536");
    let netdx = Pid::from_raw(RawPid::try_from(trace.pid()).expect("a process id")).expect("a process id");
    kill_process(netdx, Signal::STOP).expect("netdx runs");
    lab.start("blocking 127.0.0.1:8472 --times 2000").wait();
    kill_process(netdx, Signal::CONT).expect("netdx runs");
    let summary = trace.end_with_losses();
    let (_, all_kept) = witness.end();
    assert_eq!(all_kept["lost_events"], 0, "{all_kept}");
    let ((read, lost), (all, _)) = (events(&something), events(&everything));
    assert_eq!(summary["lost_events"], lost, "{summary}");
    let [read, all] = [read, all].map(|events| events.values().sum::<u64>());
    assert!(lost > 0, "{read} of {all} events were read");
    // Not one more, not one less; but what failed in other labs meanwhile, and no filter leaves out, may be among what was
    // lost.
    let others = neighbors(&everything);
    assert!((all..=all + others).contains(&(read + lost)), "{read} read and {lost} lost of {all}, {others} neighbours");
}

/// How many neighbours failed, in whichever lab.
fn neighbors(recording: &Path) -> u64 {
    let text = std::fs::read_to_string(recording).expect("read the recording");
    text.matches("\"neighbor-failed\"").count() as u64
}
