//! `dns.nodata`

use super::answers::{alias, decided_by_nothing, resolver_said, tried, who_said};
use crate::{
    coverage::Coverage,
    event::Empty,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing_more, phrase},
    report::Certainty,
    story::Lookup,
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.nodata",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The name exists, but not with an address of that kind.

# What happened
The server answered without error and without a record of the type asked for: the name has, say, an IPv4 address but no IPv6
one, or only mail or text records. Or it is an alias (CNAME) of a name without one, or of itself by way of others.

# How netdx knows
The answer was seen arriving at the socket that had asked: response code NOERROR, no record of that type in the answer
(RFC 2308). That the name exists is said only if the answer has the zone's SOA record or is the server's own (AA).

# What to do
`netdx dns NAME TYPE` shows which types the name has. Was only one family asked for (AI_ADDRCONFIG, a setting)?

# Easily confused with
dns.nxdomain: the name does not exist at all. dns.refused: the answer is as empty, but refers to other servers.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    let Some((query, answer, proof)) = decided_by_nothing(l) else { return Judgement::No };
    let says = answer.empty();
    let circle = answer.is_alias_loop();
    if says == Empty::Referral && !circle {
        return Judgement::No;
    }
    let of_name = l.queries.iter().filter(|q| q.name == query.name);
    let mut kinds: Vec<String> = of_name.map(|q| phrase::dns_type(q.kind)).collect();
    kinds.sort();
    kinds.dedup();
    let (kinds, server, name) = (kinds.join(" or "), who_said(l, query), &query.name);
    let (because, advice) = match (alias(&query.name, answer), says) {
        (Some((alias, _)), _) if circle => {
            (format!("{alias}: a circle, says {server}"), "correct the aliases (CNAME records)".into())
        }
        (Some((alias, last)), _) => (
            format!("{alias}, and {server} has no {kinds} record for that"),
            format!("have the alias (CNAME) point to a name that has one, or add one to {last}"),
        ),
        (None, Empty::Unvouched) => (
            format!(
                "{server} answered for {name} with no {kinds} record, and with none that shows that it exists (SOA)"
            ),
            format!("ask another server: `netdx dns {name} @SERVER`"),
        ),
        (None, _) => (
            format!("{name} exists, but {server} has no {kinds} record for it"),
            format!("`netdx dns {name}` shows what it has"),
        ),
    };
    Judgement::Yes(Finding::new(Certainty::Proven, because + &tried(l), proof).and_all(resolver_said(l)).advise(advice))
}
