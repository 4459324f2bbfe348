//! `timeout.conntrack`

use super::{
    evidence::{place, stopping_drops, told},
    firewall_rule::{Action, by_netfilter, by_no_rule, conntrack_full, culprit, rule_wants},
};
use crate::{
    coverage::Coverage,
    event::{Hook, Tuple},
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, phrase, seen},
    fact::Answer,
    report::Certainty,
    story::{Connection, Dropped},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "timeout.conntrack",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["firewall.dropped", "timeout.dropped", "timeout.abandoned", "broken.timeout"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
Connection tracking dropped it.

# What happened
A host that filters or translates statefully keeps a table of connections. The table is full, so the first packet of a new
connection has no room and is dropped, whatever the rules say. Or network address translation (SNAT, MASQUERADE) had no
endpoints left to give it: those that it got are another connection's, as all ports to that destination are in use.

# How netdx knows
Netfilter dropped a packet of this connection, none of the rules there can have done it, and the table of that namespace,
read right after, is at its limit; or it has an entry of another connection with the endpoints that the packet had.

# What to do
`sysctl net.netfilter.nf_conntrack_max` raises the limit; `conntrack -L` shows what fills it (often a flood, or very long
time-outs). Exempt traffic that needs no state with `notrack`. Give SNAT more addresses or ports, or make fewer connections
to one destination: `conntrack -L -d ADDRESS` lists them.

# Easily confused with
firewall.dropped: a rule did it, also one that says `ct state invalid drop`.
";

fn dropped(c: &Connection) -> Option<Dropped<'_>> {
    stopping_drops(c).find(by_netfilter)
}

fn wants(c: &Connection) -> Vec<Want> {
    let mut wants = dropped(c).map(|d| rule_wants(c, &d)).unwrap_or_default();
    wants.extend(unconfirmed(c).map(|(_, given)| Want::Origin { packet: given }));
    wants
}

/// A packet that was dropped where its entry was to be put into the table, after all rules were asked (nf_confirm, 6.18), and the
/// endpoints that it had been given.
fn unconfirmed(c: &Connection) -> Option<(Dropped<'_>, Tuple)> {
    let d = dropped(c).filter(|d| d.ours && d.at == "nf_hook_slow")?;
    let given = d.packet.tuple.filter(|t| *t != c.tuple && matches!(d.hook, Some(Hook::Postrouting | Hook::Input)))?;
    by_no_rule(c, &d, Action::Drop).then_some((d, given))
}

/// The endpoints that it was given are another connection's.
fn clash(c: &Connection) -> Option<Finding> {
    let (d, given) = unconfirmed(c)?;
    let Some(Answer::Origin(Some(other))) = c.facts.get(&Want::Origin { packet: given }) else { return None };
    if other.sent == c.tuple {
        return None;
    }
    let (at, what) = (place(c, &d), phrase::packet(d.packet));
    let owner = phrase::endpoint(other.sent.local, other.sent.local_port);
    let (given, other) = (phrase::ends(given), phrase::ends(other.sent));
    Some(
        Finding::new(
            Certainty::Proven,
            format!(
                "connection tracking dropped its {what} {at}: network address translation gave it the endpoints of another \
                 connection, {given}, which are those of {owner}"
            ),
            seen(c, d.time, "drop", format!("{what} dropped {at} by netfilter, by no rule")),
        )
        .and(fact("conntrack", format!("the entry for {given} is that of {other}")))
        .and_all(told(c))
        .advise(format!(
            "it had no port left, it seems: give it more addresses or ports for {0}, or make fewer connections there \
             (`conntrack -L -d {0}`)",
            c.reached().remote
        )),
    )
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if let Some(finding) = clash(c) {
        return Judgement::Yes(finding);
    }
    let Some(d) = dropped(c) else { return Judgement::No };
    let Some(netns) = d.netns() else { return Judgement::No };
    if !conntrack_full(c, netns) || !culprit(c, &d, Action::Drop).is_conntrack() {
        return Judgement::No;
    }
    let Some(Answer::Conntrack(t)) = c.facts.get(&Want::Conntrack { netns }) else { return Judgement::No };
    let at = place(c, &d);
    let what = phrase::packet(d.packet);
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("connection tracking dropped its {what} {at}: its table is full ({} of {})", t.count, t.max),
            seen(c, d.time, "drop", format!("{what} dropped {at} by netfilter, by no rule")),
        )
        .and(fact(
            "conntrack",
            format!("{} of {} entries, {} packets dropped for want of room", t.count, t.max, t.drop),
        ))
        .and_all(told(c))
        .advise("raise net.netfilter.nf_conntrack_max, or find what fills the table (`conntrack -L`)"),
    )
}
