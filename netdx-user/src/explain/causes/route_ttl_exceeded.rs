//! `route.ttl-exceeded`

use super::evidence::told;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing, phrase, seen},
    report::Certainty,
    story::Connection,
};

pub(super) const CAUSE: Cause = Cause {
    code: "route.ttl-exceeded",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &["timeout.silent", "timeout.dropped", "route.icmp-unreachable", "timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The packet went round until its time to live ran out.

# What happened
Every router lowers a packet's TTL (hop limit) by one and gives up at zero. Either two routers send the packet to each other
(a routing loop), or the sender's TTL is too small for the distance.

# How netdx knows
An ICMP \"time exceeded\" message came in that quotes a packet of this connection. Its sender is named.

# What to do
`traceroute` to the target shows the loop: the same two routers in turn. Mend their routes. Was a small TTL set on purpose
(IP_TTL)?

# Easily confused with
route.icmp-unreachable: a router says that it can't deliver.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some((time, i)) = c.icmp_errors().find(|(_, i)| if i.v6 { i.kind == 3 } else { i.kind == 11 }) else {
        return Judgement::No;
    };
    let name = phrase::icmp(i.v6, i.kind, i.code);
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("{} gave up on the packet ({name}): a routing loop, or too small a TTL", i.from),
            seen(c, time, "icmp-received", format!("{name} from {}", i.from)),
        )
        .and_all(told(c))
        .advise(format!("traceroute to {} shows the loop; mend the routes of {}", c.tuple.remote, i.from)),
    )
}
