//! `firewall.dropped`

use super::{
    evidence::{obstructing_drops, place, told},
    firewall_rule::{Action, Culprit, by_netfilter, culprit, proxy_port, rejects, rule_wants},
    route_neighbor_silent::certainty,
    tunnel,
};
use crate::{
    coverage::Coverage,
    event::dropped_in_queue,
    explain::{Cause, Finding, Judgement, Rule, Tells, phrase, seen},
    story::{Connection, Dropped},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "firewall.dropped",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[
        "timeout.dropped",
        "broken.timeout",
        "denied.policy",
        "timeout.abandoned",
        "timeout.queue-full",
        "route.neighbor-silent",
        "broken.zero-window",
    ],
    tells: Tells::Failure,
};

const PAGE: &str = "\
A firewall rule of this host drops the packets.

# What happened
A rule (or a chain's policy) of the packet filter of this host, in one of its network namespaces, silently dropped a packet
of this connection: the first one, the answer to it, or a later one; or gave it to a queue (NFQUEUE) where a program dropped
it, or none takes it. The sender waits until it gives up. Or it dropped the question for the next hop's link address (ARP,
neighbour discovery) or the answer: then no packet can leave at all. Or what it dropped is the packet of a tunnel (VXLAN,
Geneve, GRE, IP in IP) with one of this connection in it.

# How netdx knows
The kernel reported the drop of a packet with these addresses and ports, or of one with such a packet in it, with netfilter
as the reason, the namespace and the hook. The rule is found by matching the packet against the rules of that namespace,
read right after: it is exact when only one rule or policy can have done it. Where the rules have changed between
the drop and the reading, that is said, and no rule is named for sure.

# What to do
Look at the rule named here (`nft list ruleset`, `iptables -S` in that namespace). Allow the port before it, or remove it.

# Easily confused with
timeout.silent: nothing here dropped it, it got lost further on. firewall.rejected: the filter answers. timeout.conntrack:
connection tracking drops it, not a rule.
";

/// The drop by a filter that stopped this connection; one that was answered with a rejection is another story.
fn dropped(c: &Connection) -> Option<Dropped<'_>> {
    if super::firewall_rejected::answered_here(c) || c.reset_in_handshake().is_some() {
        return None;
    }
    // A reset that was dropped comes of what was dropped before it.
    harmful(c).filter(|d| phrase::packet(d.packet) != "RST").last().or_else(|| harmful(c).last())
}

/// Drops by a filter that kept data from passing. Where a reset ended the connection, one before it that was lost did not.
fn harmful(c: &Connection) -> impl Iterator<Item = Dropped<'_>> {
    let reset = c.reset_received().is_some();
    obstructing_drops(c).filter(by_netfilter).filter(move |d| !(reset && phrase::packet(d.packet) == "RST"))
}

fn wants(c: &Connection) -> Vec<Want> {
    let Some(d) = dropped(c) else { return Vec::new() };
    let copies = d.inner.map(|_| tunnel::copies_wants(c)).unwrap_or_default();
    rule_wants(c, &d).into_iter().chain(copies).collect()
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(d) = dropped(c) else { return Judgement::No };
    let culprit = match culprit(c, &d, Action::Drop) {
        // A rule that answers, whose answer did not arrive.
        Culprit::Unknown(_) => culprit(c, &d, Action::Discard),
        known => known,
    };
    if culprit.is_conntrack() {
        return Judgement::No;
    }
    let what = phrase::the_dropped(&d);
    let at = place(c, &d);
    let because = match &culprit {
        Culprit::Exact(rule) => match d.at {
            "nf_queue" => format!(
                "{rule} gave {what} {at} to a queue, and it was dropped: no program takes packets from that queue, or it is full"
            ),
            at_queue if dropped_in_queue(at_queue) => {
                format!("{rule} gave {what} {at} to a queue, and the program that reads it dropped it")
            }
            _ if rejects(rule) => format!("{rule} rejected {what} {at}"),
            _ => match proxy_port(rule) {
                Some(port) => {
                    format!("{rule} dropped {what} {at}: no proxy listens on port {port}, which it is to be given to")
                }
                None => format!("{rule} dropped {what} {at}"),
            },
        },
        Culprit::Possible { rules, changed } => {
            format!("the firewall dropped {what} {at}; {}", Culprit::candidates(rules, *changed))
        }
        Culprit::Unknown(why) => format!("the firewall dropped {what} {at} (which rule: {why})"),
    };
    // Those dropped elsewhere were dropped by another rule.
    let so = || harmful(c).filter(|other| place(c, other) == at);
    let proxy = if let Culprit::Exact(rule) = &culprit { proxy_port(rule) } else { None };
    let what_to_do = match proxy {
        Some(port) => format!("start the proxy that listens on port {port} (IP_TRANSPARENT), or remove the rule"),
        None => format!("allow {} before it, or remove it", phrase::allowed(&d)),
    };
    let what_to_do = match &culprit {
        Culprit::Exact(rule) if is_unexpected_answer(rule, &d) => {
            format!(
                "{what_to_do}; connection tracking there has not seen its SYN: did that go another way (asymmetric routes)?"
            )
        }
        _ => what_to_do,
    };
    let n = so().count();
    let first = so().next().unwrap_or(d);
    Judgement::Yes(
        Finding::new(
            certainty(c, &d),
            because,
            seen(
                c,
                first.time,
                "drop",
                format!(
                    "{} dropped {at}: {}",
                    phrase::dropped(&first),
                    if first.reason.is_empty() { first.at } else { first.reason }
                ),
            ),
        )
        .and_all((n > 1).then(|| {
            seen(
                c,
                d.time,
                "drop",
                match d.discovery {
                    Some(_) => format!("dropped so {n} times, the last one here"),
                    None => format!("{n} packets of this connection dropped so, the last one here"),
                },
            )
        }))
        .and_all(culprit.evidence())
        .and_all(tunnel::copies(c, &d))
        .and_all(told(c))
        .advise(culprit.advice(c, &d, &what_to_do)),
    )
}

/// An answer was dropped for being in no state that connection tracking knows: it had not seen what is answered
/// (nf_conntrack_tcp_packet, Linux 6.18).
fn is_unexpected_answer(rule: &str, d: &Dropped<'_>) -> bool {
    let by_state =
        ["ct state invalid", "--ctstate INVALID", "--state INVALID"].iter().any(|state| rule.contains(state));
    by_state && !d.ours && phrase::packet(d.packet) == "SYN-ACK"
}
