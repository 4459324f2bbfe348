//! `route.neighbor-silent`

use super::evidence::{
    anything_came_back, interfaces, neighbor_want, place, route_fact, stopping_drops, told, undropped,
};
use super::hops;
use super::own_neighbor::{self, Asked};
use super::route_icmp_unreachable::{by_tunnel, own_message, own_wants};
use super::tunnel::{self, Tunnel, beneath_wants};
use crate::{
    coverage::Coverage,
    event::{Discovery, Netns, Tuple},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, here, phrase, seen},
    fact::{Answer, Interface},
    report::{Certainty, Evidence},
    ruleset,
    story::{Connection, Dropped},
    time::Time,
    want::{Flow, Want},
};
use std::net::IpAddr;

pub(super) const CAUSE: Cause = Cause {
    code: "route.neighbor-silent",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.silent", "timeout.dropped", "timeout.abandoned", "route.icmp-unreachable", "broken.timeout"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The next hop does not answer.

# What happened
To send a packet on a local network, a host first asks for the link address of the next hop: the target itself if it is on
that network, else the gateway (ARP for IPv4, neighbour discovery for IPv6). Nobody answered, so the packet could not leave.

# How netdx knows
The kernel reported that resolving the neighbour failed, or dropped the packet that waited for it; the neighbour entry,
read right after, is failed or incomplete. Nothing was seen on this host that dropped the question or its answer. Before
Linux 5.17 not every such drop can be seen: the verdict is likely there. So it is where the question goes through a tunnel,
by a bridge as well: what becomes of a packet inside of another is told only where this host drops it; where the silent
address is no next hop of the packet's route there; and where another namespace of this host has to pass it on, or its
answer, and the application gave up before that one did: what its route there leads to was then still being asked for in
vain. Copies that rules send elsewhere (dup, TEE) are not told of.

# What to do
Is that host (or gateway) up and on this network? Is its address right, is the prefix length right (a too short one makes
distant hosts look local), is the VLAN or the cable right? `netdx routes ADDRESS` shows the neighbour's state. A macvlan and
its parent do not hear each other, as when a host calls its own container: give the host a macvlan, too, or use a bridge.

# Easily confused with
firewall.dropped, denied.bpf, local.queue-drop: this host itself dropped the question or the answer.
route.icmp-unreachable: a router further on says the same of its own network. timeout.silent: the packet left. An interface
without carrier looks alike: route.interface-down.
";

fn wants(c: &Connection) -> Vec<Want> {
    let mut wants = Vec::new();
    if c.tried() && c.established.is_none() || sent_in_vain(c) {
        wants.extend(neighbor_want(c));
    }
    wants.extend(own_wants(c));
    wants.extend(hops::wants(c));
    for d in waited(c).filter(Dropped::waited_for_neighbor) {
        wants.extend(way_wants(c, &d));
    }
    let Some(silent) = found(c) else { return wants };
    if let Some(asked) = asked(c, &silent) {
        wants.extend(beneath_wants(c, asked.netns, asked.device, asked.address));
        wants.extend(own_neighbor::wants(c, asked));
    }
    let dropped = c.discovery_drops().next().is_some();
    if dropped || silent.netns != c.netns {
        wants.push(Want::Interfaces { netns: silent.netns });
    }
    // Whether what was dropped of the questions and answers is the reason.
    if dropped {
        wants.extend(
            c.discovery_drops()
                .filter_map(|(d, _)| d.netns())
                .filter(|n| *n != c.netns)
                .map(|netns| Want::Namespace { netns }),
        );
    }
    wants
}

fn sent_in_vain(c: &Connection) -> bool {
    c.errno == Some(errno::EHOSTUNREACH) || c.silent_neighbors().next().is_some()
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    if let Some(silent) = found(c) {
        let asked = asked(c, &silent);
        let tunnel = asked.and_then(|asked| tunnel::beneath(c, asked.netns, asked.device, asked.address));
        let owner = asked.and_then(|asked| own_neighbor::owner(c, asked));
        let Silent { netns, address, device, proof, on_its_way, of_answer } = silent;
        let elsewhere = if netns == c.netns {
            String::new()
        } else {
            format!(" in {}", phrase::namespace(&c.facts, netns, c.netns))
        };
        let role = match c.next_hop() {
            Some((hop, _)) if Some(hop) == address && hop == c.tuple.remote => "the target".to_owned(),
            Some((hop, _)) if Some(hop) == address => format!("the gateway {hop}"),
            _ => address.map_or_else(|| "the next hop".into(), |a| format!("the next hop {a}")),
        };
        let role = if of_answer { format!("{role} of its answer") } else { role };
        let how = if c.tuple.remote.is_ipv4() { "ARP" } else { "neighbour discovery" };
        let through = tunnel.map(|tunnel| format!(" through {}", tunnel.name())).unwrap_or_default();
        let why = owner.as_ref().map(|owner| owner.why(c)).unwrap_or_default();
        let because = format!("{role} does not answer {how}{elsewhere}{through}{why}");
        let (certainty, blind) = unheard(coverage, tunnel);
        let certainty = if on_its_way { certainty } else { certainty.min(Certainty::Likely) };
        let by_route = c.next_hop().is_none_or(|(hop, _)| address.is_none_or(|address| address == hop));
        let finding = Finding::new(certainty, because, proof)
            .and_all(entry(c).filter(|_| by_route))
            .and_all(blind)
            .and_all(route_fact(c))
            .and_all(marked(c).filter(|_| !by_route))
            .and_all(owner.as_ref().map(|owner| owner.evidence(c)))
            .and_all(told(c));
        let by = device.as_deref().unwrap_or("the interface that asked");
        let about_owner = owner.map(|owner| owner.advice(c, by));
        let finding = finding.advise(about_owner.unwrap_or_else(|| {
            let address = address.unwrap_or(c.tuple.remote);
            format!("is {address} up and on this network, and are address and prefix length right?")
        }));
        return Judgement::Yes(match tunnel {
            Some(tunnel) => finding.advise(tunnel.advice(c)),
            None => finding,
        });
    }
    Judgement::No
}

/// A neighbour that did not answer.
struct Silent {
    /// The namespace that asked.
    netns: Netns,
    address: Option<IpAddr>,
    /// The interface by which it asked.
    device: Option<String>,
    proof: Evidence,
    /// It is the next hop of the packets' route.
    on_its_way: bool,
    /// It is the answer to its packets that waits.
    of_answer: bool,
}

/// What shows it.
fn found(c: &Connection) -> Option<Silent> {
    let hop = c.next_hop().map(|(a, _)| a);
    let by = || c.route().map(|r| r.device_name.clone());
    let own = |proof| Silent { netns: c.netns, address: hop, device: by(), proof, on_its_way: true, of_answer: false };
    // The drop of the very packet that waited for the neighbour, it may be for longer than whoever connects.
    if let Some(d) = waited(c).filter(Dropped::waited_for_neighbor).find(|d| !is_copy(c, d)) {
        let netns = d.netns().unwrap_or(c.netns);
        let of = given_up(c, &d);
        let proof = seen(
            c,
            d.time,
            "drop",
            format!("{} dropped {}: the neighbour did not answer", phrase::dropped(&d), place(c, &d)),
        );
        if own_way(c, &d) && hop.is_some() && of.is_none_or(|(address, _)| Some(address) == hop) {
            return Some(own(proof));
        }
        let (address, device) = of.map(|(address, device)| (address, device.to_owned())).unzip();
        let on_its_way = leads_to(c, &d) == Some(true);
        return Some(Silent { netns, address, device, proof, on_its_way, of_answer: false });
    }
    let waits = c.syn_retransmits().find(|(_, r)| *r == Some(-errno::EBUSY));
    let own_icmp = own_message(c).filter(|_| by_tunnel(c).is_none());
    // The neighbour's own failure, where it is this connection's next hop.
    let stuck = c.errno == Some(errno::EHOSTUNREACH) || waits.is_some() || own_icmp.is_some();
    if let Some((t, _, address, dev)) = c.silent_neighbors().find(|(_, n, a, _)| *n == c.netns && hop == Some(*a))
        && c.established.is_none()
        && stuck
    {
        return Some(own(seen(c, t, "neighbor-failed", format!("{address} did not answer on {dev}"))));
    }
    if let Some((t, _)) = own_icmp.filter(|_| !stopping_drops(c).any(|d| super::firewall_rule::by_netfilter(&d))) {
        let text = "this host told itself that the next hop is unreachable: the neighbour did not answer";
        let proof = seen(c, t, "icmp-received", text);
        let nearest = c.silent_neighbors().filter(|(_, n, ..)| *n == c.netns).min_by_key(|(at, ..)| at.0.abs_diff(t.0));
        return Some(match nearest.filter(|_| hop.is_none()) {
            Some((_, netns, address, device)) => Silent {
                netns,
                address: Some(address),
                device: Some(device.to_owned()),
                proof,
                on_its_way: false,
                of_answer: false,
            },
            None => own(proof),
        });
    }
    let failed = matches!(
        neighbor_want(c).and_then(|w| c.facts.get(&w)),
        Some(Answer::Neighbor(Some(n))) if n.is_unanswered()
    );
    if let Some(t) = c.syn_waits().filter(|_| failed) {
        let text = "no SYN was sent again before that: the first one still waits for the neighbour";
        return Some(own(seen(c, t, "state", text)));
    }
    if let Some((t, _)) = waits.filter(|_| failed) {
        let text = "SYN could not be sent again: the first one still waits for the neighbour";
        return Some(own(seen(c, t, "retransmit", text)));
    }
    // The application did not wait that long.
    if let Some((d, _)) = c.discovery_drops().find(|(_, what)| Some(what.asked) == hop)
        && failed
        && c.tried()
        && !anything_came_back(c)
    {
        return Some(own(seen(c, d.time, "drop", format!("{} dropped {}", phrase::dropped(&d), place(c, &d)))));
    }
    let hops::Unheard { netns, entry, of_answer } = hops::unheard(c)?;
    let (address, device) = (Some(entry.address), Some(entry.device_name.clone()));
    let at = phrase::namespace(&c.facts, netns, c.netns);
    let proof = fact("neighbor", format!("{} on {} in {at} is {}", entry.address, entry.device_name, entry.state));
    Some(Silent { netns, address, device, proof, on_its_way: false, of_answer })
}

/// It is on the way that this connection's own packets take from its own namespace.
fn own_way(c: &Connection, d: &Dropped<'_>) -> bool {
    d.netns().unwrap_or(c.netns) == c.netns && d.inner.is_none()
}

/// The neighbour that a packet waited for, and the interface to it: of several the one that has to be asked, or the one that was
/// given up at that moment.
fn given_up<'a>(c: &'a Connection, d: &Dropped<'_>) -> Option<(IpAddr, &'a str)> {
    let target = d.packet.tuple.filter(|_| d.inner.is_some()).unwrap_or(c.reached()).remote;
    let asked = c.next_hop().map(|(hop, _)| hop).filter(|_| own_way(c, d)).unwrap_or(target);
    let of = c.silent_neighbors().filter(|(_, n, ..)| *n == d.netns().unwrap_or(c.netns));
    let fits = |(t, _, a, _): &(Time, Netns, IpAddr, &str)| (*a != asked, t.0.abs_diff(d.time.0));
    of.min_by_key(fits).map(|(_, _, address, device)| (address, device))
}

/// The questions behind [`is_copy`].
fn way_wants(c: &Connection, d: &Dropped<'_>) -> Vec<Want> {
    let elsewhere = (leads_to(c, d) == Some(false)).then(|| d.netns()).flatten();
    way_want(c, d).into_iter().chain(elsewhere.map(|netns| Want::Ruleset { netns })).collect()
}

/// The question for the route of a packet that waited for a neighbour which isn't its destination.
fn way_want(c: &Connection, d: &Dropped<'_>) -> Option<Want> {
    let (netns, tuple) = (d.netns()?, d.packet.tuple?);
    let flow = Some(Flow::of(tuple, d.packet.in_device));
    let uid = if own_way(c, d) { c.uid() } else { 0 };
    let want =
        Want::Route { netns, to: tuple.remote, from: Some(tuple.local), device: 0, mark: d.packet.mark, uid, flow };
    given_up(c, d).is_some_and(|(address, _)| address != tuple.remote).then_some(want)
}

/// Whether the neighbour that a packet waited for is the next hop of its route; none: not known.
fn leads_to(c: &Connection, d: &Dropped<'_>) -> Option<bool> {
    let (address, _) = given_up(c, d)?;
    match way_want(c, d).map(|want| c.facts.get(&want)) {
        None => Some(true),
        Some(Some(Answer::Route(route))) if route.errno == 0 && !route.by_flow => Some(route.gateway == Some(address)),
        Some(_) => None,
    }
}

/// It went where no route leads it, and rules there send copies of packets elsewhere: what became of the packet itself is not told
/// by that.
fn is_copy(c: &Connection, d: &Dropped<'_>) -> bool {
    let rules = || d.netns().and_then(|netns| c.facts.get(&Want::Ruleset { netns }));
    leads_to(c, d) == Some(false) && matches!(rules(), Some(Answer::Ruleset(rules)) if ruleset::copies(rules))
}

/// Packets, also those of tunnels, that can have waited for a neighbour while it went on.
fn waited(c: &Connection) -> impl Iterator<Item = Dropped<'_>> {
    let end = c.ended.filter(|_| c.established.is_some());
    c.lost_here().filter(move |d| end.is_none_or(|end| d.time <= end))
}

/// Who asked for it.
fn asked(c: &Connection, silent: &Silent) -> Option<Asked> {
    let device = match c.next_hop() {
        Some((hop, device)) if silent.netns == c.netns && silent.address == Some(hop) => device,
        _ => asker(c, silent.netns, silent.device.as_deref())?.index,
    };
    Some(Asked { netns: silent.netns, device, address: silent.address? })
}

/// Why the neighbour was silent, as far as this host did it: the questions for its link address, and the answers, that were
/// dropped in a namespace on their way.
pub(super) fn silenced(c: &Connection) -> Vec<Dropped<'_>> {
    if c.discovery_drops().next().is_none() {
        return Vec::new();
    }
    let Some(silent) = found(c) else { return Vec::new() };
    let between = asked(c, &silent);
    let Silent { netns, address: Some(address), device, .. } = silent else { return Vec::new() };
    let interface = asker(c, netns, device.as_deref());
    let owners = here(c, address).unwrap_or_default();
    let on_the_way = |d: &Dropped<'_>, what: &Discovery| {
        if !what.asks {
            return true;
        }
        if between.is_some_and(|asked| own_neighbor::is_between(c, asked, d)) {
            return true;
        }
        if d.netns() == Some(netns) {
            // A bridge hands a question on to all its ports: that one of them drops it says nothing.
            return device.as_deref().is_none_or(|name| name == d.packet.device_name)
                || interface.is_some_and(|i| i.kind != "bridge");
        }
        // Everybody on the link gets the question; who has the address has to answer, and where it comes in a tunnel's packet,
        // that has to arrive.
        d.inner.is_some() || d.netns().is_some_and(|n| owners.contains(&n))
    };
    let all = c
        .discovery_drops()
        .filter(|(d, what)| what.asked == address && asked_by(what, interface) && on_the_way(d, what));
    all.map(|(d, _)| d).collect()
}

/// The interface by which the one who got no answer asked.
fn asker<'a>(c: &'a Connection, netns: Netns, device: Option<&str>) -> Option<&'a Interface> {
    interfaces(c, netns).iter().find(|i| Some(i.name.as_str()) == device)
}

/// Whether it was asked by this interface: another network of this host may have the same addresses, but not the same link
/// address. An answer by neighbour discovery has only the address of the one who asked.
fn asked_by(what: &Discovery, interface: Option<&Interface>) -> bool {
    let Some(interface) = interface else { return true };
    match (&what.link, &interface.lladdr) {
        (Some(link), Some(own)) => link == own,
        _ => interface.has(what.by),
    }
}

/// Whether no other network of this host can be meant.
fn is_unique(c: &Connection, what: &Discovery) -> bool {
    let of_link = matches!(what.by, IpAddr::V6(a) if a.is_unicast_link_local());
    what.link.is_some() || of_link || here(c, what.asked).is_none_or(|owners| owners.len() < 2)
}

/// How sure it is that a drop is what the packets were stopped by. The kernel asks for a neighbour several times: where it was
/// done with asking, and one question of them was seen dropped, what became of the others is inferred. A tunnel may send the
/// question to several ends.
pub(super) fn certainty(c: &Connection, d: &Dropped<'_>) -> Certainty {
    let Some(what) = d.discovery else {
        // Whose a fragment is only its addresses tell.
        let whole = !d.inner.unwrap_or(d.packet).tuple.is_some_and(Tuple::is_of_fragment);
        return if whole && tunnel::copies(c, d).is_none() { Certainty::Proven } else { Certainty::Likely };
    };
    if d.inner.is_some() {
        return Certainty::Likely;
    }
    let given_up = c.silent_neighbors().any(|(_, _, address, _)| address == what.asked);
    let times = silenced(c).len();
    if is_unique(c, what) && (times > 1 || !given_up) { Certainty::Proven } else { Certainty::Likely }
}

/// Why it went elsewhere than the route for the address dialled leads.
fn marked(c: &Connection) -> Option<Evidence> {
    let d = c.drops().find(|d| d.ours && d.netns() == Some(c.netns) && d.packet.mark != c.mark)?;
    Some(fact("mark", format!("firewall rules had marked it {:#x}, so it was routed anew", d.packet.mark)))
}

fn entry(c: &Connection) -> Option<Evidence> {
    match neighbor_want(c).and_then(|w| c.facts.get(&w))? {
        Answer::Neighbor(Some(n)) => {
            Some(fact("neighbor", format!("{} on {} is {}", n.address, n.device_name, n.state)))
        }
        Answer::Neighbor(None) => Some(fact("neighbor", "there is no neighbour entry for the next hop")),
        _ => None,
    }
}

/// How sure it is that it is the neighbour who is silent: a queue of this host's may have dropped the questions, or what is
/// around them in a tunnel.
pub(super) fn unheard(coverage: &Coverage, tunnel: Option<Tunnel<'_>>) -> (Certainty, Option<Evidence>) {
    match tunnel {
        Some(_) => (Certainty::Likely, Some(Tunnel::unseen())),
        None => undropped(coverage, "whether this host dropped the question"),
    }
}

/// The questions behind [`unresolved`].
pub(super) fn unresolved_wants(c: &Connection) -> Vec<Want> {
    let through = c.next_hop().map(|(hop, device)| beneath_wants(c, c.netns, device, hop)).unwrap_or_default();
    [c.route_want()].into_iter().chain(neighbor_want(c)).chain(through).collect()
}

/// Packets of this conversation wait for a next hop that has not answered yet.
pub(super) fn unresolved(c: &Connection) -> Option<Evidence> {
    match neighbor_want(c).and_then(|w| c.facts.get(&w))? {
        Answer::Neighbor(Some(n)) if n.is_unanswered() => entry(c),
        _ => None,
    }
}
