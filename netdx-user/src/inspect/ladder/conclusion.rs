//! One conclusion from all rungs. Owns: [`Conclusion`], which failed rung is the cause and which only follows.
//! Must not know: how a rung was tried. Pure.

use super::{Rung, Status, Step, names::Names, target::Target};
use crate::report::{Certainty, SCHEMA};
use serde::Serialize;
use std::net::IpAddr;

/// The last line.
#[derive(Debug, Serialize)]
pub struct Conclusion {
    /// Version of the shape.
    pub schema: u32,
    /// `conclusion`
    pub kind: &'static str,
    /// What was checked, as text.
    pub target: String,
    /// No rung failed.
    pub ok: bool,
    /// The target can be used, whatever else failed.
    pub works: bool,
    /// The rung that is the cause; null: none failed.
    pub step: Option<Step>,
    /// What that rung is about.
    pub subject: Option<String>,
    /// Its code; null: none failed, or the catalogue has no code for it.
    pub code: Option<&'static str>,
    /// How sure.
    pub certainty: Option<Certainty>,
    /// What else is true, by code.
    pub also: Vec<&'static str>,
    /// In a sentence or two.
    pub text: String,
    /// What to do.
    pub advice: Vec<String>,
    /// Why the kernel was not watched though it should have been; null: it was, or it was not asked for.
    pub untraced: Option<String>,
}

/// Draws it.
pub(super) fn draw(target: &Target, rungs: &[Rung], names: &Names) -> Conclusion {
    let failed: Vec<&Rung> = rungs.iter().filter(|r| r.status == Status::Failed).collect();
    let working: Vec<IpAddr> = names.addresses.iter().copied().filter(|&a| works(rungs, a)).collect();
    let works = !working.is_empty() && names.resolved;
    let v6_only = working.iter().any(IpAddr::is_ipv4)
        && !working.iter().any(IpAddr::is_ipv6)
        && names.addresses.iter().any(IpAddr::is_ipv6);
    let cause = if works && v6_only {
        over_ipv6(&failed, names)
    } else if works {
        failed.first().copied()
    } else {
        let mut relevant: Vec<&Rung> = failed.iter().copied().filter(|r| matters(r, names, target)).collect();
        relevant.sort_by_key(|r| rank(r));
        relevant.first().copied()
    };
    let verdict = cause.and_then(|rung| rung.verdict.as_ref());
    let mut also: Vec<&'static str> = Vec::new();
    if v6_only {
        also.push("dualstack.fallback");
    }
    for code in failed.iter().filter_map(|r| r.verdict.as_ref()).map(|v| v.code) {
        if Some(code) != verdict.map(|v| v.code) && !also.contains(&code) {
            also.push(code);
        }
    }
    Conclusion {
        schema: SCHEMA,
        kind: "conclusion",
        target: target.label(),
        ok: failed.is_empty(),
        works,
        step: cause.map(|rung| rung.step),
        subject: cause.and_then(|rung| rung.subject.clone()),
        code: verdict.map(|v| v.code),
        certainty: verdict.map(|v| v.certainty),
        also,
        text: sentence(target, &held(rungs, names), cause, &failed, &working, works, v6_only),
        advice: verdict.map(|v| v.advice.clone()).unwrap_or_default(),
        untraced: None,
    }
}

/// Whether everything that was tried at an address held.
fn works(rungs: &[Rung], address: IpAddr) -> bool {
    let mut of_service = rungs
        .iter()
        .filter(|r| r.address == Some(address))
        .filter(|r| matches!(r.step, Step::Port | Step::Ping | Step::Tls | Step::Http))
        .peekable();
    of_service.peek().is_some() && of_service.all(|r| r.status == Status::Ok)
}

/// What failed for the IPv6 addresses of a name whose IPv4 addresses work: at one of them, else at their gateway.
fn over_ipv6<'a>(failed: &[&'a Rung], names: &Names) -> Option<&'a Rung> {
    let v6 = |r: &&&Rung| r.address.is_some_and(|a| a.is_ipv6());
    let mut of_name = failed.iter().filter(v6).filter(|r| r.address.is_some_and(|a| names.addresses.contains(&a)));
    let mut gateways = failed.iter().filter(v6).filter(|r| r.step == Step::Gateway);
    of_name.next().or_else(|| gateways.next()).or(failed.first()).copied()
}

/// Whether a failed rung can be why the target does not work.
fn matters(rung: &Rung, names: &Names, target: &Target) -> bool {
    match rung.step {
        // A question that was answered found its way.
        Step::Interfaces => names.resolved || !names.heard,
        Step::Hosts | Step::Ping | Step::Port | Step::Tls | Step::Http => true,
        Step::Loopback => names.addresses.iter().chain(&target.address).any(IpAddr::is_loopback),
        // A server's rung, unless the name has become addresses all the same.
        Step::Resolver | Step::System | Step::Server => !names.resolved,
        Step::Route | Step::Gateway => {
            !names.resolved || rung.address.is_some_and(|a| names.addresses.contains(&a)) || names.dns.is_empty()
        }
        Step::Internet => false,
    }
}

/// What comes first is the cause of what comes later.
fn rank(rung: &Rung) -> (u8, Step) {
    let definite = rung.verdict.as_ref().is_some_and(|v| matches!(v.code, "dns.nxdomain" | "dns.nodata"));
    let place = match rung.step {
        Step::Interfaces | Step::Loopback => 0,
        // It fails only where its address does not work and DNS has another: then that is why.
        Step::Hosts => 1,
        Step::Route | Step::Gateway => 2,
        Step::Resolver => 3,
        // A server that says no counts for more than one that says nothing: the resolver goes on to the next.
        Step::Server if definite => 4,
        Step::Server => 5,
        Step::System => 6,
        Step::Internet => 7,
        Step::Ping | Step::Port => 8,
        Step::Tls => 9,
        Step::Http => 10,
    };
    (place, rung.step)
}

fn sentence(
    target: &Target,
    held: &[&str],
    cause: Option<&Rung>,
    failed: &[&Rung],
    working: &[IpAddr],
    works: bool,
    v6_only: bool,
) -> String {
    let list: Vec<String> = working.iter().map(ToString::to_string).collect();
    let Some(cause) = cause else {
        let outcome = if works {
            format!("{} works", target.label())
        } else {
            format!("{} could not be tried to the end", target.label())
        };
        return if held.is_empty() { format!("{outcome}.") } else { format!("{outcome}: {}.", held.join(", ")) };
    };
    // A verdict's sentence names its object; what is above the transport is said with its rung.
    let what = match (&cause.verdict, &cause.subject) {
        (Some(_), _) | (None, None) => cause.text.clone(),
        (None, Some(subject)) => format!("{} at {subject}: {}", cause.step.words(), cause.text),
    };
    let mut text = if works && v6_only {
        format!("{} works over IPv4 ({}), but not over IPv6: {what}.", target.label(), list.join(", "))
    } else if works {
        let more = match failed.len() {
            1 => String::new(),
            n => format!(" ({} more failed)", n - 1),
        };
        format!("{} works ({}), but something failed on the way: {what}{more}.", target.label(), list.join(", "))
    } else if held.is_empty() {
        format!("{} does not work: {what}.", target.label())
    } else {
        format!("{}; but {} does not work: {what}.", capital(&held.join(", ")), target.label())
    };
    if let Some(verdict) = &cause.verdict {
        text += &format!(" See: netdx explain {}", verdict.code);
    }
    text
}

/// What works, in words, from the bottom.
fn held(rungs: &[Rung], names: &Names) -> Vec<&'static str> {
    let all_ok = |steps: &[Step]| {
        let mut some = rungs.iter().filter(|r| steps.contains(&r.step) && r.status != Status::Skipped).peekable();
        some.peek().is_some() && some.all(|r| r.status == Status::Ok)
    };
    [
        (all_ok(&[Step::System]), "the name resolves"),
        // Without an address only the way to the name servers was tried.
        (!names.addresses.is_empty() && all_ok(&[Step::Route, Step::Gateway]), "the route works"),
        (all_ok(&[Step::Ping]), "it answers pings"),
        (all_ok(&[Step::Port]), "the port accepts connections"),
        (all_ok(&[Step::Tls]), "TLS and its certificate are good"),
        (all_ok(&[Step::Http]), "HTTP answers"),
    ]
    .into_iter()
    .filter_map(|(held, words)| held.then_some(words))
    .collect()
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

impl Step {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Step::Interfaces => "interfaces",
            Step::Loopback => "loopback",
            Step::Route => "route",
            Step::Gateway => "next hop",
            Step::Internet => "internet",
            Step::Resolver => "resolver",
            Step::Hosts => "hosts file",
            Step::System => "system",
            Step::Server => "server",
            Step::Ping => "ping",
            Step::Port => "port",
            Step::Tls => "TLS",
            Step::Http => "HTTP",
        }
    }
}
