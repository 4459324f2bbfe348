//! `dns.error`

use super::evidence::{decided_by, resolver_said, servers};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing_more, phrase},
    report::Certainty,
    story::{Lookup, rcode},
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.error",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The name server answered with another error.

# What happened
The server answered with a response code that is neither of the usual ones: FORMERR (it did not understand the query, often
EDNS), NOTIMP (it does not do that), NOTAUTH, BADVERS and others.

# How netdx knows
The answer was seen arriving at the socket that had asked; the code is named.

# What to do
Very old servers and middle boxes answer FORMERR to EDNS queries: try without (`dig +noedns`). Use another server.

# Easily confused with
dns.servfail and dns.refused, which have codes of their own.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    let known = [rcode::NOERROR, rcode::NXDOMAIN, rcode::SERVFAIL, rcode::REFUSED];
    let mut codes = l.queries.iter().filter_map(|q| q.rcode()).filter(|c| !known.contains(c));
    let Some((code, proof)) = codes.find_map(|c| decided_by(l, c).map(|e| (c, e))) else { return Judgement::No };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("{} answered {} for {}", servers(l), phrase::rcode(code), l.name()),
            proof,
        )
        .and_all(resolver_said(l))
        .advise(format!("ask another server: `netdx dns {} @SERVER`", l.name())),
    )
}
