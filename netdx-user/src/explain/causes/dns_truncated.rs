//! `dns.truncated`

use super::answers::{of_way, resolver_said};
use crate::{
    coverage::Coverage,
    event::Protocol,
    explain::{Cause, Finding, Judgement, Opinions, Rule, Tells, connection_wants, errno, noted, phrase},
    report::{Certainty, Outcome},
    story::{Connection, Lookup},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.truncated",
    page: PAGE,
    rule: Rule::Lookup { wants, judge },
    hides: &["dns.server-unreachable", "dns.timeout", "dns.lookup-failed"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The answer was cut, and asking again over TCP failed.

# What happened
An answer that does not fit into one datagram is sent cut, with a flag (TC), and the resolver asks again over TCP. TCP port
53 of the server can't be reached: a firewall that allows only UDP is the usual reason. Or the server takes the
connection and ends it without an answer, or the resolver is one that never asks over TCP (musl before 1.2.4).

# How netdx knows
The cut answer was seen arriving; the TCP connection to the same server failed or got no answer, or there was none.

# What to do
Allow TCP port 53 to and on the server (RFC 7766 requires it). Smaller answers, or a larger EDNS buffer, only hide it.

# Easily confused with
dns.timeout: no answer came at all.
";

/// The attempt over TCP that failed, with the lookup's facts.
fn tcp(l: &Lookup) -> Option<Connection> {
    let mut way = l.paths.iter().find(|p| p.is_tcp() && p.tuple.remote_port == 53)?.clone();
    way.facts = l.facts.clone();
    Some(way)
}

fn wants(l: &Lookup) -> Vec<Want> {
    if l.succeeded() { Vec::new() } else { tcp(l).iter().flat_map(connection_wants).collect() }
}

fn judge(l: &Lookup, coverage: &Coverage) -> Judgement {
    if l.succeeded() || l.queries.iter().any(|q| q.answered() && q.tuple.protocol == Protocol::Tcp) {
        return Judgement::No;
    }
    let cut = l.queries.iter().find_map(|q| q.answer.as_ref().filter(|(_, m)| m.truncated).map(|(t, _)| (*t, q)));
    let Some((time, q)) = cut else { return Judgement::No };
    let tcp = tcp(l);
    let opinions = tcp.as_ref().map(|p| Opinions::of_connection(p, coverage));
    let why = opinions.and_then(|o| o.verdict);
    let how = match (&tcp, &why) {
        (Some(_), Some((cause, finding))) => {
            format!("asking again over TCP failed: {} ({})", finding.because, cause.code)
        }
        (Some(p), None) => match p.errno {
            Some(e) => format!("the TCP connection to it failed with {}", errno::name(e)),
            None => "the TCP connection to it was given up".into(),
        },
        (None, _) if l.used_tcp() => "the question over TCP got no answer".into(),
        (None, _) => "it did not ask again over TCP".into(),
    };
    let server = q.tuple.remote;
    let advice = match &tcp {
        Some(p) if p.outcome != Outcome::Broken => format!("allow TCP port 53 to {server}"),
        None if !l.used_tcp() => {
            "have the answer fit (fewer records), or use a resolver that asks again over TCP (musl does since 1.2.4)"
                .into()
        }
        _ => format!("{server} takes connections and does not answer on them: look at its log and its limits for TCP"),
    };
    let failed: Vec<_> = match (&tcp, why) {
        (Some(way), Some((_, finding))) => finding.evidence.into_iter().map(|e| of_way(l, way, e)).collect(),
        (Some(way), None) => vec![noted(l, way.ended.unwrap_or(way.began), "tcp", how.clone())],
        (None, _) => Vec::new(),
    };
    Judgement::Yes(
        Finding::new(
            if tcp.is_some() || l.used_tcp() { Certainty::Proven } else { Certainty::Likely },
            format!("the answer of {server} for {} was cut, and {how}", l.name()),
            noted(
                l,
                time,
                "answer",
                format!("cut answer (TC) for {} {} from {server}", phrase::dns_type(q.kind), q.name),
            ),
        )
        .and_all(failed)
        .and_all(resolver_said(l))
        .advise(advice),
    )
}
