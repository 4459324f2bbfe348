//! Forwarders on this host (a stub resolver, dnsmasq), and daemons that C libraries ask (nscd): a client's lookup and the one
//! made for it are one failure.
//!
//! Owns: whether a process has the address that another one asked. Must not know: single causes.

use super::{Cause, Finding, Opinions, fact, nanos, phrase};
use crate::{
    coverage::Coverage,
    event::{Netns, Protocol},
    fact::{Answer, Listener},
    report::{Also, Evidence},
    story::{Client, Facts, Lookup, lead_to},
    want::Want,
};
use std::net::IpAddr;

/// The question who serves names on this host.
pub(super) fn want() -> Want {
    Want::Listeners { protocol: Protocol::Udp, port: 53 }
}

/// A process has port 53 of an address; `netns`: the namespace that a loopback address is meant in.
fn serves(facts: &Facts, pid: u32, address: IpAddr, netns: Option<Netns>) -> bool {
    let Some(Answer::Listeners(all)) = facts.get(&want()) else { return false };
    let takes = |l: &Listener| match (l.addr, address) {
        (IpAddr::V6(a), IpAddr::V4(_)) => a.is_unspecified() && !l.v6only,
        (a, b) => a == b || a.is_unspecified() && a.is_ipv4() == b.is_ipv4(),
    };
    let same_host = |l: &Listener| !address.is_loopback() || netns == Some(l.netns);
    all.iter().any(|l| takes(l) && same_host(l) && l.owners.iter().any(|o| o.pid == pid))
}

/// It was made for another process's lookup, which tells it.
pub(super) fn is_for_another(l: &Lookup) -> bool {
    let Some(task) = &l.task else { return false };
    let is_for = |c: &Client| c.servers.is_empty() || c.servers.iter().any(|s| serves(&l.facts, task.pid, *s, c.netns));
    l.clients.iter().any(is_for)
}

/// What a daemon looked up in place of a C library that asked no server itself, with this one's facts.
pub(super) fn in_place_of(l: &Lookup) -> Option<Lookup> {
    let asked_none = l.queries.is_empty() && l.paths.is_empty() && !l.succeeded();
    let sources = l.resolver().map(|r| r.nsswitch.as_slice()).unwrap_or_default();
    let failed = |relay: &&Lookup| {
        asked_none && !relay.succeeded() && relay.task.as_ref().is_some_and(|t| lead_to(sources, &t.comm))
    };
    // What it ran into last decides what it told its client.
    let daemon = l.relays.iter().rev().find(failed)?;
    Some(Lookup { facts: l.facts.clone(), ..daemon.clone() })
}

/// The verdict on a lookup that a daemon made in place of this one, told of this one.
pub(super) fn of_daemon(l: &Lookup, daemon: &Lookup, coverage: &Coverage) -> Option<(&'static Cause, Finding)> {
    let (cause, found) = Opinions::of_lookup(daemon, coverage).verdict?;
    let who = daemon.task.as_ref().map(phrase::task)?;
    let later = nanos(daemon.began.since(l.began));
    let evidence = found.evidence.into_iter().map(|e| Evidence { t_ns: e.t_ns.map(|t| t + later), ..e });
    let because = format!("{who}, which the C library asked, found out: {}", found.because);
    let asked = format!("no query was sent by the process itself; meanwhile {who} looked up {}", daemon.name());
    let finding = Finding { because, evidence: evidence.collect(), ..found };
    Some((cause, finding.and(fact("upstream", asked))))
}

/// Lookups that a forwarder made for this one: the address it has, and its lookup with this one's facts.
fn upstream(l: &Lookup) -> Vec<(IpAddr, Lookup)> {
    let servers = l.servers();
    let made = l.relays.iter().filter_map(|relay| {
        let pid = relay.task.as_ref()?.pid;
        let server = servers.iter().find(|s| serves(&l.facts, pid, **s, l.netns))?;
        let mut relay = relay.clone();
        relay.facts = l.facts.clone();
        Some((*server, relay))
    });
    made.collect()
}

/// Adds to a verdict what the forwarder behind the server ran into. Its own verdict stands beside.
pub(super) fn explain(l: &Lookup, finding: Finding, coverage: &Coverage) -> (Finding, Option<Also>) {
    // What it ran into last decides what it told its client.
    for (server, relay) in upstream(l).into_iter().rev() {
        let (Some(task), Some((cause, why))) = (&relay.task, Opinions::of_lookup(&relay, coverage).verdict) else {
            continue;
        };
        if relay.succeeded() {
            continue;
        }
        let who = phrase::task(task);
        let behind = format!("{who}, which serves {server}, asked in turn: {}", why.because);
        let also = Also { code: cause.code, certainty: why.certainty, summary: behind.clone() };
        let because = format!("{}; {behind} ({})", finding.because, cause.code);
        let joined =
            format!("{who} receives on {}, and looked up {} itself", phrase::endpoint(server, 53), relay.name());
        // What is to be done is to be done there.
        let finding = Finding { because, advice: why.advice, ..finding };
        return (finding.and(fact("upstream", joined)), Some(also));
    }
    (finding, None)
}
