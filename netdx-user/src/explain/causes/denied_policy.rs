//! `denied.policy`

use super::{evidence::told, ipsec};
use crate::{
    coverage::Coverage,
    event::Call,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    fact::{Answer, Process},
    report::{Certainty, Evidence},
    story::{Connection, FailedCall},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "denied.policy",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.dropped", "timeout.silent", "timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
A security policy forbids the call to this process.

# What happened
The kernel refused the call itself, before any packet was made: a seccomp filter, Landlock, a security module (AppArmor,
SELinux), the sandboxing of a systemd unit, or a privilege that the process lacks (binding to a port below 1024). Or an IPsec
policy of the namespace blocks that target for every process, or lets packets out to it protected only, and the security
association for that is missing.

# How netdx knows
The call failed with EPERM or EACCES before its routing lookup and before the control group's BPF programs were asked. With
seccomp not even the call's entry is reached, and the error is whatever the filter gives (EPERM; EAFNOSUPPORT for systemd's
RestrictAddressFamilies=). What applies to the process was read from its status. An IPsec policy is asked after the routing
lookup, and answers EPERM, or keeps packets back until they are dropped; policies and associations were read right after.

# What to do
Look at what is named here: the unit's RestrictAddressFamilies=, SystemCallFilter=, the AppArmor profile or SELinux context
(`journalctl -k`, `ausearch -m avc`), the container's seccomp profile.

# Easily confused with
denied.bpf: a program of the control group refused it. firewall.dropped: EPERM for a datagram that a filter dropped.
route.rejects: EACCES from a route of type prohibit.
";

fn wants(c: &Connection) -> Vec<Want> {
    let mut wants = ipsec::wants(c);
    if c.failed_call().is_some_and(|call| call.call == Call::Bind && call.errno == errno::EACCES) {
        wants.push(Want::Sysctl { netns: c.netns, key: "ipv4/ip_unprivileged_port_start".into() });
    }
    wants
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    if let Some(finding) = ipsec::finding(c) {
        return Judgement::Yes(finding);
    }
    if c.id.is_some() || c.is_dropped() {
        return Judgement::No;
    }
    if let Some(call) = c.call_not_entered() {
        return by_seccomp(c, &call, coverage);
    }
    let Some(call) = c.failed_call().filter(|call| matches!(call.errno, errno::EPERM | errno::EACCES)) else {
        return Judgement::No;
    };
    if call.call == Call::Bind && call.errno == errno::EACCES {
        let key = Want::Sysctl { netns: c.netns, key: "ipv4/ip_unprivileged_port_start".into() };
        if let Some(Answer::Sysctl(start)) = c.facts.get(&key)
            && start.parse::<u16>().is_ok_and(|s| c.tuple.local_port < s)
        {
            let because =
                format!("port {} is below {start}: binding to it needs CAP_NET_BIND_SERVICE", c.tuple.local_port);
            return Judgement::Yes(
                Finding::new(Certainty::Proven, because, seen(c, call.time, "call-failed", "bind returned EACCES"))
                    .and(fact("sysctl", format!("net.ipv4.ip_unprivileged_port_start = {start}")))
                    .advise("use a higher port, or give the program that capability"),
            );
        }
    }
    // Sending refuses a broadcast address with EACCES, too: local.bad-target.
    let broadcast = call.call == Call::Send && call.errno == errno::EACCES;
    if call.route.count > 0 || call.cgroup_hook == Some(true) || broadcast {
        return Judgement::No;
    }
    let proof = seen(
        c,
        call.time,
        "call-failed",
        format!("{} returned {} before any routing lookup was made", phrase::call(call.call), errno::name(call.errno)),
    );
    let (certainty, because) = if call.cgroup_hook == Some(false) {
        (Certainty::Proven, "a security policy refused the call (a security module, Landlock or sandboxing)".to_owned())
    } else {
        (Certainty::Likely, "a security policy refused the call".to_owned())
    };
    Judgement::Yes(refused(c, certainty, because, proof, applies).advise(
        "look at what confines this process: its unit's sandboxing, its container's seccomp profile, its security module's log",
    ))
}

/// A filter answered in place of the call, with an error of its own choice.
fn by_seccomp(c: &Connection, call: &FailedCall, coverage: &Coverage) -> Judgement {
    let (name, error) = (phrase::call(call.call), errno::name(call.errno));
    let family = match call.family {
        _ if call.call != Call::Socket => "",
        2 => " for IPv4",
        10 => " for IPv6",
        _ => "",
    };
    let certainty = if coverage.has("connect-call") { Certainty::Proven } else { Certainty::Likely };
    let because = format!("a seccomp filter refused the call: it answered {name}{family} with {error}");
    let proof = seen(
        c,
        call.time,
        "call-failed",
        format!("{name} returned {error} without having been entered: seccomp answered it"),
    );
    let unit = process(c).and_then(|p| p.unit.as_deref()).unwrap_or("its unit");
    // systemd answers so for a family that is not in the list (seccomp_restrict_address_families).
    let what = if call.call == Call::Socket && call.errno == errno::EAFNOSUPPORT {
        format!("allow the address family: RestrictAddressFamilies= of {unit}, or the container's seccomp profile")
    } else {
        format!("allow {name}: SystemCallFilter= of {unit}, or the container's seccomp profile")
    };
    Judgement::Yes(refused(c, certainty, because, proof, placed).advise(what))
}

/// The finding, with what applies to the process.
fn refused(
    c: &Connection,
    certainty: Certainty,
    because: String,
    proof: Evidence,
    applies: impl Fn(&Process) -> Vec<String>,
) -> Finding {
    let applies = process(c).map(applies).unwrap_or_default();
    let because =
        if applies.is_empty() { because } else { format!("{because}; to this process apply: {}", applies.join(", ")) };
    Finding::new(certainty, because, proof)
        .and_all(applies.into_iter().map(|a| fact("confinement", a)))
        .and_all(told(c))
}

fn process(c: &Connection) -> Option<&Process> {
    let task = c.task.as_ref()?;
    match c.facts.get(&Want::Process { pid: task.pid }) {
        Some(Answer::Process(Some(p))) => Some(p.as_ref()),
        _ => None,
    }
}

fn applies(p: &Process) -> Vec<String> {
    let mut all = Vec::new();
    match p.seccomp {
        1 => all.push("seccomp (strict)".into()),
        2 => all.push("a seccomp filter".into()),
        _ => {}
    }
    all.extend(p.label.as_ref().map(|l| format!("security label {l}")));
    all.extend(placed(p));
    all
}

/// Where it runs, which decides what confines it.
fn placed(p: &Process) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(p.unit.as_ref().map(|u| format!("unit {u}")));
    all.extend(p.container.as_ref().map(|u| format!("container {u}")));
    all
}
