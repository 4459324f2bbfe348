//! `refused.remote`

use super::evidence::{absence, reset_came, stopping_drops, target_want, told};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, here, phrase},
    fact::Answer,
    story::Connection,
};

pub(super) const CAUSE: Cause = Cause {
    code: "refused.remote",
    page: PAGE,
    rule: Rule::Connection { wants: |c| c.reset_in_handshake().map(|_| target_want(c)).into_iter().collect(), judge },
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
to no namespace of this host.

# What to do
On that host: is the server running, and on which address does it listen (`netdx listeners PORT` there)? Does its firewall
reject the port? A recording made on the other side at the same time tells which of the two it is.

# Easily confused with
refused.no-listener and firewall.rejected: the same seen from the side that answers.
";

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    let Some(reset) = reset_came(c) else { return Judgement::No };
    if c.resets_sent(true).next().is_some() || stopping_drops(c).any(|d| d.ours) || c.drops().any(|d| d.ours) {
        return Judgement::No;
    }
    match c.facts.get(&target_want(c)) {
        Some(Answer::Owners(_)) if here(c, c.reached().remote).is_some() => {
            let why = match coverage.missing("reset-sent") {
                Some(why) => format!("what sent the reset was not seen ({why})"),
                None => "no TCP and no filter of this host was seen sending the reset: the port may be forwarded to another host".into(),
            };
            return Judgement::CannotTell(format!("{} is an address of this host, but {why}", c.reached().remote));
        }
        Some(Answer::Owners(_)) => {}
        Some(Answer::Unavailable(why)) => return Judgement::CannotTell(format!("whose address it is: {why}")),
        _ => return Judgement::CannotTell("whose address it is could not be found out".into()),
    }
    let at = phrase::endpoint(c.reached().remote, c.reached().remote_port);
    let because = format!(
        "{} answered with a reset: nothing listens on {at}, or a firewall there resets it (from here the two look the same)",
        c.reached().remote
    );
    Judgement::Yes(
        Finding::new(absence(c, coverage, &["reset-sent", "drop"]), because, reset)
            .and(fact(
                "owners",
                format!("{} belongs to no namespace of this host, and nothing here sent the reset", c.reached().remote),
            ))
            .and_all(told(c))
            .advise(format!(
                "on {}: is the server running, on which address, and does a firewall reject port {}?",
                c.reached().remote,
                c.reached().remote_port
            )),
    )
}
