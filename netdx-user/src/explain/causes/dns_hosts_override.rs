//! `dns.hosts-override`

use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact},
    fact::{Answer, HostsEntry},
    report::{Certainty, Outcome},
    story::Connection,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.hosts-override",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[],
    tells: Tells::Beside,
};

const PAGE: &str = "\
The address came from the hosts file.

# What happened
The name was not asked of any server: a line of /etc/hosts gives its address, and the connection to that address failed. An
old entry there outlives the server's move.

# How netdx knows
The process looked the name up, no query was sent, and the hosts file, as the process sees it, gives that address for it.

# What to do
Look at the line named here: remove or correct it. `netdx dns NAME` shows what the servers say.

# Easily confused with
Nothing else; it stands beside the cause of the connection's failure.
";

fn want(c: &Connection) -> Option<Want> {
    let pid = c.task.as_ref()?.pid;
    let name = c.looked_up.clone().filter(|_| c.name.is_none())?;
    Some(Want::Hosts { pid, name })
}

fn wants(c: &Connection) -> Vec<Want> {
    if c.outcome == Outcome::Established { Vec::new() } else { want(c).into_iter().collect() }
}

/// The line that gave the address.
pub(in crate::explain) fn entry(c: &Connection) -> Option<&HostsEntry> {
    match c.facts.get(&want(c)?) {
        Some(Answer::Hosts(all)) => all.iter().find(|e| e.address == c.tuple.remote),
        _ => None,
    }
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if c.outcome == Outcome::Established || c.tuple.remote.is_loopback() {
        return Judgement::No;
    }
    let (Some(e), Some(name)) = (entry(c), &c.looked_up) else { return Judgement::No };
    let line = format!("{}:{}: {} {}", e.path, e.line, e.address, e.names.join(" "));
    Judgement::Yes(
        Finding::new(Certainty::Proven, format!("the address of {name} came from {line}"), fact("hosts", line))
            .advise(format!("is line {} of {} still right?", e.line, e.path)),
    )
}
