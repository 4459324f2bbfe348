//! `dualstack.fallback`

use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Opinions, Rule, Tells, connection_wants, fact, phrase, seen},
    report::{Certainty, Evidence, Outcome},
    story::Connection,
    want::Want,
};
use std::time::Duration;

pub(super) const CAUSE: Cause = Cause {
    code: "dualstack.fallback",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[],
    tells: Tells::Success,
};

const PAGE: &str = "\
IPv6 failed, and IPv4 worked.

# What happened
The name has an IPv6 and an IPv4 address. The application tried IPv6 first, in vain, and then IPv4, which worked. Users see
a delay, not an error.

# How netdx knows
The same process tried an IPv6 address on the same port shortly before, and that attempt came to nothing: why is judged as
for any connection, and named here. It has a report of its own, where this stands beside its cause.

# What to do
Mend IPv6 (the cause named here says where), or don't publish the AAAA record.

# Easily confused with
slow.handshake: one address, and it was slow.
";

/// The attempt that was made before, with the facts of the one that worked.
fn before(c: &Connection) -> Option<(Connection, Duration)> {
    let fallback = c.fallback_from.as_ref().filter(|_| c.outcome == Outcome::Established)?;
    let mut attempt = fallback.attempt.clone();
    attempt.facts = c.facts.clone();
    Some((attempt, fallback.delay))
}

fn wants(c: &Connection) -> Vec<Want> {
    before(c).map(|(attempt, _)| connection_wants(&attempt)).unwrap_or_default()
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    if let Some((address, delay)) = c.fell_back_to {
        let delay = phrase::duration(delay);
        let because = format!("IPv4 ({address}) was tried {delay} later, and worked");
        return Judgement::Yes(Finding::new(Certainty::Proven, because.clone(), fact("fallback", because)));
    }
    let Some((attempt, delay)) = before(c) else { return Judgement::No };
    let address = attempt.tuple.remote;
    let cost = phrase::duration(delay);
    let (why, certainty, evidence) = match Opinions::of_connection(&attempt, coverage).verdict {
        Some((cause, f)) => (format!("{} ({})", f.because, cause.code), f.certainty, f.evidence),
        None => ("nothing that was observed says why".to_owned(), Certainty::Possible, Vec::new()),
    };
    let because = format!("IPv6 ({address}) was tried first and came to nothing, which cost {cost}: {why}");
    let proof = seen(c, c.began, "fallback", format!("this attempt began {cost} after the one to {address}"));
    // What was seen of the other attempt came before this one began.
    let evidence = evidence.into_iter().map(|e| Evidence { t_ns: None, text: format!("{address}: {}", e.text), ..e });
    Judgement::Yes(
        Finding::new(certainty, because, proof)
            .and_all(evidence)
            .advise(format!("mend the way to {address}, or don't publish that address (AAAA) for the name")),
    )
}
