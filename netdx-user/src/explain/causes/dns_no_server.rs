//! `dns.no-server`

use super::evidence::resolver_said;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact},
    fact::Answer,
    report::Certainty,
    story::Lookup,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.no-server",
    page: PAGE,
    rule: Rule::Lookup { wants: super::super::nothing_more, judge },
    hides: &["dns.server-unreachable", "dns.timeout", "dns.lookup-failed"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
No name server is configured.

# What happened
The resolver's configuration (/etc/resolv.conf, as this process sees it) names no server. The C library then tries
127.0.0.1, where usually nobody answers.

# How netdx knows
The lookup failed, and the resolv.conf of the process's own mount namespace has no `nameserver` line.

# What to do
Add one (`nameserver 192.0.2.53`), or find what should write the file: NetworkManager, systemd-resolved, DHCP, the container
engine. A dangling link /etc/resolv.conf is a common cause.

# Easily confused with
dns.server-unreachable: a server is configured, and can't be reached.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    if l.succeeded() || l.queries.iter().any(|q| q.answered()) || l.servers().iter().any(|s| !s.is_loopback()) {
        return Judgement::No;
    }
    let Some(task) = &l.task else { return Judgement::No };
    let Some(Answer::Resolver(r)) = l.facts.get(&Want::Resolver { pid: task.pid }) else { return Judgement::No };
    if !r.servers.is_empty() || r.nsswitch.iter().any(|s| s == "resolve") && l.queries.is_empty() {
        return Judgement::No;
    }
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("{} names no name server", r.path),
            fact("resolv.conf", format!("no `nameserver` line in {}", r.path)),
        )
        .and_all(resolver_said(l))
        .advise(format!("add a `nameserver` line to {}, or find what should write it", r.path)),
    )
}
