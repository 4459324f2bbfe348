//! `dns.no-server`

use super::answers::resolver_said;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact},
    report::Certainty,
    story::{Lookup, Query},
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
    if l.succeeded() || l.queries.iter().any(Query::heard) {
        return Judgement::No;
    }
    let asked = l.servers().into_iter().chain(l.paths.iter().map(|p| p.tuple.remote));
    let Some(r) = l.resolver().filter(|_| asked.clone().all(|s| s.is_loopback())) else { return Judgement::No };
    // Without a query there must have been a source that would have sent one.
    let nobody_asked = asked.clone().next().is_none();
    let asks_servers = r.nsswitch.is_empty() || r.nsswitch.iter().any(|s| s == "dns");
    let asks_a_daemon = r.nsswitch.iter().any(|s| s == "resolve");
    if !r.servers.is_empty() || nobody_asked && (asks_a_daemon || !asks_servers) {
        return Judgement::No;
    }
    let tried =
        asked.clone().next().map(|s| format!(", so that {s} was asked, where nobody answers")).unwrap_or_default();
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("{} names no name server{tried}", r.path),
            fact("resolv.conf", format!("no `nameserver` line in {}", r.path)),
        )
        .and_all(resolver_said(l))
        .advise(format!("add a `nameserver` line to {}, or find what should write it", r.path)),
    )
}
