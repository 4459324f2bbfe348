//! The listener's side: a peer that this host did not let in.

use crate::needs::{Feature, weaker_without};
use netdx_tests::lab::Lab;
use netdx_tests::remote::{self, Answer};
use netdx_tests::servers;
use netdx_tests::tracer::Tracer;
use std::time::Duration;

#[test]
fn a_host_that_cannot_be_seen_into_is_not_let_in() {
    let lab = Lab::new();
    let remote = remote::attach(&lab.client, Answer::Silence);
    lab.client.guard("input", "tcp dport 82 drop\n tcp dport 83 reject with tcp reset");
    let _listener = servers::deferring(&lab.client, "10.6.0.1:84");
    let _elsewhere = servers::listen(&lab.client, "127.0.0.1:85");
    let mut filler = lab.start("blocking 10.6.0.1:84 --times 4 --send 10 --hold 60000");
    for _ in 0..4 {
        assert_eq!(filler.attempt().errno, 0);
    }
    let trace = Tracer::with(&lab, &["--inbound"]);
    let cases = [
        (81, "refused.no-listener"),
        (82, "firewall.dropped"),
        (83, "firewall.rejected"),
        (84, "timeout.queue-full"),
        (85, "refused.bound-elsewhere"),
    ];
    // Only its reason tells such a drop from that of any other packet.
    let untold: &[u16] = if weaker_without(Feature::DropReasons) { &[81, 85] } else { &[] };
    for (port, code) in cases.into_iter().filter(|(port, _)| !untold.contains(port)) {
        remote.knock(40_000 + port, port);
        let report = trace.wait_for(Duration::from_secs(10), |report| {
            report["direction"] == "inbound" && report["local"]["port"] == port
        });
        assert_eq!(report["verdict"]["code"], code, "{report:#}");
        assert_eq!(report["verdict"]["certainty"], "proven", "{report:#}");
        assert_eq!(report["local"]["addr"], "10.6.0.1", "{report:#}");
        assert_eq!(report["remote"]["addr"], "10.7.0.1", "{report:#}");
        assert_eq!(report["remote"]["port"], 40_000 + port, "{report:#}");
        let summary = report["verdict"]["summary"].as_str().expect("a summary");
        assert!(summary.contains(&format!("10.7.0.1:{} was not let in", 40_000 + port)), "{summary}");
    }
    trace.only(&cases.map(|(_, code)| code));
}

#[test]
fn nobody_asked_for_the_listeners_side() {
    let lab = Lab::new();
    let remote = remote::attach(&lab.client, Answer::Silence);
    lab.client.guard("input", "tcp dport 82 drop");
    let trace = Tracer::start(&lab);
    remote.knock(40_001, 81);
    remote.knock(40_002, 82);
    // What comes after it has been told.
    let attempt = lab.connect("blocking 10.1.2.2:81");
    trace.wait_for(Duration::from_secs(10), |report| report["process"]["pid"] == attempt.pid);
    let (reports, _) = trace.end();
    assert!(reports.iter().all(|report| report["direction"] == "outbound"), "{reports:#?}");
}
