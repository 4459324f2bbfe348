//! Recordings that can't be written, or are written where they should not be; and that they hold what was seen.

use crate::{kill, lines, next};
use netdx_tests::island::{netdx, run};
use netdx_tests::lab::Lab;
use serde_json::Value;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn live_and_replayed_reports_are_the_same() {
    let lab = Lab::new();
    lab.client.ip("route add prohibit 10.3.0.0/16");
    lab.router.guard("forward", "tcp dport 83 drop");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("same.netdx.jsonl");
    let mut child = Command::new(netdx())
        .args(["record", "--all", "--format", "json", "--netns", lab.client.name(), "--output"])
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut live = lines(&mut child);
    let start = next(&mut live);
    for how in [
        "blocking 10.1.2.2:81 --times 20",
        "blocking 10.3.0.1:82",
        "epoll 10.1.2.2:83 --give-up 300",
        "udp 10.1.2.2:84 --send 3 --receive",
    ] {
        lab.start(how).wait();
    }
    std::thread::sleep(netdx_tests::patience::patience(Duration::from_secs(1)));
    kill(&child);
    let mut said = String::new();
    live.read_to_string(&mut said).expect("text");
    assert!(child.wait().expect("it ends").success());
    let replayed = run(Command::new(netdx()).args(["replay", "--format", "json"]).arg(&file)).stdout;
    let replayed = String::from_utf8(replayed).expect("text");
    let mut again = replayed.lines();
    let mut first: Value = serde_json::from_str(again.next().expect("a line")).expect("JSON");
    // All the same, but that it is no live run.
    first["filters"] = start["filters"].clone();
    assert_eq!(first, start);
    let reports = |lines: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        lines.filter(|line| !line.contains("\"kind\":\"summary\"")).map(str::to_owned).collect()
    };
    let (live, again) = (reports(&mut said.lines()), reports(&mut again));
    assert!(live.len() >= 23, "{said}");
    assert_eq!(live, again);
}

#[test]
fn a_full_disk_ends_the_recording_and_nothing_else() {
    let lab = Lab::new();
    let folder = tempfile::tempdir().expect("a folder");
    let mount = "mount -t tmpfs -o size=16k tmpfs \"$1\" && shift && exec \"$@\"";
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", mount, "sh"])
        .arg(folder.path())
        .arg(netdx())
        .args(["record", "--all", "--format", "json", "--netns", lab.client.name(), "--output"])
        .arg(folder.path().join("full.netdx.jsonl"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut reports = lines(&mut child);
    assert_eq!(next(&mut reports)["kind"], "start");
    lab.start("blocking 127.0.0.1:9 --times 60").wait();
    for n in 0..60 {
        let report = next(&mut reports);
        assert_eq!(report["verdict"]["code"], "refused.no-listener", "report {n}: {report:#}");
    }
    kill(&child);
    let summary = next(&mut reports);
    assert!(summary.to_string().contains("No space left on device"), "{summary:#}");
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(1), "{said}");
    assert!(said.contains("No space left on device") && said.contains("the recording ends here"), "{said}");
}

/// Records for a moment, into a file that may not grow beyond so many bytes: netdx's status, and what it said.
fn limited(file: &std::path::Path, bytes: usize) -> (Option<i32>, String) {
    let lab = Lab::new();
    let output = Command::new("prlimit")
        .arg(format!("--fsize={bytes}"))
        .arg(netdx())
        // Nobody uses this port: besides the beginning and the end there is only what other tests do to packets.
        .args(["record", "--force", "--no-dns", "--port", "4", "--netns", lab.client.name(), "--duration", "300ms"])
        .arg("--output")
        .arg(file)
        .output()
        .expect("netdx runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_recording_that_may_not_grow_further_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("limited.netdx.jsonl");
    let (status, said) = limited(&file, 1 << 20);
    assert_eq!(status, Some(0), "{said}");
    let whole = fs::read_to_string(&file).expect("a recording");
    let length = |line: Option<&str>| line.expect("lines").len();
    let (first, last) = (length(whole.lines().next()), length(whole.lines().last()));
    // In its first line, and after it: in its very last one, if there is nothing between them.
    for bytes in [100, first + last / 2] {
        let (status, said) = limited(&file, bytes);
        assert_eq!(status, Some(1), "{bytes}: {said}");
        assert!(said.contains("File too large") && said.contains("the recording ends here"), "{bytes}: {said}");
    }
    let replay = Command::new(netdx()).arg("replay").arg(&file).output().expect("netdx runs");
    let said = String::from_utf8_lossy(&[replay.stdout, replay.stderr].concat()).into_owned();
    assert!(said.contains("the recording is cut"), "{said}");
}

#[test]
fn what_is_no_file_is_not_recorded_into() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    run(Command::new("mkfifo").arg(at("pipe")));
    fs::create_dir(at("folder")).expect("a folder");
    fs::write(at("other"), "somebody's\n").expect("a file");
    std::os::unix::fs::symlink(at("other"), at("link")).expect("a link");
    let record = |flags: &[&str], path: &std::path::Path| {
        let output = Command::new(netdx())
            .args(["record", "--duration", "100ms", "--no-dns", "--port", "4"])
            .args(flags)
            .arg("--output")
            .arg(path)
            .output()
            .expect("netdx runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for path in [at("pipe"), at("folder"), at("link"), "/dev/full".into()] {
        let (status, said) = record(&[], &path);
        assert!(status == Some(1) && said.contains("exists"), "{}: {said}", path.display());
        let (status, said) = record(&["--force"], &path);
        assert!(status == Some(1) && said.contains("is no ordinary file"), "{}: {said}", path.display());
    }
    let (status, said) = record(&[], &at("other"));
    assert!(status == Some(1) && said.contains("exists"), "{said}");
    assert_eq!(fs::read_to_string(at("other")).expect("it is still there"), "somebody's\n");
    let (status, said) = record(&["--force"], &at("other"));
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(fs::metadata(at("other")).expect("the recording").mode() & 0o777, 0o600);
    let (status, said) = record(&[], &at("no/such/folder"));
    assert!(status == Some(1) && said.contains("No such file or directory"), "{said}");
}

#[test]
fn with_closed_standard_streams_nothing_is_written_into_other_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alone.netdx.jsonl");
    let lab = Lab::new();
    let script = "exec \"$@\" <&- >&- 2>&-";
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(netdx())
        .args(["record", "--netns", lab.client.name(), "--duration", "300ms", "--output"])
        .arg(&file)
        .status()
        .expect("sh runs");
    assert!(status.success(), "{status}");
    // Had the recording got the number of a closed stream, reports would stand in it.
    let text = fs::read_to_string(&file).expect("a recording");
    for line in text.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    }
    run(Command::new(netdx()).arg("replay").arg(&file));
}
