//! What a report says in words, the same in text and in HTML. Owns: those words. Must not know: layout.
//! Everything here is escaped for a terminal.

use super::escape::escape;
use crate::{
    quantity::{duration, offset},
    report::{Also, Certainty, Direction, Endpoint, Kind, LookupAttempt, Outcome, Process, Report},
};
use std::fmt::Write as _;

/// Queries of a lookup that are shown; the rest is in the JSON.
const MAX_ATTEMPTS: usize = 8;

/// Who did what with whom.
pub(super) fn subject(report: &Report) -> String {
    match report.kind {
        Kind::Connection => connection(report),
        Kind::Lookup => lookup(report),
    }
}

/// What else is true, by its code, without what the verdict says itself.
pub(super) fn also(report: &Report) -> Vec<(&'static str, String)> {
    let said = |also: &&Also| report.verdict.as_ref().is_some_and(|verdict| verdict.because.contains(&also.summary));
    let others = report.also.iter().filter(|also| !said(also));
    others.map(|also| (also.code, escape(&also.summary).into_owned())).collect()
}

/// How sure a verdict is, as the beginning of its sentence.
pub(super) fn hedge(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Proven => "",
        Certainty::Likely => "likely: ",
        Certainty::Possible => "possibly: ",
    }
}

/// `psql[4121] -> db.internal (10.0.0.5) port 5432`, `nginx[812] bind 10.0.0.5:80`
fn connection(report: &Report) -> String {
    let who = process(report.process.as_ref());
    let over = match report.protocol {
        crate::event::Protocol::Udp => " (UDP)",
        _ => "",
    };
    if let Some(call) = report.call {
        let local = report.local.map_or_else(String::new, |local| format!(" {}", address_and_port(local)));
        return format!("{who} {call}{local}{over}");
    }
    match (report.direction, report.remote) {
        (Direction::Outbound, Some(remote)) => match &report.name {
            Some(name) => format!("{who} -> {} ({}) port {}{over}", escape(name), remote.addr, remote.port),
            None => format!("{who} -> {} port {}{over}", remote.addr, remote.port),
        },
        (Direction::Outbound, None) => match &report.name {
            Some(name) => format!("{who} -> {}{over}", escape(name)),
            None => format!("{who} -> unknown address{over}"),
        },
        (Direction::Inbound, remote) => {
            let from = remote.map_or_else(|| "unknown address".into(), address_and_port);
            let port = report.local.map_or_else(String::new, |local| format!(" {} port {}", local.addr, local.port));
            format!("{from} -> {who}{port}{over}")
        }
    }
}

/// `curl[4121] looked up db.internal (A) at 10.0.0.53`
fn lookup(report: &Report) -> String {
    let mut text = process(report.process.as_ref());
    let name = report.query.as_ref().map(|q| &q.name).or(report.name.as_ref());
    _ = match name {
        Some(name) => write!(text, " looked up {}", escape(name)),
        None => write!(text, " looked up a name"),
    };
    if let Some(query) = &report.query {
        _ = write!(text, " ({})", escape(&query.kind));
        if let Some(server) = query.server {
            _ = write!(text, " at {server}");
        }
    }
    text
}

fn process(process: Option<&Process>) -> String {
    let Some(process) = process else { return "unknown process".into() };
    let place = process.container.as_deref().map(|c| format!(" (container {})", escape(c))).unwrap_or_default();
    let (name, thread) = match &process.name {
        Some(name) => (name, format!(" (thread {})", escape(&process.comm))),
        None => (&process.comm, String::new()),
    };
    format!("{}[{}]{thread}{place}", escape(name), process.pid)
}

fn address_and_port(end: Endpoint) -> String {
    std::net::SocketAddr::new(end.addr, end.port).to_string()
}

/// How it ended, in two or three words and a time, and whether that is bad.
pub(super) fn outcome(report: &Report) -> (String, bool) {
    let code = report.verdict.as_ref().map_or("", |verdict| verdict.code);
    let (family, cause) = code.split_once('.').unwrap_or((code, ""));
    let word = match (report.outcome, family) {
        (Outcome::Established | Outcome::Answered, "slow") => "slow: worked",
        (Outcome::Established, _) => "connected",
        (Outcome::Answered, _) => "answered",
        (Outcome::Abandoned, _) => "given up",
        (Outcome::Broken, _) => "broken",
        (Outcome::Failed, "refused") => "refused",
        (Outcome::Failed, "firewall") if cause == "rejected" => "rejected",
        (Outcome::Failed, "denied") => "denied",
        (Outcome::Failed, "route") => "unreachable",
        (Outcome::Failed, "timeout" | "firewall") => "no answer",
        (Outcome::Failed, "dns") => match cause {
            "nxdomain" => "no such name",
            "timeout" => "no answer",
            _ => "lookup failed",
        },
        (Outcome::Failed, _) => "failed",
    };
    let bad = !matches!(report.outcome, Outcome::Established | Outcome::Answered);
    let after = report.duration_ns.map(|ns| format!(" after {}", duration(ns))).unwrap_or_default();
    (format!("{word}{after}"), bad)
}

/// The evidence, each with its moment, and the errno.
pub(super) fn proof(report: &Report) -> Vec<String> {
    let evidence = || report.verdict.iter().flat_map(|verdict| &verdict.evidence);
    let mut items: Vec<String> = evidence()
        .map(|e| match e.t_ns {
            Some(t) => format!("{} {}", offset(t), escape(&e.text)),
            None => escape(&e.text).into_owned(),
        })
        .collect();
    // The moment the application got it may be among the evidence.
    let told = evidence().any(|e| e.what == "errno");
    items.extend(report.errno.iter().filter(|_| !told).map(|errno| format!("errno {}", escape(errno))));
    items
}

pub(super) fn asked(attempts: &[LookupAttempt]) -> Vec<String> {
    let mut items: Vec<String> = attempts
        .iter()
        .take(MAX_ATTEMPTS)
        .map(|a| {
            let answer = match (&a.rcode, a.addresses.as_slice()) {
                _ if a.flaw.is_some() => a.flaw.unwrap_or_default().to_owned(),
                (None, _) => "no answer".to_owned(),
                (Some(_), [first, ..]) => first.to_string(),
                (Some(rcode), []) => escape(rcode).into_owned(),
            };
            let elapsed = a.elapsed_ns.map(|ns| format!(" after {}", duration(ns))).unwrap_or_default();
            format!("{} {} at {}: {answer}{elapsed}", escape(&a.name), escape(&a.kind), a.server)
        })
        .collect();
    if attempts.len() > MAX_ATTEMPTS {
        items.push(format!("and {} more", attempts.len() - MAX_ATTEMPTS));
    }
    items
}
