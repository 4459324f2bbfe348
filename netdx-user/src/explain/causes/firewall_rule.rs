//! Which rule it was: what the two firewall causes share. Owns: from a drop to the rule that can have done it.

use super::evidence::{interface, interfaces, onward_want};
use crate::{
    event::{
        Discovery, Hook, Netns, Protocol, Tuple, asked_by_bridge, dropped_by_netfilter, dropped_in_queue, in_bridge,
    },
    explain::{fact, phrase},
    fact::{Answer, Ruleset},
    report::Evidence,
    ruleset::{self, Culprits, Engine, PacketView, RuleRef},
    story::{Connection, Dropped},
    want::Want,
};

pub(super) use crate::ruleset::Action;

/// A rule that answers what it drops.
pub(super) fn rejects(rule: &str) -> bool {
    rule.contains("reject") || rule.contains("REJECT")
}

/// The port that a rule gives connections to, if a proxy is to listen there: without one it drops them (tproxy_tg4, 6.18).
pub(super) fn proxy_port(rule: &str) -> Option<&str> {
    let (_, options) = rule.split_once("-j TPROXY ")?;
    options.split_once("--on-port ")?.1.split([' ', '`']).next()
}

/// Netfilter dropped it.
pub(super) fn by_netfilter(d: &Dropped<'_>) -> bool {
    dropped_by_netfilter(Some(d.reason), Some(d.at))
}

/// The questions for the rules of the namespace where it was dropped.
pub(super) fn rule_wants(c: &Connection, d: &Dropped<'_>) -> Vec<Want> {
    let Some(netns) = d.netns() else { return Vec::new() };
    let mut wants = vec![Want::Ruleset { netns }, Want::Conntrack { netns }, Want::Interfaces { netns }];
    if netns != c.netns {
        wants.push(Want::Namespace { netns });
    }
    wants.extend(onward(d));
    wants
}

/// The question by which interface it was to leave, where that was decided, but is not in what the kernel said of the drop.
fn onward(d: &Dropped<'_>) -> Option<Want> {
    let forwarded = d.hook == Some(Hook::Forward) && !in_bridge(d.stack) && !asked_by_bridge(d.stack);
    onward_want(d.packet).filter(|_| forwarded)
}

/// Who did it.
pub(super) enum Culprit {
    /// This rule or policy.
    Exact(String),
    /// One of these. `changed`: as the rules are now, which are not those of then.
    Possible { rules: Vec<String>, changed: bool },
    /// Can't be told: why.
    Unknown(String),
}

impl Culprit {
    pub(super) fn evidence(&self) -> Vec<Evidence> {
        match self {
            Culprit::Exact(rule) => vec![fact("rule", format!("{rule} is the only one there that can have done it"))],
            Culprit::Possible { rules, changed } => {
                let since = changed.then(|| fact("rules-changed", "the rules there have changed since the drop"));
                since.into_iter().chain([fact("rule", format!("candidates: {}", rules.join("; ")))]).collect()
            }
            Culprit::Unknown(_) => Vec::new(),
        }
    }

    /// What is said of several that can have done it: `it can have been X, or Y`.
    pub(super) fn candidates(rules: &[String], changed: bool) -> String {
        let of_now = if changed { "the rules there have changed since, of those now " } else { "" };
        format!("{of_now}it can have been {}", rules.join(", or "))
    }

    pub(super) fn advice(&self, c: &Connection, d: &Dropped<'_>, what: &str) -> String {
        match self {
            Culprit::Exact(rule) => format!("{rule}: {what}"),
            _ => format!("look at the firewall rules there for {}: {what}", looked_for(c, d)),
        }
    }

    /// No rule can have done it, and connection tracking says that it drops.
    pub(super) fn is_conntrack(&self) -> bool {
        matches!(self, Culprit::Unknown(why) if why == CONNTRACK)
    }
}

/// What rules must have to do with it: `port 80`, `the tunnel's UDP port 4789`.
fn looked_for(c: &Connection, d: &Dropped<'_>) -> String {
    match (d.inner, d.packet.tuple) {
        (None, _) => {
            d.discovery.map_or_else(|| format!("port {}", c.tuple.remote_port), |what| phrase::how(what).into())
        }
        (Some(_), Some(t)) if t.protocol == Protocol::Udp => format!("the tunnel's UDP port {}", t.remote_port),
        (Some(_), _) => format!("the tunnel's protocol, {}", phrase::carrier(d.packet)),
    }
}

const CONNTRACK: &str = "no rule there does it, and connection tracking is out of room";

/// The rule behind a drop.
pub(super) fn culprit(c: &Connection, d: &Dropped<'_>, action: Action) -> Culprit {
    let Some(netns) = d.netns() else { return Culprit::Unknown("the namespace is not known".into()) };
    let rules = match c.facts.get(&Want::Ruleset { netns }) {
        Some(Answer::Ruleset(r)) => r,
        Some(Answer::Unavailable(why)) => return Culprit::Unknown(why.clone()),
        _ => return Culprit::Unknown("the rules were not read".into()),
    };
    let rules = if untracked(c, d, netns) { &before_tracking(rules) } else { &**rules };
    let action = if dropped_in_queue(d.at) { Action::Queue } else { action };
    let found = match d.hook {
        Some(hook) => ruleset::culprits(rules, hook, &view(c, d, hook, rules), action),
        None => Culprits::None,
    };
    let changed = changed(c, d, netns, rules);
    match found {
        Culprits::Exact(rule) if !changed => Culprit::Exact(name(&rule)),
        Culprits::Exact(rule) => Culprit::Possible { rules: vec![name(&rule)], changed },
        Culprits::Possible(rules) => Culprit::Possible { rules: rules.iter().take(4).map(name).collect(), changed },
        Culprits::None if untracked(c, d, netns) => Culprit::Unknown(CONNTRACK.into()),
        Culprits::None => Culprit::Unknown("none of the rules there now fits this packet".into()),
    }
}

/// The rules have changed between the drop and when they were listed.
fn changed(c: &Connection, d: &Dropped<'_>, netns: Netns, listed: &Ruleset) -> bool {
    match c.facts.get(&Want::RulesetGeneration { netns, dropped: d.time }) {
        Some(Answer::RulesetGeneration(Some(then))) => listed.generation.is_some_and(|now| now != *then),
        _ => false,
    }
}

/// Whose rules dropped it, where the place tells.
fn engine(d: &Dropped<'_>) -> Option<Engine> {
    match d.at {
        "nft_do_chain" => Some(Engine::Nftables),
        "ipt_do_table" | "ip6t_do_table" => Some(Engine::Legacy),
        _ => None,
    }
}

/// The rules are known, and none of them can have done it.
pub(super) fn by_no_rule(c: &Connection, d: &Dropped<'_>, action: Action) -> bool {
    let rules = d.netns().and_then(|netns| c.facts.get(&Want::Ruleset { netns }));
    matches!(rules, Some(Answer::Ruleset(_))) && matches!(culprit(c, d, action), Culprit::Unknown(_))
}

/// All rules are known as they were then, and none of them can have done it.
pub(super) fn none_can(c: &Connection, d: &Dropped<'_>, action: Action) -> bool {
    let Some(netns) = d.netns() else { return false };
    let Some(Answer::Ruleset(rules)) = c.facts.get(&Want::Ruleset { netns }) else { return false };
    let complete = rules.missing.is_empty() || engine(d) == Some(Engine::Nftables);
    complete && d.hook.is_some() && !changed(c, d, netns, rules) && by_no_rule(c, d, action)
}

/// The first packet of a connection was dropped where connection tracking looks at it, and its table has no room: later
/// rules were never asked. (Drops by rules of nftables are at `nft_do_chain` itself, Linux 6.18.)
fn untracked(c: &Connection, d: &Dropped<'_>, netns: Netns) -> bool {
    d.at == "nf_hook_slow" && matches!(d.hook, Some(Hook::Prerouting | Hook::Output)) && conntrack_full(c, netns)
}

/// The rules that act before connection tracking does.
fn before_tracking(rules: &Ruleset) -> Ruleset {
    /// NF_IP_PRI_CONNTRACK (include/uapi/linux/netfilter_ipv4.h)
    const CONNECTION_TRACKING: i32 = -200;
    let mut rules = rules.clone();
    rules.chains.retain(|chain| chain.hook.is_none() || chain.priority < CONNECTION_TRACKING);
    rules
}

/// The connection-tracking table of a namespace is full.
pub(super) fn conntrack_full(c: &Connection, netns: Netns) -> bool {
    matches!(c.facts.get(&Want::Conntrack { netns }), Some(Answer::Conntrack(t)) if t.max > 0 && t.count >= t.max)
}

/// By which interfaces the packet came in and was to leave, as rules at a hook see it: names, empty where there is none.
fn devices<'a>(c: &'a Connection, d: &Dropped<'a>, hook: Hook, rules: &Ruleset) -> [Option<&'a str>; 2] {
    let of_index = |index: u32| d.netns().and_then(|netns| interface(c, netns, index));
    let name_of = |index: u32| of_index(index).map(|i| i.name.as_str());
    let bridge_of = |port: u32| of_index(port)?.master.and_then(name_of);
    let at = (!d.packet.device_name.is_empty()).then_some(d.packet.device_name.as_str());
    let came_by = name_of(d.packet.in_device);
    let is_arp = d.discovery.is_some_and(|what| what.asked.is_ipv4());
    if asked_by_bridge(d.stack) && !is_arp {
        // It stands for its ports (brnf_get_logical_dev, br_nf_post_routing, Linux 5.10 to 6.18).
        return match hook {
            Hook::Forward => [bridge_of(d.packet.in_device), bridge_of(d.packet.device)],
            Hook::Postrouting => [Some(""), bridge_of(d.packet.device)],
            _ => [at, Some("")],
        };
    }
    match hook {
        Hook::Prerouting | Hook::Ingress | Hook::Input => [came_by.or(at), Some("")],
        Hook::Forward => [came_by.or(at), leaves_by(c, d, rules)],
        // Its device is set after that, or still a tunnel's (ip_output, 6.18).
        Hook::Output => [Some(""), None],
        Hook::Postrouting | Hook::Egress => [if d.packet.in_device == 0 { Some("") } else { came_by }, at],
    }
}

/// The interface that a forwarded packet was to leave by. It was chosen before the rules that are asked then, by the mark that
/// it had before them.
fn leaves_by<'a>(c: &'a Connection, d: &Dropped<'_>, rules: &Ruleset) -> Option<&'a str> {
    let Some(Answer::Route(route)) = onward(d).and_then(|want| c.facts.get(&want)) else { return None };
    let another = route.by_mark && ruleset::marks(rules, Hook::Forward);
    (!route.device_name.is_empty() && !another).then_some(route.device_name.as_str())
}

/// The packet as the rules saw it.
fn view<'a>(c: &'a Connection, d: &Dropped<'a>, hook: Hook, rules: &Ruleset) -> PacketView<'a> {
    // A tunnel's packet is seen from outside.
    let discovery = d.discovery.filter(|_| d.inner.is_none());
    let tuple = match discovery {
        Some(what) => d.packet.tuple.unwrap_or_else(|| between(what)),
        None => d.packet.tuple.unwrap_or(c.tuple),
    };
    let number = Some((d.packet.icmp_type, d.packet.icmp_code));
    let [in_device, out_device] = devices(c, d, hook, rules);
    let sender = d.discovery.is_none()
        && d.inner.is_none()
        && d.ours
        && d.netns() == Some(c.netns)
        && matches!(hook, Hook::Output | Hook::Postrouting);
    PacketView {
        tuple,
        tcp_flags: (tuple.protocol == Protocol::Tcp).then_some(d.packet.tcp_flags),
        icmp: number.filter(|_| discovery.is_some_and(|what| what.asked.is_ipv6())),
        arp: discovery.filter(|what| what.asked.is_ipv4()).map(|_| d.packet.icmp_type),
        mark: Some(d.packet.mark),
        in_device,
        out_device,
        uid: c.user().filter(|_| sender),
        interfaces: d.netns().map(|netns| interfaces(c, netns)).unwrap_or_default(),
        bridged: in_bridge(d.stack),
        engine: engine(d),
    }
}

/// The endpoints of a packet of ARP.
fn between(what: &Discovery) -> Tuple {
    let (from, to) = if what.asks { (what.by, what.asked) } else { (what.asked, what.by) };
    Tuple { protocol: Protocol::Other(0), local: from, local_port: 0, remote: to, remote_port: 0 }
}

/// `the rule `tcp dport 80 drop` (inet filter input, handle 4)`
pub(super) fn name(rule: &RuleRef) -> String {
    let place = phrase_place(rule);
    match rule.handle {
        Some(handle) => format!("the rule `{}` ({place}, handle {handle})", rule.text),
        None => format!("the {} of {place}", rule.text),
    }
}

fn phrase_place(rule: &RuleRef) -> String {
    format!("{} {} {}", rule.family, rule.table, rule.chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_gives_to_a_proxy_names_its_port() {
        let port = |options: &str| {
            let rule = format!("the rule `-A PREROUTING -j {options}` (iptables mangle PREROUTING, handle 1)");
            proxy_port(&rule).map(str::to_owned)
        };
        assert_eq!(port("TPROXY --on-port 3129 --on-ip 0.0.0.0").as_deref(), Some("3129"));
        assert_eq!(port("TPROXY --on-ip 0.0.0.0 --on-port 3129").as_deref(), Some("3129"));
        assert_eq!(port("DROP"), None);
    }
}
