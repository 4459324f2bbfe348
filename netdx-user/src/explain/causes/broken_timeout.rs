//! `broken.timeout`

use super::evidence::{life, told, undropped, user_timeout};
use crate::{
    coverage::Coverage,
    event::{TcpCounters, TcpState},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, nothing, phrase, seen},
    report::Certainty,
    story::Connection,
    time::Time,
};

pub(super) const CAUSE: Cause = Cause {
    code: "broken.timeout",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The other side stopped answering.

# What happened
The connection was up. Then data (or keepalive probes) got no acknowledgement any more, until a timer ran out: the limit of
retransmissions (`net.ipv4.tcp_retries2`, about 15 minutes), the keepalive's (`tcp_keepalive_*`, TCP_KEEPIDLE), or the
application's own TCP_USER_TIMEOUT. The other host is gone (crash, sleep, moved), or the way to it is.

# How netdx knows
The socket ended with ETIMEDOUT; the function that ended it tells which timer it was; nothing on this host dropped the
packets.

# What to do
Is the other host there? Did an address, a route, a VPN or a NAT entry change while the connection was up? `netdx check
HOST:PORT` tries the way.

# Easily confused with
firewall.dropped: a rule of this host began to drop it. broken.zero-window: the other side answers, and does not read.
broken.mtu: only large packets are lost.
";

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    let Some(end) = c.ending().filter(|_| c.established.is_some()) else { return Judgement::No };
    if end.new != TcpState::Close {
        return given_up(c, end.time, end.tcp);
    }
    if !matches!(end.error, errno::ETIMEDOUT | errno::EHOSTUNREACH | errno::ENETUNREACH) {
        return Judgement::No;
    }
    let by = |f: &str| end.stack.iter().any(|s| s == f);
    let keepalive =
        by("tcp_keepalive_timer") || c.resets_sent(false).any(|r| r.reason == Some("TCP_KEEPALIVE_TIMEOUT"));
    let n = c.retransmits().count();
    let timer = if keepalive {
        format!("{} without an answer", phrase::count(end.tcp.probes.max(1).into(), "keepalive probe"))
    } else if end.tcp.user_timeout_ms > 0 {
        user_timeout(end.tcp.user_timeout_ms)
    } else {
        format!(
            "no acknowledgement in spite of {}",
            phrase::count(n.max(end.tcp.retransmitted as usize), "retransmission")
        )
    };
    let peer = phrase::endpoint(c.tuple.remote, c.tuple.remote_port);
    let last = c
        .retransmits()
        .last()
        .map(|(t, ..)| seen(c, t, "retransmit", format!("{n} segments sent again, the last one here")));
    let (certainty, blind) = undropped(coverage, "drops of its packets on this host");
    Judgement::Yes(
        Finding::new(
            certainty,
            format!("{peer} stopped answering: {timer}, {}", life(c)),
            seen(c, end.time, "timer", format!("the kernel's timer gave up: {timer}")),
        )
        .and_all(last)
        .and_all(told(c))
        .and_all(blind)
        .advise(format!("is {} still there, and did the way to it change?", c.tuple.remote)),
    )
}

/// How often the same data was sent again in vain before silence is more than one loss. The kernel doubles the pause each
/// time, from 200 ms on (RFC 6298, TCP_RTO_MIN): together at least 0.6 s.
const SILENT: usize = 2;

/// The application closed the connection while its data was sent again and again.
fn given_up(c: &Connection, closed: Time, tcp: TcpCounters) -> Judgement {
    let sent: Vec<_> = c.retransmits().filter(|(_, _, result, ..)| result.is_none_or(|r| r == 0)).collect();
    let silent = tcp.idle_ms.is_none_or(|ms| ms >= 500) && !c.is_dropped();
    let (Some(first), Some(last)) = (sent.first(), sent.last()) else { return Judgement::No };
    if sent.len() < SILENT || !silent || tcp.unacknowledged == 0 || c.icmp_errors().next().is_some() {
        return Judgement::No;
    }
    let peer = phrase::endpoint(c.tuple.remote, c.tuple.remote_port);
    let waiting = phrase::bytes(tcp.unacknowledged.into());
    let again = phrase::count(sent.len(), "retransmission");
    Judgement::Yes(
        Finding::new(
            Certainty::Likely,
            format!(
                "{peer} stopped answering: no acknowledgement in spite of {again}, until the application closed the connection {}",
                life(c)
            ),
            seen(c, first.0, "retransmit", format!("{} bytes sent again", first.3)),
        )
        .and(seen(c, last.0, "retransmit", format!("{again} in all, the last one here")))
        .and(seen(c, closed, "closed", format!("the application closed it with {waiting} unacknowledged")))
        .advise(format!("is {} still there, and did the way to it change?", c.tuple.remote)),
    )
}
