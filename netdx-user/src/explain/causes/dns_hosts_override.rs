//! `dns.hosts-override`

use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact},
    fact::{Answer, HostsEntry},
    report::{Certainty, Outcome},
    story::Connection,
    want::Want,
};
use std::net::IpAddr;

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

/// The questions for the names that the hosts file gives the address, or the one that stands for it.
fn questions(c: &Connection) -> Vec<(IpAddr, Want)> {
    let Some(task) = c.task.as_ref().filter(|_| c.name.is_none() && !c.looked_up.is_empty()) else { return Vec::new() };
    let root = c.program.as_ref().and_then(|p| p.root);
    let question = |address: IpAddr| (address, Want::Hosts { pid: task.pid, root, name: address.to_string() });
    [Some(c.tuple.remote), c.any_address()].into_iter().flatten().map(question).collect()
}

fn wants(c: &Connection) -> Vec<Want> {
    let all = if c.outcome == Outcome::Established { Vec::new() } else { questions(c) };
    all.into_iter().map(|(_, want)| want).collect()
}

/// The line that gave the address, and the name of those looked up that it is for.
pub(in crate::explain) fn entry(c: &Connection) -> Option<(&HostsEntry, &str)> {
    questions(c).into_iter().find_map(|(address, want)| {
        let Answer::Hosts(all) = c.facts.get(&want)? else { return None };
        let is = |entry: &HostsEntry, name: &str| {
            entry.address == address && entry.names.iter().any(|n| n.eq_ignore_ascii_case(name.trim_end_matches('.')))
        };
        c.looked_up.iter().find_map(|name| Some((all.iter().find(|e| is(e, name))?, name.as_str())))
    })
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if c.outcome == Outcome::Established || is_own(c) {
        return Judgement::No;
    }
    let Some((e, name)) = entry(c) else { return Judgement::No };
    let line = format!("{}:{}: {} {}", e.path, e.line, e.address, e.names.join(" "));
    Judgement::Yes(
        Finding::new(Certainty::Proven, format!("the address of {name} came from {line}"), fact("hosts", line))
            .advise(format!("is line {} of {} still right?", e.line, e.path)),
    )
}

/// `localhost` and the host's own name stand there on every machine.
fn is_own(c: &Connection) -> bool {
    c.tuple.remote.is_loopback() && entry(c).is_some_and(|(_, name)| name.eq_ignore_ascii_case("localhost"))
}
