//! What stands around a connection: whose socket it is, what became of its packets, which namespaces matter.
//!
//! Owns: the questions that every report of a connection has, and their answers in words. Must not know: single causes.

use super::{fact, here, owners_want, phrase};
use crate::{
    event::{Opened, Protocol},
    fact::{Answer, Owner, SocketEntry},
    report::{Evidence, Outcome, Process},
    story::Connection,
    want::Want,
};

/// What every report of a connection needs.
pub(super) fn wants(c: &Connection) -> Vec<Want> {
    let mut wants: Vec<Want> = c.task.iter().map(|t| Want::Process { pid: t.pid }).collect();
    if !c.tuple.remote.is_unspecified() && !c.mirrored {
        wants.push(c.route_want());
    }
    if !c.tuple.remote.is_unspecified() {
        wants.push(owners_want(c, c.tuple.remote));
    }
    if c.wayside {
        wants.push(owners_want(c, c.tuple.local));
        let senders = here(c, c.tuple.local).unwrap_or_default().iter().take(SENDERS);
        wants.extend(senders.map(|netns| Want::Owner { netns: *netns, tuple: c.tuple }));
    } else if c.task.is_none() && c.tuple.local_port != 0 && !c.mirrored {
        wants.push(owner_want(c));
    }
    if c.opened == Opened::Unseen && c.tuple.protocol == Protocol::Tcp {
        wants.push(Want::Listeners { protocol: Protocol::Tcp, port: c.tuple.local_port });
    }
    wants.extend(origin_wants(c));
    if unaccounted(c) {
        wants.push(translations_want(c));
    }
    for hop in &c.translated {
        wants.push(owners_want(c, hop.to.remote));
        if hop.netns != c.netns {
            wants.push(Want::Namespace { netns: hop.netns });
        }
    }
    for (_, icmp) in c.icmp_errors() {
        wants.extend(here(c, icmp.from).into_iter().flatten().map(|netns| Want::Namespace { netns: *netns }));
    }
    for d in c.lost_here() {
        if let Some(netns) = d.netns()
            && netns != c.netns
        {
            wants.push(Want::Namespace { netns });
        }
    }
    for r in c.resets_sent(true) {
        if let Some(netns) = r.packet.and_then(|p| p.netns).or(r.sock.map(|s| s.netns))
            && netns != c.netns
        {
            wants.push(Want::Namespace { netns });
        }
    }
    wants
}

/// In how many namespaces with a sender's address its socket is looked for.
const SENDERS: usize = 16;

fn owner_want(c: &Connection) -> Want {
    Want::Owner { netns: c.netns, tuple: c.tuple }
}

fn translations_want(c: &Connection) -> Want {
    Want::Translations { packet: c.tuple }
}

/// A datagram that was seen where it died, and whose it was is not known: it may have been sent with other endpoints.
fn origin_wants(c: &Connection) -> Vec<Want> {
    let fits = c.tuple.protocol == Protocol::Udp && c.task.is_none() && !c.mirrored && c.translated.is_empty();
    if !fits || c.tuple.local_port == 0 || c.tuple.local.is_unspecified() {
        return Vec::new();
    }
    // A sender that can't be seen into has its own story.
    let of_this_host = here(c, c.tuple.local).map(|_| Want::Origin { packet: c.tuple });
    std::iter::once(owners_want(c, c.tuple.local)).chain(of_this_host).collect()
}

/// It failed, and nothing that happened to packets with its own endpoints on this host says why: they may have had others on
/// their way.
fn unaccounted(c: &Connection) -> bool {
    let seen = c.resets_sent(true).any(|r| r.packet.and_then(|p| p.tuple) == Some(c.tuple))
        || c.drops().any(|d| d.packet.tuple == Some(c.tuple));
    c.outcome != Outcome::Established
        && (c.tried() || c.tuple.protocol == Protocol::Udp)
        && !c.mirrored
        && c.translated.is_empty()
        && c.tuple.local_port != 0
        && !seen
}

/// Whose socket it is: who connected, or, of a socket that is older than netdx, who holds it now.
pub(super) fn holder(c: &Connection) -> Option<(&SocketEntry, &Owner)> {
    match c.facts.get(&owner_want(c)) {
        Some(Answer::Sockets(all)) if c.task.is_none() => all.iter().find_map(|s| Some((s, s.owners.first()?))),
        _ => None,
    }
}

/// That the address dialled is not the one that was reached, or not the one of its name.
pub(super) fn translation(c: &Connection) -> String {
    let (dialled, reached) = (c.dialled(), c.reached());
    if let (true, Some(name), Some(any)) = (c.unspecified, &c.name, c.any_address()) {
        return format!("{name} was answered with {any}, which stands for this host itself: ");
    }
    if (dialled.ip(), dialled.port()) == (reached.remote, reached.remote_port) {
        return String::new();
    }
    let (from, to) =
        (phrase::endpoint(dialled.ip(), dialled.port()), phrase::endpoint(reached.remote, reached.remote_port));
    format!("{from} is translated to {to}: ")
}

/// What network address translation did to it, and a BPF program before that.
pub(super) fn translations(c: &Connection) -> Vec<Evidence> {
    let mut from = c.tuple;
    let mut all = Vec::new();
    if let Some(dialled) = c.redirected {
        let (asked, sent) =
            (phrase::endpoint(dialled.ip(), dialled.port()), phrase::endpoint(from.remote, from.remote_port));
        let text = format!("{asked} was asked for: a BPF program of a control group made {sent} of it");
        all.push(fact("redirected", text));
    }
    for hop in &c.translated {
        let (before, after) = (phrase::ends(from), phrase::ends(hop.to));
        let at = phrase::namespace(&c.facts, hop.netns, c.netns);
        let tracked =
            matches!(c.facts.get(&translations_want(c)), Some(Answer::Translations(hops)) if hops.contains(hop));
        let text = if tracked || c.traced_back {
            format!("network address translation in {at} makes {after} out of {before}")
        } else if !c.shows_syn(hop) {
            let from = phrase::endpoint(hop.to.remote, hop.to.remote_port);
            format!("the answer to its SYN, {before}, was seen in {at} from {from}: network address translation")
        } else {
            format!("its SYN, {before}, was seen in {at} as {after}: network address translation")
        };
        all.push(fact("nat", text));
        from = hop.to;
    }
    all
}

/// The process that holds a socket now.
pub(super) fn holding(c: &Connection, socket: &SocketEntry, owner: &Owner) -> Process {
    Process {
        pid: owner.pid,
        tid: owner.pid,
        comm: owner.comm.clone(),
        name: None,
        exe: None,
        argv: Vec::new(),
        uid: socket.uid,
        cgroup: None,
        unit: None,
        container: None,
        netns: Some(c.netns.0),
        acted: false,
    }
}
