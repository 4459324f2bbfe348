//! What goes wrong with netdx itself: killed, without room, without a reader, without rights. Nothing stays behind, and
//! nothing is lost in silence. Root only; `cargo xtask live faults`.

#[path = "../needs/mod.rs"]
mod needs;
mod output;
mod recording;
mod rights;

use netdx_tests::island::{netdx, run};
use netdx_tests::kernel;
use netdx_tests::lab::Lab;
use netdx_tests::tracer::{REFUSED, Tracer};
use serde_json::Value;
use std::fs;
use std::io::BufReader;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn lines(child: &mut Child) -> BufReader<std::process::ChildStdout> {
    BufReader::new(child.stdout.take().expect("its output is a pipe"))
}

fn next(lines: &mut impl std::io::BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).expect("netdx writes text");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

fn within(patience: Duration, what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn killed_it_leaves_nothing_behind() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    trace.explains(&lab.connect("blocking 127.0.0.1:9"), &REFUSED);
    let (maps, links) = kernel::held_by(trace.pid());
    let programs = kernel::programs_with(&maps);
    assert!(!maps.is_empty() && links.len() > 5 && programs.len() > 5, "{maps:?} {links:?} {programs:?}");
    assert!(links.is_subset(&kernel::links()), "{links:?}");
    let pid = trace.pid();
    // Tracer's end is a SIGKILL.
    drop(trace);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    // The kernel frees them after a grace period. An attachment, of any kind, or a pin in bpffs would hold its program.
    let left = || {
        let all = kernel::programs();
        programs.intersection(&all).count()
            + maps.iter().filter(|id| kernel::map_exists(**id)).count()
            + links.intersection(&kernel::links()).count()
    };
    within(Duration::from_secs(20), "every program, map and link is gone", || left() == 0);
}

#[test]
fn killed_it_takes_a_command_with_it_that_did_not_run_yet() {
    // Held until every probe is attached, which here takes as long as the library's file can be read.
    let folder = tempfile::tempdir().expect("a folder");
    let types = folder.path().join("types");
    run(Command::new("mkfifo").arg(&types));
    let mut child = Command::new(netdx())
        .args(["trace", "--btf"])
        .arg(&types)
        .args(["--", "sleep", "1000"])
        .spawn()
        .expect("netdx runs");
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let held = || fs::read_to_string(&children).unwrap_or_default().trim().parse::<u32>().ok();
    within(Duration::from_secs(10), "the command is held", || held().is_some());
    let held = held().expect("it was just there");
    child.kill().expect("netdx runs");
    child.wait().expect("it ends");
    // Its parent is another now, which may not have waited for it yet.
    let status = || fs::read_to_string(format!("/proc/{held}/stat")).unwrap_or_default();
    within(Duration::from_secs(10), "the held command is gone", || status().is_empty() || status().contains(") Z "));
}

#[test]
fn what_comes_and_goes_leaves_nothing() {
    let course = netdx_tests::soak::run(netdx_tests::patience::patience(Duration::from_secs(15)));
    assert!(course.findings.is_empty(), "{:#?}\n{:#?}", course.findings, course.notes);
    let most = if needs::weaker_without(needs::Feature::WholePrograms) { course.failures / 20 } else { 0 };
    assert!(course.lost <= most, "{} of {} failures: {:#?}", course.lost, course.failures, course.notes);
    assert!(course.rounds > 0 && course.failures > 10 && course.successes > 0 && course.killed > 0, "{course:?}");
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    let lab = Lab::new();
    let (first, second) = (Tracer::start(&lab), Tracer::start(&lab));
    let attempt = lab.connect("blocking 127.0.0.1:9");
    first.explains(&attempt, &REFUSED);
    second.explains(&attempt, &REFUSED);
    first.only(&["refused.no-listener"]);
    // The other one has ended, and taken nothing with it.
    second.explains(&lab.connect("poll 127.0.0.1:9"), &REFUSED);
    let (reports, _) = second.end();
    assert_eq!(reports.len(), 2, "each once: {reports:#?}");
}

/// What ends tracing before the command ends: its status is netdx's, and it was let go on.
#[test]
fn a_command_that_goes_on_is_waited_for() {
    let lab = Lab::new();
    for end in [["--count", "1"], ["--duration", "1s"]] {
        let script = "bash -c ': < /dev/tcp/127.0.0.1/9'; sleep 2; exit 7";
        let output = lab
            .client
            .command(netdx())
            .args(["trace", "--format", "json"])
            .args(end)
            .args(["--", "sh", "-c", script])
            .output()
            .expect("netdx runs");
        assert_eq!(output.status.code(), Some(7), "{end:?}: {}", String::from_utf8_lossy(&output.stderr));
        let reports = String::from_utf8_lossy(&output.stdout);
        assert_eq!(reports.matches("refused.no-listener").count(), 2, "the report and the summary: {reports}");
    }
}

fn kill(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("netdx runs");
}

#[test]
fn in_a_time_namespace_the_times_are_right() {
    let lab = Lab::new();
    let mut child = Command::new("unshare")
        .args(["--time", "--boottime", "1000000", "--fork", "--"])
        .arg(netdx())
        .args(["trace", "--format", "json", "--count", "1", "--netns", lab.client.name()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut reports = lines(&mut child);
    let start = next(&mut reports);
    let attempt = lab.connect("blocking 127.0.0.1:9");
    let report = next(&mut reports);
    assert_eq!(report["process"]["pid"], attempt.pid, "{report:#}");
    assert_eq!(report["verdict"]["code"], "refused.no-listener", "{report:#}");
    let hour = |value: &Value| value["time"].as_str().expect("a time")[..13].to_owned();
    assert_eq!(hour(&start), hour(&report), "within the hour");
    child.wait().expect("it ends");
}

/// The wall clock of this machine, set forward by two and a half hours until this is dropped.
struct Ahead;

impl Ahead {
    const BY: i64 = 9000;

    fn set() -> Ahead {
        step(Self::BY);
        Ahead
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        step(-Self::BY);
    }
}

fn step(seconds: i64) {
    let mut now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec += seconds;
    rustix::time::clock_settime(rustix::time::ClockId::Realtime, now).expect("the clock can be set");
}

/// The clock is set only where nobody else goes by it: `cargo xtask vm` says so of its guests. Elsewhere it must not be told
/// to have been.
#[test]
fn a_step_of_the_wall_clock_is_told_and_changes_no_time() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let before = trace.explains(&lab.connect("blocking 127.0.0.1:9"), &REFUSED);
    let ahead = std::env::var_os("NETDX_TEST_OWN_CLOCK").is_some().then(Ahead::set);
    let after = trace.explains(&lab.connect("poll 127.0.0.1:9"), &REFUSED);
    let (_, summary) = trace.end();
    let time = |line: &Value| line["time"].as_str().expect("a time").parse::<jiff::Timestamp>().expect("UTC");
    let between = time(&after).duration_since(time(&before));
    assert!(between.is_positive() && between.as_mins() < 10, "{between:?}: {before:#} {after:#}");
    let notes = summary["notes"].to_string();
    match ahead {
        Some(_) => assert!(notes.contains("the system's clock was set forward by 2 h"), "{notes}"),
        None => assert!(!notes.contains("clock"), "{notes}"),
    }
}
