//! From the name to addresses: resolv.conf, the hosts file, the system's way, each server. Owns: those rungs, [`Names`].
//! Must not know: DNS messages (see `inspect::dns`), what the addresses are good for.

use super::{Family, Ladder, Rung, Step, port, verdict};
use crate::{
    fact::{Answer, HostsEntry, Resolver},
    inspect::{
        Ask,
        dns::{self, Asked, Lookup, Server},
        zone,
    },
    quantity::duration,
    report::Certainty,
    want::Want,
};
use hickory_proto::rr::RecordType;
use std::net::IpAddr;

/// UDP tries for each question: enough to outlive one lost packet.
const TRIES: u32 = 2;

/// What the name became.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Addresses to try, in the order an application would.
    pub(super) addresses: Vec<IpAddr>,
    /// What the hosts file says.
    pub(super) hosts: Vec<HostsEntry>,
    /// What the servers say.
    pub(super) dns: Vec<IpAddr>,
    /// Applications get addresses for it.
    pub(super) resolved: bool,
    /// A server has said something, if only that it can't.
    pub(super) heard: bool,
}

impl<H: Ask> Ladder<'_, H> {
    /// Every source of addresses; an address needs none.
    pub(super) async fn names(&mut self) -> Names {
        let target = &self.request.target;
        if let Some(address) = target.address {
            let meant = zone::meant(address);
            let this_host = if meant == address { "" } else { "; as a target it is this host" };
            let why = format!("the target is an address, no name has to be resolved{this_host}");
            self.push(Rung::skipped(Step::System, why));
            return Names { addresses: vec![meant], resolved: true, ..Names::default() };
        }
        let pid = std::process::id();
        let resolver = match self.host.ask(&Want::Resolver { pid, root: None }) {
            Answer::Resolver(resolver) => Some(resolver),
            _ => None,
        };
        let name = target.host.trim_end_matches('.').to_owned();
        let in_hosts =
            matches!(self.host.ask(&Want::Hosts { pid, root: None, name }), Answer::Hosts(e) if !e.is_empty());
        self.push(configured(resolver.as_ref()));
        for (server, zone) in resolver.iter().flat_map(|r| &r.zones) {
            self.learn_link(*server, zone);
        }
        for server in resolver.iter().flat_map(dns::servers).take_while(|_| !in_hosts) {
            self.way_to(server).await;
        }
        let request = dns::Request {
            name: target.host.clone(),
            types: match self.request.family {
                None => Vec::new(),
                Some(Family::Ipv4) => vec![RecordType::A],
                Some(Family::Ipv6) => vec![RecordType::AAAA],
            },
            servers: Vec::new(),
            timeout: Some(self.request.patience),
            tries: Some(TRIES),
            tcp: false,
        };
        let looked_up = dns::look_up(&request, self.host).await;
        let answered = looked_up.iter().flat_map(|l| &l.servers).filter(|s| heard(s)).map(|s| s.address);
        self.settle_ways(answered);
        let lookup = match looked_up {
            Ok(lookup) => lookup,
            Err(error) => {
                let summary = error.to_string();
                let proof = [("name", summary.clone())];
                self.push(Rung::failed(Step::System, verdict("dns.lookup-failed", Certainty::Proven, summary, &proof)));
                return Names::default();
            }
        };
        self.say_names(&lookup)
    }

    fn say_names(&mut self, lookup: &Lookup) -> Names {
        for (address, zone) in lookup.system.iter().flat_map(|s| &s.zones) {
            self.learn_link(*address, zone);
        }
        let from_system = lookup.system.iter().flat_map(|s| &s.addresses).copied();
        let from_dns = lookup.servers.iter().flat_map(|s| &s.queries).flat_map(Asked::addresses);
        let from_hosts = lookup.hosts.iter().map(|e| e.address);
        let dns = self.wanted(from_dns);
        let mut addresses = self.wanted(from_system.map(zone::meant));
        let resolved = !addresses.is_empty();
        if !resolved {
            // Applications get nothing; what the sources say is tried all the same, to know what would work.
            addresses = self.wanted(from_hosts.chain(dns.iter().copied()));
        }
        let has_link = |address| lookup.system.as_ref().is_some_and(|s| s.zones.contains_key(address));
        for address in addresses.iter().filter(|a| zone::is_needed(**a) && !has_link(a)) {
            // What resolv.conf says of a server with the same address is nothing that the name says.
            self.links.remove(address);
            self.routes.remove(address);
        }
        if lookup.hosts.is_empty() {
            self.push(hosts(lookup));
        } else {
            // Not certain before the addresses have been tried.
            self.hold(hosts(lookup));
        }
        self.push(system(lookup));
        for server in &lookup.servers {
            let rung = self.server(server, lookup);
            self.push(rung);
        }
        Names { addresses, hosts: lookup.hosts.clone(), dns, resolved, heard: lookup.servers.iter().any(heard) }
    }

    fn server(&mut self, server: &Server, lookup: &Lookup) -> Rung {
        let elapsed_ns = server.queries.iter().map(|q| q.elapsed_ns).max();
        let mut rung = match failure(server) {
            None => Rung::ok(Step::Server, summary(server)),
            Some(asked) => {
                let code = asked.code.unwrap_or("dns.error");
                let mut failed =
                    verdict(code, Certainty::Proven, said(server, asked, lookup), &[("dns", described(asked))]);
                if code == "dns.server-unreachable" && asked.errno == Some(libc::ECONNREFUSED) {
                    failed.advice.push(format!(
                        "see that a name server runs at {} port {}",
                        server.label(),
                        server.port
                    ));
                }
                if matches!(code, "dns.timeout" | "dns.server-unreachable") {
                    failed.advice.push("see that the server is the right one in resolv.conf".into());
                }
                if code == "dns.no-server" {
                    failed.advice.push("add a `nameserver` line to resolv.conf".into());
                }
                if server.spare {
                    let why = "not needed, the C library asks only the first three";
                    Rung::skipped(Step::Server, format!("{}; {why}", failed.summary))
                } else if lookup.hosts.is_empty() {
                    Rung::failed(Step::Server, failed)
                } else {
                    Rung::skipped(Step::Server, format!("{}; not needed, the hosts file has the name", failed.summary))
                }
            }
        }
        .about(server.address);
        rung.elapsed_ns = elapsed_ns;
        rung
    }

    /// The hosts file's rung fails when its addresses don't work and DNS has others.
    pub(super) async fn hosts_against_dns(&mut self, names: &Names) {
        let Some(index) = self.rungs.iter().position(|r| r.step == Step::Hosts) else { return };
        let from_hosts = self.wanted(names.hosts.iter().map(|e| e.address));
        let others: Vec<IpAddr> = names
            .dns
            .iter()
            .copied()
            .filter(|d| !from_hosts.contains(d) && from_hosts.iter().any(|h| h.is_ipv4() == d.is_ipv4()))
            .collect();
        let failed_here = |address: IpAddr| {
            self.rungs.iter().any(|r| {
                r.address == Some(address)
                    && r.status == super::Status::Failed
                    && matches!(r.step, Step::Route | Step::Gateway | Step::Port | Step::Ping)
            }) || self.obstacles.contains_key(&address)
        };
        if others.is_empty() || from_hosts.is_empty() || !from_hosts.iter().all(|&a| failed_here(a)) {
            return;
        }
        let mut works = Vec::new();
        for &address in &others {
            let Some(number) = self.request.target.port else { continue };
            let attempt = port::connect(self.endpoint(address, number), self.request.patience).await;
            if attempt.error.is_none() {
                works.push(address);
            }
        }
        let entry = &names.hosts[0];
        let target = &self.request.target;
        let list = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut summary = format!(
            "{} line {} sends {} to {}, which does not work; DNS says {}",
            entry.path,
            entry.line,
            target.host,
            list(&from_hosts),
            list(&others)
        );
        let mut proof = vec![
            ("hosts", format!("{} line {}: {} {}", entry.path, entry.line, entry.address, entry.names.join(" "))),
            ("dns", format!("the servers say {}", list(&others))),
        ];
        if !works.is_empty() {
            summary += &format!(", and {} works", list(&works));
            proof.push(("connected", format!("{} accepted a connection", list(&works))));
        }
        let certainty = if works.is_empty() { Certainty::Likely } else { Certainty::Proven };
        let mut failed = verdict("dns.hosts-override", certainty, summary, &proof);
        failed.advice.push(format!("correct or remove line {} of {}", entry.line, entry.path));
        let rung = Rung::failed(Step::Hosts, failed);
        self.rungs[index] = rung;
    }
}

/// Whether a server has answered anything.
fn heard(server: &Server) -> bool {
    server.queries.iter().any(|asked| asked.rcode.is_some())
}

/// resolv.conf and nsswitch.
fn configured(resolver: Option<&Resolver>) -> Rung {
    let Some(resolver) = resolver else { return Rung::skipped(Step::Resolver, "its configuration can't be read") };
    let mut text = dns::configuration(resolver);
    if !resolver.search.is_empty() {
        text += &format!("; search {}", resolver.search.join(" "));
    }
    if !resolver.nsswitch.is_empty() {
        text += &format!("; nsswitch {}", resolver.nsswitch.join(" "));
    }
    Rung::ok(Step::Resolver, text)
}

fn hosts(lookup: &Lookup) -> Rung {
    let lines: Vec<String> =
        lookup.hosts.iter().map(|e| format!("{} ({} line {})", e.address, e.path, e.line)).collect();
    if lines.is_empty() {
        Rung::ok(Step::Hosts, "does not have the name")
    } else {
        Rung::ok(Step::Hosts, lines.join(", "))
    }
}

fn system(lookup: &Lookup) -> Rung {
    let Some(system) = &lookup.system else { return Rung::skipped(Step::System, "not asked") };
    let mut rung = match &system.error {
        None => {
            let zone = |address| system.zones.get(address).map(String::as_str);
            let addresses: Vec<String> = system.addresses.iter().map(|a| zone::text(*a, zone(a))).collect();
            Rung::ok(Step::System, addresses.join(", "))
        }
        Some(error) => {
            let code = same_failure(lookup).unwrap_or("dns.lookup-failed");
            let sources = lookup.resolver.as_ref().map(|r| r.nsswitch.join(" ")).unwrap_or_default();
            let proof = [("getaddrinfo", error.to_string()), ("nsswitch", sources)];
            let summary = format!("applications get {} for {}: {}", error.name, lookup.name, error.text);
            Rung::failed(Step::System, verdict(code, Certainty::Likely, summary, &proof))
        }
    };
    rung.elapsed_ns = Some(system.elapsed_ns);
    rung
}

/// The code that every server's answer has, if it is one.
fn same_failure(lookup: &Lookup) -> Option<&'static str> {
    let asked = lookup.servers.iter().filter(|server| !server.spare);
    let mut codes = asked.map(|server| failure(server).and_then(|asked| asked.code));
    let first = codes.next()??;
    codes.all(|code| code == Some(first)).then_some(first)
}

/// What failed at a server; none: it gave an address.
fn failure(server: &Server) -> Option<&Asked> {
    if server.queries.iter().any(Asked::has_data) {
        return None;
    }
    // NXDOMAIN of an expansion says less than the failure of the name itself; the worst comes first.
    let rank = |asked: &&Asked| match asked.code {
        Some("dns.nxdomain") => 1,
        Some("dns.nodata") => 2,
        _ => 3,
    };
    server.queries.iter().max_by_key(rank)
}

fn described(asked: &Asked) -> String {
    match asked.error.as_ref().or(asked.rcode.as_ref()) {
        Some(said) => format!("{} {}: {said} after {}", asked.name, asked.kind, duration(asked.elapsed_ns)),
        None => format!("{} {}", asked.name, asked.kind),
    }
}

fn summary(server: &Server) -> String {
    let addresses: Vec<String> =
        server.queries.iter().flat_map(Asked::addresses).map(|address| address.to_string()).collect();
    let name = server.queries.iter().find(|q| q.has_data()).map_or("", |q| q.name.as_str());
    format!("{name} is {}", addresses.join(", "))
}

/// A server's failure in a sentence.
fn said(server: &Server, asked: &Asked, lookup: &Lookup) -> String {
    let label = server.label();
    let mut tried: Vec<&str> = server.queries.iter().map(|q| q.name.as_str()).collect();
    tried.dedup();
    let tried = tried.join(" and ");
    match asked.code {
        Some("dns.nxdomain") if let Some(end) = &asked.alias_of => {
            format!("{label} says that {} is an alias of {end}, which does not exist", asked.name)
        }
        Some("dns.nodata") if let Some(end) = &asked.alias_of => {
            let types = lookup.types.join(" or ");
            format!("{label} says that {} is an alias of {end}, which exists, without {types}", asked.name)
        }
        Some("dns.nxdomain") => {
            format!("{label} says that {tried} {} not exist", if tried.contains(' ') { "do" } else { "does" })
        }
        Some("dns.nodata") => format!("{label} says that {} exists, without {}", asked.name, lookup.types.join(" or ")),
        Some("dns.servfail") => format!("{label} failed to resolve {} (SERVFAIL)", asked.name),
        Some("dns.refused") => format!("{label} refuses to answer (REFUSED)"),
        Some("dns.timeout") => {
            format!("{label} did not answer {} queries within {}", asked.tries, duration(asked.elapsed_ns))
        }
        Some("dns.no-server") => {
            let why = asked.error.as_deref().unwrap_or("no answer");
            format!("resolv.conf names no server, and {label}, which the C library asks instead: {why}")
        }
        Some("dns.server-unreachable") => {
            format!("{label} can't be reached: {}", asked.error.as_deref().unwrap_or("no reason given"))
        }
        _ => format!("{label}: {}", described(asked)),
    }
}
