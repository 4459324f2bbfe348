//! `dns.nxdomain`

use super::answers::{decided_by, resolver_said, tried, who_said};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing_more},
    report::Certainty,
    story::{Lookup, rcode},
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.nxdomain",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The name does not exist.

# What happened
A program asked for the address of a name, and the name server answered NXDOMAIN: there is no such name, of any type. Where
a search list is configured, the resolver had tried the name with each suffix of it before.

# How netdx knows
The answer was seen arriving at the socket that had asked: its response code is NXDOMAIN (RFC 1035, RFC 8020).

# What to do
Check the spelling, and whether the name is an internal one that only another server knows (VPN, cluster, split DNS):
`netdx dns NAME` asks every configured server and shows where they disagree.

# Easily confused with
dns.nodata: the name exists, but has no address of that family. dns.servfail: the server could not find out.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    let Some(proof) = decided_by(l, rcode::NXDOMAIN) else { return Judgement::No };
    let because = format!("the name {} does not exist, says {}{}", l.name(), who_said(l, rcode::NXDOMAIN), tried(l));
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, proof)
            .and_all(resolver_said(l))
            .advise(format!("check the name; `netdx dns {}` asks every configured server", l.name())),
    )
}
