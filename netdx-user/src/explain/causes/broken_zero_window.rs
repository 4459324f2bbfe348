//! `broken.zero-window`

use super::evidence::{life, told, user_timeout};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, nothing, phrase, seen},
    report::Certainty,
    story::Connection,
};

pub(super) const CAUSE: Cause = Cause {
    code: "broken.zero-window",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &["broken.timeout"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The other side stopped reading.

# What happened
The receiver tells how much more it can take (its window). Its program stopped reading, its buffer filled up, the window
went to zero, and it stayed so until a timer on this side ran out.

# How netdx knows
The socket ended with ETIMEDOUT by the timer that probes a closed window, with the peer's window at zero: its probes or the
time of TCP_USER_TIMEOUT had run out.

# What to do
Look at the program behind the other end: is it stuck, stopped, or slower than the data comes? `netdx conns` shows the
queues.

# Easily confused with
broken.timeout: the other side does not answer at all. A closed window is answered.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(end) = c.ending().filter(|_| c.established.is_some()) else { return Judgement::No };
    if end.error != errno::ETIMEDOUT || end.tcp.send_window != 0 || end.tcp.unacknowledged == 0 {
        return Judgement::No;
    }
    let by = |f: &str| end.stack.iter().any(|s| s == f);
    if by("tcp_keepalive_timer") || by("tcp_retransmit_timer") && c.retransmits().next().is_some() {
        return Judgement::No;
    }
    // TCP_USER_TIMEOUT ends it before so many probes as the sysctl allows were sent (tcp_probe_timer, 6.18).
    let timer = match end.tcp.user_timeout_ms {
        0 => {
            format!("the window probe timer gave up after {}", phrase::count(end.tcp.probes.into(), "probe"))
        }
        ms => user_timeout(ms),
    };
    let peer = phrase::endpoint(c.tuple.remote, c.tuple.remote_port);
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("{peer} stopped reading: its receive window stayed closed until {timer}, {}", life(c)),
            seen(c, end.time, "timer", format!("{timer}, the peer's window is 0")),
        )
        .and_all(told(c))
        .advise(format!("look why the program behind {peer} does not read")),
    )
}
