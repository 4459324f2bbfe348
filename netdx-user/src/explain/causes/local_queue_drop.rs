//! `local.queue-drop`

use super::evidence::{obstructing_drops, place, told, who_listens, who_listens_want};
use super::route_interface_down::had_no_queue;
use super::route_neighbor_silent::certainty;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, phrase, seen},
    report::Certainty,
    story::{Connection, Dropped},
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
or is made to drop (policing, netem).

# How netdx knows
The kernel reported the drop of a packet of this connection with that reason, or the send itself said that it was dropped.

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
    dropped(c).filter(at_socket).map(|_| who_listens_want(c)).unwrap_or_default()
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
