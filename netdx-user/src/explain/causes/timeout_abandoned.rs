//! `timeout.abandoned`

use super::evidence::{anything_came_back, begun_before, syns};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing, phrase, seen},
    report::{Certainty, Outcome},
    story::Connection,
};
use std::time::Duration;

pub(super) const CAUSE: Cause = Cause {
    code: "timeout.abandoned",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &[],
    tells: Tells::Failure,
};

/// The kernel sends a SYN again after this (`TCP_TIMEOUT_INIT`, RFC 6298 §2.1), doubling each time.
const FIRST_RETRANSMISSION: Duration = Duration::from_secs(1);

const PAGE: &str = "\
The application gave up before anything could be known.

# What happened
The application closed the socket (its own time-out, an abort, its end) while the first packet was still waiting for an
answer, and before the kernel would have sent it a second time. One lost packet looks the same as a slow or a dead host.

# How netdx knows
The socket was closed in state SYN_SENT without an error, by the application and not by the kernel's timer; only one SYN
had been sent, and nothing had come back.

# What to do
Give the connection more time: the kernel repeats a SYN after 1 s. If the application's time-out is right, look at the
round-trip time and at the load of the other side.

# Easily confused with
timeout.silent: several SYNs stayed unanswered. dualstack.fallback: the other IP family was faster and this attempt was no
longer needed.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if c.outcome != Outcome::Abandoned || !c.tried() || c.established.is_some() || anything_came_back(c) {
        return Judgement::No;
    }
    let (n, _) = syns(c);
    if n > 1 {
        return Judgement::No;
    }
    if let Some(why) = begun_before(c) {
        return Judgement::CannotTell(why);
    }
    if c.resets_sent(true).next().is_some() {
        return Judgement::CannotTell(
            "a TCP of this host answered with a reset, and what came of it was not seen".into(),
        );
    }
    let ended = c.ended.unwrap_or(c.began);
    let elapsed = phrase::duration(c.elapsed());
    let closed = match c.closed_by_end() {
        Some((_, status)) => crate::explain::exit_status(status),
        // Nobody gave up: the recording or the run ended first.
        None if c.ending().is_none() => {
            return Judgement::CannotTell(format!(
                "netdx stopped watching {elapsed} after the SYN, which had no answer yet"
            ));
        }
        None => "the application closed the socket".into(),
    };
    let because = format!(
        "{closed} {elapsed} after the only SYN, which had no answer yet (the kernel sends it again after {})",
        phrase::duration(FIRST_RETRANSMISSION)
    );
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, seen(c, c.began, "syn-sent", "SYN sent"))
            .and(seen(c, ended, "closed", format!("{closed} in state SYN_SENT, without an error")))
            .advise(advice(c)),
    )
}

fn advice(c: &Connection) -> String {
    if let Some((other, _)) = c.fell_back_to {
        let remote = c.tuple.remote;
        return format!(
            "mend the way to {remote}, or don't publish that address (AAAA): the program went on to {other}"
        );
    }
    let time = "allow more time to connect than one second: a single lost packet costs that much";
    match &c.name {
        Some(name) => {
            format!("{time}; if the program went on to another address of {name}, look at the way to this one")
        }
        None => time.into(),
    }
}
