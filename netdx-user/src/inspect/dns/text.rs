//! A lookup as text. Owns: the words for what each source said. Must not know: how it was asked. Pure.

use super::{Asked, Lookup, Server};
use crate::{
    inspect::{
        phrase::{Phrase, View},
        sheet::Sheet,
        zone,
    },
    quantity::{count, duration},
    render::ink::{BAD, CODE, DIM, GOOD, PLAIN, WARN},
};

/// The whole answer.
#[must_use]
pub fn write(lookup: &Lookup, view: View) -> String {
    let mut sheet = Sheet::new(view);
    sheet.title(format!("{} {}", lookup.name, lookup.types.join(" and ")));
    configuration(lookup, &mut sheet);
    hosts(lookup, &mut sheet);
    system(lookup, &mut sheet);
    for server in &lookup.servers {
        self::server(server, &mut sheet);
    }
    if lookup.servers.is_empty() {
        sheet.row("servers", Phrase::of(BAD, "none that is known"));
    }
    for (index, difference) in lookup.differences.iter().enumerate() {
        sheet.row(Phrase::of(WARN, if index == 0 { "differ" } else { "" }), difference);
    }
    for note in &lookup.notes {
        sheet.row("note", note);
    }
    sheet.finish()
}

fn configuration(lookup: &Lookup, sheet: &mut Sheet) {
    let Some(resolver) = &lookup.resolver else { return };
    let mut text = super::configuration(resolver);
    if !resolver.search.is_empty() {
        text += &format!("; search {}; ndots {}", resolver.search.join(" "), resolver.ndots);
    }
    sheet.row("resolver", text);
    if !resolver.nsswitch.is_empty() {
        sheet.row("nsswitch", format!("hosts: {}", resolver.nsswitch.join(" ")));
    }
}

fn hosts(lookup: &Lookup, sheet: &mut Sheet) {
    if lookup.hosts.is_empty() && lookup.system.is_some() {
        sheet.row("hosts file", "not there");
    }
    for (index, entry) in lookup.hosts.iter().enumerate() {
        sheet.row(
            if index == 0 { "hosts file" } else { "" },
            format!("{} {}  ({} line {})", entry.address, entry.names.join(" "), entry.path, entry.line),
        );
    }
}

fn system(lookup: &Lookup, sheet: &mut Sheet) {
    let Some(system) = &lookup.system else { return };
    let call = if lookup.name.parse::<std::net::IpAddr>().is_ok() { "getnameinfo" } else { "getaddrinfo" };
    let took = duration(system.elapsed_ns);
    let said = match (&system.error, &system.name) {
        (Some(error), _) => Phrase::of(BAD, format!("{call} failed")).and(PLAIN, format!(" after {took}: {error}")),
        (None, Some(name)) => Phrase::of(GOOD, name).and(DIM, format!("  ({call}, {took})")),
        (None, None) => {
            let zone = |address| system.zones.get(address).map(String::as_str);
            let addresses: Vec<String> = system.addresses.iter().map(|a| zone::text(*a, zone(a))).collect();
            Phrase::of(GOOD, addresses.join(", ")).and(DIM, format!("  ({call}, {took})"))
        }
    };
    sheet.row("system", said);
}

fn server(server: &Server, sheet: &mut Sheet) {
    let mut label = server.label();
    if server.spare {
        sheet.row(&label, Phrase::of(DIM, "not asked by the C library, which takes the first three"));
        label.clear();
    }
    for asked in &server.queries {
        sheet.row(&label, outcome(asked));
        label.clear();
        for record in &asked.records {
            let head = format!("  {}  {}  {}  ", record.name, record.kind, seconds(record.ttl));
            sheet.row("", Phrase::from(head).and(GOOD, &record.data));
        }
    }
}

/// One question's outcome in a line.
fn outcome(asked: &Asked) -> Phrase {
    let took = duration(asked.elapsed_ns);
    let said = Phrase::from(format!("{} {}: ", asked.name, asked.kind));
    let mut said = match (asked.code, &asked.error) {
        (None, _) => said.and(PLAIN, format!("answered after {took}")),
        (Some("dns.nodata"), _) => {
            let exists = match &asked.alias_of {
                None => format!("the name exists, without {}", asked.kind),
                Some(end) => format!("the name is an alias of {end}, which exists, without {}", asked.kind),
            };
            said.and(WARN, exists).and(PLAIN, format!(", after {took}"))
        }
        (Some("dns.nxdomain"), _) if asked.alias_of.is_some() => {
            let end = asked.alias_of.as_deref().unwrap_or_default();
            said.and(BAD, format!("the name is an alias of {end}, which does not exist (NXDOMAIN)"))
                .and(PLAIN, format!(", after {took}"))
        }
        (Some("dns.timeout"), _) => {
            let tries = count(asked.tries.max(1).into(), "try");
            said.and(BAD, "no answer").and(PLAIN, format!(" to {tries} after {took}"))
        }
        (Some(_), Some(error)) => said.and(BAD, error).and(PLAIN, format!(", after {took}")),
        (Some(_), None) => {
            said.and(BAD, asked.rcode.as_deref().unwrap_or("no answer")).and(PLAIN, format!(" after {took}"))
        }
    };
    let mut marks = Vec::new();
    if asked.rcode.is_some() {
        marks.push(if asked.protocol == "tcp" { "over TCP" } else { "over UDP" });
        if asked.truncated {
            marks.push("cut over UDP (TC)");
        }
        if asked.without_edns {
            marks.push("the server can't read EDNS");
        }
        if asked.authoritative {
            marks.push("from its own zone (AA)");
        }
        if asked.authentic {
            marks.push("DNSSEC validated by the server (AD)");
        } else if asked.signed {
            marks.push("signed, not validated by the server");
        }
        if !asked.recursion && !asked.authoritative {
            marks.push("no recursion offered (no RA)");
        }
    }
    if !marks.is_empty() {
        said.add(DIM, format!(", {}", marks.join(", ")));
    }
    if let Some(code) = asked.code {
        said = said.and(PLAIN, "  (").and(CODE, code).and(PLAIN, ")");
    }
    said
}

/// A TTL: seconds, and in larger units where that reads better.
fn seconds(ttl: u32) -> String {
    match ttl {
        0..120 => format!("{ttl} s"),
        120..7200 => format!("{ttl} s ({} min)", ttl / 60),
        7200..172_800 => format!("{ttl} s ({} h)", ttl / 3600),
        _ => format!("{ttl} s ({} d)", ttl / 86_400),
    }
}
