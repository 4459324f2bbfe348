//! `firewall.rejected`

use super::{
    evidence::{place, stopping_drops, target_want, told},
    firewall_rule::{Action, Culprit, by_netfilter, by_no_rule, culprit, none_can, rejects, rule_wants},
    route_icmp_unreachable::made_for_neighbor,
};
use crate::{
    coverage::Coverage,
    event::IcmpError,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, here as from_here, owners_want, phrase, seen},
    fact::{Answer, IpvsService},
    report::{Certainty, Evidence},
    story::{Connection, Dropped},
    time::Time,
    want::Want,
};
use std::{net::IpAddr, time::Duration};

pub(super) const CAUSE: Cause = Cause {
    code: "firewall.rejected",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[
        "firewall.dropped",
        "route.icmp-unreachable",
        "broken.reset-by-peer",
        "refused.no-listener",
        "timeout.dropped",
        "timeout.queue-full",
    ],
    tells: Tells::Failure,
};

const PAGE: &str = "\
A firewall answered \"no\".

# What happened
A packet filter refused the packet and said so: with a TCP reset (the application sees \"connection refused\", as if nothing
listened), or with an ICMP message (unreachable, prohibited). It was a filter of this host, in one of its namespaces, or one
on another host, which is named by its address. Or it was the kernel's load balancer (IPVS, as in kube-proxy), which has no
server for that service.

# How netdx knows
On this host: the kernel reported that netfilter dropped the very packet that was answered, with namespace and hook, and no
TCP of this host sent the reset. The balancer's services and servers are read right after. On another host: the ICMP
message's sender, and its code: administratively prohibited codes, and port unreachable in answer to TCP, come from filters
only.

# What to do
Look at the rule named here, or ask the owner of the host that sent the message. Allow the port, or use one that is allowed.

# Easily confused with
refused.no-listener and refused.remote: the same reset, sent by TCP itself. route.rejects: a route of type prohibit sends
the same ICMP. route.icmp-unreachable: a router that can't deliver.
";

/// A filter answers before it drops, and where the way back is short the answer arrives before the drop is reported.
const BEFORE: Duration = Duration::from_millis(50);
/// It answers at once: what is not answered for so long was dropped without (and is sent again, RFC 6298).
const LATEST: Duration = Duration::from_secs(1);

/// The filter's drop of the packet that was answered.
fn dropped(c: &Connection, answered: Time, icmp: Option<IcmpError>) -> Option<Dropped<'_>> {
    let answered_so = |d: &Dropped<'_>| d.time <= answered.after(BEFORE) && answered <= d.time.after(LATEST);
    let last = stopping_drops(c).filter(|d| d.ours && by_netfilter(d) && answered_so(d)).last()?;
    let by_another = none_can(c, &last, action(icmp)) && unserved(c, &last).is_none();
    (!by_another).then_some(last)
}

/// When a "no" came: a reset that no TCP of this host sent, or an ICMP error.
fn answer(c: &Connection) -> Option<(Time, Option<IcmpError>)> {
    let reset = c.reset_in_handshake().or(c.reset_received().map(|(t, _)| t));
    if let Some(t) = reset
        && c.resets_sent(true).next().is_none()
    {
        return Some((t, None));
    }
    c.icmp_errors().find(|(t, i)| unreachable(i) && !of_neighbor(c, *t, i)).map(|(t, i)| (t, Some(i)))
}

/// A namespace of this host sent it, because a next hop is silent.
fn of_neighbor(c: &Connection, time: Time, i: &IcmpError) -> bool {
    c.icmp_sent().any(|(sent, packet, stack)| {
        (packet.icmp_type, packet.icmp_code) == (i.kind, i.code)
            && (sent <= time.after(BEFORE) && time <= sent.after(BEFORE))
            && made_for_neighbor(stack)
    })
}

fn unreachable(i: &IcmpError) -> bool {
    if i.v6 { i.kind == 1 } else { i.kind == 3 && i.code != 4 }
}

/// Codes that only filters send (RFC 1812 §5.2.7.1, RFC 4443 §3.1), and port unreachable in answer to TCP.
fn filters_only(i: &IcmpError, tcp: bool) -> bool {
    match (i.v6, i.kind, i.code) {
        (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5) => true,
        (false, 3, 3) | (true, 1, 4) => tcp,
        _ => false,
    }
}

/// The message was made by this side's own stack: it tells of a neighbour, not of a filter.
pub(super) fn own(c: &Connection, from: IpAddr) -> bool {
    from == c.tuple.local || from.is_loopback()
}

/// A filter of this host answered.
pub(super) fn answered_here(c: &Connection) -> bool {
    answer(c).is_some_and(|(time, icmp)| dropped(c, time, icmp).is_some())
}

/// A peer's packet that a rule of this host answers: the answer is not seen from here, the rule is.
fn turned_away(c: &Connection) -> Option<Dropped<'_>> {
    stopping_drops(c).find(|d| c.mirrored && by_netfilter(d))
}

fn wants(c: &Connection) -> Vec<Want> {
    if let Some(d) = turned_away(c) {
        return rule_wants(c, &d);
    }
    let Some((time, icmp)) = answer(c) else { return Vec::new() };
    let dropped = dropped(c, time, icmp);
    let mut wants = dropped.map(|d| rule_wants(c, &d)).unwrap_or_default();
    wants.extend(
        dropped
            .filter(|d| by_no_rule(c, d, action(icmp)))
            .and_then(|d| d.netns())
            .map(|netns| Want::IpvsServices { netns }),
    );
    wants.push(target_want(c));
    wants.extend(icmp.map(|i| owners_want(c, i.from)));
    wants
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if let Some(d) = turned_away(c) {
        let Culprit::Exact(rule) = culprit(c, &d, Action::Discard) else { return Judgement::No };
        if !rejects(&rule) {
            return Judgement::No;
        }
        let at = place(c, &d);
        let what = phrase::packet(d.packet);
        return Judgement::Yes(
            Finding::new(
                Certainty::Proven,
                format!("{rule} rejected its {what} {at}"),
                seen(c, d.time, "drop", format!("{what} dropped {at} by netfilter")),
            )
            .advise("allow this connection before that rule, or remove it"),
        );
    }
    let Some((time, icmp)) = answer(c) else { return Judgement::No };
    match (dropped(c, time, icmp), icmp) {
        (Some(d), _) => here(c, &d, time, icmp),
        (None, Some(i)) if filters_only(&i, c.is_tcp()) && !own(c, i.from) => elsewhere(c, time, &i),
        _ => Judgement::No,
    }
}

fn answered_with(c: &Connection, time: Time, icmp: Option<IcmpError>) -> (String, Evidence) {
    match icmp {
        None => {
            ("a TCP reset".into(), seen(c, time, "reset-received", "RST came back, and no TCP of this host sent it"))
        }
        Some(i) => {
            let name = phrase::icmp(i.v6, i.kind, i.code);
            (name.clone(), seen(c, time, "icmp-received", format!("{name} came back from {}", i.from)))
        }
    }
}

fn here(c: &Connection, d: &Dropped<'_>, time: Time, icmp: Option<IcmpError>) -> Judgement {
    let (with, answer) = answered_with(c, time, icmp);
    if let Some(service) = unserved(c, d).filter(|_| by_no_rule(c, d, action(icmp))) {
        return by_balancer(c, d, service, (&with, answer));
    }
    let culprit = culprit(c, d, action(icmp));
    let at = place(c, d);
    let what = phrase::packet(d.packet);
    let because = match &culprit {
        Culprit::Exact(rule) => format!("{rule} rejected its {what} {at} with {with}"),
        Culprit::Possible { rules, changed } => {
            format!("the firewall rejected its {what} {at} with {with}; {}", Culprit::candidates(rules, *changed))
        }
        Culprit::Unknown(why) => format!("the firewall rejected its {what} {at} with {with} (which rule: {why})"),
    };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            because,
            seen(c, d.time, "drop", format!("{what} dropped {at} by netfilter, which answered it")),
        )
        .and(answer)
        .and_all(culprit.evidence())
        .and_all(told(c))
        .advise(culprit.advice(c, d, "allow this connection before it, or remove it")),
    )
}

/// What a rule must have done for such an answer.
fn action(icmp: Option<IcmpError>) -> Action {
    icmp.map_or(Action::Reset, |i| Action::Icmp { v6: i.v6, kind: i.kind, code: i.code })
}

/// The service of the kernel's load balancer that the packet was for and that nobody serves: it answers with ICMP and drops the
/// packet (`ip_vs_leave`, 6.18).
fn unserved<'a>(c: &'a Connection, d: &Dropped<'_>) -> Option<&'a IpvsService> {
    let (netns, to) = (d.netns()?, d.packet.tuple?);
    let Some(Answer::IpvsServices(all)) = c.facts.get(&Want::IpvsServices { netns }) else { return None };
    let is_it = |s: &&IpvsService| (s.protocol, s.address, s.port) == (to.protocol, to.remote, to.remote_port);
    all.iter().find(is_it).filter(|service| service.servers.iter().all(|server| server.weight == 0))
}

fn by_balancer(c: &Connection, d: &Dropped<'_>, service: &IpvsService, (with, answer): (&str, Evidence)) -> Judgement {
    let (at, what) = (place(c, d), phrase::packet(d.packet));
    let end = phrase::endpoint(service.address, service.port);
    let servers = match service.servers.len() {
        0 => "no real server".to_owned(),
        n => format!("{}, all of weight 0", phrase::count(n, "real server")),
    };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!(
                "the service {end} of the load balancer (IPVS) has {servers}: it rejected its {what} {at} with {with}"
            ),
            seen(c, d.time, "drop", format!("{what} dropped {at} by netfilter, which answered it")),
        )
        .and(answer)
        .and(fact("ipvs", format!("the service {end} has {servers}")))
        .and_all(told(c))
        .advise(format!(
            "`ipvsadm -Ln` lists who serves {end}; in a Kubernetes cluster: has that service a pod that is ready?"
        )),
    )
}

fn elsewhere(c: &Connection, time: Time, i: &IcmpError) -> Judgement {
    let (with, answer) = answered_with(c, time, Some(*i));
    let whose =
        if i.from == c.tuple.remote { "the target itself".to_owned() } else { format!("{} on the way", i.from) };
    let because = format!("a filter of {whose} rejected it with {with}");
    // What a filter of this host drops is seen, unless its record comes too late.
    let certainty = if from_here(c, i.from).is_some() { Certainty::Likely } else { Certainty::Proven };
    Judgement::Yes(
        Finding::new(certainty, because, answer)
            .and_all(told(c))
            .advise(format!("ask the owner of {} to allow port {}", i.from, c.tuple.remote_port)),
    )
}
