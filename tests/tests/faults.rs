//! What goes wrong with netdx itself: killed, without room, without a reader, without rights. Nothing stays behind, and
//! nothing is lost in silence. Root only; `cargo xtask live faults`.

use netdx_tests::island::{netdx, run};
use netdx_tests::kernel;
use netdx_tests::lab::Lab;
use netdx_tests::tracer::{REFUSED, Tracer, check};
use serde_json::Value;
use std::fs;
use std::io::{BufReader, Read as _};
use std::os::fd::FromRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The rights that docs/privileges.md says suffice to trace this network namespace.
const FIVE: &str = "+bpf,+perfmon,+net_admin,+sys_ptrace,+dac_read_search";

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
    assert!(course.rounds > 0 && course.failures > 10 && course.successes > 0 && course.killed > 0, "{course:?}");
}

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
fn reports_that_find_no_room_are_told() {
    let lab = Lab::new();
    let mut child = Command::new(netdx())
        .args(["trace", "--format", "json", "--netns", lab.client.name(), "--output", "/dev/full"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("it ends by itself").code(), Some(1), "{said}");
    assert!(said.contains("/dev/full") && said.contains("No space left on device"), "{said}");
}

/// A terminal: the end that a person looks at, and the one that a program writes to.
fn terminal() -> (fs::File, fs::File) {
    let (mut master, mut slave) = (-1, -1);
    // SAFETY: both numbers are written before the call returns; the other arguments may be null (openpty(3)).
    let result = unsafe {
        libc::openpty(&raw mut master, &raw mut slave, std::ptr::null_mut(), std::ptr::null(), std::ptr::null())
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: two new descriptors that nobody else has.
    unsafe { (fs::File::from_raw_fd(master), fs::File::from_raw_fd(slave)) }
}

#[test]
fn a_terminal_that_is_resized_gets_reports_of_its_width() {
    let lab = Lab::new();
    let (mut seen, terminal) = terminal();
    let resize = |columns| {
        let size = rustix::termios::Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&terminal, size).expect("a terminal");
    };
    resize(200);
    let mut child = Command::new(netdx())
        .args(["trace", "--netns", lab.client.name()])
        .env("NO_COLOR", "1")
        .stdout(terminal.try_clone().expect("a descriptor"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    // It says so when every probe is attached.
    let mut said = [0; 512];
    assert_ne!(child.stderr.as_mut().expect("a pipe").read(&mut said).expect("text"), 0);
    let mut longest = || {
        _ = lab.connect("blocking 127.0.0.1:9");
        let (mut text, mut part) = (String::new(), [0; 4096]);
        while !text.contains("netdx explain refused.no-listener\r\n") {
            let length = seen.read(&mut part).expect("netdx writes");
            text.push_str(std::str::from_utf8(&part[..length]).expect("ASCII"));
        }
        text.lines().map(|line| line.chars().count()).max().expect("lines")
    };
    let wide = longest();
    resize(60);
    let narrow = longest();
    assert!(wide > 60 && wide <= 200 && narrow <= 60, "{wide} and {narrow} columns");
    kill(&child);
    assert!(child.wait().expect("it ends").success());
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
    let recording = &netdx_tests::recordings::all()[0];
    let file = reachable().with_file_name("replayed.netdx.jsonl");
    fs::write(&file, &recording.bytes).expect("a file that everybody may read");
    let output = as_nobody("").arg("replay").arg(&file).output().expect("netdx runs");
    assert!(output.status.success() && !output.stdout.is_empty(), "{}: {output:?}", recording.name);
}

#[test]
fn few_descriptors_and_no_types_are_told() {
    let run = |limit: &str, arguments: &[&str]| {
        let output = Command::new("prlimit").arg(limit).arg(netdx()).args(arguments).output().expect("netdx runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for limit in ["--nofile=5", "--nofile=12", "--nofile=24"] {
        let (status, said) = run(limit, &["trace", "--duration", "1s"]);
        assert!(said.contains("Too many open files") && said.contains("ulimit -n"), "{limit}: {said}");
        assert_eq!(status, Some(1), "{limit}: {said}");
    }
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

/// netdx in a process-id namespace of its own, as a container without `--pid=host` has it.
fn as_in_a_container() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]).arg(netdx());
    command
}

#[test]
fn in_a_container_processes_are_not_mistaken_for_others() {
    for asked in [&["--pid", "1"][..], &["--", "true"]] {
        let output = as_in_a_container().arg("trace").args(asked).output().expect("netdx runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{asked:?}: {said}");
        assert!(said.contains("--pid and -- CMD") && said.contains("--pid=host"), "{asked:?}: {said}");
    }
    let lab = Lab::new();
    let mut child = as_in_a_container()
        .args(["trace", "--format", "json", "--count", "1", "--netns", &lab.client.inode().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut reports = lines(&mut child);
    let start = next(&mut reports);
    let probes = start["coverage"]["probes"].as_array().expect("a list");
    let processes = probes.iter().find(|probe| probe["name"] == "processes").expect("it is told");
    assert!(processes["hook"].is_null() && processes["reason"].to_string().contains("--pid=host"), "{processes}");
    let attempt = lab.connect("blocking 127.0.0.1:9");
    let report = next(&mut reports);
    assert_eq!(report["process"]["pid"], attempt.pid, "the machine's number: {report:#}");
    check(&report, &REFUSED);
    assert!(report["process"]["exe"].is_null() && report["process"]["cgroup"].is_null(), "{report:#}");
    child.wait().expect("it ends");
}

/// Records for a moment, into a file that may not grow beyond so many bytes: netdx's status, and what it said.
fn limited(file: &std::path::Path, bytes: usize) -> (Option<i32>, String) {
    let lab = Lab::new();
    let output = Command::new("prlimit")
        .arg(format!("--fsize={bytes}"))
        .arg(netdx())
        // Nobody uses this port: nothing but the beginning and the end is written.
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
    let end = whole.trim_end().lines().last().expect("lines").len();
    // In its first line, and in its very last one.
    for bytes in [100, whole.len() - end / 2] {
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
