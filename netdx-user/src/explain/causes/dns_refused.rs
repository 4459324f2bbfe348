//! `dns.refused`

use super::answers::{alias, decided_by, decided_by_nothing, resolver_said, tried, who_said};
use crate::{
    coverage::Coverage,
    event::Empty,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing_more},
    report::{Certainty, Evidence},
    story::{Lookup, rcode},
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.refused",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The name server will not answer this client.

# What happened
The server answered REFUSED: by its own rules it does not serve this client, or not for this name. A server that only
answers for its own zones says so to everybody who asks for others. Or, in the old manner, it answers without error and
without a record, and only refers to other servers: it does no recursion, and whether the name exists it does not say.

# How netdx knows
The answer was seen arriving at the socket that had asked: its response code is REFUSED (RFC 1035). A referral is not the
server's own (no AA), has no SOA record, and has NS records or offers no recursion (no RA; RFC 2308).

# What to do
Is it the right server (resolv.conf)? On the server: allow recursion for this network (`allow-recursion`, `allow-query`,
`access-control`).

# Easily confused with
dns.server-unreachable: its host or port refuses the packet. dns.servfail: it tried and failed. dns.nodata: it knows the
name.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    let Some((by, because, proof)) = refuses(l).or_else(|| refers(l)) else { return Judgement::No };
    let advice = if l.decisive().is_some_and(|answer| answer.tuple.remote.is_loopback()) {
        format!("see which servers {by} was given itself: a resolver on this host that has none refuses")
    } else {
        format!("use a server that serves this client, or allow it on {by}")
    };
    Judgement::Yes(Finding::new(Certainty::Proven, because + &tried(l), proof).and_all(resolver_said(l)).advise(advice))
}

/// Who says so, that it does, and its answer.
fn refuses(l: &Lookup) -> Option<(String, String, Evidence)> {
    let (answer, proof) = decided_by(l, rcode::REFUSED)?;
    let by = who_said(l, answer);
    let because = format!("{by} refuses to answer this client about {}", answer.name);
    Some((by, because, proof))
}

/// The same of a server that says neither yes nor no: it only tells what its own zones have of the way to the name.
fn refers(l: &Lookup) -> Option<(String, String, Evidence)> {
    let (query, answer, mut proof) = decided_by_nothing(l)?;
    let authority = answer.authority.filter(|_| answer.empty() == Empty::Referral && !answer.is_alias_loop())?;
    let (by, name) = (query.tuple.remote, &query.name);
    let mut because = match alias(name, answer) {
        Some((alias, last)) => format!("{alias}, and {by} does not look {last} up"),
        None if authority.servers => format!("{by} only refers to other name servers for {name}"),
        None => format!("{by} does not look {name} up, and has no zone that it is in"),
    };
    let mut says = Vec::new();
    if !authority.authoritative {
        says.push("it is not the server's own zone (no AA)");
    }
    if authority.servers {
        says.push("other servers are named (NS, no SOA)");
    }
    if !authority.recursion {
        because += ": it does no recursion for this client";
        says.push("no recursion is offered (no RA)");
    }
    proof.text += &format!(": {}", says.join(", "));
    Some((by.to_string(), because, proof))
}
