//! How a route is chosen, step by step. Owns: asking policy rules and tables in the kernel's order. Must not know: netlink.
//!
//! The kernel's own answer has the last word (`route`): this only says which rule and which route it came from, and says
//! nothing when more than one could be the reason.

use super::{
    fib::Entry,
    route::Query,
    rule::{PolicyAction, PolicyRule},
};
use crate::fact::covers;
use netlink_packet_route::route::RouteType;

/// One rule that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule.
    pub rule: PolicyRule,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not for this packet.
    NotForIt,
    /// Whether it is for this packet can't be told; what would come of it if it were.
    Unsure(Box<Outcome>),
    /// It does nothing.
    Nothing,
    /// It goes on at the rule of this priority.
    Goes(u32),
    /// Its table has no usable route: the next rule is asked.
    NoRoute,
    /// Its table has a route that sends the packet back to the rules.
    Throws(Entry),
    /// Its table has a route, which the rule does not take because its prefix is too short.
    Suppressed(Entry),
    /// Its table has a route.
    Takes(Entry),
    /// A route of its table rejects the packet.
    RouteRejects(Entry, i32),
    /// The rule itself rejects the packet.
    RuleRejects(i32),
}

/// Something that can have been decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The step it came from; none: no rule decided.
    pub step: Option<usize>,
    /// The route; none: none.
    pub entry: Option<Entry>,
    /// Positive errno, 0 none.
    pub errno: i32,
}

/// Steps, up to the one that decides, and everything that can have been decided: one choice when every step is sure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// In the order they were asked.
    pub steps: Vec<Step>,
    /// The last is what is decided if no unsure step does.
    pub choices: Vec<Choice>,
}

/// Asks the rules in their order. `devices`: names of the interface that the packet comes in by, and of the one that its
/// socket is bound to. `entries` has the routes that cover the destination, of all tables.
#[must_use]
pub fn decide(query: &Query, devices: [&str; 2], rules: &[PolicyRule], entries: &[Entry]) -> Decision {
    let mut decision = Decision::default();
    let mut skip_to = None;
    for rule in rules {
        // A goto leads forward only (`fib_nl_newrule`).
        if skip_to.is_some_and(|priority| rule.priority < priority) {
            continue;
        }
        skip_to = None;
        let outcome = match rule.is_for(query, devices) {
            Some(false) => Outcome::NotForIt,
            Some(true) => apply(query, rule, entries),
            None => Outcome::Unsure(Box::new(apply(query, rule, entries))),
        };
        let step = Some(decision.steps.len());
        decision.steps.push(Step { rule: rule.clone(), outcome: outcome.clone() });
        match (choice(step, &outcome), outcome) {
            (Some(choice), Outcome::Unsure(_)) => decision.choices.push(choice),
            (Some(choice), _) => {
                decision.choices.push(choice);
                return decision;
            }
            (None, Outcome::Goes(priority)) => skip_to = Some(priority),
            (None, _) => {}
        }
    }
    decision.choices.push(Choice { step: None, entry: None, errno: libc::ENETUNREACH });
    decision
}

fn choice(step: Option<usize>, outcome: &Outcome) -> Option<Choice> {
    match outcome {
        Outcome::Unsure(outcome) => choice(step, outcome),
        Outcome::Takes(entry) => Some(Choice { step, entry: Some(entry.clone()), errno: 0 }),
        Outcome::RouteRejects(entry, errno) => Some(Choice { step, entry: Some(entry.clone()), errno: *errno }),
        Outcome::RuleRejects(errno) => Some(Choice { step, entry: None, errno: *errno }),
        _ => None,
    }
}

fn apply(query: &Query, rule: &PolicyRule, entries: &[Entry]) -> Outcome {
    let table = match rule.action {
        PolicyAction::Table(table) => table,
        PolicyAction::Goto(priority) => return Outcome::Goes(priority),
        PolicyAction::Nop | PolicyAction::GotoNowhere(_) => return Outcome::Nothing,
        PolicyAction::Unreachable => return Outcome::RuleRejects(libc::ENETUNREACH),
        PolicyAction::Prohibit => return Outcome::RuleRejects(libc::EACCES),
        PolicyAction::Blackhole => return Outcome::RuleRejects(libc::EINVAL),
    };
    let mut fitting: Vec<&Entry> = entries.iter().filter(|e| e.table == table && fits(query, e)).collect();
    // The longest prefix, then the longest source prefix (IPv6), then the lowest metric; of equals the first.
    fitting.sort_by_key(|e| {
        (std::cmp::Reverse(e.length), std::cmp::Reverse(e.from.map_or(0, |(_, length)| length)), e.priority)
    });
    let Some(entry) = fitting.first().map(|e| (*e).clone()) else { return Outcome::NoRoute };
    match entry.kind {
        RouteType::Throw => Outcome::Throws(entry),
        // `fib_props`, `ip6_rt_type_to_error` (Linux 5.10 to 6.18).
        RouteType::Unreachable => Outcome::RouteRejects(entry, libc::EHOSTUNREACH),
        RouteType::Prohibit => Outcome::RouteRejects(entry, libc::EACCES),
        RouteType::BlackHole => Outcome::RouteRejects(entry, libc::EINVAL),
        _ if rule.suppress_prefixlength.is_some_and(|n| u32::from(entry.length) <= n) => Outcome::Suppressed(entry),
        _ => Outcome::Takes(entry),
    }
}

/// Whether a route is for the packet and has a way on that can be used.
fn fits(query: &Query, entry: &Entry) -> bool {
    let rejects =
        matches!(entry.kind, RouteType::Throw | RouteType::Unreachable | RouteType::Prohibit | RouteType::BlackHole);
    let way = entry.hops.iter().any(|h| !h.dead && (query.device == 0 || h.device == query.device));
    let from = match (entry.from, query.from) {
        (None, _) | (Some((_, 0)), _) => true,
        (Some(_), None) => false,
        (Some((network, length)), Some(from)) => covers(network, length, from),
    };
    entry.covers(query.to) && !entry.expired && entry.tos == 0 && from && (rejects || way)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fib::Hop;
    use std::net::IpAddr;

    fn entry(table: u32, kind: RouteType, prefix: &str, length: u8, priority: u32) -> Entry {
        let to: IpAddr = prefix.parse().unwrap();
        let hops = vec![Hop { device: 2, ..Hop::default() }];
        Entry { table, to: Some(to), length, priority, hops, ..Entry::new(kind) }
    }

    fn rule(priority: u32, action: PolicyAction) -> PolicyRule {
        PolicyRule { priority, action, ..PolicyRule::default() }
    }

    fn defaults() -> Vec<PolicyRule> {
        [(0, 255), (32766, 254), (32767, 253)].map(|(p, t)| rule(p, PolicyAction::Table(t))).to_vec()
    }

    fn query() -> Query {
        Query { to: "10.9.0.1".parse().unwrap(), from: None, device: 0, mark: 0, uid: 0, flow: None }
    }

    fn only(rules: &[PolicyRule], entries: &[Entry]) -> (Option<u32>, Option<String>, i32) {
        let decision = decide(&query(), ["lo", ""], rules, entries);
        let [choice] = &decision.choices[..] else { panic!("{decision:?}") };
        (choice.step.map(|s| decision.steps[s].rule.priority), choice.entry.as_ref().map(Entry::prefix), choice.errno)
    }

    #[test]
    fn the_longest_prefix_then_the_lowest_metric() {
        let default = entry(254, RouteType::Unicast, "0.0.0.0", 0, 0);
        let net = entry(254, RouteType::Unicast, "10.9.0.0", 16, 200);
        let better = Entry { source: Some("10.9.0.9".parse().unwrap()), priority: 100, ..net.clone() };
        assert_eq!(
            only(&defaults(), &[default.clone(), net.clone(), better]),
            (Some(32766), Some("10.9.0.0/16".into()), 0)
        );
        let dead = Entry { hops: vec![Hop { device: 2, dead: true, ..Hop::default() }], ..net.clone() };
        let expired = Entry { expired: true, ..net };
        for unusable in [dead, expired] {
            assert_eq!(only(&defaults(), &[default.clone(), unusable]), (Some(32766), Some("default".into()), 0));
        }
        assert_eq!(only(&defaults(), &[]), (None, None, libc::ENETUNREACH));
    }

    #[test]
    fn routes_and_rules_reject() {
        for (kind, errno) in [
            (RouteType::Unreachable, libc::EHOSTUNREACH),
            (RouteType::Prohibit, libc::EACCES),
            (RouteType::BlackHole, libc::EINVAL),
        ] {
            let reject = Entry { hops: vec![], ..entry(254, kind, "10.9.0.0", 16, 0) };
            assert_eq!(only(&defaults(), &[reject]), (Some(32766), Some("10.9.0.0/16".into()), errno));
        }
        for (action, errno) in [
            (PolicyAction::Unreachable, libc::ENETUNREACH),
            (PolicyAction::Prohibit, libc::EACCES),
            (PolicyAction::Blackhole, libc::EINVAL),
        ] {
            let rules: Vec<_> = [rule(100, action)].into_iter().chain(defaults()).collect();
            assert_eq!(only(&rules, &[entry(254, RouteType::Unicast, "0.0.0.0", 0, 0)]), (Some(100), None, errno));
        }
    }

    #[test]
    fn throw_suppress_and_goto_go_on() {
        let default = entry(254, RouteType::Unicast, "0.0.0.0", 0, 0);
        let throw = entry(100, RouteType::Throw, "10.0.0.0", 8, 0);
        let with = |extra: Vec<PolicyRule>| extra.into_iter().chain(defaults()).collect::<Vec<_>>();
        let rules = with(vec![rule(10, PolicyAction::Table(100))]);
        assert_eq!(only(&rules, &[default.clone(), throw]), (Some(32766), Some("default".into()), 0));
        let quick = PolicyRule { suppress_prefixlength: Some(0), ..rule(10, PolicyAction::Table(254)) };
        assert_eq!(only(&with(vec![quick]), std::slice::from_ref(&default)).0, Some(32766));
        let rules = with(vec![rule(10, PolicyAction::Goto(32766)), rule(20, PolicyAction::Prohibit)]);
        assert_eq!(only(&rules, std::slice::from_ref(&default)).0, Some(32766));
    }

    #[test]
    fn what_cannot_be_told_stays_a_possibility() {
        let web = PolicyRule { dport: Some((80, 80)), ..rule(10, PolicyAction::Prohibit) };
        let rules: Vec<_> = [web].into_iter().chain(defaults()).collect();
        let decision = decide(&query(), ["lo", ""], &rules, &[entry(254, RouteType::Unicast, "0.0.0.0", 0, 0)]);
        let errnos: Vec<_> = decision.choices.iter().map(|c| c.errno).collect();
        assert_eq!(errnos, [libc::EACCES, 0]);
    }
}
