//! Which firewall rule did it. Owns: walking a [`Ruleset`] with a packet that is known to have been dropped or rejected.
//! Must not know: where rules come from, or what a verdict is.
//!
//! The kernel says that netfilter dropped a packet and at which hook, not which rule did. A rule is a culprit when it does
//! what was done and nothing before it is sure to have taken the packet away. One culprit: it was that one, since one of
//! them did it. What can't be decided from here (rates, sets filled by packets, connection tracking) counts as possible.

mod effects;
mod extensions;
mod matching;

use crate::{
    event::{Hook, Tuple},
    fact::{Chain, Interface, Rule, Ruleset},
};
use matching::{Truth, Verdict};
use serde_json::Value;
use std::{cmp::Ordering, net::IpAddr};

/// What is known of the packet.
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'a> {
    /// Endpoints as they were when it was dropped; local is the source.
    pub tuple: Tuple,
    /// TCP flags (FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128).
    pub tcp_flags: Option<u8>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// Operation, if it is a packet of ARP: its endpoints are the sender's and the target's address.
    pub arp: Option<u8>,
    /// Mark.
    pub mark: Option<u32>,
    /// Interface it came in by; empty: it was made here; none: not known.
    pub in_device: Option<&'a str>,
    /// Interface it was to leave by; empty: it was delivered here; none: not known.
    pub out_device: Option<&'a str>,
    /// User id of the socket that sent it.
    pub uid: Option<u32>,
    /// The interfaces of the namespace, with their addresses; empty: not known.
    pub interfaces: &'a [Interface],
    /// A frame on its way through a bridge, whose rules are of their own; rules for packets are not asked.
    pub bridged: bool,
    /// What dropped it, if that is known: `nft_do_chain` runs nftables and iptables-nft, `nf_hook_slow` the old iptables.
    pub engine: Option<Engine>,
}

/// The two implementations of rules in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// nftables, and iptables on top of it.
    Nftables,
    /// ip_tables and ip6_tables.
    Legacy,
}

/// What was done to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Dropped without an answer.
    Drop,
    /// Answered with a TCP reset.
    Reset,
    /// Answered with this ICMP message.
    Icmp {
        /// ICMPv6 numbers, not ICMP ones.
        v6: bool,
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Dropped or answered: it isn't known which.
    Discard,
    /// Given to a queue for a program, and dropped there.
    Queue,
    /// Sent on to another address.
    Forward,
}

/// A rule, or a chain's policy, as it is shown to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// ip, ip6, inet, netdev, bridge; `iptables` or `ip6tables` for the old tables.
    pub family: String,
    /// Table.
    pub table: String,
    /// The chain the rule stands in.
    pub chain: String,
    /// The hook it was reached from.
    pub hook: String,
    /// Its text; for a policy `policy drop`.
    pub text: String,
    /// Its handle; none: it is a policy.
    pub handle: Option<u64>,
    /// Where it sends the packet, if it gives it another destination and says which.
    pub to: Option<(IpAddr, u16)>,
}

/// What can have done it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Culprits {
    /// Only this can.
    Exact(RuleRef),
    /// Each of these can, in the order the kernel asks them.
    Possible(Vec<RuleRef>),
    /// Nothing in these rules: they have changed since, or something else did it.
    None,
}

/// `NFT_JUMP_STACK_SIZE` (Linux 5.10 to 6.18).
const DEPTH: usize = 16;
/// Rules looked at before giving up; a chain can be reached from many places.
const STEPS: usize = 200_000;

/// Name of a hook in rules.
#[must_use]
pub fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "prerouting",
        Hook::Input => "input",
        Hook::Forward => "forward",
        Hook::Output => "output",
        Hook::Postrouting => "postrouting",
        Hook::Ingress => "ingress",
        Hook::Egress => "egress",
    }
}

/// The rules and policies at a hook that can have done this to this packet.
#[must_use]
pub fn culprits(ruleset: &Ruleset, hook: Hook, packet: &PacketView<'_>, action: Action) -> Culprits {
    let name = hook_name(hook);
    let mut bases: Vec<&Chain> = ruleset.chains.iter().filter(|c| c.hook.as_deref() == Some(name)).collect();
    bases.retain(|chain| sees(chain, hook, packet));
    bases.sort_by_key(|chain| chain.priority);
    let some_rule = |does: fn(&Value) -> bool| all_rules(ruleset).any(|rule| rule.expr.iter().any(does));
    let untracked = some_rule(effects::untracks);
    // A mark that rules set on the way is not the one that earlier rules saw; nor are addresses that they rewrite.
    let mark = packet.mark.filter(|_| !some_rule(effects::sets_mark));
    let rewritten = bases.iter().any(|base| base_does(ruleset, base, effects::rewrites));
    let walk = |states| {
        let mut walk = Walk {
            ruleset,
            action,
            hook: name,
            scene: Scene { packet: *packet, mark, translated: false, tracking: Tracking::Done, states, untracked },
            accepts: false,
            found: Vec::new(),
            steps: 0,
        };
        for turn in bases.chunk_by(|one, next| one.priority == next.priority) {
            let later = |base: &&Chain| {
                bases.iter().any(|b| b.priority >= base.priority && !std::ptr::eq(*b, *base) && translates(ruleset, b))
            };
            let mut passes = true;
            // Of one table the chain that was made last is asked first (`nf_hook_entries_grow`, Linux 5.10 to 6.18). Which table
            // is, they don't tell: a packet that one of them takes may have been taken by another before.
            for table in turn.chunk_by(|one, next| (&one.family, &one.table) == (&next.family, &next.table)) {
                passes &= table.iter().rev().all(|base| {
                    walk.scene.translated = rewritten || later(base);
                    walk.scene.tracking = Tracking::at(hook, base, packet);
                    walk.base(base)
                });
            }
            if !passes {
                break;
            }
        }
        (walk.found, walk.steps)
    };
    let states = matching::states(packet, untracked);
    let (all, steps) = walk(&states);
    let mut found: Vec<RuleRef> = Vec::new();
    for culprit in all {
        if !found.contains(&culprit) {
            found.push(culprit);
        }
    }
    if found.len() > 1 && steps < STEPS {
        // Whichever state connection tracking has it in, it is the same for all rules of the hook.
        let by_state: Vec<RuleRef> = states.iter().flat_map(|state| walk(std::slice::from_ref(state)).0).collect();
        found.retain(|culprit| by_state.contains(culprit));
    }
    // What could not be listed is all of the old iptables; a drop by nftables is not among it.
    let complete = ruleset.missing.is_empty() || packet.engine == Some(Engine::Nftables);
    match found.len() {
        0 => Culprits::None,
        1 if steps < STEPS && complete => Culprits::Exact(found.remove(0)),
        _ => Culprits::Possible(found),
    }
}

/// Whether a chain is asked about the packet at all.
fn sees(chain: &Chain, hook: Hook, packet: &PacketView<'_>) -> bool {
    let (family, engine) = match chain.family.as_str() {
        // Frames of a bridge pass hooks of their own, of the same names.
        "bridge" => (packet.bridged, Engine::Nftables),
        _ if packet.bridged => return false,
        "arp" => (packet.arp.is_some(), Engine::Nftables),
        "netdev" => (true, Engine::Nftables),
        _ if packet.arp.is_some() => return false,
        "ip" => (packet.tuple.local.is_ipv4(), Engine::Nftables),
        "ip6" => (packet.tuple.local.is_ipv6(), Engine::Nftables),
        "inet" => (true, Engine::Nftables),
        "iptables" => (packet.tuple.local.is_ipv4(), Engine::Legacy),
        "ip6tables" => (packet.tuple.local.is_ipv6(), Engine::Legacy),
        _ => return false,
    };
    let device = if hook == Hook::Egress { packet.out_device } else { packet.in_device };
    let on_device = match (&chain.device, device) {
        (Some(devices), Some(device)) => devices.split(',').any(|d| d == device),
        _ => true,
    };
    family && on_device && packet.engine.is_none_or(|e| e == engine)
}

fn all_rules(ruleset: &Ruleset) -> impl Iterator<Item = &Rule> {
    ruleset.chains.iter().flat_map(|c| &c.rules)
}

/// Whether rules at a hook can set the packet's mark.
#[must_use]
pub fn marks(ruleset: &Ruleset, hook: Hook) -> bool {
    let mut bases = ruleset.chains.iter().filter(|c| c.hook.as_deref() == Some(hook_name(hook)));
    bases.any(|base| base_does(ruleset, base, effects::sets_mark))
}

/// Whether a rule sends copies of packets elsewhere.
#[must_use]
pub fn copies(ruleset: &Ruleset) -> bool {
    all_rules(ruleset).any(|rule| rule.expr.iter().any(effects::copies))
}

/// Whether a nat chain, or one that it can jump to, rewrites addresses: what chains before it saw was another tuple.
fn translates(ruleset: &Ruleset, base: &Chain) -> bool {
    base.kind == "nat" && base_does(ruleset, base, effects::translates)
}

/// Whether a rule of a base chain does this, or one of a chain that it can jump to.
fn base_does(ruleset: &Ruleset, base: &Chain, does: fn(&Value) -> bool) -> bool {
    let of_its_table = |c: &&Chain| c.family == base.family && c.table == base.table && c.hook.is_none();
    let below = ruleset.chains.iter().filter(of_its_table);
    below.chain([base]).flat_map(|c| &c.rules).any(|rule| rule.expr.iter().any(does))
}

/// How a packet leaves a chain, as far as it is sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Perhaps at its end, or by `return`.
    Through,
    /// By `accept`: the next chain of the hook is asked.
    Accepted,
    /// Dropped, rejected or stolen.
    Taken,
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    action: Action,
    hook: &'a str,
    scene: Scene<'a>,
    /// A rule of this base chain may have accepted the packet.
    accepts: bool,
    found: Vec<RuleRef>,
    steps: usize,
}

impl<'a> Walk<'a> {
    /// Asks a base chain; says whether the packet can have come to the next one.
    fn base(&mut self, base: &'a Chain) -> bool {
        // A nat chain is asked only for the first packet of a connection.
        self.accepts = base.kind == "nat";
        let end = self.chain(base, DEPTH);
        let dropped = end == End::Through && base.policy.as_deref() == Some("drop");
        if dropped && matches!(self.action, Action::Drop | Action::Discard) {
            let text = "policy drop".to_string();
            self.found.push(self.name(base, text, None));
        }
        self.accepts || !(dropped || end == End::Taken)
    }

    fn chain(&mut self, chain: &'a Chain, depth: usize) -> End {
        // A rule before may have left the chain: how it ends is not sure from there on.
        let mut left = false;
        for rule in &chain.rules {
            self.steps += 1;
            if self.steps >= STEPS {
                break;
            }
            for (truth, verdict) in matching::outcomes(&rule.expr, &self.scene) {
                let end = match verdict {
                    _ if truth == Truth::No => None,
                    // `dnat ip to` in a table of both families asks for the family without listing it.
                    Verdict::Destination(how) if !matching::of_family(how, &self.scene) => None,
                    Verdict::Continue => None,
                    Verdict::Return => Some(End::Through),
                    Verdict::Accept => Some(End::Accepted),
                    Verdict::Destination(how) => {
                        if verdict.does(self.action) {
                            let to = matching::destination(how, &self.scene);
                            self.found.push(RuleRef { to, ..self.name(chain, rule.text.clone(), Some(rule.handle)) });
                        }
                        Some(End::Accepted)
                    }
                    Verdict::Jump(target) => match self.target(chain, target, depth) {
                        End::Through => None,
                        end => Some(end),
                    },
                    Verdict::Goto(target) => Some(self.target(chain, target, depth)),
                    Verdict::Drop | Verdict::Reject(_) | Verdict::Queue | Verdict::Handshake | Verdict::Opaque => {
                        if verdict.does(self.action) && self.fits_in_the_end(rule, verdict) {
                            self.found.push(self.name(chain, rule.text.clone(), Some(rule.handle)));
                        }
                        match verdict {
                            Verdict::Opaque => {
                                (self.accepts, left) = (true, true);
                                None
                            }
                            // What the program lets pass goes on with the next chain (nfqnl_reinject, 6.18).
                            Verdict::Queue => Some(End::Accepted),
                            _ => Some(End::Taken),
                        }
                    }
                };
                match (truth, end) {
                    (Truth::Yes, Some(end)) if !left => return end,
                    (Truth::Yes | Truth::Unknown, Some(end)) => {
                        self.accepts |= end == End::Accepted;
                        if truth == Truth::Yes {
                            return End::Through;
                        }
                        left |= end == End::Through;
                    }
                    _ => {}
                }
            }
        }
        End::Through
    }

    /// Whether a rule that took the packet away can have: the mark and the addresses that it had then are those that it had in the
    /// end, whatever earlier rules saw.
    fn fits_in_the_end(&self, rule: &Rule, verdict: Verdict<'_>) -> bool {
        let then = Scene { mark: self.scene.packet.mark, translated: false, ..self.scene };
        rule.expr.iter().any(|e| effects::sets_mark(e) || effects::rewrites(e))
            || matching::outcomes(&rule.expr, &then).iter().any(|(_, possible)| *possible == verdict)
    }

    fn target(&mut self, from: &Chain, name: &str, depth: usize) -> End {
        let chains = &self.ruleset.chains;
        let found = chains.iter().find(|c| c.family == from.family && c.table == from.table && c.name == name);
        match (found, depth.checked_sub(1)) {
            (Some(chain), Some(depth)) => self.chain(chain, depth),
            _ => End::Through,
        }
    }

    fn name(&self, chain: &Chain, text: String, handle: Option<u64>) -> RuleRef {
        RuleRef {
            family: chain.family.clone(),
            table: chain.table.clone(),
            chain: chain.name.clone(),
            hook: self.hook.to_string(),
            text,
            handle,
            to: None,
        }
    }
}

/// A state of connection tracking, as nft writes it.
type State = &'static str;

/// Whether connection tracking has looked at the packet when a chain is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tracking {
    /// It comes later at this hook, or never.
    NotYet,
    Done,
    /// Another hook may have been first: what loops back was sent before.
    Perhaps,
}

impl Tracking {
    /// `NF_IP_PRI_CONNTRACK` (include/uapi/linux/netfilter_ipv4.h): of two with this priority either may come first.
    fn at(hook: Hook, chain: &Chain, packet: &PacketView<'_>) -> Self {
        const CONNTRACK: i32 = -200;
        match (hook, chain.priority.cmp(&CONNTRACK)) {
            _ if packet.bridged => Self::Perhaps,
            (Hook::Ingress, _) | (Hook::Prerouting, Ordering::Less) if packet.in_device == Some("lo") => Self::Perhaps,
            (Hook::Ingress, _) | (Hook::Prerouting | Hook::Output, Ordering::Less) => Self::NotYet,
            (Hook::Prerouting | Hook::Output, Ordering::Equal) => Self::Perhaps,
            _ => Self::Done,
        }
    }
}

/// What rules are asked about.
#[derive(Clone, Copy, Debug)]
struct Scene<'a> {
    packet: PacketView<'a>,
    mark: Option<u32>,
    /// Address translation comes later at this hook, or rules rewrite them: the addresses and ports that this chain saw may have
    /// been others.
    translated: bool,
    tracking: Tracking,
    /// The states that connection tracking can have the packet in.
    states: &'a [State],
    /// A rule keeps something from it.
    untracked: bool,
}

#[cfg(test)]
mod tests;
