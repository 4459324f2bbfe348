//! Policy rules, as rtnetlink has them. Owns: listing them, and whether one is for a packet. Must not know: routes.

use super::{netlink, route::Query};
use crate::{fact::covers, want::Flow};
use netlink_packet_core::Parseable;
use netlink_packet_route::{
    AddressFamily, IpProtocol,
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleHeader, RuleMessage},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{collections::BTreeMap, fmt::Write, fs, io, net::IpAddr};

/// Length of `struct fib_rule_hdr`.
const HEADER: usize = 12;
/// Attributes that the netlink crate has no names for (linux/fib_rules.h, Linux 6.18).
const PAD: u16 = 18;
const SPORT_MASK: u16 = 28;
const DPORT_MASK: u16 = 29;

/// A policy rule. An option that is none asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of ip-rule(8)")]
pub struct PolicyRule {
    pub priority: u32,
    pub not: bool,
    pub from: Option<(IpAddr, u8)>,
    pub to: Option<(IpAddr, u8)>,
    pub iif: Option<String>,
    pub oif: Option<String>,
    /// Value and mask.
    pub fwmark: Option<(u32, u32)>,
    pub uidrange: Option<(u32, u32)>,
    pub tos: u8,
    pub ipproto: Option<u8>,
    pub sport: Option<(u16, u16)>,
    pub dport: Option<(u16, u16)>,
    /// Which bits of the source and of the destination port count; 0: none is named (before Linux 6.15 none is).
    pub port_masks: [u16; 2],
    /// The table of the VRF that the packet is in.
    pub l3mdev: bool,
    /// Selectors that netdx can't hold a packet against, as ip-rule(8) has them where it is known how.
    pub others: Vec<String>,
    /// A route is not taken whose interface is in that group; which those are is not known here.
    pub suppress_ifgroup: Option<u32>,
    /// There is no interface with the name of `iif`, and of `oif`.
    pub detached: [bool; 2],
    /// A route whose prefix is not longer than this is not taken.
    pub suppress_prefixlength: Option<u32>,
    pub action: PolicyAction,
}

/// What a policy rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyAction {
    /// Looks into a table.
    Table(u32),
    /// Goes on at the rule of that priority.
    Goto(u32),
    /// The same, but there is no such rule: it is passed over (FIB_RULE_UNRESOLVED).
    GotoNowhere(u32),
    /// Nothing.
    #[default]
    Nop,
    /// ENETUNREACH.
    Unreachable,
    /// EACCES.
    Prohibit,
    /// EINVAL: the packet is dropped in silence.
    Blackhole,
}

/// The rules of one family in the calling thread's namespace, in the order they are asked.
///
/// # Errors
/// The kernel's.
pub fn list(v6: bool) -> io::Result<Vec<PolicyRule>> {
    let mut request = RuleMessage::default();
    request.header.family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    netlink::list(NETLINK_ROUTE, libc::RTM_GETRULE, &request, parse)
}

fn parse(payload: &[u8]) -> Option<PolicyRule> {
    let header = RuleHeader::parse(payload).ok()?;
    let mut rule =
        PolicyRule { not: header.flags.contains(RuleFlags::Invert), tos: header.tos, ..PolicyRule::default() };
    rule.detached = [RuleFlags::IifDetached, RuleFlags::OifDetached].map(|flag| header.flags.contains(flag));
    let (mut table, mut goto, mut mark, mut mask) = (u32::from(header.table), 0, None, None);
    for attribute in netlink::attributes(payload, HEADER) {
        match RuleAttribute::parse(&attribute) {
            Ok(RuleAttribute::Source(a)) => rule.from = Some((a, header.src_len)),
            Ok(RuleAttribute::Destination(a)) => rule.to = Some((a, header.dst_len)),
            Ok(RuleAttribute::Iifname(name)) => rule.iif = Some(name),
            Ok(RuleAttribute::Oifname(name)) => rule.oif = Some(name),
            Ok(RuleAttribute::Priority(n)) => rule.priority = n,
            Ok(RuleAttribute::Goto(n)) => goto = n,
            Ok(RuleAttribute::FwMark(n)) => mark = Some(n),
            Ok(RuleAttribute::FwMask(n)) => mask = Some(n),
            Ok(RuleAttribute::Table(n)) => table = n,
            Ok(RuleAttribute::UidRange(r)) => rule.uidrange = Some((r.start, r.end)),
            Ok(RuleAttribute::IpProtocol(p)) => rule.ipproto = Some(number(p)),
            Ok(RuleAttribute::SourcePortRange(r)) => rule.sport = Some((r.start, r.end)),
            Ok(RuleAttribute::DestinationPortRange(r)) => rule.dport = Some((r.start, r.end)),
            Ok(RuleAttribute::L3MDev(l3mdev)) => rule.l3mdev = l3mdev,
            // All ones: none is suppressed.
            Ok(RuleAttribute::SuppressPrefixLen(n)) => rule.suppress_prefixlength = Some(n).filter(|n| *n != u32::MAX),
            Ok(RuleAttribute::SuppressIfGroup(n)) => rule.suppress_ifgroup = Some(n).filter(|n| *n != u32::MAX),
            Ok(RuleAttribute::Protocol(_) | RuleAttribute::Realm(_)) => {}
            Ok(RuleAttribute::TunId(n)) => rule.others.push(format!("tun_id {n}")),
            Ok(_) | Err(_) => match attribute.kind() {
                PAD => {}
                SPORT_MASK => rule.port_masks[0] = mask_of(attribute.value()),
                DPORT_MASK => rule.port_masks[1] = mask_of(attribute.value()),
                kind => rule.others.push(format!("(FRA {kind})")),
            },
        }
    }
    // The mask comes alone when it is all there is to compare: `fwmark 0/MASK`.
    rule.fwmark = (mark.is_some() || mask.is_some()).then(|| (mark.unwrap_or(0), mask.unwrap_or(u32::MAX)));
    rule.fwmark = rule.fwmark.filter(|(_, mask)| *mask != 0);
    rule.action = match header.action {
        RuleAction::ToTable => PolicyAction::Table(table),
        RuleAction::Goto if header.flags.contains(RuleFlags::Unresolved) => PolicyAction::GotoNowhere(goto),
        RuleAction::Goto => PolicyAction::Goto(goto),
        RuleAction::Unreachable => PolicyAction::Unreachable,
        RuleAction::Prohibit => PolicyAction::Prohibit,
        RuleAction::Blackhole => PolicyAction::Blackhole,
        _ => PolicyAction::Nop,
    };
    Some(rule)
}

fn mask_of(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |b| u16::from_ne_bytes(*b))
}

fn number(protocol: IpProtocol) -> u8 {
    u8::from(protocol)
}

/// A protocol's name, as ip-rule(8) has it by IANA's registry; else its number.
fn protocol(number: u8) -> String {
    let names = [(1, "icmp"), (6, "tcp"), (17, "udp"), (33, "dccp"), (58, "ipv6-icmp"), (132, "sctp")];
    names.iter().find(|(known, _)| *known == number).map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

impl PolicyRule {
    /// Whether it is for a packet that this host sends; none: that can't be told from here.
    ///
    /// `fib_rule_match` and `fib4_rule_match`, `fib6_rule_match` (Linux 5.10 to 6.18). `devices`: names of the interface that it
    /// comes in by (`lo` if this host sends it), and of the one that its socket is bound to; without a source address no
    /// source prefix matches.
    #[must_use]
    pub fn is_for(&self, query: &Query, [came_by, bound_to]: [&str; 2]) -> Option<bool> {
        let flow = query.flow;
        // `fib_rule_port_match`: a mask comes with one port only.
        let port = |wanted: Option<(u16, u16)>, mask: u16, port: fn(Flow) -> u16| {
            let fits = |(low, high): (u16, u16), port: u16| match mask {
                0 => (low..=high).contains(&port),
                mask => (low ^ port) & mask == 0,
            };
            wanted.is_none_or(|wanted| flow.is_none_or(|flow| fits(wanted, port(flow))))
        };
        let prefix = |wanted: Option<(IpAddr, u8)>, address: Option<IpAddr>| {
            wanted.is_none_or(|(network, length)| length == 0 || address.is_some_and(|a| covers(network, length, a)))
        };
        let sure = prefix(self.to, Some(query.to))
            && prefix(self.from, query.from)
            && self.iif.as_deref().is_none_or(|name| name == came_by)
            && self.oif.as_deref().is_none_or(|name| query.device != 0 && name == bound_to)
            && self.fwmark.is_none_or(|(value, mask)| query.mark & mask == value & mask)
            && self.uidrange.is_none_or(|(low, high)| (low..=high).contains(&query.uid))
            && self.tos == 0
            && self.ipproto.is_none_or(|wanted| flow.is_none_or(|flow| flow.protocol.number() == Some(wanted)))
            && port(self.sport, self.port_masks[0], |flow| flow.source_port)
            && port(self.dport, self.port_masks[1], |flow| flow.destination_port)
            && !(self.l3mdev && query.device == 0);
        let unsure = (self.asks_for_flow() && flow.is_none())
            || !self.others.is_empty()
            || self.suppress_ifgroup.is_some()
            || self.l3mdev;
        match (sure, unsure) {
            (true, true) => None,
            (matches, _) => Some(matches != self.not),
        }
    }

    /// Whether it asks for the protocol or the ports of a packet.
    #[must_use]
    pub fn asks_for_flow(&self) -> bool {
        self.ipproto.is_some() || self.sport.is_some() || self.dport.is_some()
    }

    /// Whether it is one of the three that every namespace begins with.
    #[must_use]
    pub fn is_default(&self) -> bool {
        let begins = |priority, table| Self { priority, action: PolicyAction::Table(table), ..Self::default() };
        let plain = Self {
            from: self.from.filter(|(_, length)| *length > 0),
            to: self.to.filter(|(_, l)| *l > 0),
            ..self.clone()
        };
        [begins(0, 255), begins(32766, 254), begins(32767, 253)].contains(&plain)
    }

    /// The rule as `ip rule` prints it.
    #[must_use]
    pub fn text(&self, tables: &Tables) -> String {
        let prefix = |p: Option<(IpAddr, u8)>| match p {
            None => "all".to_string(),
            Some((a, length)) if length == if a.is_ipv4() { 32 } else { 128 } => a.to_string(),
            Some((a, length)) => format!("{a}/{length}"),
        };
        let mut text = format!("{}:{} from {}", self.priority, if self.not { " not" } else { "" }, prefix(self.from));
        let range = |(low, high): (u32, u32)| if low == high { low.to_string() } else { format!("{low}-{high}") };
        let named = |device: &Option<String>, detached: bool| {
            device.as_ref().map(|name| if detached { format!("{name} [detached]") } else { name.clone() })
        };
        let ports = |p: Option<(u16, u16)>, mask: u16| {
            let mask = if mask == 0 || mask == u16::MAX { String::new() } else { format!("/{mask:#x}") };
            p.map(|(low, high)| range((low.into(), high.into())) + &mask)
        };
        let words = [
            ("to", self.to.map(|to| prefix(Some(to)))),
            ("tos", Some(self.tos).filter(|t| *t != 0).map(|t| format!("{t:#x}"))),
            (
                "fwmark",
                self.fwmark
                    .map(|(v, mask)| if mask == u32::MAX { format!("{v:#x}") } else { format!("{v:#x}/{mask:#x}") }),
            ),
            ("iif", named(&self.iif, self.detached[0])),
            ("oif", named(&self.oif, self.detached[1])),
            ("uidrange", self.uidrange.map(|(low, high)| format!("{low}-{high}"))),
            ("ipproto", self.ipproto.map(protocol)),
            ("sport", ports(self.sport, self.port_masks[0])),
            ("dport", ports(self.dport, self.port_masks[1])),
        ];
        for (word, value) in words {
            if let Some(value) = value {
                // Writing to a string does not fail.
                let _ = write!(text, " {word} {value}");
            }
        }
        for word in &self.others {
            let _ = write!(text, " {word}");
        }
        text += &match self.action {
            PolicyAction::Table(_) if self.l3mdev => " lookup [l3mdev-table]".to_string(),
            PolicyAction::Table(table) => format!(" lookup {}", tables.name(table)),
            PolicyAction::Goto(priority) => format!(" goto {priority}"),
            PolicyAction::GotoNowhere(priority) => format!(" goto {priority} [unresolved]"),
            PolicyAction::Nop => " nop".to_string(),
            PolicyAction::Unreachable => " unreachable".to_string(),
            PolicyAction::Prohibit => " prohibit".to_string(),
            PolicyAction::Blackhole => " blackhole".to_string(),
        };
        if let Some(length) = self.suppress_prefixlength {
            let _ = write!(text, " suppress_prefixlength {length}");
        }
        if let Some(group) = self.suppress_ifgroup {
            let _ = write!(text, " suppress_ifgroup {group}");
        }
        text
    }
}

/// Names of routing tables, as iproute2 has them configured.
#[derive(Clone, Debug)]
pub struct Tables(BTreeMap<u32, String>);

impl Tables {
    /// Reads iproute2's files. What they lack has a number for a name.
    #[must_use]
    pub fn read() -> Self {
        let mut files: Vec<_> = ["/usr/share/iproute2", "/etc/iproute2"]
            .iter()
            .flat_map(|folder| {
                let more =
                    fs::read_dir(format!("{folder}/rt_tables.d")).into_iter().flatten().flatten().map(|e| e.path());
                [format!("{folder}/rt_tables").into()].into_iter().chain(more).collect::<Vec<std::path::PathBuf>>()
            })
            .collect();
        files.retain(|f| f.extension().is_none_or(|e| e == "conf"));
        Self::parse(files.iter().filter_map(|f| fs::read_to_string(f).ok()).collect::<String>().as_str())
    }

    fn parse(text: &str) -> Self {
        let builtin = [(255, "local"), (254, "main"), (253, "default")].map(|(n, name)| (n, name.to_string()));
        let parse = |line: &str| {
            let mut words = line.split('#').next()?.split_whitespace();
            let number = words.next()?;
            let number = number
                .strip_prefix("0x")
                .map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())?;
            Some((number, words.next()?.to_string()))
        };
        Self(builtin.into_iter().chain(text.lines().filter_map(parse)).collect())
    }

    /// A table's name, or its number.
    #[must_use]
    pub fn name(&self, table: u32) -> String {
        self.0.get(&table).cloned().unwrap_or_else(|| table.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Protocol;

    fn query() -> Query {
        Query { to: "10.9.0.1".parse().unwrap(), from: None, device: 0, mark: 0x11, uid: 1000, flow: None }
    }

    #[test]
    fn rules_are_for_a_packet_or_not() {
        let net = |text: &str, length| Some((text.parse().unwrap(), length));
        let plain = PolicyRule::default();
        let table = [
            (plain.clone(), Some(true)),
            (PolicyRule { to: net("10.9.0.0", 16), ..plain.clone() }, Some(true)),
            (PolicyRule { to: net("10.9.0.0", 16), not: true, ..plain.clone() }, Some(false)),
            (PolicyRule { to: net("10.8.0.0", 16), ..plain.clone() }, Some(false)),
            (PolicyRule { to: net("0.0.0.0", 0), ..plain.clone() }, Some(true)),
            (PolicyRule { from: net("10.0.0.0", 8), ..plain.clone() }, Some(false)),
            (PolicyRule { iif: Some("lo".into()), ..plain.clone() }, Some(true)),
            (PolicyRule { iif: Some("eth0".into()), ..plain.clone() }, Some(false)),
            (PolicyRule { oif: Some("eth0".into()), ..plain.clone() }, Some(false)),
            (PolicyRule { fwmark: Some((1, 0xf)), ..plain.clone() }, Some(true)),
            (PolicyRule { fwmark: Some((1, u32::MAX)), ..plain.clone() }, Some(false)),
            (PolicyRule { uidrange: Some((0, 999)), ..plain.clone() }, Some(false)),
            (PolicyRule { dport: Some((80, 80)), ..plain.clone() }, None),
            (PolicyRule { dport: Some((80, 80)), uidrange: Some((0, 1)), ..plain.clone() }, Some(false)),
            (PolicyRule { l3mdev: true, ..plain.clone() }, Some(false)),
        ];
        for (rule, expected) in table {
            assert_eq!(rule.is_for(&query(), ["lo", "eth0"]), expected, "{rule:?}");
        }
        let bound = Query { device: 2, from: Some("10.0.0.1".parse().unwrap()), ..query() };
        assert_eq!(PolicyRule { oif: Some("eth0".into()), ..plain.clone() }.is_for(&bound, ["lo", "eth0"]), Some(true));
        assert_eq!(PolicyRule { from: net("10.0.0.0", 8), ..plain.clone() }.is_for(&bound, ["lo", "eth0"]), Some(true));
        let flow = Flow { in_device: 3, protocol: Protocol::Tcp, source_port: 40_000, destination_port: 80 };
        let passes = Query { flow: Some(flow), ..query() };
        let table = [
            (PolicyRule { iif: Some("eth1".into()), ipproto: Some(6), ..plain.clone() }, true),
            (PolicyRule { iif: Some("lo".into()), ..plain.clone() }, false),
            (PolicyRule { ipproto: Some(17), ..plain.clone() }, false),
            (PolicyRule { dport: Some((80, 90)), ..plain.clone() }, true),
            (PolicyRule { dport: Some((80, 80)), port_masks: [0, u16::MAX], ..plain.clone() }, true),
            (PolicyRule { dport: Some((81, 81)), port_masks: [0, u16::MAX], ..plain.clone() }, false),
            (PolicyRule { dport: Some((81, 81)), port_masks: [0, 0xfff0], ..plain.clone() }, true),
            (PolicyRule { dport: Some((81, 90)), ..plain.clone() }, false),
            (PolicyRule { sport: Some((1, 1023)), not: true, ..plain }, true),
        ];
        for (rule, expected) in table {
            assert_eq!(rule.is_for(&passes, ["eth1", ""]), Some(expected), "{rule:?}");
        }
    }

    #[test]
    fn a_rule_is_written_with_what_tells_it_from_others() {
        let tables = Tables::parse("");
        let text = |rule: PolicyRule| rule.text(&tables);
        let gone = PolicyRule { iif: Some("eth9".into()), detached: [true, false], ..PolicyRule::default() };
        assert_eq!(text(gone), "0: from all iif eth9 [detached] nop");
        let nowhere = PolicyRule { action: PolicyAction::GotoNowhere(9), ..PolicyRule::default() };
        assert_eq!(text(nowhere), "0: from all goto 9 [unresolved]");
        let web = PolicyRule {
            ipproto: Some(6),
            dport: Some((80, 90)),
            others: vec!["tun_id 7".into()],
            suppress_ifgroup: Some(5),
            action: PolicyAction::Table(254),
            ..PolicyRule::default()
        };
        assert_eq!(web.is_for(&query(), ["lo", ""]), None);
        assert_eq!(text(web), "0: from all ipproto tcp dport 80-90 tun_id 7 lookup main suppress_ifgroup 5");
    }

    #[test]
    fn tables_have_names() {
        let tables = Tables::parse("# comment\n255 local\n100 vpn # x\n0x65\thex\nbad\n7\n");
        assert_eq!([255, 254, 100, 101, 7].map(|n| tables.name(n)), ["local", "main", "vpn", "hex", "7"]);
    }
}
