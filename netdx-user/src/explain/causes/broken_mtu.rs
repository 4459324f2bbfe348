//! `broken.mtu`

use super::evidence::{interface, interfaces, life, onward_want, place, target_here, told};
use crate::{
    coverage::Coverage,
    event::{Netns, Packet},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, phrase, seen},
    fact::{Answer, Interface},
    report::{Certainty, Evidence, Outcome},
    story::{Connection, Dropped},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "broken.mtu",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["broken.timeout", "timeout.dropped", "timeout.silent"],
    tells: Tells::Failure,
};

/// Below this no sensible path's MTU lies (RFC 791: 576 bytes must pass; less the headers).
const LARGE: u32 = 536;

const PAGE: &str = "\
Small packets pass, full-size ones never do.

# What happened
Somewhere on the way the largest packet (MTU) is smaller than this host believes (a tunnel, a VPN, PPPoE, an overlay
network), and the message that should tell it (ICMP \"fragmentation needed\", \"packet too big\") was not sent or was
filtered. The connection is set up, small requests work, and it hangs as soon as a large answer or upload begins.

# How netdx knows
After the handshake, full-size segments were sent again and again while nothing smaller was lost; where it was on this
host, the drop with reason PKT_TOO_BIG was seen, or one without a reason at an interface (a bridge's port, or one whose
cable's other end) whose MTU, read right after, is smaller, or that its own ICMP \"fragmentation needed\" about them was
made there.

# What to do
Let ICMP type 3 code 4 (ICMPv6 type 2) pass in firewalls. Lower the MTU of the tunnel's interface, or clamp the MSS there
(`tcp option maxseg size set rt mtu`). `net.ipv4.tcp_mtu_probing=1` lets TCP find it out by itself.

# Easily confused with
broken.timeout: everything is lost, not only what is large.
";

fn wants(c: &Connection) -> Vec<Want> {
    let Some(too_big) = too_big(c) else { return c.drops().flat_map(|d| narrow_wants(c, &d)).collect() };
    let netns = too_big.packet.netns.into_iter();
    let link = netns.flat_map(|netns| [Want::Interfaces { netns }, Want::Namespace { netns }]);
    link.chain(onward_want(too_big.packet)).collect()
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if c.established.is_none() || c.outcome == Outcome::Established {
        return Judgement::No;
    }
    let large: Vec<_> = c.retransmits().filter(|(_, _, _, length, _)| *length > LARGE).collect();
    let small = c.retransmits().filter(|(_, _, _, length, _)| *length <= LARGE && *length > 0).count();
    let gave_up = c.errno == Some(errno::ETIMEDOUT) || c.outcome == Outcome::Broken;
    // What was dropped may have been several segments at once (GSO): what is sent again is one.
    if let Some(too_big) = too_big(c).filter(|_| gave_up)
        && let Some((t, _, _, length, _)) = large.last()
    {
        let link = link(c, &too_big);
        return Judgement::Yes(
            Finding::new(
                Certainty::Proven,
                format!(
                    "its segments of {length} bytes are too big for {link}, and no ICMP message told so, {}",
                    life(c)
                ),
                too_big.proof,
            )
            .and(seen(c, *t, "retransmit", format!("{length} bytes sent again, the last time here")))
            .and_all(told(c))
            .advise(format!("let {} pass, lower the MTU, or clamp the MSS on the way", message(c))),
        );
    }
    // Without the drop: the same full-size segment repeated, and nothing small.
    let same = large.first().is_some_and(|first| large.iter().all(|l| l.4 == first.4));
    let answered = c.carried().is_some_and(|data| data.acknowledged > 0 || data.received > 0);
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

/// A packet that did not fit into the next link, and the proof.
struct TooBig<'a> {
    packet: &'a Packet,
    proof: Evidence,
    /// The link, where it is known.
    link: Option<(Netns, &'a Interface)>,
}

/// Dropped for that reason, or a router of this host had to say so (IPv4; IPv6's has no tracepoint).
fn too_big(c: &Connection) -> Option<TooBig<'_>> {
    if let Some(d) = c.drops().find(|d| d.ours && d.reason == "PKT_TOO_BIG") {
        let text = format!("{} dropped {}: PKT_TOO_BIG", phrase::packet(d.packet), place(c, &d));
        return Some(TooBig { packet: d.packet, proof: seen(c, d.time, "drop", text), link: None });
    }
    if let Some((time, packet, _)) = c.icmp_sent().find(|(_, packet, _)| (packet.icmp_type, packet.icmp_code) == (3, 4))
    {
        let at = phrase::namespace(&c.facts, packet.netns?, c.netns);
        let text = format!("{} about it made in {at}; it did not come back", message(c));
        return Some(TooBig { packet, proof: seen(c, time, "icmp-sent", text), link: None });
    }
    let (.., segment, _) = c.retransmits().filter(|(_, _, _, length, _)| *length > LARGE).last()?;
    let headers = if c.tuple.remote.is_ipv4() { 40 } else { 60 };
    c.drops().filter(|d| d.ours).find_map(|d| {
        let link = narrow(c, &d, segment + headers)?;
        let text = format!("{} dropped {} without a reason", phrase::packet(d.packet), place(c, &d));
        Some(TooBig { packet: d.packet, proof: seen(c, d.time, "drop", text), link: Some(link) })
    })
}

/// The link that a packet of that many bytes is too big for, where it was dropped without a reason: that of the interface
/// it was at (`br_dev_queue_push_xmit`), or of the other end of its cable (`veth_xmit`), which say so to nobody
/// (`is_skb_forwardable`, Linux 6.18).
pub(super) fn narrow<'a>(c: &'a Connection, d: &Dropped<'_>, bytes: u32) -> Option<(Netns, &'a Interface)> {
    if !d.is_without_reason() {
        return None;
    }
    let own = interface(c, d.netns()?, d.packet.device).map(|i| (d.netns().unwrap_or(c.netns), i));
    let ends = target_here(c).filter(|_| d.by("veth_xmit")).unwrap_or_default();
    let of_end = |netns: &Netns| {
        let mut all = interfaces(c, *netns).iter().filter(|i| i.kind == "veth" && i.has(c.reached().remote));
        all.next().map(|i| (*netns, i))
    };
    own.into_iter().chain(ends.iter().filter_map(of_end)).find(|(_, i)| i.mtu > 0 && i.mtu < bytes)
}

/// The questions behind [`narrow`].
pub(super) fn narrow_wants(c: &Connection, d: &Dropped<'_>) -> Vec<Want> {
    let ends = target_here(c).filter(|_| d.by("veth_xmit")).unwrap_or_default();
    let at = d.netns().into_iter().chain(ends.iter().copied()).filter(|_| d.is_without_reason());
    at.flat_map(|netns| [Want::Interfaces { netns }, Want::Namespace { netns }]).collect()
}

/// The link that a packet was to go on by, where that is known.
fn link(c: &Connection, too_big: &TooBig<'_>) -> String {
    let packet = too_big.packet;
    if let Some((netns, i)) = too_big.link {
        return of_interface(c, netns, i);
    }
    let Some(netns) = packet.netns else { return "the next link".into() };
    let at = phrase::namespace(&c.facts, netns, c.netns);
    let device = match onward_want(packet).and_then(|want| c.facts.get(&want)) {
        Some(Answer::Route(route)) => interface(c, netns, route.device),
        _ => None,
    };
    match device {
        Some(i) => of_interface(c, netns, i),
        None => format!("the next link in {at}"),
    }
}

/// `the link of eth1 in network namespace router (MTU 1000)`.
pub(super) fn of_interface(c: &Connection, netns: Netns, i: &Interface) -> String {
    format!("the link of {} in {} (MTU {})", i.name, phrase::namespace(&c.facts, netns, c.netns), i.mtu)
}

/// What tells a sender that a packet was too big for a link (RFC 1191, RFC 8201).
fn message(c: &Connection) -> &'static str {
    if c.tuple.remote.is_ipv4() { "ICMP \"fragmentation needed\"" } else { "ICMPv6 \"packet too big\"" }
}
