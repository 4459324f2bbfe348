//! What the IPsec policies of a namespace do to what is sent there: forbid it, or let it out protected only. Owns: which policy
//! decides, and whether a security association does what it wants. Must not know: other reasons for the same errors.

use super::evidence::told;
use crate::{
    event::Call,
    explain::{Finding, errno, fact, phrase, seen},
    fact::{Answer, IpsecPolicy},
    report::{Certainty, Evidence},
    story::{Connection, Dropped, FailedCall},
    want::Want,
};

/// The questions behind [`finding`].
pub(super) fn wants(c: &Connection) -> Vec<Want> {
    if refused(c).is_none() && held_back(c).is_none() {
        return Vec::new();
    }
    let mut wants = vec![Want::IpsecPolicies { netns: c.netns }];
    if policy(c).is_some_and(|policy| policy.protection.is_some()) {
        wants.push(Want::IpsecStates { netns: c.netns });
    }
    wants
}

pub(super) fn finding(c: &Connection) -> Option<Finding> {
    forbidden(c).or_else(|| unprotected(c))
}

/// Of the policies for its packets the one that decides.
fn policy(c: &Connection) -> Option<&IpsecPolicy> {
    let Some(Answer::IpsecPolicies(all)) = c.facts.get(&Want::IpsecPolicies { netns: c.netns }) else { return None };
    all.iter().filter(|p| p.is_for(&c.tuple, c.bound_device)).min_by_key(|p| p.priority)
}

fn decides(policy: &IpsecPolicy) -> Evidence {
    fact("ipsec-policy", format!("of the IPsec policies for its packets this one decides: {policy}"))
}

/// A call that a policy may have refused: it is asked once the route is known (xfrm_lookup_route, Linux 6.18).
fn refused(c: &Connection) -> Option<FailedCall> {
    c.failed_call().filter(|call| {
        let sends = matches!(call.call, Call::Connect | Call::IoUringConnect | Call::Send);
        sends && call.errno == errno::EPERM && c.id.is_none()
    })
}

/// The policy refused the call.
fn forbidden(c: &Connection) -> Option<Finding> {
    let call = refused(c)?;
    let policy = policy(c).filter(|p| p.blocks)?;
    let name = phrase::call(call.call);
    // Of sending the routing lookup isn't followed.
    let certainty = if call.route.count > 0 { Certainty::Proven } else { Certainty::Likely };
    let proof = seen(c, call.time, "call-failed", format!("{name} returned EPERM"));
    Some(
        Finding::new(certainty, format!("the IPsec policy `{policy}` forbids it"), proof)
            .and(decides(policy))
            .and_all(told(c))
            .advise("look at `ip xfrm policy`, and at the IPsec or VPN program that set this policy"),
    )
}

/// What waits for a security association is kept with the policy for a while, then dropped (`xdst_queue_output`,
/// `xfrm_policy_queue_process`, Linux 6.18; net.core.xfrm_larval_drop), or is not sent at all.
fn held_back(c: &Connection) -> Option<(Evidence, Certainty)> {
    const KEEPERS: [&str; 4] =
        ["dst_discard_out", "xdst_queue_output", "xfrm_policy_queue_process", "xfrm_queue_purge"];
    let kept = |d: &Dropped<'_>| d.ours && d.netns() == Some(c.netns) && KEEPERS.iter().any(|function| d.by(function));
    if let Some(d) = c.drops().find(kept) {
        let text = format!("{} dropped in this network namespace, in {}", phrase::packet(d.packet), d.at);
        return Some((seen(c, d.time, "drop", text), Certainty::Proven));
    }
    let unsent = |(_, result): &(_, Option<i32>)| *result == Some(-errno::EBUSY);
    let (time, _) = c.syn_retransmits().find(unsent).filter(|_| c.established.is_none())?;
    let text = "SYN could not be sent again: the first one has not left yet";
    Some((seen(c, time, "retransmit", text), Certainty::Likely))
}

/// The policy lets it out by a security association only, and there is none.
fn unprotected(c: &Connection) -> Option<Finding> {
    let (proof, certainty) = held_back(c)?;
    let policy = policy(c)?;
    let wanted = policy.protection?;
    let Some(Answer::IpsecStates(states)) = c.facts.get(&Want::IpsecStates { netns: c.netns }) else { return None };
    let end = if wanted.destination.is_unspecified() { c.reached().remote } else { wanted.destination };
    if states.iter().any(|state| state.protocol == wanted.protocol && state.destination == end) {
        return None;
    }
    let how = match wanted.protocol {
        50 => "ESP".to_owned(),
        51 => "AH".to_owned(),
        other => format!("IP protocol {other}"),
    };
    let has = match states.len() {
        0 => "this network namespace has no security association".to_owned(),
        n => format!("none of {} here leads to {end} by {how}", phrase::count(n, "security association")),
    };
    Some(
        Finding::new(
            certainty,
            format!("the IPsec policy `{policy}` lets it out only by {how} to {end}, and no security association is there"),
            proof,
        )
        .and(decides(policy))
        .and(fact("ipsec-states", has))
        .and_all(told(c))
        .advise("look why the IKE daemon has agreed on none with the other end (`swanctl --list-sas`, `ipsec status`, its log)"),
    )
}
