//! `denied.policy`

use super::evidence::told;
use crate::{
    coverage::Coverage,
    event::Call,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, seen},
    fact::{Answer, Process},
    report::Certainty,
    story::Connection,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "denied.policy",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
A security policy forbids the call to this process.

# What happened
The kernel refused the call itself, before any packet was made: a seccomp filter, Landlock, a security module (AppArmor,
SELinux), the sandboxing of a systemd unit, or a privilege that the process lacks (binding to a port below 1024).

# How netdx knows
The call failed with EPERM or EACCES before its routing lookup and before the control group's BPF programs were asked; with
seccomp not even the call's entry is reached. What applies to the process was read from its status.

# What to do
Look at what is named here: the unit's RestrictAddressFamilies=, SystemCallFilter=, the AppArmor profile or SELinux context
(`journalctl -k`, `ausearch -m avc`), the container's seccomp profile.

# Easily confused with
denied.bpf: a program of the control group refused it. firewall.dropped: EPERM for a datagram that a filter dropped.
route.rejects: EACCES from a route of type prohibit.
";

fn wants(c: &Connection) -> Vec<Want> {
    let low_port = c.failed_call().is_some_and(|call| call.call == Call::Bind && call.errno == errno::EACCES);
    if low_port {
        vec![Want::Sysctl { netns: c.netns, key: "ipv4/ip_unprivileged_port_start".into() }]
    } else {
        Vec::new()
    }
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    let Some(call) = c.failed_call() else { return Judgement::No };
    // What answers in place of the call may answer anything.
    let fits = matches!(call.errno, errno::EPERM | errno::EACCES) || !call.entered;
    if c.id.is_some() || !fits || c.drops().next().is_some() {
        return Judgement::No;
    }
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
    let process = c.task.as_ref().and_then(|t| match c.facts.get(&Want::Process { pid: t.pid }) {
        Some(Answer::Process(Some(p))) => Some(p.as_ref()),
        _ => None,
    });
    let proof = if call.entered {
        seen(
            c,
            call.time,
            "call-failed",
            format!("the call returned {} before any routing lookup was made", errno::name(call.errno)),
        )
    } else {
        seen(
            c,
            call.time,
            "call-failed",
            format!("the call returned {} without being entered: seccomp answered it", errno::name(call.errno)),
        )
    };
    let applies = process.map(applies).unwrap_or_default();
    let (certainty, because) = if !call.entered && coverage.has("connect-call") {
        (Certainty::Proven, "a seccomp filter refused the call".to_owned())
    } else if call.cgroup_hook == Some(false) {
        (Certainty::Proven, "a security policy refused the call (a security module, Landlock or sandboxing)".to_owned())
    } else {
        (Certainty::Likely, "a security policy refused the call".to_owned())
    };
    let because =
        if applies.is_empty() { because } else { format!("{because}; to this process apply: {}", applies.join(", ")) };
    Judgement::Yes(
        Finding::new(certainty, because, proof)
            .and_all(applies.into_iter().map(|a| fact("confinement", a)))
            .and_all(told(c))
            .advise("look at what confines this process: its unit's sandboxing, its container's seccomp profile, its security module's log"),
    )
}

fn applies(p: &Process) -> Vec<String> {
    let mut all = Vec::new();
    match p.seccomp {
        1 => all.push("seccomp (strict)".into()),
        2 => all.push("a seccomp filter".into()),
        _ => {}
    }
    all.extend(p.label.as_ref().map(|l| format!("security label {l}")));
    all.extend(p.unit.as_ref().map(|u| format!("unit {u}")));
    all.extend(p.container.as_ref().map(|u| format!("container {u}")));
    all
}
