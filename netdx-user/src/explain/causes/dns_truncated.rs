//! `dns.truncated`

use super::evidence::{resolver_said, servers};
use crate::{
    coverage::Coverage,
    event::Protocol,
    explain::{Cause, Finding, Judgement, Rule, Tells, noted, nothing_more, phrase},
    report::Certainty,
    story::Lookup,
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.truncated",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &["dns.server-unreachable", "dns.timeout", "dns.lookup-failed"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The answer was cut, and asking again over TCP failed.

# What happened
An answer that does not fit into one datagram is sent cut, with a flag (TC), and the resolver asks again over TCP. TCP port
53 of the server can't be reached: a firewall that allows only UDP is the usual reason.

# How netdx knows
The cut answer was seen arriving; the TCP connection to the same server failed or got no answer.

# What to do
Allow TCP port 53 to and on the server (RFC 7766 requires it). Smaller answers, or a larger EDNS buffer, only hide it.

# Easily confused with
dns.timeout: no answer came at all.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    if l.succeeded() || l.queries.iter().any(|q| q.answered() && q.tuple.protocol == Protocol::Tcp) {
        return Judgement::No;
    }
    let cut = l.queries.iter().find_map(|q| q.answer.as_ref().filter(|(_, m)| m.truncated).map(|(t, _)| (*t, q)));
    let Some((time, q)) = cut else { return Judgement::No };
    let tcp = l.paths.iter().find(|p| p.is_tcp());
    let how = match tcp {
        Some(p) => match p.errno {
            Some(e) => format!("the TCP connection to it failed with {}", super::super::errno::name(e)),
            None => "the TCP connection to it was given up".into(),
        },
        None if l.used_tcp() => "the question over TCP got no answer".into(),
        None => "no answer over TCP followed".into(),
    };
    Judgement::Yes(
        Finding::new(
            if tcp.is_some() || l.used_tcp() { Certainty::Proven } else { Certainty::Likely },
            format!("the answer of {} for {} was cut, and {how}", servers(l), l.name()),
            noted(
                l,
                time,
                "answer",
                format!("cut answer (TC) for {} {} from {}", phrase::dns_type(q.kind), q.name, q.tuple.remote),
            ),
        )
        .and_all(tcp.map(|p| noted(l, p.ended.unwrap_or(p.began), "tcp", how.clone())))
        .and_all(resolver_said(l))
        .advise(format!("allow TCP port 53 to {}", q.tuple.remote)),
    )
}
