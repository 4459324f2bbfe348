//! A datagram for a port that nobody waits on may be an answer to somebody. Owns: who has that port, or had it.

use crate::{
    event::{Netns, Protocol},
    explain::{fact, phrase},
    fact::{Answer, SocketEntry},
    report::Evidence,
    story::Connection,
    want::Want,
};

const RANGE: &str = "ipv4/ip_local_port_range";

/// The questions behind [`connected_elsewhere`] and [`to_a_client`]. `target`: the namespace that nobody took it in.
pub(super) fn wants(c: &Connection, target: Netns) -> Vec<Want> {
    if c.tuple.protocol != Protocol::Udp {
        return Vec::new();
    }
    vec![holders_want(c, target), Want::Sysctl { netns: target, key: RANGE.into() }]
}

fn holders_want(c: &Connection, target: Netns) -> Want {
    let to = c.reached();
    Want::Holders { netns: target, protocol: to.protocol, address: to.remote, port: to.remote_port }
}

/// The socket that has the port, and is connected to somebody else than the sender: it is given what comes from there only
/// (`compute_score`, net/ipv4/udp.c, 6.18).
pub(super) fn connected_elsewhere(c: &Connection, target: Netns) -> Option<&SocketEntry> {
    let Some(Answer::Sockets(all)) = c.facts.get(&holders_want(c, target)) else { return None };
    let from = (c.reached().local, c.reached().local_port);
    let is_it = |s: &&SocketEntry| s.tuple.remote_port != 0 && (s.tuple.remote, s.tuple.remote_port) != from;
    all.iter().find(is_it).filter(|_| c.tuple.protocol == Protocol::Udp)
}

/// What it is connected to, for a sentence, and what to do.
pub(super) fn connected(s: &SocketEntry) -> (String, String) {
    let peer = phrase::endpoint(s.tuple.remote, s.tuple.remote_port);
    let who = phrase::owners(&s.owners);
    (
        format!("{who} has that port, connected to {peer}, and is given only what comes from there"),
        format!(
            "if this answers {who}, send it from {peer}, where that asked: bind the socket to it, or use IP_PKTINFO"
        ),
    )
}

/// The port is one of those that clients get, and the sender's is not: what came is an answer, and nobody waits for it any
/// more. As proof.
pub(super) fn to_a_client(c: &Connection, target: Netns) -> Option<Evidence> {
    let want = Want::Sysctl { netns: target, key: RANGE.into() };
    let Some(Answer::Sysctl(value)) = c.facts.get(&want).filter(|_| c.tuple.protocol == Protocol::Udp) else {
        return None;
    };
    let mut ends = value.split_whitespace().map_while(|word| word.parse::<u16>().ok());
    let range = ends.next()?..=ends.next()?;
    let tuple = c.reached();
    (range.contains(&tuple.remote_port) && !range.contains(&tuple.local_port)).then(|| {
        let (first, last) = (range.start(), range.end());
        fact("sysctl", format!("clients there get ports from {first} to {last} (net.ipv4.ip_local_port_range)"))
    })
}
