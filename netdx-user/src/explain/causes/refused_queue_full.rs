//! `refused.queue-full`

use super::evidence::{told, who_listens, who_listens_want};
use crate::{
    coverage::Coverage,
    event::TcpState,
    explain::{Cause, Finding, Judgement, Rule, Tells, phrase, seen},
    report::Certainty,
    story::{Connection, SentReset},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "refused.queue-full",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["broken.reset-by-peer", "timeout.queue-full", "refused.no-listener", "timeout.dropped"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The server's queue of new connections is full, and it is set to refuse.

# What happened
Connections that are set up wait in the listener's accept queue until the program takes them. The queue was full, and this
host is set (`net.ipv4.tcp_abort_on_overflow`) to answer with a reset then. The client saw the connection established and
reset at once.

# How netdx knows
The reset was seen being sent by a listening socket of this host, with its queue at the limit.

# What to do
Make the server accept faster, or give it a longer queue (the backlog of listen(2), `net.core.somaxconn`). Look why it
doesn't accept: `netdx listeners PORT` shows the fill.

# Easily confused with
refused.no-listener: there is no socket at all. timeout.queue-full: the same without the setting: the packet is dropped.
";

fn reset_by_listener(c: &Connection) -> Option<SentReset<'_>> {
    let mut all = c.resets_sent(true);
    all.find(|r| {
        r.sock.is_some_and(|s| s.state == TcpState::Listen)
            && r.reason.is_none_or(|n| n == "INVALID_SYN" || n == "TCP_ABORT_ON_OVERFLOW")
    })
}

fn overflowed(c: &Connection) -> bool {
    c.drops().any(|d| d.reason == "TCP_LISTEN_OVERFLOW")
}

fn wants(c: &Connection) -> Vec<Want> {
    if reset_by_listener(c).is_some() { who_listens_want(c) } else { Vec::new() }
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(reset) = reset_by_listener(c) else { return Judgement::No };
    let Some(sock) = reset.sock else { return Judgement::No };
    let full = sock.max_backlog > 0 && sock.backlog > sock.max_backlog || overflowed(c);
    if !full {
        return Judgement::No;
    }
    let who = who_listens(c, sock.netns).unwrap_or_else(|| "the listener".into());
    let because = format!(
        "the accept queue of {who} is full ({} of {}), and tcp_abort_on_overflow makes this host refuse",
        sock.backlog, sock.max_backlog
    );
    let at = phrase::namespace(&c.facts, sock.netns, c.netns);
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            because,
            seen(c, reset.time, "reset-sent", format!("RST sent by the listening socket in {at}")),
        )
        .and_all(told(c))
        .advise("have the server accept faster, or give it a longer queue (listen backlog, net.core.somaxconn)"),
    )
}
