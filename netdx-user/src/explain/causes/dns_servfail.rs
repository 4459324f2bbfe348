//! `dns.servfail`

use super::answers::{decided_by, resolver_said, tried, who_said};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing_more},
    report::Certainty,
    story::{Lookup, rcode},
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.servfail",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The name server failed to find out.

# What happened
The server answered SERVFAIL: it could not get an answer itself. Its own upstream servers did not answer, the zone is
broken, or the answer failed DNSSEC validation.

# How netdx knows
The answer was seen arriving at the socket that had asked: its response code is SERVFAIL (RFC 1035).

# What to do
Ask another server: `netdx dns NAME` asks each one. If one that does not validate answers, DNSSEC of the zone is broken;
if none answers, the name's own servers are down.

# Easily confused with
dns.timeout: the server does not answer at all. dns.refused: it will not serve this client.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    let Some((answer, proof)) = decided_by(l, rcode::SERVFAIL) else { return Judgement::No };
    let because = format!("{} could not answer for {}: SERVFAIL{}", who_said(l, answer), answer.name, tried(l));
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, proof)
            .and_all(resolver_said(l))
            .advise(format!("ask another server: `netdx dns {} @SERVER`", answer.name)),
    )
}
