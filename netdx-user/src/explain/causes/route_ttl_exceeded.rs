//! `route.ttl-exceeded`

use super::{
    evidence::{place, stopping_drops, told},
    route_icmp_unreachable::by_translator,
};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing, phrase, seen},
    report::Certainty,
    story::{Connection, Dropped},
};

pub(super) const CAUSE: Cause = Cause {
    code: "route.ttl-exceeded",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &["timeout.silent", "timeout.dropped", "route.icmp-unreachable", "timeout.abandoned", "broken.timeout"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The packet went round until its time to live ran out.

# What happened
Every router lowers a packet's TTL (hop limit) by one and gives up at zero. Either two routers send the packet to each other
(a routing loop), or the sender's TTL is too small for the distance.

# How netdx knows
An ICMP \"time exceeded\" message came in that quotes a packet of this connection. Its sender is named. Or a namespace of
this host that forwards dropped the packet with no time to live left: its message may be lost, or filtered.

# What to do
`traceroute` to the target shows the loop: the same two routers in turn. Mend their routes. Was a small TTL set on purpose
(IP_TTL)?

# Easily confused with
route.icmp-unreachable: a router says that it can't deliver.
";

/// What forwards it found no time to live left (`ip_forward`, `ip6_forward`: reason IP_INHDR, Linux 6.18).
fn ran_out(d: &Dropped<'_>) -> bool {
    d.packet.ttl <= 1
        && (d.reason == "IP_INHDR" || d.is_without_reason() && matches!(d.at, "ip_forward" | "ip6_forward"))
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let told_so = c.icmp_errors().find(|(_, i)| if i.v6 { i.kind == 3 } else { i.kind == 11 });
    let reset = c.reset_in_handshake().is_some() || c.reset_received().is_some();
    let dropped = stopping_drops(c).filter(|d| ran_out(d) && !reset).last();
    let (because, proof, advice) = if let Some((time, i)) = told_so {
        let name = phrase::icmp(i.v6, i.kind, i.code);
        let reached = c.reached().remote;
        let who = if by_translator(c, &i) { "a router".to_owned() } else { i.from.to_string() };
        (
            format!("{who} gave up on the packet ({name})"),
            seen(c, time, "icmp-received", format!("{name} from {}", i.from)),
            format!("traceroute to {reached} shows the loop; mend the routes of {who}"),
        )
    } else if let Some(d) = dropped {
        let (what, at) = (phrase::the_dropped(&d), place(c, &d));
        let to = d.packet.tuple.unwrap_or(c.tuple).remote;
        (
            format!("the time to live of {what} ran out {at}"),
            seen(
                c,
                d.time,
                "drop",
                format!("{} dropped {at}: its time to live is {}", phrase::dropped(&d), d.packet.ttl),
            ),
            format!("traceroute to {to} shows the loop; mend the routes there"),
        )
    } else {
        return Judgement::No;
    };
    Judgement::Yes(
        Finding::new(Certainty::Proven, format!("{because}: a routing loop, or too small a TTL"), proof)
            .and_all(told(c))
            .advise(advice),
    )
}
