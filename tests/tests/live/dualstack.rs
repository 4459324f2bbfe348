//! IPv6 failed, and IPv4 worked.

use netdx_tests::lab::Lab;
use netdx_tests::names::{PATIENCE, RESOLVER, also, lab, python};
use netdx_tests::servers::{self, Zone, listen};
use netdx_tests::tracer::{Expected, Tracer, check};
use serde_json::Value;

/// Tries IPv6, then IPv4, as simple programs do.
const IN_TURN: &str = "import socket
for family, address in ((socket.AF_INET6, 'fd01:2::2'), (socket.AF_INET, '10.1.2.2')):
    try:
        socket.socket(family, socket.SOCK_STREAM).connect((address, 80))
        break
    except OSError:
        pass
";

/// The report of the connection by IPv4 that worked after all, and that of the attempt before.
fn reports(trace: &Tracer) -> [Value; 2] {
    ["10.1.2.2", "fd01:2::2"].map(|address| {
        trace.wait_for(PATIENCE, |r| {
            r["kind"] == "connection"
                && r["remote"]["addr"] == address
                && r["remote"]["port"] == 80
                && !r["verdict"].is_null()
        })
    })
}

fn in_turn(lab: &Lab, code: &str) {
    let _listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(lab);
    python(lab, IN_TURN);
    let [worked, failed] = reports(&trace);
    let names = &["10.1.2.2:80", "fd01:2::2", code];
    check(&worked, &Expected { code: "dualstack.fallback", outcome: "established", names, ..Expected::default() });
    check(&failed, &Expected { code, outcome: "failed", ..Expected::default() });
    trace.only(&["dualstack.fallback", code]);
}

#[test]
fn there_is_no_route_by_ipv6() {
    let lab = Lab::new();
    lab.client.ip("-6 route del default");
    in_turn(&lab, "route.none");
}

#[test]
fn ipv6_is_refused() {
    in_turn(&Lab::new(), "refused.bound-elsewhere");
}

#[test]
fn ipv6_is_dropped_and_ipv4_overtakes_it() {
    let lab = lab(RESOLVER);
    servers::dns(
        &lab.server,
        "10.1.2.2",
        Zone::default().address("both.test", "fd01:2::2").address("both.test", "10.1.2.2"),
    );
    let _listener = listen(&lab.server, "10.1.2.2:80");
    lab.router.guard("forward", "meta nfproto ipv6 drop");
    let trace = Tracer::start(&lab);
    python(&lab, "import asyncio\nasyncio.run(asyncio.open_connection('both.test', 80, happy_eyeballs_delay=0.25))");
    let [worked, failed] = reports(&trace);
    let names = &["both.test", "fd01:2::2", "firewall.dropped", "which cost "];
    check(&worked, &Expected { code: "dualstack.fallback", outcome: "established", names, ..Expected::default() });
    let summary = worked["verdict"]["summary"].as_str().expect("a summary");
    let cost = summary.split_once("which cost ").and_then(|(_, rest)| rest.split_once(" ms")).expect("a cost").0;
    let cost: u64 = cost.parse().expect("a number of milliseconds");
    // The program waits so long, and a busy machine somewhat longer.
    assert!((250..=900).contains(&cost), "{summary}");
    check(&failed, &Expected { code: "firewall.dropped", outcome: "abandoned", ..Expected::default() });
    assert_eq!(also(&failed), ["dualstack.fallback"], "{failed:#}");
    assert_eq!((&worked["name"], &failed["name"]), (&"both.test".into(), &"both.test".into()));
    trace.only(&["dualstack.fallback", "firewall.dropped"]);
}
