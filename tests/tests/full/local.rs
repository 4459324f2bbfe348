//! This host ran out of something.

use crate::needs::{Feature, weaker_without};
use netdx_tests::island::{Island, run};
use netdx_tests::lab::Lab;
use netdx_tests::tracer::{Expected, Tracer};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

/// Fills the table of neighbours of one family (`gc_thresh3`) with entries of an island, which go with it. For five seconds the kernel
/// throws none of them out (`neigh_forced_gc`, 6.18).
fn fill(island: &Island, family: &str, prefix: &str) {
    let path = format!("/proc/sys/net/{family}/neigh/default/gc_thresh3");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let limit: u32 = text.trim().parse().unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
    assert!(limit <= 1 << 16, "a table of {limit} neighbours is not full within seconds");
    let mut entries = String::new();
    for n in 0..limit {
        let (high, low) = (n >> 8, n & 255);
        let last = if family == "ipv4" { format!("{high}.{low}") } else { format!("{n:x}") };
        writeln!(entries, "neigh add {prefix}{last} lladdr 02:00:00:00:00:99 dev eth0 nud stale").expect("memory");
    }
    // The last ones find no room.
    let mut ip = island.command("ip");
    ip.args(["-force", "-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut ip = ip.spawn().expect("iproute2 is installed");
    ip.stdin.take().expect("a pipe").write_all(entries.as_bytes()).expect("ip reads");
    ip.wait().expect("ip ends");
}

/// A packet to a next hop that has no entry yet. `errno`: what a send of a datagram gives.
fn no_room(family: &str, prefix: &str, target: &str, errno: Option<&str>) {
    for (how, outcome, errno) in [("udp", "failed", errno), ("epoll", "abandoned", None)] {
        let lab = Lab::new();
        let trace = Tracer::start(&lab);
        run(lab.client.command("ip").args(["neigh", "flush", "all"]));
        fill(&lab.client, family, prefix);
        let mut client = lab.start(&format!("{how} {target} --send 10 --give-up 1500 --hold 60000"));
        let attempt = client.attempt();
        let (code, names): (_, &[&str]) = if weaker_without(Feature::DropReasons) {
            ("timeout.dropped", &["the kernel dropped "])
        } else {
            ("local.resources", &["the table of neighbours", "is full", "no room for the next hop"])
        };
        let expected = Expected { code, outcome, errno, remote: Some(target), names, certainty: None };
        trace.explains(&attempt, &expected);
        trace.only(&[code]);
    }
}

#[test]
fn there_is_no_room_for_another_neighbour() {
    no_room("ipv4", "10.8.", "10.1.2.2:81", None);
}

#[test]
fn there_is_no_room_for_another_neighbour_of_ipv6() {
    no_room("ipv6", "fd08::", "[fd01:2::2]:81", Some("EINVAL"));
}
