//! What goes wrong with netdx itself: killed, without room, without a reader, without rights. Nothing stays behind, and
//! nothing is lost in silence. Root only; `cargo xtask live faults`.

use netdx_tests::island::{netdx, run};
use netdx_tests::kernel;
use netdx_tests::lab::Lab;
use netdx_tests::tracer::{Expected, Tracer, check};
use serde_json::Value;
use std::fs;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The rights that docs/privileges.md says suffice to trace this network namespace.
const FIVE: &str = "+bpf,+perfmon,+net_admin,+sys_ptrace,+dac_read_search";

const REFUSED: Expected<'static> = Expected {
    code: "refused.no-listener",
    outcome: "failed",
    errno: Some("ECONNREFUSED"),
    remote: Some("127.0.0.1:9"),
    names: &["127.0.0.1:9"],
    certainty: None,
};

/// netdx without the rights of root, or with some: as user nobody.
fn as_nobody(capabilities: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    if !capabilities.is_empty() {
        command.args([format!("--inh-caps=-all,{capabilities}"), format!("--ambient-caps=-all,{capabilities}")]);
    }
    command.arg(reachable());
    command
}

/// A copy of netdx that everybody may run: the build folder may be closed to others.
fn reachable() -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    static COPY: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let folder = COPY.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("netdx-faults-").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("let everybody in");
        fs::copy(netdx(), folder.path().join("netdx")).expect("copy netdx");
        folder
    });
    folder.path().join("netdx")
}

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
    let pid = trace.pid();
    // Tracer's end is a SIGKILL.
    drop(trace);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    // The kernel frees them after a grace period.
    let left = || {
        let all = kernel::programs();
        programs.intersection(&all).count() + maps.iter().filter(|id| kernel::map_exists(**id)).count()
    };
    within(Duration::from_secs(20), "every program and map is gone", || left() == 0);
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

fn kill(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("netdx runs");
}

#[test]
fn without_a_reader_it_ends_quietly() {
    let lab = Lab::new();
    let mut child = Command::new(netdx())
        .args(["trace", "--format", "json", "--netns", lab.client.name()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut reports = lines(&mut child);
    assert_eq!(next(&mut reports)["kind"], "start");
    drop(reports);
    _ = lab.connect("blocking 127.0.0.1:9");
    let output = child.wait_with_output().expect("it ends by itself");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn five_capabilities_will_do() {
    let lab = Lab::new();
    let mut child = as_nobody(FIVE)
        .args(["trace", "--format", "json", "--netns"])
        .arg(lab.client.inode().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut reports = lines(&mut child);
    assert_eq!(next(&mut reports)["kind"], "start");
    let attempt = lab.connect("blocking 127.0.0.1:9");
    let report = next(&mut reports);
    assert_eq!(report["process"]["pid"], attempt.pid, "{report:#}");
    check(&report, &REFUSED);
    // Every thread has what it needs at most.
    let user = fs::metadata(format!("/proc/{}", child.id())).expect("it runs").uid();
    kill(&child);
    child.wait().expect("it ends");
    assert!(user == 65534 || user == 0, "files of a process with capabilities may be root's (proc(5))");
}

#[test]
fn every_thread_gives_up_what_is_not_needed() {
    /// CAP_SYS_MODULE, CAP_SYS_TIME, CAP_CHOWN (capabilities(7)): root has them, netdx needs none.
    const NOT_NEEDED: u64 = 1 << 16 | 1 << 25 | 1;
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    trace.explains(&lab.connect("blocking 127.0.0.1:9"), &REFUSED);
    for thread in fs::read_dir(format!("/proc/{}/task", trace.pid())).expect("it runs") {
        let status = fs::read_to_string(thread.expect("a thread").path().join("status")).expect("it runs");
        let of = |label: &str| status.lines().find_map(|line| line.strip_prefix(label)).expect(label).trim();
        let permitted = u64::from_str_radix(of("CapPrm:"), 16).expect("a mask");
        assert_eq!(permitted & NOT_NEEDED, 0, "thread {} keeps {permitted:x}", of("Name:"));
    }
}

#[test]
fn an_ordinary_user_is_told_how_in_two_lines() {
    let output = as_nobody("").args(["trace"]).output().expect("netdx runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("cap_bpf, cap_perfmon") && said.contains("sudo") && said.contains("setcap"), "{said}");
}

#[test]
fn few_descriptors_and_no_types_are_told() {
    let run = |limit: &str, arguments: &[&str]| {
        let output = Command::new("prlimit").arg(limit).arg(netdx()).args(arguments).output().expect("netdx runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, said) = run("--nofile=12", &["trace", "--duration", "1s"]);
    assert!(said.contains("Too many open files") && !said.contains("panicked"), "{status:?} {said}");
    let (status, said) = run("--nofile=1024", &["trace", "--btf", "/no/such/file", "--duration", "1s"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("/no/such/file") && said.contains("CONFIG_DEBUG_INFO_BTF"), "{said}");
}

#[test]
fn a_name_cannot_steer_a_terminal() {
    let evil = "a\u{1b}[2J\u{202e}b";
    let lab = Lab::new();
    let folder = lab.client_program().parent().expect("a folder").to_path_buf();
    fs::copy(lab.client_program(), folder.join(evil)).expect("a copy of the client");
    let recording = folder.join("evil.netdx.jsonl");
    let mut child = Command::new(netdx())
        .args(["record", "--format", "json", "--netns", lab.client.name(), "--count", "1", "--output"])
        .arg(&recording)
        .stdout(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut reports = lines(&mut child);
    assert_eq!(next(&mut reports)["kind"], "start");
    run(lab.client.command(folder.join(evil)).args(["blocking", "127.0.0.1:9"]));
    let mut live = String::new();
    reports.read_to_string(&mut live).expect("text");
    assert!(child.wait().expect("it ends").success());
    let holds = |bytes: &[u8], what: &str| bytes.windows(what.len()).any(|part| part == what.as_bytes());
    let is_safe = |bytes: &[u8]| !holds(bytes, "\u{1b}") && !holds(bytes, "\u{202e}");
    assert!(live.contains("refused.no-listener") && is_safe(live.as_bytes()), "{}", live.escape_debug());
    let replay = |format| run(Command::new(netdx()).args(["replay", "--format", format]).arg(&recording));
    for format in ["text", "json", "html"] {
        let output = replay(format);
        assert!(!output.stdout.is_empty() && is_safe(&output.stdout) && is_safe(&output.stderr), "{format}");
    }
    // A file of packets has any byte somewhere.
    let packets = replay("pcapng").stdout;
    assert!(!packets.is_empty() && !holds(&packets, "\u{1b}[2J") && !holds(&packets, "\u{202e}"));
    assert_eq!(fs::metadata(&recording).expect("the recording").mode() & 0o777, 0o600);
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
