//! A kernel, a system or rights that don't let netdx in: each time it says what is missing and what to do, and goes on
//! where the rest can work. Root only; `cargo xtask live loader`.

mod needs;

use crate::needs::{Feature, skipped_without};
use netdx_tests::island::{netdx, output};
use netdx_tests::lab::Lab;
use netdx_tests::sandbox::{Forbidden, forbid};
use netdx_tests::tracer::{REFUSED, Tracer};
use serde_json::Value;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands of bpf(2) (include/uapi/linux/bpf.h).
const MAP_CREATE: Forbidden = Forbidden::CallOf(libc::SYS_bpf, 0);
const RAW_TRACEPOINT_OPEN: Forbidden = Forbidden::CallOf(libc::SYS_bpf, 17);
const LINK_CREATE: Forbidden = Forbidden::CallOf(libc::SYS_bpf, 28);
const PERF_EVENT_OPEN: Forbidden = Forbidden::Call(libc::SYS_perf_event_open);

/// netdx after a preparation in a mount namespace of its own, which ends with it.
fn after(preparation: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &format!("{preparation}\nexec \"$@\""), "sh"]).arg(netdx());
    command
}

/// What netdx says when it can't trace.
fn refusal(command: &mut Command) -> String {
    let output = output(command.args(["trace", "--duration", "1s"]));
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "{said}");
    said
}

/// Why a probe is not there; none: it is.
fn missing<'a>(start: &'a Value, name: &str) -> Option<&'a str> {
    let probes = start["coverage"]["probes"].as_array().expect("coverage");
    let probe = probes.iter().find(|probe| probe["name"] == name).unwrap_or_else(|| panic!("no probe {name}"));
    probe["hook"].is_null().then(|| probe["reason"].as_str().expect("a reason"))
}

#[test]
fn what_the_kernel_refuses_is_done_without() {
    let lab = Lab::new();
    for (forbidden, without, with) in [
        // Programs on cgroups, and uprobes as links.
        (LINK_CREATE, "dns-out", "connect-call"),
        // Tracepoints of system calls.
        (PERF_EVENT_OPEN, "connect-call", "dns-out"),
    ] {
        let mut command = Command::new(netdx());
        forbid(&mut command, &[forbidden]);
        let trace = Tracer::run(command, std::slice::from_ref(&lab), &["--all"]);
        let why = missing(trace.first_line(), without).unwrap_or_else(|| panic!("{without} under {forbidden:?}"));
        assert!(why.contains("Operation not permitted"), "{why}");
        assert_eq!(missing(trace.first_line(), with), None);
        trace.explains(&lab.connect("poll 127.0.0.1:9"), &REFUSED);
        let (_, summary) = trace.end();
        assert!(missing(&summary, without).is_some(), "said again in the end: {summary}");
    }
}

#[test]
fn without_any_probe_it_says_why() {
    let mut command = Command::new(netdx());
    forbid(&mut command, &[RAW_TRACEPOINT_OPEN, LINK_CREATE, PERF_EVENT_OPEN]);
    let said = refusal(&mut command);
    assert!(said.contains("no probe that tells of connections could be attached"), "{said}");
    assert!(said.contains("see netdx doctor") && said.contains("Operation not permitted"), "{said}");
    assert!(said.contains("inet_sock_set_state"), "{said}");
}

#[test]
fn a_sandbox_that_forbids_maps_is_named() {
    let mut command = Command::new(netdx());
    forbid(&mut command, &[MAP_CREATE]);
    let said = refusal(&mut command);
    assert!(said.contains("the kernel refused the map") && said.contains("seccomp"), "{said}");
    assert!(said.contains("ulimit -l unlimited"), "{said}");
    assert_eq!(said.matches("the kernel refused").count(), 1, "once: {said}");
}

#[test]
fn a_lockdown_is_named() {
    // This kernel can't be locked down and opened again: what it would say stands where it would stand.
    let mut command = after(
        "mount -t tmpfs none /sys/kernel/security\n\
         echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown",
    );
    forbid(&mut command, &[RAW_TRACEPOINT_OPEN, LINK_CREATE, PERF_EVENT_OPEN]);
    let said = refusal(&mut command);
    assert!(said.contains("lockdown=confidentiality forbids reading its memory"), "{said}");
}

#[test]
fn without_types_it_says_how_to_get_them() {
    let said = refusal(&mut after("mount -t tmpfs none /sys/kernel/btf"));
    assert!(said.contains("/sys/kernel/btf/vmlinux") && said.contains("CONFIG_DEBUG_INFO_BTF"), "{said}");
    assert!(said.contains("pahole --btf_encode_detached") && said.contains("--btf kernel.btf"), "{said}");
}

/// Unmounts every file system of these types.
const UNMOUNT: &str = "while read -r _ at type _; do case $type in tracefs|debugfs|bpf|cgroup2) umount -l \"$at\";; esac; \
                       done < /proc/mounts";

#[test]
fn file_systems_that_are_not_mounted_are_opened_without() {
    let lab = Lab::new();
    let trace = Tracer::run(after(UNMOUNT), std::slice::from_ref(&lab), &["--all"]);
    // Nothing is pinned, so that bpffs isn't wanted at all.
    for name in ["connect-call", "dns-out", "dns-in", "cgroup-connect"] {
        assert_eq!(missing(trace.first_line(), name), None);
    }
    trace.explains(&lab.connect("blocking 127.0.0.1:9"), &REFUSED);
    trace.only(&["refused.no-listener"]);
}

#[test]
fn without_the_right_to_open_them_it_says_how() {
    let lab = Lab::new();
    let user = "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin --ambient-caps=-all \"$@\"; exit $?";
    let mut command = after(&format!("{UNMOUNT}\n{user}"));
    let output = output(command.args(["trace", "--duration", "1s", "--format", "json", "--netns", lab.client.name()]));
    let text = String::from_utf8(output.stdout).expect("text");
    let start = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    for (name, advice) in [
        ("connect-call", "mount -t tracefs tracefs /sys/kernel/tracing"),
        ("dns-out", "mount -t cgroup2 cgroup2 /sys/fs/cgroup"),
    ] {
        let why = missing(&start, name).expect(name);
        assert!(why.contains("it is not mounted") && why.contains("CAP_SYS_ADMIN") && why.contains(advice), "{why}");
    }
    assert_eq!(missing(&start, "tcp-state"), None);
}

/// A control group whose memory is limited, in whichever hierarchy has the controller; removed when dropped.
struct Limited(PathBuf);

impl Limited {
    fn new(bytes: u64) -> Limited {
        let mounts = fs::read_to_string("/proc/mounts").expect("read the mounts");
        let place = mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let (at, kind, options) = (Path::new(words[1]), words[2], words[3]);
            let unified = || fs::read_to_string(at.join("cgroup.subtree_control")).unwrap_or_default();
            match kind {
                "cgroup" if options.split(',').any(|o| o == "memory") => Some((at, "memory.limit_in_bytes")),
                "cgroup2" if unified().contains("memory") => Some((at, "memory.max")),
                _ => None,
            }
        });
        let (at, limit) = place.expect("a hierarchy with the memory controller");
        let path = at.join(format!("netdx-loader-{}", std::process::id()));
        fs::create_dir(&path).expect("make a control group");
        let limited = Limited(path);
        fs::write(limited.0.join(limit), bytes.to_string()).expect("limit its memory");
        limited
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // One that can't be removed is no reason to panic while panicking.
        _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn too_little_memory_is_told() {
    if skipped_without(Feature::MapsOfGroups) {
        return;
    }
    let group = Limited::new(128 << 20);
    let processes = fs::File::options().write(true).open(group.0.join("cgroup.procs")).expect("open cgroup.procs");
    let mut command = Command::new(netdx());
    let enter = move || rustix::io::write(&processes, b"0").map(drop).map_err(std::io::Error::from);
    // SAFETY: between fork and exec only one system call is made.
    unsafe { command.pre_exec(enter) };
    let output = output(command.args(["trace", "--buffer", "1073741824", "--duration", "1s"]));
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the kernel refused the map EVENTS (1073741824 bytes)"), "{said}");
    assert!(said.contains("a smaller --buffer") && said.contains("control group"), "{said}");
}

#[test]
fn a_limit_of_locked_memory_is_lifted() {
    // Linux counts maps as locked memory up to 5.10; later it makes no difference.
    let lab = Lab::new();
    let mut command = Command::new("prlimit");
    command.arg("--memlock=0").arg(netdx());
    let trace = Tracer::run(command, std::slice::from_ref(&lab), &["--all"]);
    trace.explains(&lab.connect("blocking 127.0.0.1:9"), &REFUSED);
}

#[test]
fn the_missing_capability_is_named() {
    for (has, lacks) in [("+bpf", "cap_perfmon"), ("+perfmon", "cap_bpf")] {
        let mut command = Command::new("setpriv");
        command.args([&format!("--bounding-set=-all,{has}"), &format!("--inh-caps=-all,{has}")]).arg(netdx());
        let said = refusal(&mut command);
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.starts_with(&format!("netdx: tracing needs rights that this process lacks: {lacks}\n")), "{said}");
        assert!(said.contains("sudo netdx trace") && said.contains("sudo setcap"), "{said}");
    }
}
