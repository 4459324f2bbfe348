//! `refused.remote`

use super::{
    evidence::{absence, forgotten, reset_came, target_want, told},
    forwarding::{self, Forwarding},
    tunnel,
};
use crate::{
    coverage::Coverage,
    event::Netns,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, here, owners_want, phrase},
    fact::{Answer, Interface},
    report::{Certainty, Evidence},
    story::Connection,
    want::Want,
};
use std::net::IpAddr;

pub(super) const CAUSE: Cause = Cause {
    code: "refused.remote",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
Another host answered \"no\".

# What happened
The first packet (SYN) reached a host that netdx can't see into, and a reset (RST) came back. Either nothing listens on
that port there, or a firewall there (or on the way) answers so.

# How netdx knows
The reset came in while the connection was being set up, no TCP and no filter of this host sent it, and the address belongs
to no namespace of this host. Where a rule of this host forwards the port (DNAT, as container networks do), it is the host it
is forwarded to that answered: that is inferred from the rules where the connection was made and of the first namespace it
came to, since the kernel forgets the translation with the reset. Where the address is one of this host and the packets go
into a TUN or TAP device, it is likely the program behind that: user-mode networks (slirp4netns, pasta) connect in the place
of others, and pass on that they were refused.

# What to do
On that host: is the server running, and on which address does it listen (`netdx listeners PORT` there)? Does its firewall
reject the port? A recording made on the other side at the same time tells which of the two it is.

# Easily confused with
refused.no-listener and firewall.rejected: the same seen from the side that answers.
";

/// A reset came in, and nothing of this host was seen sending it.
fn from_nowhere(c: &Connection) -> bool {
    let dropped = c.drops().any(|d| d.ours && !c.is_sent_again(&d));
    c.reset_in_handshake().is_some() && c.resets_sent(true).next().is_none() && !dropped
}

fn wants(c: &Connection) -> Vec<Want> {
    if !from_nowhere(c) {
        return Vec::new();
    }
    let mut wants = vec![target_want(c), Want::Interfaces { netns: c.netns }];
    wants.extend(forwarding::wants(c));
    for Forwarding { netns, to, .. } in forwarding::find(c) {
        wants.push(Want::Namespace { netns });
        wants.extend(to.map(|(address, _)| owners_want(c, address)));
    }
    wants
}

/// The address that was dialled is one of this host, whose TCP did not answer.
fn forwarded(c: &Connection, coverage: &Coverage, reset: Evidence) -> Judgement {
    let dialled = phrase::endpoint(c.reached().remote, c.reached().remote_port);
    if let Some(why) = coverage.missing("reset-sent") {
        let address = c.reached().remote;
        return Judgement::CannotTell(format!(
            "{address} is an address of this host, but what sent the reset was not seen ({why})"
        ));
    }
    let found = forwarding::find(c);
    if let (Some(interface), []) = (tunnel::to_program(c), &found[..]) {
        return by_program(c, interface, reset);
    }
    let [Forwarding { netns, rule, to: Some(to) }] = &found[..] else {
        let rules: Vec<&str> = found.iter().map(|f| f.rule.as_str()).collect();
        let how = match rules[..] {
            [] => "the port may be forwarded to another host, but no rule that does it was found".to_owned(),
            _ => format!("the port may be forwarded to another host by {}", rules.join(" or ")),
        };
        return Judgement::CannotTell(format!(
            "{} is an address of this host, but no TCP and no filter of this host was seen sending the reset: {how}",
            c.reached().remote
        ));
    };
    match c.facts.get(&owners_want(c, to.0)) {
        Some(Answer::Owners(owners)) if owners.is_empty() => by_rule(c, *netns, rule, *to, reset),
        _ => Judgement::CannotTell(format!(
            "{rule} in {} may forward {dialled} to {}, but nothing was seen there that sent the reset",
            phrase::namespace(&c.facts, *netns, c.netns),
            phrase::endpoint(to.0, to.1)
        )),
    }
}

/// Its packets go to a program, which answered in the target's place.
fn by_program(c: &Connection, interface: &Interface, reset: Evidence) -> Judgement {
    let (address, name) = (c.reached().remote, tunnel::named(interface));
    Judgement::Yes(
        Finding::new(
            Certainty::Likely,
            format!(
                "the program behind {name} answered with a reset in the place of {address}: it could not connect there itself, or \
                 does not for others"
            ),
            reset,
        )
        .and(fact("interface", format!("its packets go into {name}, to a program")))
        .and(fact("owners", format!("{address} is an address of this host, whose TCP was not seen sending the reset")))
        .and_all(told(c))
        .advise(tunnel::about_program(c)),
    )
}

/// The only rule that can have forwarded it sent it to a host that can't be seen into.
fn by_rule(c: &Connection, netns: Netns, rule: &str, to: (IpAddr, u16), reset: Evidence) -> Judgement {
    let dialled = phrase::endpoint(c.reached().remote, c.reached().remote_port);
    let reached = phrase::endpoint(to.0, to.1);
    let at = phrase::namespace(&c.facts, netns, c.netns);
    Judgement::Yes(
        Finding::new(
            Certainty::Likely,
            format!(
                "{dialled} is forwarded to {reached} by {rule} in {at}, and {} answered with a reset: nothing listens on \
                 {reached}, or a firewall there resets it (from here the two look the same)",
                to.0
            ),
            reset,
        )
        .and(fact("nat", format!("{rule} in {at} sends packets for {dialled} to {reached}")))
        .and(foreign(to.0))
        .and_all(told(c))
        .advise(ask_there(to.0, to.1))
        .advise(format!("in {at}: is {reached} still where that rule should forward to?")),
    )
}

/// Whose address it is not.
fn foreign(address: IpAddr) -> Evidence {
    fact("owners", format!("{address} belongs to no namespace of this host, and nothing here sent the reset"))
}

fn ask_there(address: IpAddr, port: u16) -> String {
    format!("on {address}: is the server running, on which address, and does a firewall reject port {port}?")
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    let Some(reset) = reset_came(c) else { return Judgement::No };
    if !from_nowhere(c) {
        return Judgement::No;
    }
    match c.facts.get(&target_want(c)) {
        Some(Answer::Owners(_)) if here(c, c.reached().remote).is_some() => {
            return forwarded(c, coverage, reset);
        }
        Some(Answer::Owners(_)) => {}
        Some(Answer::Unavailable(why)) => return Judgement::CannotTell(format!("whose address it is: {why}")),
        _ => return Judgement::CannotTell("whose address it is could not be found out".into()),
    }
    if let Some(why) = forgotten(c) {
        return Judgement::CannotTell(why);
    }
    let found = forwarding::find(c);
    if let [Forwarding { netns, rule, to: Some(to) }] = &found[..]
        && here(c, to.0).is_none()
    {
        return by_rule(c, *netns, rule, *to, reset);
    }
    let (address, port) = (c.reached().remote, c.reached().remote_port);
    let (answered, there, certainty) = if found.is_empty() {
        (
            address.to_string(),
            format!("on {}", phrase::endpoint(address, port)),
            absence(c, coverage, &["reset-sent", "drop"]),
        )
    } else {
        let elsewhere = |f: &Forwarding| f.to.map_or("another host".to_owned(), |to| phrase::endpoint(to.0, to.1));
        let others: Vec<String> = found.iter().map(elsewhere).collect();
        let others = others.join(" or ");
        let answered = format!("{address}, or {others} to which rules of this host may forward it,");
        (answered, "there".to_owned(), Certainty::Likely)
    };
    let because = format!(
        "{answered} answered with a reset: nothing listens {there}, or a firewall there resets it (from here the two look \
         the same)"
    );
    let rules = found.iter().map(|Forwarding { netns, rule, .. }| {
        let at = phrase::namespace(&c.facts, *netns, c.netns);
        fact("nat", format!("{rule} in {at} may send its packets elsewhere"))
    });
    Judgement::Yes(
        rules
            .fold(Finding::new(certainty, because, reset).and(foreign(address)), Finding::and)
            .and_all(told(c))
            .advise(ask_there(address, port)),
    )
}
