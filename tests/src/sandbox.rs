//! Programs to which the kernel says no: system calls that a seccomp filter refuses. Owns: the filter. Must not know: netdx.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// A system call that fails.
#[derive(Clone, Copy, Debug)]
pub enum Forbidden {
    /// Whatever its arguments.
    Call(libc::c_long),
    /// Where its first argument is this number.
    CallOf(libc::c_long, u32),
}

/// Runs the program under a filter that refuses these calls with EPERM, and lets everything else happen.
///
/// # Panics
/// When there are too many.
pub fn forbid(command: &mut Command, calls: &[Forbidden]) {
    answer(command, calls, libc::EPERM);
}

/// The same with another error.
///
/// # Panics
/// When there are too many.
pub fn answer(command: &mut Command, calls: &[Forbidden], errno: i32) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// `struct seccomp_data`: `nr`, and the lower half of `args[0]` on a little-endian machine.
    const NUMBER: u32 = 0;
    const FIRST_ARGUMENT: u32 = 16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let refuse = step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned());
    let mut steps = Vec::new();
    for call in calls {
        let (number, argument) = match *call {
            Forbidden::Call(number) => (number, None),
            Forbidden::CallOf(number, argument) => (number, Some(argument)),
        };
        let number = u32::try_from(number).expect("a system call's number");
        steps.push(step(LOAD, 0, 0, NUMBER));
        match argument {
            None => steps.extend([step(IF_EQUAL, 0, 1, number), refuse]),
            Some(argument) => steps.extend([
                step(IF_EQUAL, 0, 3, number),
                step(LOAD, 0, 0, FIRST_ARGUMENT),
                step(IF_EQUAL, 0, 1, argument),
                refuse,
            ]),
        }
    }
    steps.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let length = u16::try_from(steps.len()).expect("a short filter");
    let confine = move || {
        let program = libc::sock_fprog { len: length, filter: steps.as_mut_ptr() };
        // SAFETY: the program and its steps live until the call returns; the kernel copies them.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec only one system call is made, on memory that was allocated before.
    unsafe { command.pre_exec(confine) };
}
