//! `timeout.dropped`

use super::asymmetric;
use super::evidence::{came_back, place, stopping_drops, stopping_wrapped, told, turned_back};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, nothing, phrase, seen},
    report::{Certainty, Outcome},
    story::Connection,
};

pub(super) const CAUSE: Cause = Cause {
    code: "timeout.dropped",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &["timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
This host dropped a packet of the connection, for a reason of its own.

# What happened
The kernel threw away a packet (the first one, the answer, a later one) for one of its less common reasons: a TCP-MD5 or
TCP-AO signature that is missing or wrong, a bad checksum, timestamps from the past (PAWS), a malformed header, a packet too
big for the next interface. Or the packet came back to where it was sent from, by a router that sends it there. Or the kernel
threw away a tunnel's packet with one of this connection in it. Or the answer came from another address than was dialled, so
that no socket here takes it: the destination was translated on the way (DNAT: a published port, a load balancer), and the
answer took another way back, on which nobody translates it again. Mostly both ends are on one network, and the host that
translates is not between them (hairpin NAT).

# How netdx knows
The kernel reported the drop of a packet with these addresses and ports, with the reason's name, the namespace and the
function that did it. Or it answered a SYN-ACK from other endpoints with a reset, for want of a socket, and that one
acknowledges the sequence number of this connection's SYN, which is random.

# What to do
Hairpin NAT: where the destination is translated, translate the source as well (SNAT, MASQUERADE) for those who are on one
network with the server; or dial the server's own address there. Else the reason's name leads on: `SKB_DROP_REASON_*` in the
kernel's include/net/dropreason-core.h says what each one means.

# Easily confused with
firewall.dropped, denied.bpf, route.reverse-path: reasons that have codes of their own. timeout.silent: nothing here
dropped it.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let waited = matches!(c.errno, Some(errno::ETIMEDOUT | errno::EHOSTUNREACH)) || c.outcome == Outcome::Abandoned;
    let udp = c.tuple.protocol == crate::event::Protocol::Udp;
    if !waited && !udp && !c.mirrored {
        return Judgement::No;
    }
    if let Some(finding) = asymmetric::finding(c) {
        return Judgement::Yes(finding);
    }
    // The latest one is nearest to the end; drops of the first packet repeat with each retransmission.
    let Some(d) = stopping_drops(c).chain(stopping_wrapped(c)).last() else { return Judgement::No };
    let what = phrase::the_dropped(&d);
    let at = place(c, &d);
    let reason = match (d.reason, d.at) {
        ("" | "NOT_SPECIFIED", "") => "without a reason".to_owned(),
        ("" | "NOT_SPECIFIED", at) => format!("in {at}, without a reason"),
        (reason, _) => format!("reason {reason}"),
    };
    let back = came_back(c, &d);
    let advice = if back {
        turned_back(c)
    } else if d.inner.is_some() {
        "the tunnel's own packets must get through: look at its other end there, and at its addresses and port".into()
    } else if matches!(d.reason, "" | "NOT_SPECIFIED") {
        format!("look at what handles packets {at}: the kernel says only that it dropped this one")
    } else {
        format!("look up SKB_DROP_REASON_{} in the kernel's documentation: it says what the packet lacked", d.reason)
    };
    let means = match d.reason {
        _ if back => Some("it came back to where it was sent from"),
        // Of its own packets that is an answer.
        "NO_SOCKET" => Some("nothing there takes packets of this tunnel"),
        reason => meaning(reason),
    };
    let (colon, means) = means.map_or(("", ""), |m| (": ", m));
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("the kernel dropped {what} {at} ({reason}){colon}{means}"),
            seen(c, d.time, "drop", format!("{} dropped {at}: {reason}", phrase::dropped(&d))),
        )
        .and_all(told(c))
        .advise(advice),
    )
}

/// What the commoner reasons mean (include/net/dropreason-core.h, Linux 6.18).
fn meaning(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "TCP_MD5NOTFOUND" => "the receiver wants every segment signed (TCP-MD5, RFC 2385), and this one was not",
        "TCP_MD5UNEXPECTED" => "it was signed (TCP-MD5, RFC 2385), and the receiver expects no signature",
        "TCP_MD5FAILURE" => "its signature (TCP-MD5, RFC 2385) is wrong: the two sides have different keys",
        "TCP_AONOTFOUND" => "the receiver wants every segment signed (TCP-AO, RFC 5925), and this one was not",
        "TCP_AOUNEXPECTED" => "it was signed (TCP-AO, RFC 5925), and the receiver expects no signature",
        "TCP_AOKEYNOTFOUND" => "it was signed (TCP-AO, RFC 5925) with a key that the receiver does not have",
        "TCP_AOFAILURE" => "its signature (TCP-AO, RFC 5925) is wrong: the two sides have different keys",
        "TCP_CSUM" | "UDP_CSUM" | "IP_CSUM" | "ICMP_CSUM" | "SKB_CSUM" => "its checksum is wrong",
        "TCP_RFC7323_PAWS" | "TCP_RFC7323_TW_PAWS" => "its timestamp is older than one seen before (PAWS, RFC 7323)",
        "IP_INHDR" | "PKT_TOO_SMALL" | "HDR_TRUNC" => "its header is malformed",
        "PKT_TOO_BIG" => "it is larger than the next link allows",
        "XFRM_POLICY" => "an IPsec policy there blocks it, or wants it encrypted and it was not: see `ip xfrm policy`",
        "NOMEM" => "there was no memory for it",
        _ => return None,
    })
}
