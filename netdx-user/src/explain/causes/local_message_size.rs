//! `local.message-size`

use super::evidence::{call_proof, interface, told};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact},
    report::Certainty,
    story::{Connection, FailedCall},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "local.message-size",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The datagram is too large.

# What happened
A UDP datagram can hold at most 65,507 bytes over IPv4 (65,527 over IPv6), and at most the path's MTU when it must not be
fragmented. The program tried to send a larger one.

# How netdx knows
The send returned EMSGSIZE.

# What to do
Send less at a time (1,200 bytes pass everywhere), or allow fragmentation (IP_MTU_DISCOVER).

# Easily confused with
broken.mtu: a TCP connection whose large segments are lost on the way.
";

fn too_large(c: &Connection) -> Option<FailedCall> {
    c.failed_call().filter(|f| f.errno == errno::EMSGSIZE)
}

fn wants(c: &Connection) -> Vec<Want> {
    too_large(c).map(|_| Want::Interfaces { netns: c.netns }).into_iter().collect()
}

/// What the route allows, or, where it says nothing, its interface.
fn mtu(c: &Connection) -> Option<u32> {
    let route = c.route()?;
    let of_interface = || interface(c, c.netns, route.device).map(|i| i.mtu);
    Some(route.mtu).filter(|mtu| *mtu > 0).or_else(of_interface)
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(call) = too_large(c) else { return Judgement::No };
    let mtu = mtu(c);
    let because = match mtu {
        Some(mtu) => format!("the datagram is larger than the protocol or the path (MTU {mtu}) allows"),
        None => "the datagram is larger than the protocol or the path allows".into(),
    };
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, call_proof(c, &call))
            .and_all(mtu.map(|m| fact("route", format!("MTU {m} towards {}", c.tuple.remote))))
            .and_all(told(c))
            .advise("send smaller datagrams: 1,200 bytes pass everywhere"),
    )
}
