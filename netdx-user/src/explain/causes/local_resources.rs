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
(ENFILE), or there is no memory for it (ENOMEM, ENOBUFS).

# How netdx knows
The call returned that errno; the process's open files and their limit were read right after.

# What to do
EMFILE: look for descriptors that are never closed (`ls /proc/PID/fd`), or raise the limit (`ulimit -n`, LimitNOFILE=).
ENFILE: fs.file-max. ENOBUFS, ENOMEM: net.ipv4.tcp_mem, the control group's memory limit.

# Easily confused with
local.ports-exhausted: it is ports that are out.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(call) = c.failed_call() else { return Judgement::No };
    let what = match call.errno {
        errno::EMFILE => "the process has reached its limit of open files",
        errno::ENFILE => "this host has reached its limit of open files (fs.file-max)",
        errno::ENOMEM => "there was no memory for it",
        errno::ENOBUFS if c.is_tcp() => "there was no buffer memory for it",
        _ => return Judgement::No,
    };
    let files = c.task.as_ref().and_then(|t| match c.facts.get(&Want::Process { pid: t.pid }) {
        Some(Answer::Process(Some(p))) => p.files,
        _ => None,
    });
    let because = match files {
        Some((open, limit)) if call.errno == errno::EMFILE => format!("{what}: {open} of {limit}"),
        _ => what.to_owned(),
    };
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, call_proof(c, &call))
            .and_all(files.map(|(open, limit)| fact("limits", format!("open files: {open} of {limit}"))))
            .and_all(told(c))
            .advise("look for what is never closed, or raise the limit"),
    )
}
