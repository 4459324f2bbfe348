//! What several causes look for in a lookup. Owns: the questions that more than one cause asks of its answers.

use crate::{
    event::DnsMessage,
    explain::{errno, nanos, noted, phrase},
    report::Evidence,
    story::{Connection, Lookup, Misfit, Query, Resolved, rcode},
    want::Want,
};
use std::{net::IpAddr, time::Duration};

/// The answer that decided a lookup, if it has that RCODE, and it as proof.
pub(super) fn decided_by(l: &Lookup, code: u16) -> Option<(&Query, Evidence)> {
    let query = l.decisive().filter(|q| decided(l) && q.rcode() == Some(code))?;
    Some((query, proof(l, query)?))
}

/// The answer to a query as proof.
fn proof(l: &Lookup, query: &Query) -> Option<Evidence> {
    let (time, answer) = query.answer.as_ref()?;
    let took = phrase::duration(time.since(query.sent));
    let aliases: String = answer.aliases.iter().map(|name| format!(", CNAME {name}")).collect();
    let text = format!(
        "{} answered {} for {} {}{aliases} after {took}",
        query.tuple.remote,
        phrase::rcode(answer.rcode),
        phrase::dns_type(query.kind),
        query.name
    );
    Some(noted(l, *time, "answer", text))
}

/// The answer without error and without the records asked for that decided a lookup, what it says, and it as proof.
pub(super) fn decided_by_nothing(l: &Lookup) -> Option<(&Query, &DnsMessage, Evidence)> {
    let (query, proof) = decided_by(l, rcode::NOERROR).filter(|(q, _)| q.unreadable().is_none() && !q.useful())?;
    let (_, answer) = query.answer.as_ref()?;
    Some((query, answer, proof))
}

/// What a name is an alias of, by an answer: `a.test is an alias of b.test, that of c.test`, and the last of them.
pub(super) fn alias<'a>(name: &str, answer: &'a DnsMessage) -> Option<(String, &'a str)> {
    let last = answer.aliases.last()?;
    Some((format!("{name} is an alias of {}", answer.aliases.join(", that of ")), last))
}

/// It failed by what was answered, not by what was not: no question is left open, or the library said so all the same.
pub(super) fn decided(l: &Lookup) -> bool {
    let negative = l.resolved.as_ref().is_some_and(Resolved::is_negative);
    !l.succeeded() && (negative || l.open().next().is_none())
}

/// The C library gave up without having waited for answers to these queries: something that came made it stop.
pub(super) fn gave_up_at_once<'a>(l: &Lookup, open: impl Iterator<Item = &'a Query>) -> bool {
    /// The shortest wait for an answer: a third of the least `timeout` of resolv.conf (musl, three attempts).
    const LEAST_WAIT: Duration = Duration::from_millis(333);
    let failed = l.resolved.as_ref().filter(|r| r.result != 0);
    failed.zip(open.map(|q| q.last).max()).is_some_and(|(r, last)| r.time.since(last) < LEAST_WAIT)
}

/// What getaddrinfo told the application.
pub(super) fn resolver_said(l: &Lookup) -> Option<Evidence> {
    let r = l.resolved.as_ref().filter(|r| r.result != 0)?;
    Some(noted(l, r.time, "getaddrinfo", format!("getaddrinfo returned {}", errno::eai(r.result))))
}

/// The servers of a lookup, for a sentence.
pub(super) fn servers(l: &Lookup) -> String {
    list(&l.servers())
}

/// The servers that answered the same about a name, for a sentence.
pub(super) fn who_said(l: &Lookup, answer: &Query) -> String {
    let same = |q: &&Query| q.name == answer.name && q.rcode() == answer.rcode();
    list(&distinct(l.queries.iter().filter(same).map(|q| q.tuple.remote)))
}

/// Each of the addresses once.
pub(super) fn distinct(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// Addresses for a sentence: `10.0.0.1 and 10.0.0.2`.
pub(super) fn list(servers: &[IpAddr]) -> String {
    match servers {
        [] => "no server".into(),
        [one] => one.to_string(),
        [all @ .., last] => {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            format!("{} and {last}", all.join(", "))
        }
    }
}

/// The question whether these are the servers that should be asked.
pub(super) fn whether_right(servers: &[IpAddr]) -> String {
    let (are, servers_are) = if servers.len() == 1 { ("is", "server") } else { ("are", "servers") };
    format!("{are} {} the right name {servers_are}", list(servers))
}

/// The names that were tried, where the search list made several of one.
pub(super) fn tried(l: &Lookup) -> String {
    let names = l.candidates();
    if names.len() > 1 { format!(" (tried {})", names.join(", ")) } else { String::new() }
}

/// The question for the interfaces of the namespace that a lookup was made in.
pub(super) fn interfaces_want(l: &Lookup) -> Option<Want> {
    l.netns.map(|netns| Want::Interfaces { netns })
}

/// What came back and answers nothing, for a sentence: `2 messages from 10.0.0.53, with an id that was not asked with`.
pub(super) fn strays(l: &Lookup) -> Option<String> {
    let of = |misfit: Misfit, what: &str| {
        let froms: Vec<_> = l.strays.iter().filter(|s| s.misfit == misfit).collect();
        let first = froms.first()?;
        Some(format!("{} from {}, {what}", phrase::count(froms.len(), "message"), first.from))
    };
    let all: Vec<String> = [
        of(Misfit::Id, "with an id that was not asked with"),
        of(Misfit::Question, "to another question or none that can be read"),
        of(Misfit::Short, "shorter than the header of a DNS message"),
        of(Misfit::Query, "a query itself and no answer"),
        of(Misfit::Server, "which was not asked"),
        of(Misfit::Port, "from another port than was asked"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!all.is_empty()).then(|| format!("what came back is nothing that a resolver believes: {}", all.join("; ")))
}

/// The same as proof.
pub(super) fn stray_proof(l: &Lookup) -> Option<Evidence> {
    let first = l.strays.first()?;
    Some(noted(l, first.time, "stray-answer", strays(l)?))
}

/// A proof about the way to a server, on the lookup's time. The C library asked, not the application.
pub(super) fn of_way(l: &Lookup, way: &Connection, e: Evidence) -> Evidence {
    let later = nanos(way.began.since(l.began));
    Evidence {
        t_ns: e.t_ns.map(|t| t + later),
        text: e.text.replace("the application got", "the resolver's socket got"),
        ..e
    }
}
