//! `slow.handshake`

use super::evidence::{place, route_fact};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing, phrase, seen},
    report::{Certainty, Outcome},
    story::Connection,
};

pub(super) const CAUSE: Cause = Cause {
    code: "slow.handshake",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &[],
    tells: Tells::Success,
};

const PAGE: &str = "\
The connection worked, later than it should.

# What happened
Setting the connection up took longer than --slow allows. Either a packet was lost and sent again (1 s, 3 s, 7 s are its
signature), or the way or the other host is slow.

# How netdx knows
The time from the first packet to the established connection, the packets sent again meanwhile, and drops of its packets on
this host.

# What to do
Packets sent again: look for loss (a full queue on the other side, see timeout.queue-full; a drop named here). None: compare
with the round-trip time of `ping`.

# Easily confused with
dualstack.fallback: the time went into another address. slow.lookup: the time went into the name.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if c.outcome != Outcome::Established || c.slow.is_none() {
        return Judgement::No;
    }
    let time = c.established.unwrap_or(c.began);
    let again = c.syn_retransmits().count();
    let dropped = c.drops().next();
    let why = match (again, dropped) {
        (0, _) => "no packet had to be sent again: the way or the other host is slow".to_owned(),
        (n, Some(d)) => format!(
            "{} sent again; the {} was dropped {} ({})",
            phrase::count(n, "SYN"),
            phrase::packet(d.packet),
            place(c, &d),
            if d.reason.is_empty() { d.at } else { d.reason }
        ),
        (n, None) => format!("{} sent again: a packet or its answer was lost", phrase::count(n, "SYN")),
    };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("the handshake took {}: {why}", phrase::duration(c.elapsed())),
            seen(c, time, "established", format!("handshake completed after {}", phrase::duration(c.elapsed()))),
        )
        .and_all(c.syn_retransmits().map(|(t, _)| seen(c, t, "retransmit", "SYN sent again")))
        .and_all(route_fact(c))
        .advise("look for packet loss on the way, or a full accept queue on the other side"),
    )
}
