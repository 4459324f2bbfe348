//! `slow.lookup`

use super::answers::servers;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, noted, nothing_more, phrase},
    report::Certainty,
    story::Lookup,
};

pub(super) const CAUSE: Cause = Cause {
    code: "slow.lookup",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Success,
};

const PAGE: &str = "\
The name was found, later than it should.

# What happened
The lookup took longer than --slow allows: a server answered slowly, one did not answer and another was asked after its
time-out (5 s unless set otherwise), or one of the two questions (A, AAAA) stayed unanswered.

# How netdx knows
Every query and answer of the lookup, with times.

# What to do
Take servers that don't answer out of resolv.conf, or put them last; `options timeout:1`. `netdx dns NAME` compares the
servers.

# Easily confused with
dns.timeout: no answer came at all. dns.search-storm: many queries.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    if l.slow.is_none() || !l.succeeded() {
        return Judgement::No;
    }
    if l.queries.is_empty() {
        return without_queries(l);
    }
    let Some(slowest) =
        l.queries.iter().max_by_key(|q| q.answer.as_ref().map_or(l.ended.unwrap_or(q.sent), |(t, _)| *t).since(q.sent))
    else {
        return Judgement::No;
    };
    let what = format!("{} {}", phrase::dns_type(slowest.kind), slowest.name);
    let again = l.queries.iter().map(|q| q.tries.saturating_sub(1)).sum::<u32>();
    let why = match &slowest.answer {
        Some((t, _)) => {
            format!("{} answered {what} after {}", slowest.tuple.remote, phrase::duration(t.since(slowest.sent)))
        }
        None => format!("{} never answered {what}", slowest.tuple.remote),
    };
    let repeats = if again > 0 {
        format!(", {} sent again", if again == 1 { "1 query".to_owned() } else { format!("{again} queries") })
    } else {
        String::new()
    };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("the lookup took {}: {why}{repeats} (servers: {})", phrase::duration(l.elapsed()), servers(l)),
            noted(l, slowest.sent, "query", format!("{what} asked of {}", slowest.tuple.remote)),
        )
        .advise("take servers that don't answer out of resolv.conf, or shorten their time-out (`options timeout:1`)"),
    )
}

/// Its process asked no server: a daemon or a module of the C library did (nsswitch.conf).
fn without_queries(l: &Lookup) -> Judgement {
    let Some(r) = &l.resolved else { return Judgement::No };
    let sources = l.resolver().filter(|r| !r.nsswitch.is_empty()).map(|r| r.nsswitch.join(" "));
    let note = sources.as_ref().map(|s| format!(" (sources: {s})")).unwrap_or_default();
    let took = phrase::duration(l.elapsed());
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("getaddrinfo took {took} without asking any server itself{note}"),
            noted(l, r.time, "getaddrinfo", format!("getaddrinfo returned after {took}")),
        )
        .advise("look at the `hosts:` line of nsswitch.conf and at the daemons it refers to"),
    )
}
