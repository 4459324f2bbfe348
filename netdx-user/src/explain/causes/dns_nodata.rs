//! `dns.nodata`

use super::answers::{decided_by, resolver_said, tried, who_said};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing_more, phrase},
    report::Certainty,
    story::{Lookup, rcode},
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
one, or only mail or text records.

# How netdx knows
The answer was seen arriving at the socket that had asked: response code NOERROR, no record in the answer (RFC 2308).

# What to do
`netdx dns NAME TYPE` shows which types the name has. Was only one family asked for (AI_ADDRCONFIG, a setting)?

# Easily confused with
dns.nxdomain: the name does not exist at all.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    let empty = l.last_answer().is_some_and(|q| q.unreadable().is_none() && !q.useful());
    if !empty {
        return Judgement::No;
    }
    let Some(proof) = decided_by(l, rcode::NOERROR) else { return Judgement::No };
    let mut kinds: Vec<String> = l.queries.iter().map(|q| phrase::dns_type(q.kind)).collect();
    kinds.sort();
    kinds.dedup();
    let because = format!(
        "{} exists, but {} has no {} record for it{}",
        l.name(),
        who_said(l, rcode::NOERROR),
        kinds.join(" or "),
        tried(l)
    );
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, proof)
            .and_all(resolver_said(l))
            .advise(format!("`netdx dns {}` shows what it has", l.name())),
    )
}
