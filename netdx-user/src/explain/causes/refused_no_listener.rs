//! `refused.no-listener`

use super::{
    evidence::{listener_wants, near_misses, nobody_listens, reset_came, takes, told},
    late_answer::to_a_client,
};
use crate::{
    coverage::Coverage,
    event::Protocol,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, phrase},
    fact::Answer,
    report::Certainty,
    story::Connection,
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "refused.no-listener",
    page: PAGE,
    rule: Rule::Connection { wants: listener_wants, judge },
    hides: &["timeout.dropped"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
Nothing listens on that port of this host.

# What happened
The address you called belongs to this host (or to a container or namespace on it), but no program listens on the port, so
the kernel answered the first packet with a reset (for UDP: with ICMP port unreachable) and connect failed at once.

# How netdx knows
The reset was seen being sent by this host's own TCP, which had no socket for that port; the table of listening sockets,
read right after, has nobody on that port in any namespace that can be seen.

# What to do
Start the server, or look why it ended (its log, `systemctl status`). Check the port: `netdx listeners` shows who listens
where. An answer by UDP that comes when its client has stopped waiting ends so, too: look why it came late.

# Easily confused with
refused.bound-elsewhere: somebody has the port, at another address. refused.remote: the answer came from a host that netdx
can't see into. firewall.rejected: a filter sends the same answer.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some((target, proof)) = nobody_listens(c) else { return Judgement::No };
    let at = phrase::endpoint(c.reached().remote, c.reached().remote_port);
    let whose = if target == c.netns { "this host".to_owned() } else { phrase::namespace(&c.facts, target, c.netns) };
    let verb = if c.tuple.protocol == Protocol::Udp { "receives" } else { "listens" };
    let want = Want::Listeners { protocol: c.tuple.protocol, port: c.reached().remote_port };
    let table = c.facts.get(&want);
    let now = match table {
        Some(Answer::Listeners(all)) => all.iter().find(|l| takes(c, l, target)),
        _ => None,
    };
    let near = near_misses(c, target);
    let mut because = format!("{} belongs to {whose}, but nothing {verb} on {at}", c.reached().remote);
    let mut certainty = Certainty::Proven;
    let looked = match (&near, now) {
        (_, Some(l)) => {
            because = format!("nothing {verb} on {at} at that moment; meanwhile {}", phrase::listener(l));
            fact("listeners", format!("{} now: it came later", phrase::listener(l)))
        }
        (Some(_), None) => {
            let what = match table {
                Some(Answer::Listeners(all)) if !all.is_empty() => at,
                _ => format!("port {}", c.reached().remote_port),
            };
            fact("listeners", format!("nobody has {what} in any namespace that can be seen"))
        }
        (None, None) => {
            certainty = Certainty::Possible;
            because.push_str("; whether the port is bound elsewhere (refused.bound-elsewhere) could not be seen");
            fact("listeners", "the table of listeners could not be read")
        }
    };
    let client = to_a_client(c, target).filter(|_| now.is_none());
    let advice = match client {
        Some(_) => {
            because.push_str(", a port that clients get: if this is an answer, who asked has gone, or asked elsewhere");
            "if it answers somebody: did it come in time, and from the address that was asked?".to_owned()
        }
        None => format!("start the server that should have port {}, or check the port", c.reached().remote_port),
    };
    Judgement::Yes(
        Finding::new(certainty, because, proof)
            .and(looked)
            .and_all(client)
            .and_all(reset_came(c))
            .and_all(told(c))
            .advise(advice),
    )
}
