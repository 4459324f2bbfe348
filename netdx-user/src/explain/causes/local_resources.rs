//! `local.resources`

use super::evidence::{call_proof, told};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, nothing},
    fact::Answer,
    report::Certainty,
    story::Connection,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "local.resources",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
This host or this process ran out of something.

# What happened
A socket needs a file descriptor and memory. The process is at its limit of open files (EMFILE), the host at its own
(ENFILE), or there is no memory for it (ENOMEM, ENOBUFS; ENFILE as well): the host's, or its control group's limit.

# How netdx knows
The call returned that errno; the open files of the process and of the host, and their limits, were read right after: they
tell the two meanings of ENFILE apart. ENOBUFS of a datagram also comes from a full queue, where the drop is seen.

# What to do
EMFILE: look for descriptors that are never closed (`ls /proc/PID/fd`), or raise the limit (`ulimit -n`, LimitNOFILE=).
ENFILE: fs.file-max. ENOBUFS, ENOMEM: net.ipv4.tcp_mem, the control group's memory limit.

# Easily confused with
local.ports-exhausted: it is ports that are out. local.queue-drop: an interface's queue is full.
";

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    let Some(call) = c.failed_call() else { return Judgement::No };
    let process = c.task.as_ref().and_then(|t| match c.facts.get(&Want::Process { pid: t.pid }) {
        Some(Answer::Process(Some(p))) => Some(p.as_ref()),
        _ => None,
    });
    let of = |files: Option<(u64, u64)>| files.map(|(n, limit)| format!(": {n} of {limit}")).unwrap_or_default();
    let own = process.and_then(|p| p.files);
    let all = process.and_then(|p| p.all_files);
    // A packet that a queue took no more (net_xmit_errno) would have been seen dropped.
    let no_buffer = c.is_tcp() || coverage.has("drop") && c.lost == 0 && c.drops().next().is_none();
    let (because, certainty, limits, advice) = match call.errno {
        errno::EMFILE => (
            format!("the process has reached its limit of open files{}", of(own)),
            Certainty::Proven,
            own,
            "look for descriptors that are never closed, or raise the limit (ulimit -n, LimitNOFILE=)",
        ),
        // The kernel says so as well when it has no memory for the socket's inode (__sock_create, 6.18).
        errno::ENFILE if all.is_some_and(|(open, limit)| open < limit) => (
            format!(
                "there was no memory for another socket (open files of this host{}, so it is not their limit)",
                of(all)
            ),
            Certainty::Likely,
            all,
            MEMORY,
        ),
        errno::ENFILE => (
            format!("this host has reached its limit of open files (fs.file-max){}", of(all)),
            if all.is_some() { Certainty::Proven } else { Certainty::Likely },
            all,
            "look for what keeps so many files open, or raise fs.file-max",
        ),
        errno::ENOMEM => ("there was no memory for it".to_owned(), Certainty::Proven, None, MEMORY),
        errno::ENOBUFS if c.is_tcp() => {
            ("there was no buffer memory for it".to_owned(), Certainty::Proven, None, MEMORY)
        }
        errno::ENOBUFS if no_buffer => {
            ("there was no memory for the packet, and no queue dropped it".to_owned(), Certainty::Likely, None, MEMORY)
        }
        _ => return Judgement::No,
    };
    Judgement::Yes(
        Finding::new(certainty, because, call_proof(c, &call))
            .and_all(limits.map(|(open, limit)| fact("limits", format!("open files: {open} of {limit}"))))
            .and_all(told(c))
            .advise(advice),
    )
}

const MEMORY: &str = "look at the memory limit of its control group (memory.max, memory.events), at net.ipv4.tcp_mem and udp_mem, and at \
                      the host's free memory";
