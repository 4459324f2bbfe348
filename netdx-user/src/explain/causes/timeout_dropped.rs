//! `timeout.dropped`

use super::asymmetric;
use super::broken_mtu::{narrow, narrow_wants, of_interface};
use super::evidence::{
    came_back, place, stopping_drops, stopping_wrapped, target_here, target_want, told, turned_back,
};
use super::misdirected;
use super::route_neighbor_silent::certainty;
use super::tunnel;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, phrase, seen},
    report::Outcome,
    story::{Connection, Dropped},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "timeout.dropped",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
This host dropped a packet of the connection, for a reason of its own.

# What happened
The kernel threw away a packet (the first one, the answer, a later one) for one of its less common reasons: a TCP-MD5 or
TCP-AO signature that is missing or wrong, a bad checksum, timestamps from the past (PAWS), a malformed header, a packet too
big for the next interface. Or the packet came to another namespace of this host than the one with its address, as the
neighbour entry that it was sent by (an old one, or one made by hand) has that one's link address. Or the packet came back
to where it was sent from, by a router that sends it there. Or the kernel threw away a tunnel's packet with one of this
connection in it. Or a bridge may not hand it on: to a port that is isolated or not forwarding, or back by the port that it
came in by, as where a container dials an address that is published for it. Or the answer came from another address than was
dialled, so that no socket here takes it: the destination was translated on the way (DNAT: a published port, a load
balancer), and the answer took another way back, on which nobody translates it again. Mostly both ends are on one network,
and the host that translates is not between them (hairpin NAT).

# How netdx knows
The kernel reported the drop of a packet with these addresses and ports, with the reason's name, the namespace and the
function that did it. Or it answered a SYN-ACK from other endpoints with a reset, for want of a socket, and that one
acknowledges the sequence number of this connection's SYN, which is random. A neighbour entry and the interfaces of the
namespace that dropped the packet, read right after, have the same link address, and that namespace is not set to answer for
others (proxy_arp).

# What to do
A bridge: `bridge -d link` shows its ports and their settings. Hairpin NAT: where the destination is translated, translate
the source as well (SNAT, MASQUERADE) for those who are on one network with the server; or dial the server's own address
there. Else the reason's name leads on: `SKB_DROP_REASON_*` in the kernel's include/net/dropreason-core.h says what each one
means.

# Easily confused with
firewall.dropped, denied.bpf, route.reverse-path: reasons that have codes of their own. timeout.silent: nothing here
dropped it.
";

fn wants(c: &Connection) -> Vec<Want> {
    let Some(d) = latest(c) else { return Vec::new() };
    let mut wants = vec![target_want(c)];
    wants.extend(no_answer(c, &d).then_some(Want::Interfaces { netns: c.netns }));
    wants.extend(narrow_wants(c, &d));
    wants.extend(misdirected::wants(c));
    wants.extend(d.inner.map(|_| tunnel::copies_wants(c)).unwrap_or_default());
    wants
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let waited = matches!(c.errno, Some(errno::ETIMEDOUT | errno::EHOSTUNREACH)) || c.outcome == Outcome::Abandoned;
    let udp = c.tuple.protocol == crate::event::Protocol::Udp;
    if !waited && !udp && !c.mirrored {
        return Judgement::No;
    }
    if let Some(finding) = asymmetric::finding(c).or_else(|| misdirected::finding(c)) {
        return Judgement::Yes(finding);
    }
    let Some(d) = latest(c) else { return Judgement::No };
    let what = phrase::the_dropped(&d);
    let at = place(c, &d);
    let reason = match (d.reason, d.at) {
        ("" | "NOT_SPECIFIED", "") => "without a reason".to_owned(),
        ("" | "NOT_SPECIFIED", at) => format!("in {at}, without a reason"),
        (reason, _) => format!("reason {reason}"),
    };
    let back = came_back(c, &d);
    let too_big = too_big(c, &d);
    let (kept_means, kept_advice) = kept_by_bridge(c, &d).unzip();
    let program = tunnel::to_program(c).filter(|_| no_answer(c, &d)).map(tunnel::named);
    let advice = if back {
        turned_back(c)
    } else if too_big.is_some() {
        "give the links on the way the same MTU, or send less at once (in a tunnel: lower the MTU of its interface)"
            .into()
    } else if let Some(advice) = kept_advice {
        advice
    } else if program.is_some() {
        tunnel::about_program(c)
    } else if d.inner.is_some() {
        "the tunnel's own packets must get through: look at its other end there, and at its addresses and port".into()
    } else if let Some(advice) = advice_for(&d) {
        advice.into()
    } else if d.is_without_reason() {
        format!("look at what handles packets {at}: the kernel says only that it dropped this one")
    } else {
        format!("look up SKB_DROP_REASON_{} in the kernel's documentation: it says what the packet lacked", d.reason)
    };
    let means = match d.reason {
        _ if back => Some("it came back to where it was sent from"),
        _ if too_big.is_some() => too_big.as_deref(),
        _ if kept_means.is_some() => kept_means,
        _ if no_answer(c, &d) => Some("it does not answer a SYN"),
        // Of its own packets that is an answer.
        "NO_SOCKET" => Some("nothing there takes packets of this tunnel"),
        reason => meaning(reason),
    };
    let (colon, means) = means.map_or(("", ""), |m| (": ", m));
    let said = program.map(|name| {
        format!(", and is what the program behind {name} says of a connection that it could not make in its place")
    });
    let said = said.unwrap_or_default();
    Judgement::Yes(
        Finding::new(
            certainty(c, &d),
            format!("the kernel dropped {what} {at} ({reason}){colon}{means}{said}"),
            seen(c, d.time, "drop", format!("{} dropped {at}: {reason}", phrase::dropped(&d))),
        )
        .and_all(tunnel::copies(c, &d))
        .and_all(told(c))
        .advise(advice),
    )
}

/// The other end said something while the connection was being made that opens none: only a SYN or a reset answers a SYN
/// (`tcp_rcv_synsent_state_process`, 6.18).
fn no_answer(c: &Connection, d: &Dropped<'_>) -> bool {
    d.reason == "TCP_FLAGS" && !d.ours && d.inner.is_none() && c.established.is_none()
}

/// A bridge did not hand it on: what that means, and what to do. It hands nothing to a port that is cut off from the one it came in
/// by, nor back by that one (`should_deliver`, net/bridge/br_forward.c, 6.18; compilers make one function of those two).
fn kept_by_bridge(c: &Connection, d: &Dropped<'_>) -> Option<(&'static str, String)> {
    let reasonless = d.is_without_reason() && matches!(d.at, "br_forward" | "br_handle_frame_finish");
    if !reasonless || d.inner.is_some() {
        return None;
    }
    let port = &d.packet.device_name;
    let own = d.ours && target_here(c).is_some_and(|all| *all == [c.netns]);
    Some(if own {
        (
            "a bridge there would have to send it back out of the port it came in by, and only does that where the port's hairpin \
             mode is on",
            format!(
                "switch it on (`bridge link set dev {port} hairpin on`) and translate the source as well (MASQUERADE), or have the \
                 program dial its own address"
            ),
        )
    } else {
        (
            "a bridge there may not hand it on to the port it was for",
            "`bridge -d link` there: are both ports isolated, or is the one it was for not forwarding (spanning tree)? `bridge \
             vlan`: are they in one VLAN?"
                .to_owned(),
        )
    })
}

/// The one nearest to the end; drops of the first packet repeat with each retransmission.
fn latest(c: &Connection) -> Option<Dropped<'_>> {
    stopping_drops(c).chain(stopping_wrapped(c)).last()
}

/// That a datagram, or a tunnel's packet, is larger than a link there allows. Its length may be told with an Ethernet header,
/// and the kernel lets the tag of a VLAN pass beyond the MTU (`is_skb_forwardable`).
fn too_big(c: &Connection, d: &Dropped<'_>) -> Option<String> {
    const BEFORE: u32 = 18;
    let whole = !c.is_tcp() || d.inner.is_some();
    let (netns, i) = narrow(c, d, d.packet.length.checked_sub(BEFORE)?).filter(|_| whole)?;
    Some(format!("it is larger than {} allows", of_interface(c, netns, i)))
}

/// What to do about some.
fn advice_for(d: &Dropped<'_>) -> Option<&'static str> {
    Some(match d.reason {
        "XFRM_POLICY" => "`ip xfrm policy` there tells what it wants encrypted, `ip xfrm state` what it has keys for",
        "NO_TX_TARGET" => {
            "`bridge fdb show` there tells where link addresses are, `bridge -d link show` what ports flood"
        }
        _ => return None,
    })
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
        "NO_TX_TARGET" => "no port of the bridge, or end of the tunnel, there leads to its link address",
        "PKT_TOO_BIG" => "it is larger than the next link allows",
        "XFRM_POLICY" => "an IPsec policy there blocks it, or wants it encrypted and it was not: see `ip xfrm policy`",
        "NOMEM" => "there was no memory for it",
        _ => return None,
    })
}
