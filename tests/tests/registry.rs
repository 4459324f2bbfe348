//! Every cause is documented, recorded and produced live, and the catalogue stays as it is.

use netdx::explain::registry;
use netdx_tests::recordings;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Causes that the kernel tells of in another way over IPv6: by functions, reasons, error messages or limits of its own.
const OVER_IPV6: [&str; 28] = [
    "refused.no-listener",
    "refused.bound-elsewhere",
    "refused.remote",
    "firewall.rejected",
    "firewall.dropped",
    "denied.bpf",
    "denied.policy",
    "route.none",
    "route.rejects",
    "route.interface-down",
    "route.neighbor-silent",
    "route.icmp-unreachable",
    "route.ttl-exceeded",
    "route.forwarding-off",
    "timeout.silent",
    "timeout.queue-full",
    "timeout.conntrack",
    "timeout.dropped",
    "local.ports-exhausted",
    "local.bad-source",
    "local.bad-target",
    "local.no-family",
    "local.queue-drop",
    "local.message-size",
    "local.resources",
    "broken.mtu",
    "broken.zero-window",
    "dns.server-unreachable",
];

/// The catalogue: a code is stable for ever.
const CATALOGUE: [&str; 51] = [
    "refused.no-listener",
    "refused.bound-elsewhere",
    "refused.remote",
    "refused.queue-full",
    "firewall.rejected",
    "firewall.dropped",
    "denied.bpf",
    "denied.policy",
    "route.none",
    "route.rejects",
    "route.interface-down",
    "route.neighbor-silent",
    "route.icmp-unreachable",
    "route.ttl-exceeded",
    "route.reverse-path",
    "route.forwarding-off",
    "timeout.silent",
    "timeout.queue-full",
    "timeout.conntrack",
    "timeout.dropped",
    "timeout.abandoned",
    "local.ports-exhausted",
    "local.address-in-use",
    "local.bad-source",
    "local.bad-target",
    "local.no-family",
    "local.queue-drop",
    "local.message-size",
    "local.resources",
    "broken.reset-by-peer",
    "broken.reset-by-us",
    "broken.timeout",
    "broken.zero-window",
    "broken.destroyed",
    "broken.mtu",
    "dns.nxdomain",
    "dns.nodata",
    "dns.servfail",
    "dns.refused",
    "dns.error",
    "dns.timeout",
    "dns.server-unreachable",
    "dns.no-server",
    "dns.truncated",
    "dns.hosts-override",
    "dns.search-storm",
    "dns.lookup-failed",
    "dualstack.fallback",
    "slow.handshake",
    "slow.lookup",
    "unexplained",
];

#[test]
fn the_registry_is_the_catalogue() {
    let known: BTreeSet<&str> = registry().iter().map(|cause| cause.code).collect();
    assert_eq!(known.len(), registry().len(), "two causes have one code");
    let catalogue: BTreeSet<&str> = CATALOGUE.into_iter().collect();
    assert_eq!(known, catalogue);
}

#[test]
fn every_page_has_its_headings() {
    for cause in registry() {
        for heading in ["# What happened", "# How netdx knows", "# What to do", "# Easily confused with"] {
            assert!(cause.page.contains(heading), "{} has no \"{heading}\"", cause.code);
        }
    }
}

/// What the recordings say in replay.
fn told() -> String {
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let told = |recording: recordings::Recording| {
        let snapshot = snapshots.join(format!("replay__{}.snap", recording.name));
        let text = fs::read_to_string(&snapshot).unwrap_or_else(|error| panic!("{}: {error}", snapshot.display()));
        let (_, reports) = text.split_once("\n---\n").expect("a snapshot has a header");
        // An empty line parts one report from the next.
        format!("{reports}\n")
    };
    recordings::all().into_iter().map(told).collect()
}

#[test]
fn every_cause_has_a_recording() {
    let told = told();
    // Each report ends with the page that explains it; what else is true stands beside.
    let is_told =
        |code: &&str| told.contains(&format!("netdx explain {code}\n")) || told.contains(&format!("also    {code}: "));
    let missing: Vec<&str> = registry().iter().map(|cause| cause.code).filter(|code| !is_told(code)).collect();
    assert!(missing.is_empty(), "no live scenario and recording yet: {missing:?}");
}

#[test]
fn every_cause_that_differs_over_ipv6_has_a_recording_of_it() {
    let told = told();
    let over_ipv6 = |report: &&str| {
        let mut words = report.lines().next().unwrap_or_default().split_whitespace();
        // `TIME  PROCESS -> ADDRESS port ...`, `TIME  PROCESS looked up NAME (TYPE) at SERVER ...`
        words.any(|word| word.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let reports: Vec<&str> = told.split("\n\n").filter(over_ipv6).collect();
    let is_told = |code: &&str| reports.iter().any(|report| report.ends_with(&format!("netdx explain {code}")));
    let missing: Vec<&str> = OVER_IPV6.into_iter().filter(|code| !is_told(code)).collect();
    assert!(missing.is_empty(), "no live scenario and recording over IPv6 yet: {missing:?}");
}

#[test]
fn every_recording_has_its_scenario() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for recording in recordings::all() {
        let (family, scenario) = recording.name.split_once('.').expect("FAMILY.SCENARIO");
        let file = format!("{family}.rs");
        let text: String = ["live", "full"]
            .iter()
            .filter_map(|folder| fs::read_to_string(tests.join(folder).join(&file)).ok())
            .collect();
        assert!(text.contains(&format!("fn {scenario}()")), "no {file} has {scenario}");
    }
}
