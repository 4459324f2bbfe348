//! `dns.search-storm`

use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, noted, nothing_more},
    report::Certainty,
    story::{Lookup, rcode},
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
    let names = l.candidates();
    let Some(last) = names.last() else { return Judgement::No };
    let useless: Vec<_> = l.queries.iter().filter(|q| q.name != *last && q.rcode() == Some(rcode::NXDOMAIN)).collect();
    if useless.len() < STORM {
        return Judgement::No;
    }
    let Some(first) = useless.first() else { return Judgement::No };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!(
                "the search list made {} before {last} was asked for",
                format_args!("{} useless queries", useless.len())
            ),
            noted(l, first.sent, "query", format!("{} was asked for first", first.name)),
        )
        .advise(format!("use `{}.` with a dot at the end, or a lower ndots", l.name())),
    )
}
