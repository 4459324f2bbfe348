//! `dns.search-storm`

use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, noted, nothing_more, phrase},
    report::Certainty,
    story::{Lookup, Query},
};

pub(super) const CAUSE: Cause = Cause {
    code: "dns.search-storm",
    page: PAGE,
    rule: Rule::Lookup { wants: nothing_more, judge },
    hides: &[],
    tells: Tells::Beside,
};

/// Fewer useless queries than this are what a search list is for.
const STORM: usize = 4;

const PAGE: &str = "\
The search list made useless queries.

# What happened
A name with fewer dots than `ndots` is tried with every suffix of the search list before it is tried as it is, A and AAAA
each. Kubernetes sets ndots:5 and three or more suffixes: an outside name costs eight useless queries.

# How netdx knows
The queries and their negative answers were seen, before the one that counted.

# What to do
End names in a dot (db.example.com.), or lower ndots (`options ndots:1`, dnsConfig of the pod).

# Easily confused with
dns.nxdomain: the name itself does not exist.
";

fn judge(l: &Lookup, _: &Coverage) -> Judgement {
    // The one that counted: that had records, else the name itself.
    let useful = l.queries.iter().find(|q| q.useful()).map_or_else(|| l.name(), |q| q.name.as_str());
    let Some(real) = l.queries.iter().find(|q| q.name.eq_ignore_ascii_case(useful)) else { return Judgement::No };
    let useless: Vec<&Query> = l
        .queries
        .iter()
        .filter(|q| q.name != real.name && q.sent <= real.sent && q.answered() && !q.useful())
        .collect();
    let Some(first) = useless.first().filter(|_| useless.len() >= STORM) else { return Judgement::No };
    let mut suffixes: Vec<&str> = useless.iter().map(|q| q.name.as_str()).collect();
    suffixes.dedup();
    let cost = phrase::duration(real.sent.since(first.sent));
    let list = l.resolver().map(|r| fact("resolv.conf", format!("search {}; ndots {}", r.search.join(" "), r.ndots)));
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!(
                "the search list made {} useless queries ({}) before {} was asked for, which cost {cost}",
                useless.len(),
                suffixes.join(", "),
                real.name
            ),
            noted(l, first.sent, "query", format!("{} was asked for first", first.name)),
        )
        .and_all(list)
        .advise(format!("use `{}.` with a dot at the end, or a lower ndots", l.name())),
    )
}
