//! `dns.lookup-failed`

use super::answers::{interfaces_want, resolver_said};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact},
    fact::Answer,
    report::Certainty,
    story::{Lookup, Resolved},
    want::Want,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.lookup-failed",
    page: PAGE,
    rule: Rule::Lookup { wants, judge },
    hides: &[],
    tells: Tells::Failure,
};

/// EAI_NONAME, EAI_SERVICE, EAI_IDN_ENCODE
const NONAME: i32 = -2;
const SERVICE: i32 = -8;
const IDN_ENCODE: i32 = -105;
/// AF_INET, AF_INET6
const INET: u32 = 2;
const INET6: u32 = 10;

const PAGE: &str = "\
The C library's lookup failed without asking any server.

# What happened
getaddrinfo returned an error, and no query was sent: the sources of nsswitch.conf don't include dns, a daemon that should
answer (systemd-resolved, nscd, sssd, a Unix socket) did not, the name can't be one (an empty label, one of more than 63
characters), or addresses of one family were asked for, only to be had where this host has such an address itself
(AI_ADDRCONFIG), and it has none but that of loopback. Or the service (a port by name) is not known.

# How netdx knows
The call's return was seen in the process (a uprobe on the C library), and no packet to a name server in between. Whether a
program sets AI_ADDRCONFIG is not seen: that there is no address of the family makes it likely. So it is where `dns` is among
the sources and a server should have been asked: that no query was seen does not prove that none was.

# What to do
Look at the `hosts:` line of nsswitch.conf (named here) and at the daemons it refers to.

# Easily confused with
dns.no-server: no server is configured. dns.nxdomain: a server said so.
";

fn wants(l: &Lookup) -> Vec<Want> {
    if family(l).is_none() || asked_somebody(l) { Vec::new() } else { interfaces_want(l).into_iter().collect() }
}

fn asked_somebody(l: &Lookup) -> bool {
    !l.queries.is_empty() || !l.paths.is_empty()
}

fn judge(l: &Lookup, coverage: &Coverage) -> Judgement {
    let Some(r) = l.resolved.as_ref().filter(|r| r.result != 0) else { return Judgement::No };
    let Some(said) = resolver_said(l) else { return Judgement::No };
    if asked_somebody(l) {
        return Judgement::No;
    }
    if let Some(why) = coverage.missing("dns-out") {
        return Judgement::CannotTell(format!("queries can't be seen: {why}"));
    }
    let code = errno::eai(r.result);
    let found = |certainty, why: String| Finding::new(certainty, format!("getaddrinfo returned {code}{why}"), said);
    if r.result == SERVICE {
        let why = format!(": there is no service {}", r.service);
        let advice = "give the port as a number, or add the service to /etc/services";
        return Judgement::Yes(found(Certainty::Proven, why).advise(advice));
    }
    if let Some(fault) = unacceptable(r) {
        let why = format!(" without asking any server: {} is no name, it {fault}", r.name);
        return Judgement::Yes(found(Certainty::Proven, why).advise("correct the name"));
    }
    let sources = l.resolver().map(|r| &r.nsswitch).filter(|sources| !sources.is_empty());
    let has_dns = sources.map(|all| all.iter().any(|s| s == "dns"));
    if let Some((family, loopback)) = without_address(l).filter(|_| has_dns != Some(false)) {
        let why = format!(
            " without asking any server: it was asked for {family} addresses, and no interface has one but {loopback} \
             (AI_ADDRCONFIG: then none are looked up)"
        );
        let advice = format!("give an interface an {family} address, or have the program not set AI_ADDRCONFIG");
        let none = fact("interfaces", format!("no interface has an {family} address but {loopback}"));
        return Judgement::Yes(found(Certainty::Likely, why).and(none).advise(advice));
    }
    // With the source `dns` it should have asked one: that it did not is only what was seen.
    let (certainty, without) = if has_dns == Some(true) {
        (Certainty::Likely, ", and no query to a server was seen")
    } else {
        (Certainty::Proven, " without asking any server")
    };
    let sources = sources.map(|all| all.join(" "));
    let listed = sources.as_ref().map(|s| format!(" (sources: {s})")).unwrap_or_default();
    Judgement::Yes(
        found(certainty, format!("{without}{listed}"))
            .and_all(sources.map(|s| fact("nsswitch", format!("hosts: {s}"))))
            .advise("look at the `hosts:` line of nsswitch.conf and at the daemons it refers to"),
    )
}

/// Why something can be no name (RFC 1035 §2.3.4). Others than of ASCII are encoded first: their lengths are not these.
fn unacceptable(r: &Resolved) -> Option<&'static str> {
    let labels = r.name.strip_suffix('.').unwrap_or(&r.name);
    if r.result == IDN_ENCODE {
        Some("can't be encoded as an international one (IDNA)")
    } else if labels.is_empty() {
        None
    } else if labels.split('.').any(str::is_empty) {
        Some("has an empty label")
    } else if !labels.is_ascii() {
        None
    } else if labels.split('.').any(|label| label.len() > 63) {
        Some("has a label of more than 63 characters")
    } else {
        (labels.len() > 253).then_some("has more than 253 characters")
    }
}

/// The one family that was asked for, in vain, and its loopback address.
fn family(l: &Lookup) -> Option<(&'static str, IpAddr)> {
    match l.resolved.as_ref().filter(|r| r.result == NONAME)?.family {
        INET => Some(("IPv4", Ipv4Addr::LOCALHOST.into())),
        INET6 => Some(("IPv6", Ipv6Addr::LOCALHOST.into())),
        _ => None,
    }
}

/// The same, if the namespace has no address of that family but that one (`__check_pf`, glibc 2.36).
fn without_address(l: &Lookup) -> Option<(&'static str, IpAddr)> {
    let (name, loopback) = family(l)?;
    let Answer::Interfaces(all) = l.facts.get(&interfaces_want(l)?)? else { return None };
    let mut addresses = all.iter().flat_map(|i| &i.addresses);
    let another = addresses.any(|(a, _)| a.is_ipv4() == loopback.is_ipv4() && *a != loopback);
    (!another).then_some((name, loopback))
}
