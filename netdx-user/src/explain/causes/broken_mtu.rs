//! `broken.mtu`

use super::evidence::{life, place, told};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, nothing, phrase, seen},
    report::{Certainty, Evidence, Outcome},
    story::Connection,
};

pub(super) const CAUSE: Cause = Cause {
    code: "broken.mtu",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &["broken.timeout", "timeout.dropped", "timeout.silent"],
    tells: Tells::Failure,
};

/// Below this no sensible path's MTU lies (RFC 791: 576 bytes must pass; less the headers).
const LARGE: u32 = 536;

const PAGE: &str = "\
Small packets pass, full-size ones never do.

# What happened
Somewhere on the way the largest packet (MTU) is smaller than this host believes (a tunnel, a VPN, PPPoE, an overlay
network), and the message that should tell it (ICMP \"fragmentation needed\", \"packet too big\") was not sent or was filtered.
The connection is set up, small requests work, and it hangs as soon as a large answer or upload begins.

# How netdx knows
After the handshake, full-size segments were sent again and again while nothing smaller was lost; where it was on this host,
the drop with reason PKT_TOO_BIG was seen, or that its own ICMP \"fragmentation needed\" about them was made there.

# What to do
Let ICMP type 3 code 4 (ICMPv6 type 2) pass in firewalls. Lower the MTU of the tunnel's interface, or clamp the MSS there
(`tcp option maxseg size set rt mtu`). `net.ipv4.tcp_mtu_probing=1` lets TCP find it out by itself.

# Easily confused with
broken.timeout: everything is lost, not only what is large.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if c.established.is_none() || c.outcome == Outcome::Established {
        return Judgement::No;
    }
    let mut large: Vec<_> = c.retransmits().filter(|(_, _, _, length, _)| *length > LARGE).collect();
    let small = c.retransmits().filter(|(_, _, _, length, _)| *length <= LARGE && *length > 0).count();
    let too_big = c.drops().find(|d| d.ours && d.reason == "PKT_TOO_BIG");
    let gave_up = c.errno == Some(errno::ETIMEDOUT) || c.outcome == Outcome::Broken;
    let proof = too_big.map(|d| {
        let at = place(c, &d);
        let text = format!("{} of {} bytes dropped {at}: PKT_TOO_BIG", phrase::packet(d.packet), d.packet.length);
        (d.packet.length, at, seen(c, d.time, "drop", text))
    });
    if let Some((length, at, proof)) = proof.or_else(|| fragmentation_needed(c))
        && gave_up
        && !large.is_empty()
    {
        return Judgement::Yes(
            Finding::new(
                Certainty::Proven,
                format!(
                    "its packets of {length} bytes are too big for the next link {at}, and no ICMP message told so, {}",
                    life(c)
                ),
                proof,
            )
            .and_all(large.pop().map(|(t, _, _, length, _)| {
                seen(c, t, "retransmit", format!("{length} bytes sent again, the last time here"))
            }))
            .and_all(told(c))
            .advise(format!("let {} pass, lower the MTU, or clamp the MSS on the way", message(c))),
        );
    }
    // Without the drop: the same full-size segment repeated, and nothing small.
    let same = large.first().is_some_and(|first| large.iter().all(|l| l.4 == first.4));
    let answered = c.counters().is_some_and(|t| t.bytes_acked > 1 || t.bytes_received > 0);
    if large.len() >= 3 && same && small == 0 && answered && c.errno == Some(errno::ETIMEDOUT) && !c.is_dropped() {
        let (t, _, _, length, _) = large[0];
        return Judgement::Yes(
            Finding::new(
                Certainty::Likely,
                format!(
                    "segments of {length} bytes never arrive while smaller ones did: the way's MTU is smaller, {}",
                    life(c)
                ),
                seen(c, t, "retransmit", format!("the same {length} bytes were sent {} times again", large.len())),
            )
            .and_all(told(c))
            .advise(format!("let {} pass, lower the MTU, or clamp the MSS on the way", message(c))),
        );
    }
    Judgement::No
}

/// A router of this host had to say that a packet does not fit: its length, where, the proof. (IPv4; IPv6's has no
/// tracepoint.)
fn fragmentation_needed(c: &Connection) -> Option<(u32, String, Evidence)> {
    let (time, packet, _) = c.icmp_sent().find(|(_, packet, _)| (packet.icmp_type, packet.icmp_code) == (3, 4))?;
    let at = format!("in {}", phrase::namespace(&c.facts, packet.netns?, c.netns));
    let text = format!("{} about {} bytes made {at}; it did not come back", message(c), packet.length);
    Some((packet.length, at, seen(c, time, "icmp-sent", text)))
}

/// What tells a sender that a packet was too big for a link (RFC 1191, RFC 8201).
fn message(c: &Connection) -> &'static str {
    if c.tuple.remote.is_ipv4() { "ICMP \"fragmentation needed\"" } else { "ICMPv6 \"packet too big\"" }
}
