//! Whether one rule matches, in three values. Owns: nft's JSON expressions (libnftables-json(5)). Must not know: chains.

use super::{
    Action, PacketView, Scene, State, Tracking,
    extensions::{Extension, extension, handshake},
};
use crate::{event::Protocol, fact::covers};
use serde_json::Value;
use std::net::IpAddr;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The three values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    Unknown,
    Yes,
}

impl Truth {
    fn of(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }
}

/// What a rule does when it matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict<'a> {
    Continue,
    Accept,
    Drop,
    Reject(&'a Value),
    Return,
    Jump(&'a str),
    Goto(&'a str),
    /// Sent on to another address, and accepted.
    Destination(&'a Value),
    /// Given to a program of user space.
    Queue,
    /// Taken by a proxy that makes the handshake in the server's place, or dropped by it.
    Handshake,
    /// Something that isn't known: it may drop, accept or return.
    Opaque,
}

impl Verdict<'_> {
    /// Whether it can do what was done.
    pub(super) fn does(self, action: Action) -> bool {
        match (self, action) {
            (Self::Drop | Self::Reject(_) | Self::Handshake, Action::Discard) => true,
            (Self::Drop | Self::Handshake, Action::Drop) | (Self::Queue, Action::Queue) => true,
            (Self::Destination(_), Action::Forward) | (Self::Opaque, _) => true,
            (Self::Reject(how), Action::Reset) => how["type"] == "tcp reset",
            (Self::Reject(how), Action::Icmp { v6, kind, code }) => icmp(how, v6) == Some((kind, code)),
            _ => false,
        }
    }
}

/// Type and code that a reject answers with over IPv4 or IPv6 (`nft_reject_icmp_code`, `nft_reject_icmpv6_code`, Linux 6.18);
/// the default is port-unreachable.
fn icmp(how: &Value, v6: bool) -> Option<(u8, u8)> {
    let name = how["expr"].as_str().unwrap_or("port-unreachable");
    match (how["type"].as_str().unwrap_or("icmpx"), v6) {
        ("tcp reset", _) | ("icmp", true) | ("icmpv6", false) => None,
        (_, false) => Some((
            3,
            match name {
                "net-unreachable" | "no-route" => 0,
                "host-unreachable" => 1,
                "prot-unreachable" => 2,
                "port-unreachable" => 3,
                "net-prohibited" => 9,
                "host-prohibited" => 10,
                "admin-prohibited" => 13,
                _ => return None,
            },
        )),
        (_, true) => Some((
            1,
            match name {
                "no-route" => 0,
                "admin-prohibited" => 1,
                "addr-unreachable" | "host-unreachable" => 3,
                "port-unreachable" => 4,
                "policy-fail" => 5,
                "reject-route" => 6,
                _ => return None,
            },
        )),
    }
}

/// What a rule can do to the packet, and how sure it is; several for a verdict map that can't be decided.
pub(super) fn outcomes<'a>(expressions: &'a [Value], scene: &Scene<'_>) -> Vec<(Truth, Verdict<'a>)> {
    let mut truth = Truth::Yes;
    let mut nameless = false;
    for expression in expressions {
        let (name, body) =
            expression.as_object().and_then(|o| o.iter().next()).map_or(("", expression), |(n, b)| (n.as_str(), b));
        match name {
            "match" => truth = truth.min(matches(body, scene)),
            "vmap" => return mapped(body, truth, scene),
            "counter" | "dup" | "log" | "notrack" | "mangle" => {}
            "synproxy" => return handshake(truth, scene, |flags| flags & (SYN | ACK) != 0),
            "xt" if body["name"] == "SYNPROXY" => {
                return handshake(truth, scene, |flags| matches!(flags & (FIN | SYN | RST | ACK), SYN | ACK));
            }
            "xt" => match extension(body) {
                Extension::Nothing => {}
                Extension::Match => truth = truth.min(Truth::Unknown),
                Extension::Verdict(verdict) => return done(truth, verdict),
                Extension::Nameless => {
                    nameless = true;
                    truth = truth.min(Truth::Unknown);
                }
            },
            // What nft has no JSON for it writes as text: a chain without a name (`jump { ... }`), which does anything.
            _ if expression.is_string() => {
                nameless = true;
                truth = truth.min(Truth::Unknown);
            }
            name => match verdict(name, body) {
                Some(verdict) => return done(truth, verdict),
                // A rate, a quota, a set that packets fill: whether the rule goes on can't be known from here.
                None => truth = truth.min(Truth::Unknown),
            },
        }
    }
    done(truth, if nameless { Verdict::Opaque } else { Verdict::Continue })
}

pub(super) fn done(truth: Truth, verdict: Verdict<'_>) -> Vec<(Truth, Verdict<'_>)> {
    if truth == Truth::No { Vec::new() } else { vec![(truth, verdict)] }
}

/// Whether a `dnat` is for packets of this family.
pub(super) fn of_family(how: &Value, scene: &Scene<'_>) -> bool {
    let ours = if scene.packet.tuple.local.is_ipv4() { "ip" } else { "ip6" };
    how["family"].as_str().is_none_or(|family| family == ours)
}

/// Where a `dnat` sends the packet, if it names one address and port, or leaves the port as it is.
pub(super) fn destination(how: &Value, scene: &Scene<'_>) -> Option<(IpAddr, u16)> {
    let (mut address, mut port) = (chosen(&how["addr"], scene)?, chosen(&how["port"], scene)?);
    // `dnat to ip daddr . tcp dport map @services`: one map gives both.
    if let Some([first, second]) = address["concat"].as_array().map(Vec::as_slice) {
        (address, port) = (first, second);
    }
    let address = address.as_str()?.parse().ok()?;
    let port = if port.is_null() { scene.packet.tuple.remote_port } else { u16::try_from(number(port)?).ok()? };
    Some((address, port))
}

/// A value as it stands, or the one that a map has for the packet.
fn chosen<'a>(value: &'a Value, scene: &Scene<'_>) -> Option<&'a Value> {
    let Some(map) = value.get("map") else { return Some(value) };
    let key = field(&map["key"], scene);
    let elements = map["data"]["set"].as_array()?;
    elements.iter().find(|element| equal(&key, &element[0]) == Truth::Yes).map(|element| &element[1])
}

fn verdict<'a>(name: &str, body: &'a Value) -> Option<Verdict<'a>> {
    Some(match name {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "return" => Verdict::Return,
        "reject" => Verdict::Reject(body),
        "jump" => Verdict::Jump(body["target"].as_str()?),
        "goto" => Verdict::Goto(body["target"].as_str()?),
        "continue" => Verdict::Continue,
        "dnat" => Verdict::Destination(body),
        // Translation accepts the packet.
        "snat" | "masquerade" | "redirect" => Verdict::Accept,
        "queue" => Verdict::Queue,
        "fwd" | "tproxy" => Verdict::Opaque,
        _ => return None,
    })
}

/// The verdicts of a map for the packet: the one that its key has, or every one that its key may have.
fn mapped<'a>(body: &'a Value, truth: Truth, scene: &Scene<'_>) -> Vec<(Truth, Verdict<'a>)> {
    let Some(elements) = body["data"]["set"].as_array() else {
        return done(truth.min(Truth::Unknown), Verdict::Opaque);
    };
    let key = field(&body["key"], scene);
    if truth == Truth::No || matches!(key, Field::Absent) {
        return Vec::new();
    }
    let mut possible = Vec::new();
    let mut rest = None;
    for element in elements {
        let (Some(value), Some(outcome)) = (element.get(0), element.get(1).and_then(Value::as_object)) else {
            continue;
        };
        let Some(verdict) = outcome.iter().next().and_then(|(name, body)| verdict(name, body)) else { continue };
        // The catch-all element comes into play when no other does.
        if value == "*" || value["elem"]["val"] == "*" {
            rest = Some(verdict);
            continue;
        }
        match equal(&key, value) {
            Truth::Yes => return vec![(truth, verdict)],
            Truth::Unknown => possible.push((Truth::Unknown, verdict)),
            Truth::No => {}
        }
    }
    let of_rest = if possible.is_empty() { truth } else { Truth::Unknown };
    possible.extend(rest.map(|verdict| (of_rest, verdict)));
    possible
}

/// A property of the packet, as far as it is known.
enum Field<'a> {
    Number(u64),
    Address(IpAddr),
    Name(&'a str),
    /// Connection tracking has the packet in one of these states.
    States(&'a [State]),
    Flags(u8),
    Concatenation(Vec<Field<'a>>),
    /// The packet has no such property: the rule does not match, whatever it compares it with.
    Absent,
    Unknown,
}

fn matches(body: &Value, scene: &Scene<'_>) -> Truth {
    let left = field(&body["left"], scene);
    let right = &body["right"];
    match (&left, body["op"].as_str()) {
        (Field::Absent, _) => Truth::No,
        (Field::Unknown, _) => Truth::Unknown,
        (Field::Flags(flags), Some("in")) => bits(right).map_or(Truth::Unknown, |bits| Truth::of(flags & bits != 0)),
        (_, Some("==" | "in")) => equal(&left, right),
        (_, Some("!=")) => equal(&left, right).not(),
        (Field::Number(n), Some(op)) => number(right).map_or(Truth::Unknown, |right| match op {
            "<" => Truth::of(*n < right),
            ">" => Truth::of(*n > right),
            "<=" => Truth::of(*n <= right),
            ">=" => Truth::of(*n >= right),
            _ => Truth::Unknown,
        }),
        _ => Truth::Unknown,
    }
}

/// What the left side of a comparison is for this packet.
fn field<'a>(left: &Value, scene: &Scene<'a>) -> Field<'a> {
    let Some((kind, body)) = left.as_object().and_then(|o| o.iter().next()) else { return Field::Unknown };
    match kind.as_str() {
        "payload" => {
            payload(body["protocol"].as_str().unwrap_or_default(), body["field"].as_str().unwrap_or_default(), scene)
        }
        "meta" => meta(body["key"].as_str().unwrap_or_default(), scene),
        "ct" if body["key"] == "state" => seen_in(scene),
        "fib" if body["result"] == "type" => address_type(&body["flags"], scene),
        "concat" => body.as_array().map_or(Field::Unknown, |parts| {
            Field::Concatenation(parts.iter().map(|part| field(part, scene)).collect())
        }),
        "&" => match (field(&body[0], scene), number(&body[1]), bits(&body[1])) {
            (Field::Number(n), Some(mask), _) => Field::Number(n & mask),
            (Field::Flags(flags), _, Some(mask)) => Field::Flags(flags & mask),
            (Field::Absent, ..) => Field::Absent,
            _ => Field::Unknown,
        },
        _ => Field::Unknown,
    }
}

fn payload<'a>(protocol: &str, name: &str, scene: &Scene<'a>) -> Field<'a> {
    let tuple = scene.packet.tuple;
    match (protocol, scene.packet.arp) {
        ("ether", _) => return if name == "type" { meta("protocol", scene) } else { Field::Unknown },
        ("arp", Some(operation)) => {
            return match name {
                "operation" => Field::Number(operation.into()),
                "saddr ip" => Field::Address(tuple.local),
                "daddr ip" => Field::Address(tuple.remote),
                _ => Field::Unknown,
            };
        }
        ("arp", None) | ("ip" | "ip6" | "tcp" | "udp" | "th" | "icmp" | "icmpv6", Some(_)) => return Field::Absent,
        _ => {}
    }
    let transport = match protocol {
        "tcp" => tuple.protocol == Protocol::Tcp,
        "udp" => tuple.protocol == Protocol::Udp,
        "th" => matches!(tuple.protocol, Protocol::Tcp | Protocol::Udp),
        "icmp" => tuple.protocol == Protocol::Icmp,
        "icmpv6" => tuple.protocol == Protocol::Icmpv6,
        "ip" => tuple.local.is_ipv4(),
        "ip6" => tuple.local.is_ipv6(),
        _ => return Field::Unknown,
    };
    if !transport {
        return Field::Absent;
    }
    match (protocol, name) {
        ("ip" | "ip6", "saddr" | "daddr") | (_, "sport" | "dport") if scene.translated => Field::Unknown,
        ("ip" | "ip6", "saddr") => Field::Address(tuple.local),
        ("ip" | "ip6", "daddr") => Field::Address(tuple.remote),
        ("ip", "protocol") | ("ip6", "nexthdr") => protocol_number(tuple.protocol),
        ("tcp" | "udp" | "th", "sport") => Field::Number(tuple.local_port.into()),
        ("tcp" | "udp" | "th", "dport") => Field::Number(tuple.remote_port.into()),
        ("tcp", "flags") => scene.packet.tcp_flags.map_or(Field::Unknown, Field::Flags),
        ("icmp" | "icmpv6", "code") => scene.packet.icmp.map_or(Field::Unknown, |(_, code)| Field::Number(code.into())),
        ("icmp" | "icmpv6", "type") => scene.packet.icmp.map_or(Field::Unknown, |(kind, _)| Field::Number(kind.into())),
        _ => Field::Unknown,
    }
}

fn meta<'a>(key: &str, scene: &Scene<'a>) -> Field<'a> {
    // Where there is none its name is empty (`nft_meta_store_ifname`, Linux 5.10 to 6.18): it is another one than any.
    let device = |device: Option<&'a str>| device.map_or(Field::Unknown, Field::Name);
    match key {
        "protocol" if scene.packet.arp.is_some() => Field::Name("arp"),
        "l4proto" | "nfproto" if scene.packet.arp.is_some() => Field::Unknown,
        "l4proto" => protocol_number(scene.packet.tuple.protocol),
        "nfproto" => Field::Name(if scene.packet.tuple.local.is_ipv4() { "ipv4" } else { "ipv6" }),
        "protocol" => Field::Name(if scene.packet.tuple.local.is_ipv4() { "ip" } else { "ip6" }),
        "iifname" | "iif" => device(scene.packet.in_device),
        "oifname" | "oif" => device(scene.packet.out_device),
        "mark" => scene.mark.map_or(Field::Unknown, |mark| Field::Number(mark.into())),
        "skuid" => scene.packet.uid.map_or(Field::Unknown, |uid| Field::Number(uid.into())),
        _ => Field::Unknown,
    }
}

/// What routing says an address is (`nft_fib4_eval_type`, `xt_addrtype`, Linux 6.18), if the addresses of interfaces tell it.
/// `flags`: which address; a type that only one interface is asked for is another one.
fn address_type<'a>(flags: &Value, scene: &Scene<'a>) -> Field<'a> {
    let of = match flags {
        Value::Array(flags) if flags.len() == 1 => flags[0].as_str(),
        flags => flags.as_str(),
    };
    let address = match of {
        _ if scene.translated || scene.packet.arp.is_some() => return Field::Unknown,
        Some("daddr") => scene.packet.tuple.remote,
        Some("saddr") => scene.packet.tuple.local,
        _ => return Field::Unknown,
    };
    if address.is_multicast() {
        Field::Name("multicast")
    } else if address.is_loopback() || scene.packet.interfaces.iter().any(|i| i.has(address)) {
        Field::Name("local")
    } else {
        Field::Unknown
    }
}

/// The states that connection tracking can have the packet in. A SYN is never invalid in its own direction (the state table
/// `tcp_conntracks` has no sIV in that row, Linux 5.10 to 6.18), and one with a bad checksum, which is, would not be bad at
/// every retransmission. An unexpected SYN-ACK is invalid, never new; a datagram has nothing to be invalid by. Without a rule
/// that keeps something from it (`untracked`) it knows every packet of TCP and UDP.
pub(super) fn states(packet: &PacketView<'_>, untracked: bool) -> Vec<State> {
    let possible: &[State] = match (packet.tuple.protocol, packet.tcp_flags) {
        (Protocol::Tcp, Some(flags)) if flags & (SYN | RST | ACK) == SYN => &["new", "established", "related"],
        (Protocol::Tcp, Some(flags)) if flags & (SYN | ACK) == SYN | ACK => &["established", "invalid"],
        (Protocol::Udp, _) => &["new", "established", "related"],
        (Protocol::Tcp, _) => &["new", "established", "related", "invalid"],
        _ => return vec!["new", "established", "related", "invalid", "untracked"],
    };
    possible.iter().copied().chain(untracked.then_some("untracked")).collect()
}

/// The states that a chain can see it in. What was not looked at yet counts as invalid, or as untracked where a rule says so
/// (`nft_ct_get_eval`, `xt_conntrack`).
fn seen_in<'a>(scene: &Scene<'a>) -> Field<'a> {
    Field::States(match scene.tracking {
        Tracking::NotYet if scene.untracked => &["invalid", "untracked"],
        Tracking::NotYet => &["invalid"],
        Tracking::Perhaps => &["new", "established", "related", "invalid", "untracked"],
        Tracking::Done => scene.states,
    })
}

fn protocol_number<'a>(protocol: Protocol) -> Field<'a> {
    protocol.number().map_or(Field::Unknown, |number| Field::Number(number.into()))
}

/// Whether a property is what the right side says: a value, a range, a prefix, a set, a list of flags or states.
fn equal(field: &Field<'_>, right: &Value) -> Truth {
    let any = |values: &[Value]| values.iter().map(|v| equal(field, v)).max().unwrap_or(Truth::No);
    if let Some(set) = right.get("set").and_then(Value::as_array) {
        return match field {
            Field::States(possible) => in_states(possible, set),
            _ => any(set),
        };
    }
    if let Some(value) = right.get("elem").and_then(|e| e.get("val")) {
        return equal(field, value);
    }
    match (field, right) {
        (Field::Absent, _) => Truth::No,
        (Field::Unknown, _) => Truth::Unknown,
        (Field::States(possible), Value::Array(states)) => in_states(possible, states),
        (Field::States(possible), state) => in_states(possible, std::slice::from_ref(state)),
        (Field::Concatenation(parts), right) => match right["concat"].as_array() {
            Some(values) if values.len() == parts.len() => {
                parts.iter().zip(values).map(|(part, value)| equal(part, value)).min().unwrap_or(Truth::Unknown)
            }
            _ => Truth::Unknown,
        },
        (Field::Flags(flags), right) => bits(right).map_or(Truth::Unknown, |bits| Truth::of(*flags == bits)),
        (Field::Address(address), right) => within(*address, right),
        (Field::Name(name), Value::String(pattern)) if !pattern.starts_with('@') => {
            Truth::of(pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start)))
        }
        (Field::Number(n), right) => match right["range"].as_array().map(Vec::as_slice) {
            Some([low, high]) => match (number(low), number(high)) {
                (Some(low), Some(high)) => Truth::of((low..=high).contains(n)),
                _ => Truth::Unknown,
            },
            _ => number(right).map_or(Truth::Unknown, |right| Truth::of(*n == right)),
        },
        (Field::Name(_), _) => Truth::Unknown,
    }
}

fn in_states(possible: &[&str], wanted: &[Value]) -> Truth {
    if wanted.iter().any(|w| w.as_str().is_none_or(|w| w.starts_with('@'))) {
        return Truth::Unknown;
    }
    let hits = possible.iter().filter(|state| wanted.iter().any(|w| w == **state)).count();
    match hits {
        0 => Truth::No,
        n if n == possible.len() => Truth::Yes,
        _ => Truth::Unknown,
    }
}

fn within(address: IpAddr, right: &Value) -> Truth {
    let parse = |v: &Value| v.as_str().and_then(|t| t.parse::<IpAddr>().ok());
    if let Some(one) = parse(right) {
        return Truth::of(one == address);
    }
    if let (Some(network), Some(length)) = (parse(&right["prefix"]["addr"]), right["prefix"]["len"].as_u64()) {
        return u8::try_from(length).map_or(Truth::Unknown, |length| Truth::of(covers(network, length, address)));
    }
    match (parse(&right["range"][0]), parse(&right["range"][1])) {
        (Some(low), Some(high)) => Truth::of((low..=high).contains(&address)),
        _ => Truth::Unknown,
    }
}

/// A number, or one of the names that nft writes for one.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64(),
        Value::String(name) => Some(match name.as_str() {
            // Operations of ARP, types of ICMPv6 that ICMP has not under this name.
            "request" => 1,
            "reply" => 2,
            "nd-router-solicit" => 133,
            "nd-router-advert" => 134,
            "nd-neighbor-solicit" => 135,
            "nd-neighbor-advert" => 136,
            "nd-redirect" => 137,
            "icmp" => 1,
            "igmp" => 2,
            "tcp" => 6,
            "udp" => 17,
            "dccp" => 33,
            "gre" => 47,
            "esp" => 50,
            "ah" => 51,
            "icmpv6" | "ipv6-icmp" => 58,
            "sctp" => 132,
            "udplite" => 136,
            _ => return None,
        }),
        _ => None,
    }
}

/// TCP flags by name, one or several.
fn bits(value: &Value) -> Option<u8> {
    match value {
        Value::Number(n) => n.as_u64().and_then(|n| u8::try_from(n).ok()),
        Value::String(name) => Some(match name.as_str() {
            "fin" => 1,
            "syn" => 2,
            "rst" => 4,
            "psh" => 8,
            "ack" => 16,
            "urg" => 32,
            "ecn" | "ece" => 64,
            "cwr" => 128,
            _ => return None,
        }),
        Value::Array(names) => names.iter().try_fold(0, |all, name| Some(all | bits(name)?)),
        Value::Object(o) => o.get("|").and_then(bits),
        _ => None,
    }
}
