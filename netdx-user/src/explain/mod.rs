//! From a story to a verdict.
//!
//! Owns: what a cause is, the registry of all causes and its order, precedence and hiding, and the report that comes of it.
//! Must not know: where inputs come from, how a report is shown.
//!
//! A cause is one file under `causes/` and one line in [`registry`]. It says which questions it has for the host
//! (`wants`), whether it holds (`judge`), and explains itself (`page`).

pub mod errno;
pub mod glossary;
pub mod phrase;

mod causes;
mod context;
mod relay;
mod report;
#[cfg(test)]
mod tests;

use report::exit_status;
pub use report::{connection_report, lookup_report};

use crate::{
    coverage::Coverage,
    report::{Certainty, Evidence, Listener, Outcome},
    story::{Connection, Lookup},
    time::Time,
    want::Want,
};

/// One cause of the catalogue.
#[derive(Debug)]
pub struct Cause {
    /// `family.cause`; stable for ever.
    pub code: &'static str,
    /// Its page: the first line in one sentence, then the headings *What happened / How netdx knows / What to do /
    /// Easily confused with*, in Markdown.
    pub page: &'static str,
    /// How it is judged.
    pub rule: Rule,
    /// Codes that are only its consequences: where this one holds they are not told.
    pub hides: &'static [&'static str],
    /// What it is a verdict of.
    pub tells: Tells,
}

/// What a cause is a verdict of; of anything else it only stands in `also`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// Of what failed.
    Failure,
    /// Of what worked, but not as it should.
    Success,
    /// Of nothing by itself: it is what else is true.
    Beside,
}

/// What a cause is judged on.
#[derive(Debug)]
pub enum Rule {
    /// Connections (TCP and UDP).
    Connection {
        /// Questions for the host, in view of the facts that are there already.
        wants: fn(&Connection) -> Vec<Want>,
        /// Whether it holds.
        judge: fn(&Connection, &Coverage) -> Judgement,
    },
    /// Lookups of names.
    Lookup {
        /// Questions for the host, in view of the facts that are there already.
        wants: fn(&Lookup) -> Vec<Want>,
        /// Whether it holds.
        judge: fn(&Lookup, &Coverage) -> Judgement,
    },
    /// What is left when no other cause holds.
    Rest,
}

/// For causes that have no questions about a connection.
fn nothing(_: &Connection) -> Vec<Want> {
    Vec::new()
}

/// For causes that have no questions about a lookup.
fn nothing_more(_: &Lookup) -> Vec<Want> {
    Vec::new()
}

/// Whether a cause holds.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// It doesn't.
    No,
    /// It does, and this shows it.
    Yes(Finding),
    /// It could, but what would show it could not be observed: why, in words.
    CannotTell(String),
}

/// A cause that holds, with its proof. Can't be made without evidence.
#[derive(Clone, Debug)]
pub struct Finding {
    certainty: Certainty,
    because: String,
    evidence: Vec<Evidence>,
    advice: Vec<String>,
    listeners: Vec<Listener>,
}

impl Finding {
    /// A finding: how sure, why in words (a clause that continues "... failed: "), and its first proof.
    #[must_use]
    pub fn new(certainty: Certainty, because: impl Into<String>, proof: Evidence) -> Finding {
        Finding { certainty, because: because.into(), evidence: vec![proof], advice: Vec::new(), listeners: Vec::new() }
    }
    /// Adds a proof.
    #[must_use]
    pub fn and(mut self, proof: Evidence) -> Finding {
        self.evidence.push(proof);
        self
    }
    /// Adds proofs.
    #[must_use]
    pub fn and_all(mut self, proofs: impl IntoIterator<Item = Evidence>) -> Finding {
        self.evidence.extend(proofs);
        self
    }
    /// Adds something to do.
    #[must_use]
    pub fn advise(mut self, what: impl Into<String>) -> Finding {
        self.advice.push(what.into());
        self
    }
    /// Names listeners that matter.
    #[must_use]
    pub fn with_listeners(mut self, listeners: Vec<Listener>) -> Finding {
        self.listeners = listeners;
        self
    }
}

/// A proof at a moment of a connection.
pub(crate) fn seen(c: &Connection, time: Time, what: &'static str, text: impl Into<String>) -> Evidence {
    Evidence { t_ns: Some(nanos(time.since(c.began))), what, text: text.into() }
}

/// A proof at a moment of a lookup.
pub(crate) fn noted(l: &Lookup, time: Time, what: &'static str, text: impl Into<String>) -> Evidence {
    Evidence { t_ns: Some(nanos(time.since(l.began))), what, text: text.into() }
}

/// A fact about the host, which has no moment.
pub(crate) fn fact(what: &'static str, text: impl Into<String>) -> Evidence {
    Evidence { t_ns: None, what, text: text.into() }
}

fn nanos(d: std::time::Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Every cause. The order is the precedence among findings of the same certainty.
#[must_use]
pub fn registry() -> &'static [Cause] {
    causes::ALL
}

/// The cause of a code.
#[must_use]
pub fn cause(code: &str) -> Option<&'static Cause> {
    registry().iter().find(|c| c.code == code)
}

/// Questions that the causes have about a connection and that are not answered yet.
#[must_use]
pub fn connection_wants(c: &Connection) -> Vec<Want> {
    let mut wants: Vec<Want> = context::wants(c);
    for cause in registry() {
        if let Rule::Connection { wants: ask, .. } = cause.rule {
            wants.extend(ask(c));
        }
    }
    // Its own namespace needs no name (`phrase::namespace`), unless it isn't known whether that is its own.
    let own = Want::Namespace { netns: c.netns };
    unanswered(wants, |w| c.facts.get(w).is_some() || *w == own && !c.wayside)
}

/// Questions that the causes have about a lookup and that are not answered yet.
#[must_use]
pub fn lookup_wants(l: &Lookup) -> Vec<Want> {
    let mut wants: Vec<Want> = report::lookup_wants(l);
    for cause in registry() {
        if let Rule::Lookup { wants: ask, .. } = cause.rule {
            wants.extend(ask(l));
            for relay in &l.relays {
                let relay = Lookup { facts: l.facts.clone(), ..relay.clone() };
                wants.extend(ask(&relay));
            }
        }
    }
    unanswered(wants, |w| l.facts.get(w).is_some())
}

fn unanswered(mut wants: Vec<Want>, answered: impl Fn(&Want) -> bool) -> Vec<Want> {
    wants.retain(|w| !answered(w));
    wants.sort();
    wants.dedup();
    wants
}

/// What all causes say of one story.
#[derive(Debug, Default)]
pub(crate) struct Opinions {
    /// The verdict, if there is one.
    pub(crate) verdict: Option<(&'static Cause, Finding)>,
    /// What else holds.
    pub(crate) beside: Vec<(&'static Cause, Finding)>,
    /// What could not be observed.
    pub(crate) missing: Vec<(&'static str, String)>,
}

impl Opinions {
    fn collect(worked: bool, judgements: impl Iterator<Item = (&'static Cause, Judgement)>) -> Opinions {
        let mut holds = Vec::new();
        let mut missing = Vec::new();
        for (cause, judgement) in judgements {
            match judgement {
                Judgement::No => {}
                Judgement::Yes(finding) => holds.push((cause, finding)),
                Judgement::CannotTell(why) => missing.push((cause.code, why)),
            }
        }
        let hidden: Vec<&str> = holds
            .iter()
            .filter(|(_, f): &&(&Cause, Finding)| f.certainty >= Certainty::Likely)
            .flat_map(|(c, _)| c.hides.iter().copied())
            .collect();
        holds.retain(|(c, _)| !hidden.contains(&c.code));
        // Stable: within one certainty the registry's order stands.
        let wanted = if worked { Tells::Success } else { Tells::Failure };
        holds.sort_by_key(|(c, f)| (c.tells != wanted, std::cmp::Reverse(f.certainty)));
        let first = holds.first().is_some_and(|(c, _)| c.tells == wanted);
        let verdict = first.then(|| holds.remove(0));
        Opinions { verdict, beside: holds, missing }
    }

    pub(crate) fn of_connection(c: &Connection, coverage: &Coverage) -> Opinions {
        let worked = c.outcome == Outcome::Established;
        Self::collect(
            worked,
            registry().iter().filter_map(|cause| match cause.rule {
                Rule::Connection { judge, .. } => Some((cause, judge(c, coverage))),
                _ => None,
            }),
        )
    }

    pub(crate) fn of_lookup(l: &Lookup, coverage: &Coverage) -> Opinions {
        Self::collect(
            l.succeeded(),
            registry().iter().filter_map(|cause| match cause.rule {
                Rule::Lookup { judge, .. } => Some((cause, judge(l, coverage))),
                _ => None,
            }),
        )
    }
}

/// Questions about a connection that worked: who it is, and what was slow.
#[must_use]
pub fn established_wants(c: &Connection) -> Vec<Want> {
    if c.slow.is_some() || c.fallback_from.is_some() {
        return connection_wants(c);
    }
    unanswered(context::wants(c), |w| c.facts.get(w).is_some())
}

/// The other end of a connection is on this host, in a namespace that can be seen.
#[must_use]
pub fn peer_is_here(c: &Connection) -> bool {
    here(c, c.reached().remote).is_some()
}

/// The namespaces of this host that own an address, seen from this connection; none: none does, or it isn't known.
pub(crate) fn here(c: &Connection, address: std::net::IpAddr) -> Option<&[crate::event::Netns]> {
    match c.facts.get(&owners_want(c, address)) {
        Some(crate::fact::Answer::Owners(n)) if !n.is_empty() => Some(n),
        _ => None,
    }
}

/// The question who owns an address.
pub(crate) fn owners_want(c: &Connection, address: std::net::IpAddr) -> Want {
    Want::Owners { address, from: c.netns }
}
