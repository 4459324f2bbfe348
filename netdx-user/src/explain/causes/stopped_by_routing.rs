//! A packet that routing gave no way on, where it was sent or in a namespace of this host on its way: what several causes share.
//! Owns: how it is seen, and the lookups that say why. What they mean is for the causes to say.

use super::firewall_rejected::answered_here;
use crate::{
    event::{Hook, IcmpError, Netns, Tuple},
    explain::{errno, here, phrase, seen},
    fact::{Answer, Route},
    report::Evidence,
    story::{Connection, Dropped},
    want::{Flow, Want},
};
use std::net::IpAddr;

/// A packet of this connection for which routing gave no way on.
pub(super) struct Stopped {
    /// The namespace where it was.
    pub(super) netns: Netns,
    /// Where it was to go.
    pub(super) to: IpAddr,
    /// Without what rules can ask for besides addresses and mark; then with it.
    asked: [Want; 2],
    pub(super) proof: Evidence,
}

impl Stopped {
    /// The questions why, one after the other.
    pub(super) fn wants(&self, c: &Connection) -> Vec<Want> {
        let [plain, whole] = &self.asked;
        let answered = c.facts.get(plain).is_some() && self.rejecting(c).is_none();
        let next = if answered { whole } else { plain };
        vec![next.clone(), Want::Namespace { netns: self.netns }]
    }

    /// What rejects it.
    pub(super) fn rejecting<'a>(&self, c: &'a Connection) -> Option<&'a Route> {
        self.asked.iter().find_map(|want| lookup(c, want).filter(|route| rejecting(route)))
    }

    /// The lookup that finds no route for it, whatever rules can ask for.
    pub(super) fn no_route<'a>(&self, c: &'a Connection) -> Option<&'a Route> {
        let [_, whole] = &self.asked;
        lookup(c, whole).filter(|route| none(route))
    }
}

fn lookup<'a>(c: &'a Connection, want: &Want) -> Option<&'a Route> {
    match c.facts.get(want) {
        Some(Answer::Route(route)) => Some(route),
        _ => None,
    }
}

/// A route or rule forbids it.
pub(super) fn rejecting(r: &Route) -> bool {
    matches!(r.kind.as_str(), "unreachable" | "prohibit" | "blackhole" | "throw")
}

/// There is no route.
pub(super) fn none(r: &Route) -> bool {
    r.errno == errno::ENETUNREACH && r.kind.is_empty()
}

/// A packet with these endpoints in another namespace of this host, by which it passes.
fn passing(netns: Netns, tuple: Tuple, mark: u32, in_device: u32, proof: Evidence) -> Stopped {
    let flow = Flow::of(tuple, in_device);
    let ask = |from, flow| Want::Route { netns, to: tuple.remote, from, device: 0, mark, uid: 0, flow };
    Stopped { netns, to: tuple.remote, asked: [ask(None, None), ask(Some(tuple.local), Some(flow))], proof }
}

/// Where it was stopped.
pub(super) fn stopped(c: &Connection) -> Option<Stopped> {
    on_the_way(c).or_else(|| sent_anew(c)).or_else(|| told_by_router(c))
}

/// Routing in another namespace of this host dropped its packet.
fn on_the_way(c: &Connection) -> Option<Stopped> {
    let by_routing = |d: &Dropped<'_>| {
        let functions = ["ip_error", "ip6_pkt_discard", "ip6_pkt_prohibit", "ip6_pkt_drop", "dst_discard_out"];
        d.reason == "IP_INNOROUTES" || functions.iter().any(|f| d.by(f))
    };
    let d = c.drops().find(|d| d.netns().is_some_and(|n| n != c.netns) && by_routing(d))?;
    let netns = d.netns()?;
    let at = phrase::namespace(&c.facts, netns, c.netns);
    let text = format!("{} dropped in {at} by its routing", phrase::packet(d.packet));
    let proof = seen(c, d.time, "drop", text);
    Some(passing(netns, d.packet.tuple.unwrap_or(c.tuple), d.packet.mark, d.packet.in_device, proof))
}

/// A rule gave it another mark as it was sent, and with that mark it has no way (nf_route_table_hook4, ipt_mangle_out:
/// where ip_route_me_harder fails the hook drops it, Linux 6.18).
fn sent_anew(c: &Connection) -> Option<Stopped> {
    let anew = |d: &Dropped<'_>| {
        let here = d.ours && d.netns() == Some(c.netns);
        here && d.hook == Some(Hook::Output) && d.at == "nf_hook_slow" && d.packet.mark != c.mark
    };
    let d = c.drops().find(anew)?;
    let mark = d.packet.mark;
    let text = format!("SYN dropped where it is sent: firewall rules had marked it {mark:#x}, so it was routed anew");
    let (from, device) = (Some(c.tuple.local).filter(|a| !a.is_unspecified()), c.bound_device);
    let (netns, to, uid) = (c.netns, c.tuple.remote, c.uid());
    let ask = |flow| Want::Route { netns, to, from, device, mark, uid, flow };
    let proof = seen(c, d.time, "drop", text);
    Some(Stopped { netns, to, asked: [ask(None), ask(Some(Flow::of(c.tuple, 0)))], proof })
}

/// A router's namespace of this host said so, and what it did with the packet was not seen.
fn told_by_router(c: &Connection) -> Option<Stopped> {
    if answered_here(c) {
        return None;
    }
    let (time, icmp) = c.icmp_errors().find(|(_, i)| by_routing(i) && i.from != c.tuple.remote)?;
    let [netns] = here(c, icmp.from)? else { return None };
    if *netns == c.netns {
        return None;
    }
    let text = format!("{} came back from {}", phrase::icmp(icmp.v6, icmp.kind, icmp.code), icmp.from);
    Some(passing(*netns, c.tuple, 0, 0, seen(c, time, "icmp-received", text)))
}

/// What routing answers: network or host unreachable, or prohibited (ip_error, ip6_pkt_drop, Linux 6.18).
pub(super) fn by_routing(i: &IcmpError) -> bool {
    matches!((i.v6, i.kind, i.code), (false, 3, 0 | 1 | 13) | (true, 1, 0 | 1 | 3))
}
