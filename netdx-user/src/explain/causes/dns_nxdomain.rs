//! `dns.nxdomain`

use super::answers::{alias, decided_by, resolver_said, tried, who_said};
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
a search list is configured, the resolver had tried the name with each suffix of it before. Or the name is an alias (CNAME)
of another one that does not exist: then it is that one that is missing, and the report names it.

# How netdx knows
The answer was seen arriving at the socket that had asked: its response code is NXDOMAIN (RFC 1035, RFC 8020). With CNAME
records beside it is about the last name that they lead to (RFC 6604).

# What to do
Check the spelling, and whether the name is an internal one that only another server knows (VPN, cluster, split DNS):
`netdx dns NAME` asks every configured server and shows where they disagree. Of an alias: correct it, or add what it names.

# Easily confused with
dns.nodata: the name exists, but has no address of that family. dns.servfail: the server could not find out.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    let Some((query, proof)) = decided_by(l, rcode::NXDOMAIN) else { return Judgement::No };
    let says = format!("says {}{}", who_said(l, query), tried(l));
    // The RCODE is about the last name that the aliases lead to (RFC 6604).
    let (because, advice) = match query.answer.as_ref().and_then(|(_, answer)| alias(&query.name, answer)) {
        Some((alias, last)) => (
            format!("{alias}, and {last} does not exist, {says}"),
            format!("have the alias (CNAME) point to a name that exists, or add {last}"),
        ),
        None => (
            format!("the name {} does not exist, {says}", l.name()),
            format!("check the name; `netdx dns {}` asks every configured server", l.name()),
        ),
    };
    Judgement::Yes(Finding::new(Certainty::Proven, because, proof).and_all(resolver_said(l)).advise(advice))
}
