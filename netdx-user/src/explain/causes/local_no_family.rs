//! `local.no-family`

use super::evidence::{call_proof, told};
use crate::{
    coverage::Coverage,
    event::Call,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact},
    fact::Answer,
    report::Certainty,
    story::{Connection, FailedCall},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "local.no-family",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["route.none", "local.ports-exhausted", "local.bad-source"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The address family is switched off here.

# What happened
The program wants IPv6 (or another family), and this kernel or this network namespace has it switched off.

# How netdx knows
socket(2) failed with EAFNOSUPPORT, or a call with EADDRNOTAVAIL or ENETUNREACH while `net.ipv6.conf.all.disable_ipv6` (read
right after) is 1.

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

fn wants(c: &Connection) -> Vec<Want> {
    if suspicious(c) && c.v6_socket { vec![key(c)] } else { Vec::new() }
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
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
