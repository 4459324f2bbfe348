//! What several causes look for in a story. Owns: the questions that more than one cause asks of a connection.

use crate::{
    coverage::Coverage,
    event::{Call, IcmpError, Netns, Opened, Packet, Protocol},
    explain::{errno, fact, here, owners_want, phrase, seen},
    fact::{Answer, Beneath, Interface, Listener, Owner, Route},
    report::{Certainty, Evidence},
    ruleset::hook_name,
    story::{Connection, Dropped, FailedCall, SentReset},
    time::Time,
    want::{Flow, Want},
};
use std::net::IpAddr;

/// The kernel's answer to a SYN for a port that nobody listens on (or, for UDP, to a datagram), seen being sent on this
/// host: when, in which namespace, as proof.
pub(super) fn nobody_listens(c: &Connection) -> Option<(Netns, Evidence)> {
    if c.tuple.protocol == Protocol::Udp {
        return udp_port_unreachable(c);
    }
    // A peer that was not let in has its end of the story elsewhere.
    let came_back = if c.mirrored { Time(u64::MAX) } else { c.reset_in_handshake()? };
    refusal(c, came_back)
}

/// The same of TCP, up to then.
fn refusal(c: &Connection, until: Time) -> Option<(Netns, Evidence)> {
    let no_socket =
        |r: &SentReset<'_>| r.sock.is_none() && r.reason.is_none_or(|r| r == "NO_SOCKET") && r.time <= until;
    if let Some(reset) = c.resets_sent(true).find(no_socket) {
        let netns = reset.packet.and_then(|p| p.netns)?;
        let at = phrase::namespace(&c.facts, netns, c.netns);
        return Some((
            netns,
            seen(c, reset.time, "reset-sent", format!("RST sent by the TCP of {at}: no socket for that port")),
        ));
    }
    // Kernels before 6.10 trace only resets of sockets; the SYN's own end says the same. Without the right to the functions'
    // names the reason does, for a SYN gets it nowhere else.
    let by_tcp = |d: &Dropped<'_>| match d.reason {
        "NO_SOCKET" => matches!(d.at, "tcp_v4_rcv" | "tcp_v6_rcv" | ""),
        "" => matches!(d.at, "tcp_v4_rcv" | "tcp_v6_rcv"),
        _ => false,
    };
    let drop = c.drops().find(|d| d.ours && d.time <= until && by_tcp(d))?;
    let netns = drop.netns()?;
    let at = phrase::namespace(&c.facts, netns, c.netns);
    Some((
        netns,
        seen(c, drop.time, "drop", format!("SYN dropped in {at}: no socket for that port, so its TCP answered RST")),
    ))
}

/// Such an answer that did not come back.
pub(super) fn refused_in_vain(c: &Connection) -> Option<(Netns, Evidence)> {
    let silent = c.is_tcp() && c.tried() && !c.mirrored && !anything_came_back(c);
    refusal(c, c.ended?).filter(|_| silent)
}

fn udp_port_unreachable(c: &Connection) -> Option<(Netns, Evidence)> {
    let drop = c.drops().find(|d| d.ours && (d.reason == "NO_SOCKET" && !d.by("nf_hook_slow") || was_refused(c, d)));
    if let Some(d) = drop {
        let netns = d.netns()?;
        let at = phrase::namespace(&c.facts, netns, c.netns);
        return Some((netns, seen(c, d.time, "drop", format!("datagram reached {at}: no socket for that port"))));
    }
    let (time, packet, _) = c.icmp_sent().find(|(_, p, stack)| {
        p.icmp_type == 3 && p.icmp_code == 3 && !stack.iter().any(|f| f.starts_with("nf_") || f.starts_with("nft_"))
    })?;
    let netns = packet.netns?;
    let at = phrase::namespace(&c.facts, netns, c.netns);
    Some((netns, seen(c, time, "icmp-sent", format!("ICMP port unreachable sent by {at}: no socket for that port"))))
}

/// A kernel that names no reasons drops a datagram for nobody where it drops one with a wrong checksum, too
/// (`__udp4_lib_rcv`, `__udp6_lib_rcv`, 5.10): it answers the first one only.
fn was_refused(c: &Connection, d: &Dropped<'_>) -> bool {
    let unreachable = |i: &IcmpError| if i.v6 { (i.kind, i.code) == (1, 4) } else { (i.kind, i.code) == (3, 3) };
    let by_target = |i: &IcmpError| i.from == c.reached().remote || i.from == c.tuple.remote;
    d.reason.is_empty()
        && matches!(d.at, "__udp4_lib_rcv" | "__udp6_lib_rcv")
        && c.icmp_errors().any(|(_, i)| unreachable(&i) && by_target(&i))
}

/// The questions behind [`nobody_listens`].
pub(super) fn listener_wants(c: &Connection) -> Vec<Want> {
    let Some((netns, _)) = nobody_listens(c) else { return Vec::new() };
    let want = Want::Listeners { protocol: c.tuple.protocol, port: c.reached().remote_port };
    let mut wants = vec![Want::Namespace { netns }];
    if let Some(Answer::Listeners(all)) = c.facts.get(&want) {
        // The interfaces that they are bound to have names; and one that should have taken it may be outside of a VRF.
        wants.extend(all.iter().filter(|l| l.device != 0).map(|l| Want::Interfaces { netns: l.netns }));
        if all.iter().any(|l| serves(l, c.reached().remote, netns, 0)) {
            wants.extend([Want::Interfaces { netns }, takes_from_vrfs(c, netns)]);
        }
    }
    wants.push(want);
    wants.extend(super::late_answer::wants(c, netns));
    wants
}

/// The question whether sockets outside of VRFs take what comes in by one (Documentation/networking/vrf.rst).
fn takes_from_vrfs(c: &Connection, netns: Netns) -> Want {
    let protocol = if c.is_tcp() { "tcp" } else { "udp" };
    Want::Sysctl { netns, key: format!("ipv4/{protocol}_l3mdev_accept") }
}

/// The VRF by which the packet came that nobody took, where only sockets that are bound to it take what comes so.
pub(super) fn vrf(c: &Connection, target: Netns) -> Option<&Interface> {
    let answered = c.resets_sent(true).filter_map(|reset| reset.packet);
    let mut packets = answered.chain(c.drops().map(|d| d.packet)).filter(|packet| packet.netns == Some(target));
    let vrf = interface(c, target, packets.next()?.device).filter(|i| i.kind == "vrf")?;
    matches!(c.facts.get(&takes_from_vrfs(c, target)), Some(Answer::Sysctl(all)) if all == "0").then_some(vrf)
}

/// An interface of a namespace, once its interfaces are known.
pub(super) fn interface(c: &Connection, netns: Netns, index: u32) -> Option<&Interface> {
    interfaces(c, netns).iter().find(|i| i.index == index)
}

/// The interfaces of a namespace, as far as they are known.
pub(super) fn interfaces(c: &Connection, netns: Netns) -> &[Interface] {
    match c.facts.get(&Want::Interfaces { netns }) {
        Some(Answer::Interfaces(all)) => all,
        _ => &[],
    }
}

/// An interface and those beneath it, as far as they are known.
pub(super) fn beneath(c: &Connection, netns: Netns, device: u32) -> &[Beneath] {
    match c.facts.get(&Want::Beneath { netns, device }) {
        Some(Answer::Beneath(all)) => all,
        _ => &[],
    }
}

/// Listeners on the port that was asked for that this connection could not reach: bound to another address, family or
/// namespace. `target`: the namespace that answered; in others nobody looks for a listener of their own, nor, by a loopback
/// address, for one that does not have that address there.
pub(super) fn near_misses(c: &Connection, target: Netns) -> Option<Vec<&Listener>> {
    let want = Want::Listeners { protocol: c.tuple.protocol, port: c.reached().remote_port };
    let Some(Answer::Listeners(all)) = c.facts.get(&want) else { return None };
    let asker = c.task.as_ref().map(|task| task.pid);
    let address = c.reached().remote;
    let own = |l: &Listener| l.owners.iter().any(|owner| Some(owner.pid) == asker);
    let unwanted = |l: &Listener| l.netns != target && (own(l) || address.is_loopback() && !l.takes(address));
    let mut near: Vec<&Listener> = all.iter().filter(|l| !takes(c, l, target) && !unwanted(l)).collect();
    near.sort_by_key(|l| (l.netns != target, l.netns != c.netns, l.addr));
    Some(near)
}

/// Whether a listener would have taken the connection that was refused there: it must have come after that.
pub(super) fn takes(c: &Connection, l: &Listener, target: Netns) -> bool {
    serves(l, c.reached().remote, target, vrf(c, target).map_or(0, |vrf| vrf.index))
}

/// Whether a listener has an address of a namespace. `by`: the interface that it has to be bound to; 0: none.
pub(super) fn serves(l: &Listener, address: IpAddr, target: Netns, by: u32) -> bool {
    l.netns == target && l.device == by && l.takes(address)
}

/// The RST that came back.
pub(super) fn reset_came(c: &Connection) -> Option<Evidence> {
    c.reset_in_handshake().map(|t| seen(c, t, "reset-received", "RST came back in answer to the SYN"))
}

/// What the application got.
pub(super) fn told(c: &Connection) -> Option<Evidence> {
    let errno = c.errno?;
    Some(match c.failed_call().or(c.call_not_entered()) {
        Some(call) => seen(c, call.time, "errno", format!("the application got {}", errno::name(errno))),
        None => seen(c, c.ended.unwrap_or(c.began), "errno", format!("the socket's error is {}", errno::name(errno))),
    })
}

/// The question for its link address.
pub(super) fn neighbor_want(c: &Connection) -> Option<Want> {
    c.next_hop().map(|(address, device)| Want::Neighbor { netns: c.netns, address, device })
}

/// The route as proof.
pub(super) fn route_fact(c: &Connection) -> Option<Evidence> {
    let r = c.route()?;
    (!r.text.is_empty()).then(|| fact("route", r.text.clone()))
}

/// A SYN was sent that many times, the last one when.
pub(super) fn syns(c: &Connection) -> (usize, Option<Evidence>) {
    let mut last = None;
    let mut n = 1;
    for (time, result) in c.syn_retransmits() {
        if result.is_none_or(|r| r == 0) {
            n += 1;
            last = Some(time);
        }
    }
    (n, last.map(|t| seen(c, t, "retransmit", format!("{} sent, the last one here", phrase::count(n, "SYN")))))
}

/// Something of this connection came in: an answer of any kind.
pub(super) fn anything_came_back(c: &Connection) -> bool {
    c.reset_in_handshake().is_some()
        || c.reset_received().is_some()
        || c.icmp_errors().next().is_some()
        || c.established.is_some()
        || c.lost_here().any(|d| !d.ours)
        || super::asymmetric::answer(c).is_some()
}

/// SYNs left, were sent again, and nothing came back, nor is it known that one was dropped: they went on, or wait somewhere.
pub(super) fn lost_track(c: &Connection) -> bool {
    c.tried() && c.established.is_none() && !anything_came_back(c) && !c.is_dropped() && syns(c).0 > 1
}

/// The drop that stopped this connection: one that isn't only a consequence of its end, nor made good before that.
pub(super) fn stopping_drops(c: &Connection) -> impl Iterator<Item = Dropped<'_>> {
    let end = c.ended;
    c.drops().filter(move |d| end.is_none_or(|e| d.time <= e) && d.reason != "NO_SOCKET" && !c.is_sent_again(d))
}

/// A packet of this side's that had left came back to where it was sent from.
pub(super) fn came_back(c: &Connection, d: &Dropped<'_>) -> bool {
    let sent_here = d.ours && !c.mirrored && !c.wayside;
    sent_here && d.netns() == Some(c.netns) && d.packet.in_device != 0 && d.packet.in_device != LOOPBACK
}

/// Index of a namespace's loopback interface (LOOPBACK_IFINDEX, net/core/dev.h).
const LOOPBACK: u32 = 1;

/// What to do where it did.
pub(super) fn turned_back(c: &Connection) -> String {
    let first = c.next_hop().map(|(hop, _)| format!(" (the first one is {hop})")).unwrap_or_default();
    format!("a router on the way{first} sends it back: look at its routes and routing rules for {}", c.reached().remote)
}

/// The same of tunnels' packets with its own in them: what is said of those outside is not said of those inside.
pub(super) fn stopping_wrapped(c: &Connection) -> impl Iterator<Item = Dropped<'_>> {
    let end = c.ended;
    c.wrapped_drops().filter(move |d| end.is_none_or(|e| d.time <= e))
}

/// Drops that stopped this connection, its own packets first, alone or in those of tunnels; then those of the questions for its
/// next hop's link address, and of the answers, where that is why it could not be sent.
pub(super) fn obstructing_drops(c: &Connection) -> impl Iterator<Item = Dropped<'_>> {
    stopping_drops(c).chain(stopping_wrapped(c)).chain(super::route_neighbor_silent::silenced(c))
}

/// The questions for settings under /proc/sys/net of the namespace where a packet was dropped.
pub(super) fn sysctl_wants(d: &Dropped<'_>, keys: &[String]) -> Vec<Want> {
    let ask = |netns| keys.iter().map(move |key| Want::Sysctl { netns, key: key.clone() }).collect();
    d.netns().map(ask).unwrap_or_default()
}

/// The settings behind [`sysctl_wants`], as `net.ipv4.ip_forward`, and what they are.
pub(super) fn sysctls(c: &Connection, d: &Dropped<'_>, keys: &[String]) -> Vec<(String, String)> {
    let wants = sysctl_wants(d, keys).into_iter().zip(keys);
    let known = wants.filter_map(|(want, key)| match c.facts.get(&want) {
        Some(Answer::Sysctl(value)) => Some((format!("net.{}", key.replace('/', ".")), value.clone())),
        _ => None,
    });
    known.collect()
}

/// Where a drop was: ` in network namespace sv, at the input hook of eth0`.
pub(super) fn place(c: &Connection, d: &Dropped<'_>) -> String {
    let netns = d
        .netns()
        .map_or_else(|| "on this host".to_owned(), |n| format!("in {}", phrase::namespace(&c.facts, n, c.netns)));
    let hook = d.hook.map(|h| format!(", at the {} hook", hook_name(h))).unwrap_or_default();
    let device = match d.packet.device_name.as_str() {
        "" => String::new(),
        name => format!(" ({name})"),
    };
    format!("{netns}{hook}{device}")
}

/// The question where a packet goes on to from the namespace that forwards it.
pub(super) fn onward_want(packet: &Packet) -> Option<Want> {
    let (netns, tuple) = (packet.netns?, packet.tuple?);
    let flow = Some(Flow::of(tuple, packet.in_device));
    Some(Want::Route { netns, to: tuple.remote, from: Some(tuple.local), device: 0, mark: packet.mark, uid: 0, flow })
}

/// Certainty of a statement that rests on "no drop was seen": only as good as the probe.
pub(super) fn absence(c: &Connection, coverage: &Coverage, probes: &[&str]) -> Certainty {
    if c.lost == 0 && probes.iter().all(|p| coverage.has(p)) { Certainty::Proven } else { Certainty::Likely }
}

/// Why nothing can be said that rests on "no packet of it was seen".
pub(super) fn forgotten(c: &Connection) -> Option<String> {
    (c.forgotten > 0).then(|| {
        let events = phrase::count(usize::try_from(c.forgotten).unwrap_or(usize::MAX), "event");
        format!("so much happened to packets meanwhile that {events} were forgotten, its own may be among them")
    })
}

/// Certainty of a statement that rests on this host not having dropped `what`, and what of that was not seen: some drops are
/// only where the kernel says why it drops.
pub(super) fn undropped(coverage: &Coverage, what: &str) -> (Certainty, Option<Evidence>) {
    match coverage.refused("drop-reasons") {
        Some(why) => (Certainty::Likely, Some(fact("not-seen", format!("{what}: {why}")))),
        None => (Certainty::Proven, None),
    }
}

/// The target is an address of this host.
pub(super) fn target_here(c: &Connection) -> Option<&[Netns]> {
    here(c, c.reached().remote)
}

/// The question behind [`target_here`].
pub(super) fn target_want(c: &Connection) -> Want {
    owners_want(c, c.reached().remote)
}

/// The question who listens on the port that was asked for.
pub(super) fn who_listens_want(c: &Connection) -> Vec<Want> {
    vec![Want::Listeners { protocol: c.tuple.protocol, port: c.reached().remote_port }]
}

/// The listeners that serve the target in a namespace: several, where they share the port (SO_REUSEPORT).
fn sharing(c: &Connection, netns: Netns) -> impl Iterator<Item = &Listener> {
    let all = match c.facts.get(&Want::Listeners { protocol: c.tuple.protocol, port: c.reached().remote_port }) {
        Some(Answer::Listeners(all)) => &all[..],
        _ => &[],
    };
    all.iter().filter(move |l| serves(l, c.reached().remote, netns, 0))
}

/// The listener that serves the target in a namespace: of several the one whose queue was seen full, or is.
pub(super) fn listener(c: &Connection, netns: Netns) -> Option<&Listener> {
    // The first of those that fit alike.
    sharing(c, netns).reduce(|best, l| if fit(c, l) > fit(c, best) { l } else { best })
}

/// The same, unless there are several and nothing tells which of them it was.
pub(super) fn the_listener(c: &Connection, netns: Netns) -> Option<&Listener> {
    listener(c, netns).filter(|l| fit(c, l) != (false, false) || sharing(c, netns).nth(1).is_none())
}

/// How well a listener fits what was seen: its queue was seen full, and is full now.
fn fit(c: &Connection, l: &Listener) -> (bool, bool) {
    let full = c.overflow().and_then(|(_, listener)| listener.cookie);
    (full.is_some() && l.cookie == full, l.backlog > l.max_backlog)
}

/// Who listens there, for a sentence.
pub(super) fn who_listens(c: &Connection, netns: Netns) -> Option<String> {
    if let Some(one) = the_listener(c, netns) {
        return Some(phrase::owners(&one.owners));
    }
    let mut owners: Vec<Owner> = sharing(c, netns).flat_map(|l| l.owners.iter().cloned()).collect();
    owners.sort();
    owners.dedup();
    sharing(c, netns).next().map(|_| format!("one of {}", phrase::owners(&owners)))
}

/// SYNs went to a listener of this host and were neither dropped with a reason nor answered: what the kernel drops while
/// it makes the answer leaves no trace of its own (tcp_conn_request, 6.18). The namespaces with such a listener.
pub(super) fn vanished_at(c: &Connection) -> Vec<Netns> {
    let unanswered = !anything_came_back(c) && c.answered_again().is_none();
    let silent = c.is_tcp() && c.tried() && unanswered && !c.is_dropped() && c.syn_retransmits().next().is_some();
    let here = target_here(c).filter(|_| silent).unwrap_or_default();
    here.iter().copied().filter(|n| listener(c, *n).is_some()).collect()
}

/// The question whether such a listener's answer finds its way back.
pub(super) fn way_back_want(c: &Connection, netns: Netns) -> Want {
    let seen = c.reached();
    Want::Route { netns, to: seen.local, from: Some(seen.remote), device: 0, mark: 0, uid: 0, flow: None }
}

/// The namespaces of this host whose answers did not come: the one whose TCP refused it, or those with a listener.
pub(super) fn unanswered_by(c: &Connection) -> Vec<Netns> {
    refused_in_vain(c).map_or_else(|| vanished_at(c), |(netns, _)| vec![netns])
}

/// The one of them whose answers can't be routed back, and what routing there says.
pub(super) fn no_way_back(c: &Connection) -> Option<(Netns, &Route)> {
    unanswered_by(c).into_iter().find_map(|n| match c.facts.get(&way_back_want(c, n)) {
        Some(Answer::Route(r)) if r.errno != 0 => Some((n, r)),
        _ => None,
    })
}

/// How an address was given to a call, where the socket takes only those of the other family (inet_bind_sk,
/// tcp_v4_connect, udp_sendmsg: EAFNOSUPPORT; inet6_bind_sk, tcp_v6_connect: EINVAL for being too short; 6.18). IPv6
/// datagram sockets take IPv4 addresses, unless they are for IPv6 only.
pub(super) fn other_family(c: &Connection, call: &FailedCall) -> Option<&'static str> {
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    let refused = call.errno == errno::EAFNOSUPPORT;
    match (c.v6_socket, call.family) {
        (false, AF_INET6) if refused => Some("is given as an IPv6 address, and the socket is for IPv4"),
        (true, AF_INET) if c.tuple.protocol == Protocol::Udp && call.call != Call::Bind => {
            refused.then_some("is an IPv4 address, and the socket is for IPv6 only (IPV6_V6ONLY)")
        }
        (true, AF_INET) if refused || call.errno == errno::EINVAL => {
            Some("is given as an IPv4 address, and the socket is for IPv6")
        }
        _ => None,
    }
}

/// What to do about that.
pub(super) const MATCH_FAMILY: &str = "make the socket for the family of the address (`getaddrinfo` says which it is)";

/// Why nothing can be said that rests on what happened to its first packets: who connected is seen when it begins.
pub(super) fn begun_before(c: &Connection) -> Option<String> {
    (c.opened != Opened::Here || c.under_way || c.task.is_none())
        .then(|| "it began before netdx watched, and what happened to its first packets was not seen".into())
}

/// A call's failure as proof.
pub(super) fn call_proof(c: &Connection, call: &FailedCall) -> Evidence {
    let name = phrase::call(call.call);
    seen(c, call.time, "call-failed", format!("{name} returned {}", errno::name(call.errno)))
}

/// That the time ran out which a program had set, in ms.
pub(super) fn user_timeout(ms: u32) -> String {
    format!("TCP_USER_TIMEOUT ({}) ran out", phrase::duration(std::time::Duration::from_millis(ms.into())))
}

/// Bytes, age and idle time of a connection that was up, for a sentence.
pub(super) fn life(c: &Connection) -> String {
    let age = match c.age() {
        Some(age) => format!("after {}", phrase::duration(age)),
        None => "some time after its beginning, which netdx did not see".into(),
    };
    let (Some(tcp), Some(carried)) = (c.counters(), c.carried()) else { return age };
    let [sent, waiting, received] = [carried.acknowledged, carried.waiting, carried.received].map(phrase::bytes);
    let data = match carried.waiting {
        0 => format!("{sent} sent and {received} received"),
        _ => format!("{sent} sent, {waiting} more not acknowledged, and {received} received"),
    };
    let idle = tcp
        .idle_ms
        .filter(|ms| *ms >= 1000)
        .map(|ms| format!(", idle for {}", phrase::duration(std::time::Duration::from_millis(ms.into()))))
        .unwrap_or_default();
    format!("{age}, {data}{idle}")
}
