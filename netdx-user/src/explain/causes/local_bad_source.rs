//! `local.bad-source`

use super::{
    evidence::{
        MATCH_FAMILY, anything_came_back, call_proof, interfaces, other_family, stopping_drops, target_here,
        target_want, told,
    },
    lost_route,
};
use crate::{
    coverage::Coverage,
    event::{Call, Netns},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, here, owners_want, phrase, seen},
    fact::{Answer, Unusable},
    report::{Certainty, Evidence},
    story::{Connection, FailedCall},
    want::Want,
};
use std::net::IpAddr;

pub(super) const CAUSE: Cause = Cause {
    code: "local.bad-source",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[
        "route.rejects",
        "route.none",
        "route.interface-down",
        "route.forwarding-off",
        "route.reverse-path",
        "timeout.dropped",
        "timeout.silent",
        "timeout.abandoned",
        "broken.timeout",
    ],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The local address can't be used for that.

# What happened
The program bound its socket to a source address that is not (or not any more) an address of this host, or to one from which
that target can't be reached: a loopback address for a target elsewhere, an address of another scope. Or the address is of
one IP family and the socket of the other. Or it was taken away while the connection was up: then nothing can be sent from
it, or no answer to it is taken in.

# How netdx knows
bind failed with EADDRNOTAVAIL, connect failed with EINVAL although its routing lookup found a route, or with ENETUNREACH
without any lookup; or the kernel dropped the connection's packets for want of a route from there. The addresses of the
namespace were read right after.

# What to do
`netdx addrs` shows this host's addresses. Correct the configured source or listen address; after a failover or a changed
DHCP lease it may have moved. `net.ipv4.ip_nonlocal_bind=1` lets servers bind before the address comes.

# Easily confused with
local.address-in-use: the address is right, the port is taken. local.no-family: IPv6 is switched off.
";

/// SYNs left with a loopback source for somewhere else: IPv6 lets a socket do so, and nobody can take or answer them.
fn from_loopback(c: &Connection) -> bool {
    c.tried() && c.established.is_none() && c.tuple.local.is_loopback() && !c.tuple.remote.is_loopback()
}

fn wants(c: &Connection) -> Vec<Want> {
    if from_loopback(c) {
        return vec![target_want(c)];
    }
    let suspicious =
        c.failed_call().is_some_and(|f| matches!(f.errno, errno::EADDRNOTAVAIL | errno::EINVAL | errno::ENODEV));
    let mut wants = lost_route::wants(c);
    if suspicious {
        wants.push(Want::Interfaces { netns: c.netns });
        wants.push(Want::Sysctl { netns: c.netns, key: "ipv6/conf/all/disable_ipv6".into() });
    }
    if no_lookup(c) {
        wants.push(Want::Interfaces { netns: c.netns });
    }
    let known = interfaces(c, c.netns);
    let unknown_here = suspicious && !known.is_empty() && !known.iter().any(|i| i.has(c.tuple.local));
    if unknown_here || no_lookup(c) {
        wants.push(owners_want(c, c.tuple.local));
        wants.extend(others(c).map(|netns| Want::Namespace { netns }));
    }
    wants
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let own = target_here(c).is_some_and(|all| all.contains(&c.netns));
    if from_loopback(c) && !own && !anything_came_back(c) {
        return dead_source(c);
    }
    let local = c.tuple.local;
    // It may have been lost with its interface: route.interface-down says so.
    let went_down = super::route_interface_down::went_down(c).is_some();
    let lost = lost_route::proof(c).or_else(|| lost_route::unclaimed(c)).filter(|_| !went_down);
    if let Some(proof) = lost.filter(|_| lost_route::has_its_address(c) == Some(false)) {
        return Judgement::Yes(
            Finding::new(
                Certainty::Proven,
                format!("its source address {local} is no address of this host any more"),
                proof,
            )
            .and_all(addresses(c))
            .and_all(told(c))
            .advise(format!(
                "look what took the address {local} away (DHCP, a VPN, a network manager), or connect again"
            )),
        );
    }
    let Some(call) = c.failed_call() else { return Judgement::No };
    if let Some(other) = other_family(c, &call).filter(|_| call.call == Call::Bind) {
        return Judgement::Yes(
            Finding::new(Certainty::Proven, format!("{local} {other}"), call_proof(c, &call))
                .and_all(told(c))
                .advise(MATCH_FAMILY),
        );
    }
    let because = match (call.call, call.errno) {
        (Call::Bind, errno::EADDRNOTAVAIL) if !super::local_no_family::switched_off(c) => {
            if local.is_unspecified() {
                return Judgement::No;
            }
            return not_bound(c, &call);
        }
        (Call::Bind, errno::EINVAL) if scoped(c) => {
            format!("{local} is a link-local address: it needs the interface it belongs to (scope id)")
        }
        (Call::Connect | Call::IoUringConnect | Call::Send, errno::EINVAL)
            if local.is_loopback() && !c.tuple.remote.is_loopback() && call.route.error == 0 =>
        {
            format!("the source address {local} is a loopback address, from which {} can't be reached", c.tuple.remote)
        }
        _ if no_lookup(c) && lost_route::has_its_address(c) == Some(false) => {
            format!("its source address {local} {}", not_ours(c))
        }
        _ => return Judgement::No,
    };
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, call_proof(c, &call))
            .and_all(addresses(c))
            .and_all(told(c))
            .advise("use an address of this host (`netdx addrs` shows them), or none and let the kernel choose"),
    )
}

/// bind(2) knows no such address, or one that may not be used.
fn not_bound(c: &Connection, call: &FailedCall) -> Judgement {
    const USE_ANOTHER: &str =
        "use an address of this host (`netdx addrs` shows them), or none and let the kernel choose";
    let local = c.tuple.local;
    let of = interfaces(c, c.netns).iter().find(|i| i.has(local));
    let unusable = of.and_then(|i| i.unusable(local));
    let name = of.map(|i| i.name.as_str()).unwrap_or_default();
    let (because, advice) = match (of, unusable) {
        (None, _) => (format!("{local} {}", not_ours(c)), USE_ANOTHER.to_owned()),
        (_, Some(why)) => may_not_be_used(local, name, why),
        (_, None) => (
            format!("{local} was no address of this host then, or might not be used yet; now {name} has it"),
            "start the program later, once the address is there (`network-online.target`), or set net.ipv4.ip_nonlocal_bind"
                .to_owned(),
        ),
    };
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, call_proof(c, call))
            .and_all(addresses(c))
            .and_all(told(c))
            .advise(advice),
    )
}

/// Why an address of an interface may not be used, and what to do.
pub(super) fn may_not_be_used(address: IpAddr, interface: &str, why: Unusable) -> (String, String) {
    match why {
        Unusable::Duplicate => (
            format!(
                "{address} is an address of {interface} that may not be used: another host on its network has it, too"
            ),
            format!("give one of the two another address, then take {address} from {interface} and add it again"),
        ),
        Unusable::Tentative => (
            format!(
                "{address} is an address of {interface} that may not be used yet: the kernel still asks whether another host has it"
            ),
            "wait until it is no longer tentative (`netdx addrs`), or add it with `nodad`".to_owned(),
        ),
    }
}

/// Other namespaces of this host that have its source address.
fn others(c: &Connection) -> impl Iterator<Item = Netns> {
    let all = here(c, c.tuple.local).unwrap_or_default();
    all.iter().copied().filter(|netns| *netns != c.netns)
}

/// Whose address it is, where it is not this namespace's.
fn not_ours(c: &Connection) -> String {
    const SHOWN: usize = 2;
    let names = others(c).take(SHOWN).map(|netns| phrase::namespace(&c.facts, netns, c.netns)).collect::<Vec<_>>();
    if names.is_empty() {
        return "is not an address of this host".to_owned();
    }
    let names = phrase::some_of(names, others(c).skip(SHOWN).map(|_| 1).sum(), ", ");
    format!("is not an address of this network namespace, but of {names}")
}

/// The kernel looks for no route from an address that isn't its own (ip_route_output_key_hash_rcu, 6.18): a socket may be
/// bound to one that has been taken away since, or by IP_FREEBIND.
fn no_lookup(c: &Connection) -> bool {
    !c.tuple.local.is_unspecified()
        && c.failed_call().is_some_and(|call| {
            matches!(call.call, Call::Connect | Call::IoUringConnect | Call::Send)
                && matches!(call.errno, errno::ENETUNREACH | errno::EINVAL)
                && call.route.count == 0
        })
}

/// The addresses that it could have.
fn addresses(c: &Connection) -> Option<Evidence> {
    let Some(Answer::Interfaces(all)) = c.facts.get(&Want::Interfaces { netns: c.netns }) else { return None };
    let of_family = all.iter().flat_map(|i| &i.addresses).filter(|(a, _)| a.is_ipv4() == c.tuple.local.is_ipv4());
    let list: Vec<String> = of_family.map(|(a, _)| a.to_string()).collect();
    let list = if list.is_empty() { "none".into() } else { list.join(", ") };
    Some(fact("addresses", format!("addresses of that family here: {list}")))
}

fn dead_source(c: &Connection) -> Judgement {
    let (local, remote) = (c.tuple.local, c.tuple.remote);
    let proof = match stopping_drops(c).find(|d| d.ours) {
        Some(d) => seen(
            c,
            d.time,
            "drop",
            format!(
                "{} from {local} dropped {}: {}",
                phrase::packet(d.packet),
                super::evidence::place(c, &d),
                d.reason
            ),
        ),
        None => seen(c, c.began, "syn-sent", format!("SYN sent from {local}")),
    };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("the source address {local} is a loopback address, from which {remote} can't be reached"),
            proof,
        )
        .and_all(told(c))
        .advise("bind to an address of this host (`netdx addrs` shows them), or to none and let the kernel choose"),
    )
}

fn scoped(c: &Connection) -> bool {
    matches!(c.tuple.local, std::net::IpAddr::V6(a) if a.segments()[0] & 0xffc0 == 0xfe80)
}
