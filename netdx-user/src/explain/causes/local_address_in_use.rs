//! `local.address-in-use`

use super::evidence::{call_proof, told};
use crate::{
    coverage::Coverage,
    event::Call,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase},
    fact::{Answer, SocketEntry},
    report::Certainty,
    story::{Connection, FailedCall},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "local.address-in-use",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
Somebody else has that local address and port.

# What happened
A program asked for a particular local port, and it is taken: another server listens on it (perhaps an older copy of the
same one), or the same connection (the same four of addresses and ports) exists already, possibly in TIME_WAIT.

# How netdx knows
bind, listen or connect failed with the errno for it, and the table of sockets, read right after, shows who has it.

# What to do
Stop the other one, or use another port. A server should set SO_REUSEADDR so that old connections (in TIME_WAIT, or those of
its predecessor) don't stop it; against one that listens that does not help. Don't bind outgoing connections to a fixed port.

# Easily confused with
local.ports-exhausted: no particular port was asked for, and none is left. local.bad-source: the address isn't this host's.
";

fn taken(c: &Connection) -> Option<FailedCall> {
    let call = c.failed_call()?;
    let fits = match call.call {
        Call::Bind => call.errno == errno::EADDRINUSE && c.tuple.local_port != 0,
        Call::Listen => call.errno == errno::EADDRINUSE,
        Call::Connect | Call::IoUringConnect => {
            matches!(call.errno, errno::EADDRNOTAVAIL | errno::EADDRINUSE)
                && c.tuple.local_port != 0
                && call.route.error == 0
        }
        _ => false,
    };
    fits.then_some(call)
}

fn want(c: &Connection) -> Want {
    Want::Holders { netns: c.netns, protocol: c.tuple.protocol, address: c.tuple.local, port: c.tuple.local_port }
}

fn wants(c: &Connection) -> Vec<Want> {
    taken(c).map(|_| want(c)).into_iter().collect()
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(call) = taken(c) else { return Judgement::No };
    let holders = holders(c);
    let local = phrase::endpoint(c.tuple.local, c.tuple.local_port);
    let shown = holders.iter().take(SHOWN).map(|s| holder(s));
    let by = phrase::some_of(shown.collect(), holders.len().saturating_sub(SHOWN) as u64, "; ");
    let connects = matches!(call.call, Call::Connect | Call::IoUringConnect);
    let because = match by.is_empty() {
        false => format!("{local} is taken: {by}"),
        true if connects => format!("a connection from {local} to {} exists already", phrase::target(c)),
        true => format!("{local} is taken (by whom could not be seen any more)"),
    };
    // With SO_REUSEADDR on both only a listener is in the way (inet_bind_conflict, 6.18).
    let advice = if connects || !c.is_tcp() || holders.iter().any(|s| listens(s)) {
        "stop the other one or use another port"
    } else {
        "stop the other one or use another port; for a server, set SO_REUSEADDR against old connections"
    };
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, call_proof(c, &call))
            .and_all((!by.is_empty()).then(|| fact("sockets", by)))
            .and_all(told(c))
            .advise(advice),
    )
}

/// How many holders are named.
const SHOWN: usize = 3;

/// Who has it, listeners first. Beside one that listens, connections that are over are not in the way.
fn holders(c: &Connection) -> Vec<&SocketEntry> {
    let Some(Answer::Sockets(all)) = c.facts.get(&want(c)) else { return Vec::new() };
    let mut holders: Vec<&SocketEntry> = all.iter().filter(|s| holds(c, s)).collect();
    holders.sort_by_key(|s| !listens(s));
    if holders.first().is_some_and(|s| listens(s)) {
        holders.retain(|s| s.state != "time-wait");
    }
    holders
}

fn listens(s: &SocketEntry) -> bool {
    s.state == "listen"
}

/// For connect only the same four count; for bind everything on that port.
fn holds(c: &Connection, s: &SocketEntry) -> bool {
    c.tuple.remote_port == 0 || (s.tuple.remote, s.tuple.remote_port) == (c.tuple.remote, c.tuple.remote_port)
}

fn holder(s: &SocketEntry) -> String {
    let who = match s.state.as_str() {
        _ if !s.owners.is_empty() || s.inode != 0 => phrase::owners(&s.owners),
        // The kernel gives it a file when it is accepted.
        "syn-recv" | "established" | "close-wait" => "a connection that waits to be accepted".into(),
        _ => "a closed connection".into(),
    };
    let local = phrase::endpoint(s.tuple.local, s.tuple.local_port);
    if s.tuple.remote_port == 0 {
        format!("{who} has {local} ({})", s.state)
    } else {
        format!("{who} has {local} to {} ({})", phrase::endpoint(s.tuple.remote, s.tuple.remote_port), s.state)
    }
}
