//! `dns.lookup-failed`

use super::answers::resolver_said;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, nothing_more},
    report::Certainty,
    story::Lookup,
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.lookup-failed",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Failure,
};

/// EAI_SERVICE
const SERVICE: i32 = -8;

const PAGE: &str = "\
The C library's lookup failed without asking any server.

# What happened
getaddrinfo returned an error, and no query was sent: the sources of nsswitch.conf don't include dns, a daemon that should
answer (systemd-resolved, nscd, sssd, a Unix socket) did not, the name was not acceptable, or no address family was left to
ask for (AI_ADDRCONFIG). Or the service (a port by name) is not known.

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
    let sources = l.resolver().filter(|r| !r.nsswitch.is_empty()).map(|r| r.nsswitch.join(" "));
    let code = errno::eai(r.result);
    if r.result == SERVICE {
        let because = format!("getaddrinfo returned {code}: there is no service {}", r.service);
        let finding = Finding::new(Certainty::Proven, because, said);
        return Judgement::Yes(finding.advise("give the port as a number, or add the service to /etc/services"));
    }
    let because = match &sources {
        Some(s) => format!("getaddrinfo returned {code} without asking any server (sources: {s})"),
        None => format!("getaddrinfo returned {code} without asking any server"),
    };
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, said)
            .and_all(sources.map(|s| fact("nsswitch", format!("hosts: {s}"))))
            .advise("look at the `hosts:` line of nsswitch.conf and at the daemons it refers to"),
    )
}
