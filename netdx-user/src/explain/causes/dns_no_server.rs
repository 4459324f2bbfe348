//! `dns.no-server`

use super::answers::resolver_said;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, nothing_more, phrase},
    fact::{ResolvConf, Resolver},
    report::Certainty,
    story::{Lookup, Query},
};
use std::net::{IpAddr, Ipv4Addr};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.no-server",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &["dns.server-unreachable", "dns.timeout", "dns.lookup-failed"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
No name server is configured, or none that this process can know of.

# What happened
The resolver's configuration (/etc/resolv.conf, as this process sees it) names no server, or can't be used: it is not there,
it is a directory (a container engine makes one where the file to be mounted is missing), the process may not read it, or
its lines end with a carriage return. The C library then asks 127.0.0.1, where usually nobody answers.

# How netdx knows
The lookup failed, nobody but 127.0.0.1 was asked, and the resolv.conf of the process's own mount namespace has no
`nameserver` line with an address, or its permissions exclude the process. Of a directory: nobody was asked at all. Likely:
127.0.0.1 was asked though other servers stand there, and nothing shows why.

# What to do
Add a server (`nameserver 192.0.2.53`), or find what should write the file: NetworkManager, systemd-resolved, DHCP, the
container engine. A dangling link /etc/resolv.conf is a common cause. Everybody has to be able to read it (`chmod 644`).

# Easily confused with
dns.server-unreachable: a server is configured, and can't be reached. dns.lookup-failed: nobody was asked for other reasons.
";

/// The server that the C library asks where it knows of none.
pub(super) const DEFAULT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    if l.succeeded() || l.queries.iter().any(Query::heard) {
        return Judgement::No;
    }
    let Some(r) = l.resolver() else { return Judgement::No };
    let asked: Vec<IpAddr> = l.servers().into_iter().chain(l.paths.iter().map(|p| p.tuple.remote)).collect();
    if asked.iter().any(|server| *server != DEFAULT || r.servers.contains(server)) {
        return Judgement::No;
    }
    // Where nobody was asked, there must have been a source that would have.
    let would_ask = r.nsswitch.is_empty() || r.nsswitch.iter().any(|s| s == "dns");
    let is_directory = r.file == Some(ResolvConf::Directory);
    if asked.is_empty() && !(is_directory && would_ask && l.resolved.is_some()) {
        return Judgement::No;
    }
    let Some(Fault { certainty, why, advice }) = fault(l, r) else { return Judgement::No };
    let tried = if asked.is_empty() { "" } else { ", so that 127.0.0.1 was asked, where nobody answers" };
    Judgement::Yes(
        Finding::new(certainty, format!("{why}{tried}"), fact("resolv.conf", why.clone()))
            .and_all(resolver_said(l))
            .advise(advice),
    )
}

/// Permission bits (inode(7)).
const GROUP_READ: u32 = 0o040;
const OTHERS_READ: u32 = 0o004;

/// What is wrong with the configuration.
struct Fault {
    certainty: Certainty,
    why: String,
    advice: String,
}

fn fault(l: &Lookup, r: &Resolver) -> Option<Fault> {
    let path = &r.path;
    let proven = |why: String, advice: String| Some(Fault { certainty: Certainty::Proven, why, advice });
    if r.file == Some(ResolvConf::Directory) {
        return proven(
            format!("{path} is a directory, and should be a file"),
            "put a file in its place; a container engine makes a directory where the file to be mounted is missing"
                .into(),
        );
    }
    if r.servers.is_empty() {
        return match (&r.passed_over, r.file) {
            (Some(line), _) if line.ends_with('\r') => proven(
                format!("the lines of {path} end with a carriage return, and no `nameserver` line can be read"),
                format!("take the carriage returns out: `sed -i 's/\\r$//' {path}`"),
            ),
            (Some(line), _) => proven(
                format!("{path} names no name server: no address stands in {line:?}"),
                format!("give the address of a server in {path}: a name can't be looked up without one"),
            ),
            (None, Some(ResolvConf::Missing)) => proven(
                format!("there is no {path}"),
                "find what should write it; it may be a link to a file that is not there".into(),
            ),
            _ => proven(
                format!("{path} names no name server"),
                format!("add a `nameserver` line to {path}, or find what should write it"),
            ),
        };
    }
    // Other programs than the C library have reasons of their own.
    let task = l.task.as_ref().filter(|_| l.resolved.is_some())?;
    let who = phrase::task(task);
    match r.file {
        Some(ResolvConf::File { owner, mode }) if task.uid != owner && task.uid != 0 && mode & OTHERS_READ == 0 => {
            let certainty = if mode & GROUP_READ == 0 { Certainty::Proven } else { Certainty::Likely };
            let why = format!("{who} (uid {}) may not read {path} (mode {mode:03o}, owner uid {owner})", task.uid);
            Some(Fault { certainty, why, advice: format!("let everybody read it: `chmod 644 {path}`") })
        }
        _ => Some(Fault {
            certainty: Certainty::Likely,
            why: format!("{who} did not use the name servers of {path} ({})", r.written().join(", ")),
            advice: format!("see that it may read {path}: permissions of the folders on the way, a security module"),
        }),
    }
}
