//! The listener's side: a peer that this host did not let in.

use crate::needs::{Feature, weaker_without};
use netdx_tests::lab::Lab;
use netdx_tests::remote::{self, Answer, Remote};
use netdx_tests::servers;
use netdx_tests::tracer::Tracer;
use std::net::SocketAddr;
use std::time::Duration;

/// The address that is called, the one of the caller, and how it calls.
struct Caller {
    here: &'static str,
    there: &'static str,
    knock: fn(&Remote, u16, u16),
}

/// An address and a port as text.
fn endpoint(address: &str, port: u16) -> String {
    SocketAddr::new(address.parse().expect("an address"), port).to_string()
}

fn nobody_is_let_in(caller: &Caller) {
    let Caller { here, there, knock } = caller;
    let lab = Lab::new();
    let remote = remote::attach(&lab.client, Answer::Silence);
    lab.client.guard("input", "tcp dport 82 drop\n tcp dport 83 reject with tcp reset");
    let _listener = servers::deferring(&lab.client, &endpoint(here, 84));
    let _elsewhere = servers::listen(&lab.client, "127.0.0.1:85");
    let mut filler = lab.start(&format!("blocking {} --times 4 --send 10 --hold 60000", endpoint(here, 84)));
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
        knock(&remote, 40_000 + port, port);
        let report = trace.wait_for(Duration::from_secs(10), |report| {
            report["direction"] == "inbound" && report["local"]["port"] == port
        });
        assert_eq!(report["verdict"]["code"], code, "{report:#}");
        assert_eq!(report["verdict"]["certainty"], "proven", "{report:#}");
        assert_eq!(report["local"]["addr"], *here, "{report:#}");
        assert_eq!(report["remote"]["addr"], *there, "{report:#}");
        assert_eq!(report["remote"]["port"], 40_000 + port, "{report:#}");
        let summary = report["verdict"]["summary"].as_str().expect("a summary");
        assert!(summary.contains(&format!("{} was not let in", endpoint(there, 40_000 + port))), "{summary}");
    }
    trace.only(&cases.map(|(_, code)| code));
}

#[test]
fn a_host_that_cannot_be_seen_into_is_not_let_in() {
    nobody_is_let_in(&Caller { here: "10.6.0.1", there: "10.7.0.1", knock: Remote::knock });
}

#[test]
fn nor_is_it_over_ipv6() {
    nobody_is_let_in(&Caller { here: "fd06::1", there: "fd07::1", knock: Remote::knock_over_ipv6 });
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
