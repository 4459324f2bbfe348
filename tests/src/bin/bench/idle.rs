//! Programs that do nothing at the hooks that netdx has when connections and lookups fail, as many at each as netdx has there.
//! Owns: which those are. Must not know: what is measured.

use netdx_tests::bpf::{Hook, Idle};
use std::{ffi::CStr, io, thread, time::Duration};

/// What it says when all of them are attached.
pub(crate) const READY: &str = "idle programs are attached";

/// The tracepoints of `netdx_user::live::probes`; those with a second program (`AGAIN`) stand here twice.
const TRACEPOINTS: [&CStr; 18] = [
    c"inet_sock_set_state",
    c"inet_sock_set_state",
    c"tcp_destroy_sock",
    c"inet_sk_error_report",
    c"inet_sk_error_report",
    c"tcp_receive_reset",
    c"tcp_send_reset",
    c"tcp_retransmit_skb",
    c"tcp_retransmit_synack",
    c"kfree_skb",
    c"netif_receive_skb",
    c"neigh_timer_handler",
    c"fib_table_lookup",
    c"fib6_table_lookup",
    c"sock_send_length",
    c"sock_recv_length",
    c"icmp_send",
    c"sched_process_exit",
];

const CALLS: [&str; 4] = ["connect", "bind", "socket", "listen"];

const ROOT: [Hook; 4] = [Hook::Connect4, Hook::Connect6, Hook::Egress, Hook::Ingress];

/// Attaches them, or one at each of these tracepoints of calls only; says so, and waits for an interrupt.
pub(crate) fn main(calls: &[String]) -> io::Result<()> {
    let mut programs: Vec<Idle> = calls.iter().map(|call| Idle::at_call(call)).collect::<io::Result<_>>()?;
    if calls.is_empty() {
        programs = everywhere()?;
    }
    println!("{READY}: {}", programs.len());
    loop {
        thread::sleep(Duration::MAX);
    }
}

fn everywhere() -> io::Result<Vec<Idle>> {
    let mut programs = Vec::new();
    for tracepoint in TRACEPOINTS {
        programs.extend(optional(Idle::at(tracepoint))?);
    }
    for call in CALLS {
        for way in ["enter", "exit"] {
            programs.push(Idle::at_call(&format!("sys_{way}_{call}"))?);
        }
    }
    for hook in ROOT {
        programs.push(Idle::at_root(hook)?);
    }
    Ok(programs)
}

/// Without what this kernel lacks netdx goes on, too.
fn optional(program: io::Result<Idle>) -> io::Result<Option<Idle>> {
    match program {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        program => program.map(Some),
    }
}
