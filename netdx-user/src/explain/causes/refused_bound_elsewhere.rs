//! `refused.bound-elsewhere`

use super::{
    evidence::{interface, listener_wants, near_misses, nobody_listens, reset_came, serves, told, vrf},
    late_answer::{connected, connected_elsewhere},
};
use crate::{
    coverage::Coverage,
    event::Netns,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, phrase},
    fact::Listener,
    report::Certainty,
    story::Connection,
};
use std::net::IpAddr;

pub(super) const CAUSE: Cause = Cause {
    code: "refused.bound-elsewhere",
    page: PAGE,
    rule: Rule::Connection { wants: listener_wants, judge },
    hides: &["refused.no-listener"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The program you want is running, but it listens somewhere else.

# What happened
A server takes connections at an address and a port. This port has a listener, but not at the address you called: it is
bound to another address (often 127.0.0.1, which only this host itself can reach), to the other IP family or to another
interface, or it lives in another network namespace (a container has one of its own) or outside of the VRF that the call came
by. For the address you called the kernel found no socket and answered with a reset. Or, with UDP, the one that has the port
is connected to somebody else, and is given only what comes from there: an answer has to come from where it was asked for.

# How netdx knows
The reset was seen being sent by this host's own TCP because it had no socket for that port, and the table of listening
sockets, read right after, has that port at another address.

# What to do
Have the server listen on the address that clients use (its `listen`, `bind` or `host` setting; 0.0.0.0 or :: means every
address), or connect to the address it listens on. For a container: publish the port, or use the container's address.

# Easily confused with
refused.no-listener: nobody has that port at all. firewall.rejected: a filter answers with the same reset; netdx tells the
two apart because a filter drops the packet it answers.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some((target, proof)) = nobody_listens(c) else { return Judgement::No };
    let at = phrase::endpoint(c.reached().remote, c.reached().remote_port);
    let whose = if target == c.netns { "this host".to_owned() } else { phrase::namespace(&c.facts, target, c.netns) };
    if let Some(socket) = connected_elsewhere(c, target) {
        let (connected, advice) = connected(socket);
        let from = phrase::endpoint(c.reached().local, c.reached().local_port);
        let because =
            format!("{} belongs to {whose}, but nothing receives on {at} from {from}: {connected}", c.reached().remote);
        return Judgement::Yes(
            Finding::new(Certainty::Proven, because, proof)
                .and(fact("holder", connected))
                .and_all(told(c))
                .advise(advice),
        );
    }
    let Some(near) = near_misses(c, target) else { return Judgement::No };
    let Some(first) = near.first() else { return Judgement::No };
    let listens = near.iter().take(3).map(|l| describe(c, l, target)).collect::<Vec<_>>().join("; ");
    let because = format!("{} belongs to {whose}, but nothing listens on {at}: {listens}", c.reached().remote);
    let rows = near.iter().map(|l| phrase::listener_row(l)).collect();
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, proof)
            .and(fact("listeners", listens))
            .and_all(reset_came(c))
            .and_all(told(c))
            .advise(advice(c, first, target))
            .with_listeners(rows),
    )
}

fn describe(c: &Connection, l: &Listener, target: Netns) -> String {
    let where_ = if l.netns == target {
        String::new()
    } else {
        format!(" in {}", phrase::namespace(&c.facts, l.netns, c.netns))
    };
    let only = if serves(l, c.reached().remote, l.netns, l.device) { "" } else { " only" };
    let by = match (outside(c, l, target), l.device) {
        (Some(vrf), _) => format!(" outside of the VRF {vrf}"),
        (None, 0) => String::new(),
        (None, device) => format!(" by {} only", device_name(c, l.netns, device)),
    };
    format!("{}{only}{by}{where_}", phrase::listener(l))
}

/// The VRF, by name, for whose packets a listener is none only because it is not bound to it.
fn outside<'a>(c: &'a Connection, l: &Listener, target: Netns) -> Option<&'a str> {
    let vrf = vrf(c, target)?;
    serves(l, c.reached().remote, target, 0).then_some(vrf.name.as_str())
}

fn device_name(c: &Connection, netns: Netns, index: u32) -> String {
    interface(c, netns, index).map_or_else(|| format!("interface {index}"), |i| i.name.clone())
}

fn advice(c: &Connection, l: &Listener, target: Netns) -> String {
    let who = phrase::owners(&l.owners);
    if l.netns != target {
        return phrase::reach_another_namespace(&who);
    }
    if let Some(vrf) = outside(c, l, target) {
        let protocol = if c.is_tcp() { "tcp" } else { "udp" };
        return format!(
            "start {who} in the VRF (`ip vrf exec {vrf} ...`), or set net.ipv4.{protocol}_l3mdev_accept=1 to let it take what \
             comes by VRFs"
        );
    }
    if l.device != 0 && serves(l, c.reached().remote, target, l.device) {
        let by = device_name(c, l.netns, l.device);
        return format!(
            "{who} takes only what comes in by {by} (SO_BINDTODEVICE): connect that way, or do not bind it"
        );
    }
    let all = if c.reached().remote.is_ipv4() { "0.0.0.0" } else { "::" };
    let there = match l.addr {
        IpAddr::V4(a) if a.is_unspecified() => "an IPv4 address of this host".to_owned(),
        IpAddr::V6(a) if a.is_unspecified() => "an IPv6 address of this host".to_owned(),
        a => a.to_string(),
    };
    let listen = format!("have {who} listen on {} (or {all})", c.reached().remote);
    // A loopback address is another one where the client is.
    let reachable = target == c.netns || !l.addr.is_loopback();
    if reachable { format!("{listen}, or connect to {there}") } else { listen }
}
