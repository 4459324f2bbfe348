//! `timeout.queue-full`

use super::evidence::{
    listener, no_way_back, target_here, target_want, the_listener, told, vanished_at, way_back_want, who_listens,
    who_listens_want,
};
use crate::{
    coverage::Coverage,
    event::Netns,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, phrase, seen},
    fact::Answer,
    report::{Certainty, Evidence},
    story::Connection,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "timeout.queue-full",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.silent", "timeout.dropped", "timeout.abandoned", "broken.timeout"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The server does not take its connections: its queue is full.

# What happened
The kernel sets connections up by itself and keeps them in the listener's accept queue until the program takes them
(accept). The program is busy, stuck or overloaded, the queue is at its limit, and the kernel drops new packets in the hope
that there is room later. The client's SYN stays unanswered, or the connection looks established and nothing happens on it.

# How netdx knows
The SYN was seen reaching a listener whose queue was over its limit, or the handshake's last packet was dropped for that
reason (TCP_LISTEN_OVERFLOW, or a SYN cookie that found no room). It is likely where the SYN stays unanswered and the
listener's queue, read right after, is over its limit, or as many connections are half open as may be while SYN cookies are
off (`net.ipv4.tcp_syncookies`). That listeners there have dropped SYNs at any time (ListenDrops) makes it possible, no more,
and only where netdx would not have seen it.

# What to do
Find out why the owner does not accept: out of workers, threads or file descriptors, stopped in a debugger, deadlocked.
`netdx listeners PORT` shows fill and limit. A longer backlog (listen(2), net.core.somaxconn) only helps against bursts.
Half-open connections that nobody completes are a SYN flood, or answers that get lost: switch SYN cookies on.

# Easily confused with
timeout.silent: the packets are lost elsewhere. refused.queue-full: the same, with tcp_abort_on_overflow.
";

fn suspicious(c: &Connection) -> bool {
    c.is_tcp()
        && c.reset_in_handshake().is_none()
        && (c.established.is_none() && c.tried() || c.overflow().is_some() || overflow_drop(c).is_some())
}

fn overflow_drop(c: &Connection) -> Option<(Netns, Evidence)> {
    let d = c.drops().find(|d| {
        d.ours
            && (d.reason == "TCP_LISTEN_OVERFLOW"
                || d.reason == "NO_SOCKET" && (d.by("cookie_v4_check") || d.by("cookie_v6_check")))
    })?;
    let netns = d.netns()?;
    let at = phrase::namespace(&c.facts, netns, c.netns);
    Some((
        netns,
        seen(
            c,
            d.time,
            "drop",
            format!("{} dropped in {at}: the listener's accept queue is full", phrase::packet(d.packet)),
        ),
    ))
}

fn wants(c: &Connection) -> Vec<Want> {
    if !suspicious(c) {
        return Vec::new();
    }
    let mut wants = who_listens_want(c);
    wants.push(target_want(c));
    if let Some(all) = target_here(c) {
        wants.extend(all.iter().map(|n| Want::Counters { netns: *n }));
        wants.extend(vanished_at(c).into_iter().flat_map(|n| half_open_wants(c, n)));
        wants.extend(all.iter().filter(|n| **n != c.netns).map(|n| Want::Namespace { netns: *n }));
    }
    wants.extend(vanished_at(c).into_iter().map(|n| way_back_want(c, n)));
    wants
}

/// The questions for the queue of half-open connections of the listener that was asked.
fn half_open_wants(c: &Connection, netns: Netns) -> [Want; 3] {
    let sysctl = |key: &str| Want::Sysctl { netns, key: key.into() };
    [Want::HalfOpen { netns, port: c.reached().remote_port }, sysctl(COOKIES), sysctl(MOST_HALF_OPEN)]
}

const COOKIES: &str = "ipv4/tcp_syncookies";
const MOST_HALF_OPEN: &str = "ipv4/tcp_max_syn_backlog";

fn sysctl(c: &Connection, netns: Netns, key: &str) -> Option<u64> {
    match c.facts.get(&Want::Sysctl { netns, key: key.into() }) {
        Some(Answer::Sysctl(value)) => value.parse().ok(),
        _ => None,
    }
}

/// How many connections of the listener's port are half open, where that is too many for another one: SYN cookies are off
/// (with them a full queue drops nothing), and it is as many as its backlog, or so many that what is left of
/// tcp_max_syn_backlog is for known peers only (tcp_conn_request, inet_csk_reqsk_queue_is_full; 6.18).
fn too_many_half_open(c: &Connection, netns: Netns, backlog: u32) -> Option<u64> {
    let Some(Answer::HalfOpen(now)) = c.facts.get(&Want::HalfOpen { netns, port: c.reached().remote_port }) else {
        return None;
    };
    if sysctl(c, netns, COOKIES)? != 0 {
        return None;
    }
    let too_many = |most: u64| most.saturating_sub(*now) < most / 4;
    (*now >= u64::from(backlog.max(1)) || sysctl(c, netns, MOST_HALF_OPEN).is_some_and(too_many)).then_some(*now)
}

/// The listener there may have dropped the SYN without a trace: it has done so at some time, and this time it would not have
/// been seen. How often.
pub(super) fn may_have_dropped(c: &Connection, coverage: &Coverage, netns: Netns) -> Option<u64> {
    let seen = coverage.has("listen-overflow") && c.lost == 0;
    if seen && sysctl(c, netns, COOKIES).is_some_and(|on| on != 0) {
        return None;
    }
    match c.facts.get(&Want::Counters { netns }) {
        Some(Answer::Counters(all)) => all.iter().find(|(n, v)| n == "TcpExt.ListenDrops" && *v > 0).map(|(_, v)| *v),
        _ => None,
    }
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    if !suspicious(c) {
        return Judgement::No;
    }
    let seen_full = c.overflow().map(|(t, l)| {
        (
            l.netns,
            seen(
                c,
                t,
                "listen-overflow",
                format!("the SYN reached a listener whose accept queue held {} of {}", l.backlog, l.max_backlog),
            ),
        )
    });
    if let Some((netns, proof)) = seen_full.or_else(|| overflow_drop(c)) {
        return full(c, netns, Certainty::Proven, TAKES_NONE, proof);
    }
    // A SYN that is dropped for a full queue leaves no trace of its own: only the queue itself tells.
    if no_way_back(c).is_some() {
        return Judgement::No;
    }
    // Which of several namespaces with that address the SYN went to can't be told.
    let target = match vanished_at(c)[..] {
        [one] => one,
        ref all if all.contains(&c.netns) => c.netns,
        _ => return Judgement::No,
    };
    let Some(l) = listener(c, target) else { return Judgement::No };
    if l.backlog > l.max_backlog {
        let proof = fact(
            "listener",
            format!("the accept queue of {} holds {} of {}", phrase::owners(&l.owners), l.backlog, l.max_backlog),
        );
        return full(c, target, Certainty::Likely, TAKES_NONE, proof);
    }
    if let Some(now) = too_many_half_open(c, target, l.max_backlog) {
        let why =
            "but its queue of half-open connections is full, and SYN cookies are off (net.ipv4.tcp_syncookies = 0)";
        let proof = fact("half-open", format!("{} to that port", phrase::count(now as usize, "half-open connection")));
        return full(c, target, Certainty::Likely, why, proof);
    }
    let Some(drops) = may_have_dropped(c, coverage, target) else { return Judgement::No };
    let proof = fact(
        "counters",
        format!(
            "listeners in that namespace have dropped {} since it was made (ListenDrops): when, the counter does not say",
            phrase::count(drops as usize, "SYN")
        ),
    );
    let why = "but the SYN stayed unanswered: its queue of half-open connections may have been full, or the SYN was lost on \
               the way (timeout.silent)";
    full(c, target, Certainty::Possible, why, proof)
}

const TAKES_NONE: &str = "but does not take its connections: its accept queue is full";

fn full(c: &Connection, netns: Netns, certainty: Certainty, why: &str, proof: Evidence) -> Judgement {
    let who = who_listens(c, netns).unwrap_or_else(|| "the listener".into());
    let at = phrase::endpoint(c.reached().remote, c.reached().remote_port);
    let one = the_listener(c, netns);
    let now = one.map(|l| (l.backlog, l.max_backlog));
    let fill = now.filter(|_| why == TAKES_NONE);
    let fill = fill.map(|(n, max)| format!(" (accept queue {n} of {max} now)")).unwrap_or_default();
    let place =
        if netns == c.netns { String::new() } else { format!(" in {}", phrase::namespace(&c.facts, netns, c.netns)) };
    let inside = &place;
    let because = format!("{who}{place} listens on {at} {why}{fill}");
    let rows = one.map(phrase::listener_row).into_iter().collect();
    Judgement::Yes(
        Finding::new(certainty, because, proof)
            .and_all(now.map(|(n, max)| fact("listener", format!("accept queue of {who}: {n} of {max}"))))
            .and_all(told(c))
            .advise(match certainty {
                Certainty::Possible => format!(
                    "look whether TcpExtListenDrops grows with each attempt (`nstat -az TcpExtListenDrops`{inside}): if so, \
                     switch SYN cookies on; if not, look for what loses the SYN on its way"
                ),
                _ if why == TAKES_NONE => format!(
                    "find out why {who} does not accept connections; a longer backlog only helps against bursts"
                ),
                _ => format!("switch SYN cookies on{inside} (sysctl -w net.ipv4.tcp_syncookies=1)"),
            })
            .with_listeners(rows),
    )
}
