//! `local.ports-exhausted`

use super::evidence::{call_proof, told};
use crate::{
    coverage::Coverage,
    event::{Call, Protocol},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase},
    fact::{Answer, PortUse},
    report::{Certainty, Outcome},
    story::{Connection, FailedCall},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "local.ports-exhausted",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.abandoned", "local.address-in-use"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
No local port is left for that target.

# What happened
Every connection needs a local port that is not yet used towards the same target. The range for them
(`net.ipv4.ip_local_port_range`, usually 32768 to 60999) is used up: many connections are open, or were closed a moment ago
and still wait in TIME_WAIT; or ports of it are reserved (`net.ipv4.ip_local_reserved_ports`).

# How netdx knows
connect (or bind to port 0) failed with the errno for it without any packet being sent and with no port chosen, and the
table of sockets, read right after, shows the range in use, by whom and in which state.

# What to do
Reuse connections (a pool, keep-alive). Find the leak: the owner with the most is named. More room: a wider
ip_local_port_range, more local or target addresses, `net.ipv4.tcp_tw_reuse=1` for outgoing connections.

# Easily confused with
local.address-in-use: the program asked for one particular port, and that one is taken.
";

/// The call that found no port.
fn no_port(c: &Connection) -> Option<FailedCall> {
    let call = c.failed_call()?;
    let fits = match call.call {
        Call::Bind => call.errno == errno::EADDRINUSE && c.tuple.local_port == 0,
        Call::Connect | Call::IoUringConnect | Call::Send if c.tuple.protocol == Protocol::Udp => {
            call.errno == errno::EAGAIN
        }
        // The socket went to SYN_SENT and back within the call, and never got a port.
        Call::Connect | Call::IoUringConnect | Call::Send => {
            call.errno == errno::EADDRNOTAVAIL && c.tuple.local_port == 0 && call.route.error == 0 && !rejected(&call)
        }
        _ => false,
    };
    fits.then_some(call)
}

/// IPv6's null entry: no route, no port was ever looked for.
fn rejected(call: &FailedCall) -> bool {
    call.route.kind == 7
}

fn want(c: &Connection) -> Want {
    Want::PortUse {
        netns: c.netns,
        protocol: c.tuple.protocol,
        remote: c.tuple.remote,
        remote_port: c.tuple.remote_port,
    }
}

fn wants(c: &Connection) -> Vec<Want> {
    no_port(c).map(|_| want(c)).into_iter().collect()
}

/// The socket went to SYN_SENT and back without a port, and which error the application got was not seen.
fn untold(c: &Connection, coverage: &Coverage) -> Option<String> {
    let back = c.outcome == Outcome::Failed && c.tried() && c.errno.is_none() && c.tuple.local_port == 0;
    coverage.missing("connect-call").filter(|_| back)
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    let Some(call) = no_port(c) else {
        return match untold(c, coverage) {
            Some(why) => Judgement::CannotTell(format!("what connect returned was not seen: {why}")),
            None => Judgement::No,
        };
    };
    let used = match c.facts.get(&want(c)) {
        Some(Answer::PortUse(u)) => Some(u),
        _ => None,
    };
    let size = used.map(|u| u32::from(u.range.1.saturating_sub(u.range.0)) + 1);
    let because = match (used, size) {
        (Some(u), Some(size)) => format!(
            "no local port is left: {} of the {size} ports {} to {} are in use{}{}",
            u.used.min(size),
            u.range.0,
            u.range.1,
            by(u),
            reserved(u)
        ),
        _ => "no local port is left".into(),
    };
    // The range is looked at after the call: it may have got some room meanwhile.
    let certainty =
        if c.id.is_some() || call.call == Call::Bind || used.is_some_and(|u| Some(u.used.max(u.reserved)) >= size) {
            Certainty::Proven
        } else {
            Certainty::Likely
        };
    Judgement::Yes(
        Finding::new(certainty, because, call_proof(c, &call))
            .and_all(used.map(|u| {
                fact(
                    "ports",
                    format!(
                        "net.ipv4.ip_local_port_range = {} {}; in use: {}{}{}",
                        u.range.0,
                        u.range.1,
                        u.used,
                        by(u),
                        reserved(u)
                    ),
                )
            }))
            .and_all(told(c))
            .advise(match used {
                Some(u) if u.reserved > 0 => {
                    "reuse connections (a pool, keep-alive), widen net.ipv4.ip_local_port_range, or reserve fewer ports \
                     (net.ipv4.ip_local_reserved_ports)"
                }
                _ => "reuse connections (a pool, keep-alive), or widen net.ipv4.ip_local_port_range",
            }),
    )
}

/// How many the kernel does not choose from.
fn reserved(u: &PortUse) -> String {
    match u.reserved {
        0 => String::new(),
        n => format!(", and {n} are reserved (net.ipv4.ip_local_reserved_ports)"),
    }
}

/// Who uses them: the first few rows, and how many ports the others have.
fn by(u: &PortUse) -> String {
    const SHOWN: usize = 3;
    let rows = u.by.iter().take(SHOWN).map(|(owner, state, n)| match owner {
        Some(o) => format!("{n} {state} by {}", phrase::owners(std::slice::from_ref(o))),
        None => format!("{n} {state}"),
    });
    let others = u.by.iter().skip(SHOWN).map(|(.., n)| u64::from(*n)).sum();
    let rows = phrase::some_of(rows.collect(), others, ", ");
    if rows.is_empty() { rows } else { format!(" ({rows})") }
}
