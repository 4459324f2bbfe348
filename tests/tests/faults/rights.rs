//! Too few rights, too few of what the system hands out, and process ids that are not the machine's.

use crate::needs::other_without_reasons;
use crate::{kill, lines, next};
use netdx_tests::island::netdx;
use netdx_tests::lab::Lab;
use netdx_tests::tracer::{REFUSED, Tracer, check};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

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
    // Without CAP_SYSLOG the functions have no names, and without its reason the drop of the SYN then tells nothing.
    check(&report, &other_without_reasons("unexplained", "possible", REFUSED));
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
