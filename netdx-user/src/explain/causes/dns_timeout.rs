//! `dns.timeout`

use super::{
    answers::{decided, distinct, gave_up_at_once, list, resolver_said, stray_proof, strays, whether_right},
    route_neighbor_silent::unresolved,
};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, noted, nothing_more, phrase},
    report::Certainty,
    story::{Lookup, Query},
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.timeout",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The name server did not answer.

# What happened
Queries went to the configured name servers and no answer came until the resolver gave up. The server is down or
overloaded, or a firewall on the way drops queries or answers.

# How netdx knows
The queries were seen leaving; no answer with their ids arrived at their sockets, or it came when the resolver had
gone on to another server; no error came back, and nothing on this host dropped them. Most resolvers make do with addresses
of one family; musl does not. Where it is in the program itself, only the pace at which it asks tells of it: *likely*.

# What to do
Is the server of resolv.conf right and up? `netdx dns NAME @SERVER` asks it directly. `netdx check SERVER:53` tries the way
to it. A second server in resolv.conf helps while one is down; its time-out is 5 s if none is set (`options timeout:1`).

# Easily confused with
dns.server-unreachable: an error says that it can't be reached. dns.servfail: it answers that its own servers don't.
";

const ONE_OF_TWO: &str = "; the other type was answered, but the program's own C library, musl by the pace at which it asks, takes \
                          one answer of two for none";

fn judge(l: &Lookup, coverage: &Coverage) -> Judgement {
    if l.succeeded() || l.queries.is_empty() {
        return Judgement::No;
    }
    // A server that can't be reached is another matter, and told there.
    let open: Vec<&Query> = l.open().filter(|q| q.answer.is_none() && !turned_back(l, q)).collect();
    if decided(l) || gave_up_at_once(l, open.iter().copied()) {
        return Judgement::No;
    }
    let Some(first) = open.first() else { return Judgement::No };
    if let Some(why) = coverage.missing("dns-in") {
        return Judgement::CannotTell(format!("answers can't be seen: {why}"));
    }
    let servers = distinct(open.iter().map(|q| q.tuple.remote));
    let tries: u32 = open.iter().map(|q| q.tries).sum();
    let queries = phrase::count(tries as usize, "query");
    let stray = strays(l).map(|s| format!(" ({s})")).unwrap_or_default();
    let until = if l.resolved.is_none() && l.left.is_some() { ", when the process ended" } else { "" };
    let late = open.iter().find_map(|q| Some((*q, q.late.as_ref()?.0)));
    let late_text = late.map(|(q, came)| {
        let took = phrase::duration(came.since(q.sent));
        format!("{} answered after {took}, when the resolver had gone on to another server", q.tuple.remote)
    });
    let in_time = if late.is_some() { " in time" } else { "" };
    let mut but = late_text.as_ref().map(|text| format!("; {text}")).unwrap_or_default();
    if l.given_up {
        but.push_str(ONE_OF_TWO);
    }
    let certainty = if l.given_up { Certainty::Likely } else { Certainty::Proven };
    let because = format!(
        "no answer{in_time} from {} to {queries} within {}{until}{stray}{but}",
        list(&servers),
        phrase::duration(l.elapsed()),
    );
    let proof = noted(
        l,
        first.sent,
        "query",
        format!("{} {} asked of {}", phrase::dns_type(first.kind), first.name, first.tuple.remote),
    );
    let last = open.iter().max_by_key(|q| q.last).filter(|q| q.last != first.sent).map(|q| {
        noted(
            l,
            q.last,
            "query",
            format!("{} {} asked of {} for the last time", phrase::dns_type(q.kind), q.name, q.tuple.remote),
        )
    });
    Judgement::Yes(
        Finding::new(certainty, because, proof)
            .and_all(last)
            .and_all(stray_proof(l))
            .and_all(late.zip(late_text).map(|((_, came), text)| noted(l, came, "answer", text)))
            .and_all(resolver_said(l))
            .advise(format!(
                "{} and up? `netdx check {}` tries the way to it",
                whether_right(&servers),
                phrase::endpoint(first.tuple.remote, 53)
            )),
    )
}

/// An error or a drop says what became of the query.
fn turned_back(l: &Lookup, q: &Query) -> bool {
    let mut way = l.way(q);
    way.facts = l.facts.clone();
    unresolved(&way).is_some()
        || l.paths.iter().any(|p| {
            p.tuple.remote == q.tuple.remote
                && (p.errno.is_some() || p.is_dropped() || p.icmp_errors().next().is_some())
        })
}
