//! Where the sources of a name disagree. Owns: the comparison, and its sentences. Must not know: how they were asked. Pure.

use super::{Asked, Lookup, Server};
use crate::fact::Resolver;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// One sentence for each disagreement; empty: whoever answered says the same.
#[must_use]
pub fn find(lookup: &Lookup) -> Vec<String> {
    let mut sentences = Vec::new();
    between_servers(lookup, &mut sentences);
    let from_servers = server_addresses(lookup);
    hosts_against_servers(lookup, &from_servers, &mut sentences);
    system_against_all(lookup, &from_servers, &mut sentences);
    sentences
}

/// Addresses any server gave.
fn server_addresses(lookup: &Lookup) -> BTreeSet<IpAddr> {
    lookup.servers.iter().flat_map(|s| &s.queries).flat_map(Asked::addresses).collect()
}

/// What a server ends up saying for a type: data (TTLs and order set aside), or an outcome.
fn says(server: &Server, kind: &str) -> Option<Said> {
    let mut asked = server.queries.iter().filter(|q| q.kind == kind);
    let last = asked.clone().find(|q| q.has_data()).or_else(|| asked.next_back())?;
    Some(match last.code {
        None => Said::Data(last.records.iter().filter(|r| r.kind == kind).map(|r| r.data.to_lowercase()).collect()),
        Some("dns.nxdomain") => Said::Outcome("that the name does not exist".into()),
        Some("dns.nodata") => Said::Outcome(format!("that there is no {kind} record")),
        Some(_) => Said::Nothing,
    })
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Data(BTreeSet<String>),
    Outcome(String),
    /// It did not answer the question: no contradiction.
    Nothing,
}

fn between_servers(lookup: &Lookup, sentences: &mut Vec<String>) {
    for kind in &lookup.types {
        let mut groups: BTreeMap<Said, Vec<String>> = BTreeMap::new();
        for server in &lookup.servers {
            match says(server, kind) {
                None | Some(Said::Nothing) => {}
                Some(said) => groups.entry(said).or_default().push(server.label()),
            }
        }
        if groups.len() > 1 {
            let parts: Vec<String> = groups
                .iter()
                .map(|(said, servers)| {
                    let verb = if servers.len() == 1 { "says" } else { "say" };
                    match said {
                        Said::Data(data) => format!("{} {verb} {}", join(servers), join(data)),
                        Said::Outcome(outcome) => format!("{} {verb} {outcome}", join(servers)),
                        Said::Nothing => String::new(),
                    }
                })
                .collect();
            sentences.push(format!("the servers differ for {kind}: {}", parts.join("; ")));
        }
    }
}

fn hosts_against_servers(lookup: &Lookup, from_servers: &BTreeSet<IpAddr>, sentences: &mut Vec<String>) {
    if lookup.name.parse::<IpAddr>().is_ok() {
        return;
    }
    for entry in &lookup.hosts {
        let same_family: Vec<&IpAddr> =
            from_servers.iter().filter(|a| a.is_ipv4() == entry.address.is_ipv4()).collect();
        if !same_family.is_empty() && !same_family.contains(&&entry.address) {
            sentences.push(format!(
                "{} line {} says {}, DNS says {}: programs that read the hosts file first go to {}",
                entry.path,
                entry.line,
                entry.address,
                join(&same_family),
                entry.address
            ));
        }
    }
}

fn system_against_all(lookup: &Lookup, from_servers: &BTreeSet<IpAddr>, sentences: &mut Vec<String>) {
    let Some(system) = &lookup.system else { return };
    if lookup.name.parse::<IpAddr>().is_ok() {
        return;
    }
    let hosts: BTreeSet<IpAddr> = lookup.hosts.iter().map(|e| e.address).collect();
    if let Some(error) = &system.error {
        if !from_servers.is_empty() {
            sentences.push(format!(
                "DNS answers {}, yet applications get {}{}",
                join(from_servers),
                error.name,
                because(lookup.resolver.as_ref().and_then(|r| without(r, "dns")).or_else(|| first_answer(lookup)))
            ));
        } else if !hosts.is_empty() {
            sentences.push(format!(
                "the hosts file answers {}, yet applications get {}{}",
                join(&hosts),
                error.name,
                because(lookup.resolver.as_ref().and_then(|r| without(r, "files")))
            ));
        }
        return;
    }
    // getaddrinfo asks for both families, whatever the servers were asked for here.
    let is_asked = |a: &IpAddr| lookup.types.iter().any(|kind| kind == if a.is_ipv4() { "A" } else { "AAAA" });
    let unknown = |a: &&IpAddr| is_asked(a) && !from_servers.contains(a) && !hosts.contains(a);
    let strange: Vec<&IpAddr> = system.addresses.iter().filter(unknown).collect();
    let servers_answered = lookup.servers.iter().any(|s| s.queries.iter().any(Asked::has_data));
    let complete = lookup.servers.iter().all(|s| s.queries.iter().all(|q| q.rcode.is_some()));
    if !strange.is_empty() && (servers_answered || !hosts.is_empty() || complete) {
        sentences.push(format!(
            "applications get {}, which neither the hosts file nor a server says{}",
            join(&strange),
            because(lookup.resolver.as_ref().and_then(others))
        ));
    }
}

/// A reason behind a colon, where one is known.
fn because(reason: Option<String>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// nsswitch.conf, where it leaves a source out.
fn without(resolver: &Resolver, source: &str) -> Option<String> {
    (!resolver.nsswitch.is_empty() && !resolver.nsswitch.iter().any(|s| s == source)).then(|| sources(resolver))
}

/// nsswitch.conf, where it has a source that is neither the hosts file nor DNS.
fn others(resolver: &Resolver) -> Option<String> {
    resolver.nsswitch.iter().any(|s| s != "files" && s != "dns").then(|| sources(resolver))
}

fn sources(resolver: &Resolver) -> String {
    format!("nsswitch.conf has `hosts: {}`", resolver.nsswitch.join(" "))
}

/// The C library asks the next server only where one does not answer, and none beyond the third: the first answer counts.
fn first_answer(lookup: &Lookup) -> Option<String> {
    let has_data = |server: &Server| server.queries.iter().any(Asked::has_data);
    let denies = |server: &Server| {
        !has_data(server) && server.queries.iter().any(|q| matches!(q.code, Some("dns.nodata" | "dns.nxdomain")))
    };
    let first = lookup.servers.iter().find(|server| has_data(server) || denies(server))?;
    if first.spare {
        return Some("the C library asks only the first three servers".into());
    }
    denies(first).then(|| format!("the C library takes the first answer, which is that of {}", first.label()))
}

fn join<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
