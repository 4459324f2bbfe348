//! A policy or a BPF program said no.

use netdx_tests::lab::{Client, Lab};
use netdx_tests::tracer::{Expected, Tracer};
use std::os::unix::process::CommandExt as _;

/// A seccomp filter under which connect(2) fails with EPERM and everything else works.
fn forbid_connect() -> std::io::Result<()> {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let connect = u32::try_from(libc::SYS_connect).expect("a system call's number");
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(IF_EQUAL, 0, 1, connect),
        step(RETURN, 0, 0, refuse),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    // SAFETY: the program and its steps live until the call returns; the kernel copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
fn seccomp_forbids_it() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let mut command = lab.command("blocking 10.1.2.2:80");
    // SAFETY: between fork and exec only one system call is made, on memory of its own.
    unsafe { command.pre_exec(forbid_connect) };
    let attempt = Client::spawn(command).attempt();
    assert_eq!(attempt.errno, libc::EPERM);
    trace.explains(
        &attempt,
        &Expected {
            code: "denied.policy",
            outcome: "failed",
            errno: Some("EPERM"),
            remote: None,
            names: &["seccomp"],
            certainty: None,
        },
    );
    trace.only(&["denied.policy"]);
}
