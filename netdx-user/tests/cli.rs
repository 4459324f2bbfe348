//! The program as it is run, without root: exit codes, output, bad files.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A redacted recording of two refused connections, one without a route, and a lookup that failed.
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/failures.netdx.jsonl");

fn netdx(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netdx"));
    command.args(arguments).env_remove("NO_COLOR").env("TZ", "UTC").stdin(Stdio::null());
    command.output().expect("netdx runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// A file of that content that goes away with the folder.
fn file(folder: &tempfile::TempDir, content: &[u8]) -> PathBuf {
    let path = folder.path().join("test.netdx.jsonl");
    fs::write(&path, content).expect("room");
    path
}

fn codes(json: &str) -> Vec<String> {
    let reports = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("one object a line"));
    reports.filter_map(|report| report["verdict"]["code"].as_str().map(str::to_owned)).collect()
}

#[test]
fn alone_it_says_how_to_begin() {
    let output = netdx(&[]);
    assert!(output.status.success());
    let text = out(&output);
    assert_eq!(text.matches("netdx trace").count() + text.matches("netdx explain").count(), 3, "{text}");
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &["trice"][..],
        &["replay"],
        &["replay", "x", "--port", "http"],
        &["trace", "--buffer", "3"],
        &["dns", "a.test", "BOGUS"],
        &["check", "a:b:c"],
        &["replay", "x", "--fail-on", "refuse"],
    ] {
        let output = netdx(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", err(&output));
        assert!(out(&output).is_empty());
    }
    assert!(err(&netdx(&["trase"])).contains("'trace'"), "what was meant");
    let output = netdx(&["explain", "dns.nxdomian"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("Did you mean dns.nxdomain?"), "{}", err(&output));
}

#[test]
fn what_fails_is_1_and_says_what_to_do() {
    let output = netdx(&["replay", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(err(&output), "netdx: open /no/such/file: No such file or directory (os error 2)\n");
}

#[test]
fn a_recording_is_replayed_as_text_json_html_and_packets() {
    let text = netdx(&["replay", RECORDING]);
    assert!(text.status.success());
    let reports = out(&text);
    assert!(reports.starts_with("08:31:29.484  "), "{reports}");
    for row in ["  why     ", "  proof   ", "  route   ", "  fix     ", "  more    netdx explain refused.no-listener\n"]
    {
        assert!(reports.contains(row), "no row '{row}' in {reports}");
    }
    assert!(err(&text).starts_with("recorded 2026-11-23 08:31:29 UTC by netdx 0.1.0"), "{}", err(&text));
    assert!(err(&text).contains("4 failures in 412 ms; no event lost\n"), "{}", err(&text));
    let json = netdx(&["replay", RECORDING, "--format", "json"]);
    assert!(json.status.success() && json.stderr.is_empty());
    let lines = out(&json);
    assert!(lines.starts_with(r#"{"schema":1,"kind":"start""#), "{lines}");
    assert!(lines.trim_end().lines().last().expect("a line").starts_with(r#"{"schema":1,"kind":"summary""#));
    assert_eq!(codes(&lines).len(), 4);
    let packets = netdx(&["replay", RECORDING, "--format", "pcapng"]);
    assert!(packets.status.success() && packets.stdout.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
    let html = netdx(&["replay", RECORDING, "--format", "html"]);
    assert!(out(&html).starts_with("<!DOCTYPE html>") && out(&html).trim_end().ends_with("</html>"));
}

#[test]
fn reports_are_filtered_and_counted() {
    let codes_of =
        |arguments: &[&str]| codes(&out(&netdx(&[&["replay", RECORDING, "--format", "json"], arguments].concat())));
    assert_eq!(codes_of(&["--code", "refused"]).len(), 2);
    assert_eq!(codes_of(&["--port", "9", "--no-dns"]).len(), 2);
    assert_eq!(codes_of(&["--port", "9"]).len(), 3, "a failed lookup has no port");
    assert_eq!(codes_of(&["--dns"]).len(), 1);
    assert_eq!(codes_of(&["--host", "127.0.0.0/8"]).len(), 2);
    assert_eq!(codes_of(&["--count", "1"]).len(), 1);
    assert_eq!(codes_of(&["--pid", "1"]).len(), 0);
}

#[test]
fn a_verdict_of_fail_on_is_3() {
    let code = |on: &str| netdx(&["replay", RECORDING, "--fail-on", on]).status.code();
    assert_eq!(
        [code("any"), code("refused"), code("route.none"), code("firewall")],
        [Some(3), Some(3), Some(3), Some(0)]
    );
}

#[test]
fn a_cut_recording_is_told_and_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = fs::read(RECORDING).expect("the recording");
    let path = file(&folder, &whole[..whole.len() - 20]);
    let output = netdx(&["replay", &path.display().to_string(), "--format", "json"]);
    assert!(output.status.success());
    assert_eq!(codes(&out(&output)).len(), 4);
    assert!(out(&output).contains("the recording is cut"), "{}", out(&output));
}

#[test]
fn what_is_no_recording_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    for content in [&b""[..], b"\x00\xff\xfe", b"{}\n", b"[[[[", &[0x28, 0xb5, 0x2f, 0xfd, 0, 0]] {
        let path = file(&folder, content).display().to_string();
        let output = netdx(&["replay", &path]);
        assert_eq!(output.status.code(), Some(1), "{content:?}");
        assert!(err(&output).starts_with(&format!("netdx: replay {path}: ")), "{}", err(&output));
        assert!(!err(&output).contains("panicked"));
    }
}

#[test]
fn a_recording_may_come_by_a_pipe() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_netdx"))
        .args(["replay", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(&fs::read(RECORDING).expect("the recording")).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(codes(&out(&output)).len(), 4);
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = Command::new(env!("CARGO_BIN_EXE_netdx"))
        .args(["replay", RECORDING, "--format", "json"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
}

/// Holds a command, sees it held, and lets it go: its process id and what it came to.
fn held(command: &[&str]) -> (u32, Output) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_netdx"))
        .args([&["hold", "--parent", &std::process::id().to_string(), "--"], command].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let id = rustix::process::Pid::from_child(&child);
    // The third field of stat(5) is the state, T for stopped; the name before it has no space here.
    let stat = format!("/proc/{}/stat", child.id());
    let stopped = || fs::read_to_string(&stat).expect("it is there").split(' ').nth(2) == Some("T");
    let begun = Instant::now();
    while !stopped() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it stops itself");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(child.try_wait().expect("it can be waited for").is_none(), "held, not run");
    rustix::process::kill_process(id, rustix::process::Signal::CONT).expect("it is there");
    let pid = child.id();
    (pid, child.wait_with_output().expect("it ends"))
}

#[test]
fn a_held_command_keeps_its_process_and_status() {
    let (pid, output) = held(&["sh", "-c", "echo $$; exit 7"]);
    assert_eq!((out(&output).trim(), output.status.code()), (pid.to_string().as_str(), Some(7)));
}

#[test]
fn a_held_command_that_is_not_there_is_127() {
    let (_, output) = held(&["/no/such/command"]);
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(err(&output), "netdx: run /no/such/command: No such file or directory (os error 2)\n");
}

#[test]
fn colours_come_when_asked_for() {
    let has = |arguments: &[&str]| out(&netdx(&[&["replay", RECORDING], arguments].concat())).contains('\u{1b}');
    assert!(!has(&[]), "stdout is no terminal");
    assert!(has(&["--color", "always"]));
    assert!(!has(&["--color", "never"]));
}

#[test]
fn every_verdict_has_a_page() {
    let list = out(&netdx(&["explain", "--list"]));
    let codes: Vec<&str> =
        list.lines().filter(|line| !line.starts_with(' ')).filter_map(|l| l.split(' ').next()).collect();
    assert!(codes.contains(&"refused.bound-elsewhere") && codes.contains(&"unexplained"), "{list}");
    for code in codes {
        let page = out(&netdx(&["explain", code]));
        for heading in ["What happened", "How netdx knows", "What to do", "Easily confused with"] {
            assert!(page.contains(heading), "{code} lacks '{heading}'");
        }
    }
}
