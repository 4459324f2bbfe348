//! `broken.destroyed`

use super::evidence::{life, told};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, nothing, phrase, seen},
    report::Certainty,
    story::Connection,
};

pub(super) const CAUSE: Cause = Cause {
    code: "broken.destroyed",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &["broken.reset-by-us", "timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
Somebody destroyed the socket from outside.

# What happened
An administrator or a daemon asked the kernel to destroy the socket (SOCK_DESTROY: `ss -K`, Android's and some VPN and
failover daemons). The application gets ECONNABORTED, the other side a reset.

# How netdx knows
The socket ended with ECONNABORTED in the kernel's abort function, in the context of the process that asked for it.

# What to do
The process is named. Look why it does that: often a network change or an idle-connection reaper.

# Easily confused with
broken.reset-by-us: the application itself closed it. broken.reset-by-peer: the other side.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(end) = c.ending() else { return Judgement::No };
    let aborted = end.stack.iter().any(|f| f == "tcp_abort");
    if !(aborted || end.error == errno::ECONNABORTED) {
        return Judgement::No;
    }
    let by = end
        .current
        .filter(|t| c.task.as_ref().is_none_or(|own| own.pid != t.pid))
        .map_or_else(|| "a process".to_owned(), phrase::task);
    Judgement::Yes(
        Finding::new(
            if aborted { Certainty::Proven } else { Certainty::Likely },
            format!("{by} destroyed the socket (SOCK_DESTROY) {}", life(c)),
            seen(c, end.time, "destroyed", format!("the socket was aborted from outside, by {by}")),
        )
        .and_all(told(c))
        .advise(format!("look why {by} destroys sockets")),
    )
}
