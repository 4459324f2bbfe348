//! `route.icmp-unreachable`

use super::evidence::told;
use crate::{
    coverage::Coverage,
    event::IcmpError,
    explain::{Cause, Finding, Judgement, Rule, Tells, here, owners_want, phrase, seen},
    report::Certainty,
    story::Connection,
    time::Time,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "route.icmp-unreachable",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.silent", "timeout.dropped", "broken.timeout", "timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
A router on the way says that it can't deliver.

# What happened
A router (or the host itself) sent an ICMP \"unreachable\" message: it has no route to that network, the host does not answer
on its last network, or it does not speak the protocol.

# How netdx knows
The message came in and quotes a packet of this connection. Its sender and its code are named.

# What to do
The sender is where the way ends: look at its routing table, and whether the target is up on its network.

# Easily confused with
firewall.rejected: codes that only filters send. route.none: this host itself has no route. route.neighbor-silent: this
host's own next hop does not answer.
";

/// The message that says so: not this host's own, not one that only filters send.
fn message(c: &Connection) -> Option<(Time, IcmpError)> {
    c.icmp_errors().find(|(_, i)| {
        let kind = if i.v6 {
            i.kind == 1 && matches!(i.code, 0 | 2 | 3 | 6)
        } else {
            i.kind == 3 && matches!(i.code, 0 | 1 | 2 | 5..=8 | 11 | 12 | 14 | 15)
        };
        kind && !super::firewall_rejected::own(c, i.from)
    })
}

fn wants(c: &Connection) -> Vec<Want> {
    message(c).map(|(_, i)| owners_want(c, i.from)).into_iter().collect()
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some((time, i)) = message(c) else { return Judgement::No };
    let name = phrase::icmp(i.v6, i.kind, i.code);
    // Which of several namespaces with that address sent it can't be told.
    let who = match here(c, i.from) {
        Some([netns]) => format!("{} ({})", i.from, phrase::namespace(&c.facts, *netns, c.netns)),
        _ if i.from == c.tuple.remote => format!("{}, the target itself,", i.from),
        _ => format!("router {}", i.from),
    };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("{who} answered: {name}"),
            seen(c, time, "icmp-received", format!("{name} from {}", i.from)),
        )
        .and_all(told(c))
        .advise(format!("the way ends at {}: look at its routes and its next hop towards {}", i.from, c.tuple.remote)),
    )
}
