//! `local.queue-drop`

use super::evidence::{
    anything_came_back, neighbor_want, obstructing_drops, place, told, who_listens, who_listens_want,
};
use super::route_interface_down::had_no_queue;
use super::route_neighbor_silent::certainty;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    fact::Answer,
    report::Certainty,
    story::{Connection, Dropped},
    time::Time,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "local.queue-drop",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.dropped", "timeout.silent", "timeout.abandoned", "broken.timeout", "route.neighbor-silent"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
A queue of this host dropped it.

# What happened
Packets wait in queues: of the interface on the way out (qdisc), of the socket on the way in (receive buffer). One was full,
is made to drop (policing, netem), or to wait longer than the application does.

# How netdx knows
The kernel reported the drop of a packet of this connection with that reason, or the send itself said that it was dropped.
Or the SYN could not be sent again, for the first one had not left yet (EBUSY), while its next hop's link address is known:
the queue holds it (a shaper with a tiny rate).

# What to do
An interface queue: `tc -s qdisc show dev DEV` counts the drops; look for shapers and policers. A receive buffer: the program
reads too slowly, or the buffer is small (SO_RCVBUF, net.core.rmem_max).

# Easily confused with
denied.bpf: a program at the same place drops it. route.interface-down: the interface is off.
";

fn dropped(c: &Connection) -> Option<Dropped<'_>> {
    obstructing_drops(c).find(|d| {
        d.reason.starts_with("QDISC") && !had_no_queue(c, d)
            || at_socket(d)
            || matches!(d.reason, "PROTO_MEM" | "CPU_BACKLOG" | "FULL_RING")
    })
}

fn at_socket(d: &Dropped<'_>) -> bool {
    matches!(d.reason, "SOCKET_RCVBUFF" | "SOCKET_BACKLOG")
}

fn wants(c: &Connection) -> Vec<Want> {
    let listeners = dropped(c).filter(at_socket).map(|_| who_listens_want(c)).unwrap_or_default();
    listeners.into_iter().chain(waiting(c).and_then(|_| neighbor_want(c))).collect()
}

/// When a SYN could not be sent again, for the first one was still in this host's hands, as it was to the end
/// (tcp_retransmit_skb, Linux 6.18).
fn waiting(c: &Connection) -> Option<Time> {
    let all_stuck = c.syn_retransmits().all(|(_, result)| result == Some(-errno::EBUSY));
    let last = c.syn_retransmits().last().map(|(t, _)| t).or_else(|| c.syn_waits());
    let silent = c.tried() && c.established.is_none() && !c.is_dropped() && !anything_came_back(c);
    last.filter(|_| all_stuck && silent)
}

/// It waited, and not for a neighbour: in the queue of the interface.
fn held(c: &Connection) -> Option<Finding> {
    let t = waiting(c)?;
    let Some(Answer::Neighbor(Some(entry))) = c.facts.get(&neighbor_want(c)?) else { return None };
    let device = &entry.device_name;
    (!entry.is_unanswered()).then(|| {
        Finding::new(
            Certainty::Likely,
            format!("its SYN still waits in the queue (qdisc) of {device}, which sends too slowly, or not at all"),
            seen(c, t, "retransmit", "SYN could not be sent again: this host has not sent the first one yet"),
        )
        .and(fact("neighbor", format!("{} on {device} is {}: it is not what it waits for", entry.address, entry.state)))
        .and_all(told(c))
        .advise(format!(
            "`tc -s qdisc show dev {device}` tells what waits there, `tc -s class show dev {device}` at what rate"
        ))
    })
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    if let Some(d) = dropped(c) {
        let what = phrase::the_dropped(&d);
        let at = place(c, &d);
        let reader = if at_socket(&d) { d.netns().and_then(|n| who_listens(c, n)) } else { None };
        let queue = match d.reason {
            "SOCKET_RCVBUFF" | "SOCKET_BACKLOG" => "the receiving socket's buffer is full",
            "PROTO_MEM" => "the protocol's memory is used up",
            "CPU_BACKLOG" => "the host's receive backlog is full (net.core.netdev_max_backlog)",
            "FULL_RING" => "the interface's ring is full",
            _ => "the interface's queue (qdisc) dropped it",
        };
        return Judgement::Yes(
            Finding::new(
                certainty(c, &d),
                match &reader {
                    Some(who) => format!("{what} was dropped {at}: {queue}, {who} does not read fast enough"),
                    None => format!("{what} was dropped {at}: {queue}"),
                },
                seen(c, d.time, "drop", format!("{} dropped {at}: {}", phrase::dropped(&d), d.reason)),
            )
            .and_all(told(c))
            .advise(match reader {
                Some(who) => format!("look why {who} reads slowly, or give its socket a larger buffer (SO_RCVBUF)"),
                None => "`tc -s qdisc` and `netdx conns` show where packets queue up".to_owned(),
            }),
        );
    }
    if let Some(finding) = held(c) {
        return Judgement::Yes(finding);
    }
    // NET_XMIT_DROP: the device's queue said so to the sender (include/linux/netdevice.h).
    if let Some((t, _)) = c.syn_retransmits().find(|(_, r)| *r == Some(1))
        && !c.is_dropped()
        && c.established.is_none()
    {
        return Judgement::Yes(
            Finding::new(
                Certainty::Likely,
                "the interface's queue dropped its SYN",
                seen(c, t, "retransmit", "the send was told that the queue dropped the packet"),
            )
            .and_all(told(c))
            .advise("`tc -s qdisc show` counts the drops of the interface's queue"),
        );
    }
    match c.failed_call() {
        // Where drops are seen, this is something else: local.resources.
        Some(call) if call.errno == errno::ENOBUFS && !c.is_tcp() && !coverage.has("drop") => Judgement::Yes(
            Finding::new(Certainty::Likely, "the interface's queue is full", super::evidence::call_proof(c, &call))
                .and_all(told(c))
                .advise("send slower, or give the interface a longer queue"),
        ),
        _ => Judgement::No,
    }
}
