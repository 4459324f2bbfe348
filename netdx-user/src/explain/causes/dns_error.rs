//! `dns.error`

use super::answers::{
    decided, decided_by, distinct, gave_up_at_once, list, resolver_said, stray_proof, strays, who_said,
};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, noted, nothing_more, phrase},
    report::{Certainty, Evidence},
    story::{Lookup, Misfit, Query, rcode},
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.error",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The name server answered with another error, or with nonsense.

# What happened
The server answered with a response code that is neither of the usual ones: FORMERR (it did not understand the query, often
EDNS), NOTIMP (it does not do that), NOTAUTH, BADVERS and others. Or its answer is damaged: it says it has more than it has,
is shorter than the header of a DNS message, is the query itself, or is of another protocol: something else has that port.

# How netdx knows
The answer was seen arriving at the socket that had asked; the code is named, or what is wrong with the message. Likely:
the resolver gave up without waiting for the answers that were still to come, after one that can't be read.

# What to do
Very old servers and middle boxes answer FORMERR to EDNS queries: try without (`dig +noedns`). Use another server.

# Easily confused with
dns.servfail and dns.refused, which have codes of their own.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    let known = [rcode::NOERROR, rcode::NXDOMAIN, rcode::SERVFAIL, rcode::REFUSED];
    let mut codes = l.queries.iter().filter_map(Query::rcode).filter(|c| !known.contains(c));
    let named = codes.find_map(|c| decided_by(l, c));
    let (certainty, because, proof) = match named {
        Some((answer, proof)) => {
            let code = answer.rcode().map(phrase::rcode).unwrap_or_default();
            let because = format!("{} answered {code} for {}", who_said(l, answer), answer.name);
            (Certainty::Proven, because, proof)
        }
        None => match unreadable(l).or_else(|| unusable(l)) {
            Some(found) => found,
            None => return Judgement::No,
        },
    };
    Judgement::Yes(
        Finding::new(certainty, because, proof)
            .and_all(resolver_said(l))
            .advise(format!("ask another server: `netdx dns {} @SERVER`", l.name())),
    )
}

/// An answer that makes no sense, where nothing better came. A resolver may also give up at once over what came after it,
/// too short to be told which question it answers: then it is only likely that nonsense was the reason.
fn unreadable(l: &Lookup) -> Option<(Certainty, String, Evidence)> {
    let certainty = match (decided(l), gave_up_at_once(l, l.open())) {
        (true, _) => Certainty::Proven,
        (false, true) => Certainty::Likely,
        (false, false) => return None,
    };
    let last = l.last_answer()?;
    let (time, _) = last.answer.as_ref()?;
    let why = last.unreadable()?;
    let what = format!("{} {}", phrase::dns_type(last.kind), last.name);
    Some((
        certainty,
        format!("the answer of {} for {what} is damaged and can't be read", last.tuple.remote),
        noted(l, *time, "answer", format!("answer of {} for {what}: {why}", last.tuple.remote)),
    ))
}

/// The resolver gave up at once, and all that had come from the servers it asked is nothing that answers: too short for a
/// header, without a question, the query itself. (send_dg of glibc's res_send.c goes on to the next server over these.)
fn unusable(l: &Lookup) -> Option<(Certainty, String, Evidence)> {
    if !gave_up_at_once(l, l.open()) || l.last_answer().is_some() {
        return None;
    }
    let odd = l.strays.iter().filter(|s| matches!(s.misfit, Misfit::Short | Misfit::Query | Misfit::Question));
    let from = distinct(odd.map(|s| s.from));
    if from.is_empty() {
        return None;
    }
    let because = format!("{} answered with nothing that can be used for {} ({})", list(&from), l.name(), strays(l)?);
    Some((Certainty::Likely, because, stray_proof(l)?))
}
