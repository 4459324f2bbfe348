//! `dualstack.fallback`

use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, nothing, phrase, seen},
    report::{Certainty, Outcome},
    story::Connection,
};

pub(super) const CAUSE: Cause = Cause {
    code: "dualstack.fallback",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &[],
    tells: Tells::Success,
};

const PAGE: &str = "\
IPv6 failed, and IPv4 worked.

# What happened
The name has an IPv6 and an IPv4 address. The application tried IPv6 first, in vain, and then IPv4, which worked. Users see
a delay, not an error.

# How netdx knows
The same process tried an IPv6 address on the same port shortly before, and that attempt came to nothing; it has a report of
its own that says why.

# What to do
Look at the report of the IPv6 attempt. Mend IPv6, or don't publish the AAAA record.

# Easily confused with
slow.handshake: one address, and it was slow.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some((address, delay)) = c.fallback_from.filter(|_| c.outcome == Outcome::Established) else {
        return Judgement::No;
    };
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("IPv6 ({address}) was tried first and failed, which cost {}", phrase::duration(delay)),
            seen(
                c,
                c.began,
                "fallback",
                format!("this attempt began {} after the one to {address}", phrase::duration(delay)),
            ),
        )
        .advise(format!("see the report of {address} for why IPv6 failed")),
    )
}
