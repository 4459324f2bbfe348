//! `dns.server-unreachable`

use super::evidence::{resolver_said, servers};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Opinions, Rule, Tells, connection_wants, errno, fact, noted},
    report::Certainty,
    story::{Connection, Lookup},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.server-unreachable",
    page: PAGE,
    rule: Rule::Lookup { wants, judge },
    hides: &["dns.timeout", "dns.lookup-failed"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The name server can't be reached.

# What happened
The query could not be sent, or was turned back on its way: nothing listens on the server's port 53, there is no route to it,
its network does not answer, a firewall forbids it.

# How netdx knows
The socket with which the resolver asked got an error, or its packets were dropped on this host. The way to the server is
judged like any other connection; the code of that cause is given.

# What to do
Look at the cause named here. Is the server of resolv.conf the right one, and does it run?

# Easily confused with
dns.timeout: the server can be reached as far as this host sees, and does not answer.
";

/// Ways to servers that failed, with the lookup's facts.
fn ways(l: &Lookup) -> impl Iterator<Item = Connection> + '_ {
    l.paths.iter().filter(|p| p.tuple.remote_port == 53).map(|p| {
        let mut way = p.clone();
        way.facts = l.facts.clone();
        way
    })
}

fn wants(l: &Lookup) -> Vec<Want> {
    if l.succeeded() { Vec::new() } else { ways(l).flat_map(|w| connection_wants(&w)).collect() }
}

fn judge(l: &Lookup, coverage: &Coverage) -> Judgement {
    if l.succeeded() || l.queries.iter().any(|q| q.answered()) {
        return Judgement::No;
    }
    for way in ways(l) {
        let opinions = Opinions::of_connection(&way, coverage);
        let Some((cause, finding)) = opinions.verdict else { continue };
        // A lost answer is a time-out unless something says more.
        let because =
            format!("the name server {} can't be reached: {} ({})", way.tuple.remote, finding.because, cause.code);
        return Judgement::Yes(
            Finding::new(finding.certainty, because, fact("cause", format!("{}: {}", cause.code, finding.because)))
                .and_all(finding.evidence)
                .and_all(resolver_said(l))
                .advise(format!(
                    "is {} the right name server (resolv.conf)? `netdx explain {}` says what to do about it",
                    servers_of(l, &way),
                    cause.code
                )),
        );
    }
    // An error that nothing explains is still the socket's own word.
    let Some((way, code)) = ways(l).find_map(|w| w.errno.map(|e| (w, e))) else { return Judgement::No };
    let time = way.ended.unwrap_or(way.began);
    Judgement::Yes(
        Finding::new(
            Certainty::Likely,
            format!("the name server {} can't be reached: {}", way.tuple.remote, errno::name(code)),
            noted(l, time, "socket-error", format!("the resolver's socket got {}", errno::name(code))),
        )
        .and_all(resolver_said(l))
        .advise(format!("`netdx check {}:53` tries the way to it", way.tuple.remote)),
    )
}

fn servers_of(l: &Lookup, way: &Connection) -> String {
    if l.queries.is_empty() { way.tuple.remote.to_string() } else { servers(l) }
}
