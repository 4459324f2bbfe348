//! `dns.refused`

use super::answers::{decided_by, resolver_said, tried, who_said};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing_more},
    report::Certainty,
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
answers for its own zones says so to everybody who asks for others.

# How netdx knows
The answer was seen arriving at the socket that had asked: its response code is REFUSED (RFC 1035).

# What to do
Is it the right server (resolv.conf)? On the server: allow recursion for this network (`allow-recursion`, `allow-query`,
`access-control`).

# Easily confused with
dns.server-unreachable: its host or port refuses the packet. dns.servfail: it tried and failed.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    let Some(proof) = decided_by(l, rcode::REFUSED) else { return Judgement::No };
    let by = who_said(l, rcode::REFUSED);
    let because = format!("{by} refuses to answer this client about {}{}", l.name(), tried(l));
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, proof)
            .and_all(resolver_said(l))
            .advise(format!("use a server that serves this client, or allow it on {by}")),
    )
}
