//! `netdx check`: the ladder from this host's interfaces to the answer of the service, each rung tried in turn.
//!
//! Owns: [`Rung`], [`Ladder`], and the order of the rungs. Must not know: how one rung is tried (a module each), how it is shown
//! (`text`). What it sends: DNS queries, pings to next hops on the way, TCP connections to the target, and what TLS and HTTP
//! need; to a public address only when that was asked for by address.

mod conclusion;
mod http;
pub(super) mod judge;
mod local;
mod names;
mod path;
mod ping;
mod port;
#[cfg(test)]
pub(super) mod samples;
mod tap;
pub mod target;
pub mod text;
mod tls;
mod witness;

use super::{Ask, nanoseconds, zone};
use crate::{
    event::Netns,
    fact::Interface,
    report::{Certainty, Evidence, SCHEMA, Verdict},
};
pub use conclusion::Conclusion;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use target::Target;
use witness::Witness;

/// What to check.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to.
    pub target: Target,
    /// A public address (and TCP port) that shall be reachable too; none: nothing of the kind is sent.
    pub internet: Option<(IpAddr, Option<u16>)>,
    /// Only this family.
    pub family: Option<Family>,
    /// How long each step may take.
    pub patience: Duration,
    /// The namespace the check runs in.
    pub netns: Netns,
    /// Trace beside it, so that verdicts have the kernel's proof.
    pub trace: bool,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

/// How a rung held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Status {
    Ok,
    Failed,
    Skipped,
}

/// Which rung. In the order of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The interfaces of this host.
    Interfaces,
    /// Packets to itself.
    Loopback,
    /// The kernel's route to an address.
    Route,
    /// The next hop answers.
    Gateway,
    /// A public address.
    Internet,
    /// resolv.conf.
    Resolver,
    /// The hosts file.
    Hosts,
    /// getaddrinfo.
    System,
    /// One name server.
    Server,
    /// Pings to the target, where no port was given.
    Ping,
    /// A TCP connection.
    Port,
    /// The TLS handshake and the certificate.
    Tls,
    /// An HTTP answer.
    Http,
}

/// A rung: one line of `--format json`.
#[derive(Debug, Serialize)]
pub struct Rung {
    /// Version of the shape.
    pub schema: u32,
    /// `rung`
    pub kind: &'static str,
    /// Which.
    pub step: Step,
    /// What it is about: a server, an address, an address and port; null: this host.
    pub subject: Option<String>,
    /// That address.
    #[serde(skip)]
    pub address: Option<IpAddr>,
    /// How it held.
    pub status: Status,
    /// How long it took; null: nothing was tried.
    pub elapsed_ns: Option<u64>,
    /// What was found, or why it was skipped, in a sentence.
    pub text: String,
    /// Why it failed, by the catalogue; null where it did not, or where the catalogue (which ends at the transport) has no code.
    pub verdict: Option<Verdict>,
    /// What is wrong above the transport: `certificate-expired`, `http-status`, ...
    pub problems: Vec<&'static str>,
    /// The certificates and what was agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<tls::Session>,
    /// The HTTP answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<http::Head>,
}

impl Rung {
    fn new(step: Step, status: Status, text: impl Into<String>) -> Rung {
        Rung {
            schema: SCHEMA,
            kind: "rung",
            step,
            subject: None,
            address: None,
            status,
            elapsed_ns: None,
            text: text.into(),
            verdict: None,
            problems: Vec::new(),
            tls: None,
            http: None,
        }
    }

    fn ok(step: Step, text: impl Into<String>) -> Rung {
        Rung::new(step, Status::Ok, text)
    }

    fn skipped(step: Step, why: impl Into<String>) -> Rung {
        Rung::new(step, Status::Skipped, why)
    }

    /// A failed rung says what its verdict says.
    fn failed(step: Step, verdict: Verdict) -> Rung {
        Rung { verdict: Some(verdict.clone()), ..Rung::new(step, Status::Failed, verdict.summary) }
    }

    fn about(mut self, address: IpAddr) -> Rung {
        self.subject = Some(address.to_string());
        self.address = Some(address);
        self
    }

    fn at(mut self, endpoint: SocketAddr) -> Rung {
        self.subject = Some(format!("{} port {}", endpoint.ip(), endpoint.port()));
        self.address = Some(endpoint.ip());
        self
    }

    fn took(mut self, began: Instant) -> Rung {
        self.elapsed_ns = Some(nanoseconds(began.elapsed()));
        self
    }
}

/// A verdict of the catalogue, with what shows it.
fn verdict(
    code: &'static str,
    certainty: Certainty,
    summary: impl Into<String>,
    proof: &[(&'static str, String)],
) -> Verdict {
    let summary = summary.into();
    Verdict {
        code,
        certainty,
        because: summary.clone(),
        summary,
        evidence: proof.iter().map(|(what, text)| Evidence { t_ns: None, what, text: text.clone() }).collect(),
        advice: Vec::new(),
    }
}

/// The climb: what is known so far, and the rungs that wait to be said in order.
pub struct Ladder<'a, H> {
    request: &'a Request,
    host: &'a mut H,
    said: &'a mut dyn FnMut(&Rung),
    rungs: Vec<Rung>,
    /// How many of `rungs` have been said.
    shown: usize,
    /// Rungs that are not certain before something above them has been tried. Nothing from the first of them on is said.
    pending: BTreeSet<usize>,
    interfaces: Vec<Interface>,
    /// The tracer, where there is one.
    witness: Option<Witness>,
    /// Trusted certificates, once they are needed.
    roots: Option<tls::Roots>,
    /// Next hops that have been tried, and the rung of those that failed.
    hops: BTreeMap<IpAddr, Option<usize>>,
    /// Addresses to which packets seem to get no further than the rung with this index.
    obstacles: BTreeMap<IpAddr, usize>,
    /// The links of link-local addresses, with their names.
    links: BTreeMap<IpAddr, (u32, String)>,
    /// Addresses whose route has been looked up, and whether there is one.
    routes: BTreeMap<IpAddr, bool>,
}

impl<H: Ask> Ladder<'_, H> {
    fn push(&mut self, mut rung: Rung) {
        if let (Some(address), Some(subject)) = (rung.address, &mut rung.subject)
            && let Some((_, zone)) = self.links.get(&address)
        {
            *subject = subject.replacen(&address.to_string(), &zone::text(address, Some(zone)), 1);
        }
        self.rungs.push(rung);
        self.show();
    }

    /// Adds a rung that is not certain yet, and is said when it is settled; its index.
    fn hold(&mut self, rung: Rung) -> usize {
        let index = self.rungs.len();
        self.pending.insert(index);
        self.push(rung);
        index
    }

    /// What failed on a rung that was held back does not matter, for this reason.
    fn forgive(&mut self, index: usize, why: &str) {
        if self.pending.contains(&index) {
            let rung = &mut self.rungs[index];
            (rung.status, rung.verdict) = (Status::Skipped, None);
            rung.text = format!("{}; {why}", rung.text);
        }
    }

    /// A rung that was held back is certain now.
    fn settle(&mut self, index: usize) {
        self.pending.remove(&index);
        self.show();
    }

    /// Says whatever is certain, in order.
    fn show(&mut self) {
        let end = self.pending.first().copied().unwrap_or(self.rungs.len());
        while self.shown < end {
            (self.said)(&self.rungs[self.shown]);
            self.shown += 1;
        }
    }

    /// Remembers the link of an address. One that isn't there leaves the address without a link, which its route tells.
    fn learn_link(&mut self, address: IpAddr, zone: &str) {
        if let Ok(index) = zone::index(address, Some(zone)) {
            self.links.entry(address).or_insert_with(|| (index, zone.to_owned()));
        }
    }

    /// The index of the link of an address; 0: it is valid on all, or no link is known.
    fn link(&self, address: IpAddr) -> u32 {
        self.links.get(&address).map_or(0, |(index, _)| *index)
    }

    /// Where to connect to for an address.
    fn endpoint(&self, address: IpAddr, port: u16) -> SocketAddr {
        zone::endpoint(address, port, self.link(address))
    }

    /// What `target.family` leaves of the addresses.
    fn wanted(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
        let mut wanted: Vec<IpAddr> = Vec::new();
        for address in addresses {
            if self.request.family.is_none_or(|f| f == Family::of(address)) && !wanted.contains(&address) {
                wanted.push(address);
            }
        }
        wanted
    }
}

/// Climbs the ladder; `said` hears of each rung as soon as it is certain.
pub async fn climb<H: Ask>(request: &Request, host: &mut H, said: &mut dyn FnMut(&Rung)) -> (Vec<Rung>, Conclusion) {
    // Attached before anything is sent; where it can't be, that is said beside the conclusion.
    let (witness, untraced) = match request.trace.then(Witness::start) {
        Some(Ok(witness)) => (Some(witness), None),
        Some(Err(error)) => (None, Some(error.to_string())),
        None => (None, None),
    };
    let mut ladder = Ladder {
        witness,
        request,
        host,
        said,
        rungs: Vec::new(),
        shown: 0,
        pending: BTreeSet::new(),
        interfaces: Vec::new(),
        roots: None,
        hops: BTreeMap::new(),
        obstacles: BTreeMap::new(),
        links: BTreeMap::new(),
        routes: BTreeMap::new(),
    };
    if let (Some(address), Some(zone)) = (request.target.address, &request.target.zone) {
        ladder.learn_link(address, zone);
    }
    ladder.this_host().await;
    ladder.internet().await;
    let names = ladder.names().await;
    ladder.settle_interfaces(&names.addresses);
    for &address in &names.addresses {
        ladder.way_to(address).await;
    }
    let reached = ladder.ports(&names).await;
    for endpoint in reached {
        ladder.service(endpoint).await;
    }
    ladder.hosts_against_dns(&names).await;
    ladder.pending.clear();
    ladder.show();
    let mut conclusion = conclusion::draw(&request.target, &ladder.rungs, &names);
    conclusion.untraced = untraced;
    (ladder.rungs, conclusion)
}
