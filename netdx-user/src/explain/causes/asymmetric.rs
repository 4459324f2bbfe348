//! An answer that came from elsewhere than was dialled: past the host that had translated the destination (hairpin NAT). Owns:
//! whether one came, and what it means. Must not know: other ways to lose an answer.

use super::evidence::told;
use crate::{
    event::{Packet, Tuple},
    explain::{Finding, phrase, seen},
    report::Certainty,
    story::Connection,
    time::Time,
};

/// The answer to its SYN that came from elsewhere: when, and its endpoints. It acknowledges the SYN's sequence number, which is
/// random (RFC 9293 §3.4.1), or it would not be here.
pub(super) fn answer(c: &Connection) -> Option<(Time, Tuple)> {
    const SYN_ACK: u8 = 2 | 16;
    let from_elsewhere = |packet: &Packet| {
        let tuple = packet.tuple.filter(|_| packet.netns == Some(c.netns) && packet.tcp_flags & SYN_ACK == SYN_ACK)?;
        let to_us = (tuple.remote, tuple.remote_port) == (c.tuple.local, c.tuple.local_port);
        (to_us && (tuple.local, tuple.local_port) != (c.tuple.remote, c.tuple.remote_port)).then_some(tuple)
    };
    let refused = c.resets_sent(false).filter(|r| r.sock.is_none()).filter_map(|r| Some((r.time, r.packet?)));
    // Kernels before 6.10 tell of such a reset by the drop of what it answers.
    let dropped = c.drops().filter(|d| d.by("tcp_v4_rcv") || d.by("tcp_v6_rcv") || d.reason == "NO_SOCKET");
    refused.chain(dropped.map(|d| (d.time, d.packet))).find_map(|(time, p)| Some((time, from_elsewhere(p)?)))
}

pub(super) fn finding(c: &Connection) -> Option<Finding> {
    let (time, tuple) = answer(c).filter(|_| c.established.is_none() && c.syn_sequence().is_some())?;
    let from = phrase::endpoint(tuple.local, tuple.local_port);
    let dialled = phrase::endpoint(c.tuple.remote, c.tuple.remote_port);
    Some(
        Finding::new(
            Certainty::Proven,
            format!(
                "the answer came from {from}, past the host that had translated {dialled} to it, and this host knows no connection to \
                 {from}"
            ),
            seen(c, time, "reset-sent", format!("SYN-ACK from {from} acknowledges its SYN, and was answered with a reset")),
        )
        .and_all(told(c))
        .advise(format!(
            "where {dialled} is translated, translate the source as well (SNAT, MASQUERADE) for who is on one network with {from}; \
             or dial {from}"
        )),
    )
}
