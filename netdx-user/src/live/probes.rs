//! The probe table: for each fact that netdx observes, the hooks that tell it, best first.
//!
//! Owns: which program goes where, when it is attached, and what is lost without it.
//! Must not know: how programs are loaded, or what is concluded from them. Programs and their names are described in
//! `netdx_common::config`. No fact is needed by itself: what can't be attached is coverage.

use super::sys::AttachType;

/// One thing to observe.
#[derive(Debug)]
pub struct Fact {
    /// Stable name (see `coverage::Probe::name`).
    pub name: &'static str,
    /// What it tells, and so what is lost without it: one line for the user.
    pub gives: &'static str,
    /// When it is attached.
    pub when: When,
    /// What has to be attached; all of it, each by the first of its hooks that works.
    pub parts: &'static [&'static [Hook]],
    /// Verdicts that are weaker or impossible without it.
    pub verdicts: &'static [&'static str],
}

/// When a fact is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Unless syscall tracepoints are left out: they cost every syscall of the machine about 75 ns.
    Syscalls,
    /// When lookups are asked for.
    Dns,
    /// When only a process tree is followed.
    Tree,
}

/// Where a program goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// A tracepoint with typed arguments; the program has its name. Needs the kernel's BTF.
    BtfTracepoint(&'static str),
    /// The same without types; the program is `NAME_raw`.
    RawTracepoint(&'static str),
    /// Entry of a kernel function (fentry) whose arguments are those of a tracepoint; the program is the tracepoint's.
    FunctionEntry(&'static str, &'static Function),
    /// Its return (fexit); the program by its name.
    FunctionReturn(&'static str, &'static Function),
    /// The entry of the same kind of function by a breakpoint (kprobe); the program is `NAME_kprobe`.
    Kprobe(&'static str, &'static Function),
    /// Entry of a system call, `syscalls/NAME`, by its id in tracefs; the program has its name.
    SyscallEntry(&'static str),
    /// Its return; the program is `sys_exit`.
    SyscallExit(&'static str),
    /// The root of the v2 cgroup hierarchy.
    Cgroup(&'static str, AttachType),
    /// Entry of a function of every C library.
    LibcEntry(&'static str, &'static str, Uprobe),
    /// Its return.
    LibcReturn(&'static str, &'static str, Uprobe),
}

/// How a program gets to a function of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uprobe {
    /// By a link of its own kind, from 6.6.
    Link,
    /// By a perf event.
    Perf,
}

/// A kernel function, as netdx knows it: one of another signature is left alone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its parameters, qualifiers left out.
    pub parameters: &'static [&'static str],
}

/// net/core/sock.c
const SOCK_DEF_ERROR_REPORT: Function = Function { name: "sock_def_error_report", parameters: &["struct sock*"] };

/// net/ipv4/icmp.c
const ICMP_SEND: Function =
    Function { name: "__icmp_send", parameters: &["struct sk_buff*", "int", "int", "__be32", "struct ip_options*"] };

/// net/ipv4/af_inet.c and net/ipv6/af_inet6.c
const SENDMSG: [Function; 2] = {
    const PARAMETERS: &[&str] = &["struct socket*", "struct msghdr*", "size_t"];
    [
        Function { name: "inet_sendmsg", parameters: PARAMETERS },
        Function { name: "inet6_sendmsg", parameters: PARAMETERS },
    ]
};

/// The same files.
const RECVMSG: [Function; 2] = {
    const PARAMETERS: &[&str] = &["struct socket*", "struct msghdr*", "size_t", "int"];
    [
        Function { name: "inet_recvmsg", parameters: PARAMETERS },
        Function { name: "inet6_recvmsg", parameters: PARAMETERS },
    ]
};

/// kernel/bpf/task_iter.c
pub(super) const WALK: Function =
    Function { name: "bpf_iter_task", parameters: &["struct bpf_iter_meta*", "struct task_struct*"] };

/// The functions whose BTF ids the loader needs: those of the table, the walk's, and [`FAULTABLE`].
pub const FUNCTIONS: [&Function; 8] =
    [&FAULTABLE, &SOCK_DEF_ERROR_REPORT, &ICMP_SEND, &SENDMSG[0], &SENDMSG[1], &RECVMSG[0], &RECVMSG[1], &WALK];

/// The kernel runs programs on system calls so that tasks can interrupt them, and those on other tracepoints as well:
/// kernel/trace/bpf_trace.c, 7.2.
pub(super) const FAULTABLE: Function =
    Function { name: "trace_call_bpf_faultable", parameters: &["struct trace_event_call*", "void*"] };

/// The hooks whose programs are interrupted by what they are there for: each has a second program, `NAME_again`.
pub(super) const AGAIN: &[Hook] =
    &[Hook::BtfTracepoint("inet_sock_set_state"), Hook::BtfTracepoint("inet_sk_error_report")];

/// The same where tasks can interrupt programs. Elsewhere it happens to them once in some 50,000 events, with packets steered
/// from one busy CPU to another, and for that alone a second program at each is too much.
pub(super) const AGAIN_IN_TASKS: &[Hook] = &[
    Hook::BtfTracepoint("tcp_receive_reset"),
    Hook::BtfTracepoint("tcp_send_reset"),
    Hook::BtfTracepoint("kfree_skb"),
    Hook::BtfTracepoint("sock_send_length"),
    Hook::BtfTracepoint("sock_recv_length"),
    Hook::BtfTracepoint("sched_process_exit"),
];

/// The same of system calls.
pub(super) const AGAIN_IN_CALLS: &[Hook] = &[
    Hook::SyscallEntry("sys_enter_connect"),
    Hook::SyscallExit("sys_exit_connect"),
    Hook::SyscallEntry("sys_enter_bind"),
    Hook::SyscallExit("sys_exit_bind"),
    Hook::SyscallEntry("sys_enter_socket"),
    Hook::SyscallExit("sys_exit_socket"),
    Hook::SyscallEntry("sys_enter_listen"),
    Hook::SyscallExit("sys_exit_listen"),
];

/// Whether what a program misses can make a verdict wrong. What routing tables answered only adds to a failed call, and the
/// ends of sockets and processes only let the programs forget.
#[must_use]
pub(super) fn matters(program: &str) -> bool {
    !["fib_table_lookup", "fib6_table_lookup", "tcp_destroy_sock", "sched_process_exit"]
        .iter()
        .any(|name| program.starts_with(name))
}

impl Hook {
    /// The program's name in the object.
    #[must_use]
    pub fn program(self) -> String {
        match self {
            Hook::RawTracepoint(name) => format!("{name}_raw"),
            Hook::SyscallExit(_) => "sys_exit".to_owned(),
            Hook::Kprobe(name, _) => format!("{name}_kprobe"),
            Hook::BtfTracepoint(name)
            | Hook::FunctionEntry(name, _)
            | Hook::FunctionReturn(name, _)
            | Hook::SyscallEntry(name)
            | Hook::Cgroup(name, _)
            | Hook::LibcEntry(name, ..)
            | Hook::LibcReturn(name, ..) => name.to_owned(),
        }
    }
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hook::BtfTracepoint(name) => write!(f, "tp_btf/{name}"),
            Hook::RawTracepoint(name) => write!(f, "raw_tp/{name}"),
            Hook::FunctionEntry(_, function) => write!(f, "fentry/{}", function.name),
            Hook::FunctionReturn(_, function) => write!(f, "fexit/{}", function.name),
            Hook::Kprobe(_, function) => write!(f, "kprobe/{}", function.name),
            Hook::SyscallEntry(name) | Hook::SyscallExit(name) => write!(f, "tracepoint/syscalls/{name}"),
            Hook::Cgroup(_, AttachType::Connect4) => write!(f, "cgroup/connect4"),
            Hook::Cgroup(_, AttachType::Connect6) => write!(f, "cgroup/connect6"),
            Hook::Cgroup(_, AttachType::CgroupEgress) => write!(f, "cgroup_skb/egress"),
            Hook::Cgroup(..) => write!(f, "cgroup_skb/ingress"),
            Hook::LibcEntry(_, function, Uprobe::Link) => write!(f, "uprobe.multi/libc:{function}"),
            Hook::LibcReturn(_, function, Uprobe::Link) => write!(f, "uretprobe.multi/libc:{function}"),
            Hook::LibcEntry(_, function, Uprobe::Perf) => write!(f, "uprobe/libc:{function}"),
            Hook::LibcReturn(_, function, Uprobe::Perf) => write!(f, "uretprobe/libc:{function}"),
        }
    }
}

macro_rules! tracepoint {
    ($($name:literal),+) => { &[$(&[Hook::BtfTracepoint($name), Hook::RawTracepoint($name)]),+] };
}

/// A tracepoint that older kernels lack, or the entry of a function that they have.
macro_rules! tracepoint_or_entry {
    ($name:literal, $function:ident) => {
        &[&[
            Hook::BtfTracepoint($name),
            Hook::RawTracepoint($name),
            Hook::FunctionEntry($name, &$function),
            Hook::Kprobe($name, &$function),
        ]]
    };
}

/// The same with the return of a function.
macro_rules! tracepoint_or_return {
    ($($name:literal, $program:literal, $function:expr;)+) => {
        &[$(&[
            Hook::BtfTracepoint($name),
            Hook::RawTracepoint($name),
            Hook::FunctionReturn($program, &$function),
        ]),+]
    };
}

macro_rules! syscall {
    ($call:literal) => {
        &[&[Hook::SyscallEntry(concat!("sys_enter_", $call))], &[Hook::SyscallExit(concat!("sys_exit_", $call))]]
    };
}

/// The facts with which a story can begin: without one of them there is nothing to report.
pub const STORIES: &[&str] = &["tcp-state", "connect-call", "socket-error", "dns-out", "getaddrinfo"];

/// The table.
pub const FACTS: &[Fact] = &[
    Fact {
        name: "tcp-state",
        gives: "TCP connection attempts and how each ended",
        when: When::Always,
        parts: tracepoint!["inet_sock_set_state", "tcp_destroy_sock"],
        verdicts: &["refused.*", "timeout.*", "broken.*"],
    },
    Fact {
        name: "socket-error",
        gives: "errors reported to a socket, and the ICMP error behind them (UDP needs it)",
        when: When::Always,
        parts: tracepoint_or_entry!["inet_sk_error_report", SOCK_DEF_ERROR_REPORT],
        verdicts: &["route.icmp-unreachable", "firewall.rejected", "dns.server-unreachable"],
    },
    Fact {
        name: "reset-received",
        gives: "resets that came in",
        when: When::Always,
        parts: tracepoint!["tcp_receive_reset"],
        verdicts: &["refused.remote", "broken.reset-by-peer"],
    },
    Fact {
        name: "reset-sent",
        gives: "resets that this kernel sent, and why",
        when: When::Always,
        parts: tracepoint!["tcp_send_reset"],
        verdicts: &["refused.no-listener", "refused.queue-full", "broken.reset-by-us"],
    },
    Fact {
        name: "retransmit",
        gives: "segments sent again, and whether they left",
        when: When::Always,
        parts: tracepoint!["tcp_retransmit_skb"],
        verdicts: &["timeout.silent", "broken.timeout", "broken.mtu"],
    },
    Fact {
        name: "synack-retransmit",
        gives: "answers of a listener sent again",
        when: When::Always,
        parts: tracepoint!["tcp_retransmit_synack"],
        verdicts: &["timeout.queue-full"],
    },
    Fact {
        name: "drop",
        gives: "packets dropped in this kernel: where and why",
        when: When::Always,
        parts: tracepoint!["kfree_skb"],
        verdicts: &[
            "firewall.dropped",
            "route.reverse-path",
            "timeout.conntrack",
            "timeout.dropped",
            "local.queue-drop",
        ],
    },
    Fact {
        name: "icmp",
        gives: "ICMP errors that came in, whoever they were for",
        when: When::Always,
        parts: tracepoint!["netif_receive_skb"],
        verdicts: &["route.icmp-unreachable", "route.ttl-exceeded", "broken.mtu"],
    },
    Fact {
        name: "icmp-sent",
        gives: "ICMP errors that this kernel sent",
        when: When::Always,
        parts: tracepoint_or_entry!["icmp_send", ICMP_SEND],
        verdicts: &["firewall.rejected", "route.rejects"],
    },
    Fact {
        name: "neighbor",
        gives: "neighbours that did not answer ARP or neighbour discovery",
        when: When::Always,
        parts: tracepoint!["neigh_timer_handler"],
        verdicts: &["route.neighbor-silent"],
    },
    Fact {
        name: "route4",
        gives: "what IPv4 route lookups said",
        when: When::Always,
        parts: tracepoint!["fib_table_lookup"],
        verdicts: &["route.none", "route.rejects"],
    },
    Fact {
        name: "route6",
        gives: "what IPv6 route lookups said",
        when: When::Always,
        parts: tracepoint!["fib6_table_lookup"],
        verdicts: &["route.none", "route.rejects"],
    },
    Fact {
        name: "connect-call",
        gives: "what connect(2) answered: failures before any packet",
        when: When::Syscalls,
        parts: syscall!("connect"),
        verdicts: &["route.none", "route.rejects", "denied.*", "local.*"],
    },
    Fact {
        name: "bind-call",
        gives: "what bind(2) answered",
        when: When::Syscalls,
        parts: syscall!("bind"),
        verdicts: &["local.bad-source", "local.address-in-use", "local.ports-exhausted"],
    },
    Fact {
        name: "socket-call",
        gives: "what socket(2) answered",
        when: When::Syscalls,
        parts: syscall!("socket"),
        verdicts: &["local.no-family", "local.resources", "denied.*"],
    },
    Fact {
        name: "listen-call",
        gives: "what listen(2) answered",
        when: When::Syscalls,
        parts: syscall!("listen"),
        verdicts: &["local.address-in-use"],
    },
    Fact {
        name: "send-receive",
        gives: "sends and receives that failed",
        when: When::Always,
        parts: tracepoint_or_return![
            "sock_send_length", "inet_sendmsg", SENDMSG[0];
            "sock_send_length", "inet_sendmsg", SENDMSG[1];
            "sock_recv_length", "inet_recvmsg", RECVMSG[0];
            "sock_recv_length", "inet_recvmsg", RECVMSG[1];
        ],
        verdicts: &["local.message-size", "dns.server-unreachable"],
    },
    Fact {
        name: "io-uring",
        gives: "connects made through io_uring",
        when: When::Always,
        parts: tracepoint!["io_uring_submit_req", "io_uring_complete"],
        verdicts: &["route.none", "route.rejects"],
    },
    Fact {
        name: "dns-out",
        gives: "DNS queries and who asked",
        when: When::Dns,
        parts: &[&[Hook::Cgroup("cgroup_egress", AttachType::CgroupEgress)]],
        verdicts: &["dns.*"],
    },
    Fact {
        name: "dns-in",
        gives: "DNS answers",
        when: When::Dns,
        parts: &[&[Hook::Cgroup("cgroup_ingress", AttachType::CgroupIngress)]],
        verdicts: &["dns.*"],
    },
    Fact {
        name: "listen-overflow",
        gives: "connection requests that met a full accept queue",
        when: When::Always,
        parts: &[&[Hook::Cgroup("cgroup_ingress", AttachType::CgroupIngress)]],
        verdicts: &["timeout.queue-full"],
    },
    Fact {
        name: "cgroup-connect",
        gives: "whether a connect that was denied got as far as the cgroup's programs",
        when: When::Always,
        parts: &[&[Hook::Cgroup("connect4", AttachType::Connect4)], &[Hook::Cgroup("connect6", AttachType::Connect6)]],
        verdicts: &["denied.bpf", "denied.policy"],
    },
    Fact {
        name: "process-exit",
        gives: "processes that ended",
        when: When::Always,
        parts: tracepoint!["sched_process_exit"],
        verdicts: &["broken.reset-by-us"],
    },
    Fact {
        name: "process-tree",
        gives: "children of the command that is followed",
        when: When::Tree,
        parts: tracepoint!["sched_process_fork"],
        verdicts: &[],
    },
    Fact {
        name: "getaddrinfo",
        gives: "lookups that failed without a packet, and the port a lookup was for",
        when: When::Dns,
        parts: &[
            &[
                Hook::LibcEntry("getaddrinfo_enter", "getaddrinfo", Uprobe::Link),
                Hook::LibcEntry("getaddrinfo_enter", "getaddrinfo", Uprobe::Perf),
            ],
            &[
                Hook::LibcReturn("getaddrinfo_return", "getaddrinfo", Uprobe::Link),
                Hook::LibcReturn("getaddrinfo_return", "getaddrinfo", Uprobe::Perf),
            ],
        ],
        verdicts: &["dns.lookup-failed", "dns.hosts-override"],
    },
];

/// The tracepoints of the table, whose BTF ids the loader needs.
#[must_use]
pub fn tracepoints() -> Vec<&'static str> {
    let hooks = FACTS.iter().flat_map(|f| f.parts).flat_map(|p| *p);
    hooks.filter_map(|h| if let Hook::BtfTracepoint(name) = h { Some(*name) } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn stories_begin_with_facts_of_the_table() {
        assert!(STORIES.iter().all(|name| FACTS.iter().any(|f| f.name == *name)));
    }

    #[test]
    fn facts_have_one_name_each_and_say_what_they_give() {
        let names: HashSet<_> = FACTS.iter().map(|f| f.name).collect();
        assert_eq!(names.len(), FACTS.len());
        assert!(
            FACTS.iter().all(|f| !f.gives.is_empty() && !f.parts.is_empty() && f.parts.iter().all(|p| !p.is_empty()))
        );
    }
}
