//! `timeout.silent`

use super::{
    evidence::{
        absence, anything_came_back, begun_before, forgotten, lost_track, refused_in_vain, route_fact, syns, told,
        vanished_at,
    },
    timeout_queue_full::may_have_dropped,
    tunnel::{self, Tunnel},
};
use crate::{
    coverage::Coverage,
    event::{Hook, Netns},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    fact::Answer,
    report::{Certainty, Evidence, Outcome},
    ruleset,
    story::Connection,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "timeout.silent",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
Packets left, and nothing at all came back.

# What happened
The SYN left this host several times and neither an answer nor an error message came back. Where it got lost is beyond what
this host can see: the other host is off, or another one has the address; a firewall there or on the way drops silently; or
the answer takes a way on which it is lost: that of a container's, or a guest's, private address, if the host that sends its
packets on should have translated it (MASQUERADE, SNAT) and does not.

# How netdx knows
The SYNs went out to the interface, none of them was dropped by anything on this host (rules, queues, neighbours, programs),
and no packet of this connection came in before it ended. Where a program of this host listens on the target, it is likely
at best: a SYN can also be lost within this host, or by the listener without a trace. Where it sent its SYN-ACK again, or
this host's TCP was seen refusing it, the SYN had got there, and what is lost is the answer. The same where an XDP program
is attached to the interface: it sees what comes in before it is a packet, and nothing tells what it drops there. And where
the way leads into a tunnel (WireGuard, VXLAN, IPIP, a program's), by a bridge as well: what becomes of the packet inside of
another is told only where this host drops it and it is not encrypted. Of a WireGuard interface's peer it is told when both
agreed on keys last: one that never did, or not again when something was to be sent, does not answer. The same where it is
not known by which way it left: one of several next hops, or a route that goes by a mark which firewall rules give.

# What to do
Is the address right, and the host up? Look at firewalls on the other host and on the way (cloud security groups drop
silently). `netdx check HOST:PORT` tries the ladder. A capture or a recording on the other side shows whether the SYN
arrives there.

# Easily confused with
firewall.dropped: a rule of this host drops it. route.neighbor-silent: the next hop does not answer. timeout.queue-full: the
listener is here and too busy. timeout.abandoned: the application gave up before anything could be known.
";

fn programs_want(c: &Connection) -> Want {
    Want::BpfPrograms { netns: c.netns, cgroup: 0 }
}

fn rules_want(c: &Connection) -> Want {
    Want::Ruleset { netns: c.netns }
}

/// Why its packets may have gone by another route than the one that is known.
fn by_another_way(c: &Connection) -> Option<&'static str> {
    let route = c.route()?;
    let marks = || matches!(c.facts.get(&rules_want(c)), Some(Answer::Ruleset(r)) if ruleset::marks(r, Hook::Output));
    if route.by_flow {
        Some("its route has several next hops: by which of them it left is not seen")
    } else if route.by_mark && marks() {
        Some("firewall rules here mark packets, and routing rules go by marks: by which route it left is not seen")
    } else {
        None
    }
}

fn wants(c: &Connection) -> Vec<Want> {
    if lost_track(c) {
        let answered = lost_answer(c).map(|(netns, ..)| Want::Namespace { netns });
        let marking = c.route().filter(|r| r.by_mark).map(|_| rules_want(c));
        std::iter::once(programs_want(c)).chain(tunnel::wants(c)).chain(answered).chain(marking).collect()
    } else {
        Vec::new()
    }
}

/// The XDP programs of the interface that answers would come in by.
fn unseen_filters(c: &Connection) -> Vec<String> {
    let (Some(Answer::BpfPrograms(all)), Some(route)) = (c.facts.get(&programs_want(c)), c.route()) else {
        return Vec::new();
    };
    let there = all.iter().filter(|p| p.attach == "xdp" && p.place == route.device_name);
    there.map(|p| format!("XDP program {} `{}`", p.id, p.name)).collect()
}

/// The answer of a namespace of this host that did not come back: which namespace, what it did, and its proof.
fn lost_answer(c: &Connection) -> Option<(Netns, String, Evidence)> {
    let at = |netns| phrase::namespace(&c.facts, netns, c.netns);
    if let Some((t, netns)) = c.answered_again() {
        let what = format!("the listener in {} got one and answered, and its SYN-ACK", at(netns));
        let text = format!("SYN-ACK sent again in {}, the last one here", at(netns));
        return Some((netns, what, seen(c, t, "synack-retransmit", text)));
    }
    let (netns, proof) = refused_in_vain(c)?;
    Some((netns, format!("{} got one and refused it, for nothing listens there, and its RST", at(netns)), proof))
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    if !c.tried() || c.established.is_some() {
        return Judgement::No;
    }
    let (n, last) = syns(c);
    let timed_out = c.errno == Some(errno::ETIMEDOUT);
    let given_up = c.outcome == Outcome::Abandoned && n > 1;
    if let Some(why) = begun_before(c).filter(|_| timed_out || given_up) {
        return Judgement::CannotTell(why);
    }
    if anything_came_back(c) || c.is_dropped() {
        return Judgement::No;
    }
    if c.silent_neighbors().any(|(_, netns, ..)| netns == c.netns) || c.overflow().is_some() {
        return Judgement::No;
    }
    if c.syn_waits().is_some() || c.syn_retransmits().any(|(_, result)| result.is_some_and(|r| r != 0)) {
        return Judgement::No;
    }
    if !(timed_out || given_up) {
        return Judgement::No;
    }
    if let Some(why) = forgotten(c) {
        return Judgement::CannotTell(why);
    }
    let unsure_way = by_another_way(c);
    let via = c
        .route()
        .filter(|r| !r.device_name.is_empty() && unsure_way.is_none())
        .map(|r| match r.gateway {
            Some(g) => format!(" by {} over {g}", r.device_name),
            None => format!(" by {}", r.device_name),
        })
        .unwrap_or_default();
    let tunnel = tunnel::of(c);
    let answered = lost_answer(c);
    let answerer = answered.as_ref().map(|(netns, ..)| phrase::namespace(&c.facts, *netns, c.netns));
    let because = match (&answered, &tunnel) {
        (Some((_, what, _)), _) => format!("{} left{via}, {what} did not come back", phrase::count(n, "SYN")),
        (None, Some(tunnel)) => {
            format!("{} {}, and nothing came back{}", phrase::count(n, "SYN"), tunnel.went(c), tunnel.why(c))
        }
        (None, None) => {
            format!("{} left{via}, nothing came back, and nothing here dropped them", phrase::count(n, "SYN"))
        }
    };
    // A listener of this host that did not answer: it can have dropped the SYN, or the SYN did not get there.
    let listening = vanished_at(c);
    let doubt = listening.iter().any(|netns| may_have_dropped(c, coverage, *netns).is_some());
    let filters = unseen_filters(c);
    let certainty = match (absence(c, coverage, &["drop", "retransmit", "icmp"]), &listening[..]) {
        _ if doubt => Certainty::Possible,
        (seen, []) if filters.is_empty() && tunnel.is_none() && answered.is_none() && unsure_way.is_none() => seen,
        _ => Certainty::Likely,
    };
    let first = seen(c, c.began, "syn-sent", "SYN sent");
    let untranslated = tunnel::untranslated(c).map(|(netns, device, source)| {
        let at = phrase::namespace(&c.facts, netns, c.netns);
        let text = format!("{at} sends its packets on by {device}, untranslated as far as is known, from {source}");
        let question =
            format!("has the other end a way back to {source}? if not, {at} has to translate it (MASQUERADE, SNAT)");
        (fact("source", text), question)
    });
    let (source, way_back) = untranslated.unzip();
    let finding = Finding::new(certainty, because, first)
            .and_all(last)
            .and_all(answered.map(|(.., proof)| proof))
            .and(fact(
                "nothing-came-back",
                if answerer.is_some() {
                    "no packet of this connection came back, and no drop of one was seen on this host"
                } else {
                    "no RST, no ICMP error, no drop of a packet of this connection on this host"
                },
            ))
            .and_all((!filters.is_empty()).then(|| {
                let sentence = format!("{}: what it drops as it comes in is not seen", filters.join(", "));
                fact("not-seen", sentence)
            }))
            .and_all(tunnel.map(|_| Tunnel::unseen()))
            .and_all(tunnel.and_then(|tunnel| tunnel.peer_fact(c)))
            .and_all(unsure_way.map(|why| fact("not-seen", why)))
            .and_all(source)
            .and_all(route_fact(c).filter(|_| unsure_way.is_none()))
            .and_all(told(c))
            .advise(match (answerer, tunnel) {
                (Some(at), _) => format!(
                    "look where {at} sends what goes to {}: its route, that next hop's neighbour entry, and what takes packets aside \
                     on the way back (tc, XDP, nft's fwd)",
                    c.reached().local
                ),
                (None, Some(tunnel)) => tunnel.advice(c),
                (None, None) => format!(
                    "is {} up and the right address? look for a firewall there or on the way that drops port {}",
                    c.reached().remote,
                    c.reached().remote_port
                ),
            });
    Judgement::Yes(match way_back {
        Some(question) => finding.advise(question),
        None => finding,
    })
}
