//! `dns.server-unreachable`

use super::{
    answers::{decided, gave_up_at_once, interfaces_want, of_way, resolver_said, whether_right},
    dns_no_server::DEFAULT,
    route_neighbor_silent::{unheard, unresolved, unresolved_wants},
    tunnel,
};
use crate::{
    coverage::Coverage,
    explain::{
        Cause, Finding, Judgement, Opinions, Rule, Tells, connection_wants, context, errno, fact, noted, phrase,
    },
    fact::Answer,
    report::{Certainty, Evidence},
    story::{Connection, Lookup, Query},
    want::Want,
};
use std::net::IpAddr;

pub(super) const CAUSE: Cause = Cause {
    code: "dns.server-unreachable",
    page: PAGE,
    rule: Rule::Lookup { wants, judge },
    hides: &["dns.lookup-failed"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The name server can't be reached.

# What happened
The query could not be sent, or was turned back on its way: nothing listens on the server's port 53, there is no route to it,
its network does not answer, a firewall forbids it.

# How netdx knows
The socket with which the resolver asked got an error, or its packets were dropped on this host. The way to the server is
judged like any other connection; the code of that cause is given.

# What to do
Look at the cause named here. Is the server of resolv.conf the right one, and does it run?

# Easily confused with
dns.timeout: the server can be reached as far as this host sees, and does not answer.
";

/// It failed for what was not answered.
fn in_vain(l: &Lookup) -> bool {
    let heard = l.queries.iter().any(Query::heard);
    !l.succeeded() && !(heard && (decided(l) || gave_up_at_once(l, unanswered(l))))
}

/// Queries that nobody answered.
fn unanswered(l: &Lookup) -> impl Iterator<Item = &Query> {
    l.open().filter(|q| q.answer.is_none() && !q.heard())
}

/// Ways to servers that came to nothing, with the lookup's facts: those with an event of their own, and those of queries
/// that nobody answered.
fn ways(l: &Lookup) -> Vec<Connection> {
    // The way to a server that answered all it was asked did not come to nothing.
    let in_vain = |p: &&Connection| {
        let of_server = |q: &&Query| q.tuple.remote == p.tuple.remote;
        p.tuple.remote_port == 53 && (!l.queries.iter().any(|q| of_server(&q)) || unanswered(l).any(|q| of_server(&q)))
    };
    let mut ways: Vec<Connection> = l.paths.iter().filter(in_vain).cloned().collect();
    for q in unanswered(l) {
        if !ways.iter().any(|w| w.tuple.remote == q.tuple.remote) {
            ways.push(l.way(q));
        }
    }
    for way in &mut ways {
        way.facts = l.facts.clone();
        way.program = way.program.take().or_else(|| l.program.clone());
    }
    ways
}

fn wants(l: &Lookup) -> Vec<Want> {
    if !in_vain(l) {
        return Vec::new();
    }
    let of_links = l.resolver().filter(|r| !r.zones.is_empty()).and_then(|_| interfaces_want(l));
    let of_ways = ways(l).into_iter().flat_map(|w| connection_wants(&w).into_iter().chain(unresolved_wants(&w)));
    of_ways.chain(of_links).collect()
}

/// Why a server can't be reached.
struct Obstacle<'a> {
    way: &'a Connection,
    server: IpAddr,
    code: &'static str,
    finding: Finding,
}

fn obstacle<'a>(way: &'a Connection, coverage: &Coverage) -> Option<Obstacle<'a>> {
    let server = way.tuple.remote;
    if way.events.is_empty() {
        // Nothing happened to its packets, it seems: they may still wait for the next hop.
        let proof = unresolved(way)?;
        let because = format!("the next hop to {server} does not answer");
        let through = way.next_hop().and_then(|(hop, device)| tunnel::beneath(way, way.netns, device, hop));
        let (certainty, blind) = unheard(coverage, through);
        let finding = Finding::new(certainty, because, proof).and_all(blind);
        return Some(Obstacle { way, server, code: "route.neighbor-silent", finding });
    }
    let (cause, finding) = Opinions::of_connection(way, coverage).verdict?;
    let because = format!("{}{}", context::translation(way), finding.because);
    let finding = Finding { because, ..finding }.and_all(context::translations(way));
    Some(Obstacle { way, server, code: cause.code, finding })
}

fn judge(l: &Lookup, coverage: &Coverage) -> Judgement {
    if !in_vain(l) {
        return Judgement::No;
    }
    let ways = ways(l);
    let mut obstacles: Vec<Obstacle<'_>> = Vec::new();
    for found in ways.iter().filter_map(|w| obstacle(w, coverage)) {
        if !obstacles.iter().any(|o| o.server == found.server) {
            obstacles.push(found);
        }
    }
    if obstacles.is_empty() {
        return unnamed(l, &ways);
    }
    let said: Vec<String> =
        obstacles.iter().map(|o| format!("{}: {} ({})", outcome(l, o.server), o.finding.because, o.code)).collect();
    let certainty = obstacles.iter().map(|o| o.finding.certainty).min().unwrap_or(Certainty::Possible);
    let mut evidence: Vec<Evidence> = Vec::new();
    let mut advice: Vec<String> = Vec::new();
    for o in &obstacles {
        advice.extend(o.finding.advice.iter().filter(|what| !advice.contains(what)).cloned().collect::<Vec<_>>());
        evidence.push(fact("cause", format!("the way to {}: {}", o.server, o.code)));
        evidence.extend(o.finding.evidence.iter().cloned().map(|e| of_way(l, o.way, e)));
    }
    let mut evidence = evidence.into_iter();
    let Some(first) = evidence.next() else { return Judgement::No };
    let named: Vec<IpAddr> = obstacles.iter().map(|o| o.server).collect();
    let silent: Vec<IpAddr> = named.iter().copied().filter(|s| answered_by(l, *s).next().is_none()).collect();
    let doubt = (!silent.is_empty()).then(|| format!("{} (resolv.conf)?", whether_right(&silent)));
    let finding = Finding::new(certainty, said.join("; "), first)
        .and_all(evidence)
        .and_all(named.iter().filter_map(|server| without_link(l, *server)))
        .and_all(resolver_said(l))
        .and_all(unread(l, &named));
    Judgement::Yes(advice.into_iter().chain(doubt).fold(finding, Finding::advise))
}

/// The queries that a server answered.
fn answered_by(l: &Lookup, server: IpAddr) -> impl Iterator<Item = &Query> {
    l.queries.iter().filter(move |q| q.heard() && q.tuple.remote == server)
}

/// What did not work about a server: it may have answered another question.
fn outcome(l: &Lookup, server: IpAddr) -> String {
    match (answered_by(l, server).next(), unanswered(l).find(|q| q.tuple.remote == server)) {
        (Some(_), Some(q)) => {
            format!("{} {} got no answer from the name server {server}", phrase::dns_type(q.kind), q.name)
        }
        _ => format!("the name server {server} can't be reached"),
    }
}

/// resolv.conf names an interface for a server that this namespace does not have: it was asked without one.
fn without_link(l: &Lookup, server: IpAddr) -> Option<Evidence> {
    let resolver = l.resolver()?;
    let zone = resolver.zones.get(&server)?;
    let Answer::Interfaces(all) = l.facts.get(&interfaces_want(l)?)? else { return None };
    let is_there = all.iter().any(|i| i.name == *zone || i.index.to_string() == *zone);
    (!is_there).then(|| {
        fact("resolv.conf", format!("{} has {server}%{zone}, and there is no interface {zone}", resolver.path))
    })
}

/// An error that nothing explains is still the socket's own word.
fn unnamed(l: &Lookup, ways: &[Connection]) -> Judgement {
    let Some((way, code)) = ways.iter().find_map(|w| w.errno.map(|e| (w, e))) else { return Judgement::No };
    let time = way.ended.unwrap_or(way.began);
    Judgement::Yes(
        Finding::new(
            Certainty::Likely,
            format!("{}: {}", outcome(l, way.tuple.remote), errno::name(code)),
            noted(l, time, "socket-error", format!("the resolver's socket got {}", errno::name(code))),
        )
        .and_all(resolver_said(l))
        .advise(format!("`netdx check {}` tries the way to it", phrase::endpoint(way.tuple.remote, 53))),
    )
}

/// Where no resolv.conf could be read, the server may be nobody's choice.
fn unread(l: &Lookup, servers: &[IpAddr]) -> Option<Evidence> {
    let why = match l.resolver_want().and_then(|w| l.facts.get(&w)) {
        Some(Answer::Resolver(_)) => return None,
        Some(Answer::Unavailable(why)) => why.as_str(),
        _ => "it was not read in time",
    };
    servers.contains(&DEFAULT).then(|| {
        fact(
            "not-observed",
            format!("resolv.conf: {why}; if it names no server, the C library asks {DEFAULT} by itself"),
        )
    })
}
