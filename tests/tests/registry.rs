//! Every cause is documented, recorded and produced live, and the catalogue stays as it is.

use netdx::explain::registry;
use netdx_tests::recordings;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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

#[test]
fn every_cause_has_a_recording() {
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let told: String = recordings::all()
        .iter()
        .map(|recording| {
            let snapshot = snapshots.join(format!("replay__{}.snap", recording.name));
            fs::read_to_string(&snapshot).unwrap_or_else(|error| panic!("{}: {error}", snapshot.display()))
        })
        .collect();
    // Each report ends with the page that explains it; what else is true stands beside.
    let is_told =
        |code: &&str| told.contains(&format!("netdx explain {code}\n")) || told.contains(&format!("also    {code}: "));
    let missing: Vec<&str> = registry().iter().map(|cause| cause.code).filter(|code| !is_told(code)).collect();
    assert!(missing.is_empty(), "no live scenario and recording yet: {missing:?}");
}

#[test]
fn every_recording_has_its_scenario() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live");
    for recording in recordings::all() {
        let (family, scenario) = recording.name.split_once('.').expect("FAMILY.SCENARIO");
        let file = scenarios.join(format!("{family}.rs"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(text.contains(&format!("fn {scenario}()")), "{} has no {scenario}", file.display());
    }
}
