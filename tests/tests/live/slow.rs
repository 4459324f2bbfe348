//! It worked, later than it should.

use crate::needs::{Feature, weaker_without};
use hickory_proto::rr::RecordType;
use netdx_tests::lab::Lab;
use netdx_tests::names::{RESOLVER, client, lab, verdict};
use netdx_tests::servers::{self, Zone, listen};
use netdx_tests::tracer::{Expected, Tracer, check};
use std::time::Duration;

const SLOW: [&str; 2] = ["--slow", "200ms"];

#[test]
fn the_first_syn_is_lost() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    // The first packet is within the limit, and dropped; the next one is over it.
    lab.server.guard("input", "tcp dport 80 tcp flags syn limit rate 1/minute burst 1 packets drop");
    let trace = Tracer::with(&lab, &SLOW);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    assert_eq!(attempt.errno, 0);
    let reason = if weaker_without(Feature::DropReasons) { "dropped" } else { "NETFILTER_DROP" };
    let names = &["10.1.2.2:80", "1 SYN sent again", reason, lab.server.name()];
    trace
        .explains(&attempt, &Expected { code: "slow.handshake", outcome: "established", names, ..Expected::default() });
    trace.only(&["slow.handshake"]);
}

#[test]
fn the_server_takes_its_time() {
    let lab = lab(RESOLVER);
    let zone = Zone { delay: Duration::from_millis(300), ..Zone::default() };
    servers::dns(&lab.server, "10.1.2.2", zone.address("late.test", "10.1.2.2"));
    let trace = Tracer::with(&lab, &SLOW);
    assert!(client(&lab, "getent ahosts late.test"));
    let report = verdict(&trace, "getent");
    let names = &["late.test", "10.1.2.2 answered"];
    check(&report, &Expected { code: "slow.lookup", outcome: "answered", names, ..Expected::default() });
    trace.only(&["slow.lookup"]);
}

#[test]
fn the_first_of_two_servers_is_silent() {
    let lab = lab("nameserver 10.1.2.3\nnameserver 10.1.2.2\noptions timeout:1 attempts:2\n");
    servers::dns(&lab.server, "10.1.2.3", Zone { dead: true, ..Zone::default() });
    servers::dns(&lab.server, "10.1.2.2", Zone::default().address("second.test", "10.1.2.2"));
    let trace = Tracer::with(&lab, &SLOW);
    assert!(client(&lab, "getent ahosts second.test"));
    let report = verdict(&trace, "getent");
    let names = &["second.test", "10.1.2.3 never answered"];
    check(&report, &Expected { code: "slow.lookup", outcome: "answered", names, ..Expected::default() });
    trace.only(&["slow.lookup"]);
}

#[test]
fn one_of_two_questions_is_never_answered() {
    let lab = lab(RESOLVER);
    let zone = Zone { mute: Some(RecordType::AAAA), ..Zone::default() };
    servers::dns(&lab.server, "10.1.2.2", zone.address("half.test", "10.1.2.2"));
    let trace = Tracer::with(&lab, &SLOW);
    assert!(client(&lab, "getent ahosts half.test"));
    let report = verdict(&trace, "getent");
    let names = &["half.test", "10.1.2.2 never answered AAAA half.test"];
    check(&report, &Expected { code: "slow.lookup", outcome: "answered", names, ..Expected::default() });
    trace.only(&["slow.lookup"]);
}
