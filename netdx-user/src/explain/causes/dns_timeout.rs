//! `dns.timeout`

use super::evidence::{resolver_said, servers};
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
The queries were seen leaving; no answer with their ids arrived at their sockets; no error came back, and nothing on this
host dropped them.

# What to do
Is the server of resolv.conf right and up? `netdx dns NAME @SERVER` asks it directly. `netdx check SERVER:53` tries the way
to it. A second server in resolv.conf helps while one is down; its time-out is 5 s if none is set (`options timeout:1`).

# Easily confused with
dns.server-unreachable: an error says that it can't be reached. dns.servfail: it answers that its own servers don't.
";

fn judge(l: &Lookup, coverage: &Coverage) -> Judgement {
    if l.succeeded() || l.queries.is_empty() {
        return Judgement::No;
    }
    // A server whose host or way answered with an error has not been silent.
    let in_error = |q: &Query| {
        let way = l.paths.iter().filter(|p| p.tuple.remote == q.tuple.remote && p.tuple.remote_port == 53);
        way.into_iter().any(|p| p.errno.is_some() || p.icmp_errors().next().is_some())
    };
    if l.open().all(in_error) {
        return Judgement::No;
    }
    let mut open = l.open().peekable();
    let Some(first) = open.peek() else { return Judgement::No };
    if let Some(why) = coverage.missing("dns-in") {
        return Judgement::CannotTell(format!("answers can't be seen: {why}"));
    }
    let tries: u32 = l.open().map(|q| q.tries).sum();
    let because = format!(
        "no answer from {} to {} within {}",
        servers(l),
        phrase::count(tries as usize, if tries == 1 { "query" } else { "querie" }),
        phrase::duration(l.elapsed())
    );
    let proof = noted(
        l,
        first.sent,
        "query",
        format!("{} {} asked of {}", phrase::dns_type(first.kind), first.name, first.tuple.remote),
    );
    let last = l.open().max_by_key(|q| q.last).map(|q| {
        noted(
            l,
            q.last,
            "query",
            format!("{} {} asked of {} for the last time", phrase::dns_type(q.kind), q.name, q.tuple.remote),
        )
    });
    Judgement::Yes(Finding::new(Certainty::Proven, because, proof).and_all(last).and_all(resolver_said(l)).advise(
        format!(
            "is {} the right server and up? `netdx check {}:53` tries the way to it",
            servers(l),
            first.tuple.remote
        ),
    ))
}
