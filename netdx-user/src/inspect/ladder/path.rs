//! The way to an address: the kernel's route, and whether the next hop is there. Owns: those rungs.
//! Must not know: what waits at the other end.

use super::{Ladder, Rung, Status, Step, judge, ping, verdict};
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
        let switched_off = route.errno != 0 && to.is_ipv6() && self.is_ipv6_off();
        let failed = if switched_off { Some(judge::ipv6_is_off()) } else { judge::route(to, &route) };
        if let Some(failed) = failed {
            self.push(Rung::failed(Step::Route, failed).about(to).took(began));
            return;
        }
        // Nobody is asked for the link address of this host itself, of a broadcast or of a multicast address.
        let leaves = route.kind == "unicast";
        let interface = self.interfaces.iter().find(|i| leaves && i.index == route.device);
        if let Some(failed) = interface.and_then(|i| judge::interface(to, i)) {
            let index = self.hold(Rung::failed(Step::Route, failed).about(to).took(began));
            self.obstacles.insert(to, index);
            return;
        }
        self.push(Rung::ok(Step::Route, said(&route)).about(to).took(began));
        if !leaves {
            return;
        }
        let hop = route.gateway.unwrap_or(to);
        if !self.hops.contains_key(&hop) {
            let began = Instant::now();
            let rung = self.hop(hop, to, &route).await.about(hop).took(began);
            let failed = (rung.status == Status::Failed).then_some(self.rungs.len());
            match failed {
                Some(_) => _ = self.hold(rung),
                None => self.push(rung),
            }
            self.hops.insert(hop, failed);
        }
        if let Some(Some(index)) = self.hops.get(&hop) {
            self.obstacles.insert(to, *index);
        }
    }

    /// These addresses have answered: what seemed to be in the way to one is not, for this host may send what goes there
    /// elsewhere (DNAT in OUTPUT). The others stay behind their obstacles.
    pub(super) fn settle_ways(&mut self, answered: impl IntoIterator<Item = IpAddr>) {
        for address in answered {
            if let Some(&index) = self.obstacles.get(&address) {
                self.forgive(index, &format!("{address} answered all the same, so packets to it take another way"));
                self.obstacles.retain(|_, obstacle| *obstacle != index);
                self.settle(index);
            }
        }
        let certain: Vec<usize> = self.obstacles.values().copied().collect();
        certain.into_iter().for_each(|index| self.settle(index));
    }

    /// What is in the way to an address, which has not answered; none: nothing that is known.
    pub(super) fn behind(&self, address: IpAddr) -> Option<&'static str> {
        match self.rungs[*self.obstacles.get(&address)?].step {
            Step::Gateway => Some("the next hop on the way to it does not answer"),
            _ => Some("the interface on the way to it can't be used"),
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

    /// Pings a next hop and watches what the kernel learns about its link address meanwhile. An entry that had failed before
    /// is asked for anew by the next packet; one that fails while it is watched says that the hop is silent now.
    async fn hop(&mut self, hop: IpAddr, to: IpAddr, route: &Route) -> Rung {
        let what = if hop == to { "it" } else { "the gateway" };
        let deadline = Deadline::now() + RESOLVED.max(self.request.patience.min(RESOLVED * 2));
        let echo = ping::ping(hop, route.device, RESOLVED);
        tokio::pin!(echo);
        let (mut reply, mut asked) = (None, false);
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
            asked |= !matches!(state, "failed" | "none");
            match (state, &reply) {
                ("failed", _) if asked => return silent(hop, to, route, "failed"),
                // The link address has been confirmed a moment ago: it is there, whether it answers pings or not.
                ("reachable" | "permanent", Some(Err(error))) => {
                    let lladdr = neighbor.and_then(|n| n.lladdr).unwrap_or_default();
                    let text = format!("{what} is there ({lladdr} on {}); ping: {error}", route.device_name);
                    return Rung::ok(Step::Gateway, text);
                }
                ("incomplete", Some(Err(_))) if Deadline::now() >= deadline => {
                    return silent(hop, to, route, "incomplete");
                }
                // The ping did not leave this host, so nobody is being asked.
                ("failed" | "none", Some(Err(error))) if !asked && !matches!(error, ping::Error::Silence) => {
                    return Rung::skipped(Step::Gateway, format!("not certain yet: ping: {error}"));
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
