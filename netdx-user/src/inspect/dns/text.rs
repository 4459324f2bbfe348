//! A lookup as text. Owns: the words for what each source said. Must not know: how it was asked. Pure.

use super::{Asked, Lookup, Server};
use crate::inspect::sheet::Sheet;
use std::time::Duration;

/// The whole answer. `width`: columns of the terminal; none: a pipe.
#[must_use]
pub fn write(lookup: &Lookup, width: Option<usize>) -> String {
    let mut sheet = Sheet::new(width);
    sheet.title(format!("{} {}", lookup.name, lookup.types.join(" and ")));
    configuration(lookup, &mut sheet);
    hosts(lookup, &mut sheet);
    system(lookup, &mut sheet);
    for server in &lookup.servers {
        self::server(server, &mut sheet);
    }
    if lookup.servers.is_empty() {
        sheet.row("servers", "none configured (dns.no-server)");
    }
    for (index, difference) in lookup.differences.iter().enumerate() {
        sheet.row(if index == 0 { "differ" } else { "" }, difference);
    }
    for note in &lookup.notes {
        sheet.row("note", note);
    }
    sheet.finish()
}

fn configuration(lookup: &Lookup, sheet: &mut Sheet) {
    let Some(resolver) = &lookup.resolver else { return };
    let servers: Vec<String> = resolver.servers.iter().map(ToString::to_string).collect();
    let mut text =
        format!("{}: {}", resolver.path, if servers.is_empty() { "no server".into() } else { servers.join(", ") });
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
    let took = elapsed(system.elapsed_ns);
    let text = match (&system.error, &system.name) {
        (Some(error), _) => format!("{call} failed after {took}: {error}"),
        (None, Some(name)) => format!("{name}  ({call}, {took})"),
        (None, None) => {
            let addresses: Vec<String> = system.addresses.iter().map(ToString::to_string).collect();
            format!("{}  ({call}, {took})", addresses.join(", "))
        }
    };
    sheet.row("system", text);
}

fn server(server: &Server, sheet: &mut Sheet) {
    let mut label = server.label();
    for asked in &server.queries {
        sheet.row(&label, outcome(asked));
        label.clear();
        for record in &asked.records {
            sheet.row("", format!("  {}  {}  {}  {}", record.name, record.kind, seconds(record.ttl), record.data));
        }
    }
}

/// One question's outcome in a line.
fn outcome(asked: &Asked) -> String {
    let took = elapsed(asked.elapsed_ns);
    let mut text = format!("{} {}: ", asked.name, asked.kind);
    match (asked.code, &asked.error) {
        (None, _) => text += &format!("answered after {took}"),
        (Some("dns.nodata"), _) => text += &format!("the name exists, without {}, after {took}", asked.kind),
        (Some("dns.timeout"), _) => {
            text += &format!("no answer to {} after {took}", count(asked.tries.max(1), "try", "tries"));
        }
        (Some(_), Some(error)) => text += &format!("{error}, after {took}"),
        (Some(_), None) => text += &format!("{} after {took}", asked.rcode.as_deref().unwrap_or("no answer")),
    }
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
        text += &format!(", {}", marks.join(", "));
    }
    if let Some(code) = asked.code {
        text += &format!("  ({code})");
    }
    text
}

fn count(number: u32, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
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

/// How long something took, with as many digits as matter.
#[must_use]
pub fn elapsed(nanoseconds: u64) -> String {
    let duration = Duration::from_nanos(nanoseconds);
    let milliseconds = duration.as_secs_f64() * 1e3;
    if milliseconds < 10.0 {
        format!("{milliseconds:.2} ms")
    } else if milliseconds < 1000.0 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
