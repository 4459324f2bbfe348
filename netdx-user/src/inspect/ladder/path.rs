//! The way to an address: the kernel's route, and whether the next hop is there. Owns: those rungs.
//! Must not know: what waits at the other end.

use super::{Ladder, Rung, Step, judge, ping, verdict};
use crate::{
    fact::{Answer, Neighbor, Route},
    inspect::{Ask, nanoseconds, zone},
    quantity::duration,
    report::Certainty,
    want::Want,
};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::time::{Instant as Deadline, sleep};

/// How often the neighbour entry is looked at while a ping is on its way.
const LOOK: Duration = Duration::from_millis(50);
/// The kernel gives up on a silent neighbour after three requests a second apart (`mcast_solicit`, `retrans_time_ms`,
/// net/ipv4/arp.c, Linux 6.18): a little longer, so that it can say so itself.
const RESOLVED: Duration = Duration::from_millis(3500);

impl<H: Ask> Ladder<'_, H> {
    /// Route and next hop, each said once for each address and hop.
    pub(super) async fn way_to(&mut self, to: IpAddr) {
        if self.routes.contains_key(&to) {
            return;
        }
        if zone::is_needed(to) && self.link(to) == 0 {
            self.routes.insert(to, false);
            self.push(Rung::failed(Step::Route, judge::no_link(to)).about(to));
            return;
        }
        let began = Instant::now();
        let Some(route) = self.route(to) else {
            self.routes.insert(to, true);
            let rung = Rung::skipped(Step::Route, "the route can't be looked up").about(to);
            self.push(rung);
            return;
        };
        self.routes.insert(to, route.errno == 0);
        if let Some(failed) = judge::route(to, &route) {
            self.push(Rung::failed(Step::Route, failed).about(to).took(began));
            return;
        }
        self.push(Rung::ok(Step::Route, said(&route)).about(to).took(began));
        if route.kind == "local" {
            return;
        }
        let hop = route.gateway.unwrap_or(to);
        self.next_hop.insert(to, hop);
        if !self.hops.contains_key(&hop) {
            let began = Instant::now();
            let rung = self.hop(hop, to, &route).await.about(hop).took(began);
            self.hops.insert(hop, rung.status != super::Status::Failed);
            self.push(rung);
        }
    }

    /// The kernel's route to an address.
    pub(super) fn route(&mut self, to: IpAddr) -> Option<Route> {
        let want = Want::Route {
            netns: self.request.netns,
            to,
            from: None,
            device: self.link(to),
            mark: 0,
            uid: rustix::process::geteuid().as_raw(),
            flow: None,
        };
        match self.host.ask(&want) {
            Answer::Route(route) => Some(route),
            _ => None,
        }
    }

    pub(super) fn neighbor(&mut self, address: IpAddr, device: u32) -> Option<Neighbor> {
        match self.host.ask(&Want::Neighbor { netns: self.request.netns, address, device }) {
            Answer::Neighbor(neighbor) => neighbor,
            _ => None,
        }
    }

    /// Pings a next hop and watches what the kernel learns about its link address meanwhile.
    async fn hop(&mut self, hop: IpAddr, to: IpAddr, route: &Route) -> Rung {
        let what = if hop == to { "it" } else { "the gateway" };
        let deadline = Deadline::now() + RESOLVED.max(self.request.patience.min(RESOLVED * 2));
        let echo = ping::ping(hop, route.device, RESOLVED);
        tokio::pin!(echo);
        let mut reply = None;
        loop {
            tokio::select! {
                answer = &mut echo, if reply.is_none() => reply = Some(answer),
                () = sleep(LOOK) => {}
            }
            if let Some(Ok(took)) = &reply {
                let took = duration(nanoseconds(*took));
                return Rung::ok(Step::Gateway, format!("{what} answers ping in {took}, over {}", route.device_name));
            }
            let neighbor = self.neighbor(hop, route.device);
            let state = neighbor.as_ref().map_or("none", |n| n.state.as_str());
            match (state, &reply) {
                ("failed", _) => return silent(hop, to, route, "failed"),
                // The link address has been confirmed a moment ago: it is there, whether it answers pings or not.
                ("reachable" | "permanent", Some(Err(error))) => {
                    let lladdr = neighbor.and_then(|n| n.lladdr).unwrap_or_default();
                    let text = format!("{what} is there ({lladdr} on {}); ping: {error}", route.device_name);
                    return Rung::ok(Step::Gateway, text);
                }
                ("incomplete", Some(Err(_))) if Deadline::now() >= deadline => {
                    return silent(hop, to, route, "incomplete");
                }
                ("none", Some(Err(ping::Error::NotAllowed))) => {
                    return Rung::skipped(Step::Gateway, ping::Error::NotAllowed.to_string());
                }
                (_, Some(Err(error))) if Deadline::now() >= deadline => {
                    let text = format!("{what}: ping: {error}; neighbour entry on {}: {state}", route.device_name);
                    return Rung::skipped(Step::Gateway, format!("not certain yet: {text}"));
                }
                _ => {}
            }
        }
    }
}

fn silent(hop: IpAddr, to: IpAddr, route: &Route, state: &str) -> Rung {
    let asked = if hop.is_ipv4() { "ARP" } else { "neighbour discovery" };
    let who = if hop == to { hop.to_string() } else { format!("the gateway {hop}, on the way to {to},") };
    let summary = format!("{who} does not answer {asked} on {}", route.device_name);
    let proof = [("neighbor", format!("{hop} dev {} {state}", route.device_name)), ("route", route.text.clone())];
    let mut failed = verdict("route.neighbor-silent", Certainty::Proven, summary, &proof);
    failed.advice.push(format!("see whether {hop} is up and on the link of {}", route.device_name));
    Rung::failed(Step::Gateway, failed)
}

/// `via 10.0.0.1 dev eth0 from 10.0.0.2 (default, table main)`
fn said(route: &Route) -> String {
    let mut text = match (route.kind.as_str(), route.gateway) {
        ("local", _) => "this host itself".to_owned(),
        (_, Some(gateway)) => format!("via {gateway} dev {}", route.device_name),
        (_, None) => format!("on the link of {}", route.device_name),
    };
    if let Some(source) = route.source {
        text += &format!(" from {source}");
    }
    match &route.prefix {
        Some(prefix) => text += &format!(" ({prefix}, table {})", route.table),
        None => text += &format!(" (table {})", route.table),
    }
    if let Some(rule) = &route.rule {
        text += &format!(", rule {rule}");
    }
    text
}
