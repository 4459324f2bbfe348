//! A connection on its way for whose packets this host has no route any more: what several causes share. Owns: how it is seen.
//! Why there is none (the source address, a route, an interface is gone, a route forbids it) is for the causes to say.
//!
//! TCP looks for a new route when the one it has is out of date (`inet_sk_rebuild_header`, `__ip_queue_xmit`,
//! `inet6_csk_xmit`, 6.18). Without one nothing is sent, the application is not told, and the timers run out as they do when
//! the other side is silent.

use super::evidence::stopping_drops;
use crate::{
    explain::{errno, here, owners_want, phrase, seen},
    report::Evidence,
    story::Connection,
    time::Time,
    want::Want,
};

/// The last of its packets that could not be sent for want of a route, if that is how it went on to the end.
pub(super) fn proof(c: &Connection) -> Option<Evidence> {
    let answered = c.reset_in_handshake().is_some() || c.reset_received().is_some();
    let waited = c
        .errno
        .is_none_or(|e| matches!(e, errno::ETIMEDOUT | errno::EHOSTUNREACH | errno::ENETUNREACH | errno::EACCES));
    if !c.tried() || answered || !waited {
        return None;
    }
    let (time, what, text) = unsent(c).max_by_key(|(time, ..)| *time).or_else(|| noted(c))?;
    let sent_later = c.syn_retransmits().chain(c.retransmits().map(|(t, _, result, ..)| (t, result)));
    let sent_later = sent_later.filter(|(t, result)| *t > time && result.is_none_or(|r| r == 0)).count();
    (sent_later == 0).then(|| seen(c, time, what, text))
}

fn unsent(c: &Connection) -> impl Iterator<Item = (Time, &'static str, String)> {
    let end = c.ended.unwrap_or(Time(u64::MAX));
    let dropped = c.drops().filter(move |d| {
        d.ours
            && d.time <= end
            && d.netns() == Some(c.netns)
            && (d.reason == "IP_OUTNOROUTES"
                || d.is_without_reason() && matches!(d.at, "__ip_queue_xmit" | "ip_queue_xmit" | "inet6_csk_xmit"))
    });
    let dropped = dropped.map(|d| {
        let why = if d.reason == "IP_OUTNOROUTES" { d.reason } else { d.at };
        (d.time, "drop", format!("{} dropped before it was sent, for want of a route: {why}", phrase::packet(d.packet)))
    });
    let again = c.syn_retransmits().chain(c.retransmits().map(|(t, _, result, ..)| (t, result)));
    let refused = again.filter_map(|(t, result)| {
        let error = -result.filter(|r| matches!(-r, errno::EHOSTUNREACH | errno::ENETUNREACH))?;
        let text = format!("a retransmission could not be sent for want of a route: {}", errno::name(error));
        Some((t, "retransmit", text))
    });
    dropped.chain(refused)
}

/// Linux 7.3 frees a packet of IPv6 that has no route where nobody sees it. TCP notes the error (`sk_err_soft`), and its timer
/// ends the connection with it: where no ICMP error said the same, it is this host's own.
fn noted(c: &Connection) -> Option<(Time, &'static str, String)> {
    let end = c.ending().filter(|end| matches!(end.error, errno::ENETUNREACH | errno::EACCES))?;
    let is_own = c.established.is_some() && c.lost == 0 && c.icmp_errors().next().is_none();
    let text = format!(
        "the timer ended it with {}, and no ICMP error said so: this host could not send",
        errno::name(end.error)
    );
    is_own.then_some((end.time, "state", text))
}

/// An answer that this host did not take for its own: its address is not the connection's any more.
pub(super) fn unclaimed(c: &Connection) -> Option<Evidence> {
    let d = stopping_drops(c).filter(|d| {
        !d.ours
            && d.netns() == Some(c.netns)
            && (d.reason == "IP_INADDRERRORS" || d.is_without_reason() && (d.by("ip_error") || d.by("ip6_forward")))
    });
    let d = d.last()?;
    Some(seen(
        c,
        d.time,
        "drop",
        format!("{} for {} dropped on arrival: {}", phrase::packet(d.packet), c.tuple.local, d.reason),
    ))
}

/// The questions that the causes have about it.
pub(super) fn wants(c: &Connection) -> Vec<Want> {
    if proof(c).is_none() && unclaimed(c).is_none() {
        return Vec::new();
    }
    vec![owners_want(c, c.tuple.local), Want::Interfaces { netns: c.netns }]
}

/// Its source address belongs to its namespace; none: that is not known.
pub(super) fn has_its_address(c: &Connection) -> Option<bool> {
    use crate::fact::Answer;
    match c.facts.get(&owners_want(c, c.tuple.local)) {
        Some(Answer::Owners(_)) => Some(here(c, c.tuple.local).is_some_and(|all| all.contains(&c.netns))),
        _ => None,
    }
}
