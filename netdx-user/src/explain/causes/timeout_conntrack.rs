//! `timeout.conntrack`

use super::{
    evidence::{place, stopping_drops, told},
    firewall_rule::{Action, by_netfilter, conntrack_full, culprit, rule_wants},
};
use crate::{
    coverage::Coverage,
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
    hides: &["timeout.dropped", "timeout.abandoned", "broken.timeout"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
Connection tracking dropped it.

# What happened
A host that filters or translates statefully keeps a table of connections. The table is full, so the first packet of a new
connection has no room and is dropped, whatever the rules say.

# How netdx knows
Netfilter dropped a packet of this connection, none of the rules there can have done it, and the table of that namespace,
read right after, is at its limit.

# What to do
`sysctl net.netfilter.nf_conntrack_max` raises the limit; `conntrack -L` shows what fills it (often a flood, or very long
time-outs). Exempt traffic that needs no state with `notrack`.

# Easily confused with
firewall.dropped: a rule did it, also one that says `ct state invalid drop`.
";

fn dropped(c: &Connection) -> Option<Dropped<'_>> {
    stopping_drops(c).find(by_netfilter)
}

fn wants(c: &Connection) -> Vec<Want> {
    dropped(c).map(|d| rule_wants(c, &d)).unwrap_or_default()
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
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
