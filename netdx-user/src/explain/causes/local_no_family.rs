//! `local.no-family`

use super::evidence::{anything_came_back, call_proof, place, stopping_drops, told};
use crate::{
    coverage::Coverage,
    event::{Call, Netns},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    fact::Answer,
    report::{Certainty, Evidence},
    story::{Connection, FailedCall},
    want::Want,
};
use std::net::{IpAddr, Ipv6Addr};

pub(super) const CAUSE: Cause = Cause {
    code: "local.no-family",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[
        "route.none",
        "local.ports-exhausted",
        "local.bad-source",
        "timeout.dropped",
        "timeout.silent",
        "timeout.abandoned",
        "route.interface-down",
        "route.icmp-unreachable",
        "route.neighbor-silent",
    ],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The address family is switched off here.

# What happened
The program wants IPv6 (or another family), and this kernel or this network namespace has it switched off, or an interface
that its packets come to. Where it is the loopback interface's, ::1 is nobody's address.

# How netdx knows
socket(2) failed with EAFNOSUPPORT, or a call with EADDRNOTAVAIL or ENETUNREACH while `net.ipv6.conf.all.disable_ipv6` (read
right after) is 1. For one interface: its own `disable_ipv6` is 1, and the kernel dropped a packet there (reason
IPV6DISABLED), or the target is ::1.

# What to do
Switch it on (`sysctl net.ipv6.conf.all.disable_ipv6=0`), or have the program use IPv4. A kernel started with ipv6.disable=1
has none at all.

# Easily confused with
route.none: the family works and has no route. local.bad-source: the address isn't this host's. local.bad-target: the family
works, and the program gave an address of it to a socket of the other one, which is EAFNOSUPPORT, too.
";

fn key(c: &Connection) -> Want {
    Want::Sysctl { netns: c.netns, key: "ipv6/conf/all/disable_ipv6".into() }
}

/// IPv6 is switched off in this namespace.
pub(super) fn switched_off(c: &Connection) -> bool {
    (c.v6_socket || c.tuple.remote.is_ipv6() || c.tuple.local.is_ipv6())
        && matches!(c.facts.get(&key(c)), Some(Answer::Sysctl(v)) if v == "1")
}

fn suspicious(c: &Connection) -> bool {
    let fits = |f: FailedCall| match f.errno {
        // There is a socket of that family where another call says so: it was given an address of another one.
        errno::EAFNOSUPPORT => f.call == Call::Socket,
        errno::EADDRNOTAVAIL | errno::ENETUNREACH => true,
        _ => false,
    };
    c.id.is_none() && c.failed_call().is_some_and(fits)
}

/// Where a packet of its met an interface without IPv6: the namespace, the interface's name, the proof. What goes to ::1 leaves
/// by another one while the loopback interface has no IPv6.
fn refused_by(c: &Connection) -> Option<(Netns, &str, Evidence)> {
    let dropped = stopping_drops(c).find(|d| d.reason == "IPV6DISABLED" && !d.packet.device_name.is_empty());
    if let Some((d, netns)) = dropped.and_then(|d| Some((d, d.netns()?))) {
        let proof =
            seen(c, d.time, "drop", format!("{} dropped {}: {}", phrase::packet(d.packet), place(c, &d), d.reason));
        return Some((netns, &d.packet.device_name, proof));
    }
    let to_loopback = c.tried() && c.tuple.remote == IpAddr::V6(Ipv6Addr::LOCALHOST);
    let strayed = to_loopback && c.established.is_none() && !anything_came_back(c);
    strayed.then(|| (c.netns, "lo", seen(c, c.began, "syn-sent", "SYN sent to ::1")))
}

fn switch(netns: Netns, interface: &str) -> Want {
    Want::Sysctl { netns, key: format!("ipv6/conf/{interface}/disable_ipv6") }
}

/// IPv6 is switched off at one interface.
fn off_there(c: &Connection) -> Option<Finding> {
    let (netns, interface, proof) = refused_by(c)?;
    if !matches!(c.facts.get(&switch(netns, interface)), Some(Answer::Sysctl(value)) if value == "1") {
        return None;
    }
    let setting = format!("net.ipv6.conf.{interface}.disable_ipv6");
    let at = phrase::namespace(&c.facts, netns, c.netns);
    Some(
        Finding::new(Certainty::Proven, format!("IPv6 is switched off at {interface} of {at} ({setting} = 1)"), proof)
            .and(fact("sysctl", format!("{setting} = 1")))
            .and_all(told(c))
            .advise(format!("switch it on in {at}: sysctl -w {setting}=0; or use IPv4")),
    )
}

fn wants(c: &Connection) -> Vec<Want> {
    let there = refused_by(c).map(|(netns, interface, _)| [switch(netns, interface), Want::Namespace { netns }]);
    let here = (suspicious(c) && c.v6_socket).then(|| key(c));
    there.into_iter().flatten().chain(here).collect()
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if let Some(finding) = off_there(c) {
        return Judgement::Yes(finding);
    }
    let Some(call) = c.failed_call() else { return Judgement::No };
    if !suspicious(c) {
        return Judgement::No;
    }
    let (because, note) = match call.errno {
        errno::EAFNOSUPPORT if call.family == 10 || c.v6_socket => ("IPv6 is not supported here".to_owned(), None),
        errno::EAFNOSUPPORT => (format!("address family {} is not supported here", call.family), None),
        _ if switched_off(c) => (
            "IPv6 is switched off in this network namespace (net.ipv6.conf.all.disable_ipv6 = 1)".to_owned(),
            Some(fact("sysctl", "net.ipv6.conf.all.disable_ipv6 = 1")),
        ),
        _ => return Judgement::No,
    };
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, call_proof(c, &call))
            .and_all(note)
            .and_all(told(c))
            .advise("switch the family on, or have the program use IPv4"),
    )
}
