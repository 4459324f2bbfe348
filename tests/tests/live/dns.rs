//! The name did not become an address.

use hickory_proto::op::ResponseCode;
use netdx_tests::lab::Lab;
use netdx_tests::servers::{self, Zone, listen};
use netdx_tests::tracer::{Expected, Tracer, check};
use serde_json::Value;
use std::time::Duration;

const RESOLVER: &str = "nameserver 10.1.2.2\noptions timeout:1 attempts:2\n";

/// A lab whose client resolves names with this resolv.conf.
fn lab(resolver: &str) -> Lab {
    let mut lab = Lab::new();
    lab.client =
        lab.client.with_file("/etc/resolv.conf", resolver).with_file("/etc/nsswitch.conf", "hosts: files dns\n");
    lab
}

/// `getent ahosts NAME` in the client's namespace, and the report of the lookup that failed.
fn lookup_report(lab: &Lab, trace: &Tracer, name: &str) -> Value {
    let status = lab.client.command("getent").args(["ahosts", name]).output().expect("getent runs").status;
    assert!(!status.success(), "{name} was found");
    trace.wait_for(Duration::from_secs(10), |report| {
        report["kind"] == "lookup" && report["process"]["comm"] == "getent" && !report["verdict"].is_null()
    })
}

fn failed_lookup(resolver: &str, zone: Option<Zone>, name: &str, code: &str) -> Value {
    let lab = lab(resolver);
    if let Some(zone) = zone {
        servers::dns(&lab.server, "10.1.2.2", zone);
    }
    let trace = Tracer::start(&lab);
    let report = lookup_report(&lab, &trace, name);
    let certainty = report["verdict"]["certainty"].as_str();
    check(&report, &Expected { code, outcome: "failed", names: &[name], certainty, ..Expected::default() });
    assert_eq!(report["query"]["name"].as_str().map(|n| n.trim_end_matches('.')), Some(name), "{report:#}");
    trace.only(&[code]);
    report
}

#[test]
fn the_name_does_not_exist() {
    let report = failed_lookup(RESOLVER, Some(Zone::default()), "nx.test", "dns.nxdomain");
    assert_eq!(report["query"]["rcode"], "NXDOMAIN");
    assert_eq!(report["query"]["server"], "10.1.2.2");
}

#[test]
fn the_server_fails() {
    let zone = Zone { otherwise: Some(ResponseCode::ServFail), ..Zone::default() };
    failed_lookup(RESOLVER, Some(zone), "sf.test", "dns.servfail");
}

#[test]
fn the_server_refuses() {
    let zone = Zone { otherwise: Some(ResponseCode::Refused), ..Zone::default() };
    failed_lookup(RESOLVER, Some(zone), "ref.test", "dns.refused");
}

#[test]
fn the_server_does_not_implement_it() {
    let zone = Zone { otherwise: Some(ResponseCode::NotImp), ..Zone::default() };
    failed_lookup(RESOLVER, Some(zone), "odd.test", "dns.error");
}

#[test]
fn the_name_has_no_address() {
    let text = hickory_proto::rr::rdata::TXT::new(vec!["no address".into()]);
    let zone = Zone::default().with("nd.test", 60, hickory_proto::rr::RData::TXT(text));
    failed_lookup(RESOLVER, Some(zone), "nd.test", "dns.nodata");
}

#[test]
fn the_server_is_silent() {
    let zone = Zone { dead: true, ..Zone::default() };
    failed_lookup(RESOLVER, Some(zone), "drop.test", "dns.timeout");
}

#[test]
fn nothing_has_the_servers_port() {
    failed_lookup(RESOLVER, None, "ok.test", "dns.server-unreachable");
}

#[test]
fn the_connection_bears_the_name_that_was_looked_up() {
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", Zone::default().address("db.test", "10.1.2.2"));
    let trace = Tracer::start(&lab);
    let script = "import socket\ntry: socket.create_connection(('db.test', 81))\nexcept OSError: pass";
    let status = lab.client.command("/usr/bin/python3").args(["-c", script]).status().expect("python3 runs");
    assert!(status.success());
    let report = trace.wait_for(Duration::from_secs(10), |report| {
        report["kind"] == "connection" && report["remote"]["port"] == 81 && !report["verdict"].is_null()
    });
    assert_eq!(report["name"], "db.test", "{report:#}");
    assert_eq!(report["verdict"]["code"], "refused.no-listener", "{report:#}");
    trace.only(&["refused.no-listener"]);
}

#[test]
fn a_name_that_resolves_is_no_failure() {
    let lab = lab(RESOLVER);
    servers::dns(
        &lab.server,
        "10.1.2.2",
        Zone::default().address("ok.test", "10.1.2.2").address("ok.test", "fd01:2::2"),
    );
    let _listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let status = lab.client.command("getent").args(["ahosts", "ok.test"]).status().expect("getent runs");
    assert!(status.success());
    trace.only(&[]);
}

#[test]
fn the_answer_is_cut_and_tcp_fails() {
    let zone = Zone { truncate: true, no_tcp: true, ..Zone::default() };
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", zone);
    lab.server.guard("input", "tcp dport 53 reject with tcp reset");
    let trace = Tracer::start(&lab);
    let report = lookup_report(&lab, &trace, "tc.test");
    let certainty = report["verdict"]["certainty"].as_str();
    check(&report, &Expected { code: "dns.truncated", outcome: "failed", certainty, ..Expected::default() });
}

#[test]
fn no_source_knows_the_name_and_no_packet_leaves() {
    let mut lab = Lab::new();
    lab.client = lab.client.with_file("/etc/nsswitch.conf", "hosts: files\n");
    let trace = Tracer::start(&lab);
    let report = lookup_report(&lab, &trace, "nowhere.test");
    let certainty = report["verdict"]["certainty"].as_str();
    check(&report, &Expected { code: "dns.lookup-failed", outcome: "failed", certainty, ..Expected::default() });
    trace.only(&["dns.lookup-failed"]);
}
