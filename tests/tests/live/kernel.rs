//! What netdx makes of a kernel that offers less.

use crate::needs::{Feature, weaker_without};
use netdx::live::btf::KERNEL;
use netdx_tests::island::{netdx, output};
use netdx_tests::lab::Lab;
use netdx_tests::tracer::{Expected, Tracer};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// netdx, for which the kernel has no type information: an empty folder lies over it, in mounts of its own.
fn netdx_without_types(empty: &Path) -> Command {
    let from = CString::new(empty.as_os_str().as_bytes()).expect("a path without NUL");
    let mut command = Command::new(netdx());
    let hide = move || {
        use rustix::mount::MountPropagationFlags as Flags;
        // SAFETY: called in a forked child with one thread; CLONE_NEWNS gives it mounts of its own and shares no memory.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS)? };
        rustix::mount::mount_change(c"/", Flags::PRIVATE | Flags::REC)?;
        rustix::mount::mount_bind(&from, c"/sys/kernel/btf")?;
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made; everything allocated was allocated before.
    unsafe { command.pre_exec(hide) };
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).expect("netdx writes text")
}

/// An older kernel's verifier may refuse what a newer one's takes.
#[test]
fn every_probe_is_attached() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let probes = trace.first_line()["coverage"]["probes"].as_array().expect("the first line has coverage");
    let mut missing: Vec<_> = probes.iter().filter(|probe| probe["hook"].is_null()).collect();
    for (name, feature) in [("io-uring", Feature::IoUringRequests), ("drop-reasons", Feature::DropReasons)] {
        if weaker_without(feature) {
            missing.retain(|probe| probe["name"] != name);
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn without_types_it_says_what_to_install() {
    let empty = tempfile::tempdir().expect("make a folder");
    let traced = output(netdx_without_types(empty.path()).args(["trace", "--duration", "1s"]));
    assert_eq!(traced.status.code(), Some(1));
    let told = text(&traced.stderr);
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    for part in [KERNEL, "CONFIG_DEBUG_INFO_BTF", "--btf", "pahole", &release] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    let doctor = output(netdx_without_types(empty.path()).args(["doctor", "--format", "json"]));
    assert_eq!(doctor.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    let types = found["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "type information");
    assert_eq!(types.expect("it is looked for")["state"], "missing", "{found:#}");
    assert!(found["advice"].as_str().is_some_and(|advice| advice.contains("--btf")), "{found:#}");
}

#[test]
fn types_in_a_file_are_as_good() {
    let empty = tempfile::tempdir().expect("make a folder");
    let file = tempfile::NamedTempFile::new().expect("make a file");
    std::fs::copy(KERNEL, file.path()).expect("copy the kernel's type information");
    let lab = Lab::new();
    let command = netdx_without_types(empty.path());
    let trace = Tracer::run(
        command,
        std::slice::from_ref(&lab),
        &["--all", "--btf", file.path().to_str().expect("an ordinary path")],
    );
    trace.explains(
        &lab.connect("blocking 10.1.2.2:81"),
        &Expected {
            code: "refused.no-listener",
            outcome: "failed",
            errno: Some("ECONNREFUSED"),
            remote: Some("10.1.2.2:81"),
            names: &["10.1.2.2:81"],
            certainty: None,
        },
    );
    let (_, summary) = trace.end();
    let probes = summary["coverage"]["probes"].as_array().expect("the summary has coverage");
    let hook = |name: &str| probes.iter().find(|probe| probe["name"] == name)?["hook"].as_str();
    // Without numbers of types the kernel attaches nothing by them.
    assert!(hook("tcp-state").is_some_and(|hook| hook.contains("raw_tp/inet_sock_set_state")), "{summary:#}");
    // A kernel without this tracepoint has the function by its name.
    let error = hook("socket-error").expect("there is a way without types");
    assert!(["raw_tp/inet_sk_error_report", "kprobe/sock_def_error_report"].contains(&error), "{error}");
}
