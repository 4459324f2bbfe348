//! Many connections at once: what works costs nothing, and what is lost is counted. By itself: what happens to packets is
//! recorded whosever they are.

use netdx_tests::lab::Lab;
use netdx_tests::servers::listen;
use netdx_tests::tracer::Tracer;
use rustix::process::{Pid, RawPid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Mutex;

/// What happens in another lab is seen in the recordings of both.
static ALONE: Mutex<()> = Mutex::new(());

/// What a recording has.
struct Recorded {
    /// Events of the kernel by kind, of the lab.
    events: BTreeMap<String, u64>,
    /// Those of other namespaces.
    others: u64,
    /// How many were lost.
    lost: u64,
}

fn recorded(recording: &Path, lab: &Lab) -> Recorded {
    let text = std::fs::read_to_string(recording).expect("read the recording");
    let mut recorded = Recorded { events: BTreeMap::new(), others: 0, lost: 0 };
    let own = lab.inodes();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let event = &line["input"]["event"];
        if let Some(kind) = event["kind"].as_str() {
            let netns =
                ["sock", "packet", "task"].map(|part| &event[part]["netns"]).into_iter().chain([&event["netns"]]);
            let foreign = |netns: u64| netns != 0 && !own.contains(&netns);
            if netns.filter_map(Value::as_u64).any(foreign) {
                recorded.others += 1;
            } else {
                let kind = if is_stray(event) { "stray" } else { kind };
                *recorded.events.entry(kind.to_owned()).or_default() += 1;
            }
        }
        recorded.lost += line["input"]["lost"].as_u64().unwrap_or(0);
    }
    recorded
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
    let _alone = ALONE.lock();
    let lab = Lab::new();
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
    let mut recorded = recorded(&file, &lab);
    recorded.events.remove("stray");
    assert_eq!((recorded.events, recorded.lost), (BTreeMap::new(), 0));
}

/// Two look at the same connections, the one with room for all of them, the other with hardly any and stopped: what the one
/// has seen the other has read or lost.
#[test]
fn what_finds_no_room_is_counted() {
    let _alone = ALONE.lock();
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
    let (some, all) = (recorded(&something, &lab), recorded(&everything, &lab));
    assert_eq!(summary["lost_events"], some.lost, "{summary}");
    let [own, of_all] = [&some, &all].map(|recorded| recorded.events.values().sum::<u64>());
    assert!(some.lost > 0, "{own} of {of_all} events were read");
    // Not one more, not one less; but what happened in other namespaces meanwhile may be among what was lost.
    let counted = own + some.lost;
    let others = all.others;
    assert!(
        (of_all..=of_all + others).contains(&counted),
        "{own} read and {} lost of {of_all}, {others} others",
        some.lost
    );
}
