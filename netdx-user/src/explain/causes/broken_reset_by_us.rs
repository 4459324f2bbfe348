//! `broken.reset-by-us`

use super::{aborts, evidence::life};
use crate::{
    coverage::Coverage,
    event::Opened,
    explain::{Cause, Finding, Judgement, Rule, Tells, exit_status, nothing, phrase, seen},
    report::Certainty,
    story::Connection,
};

pub(super) const CAUSE: Cause = Cause {
    code: "broken.reset-by-us",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
This side broke the connection off.

# What happened
The application closed the connection with data still unread, or with SO_LINGER set to 0 or TCP_LINGER2 below 0; or it
disconnected its socket (connect with AF_UNSPEC), or closed a listener in whose queue the connection still waited to be
accepted; or its process ended so. The kernel then tells the other side by a reset instead of an orderly end; data under way
is lost.

# How netdx knows
The socket went from established to closed without an error in the application's own close, and this host's TCP sent a reset
for it, with the kernel's reason and the functions it came by. Where the program had connected, been told of no error, and
neither sent nor got anything, it tried out whether somebody listens (a load balancer's health check): that is no failure.

# What to do
Read all data before closing, or shut down in order (shutdown, then read to the end). Don't set SO_LINGER 0 to get rid of
TIME_WAIT. A server that is to stop first accepts what waits.

# Easily confused with
broken.reset-by-peer: the other side did it. broken.destroyed: an administrator's `ss -K`.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(established) = c.established else { return Judgement::No };
    if c.reset_received().is_some() {
        return Judgement::No;
    }
    let Some(end) = c.ending() else { return Judgement::No };
    if end.error != 0 {
        return Judgement::No;
    }
    let Some(reset) = c.resets_sent(false).find(|r| r.time >= established && r.packet.is_none()) else {
        return Judgement::No;
    };
    let abort = aborts::by_program(&reset);
    if abort.is_some() && is_probe(c) {
        return Judgement::No;
    }
    let how = match (&abort, reset.reason) {
        (Some(abort), _) => abort.did,
        (None, Some("TCP_ABORT_ON_MEMORY")) => "ran out of socket memory",
        (None, Some("TCP_KEEPALIVE_TIMEOUT")) => return Judgement::No,
        (None, _) => "aborted it",
    };
    let who = c.task.as_ref().or(end.current).map_or_else(|| "this side".to_owned(), phrase::task);
    let because = match c.closed_by_end() {
        Some((_, status)) => format!("{who} {how}, {}: {}", life(c), exit_status(status)),
        None if reset.by_its_end() => format!("{who} {how}, {}: the process ended", life(c)),
        None => format!("{who} {how}, {}", life(c)),
    };
    let reason = reset.reason.map(|r| format!(" ({r})")).unwrap_or_default();
    let finding = Finding::new(
        Certainty::Proven,
        because,
        seen(c, reset.time, "reset-sent", format!("RST sent for this socket{reason}")),
    )
    .and(seen(c, end.time, "closed", "closed without an error, by this side"))
    .and_all(c.closed_by_end().map(|(t, status)| seen(c, t, "process-exit", exit_status(status))));
    Judgement::Yes(match abort {
        Some(abort) => finding.advise(abort.instead),
        None => finding,
    })
}

/// It only tried out whether somebody listens, as load balancers do (HAProxy's `check`): it connected, was told of no error, and
/// closed before either side had sent anything. SO_LINGER 0 spares it TIME_WAIT.
fn is_probe(c: &Connection) -> bool {
    c.opened == Opened::Here && c.errno.is_none() && c.closed_by_end().is_none() && c.is_unused()
}
