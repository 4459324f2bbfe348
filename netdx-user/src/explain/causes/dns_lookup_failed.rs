//! `dns.lookup-failed`

use super::evidence::resolver_said;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, nothing_more},
    fact::Answer,
    report::Certainty,
    story::Lookup,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.lookup-failed",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The C library's lookup failed without asking any server.

# What happened
getaddrinfo returned an error, and no query was sent: the sources of nsswitch.conf don't include dns, a daemon that should
answer (systemd-resolved, nscd, sssd, a Unix socket) did not, the name was not acceptable, or no address family was left to
ask for (AI_ADDRCONFIG).

# How netdx knows
The call's return was seen in the process (a uprobe on the C library), and no packet to a name server in between.

# What to do
Look at the `hosts:` line of nsswitch.conf (named here) and at the daemons it refers to.

# Easily confused with
dns.no-server: no server is configured. dns.nxdomain: a server said so.
";

fn judge(l: &Lookup, coverage: &Coverage) -> Judgement {
    let Some(r) = l.resolved.as_ref().filter(|r| r.result != 0) else { return Judgement::No };
    let Some(said) = resolver_said(l) else { return Judgement::No };
    if !l.queries.is_empty() || !l.paths.is_empty() {
        return Judgement::No;
    }
    if let Some(why) = coverage.missing("dns-out") {
        return Judgement::CannotTell(format!("queries can't be seen: {why}"));
    }
    let sources = l.task.as_ref().and_then(|t| match l.facts.get(&Want::Resolver { pid: t.pid }) {
        Some(Answer::Resolver(r)) if !r.nsswitch.is_empty() => Some(r.nsswitch.join(" ")),
        _ => None,
    });
    let because = match &sources {
        Some(s) => format!("getaddrinfo returned {} without asking any server (sources: {s})", errno::eai(r.result)),
        None => format!("getaddrinfo returned {} without asking any server", errno::eai(r.result)),
    };
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, said)
            .and_all(sources.map(|s| fact("nsswitch", format!("hosts: {s}"))))
            .advise("look at the `hosts:` line of nsswitch.conf and at the daemons it refers to"),
    )
}
