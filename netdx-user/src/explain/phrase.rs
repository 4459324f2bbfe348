//! Words that all causes share. Owns: how processes, endpoints, durations and sizes are written in sentences.
//! Must not know: the terminal. Text from outside stays raw: renderers escape it.

use crate::{
    event::{Call, Discovery, Netns, Packet, Protocol, Task, Tuple},
    fact::{self, Answer},
    quantity,
    report::Endpoint,
    story::{Connection, Dropped, Facts},
    want::Want,
};
use std::{net::IpAddr, time::Duration};

/// `psql[4121]`
#[must_use]
pub fn task(t: &Task) -> String {
    format!("{}[{}]", t.comm, t.pid)
}

/// `10.0.0.5:5432`, `[::1]:80`
#[must_use]
pub fn endpoint(addr: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(addr, port).to_string()
}

/// The name that the address was given by: an answer that was seen, or a line of the hosts file.
#[must_use]
pub fn name(c: &Connection) -> Option<&str> {
    c.name.as_deref().or_else(|| super::causes::hosts_entry(c).map(|(_, name)| name))
}

/// `10.0.0.1:40000 to 10.0.0.5:5432`
#[must_use]
pub fn ends(t: Tuple) -> String {
    format!("{} to {}", endpoint(t.local, t.local_port), endpoint(t.remote, t.remote_port))
}

/// The target of a connection with its name: `db.internal (10.0.0.5:5432)`, and where network address translation sent it:
/// `10.0.0.5:80 (translated to 10.9.0.2:8080)`.
#[must_use]
pub fn target(c: &Connection) -> String {
    let dialled = c.dialled();
    let at = endpoint(dialled.ip(), dialled.port());
    let reached = c.reached();
    let to = if (reached.remote, reached.remote_port) == (dialled.ip(), dialled.port()) {
        String::new()
    } else {
        format!("translated to {}", endpoint(reached.remote, reached.remote_port))
    };
    match (name(c), to.is_empty()) {
        (Some(name), true) => format!("{name} ({at})"),
        (Some(name), false) => format!("{name} ({at}, {to})"),
        (None, true) => at,
        (None, false) => format!("{at} ({to})"),
    }
}

/// A call's name.
#[must_use]
pub fn call(call: Call) -> &'static str {
    match call {
        Call::Connect => "connect",
        Call::Bind => "bind",
        Call::Socket => "socket",
        Call::Send => "send",
        Call::Receive => "receive",
        Call::IoUringConnect => "connect (io_uring)",
        Call::Listen => "listen",
        Call::Other(_) => "the call",
    }
}

/// `0.3 ms`, `3.1 s`, `2 min 7 s`
#[must_use]
pub fn duration(d: Duration) -> String {
    quantity::duration(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// `1 SYN`, `3 SYNs`
#[must_use]
pub fn count(n: usize, one: &str) -> String {
    quantity::count(n as u64, one)
}

/// The first few of a list, and how many others there are: `a, b, c, and 2 others`.
#[must_use]
pub fn some_of(mut shown: Vec<String>, others: u64, separator: &str) -> String {
    if others > 0 {
        shown.push(format!("and {}", quantity::count(others, "other")));
    }
    shown.join(separator)
}

/// `1 byte`, `1.2 kB`: bytes for people.
#[must_use]
pub fn bytes(n: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
    let x = n as f64;
    match n {
        0..=9_999 => quantity::count(n, "byte"),
        10_000..=9_999_999 => format!("{:.1} kB", x / 1e3),
        _ => format!("{:.1} MB", x / 1e6),
    }
}

/// A namespace for a sentence: `network namespace sv`, `the network namespace of container 3f1c...`, `this network
/// namespace` when it is the connection's own.
#[must_use]
pub fn namespace(facts: &Facts, netns: Netns, own: Netns) -> String {
    if netns == own {
        return "this network namespace".into();
    }
    match facts.get(&Want::Namespace { netns }) {
        Some(Answer::Namespace(n)) => namespace_name(n),
        _ => format!("network namespace {}", netns.0),
    }
}

/// `network namespace sv`, `the host's network namespace`, `the network namespace of nginx[812]`.
#[must_use]
pub fn namespace_name(n: &fact::Namespace) -> String {
    if let Some(name) = &n.name {
        format!("network namespace {name}")
    } else if n.own {
        "the host's network namespace".into()
    } else if let Some(c) = &n.container {
        format!("the network namespace of container {c}")
    } else if let Some(p) = &n.process {
        format!("the network namespace of {}[{}]", p.comm, p.pid)
    } else {
        format!("network namespace {}", n.netns.0)
    }
}

/// What rejects by routing: `the prohibit route`, with the rule that leads to a table of its own; or `the routing rule ...` itself.
#[must_use]
pub fn rejecter(r: &fact::Route) -> String {
    match (&r.rule, &r.prefix) {
        (Some(rule), None) => format!("the routing rule `{rule}`"),
        (Some(rule), Some(_)) => format!("the {} route of table {} (the rule `{rule}` leads there)", r.kind, r.table),
        (None, _) => format!("the {} route", r.kind),
    }
}

/// Who holds a listening socket: `postgres[812]`, several of the same name as `nginx[1, 2, 3]`; `a process that can't be
/// seen` when none is known.
#[must_use]
pub fn owners(owners: &[fact::Owner]) -> String {
    match owners {
        [] => "a process that can't be seen".into(),
        [one] => format!("{}[{}]", one.comm, one.pid),
        [first, ..] => {
            let same = owners.iter().all(|o| o.comm == first.comm);
            let pids: Vec<String> = owners.iter().take(4).map(|o| o.pid.to_string()).collect();
            let more = if owners.len() > 4 { ", ..." } else { "" };
            if same {
                format!("{}[{}{more}]", first.comm, pids.join(", "))
            } else {
                owners.iter().take(4).map(|o| format!("{}[{}]", o.comm, o.pid)).collect::<Vec<_>>().join(", ") + more
            }
        }
    }
}

/// A listener: `postgres[812] listens on 127.0.0.1:5432`.
#[must_use]
pub fn listener(l: &fact::Listener) -> String {
    let verb = if l.protocol == Protocol::Udp { "receives on" } else { "listens on" };
    let note = if l.v6only && l.addr.is_unspecified() { " (IPv6 only)" } else { "" };
    format!("{} {verb} {}{note}", owners(&l.owners), endpoint(l.addr, l.port))
}

/// What to do where the only listener of a port is in another network namespace. It may be a stranger: what was meant isn't known.
#[must_use]
pub fn reach_another_namespace(who: &str) -> String {
    format!(
        "{who} is in another network namespace: if that is the one you want, connect to an address of that namespace, or \
         publish the port"
    )
}

/// For the report.
#[must_use]
pub fn listener_row(l: &fact::Listener) -> crate::report::Listener {
    let owner = l.owners.first();
    crate::report::Listener {
        addr: l.addr,
        port: l.port,
        pid: owner.map(|o| o.pid),
        comm: owner.map(|o| o.comm.clone()),
        netns: l.netns.0,
    }
}

/// What a packet is in a handshake: `SYN`, `SYN-ACK`, `RST`, `FIN`, `ACK`, `data`; UDP: `datagram`.
#[must_use]
pub fn packet(p: &Packet) -> &'static str {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    match p.tuple.map(|t| t.protocol) {
        _ if p.tuple.is_some_and(Tuple::is_of_fragment) => "fragment",
        Some(Protocol::Tcp | Protocol::Mptcp) => match p.tcp_flags {
            f if f & RST != 0 => "RST",
            f if f & (SYN | ACK) == SYN | ACK => "SYN-ACK",
            f if f & SYN != 0 => "SYN",
            f if f & FIN != 0 => "FIN",
            0 => "segment",
            _ => "ACK or data",
        },
        Some(Protocol::Udp) => "datagram",
        Some(Protocol::Icmp | Protocol::Icmpv6) => "ICMP message",
        _ => "packet",
    }
}

/// What was dropped: `SYN`, `ARP request for 10.0.0.9`, `VXLAN packet around SYN`.
#[must_use]
pub fn dropped(d: &Dropped<'_>) -> String {
    event(d.packet, d.inner, d.discovery)
}

/// The same of the parts of an event.
#[must_use]
pub fn event(outer: &Packet, inner: Option<&Packet>, what: Option<&Discovery>) -> String {
    let about = what.map_or_else(|| packet(inner.unwrap_or(outer)).to_owned(), discovery);
    if inner.is_some() { format!("{} packet around {about}", carrier(outer)) } else { about }
}

/// A tunnel's protocol, by the packet's: what has a port of its own is called by it.
#[must_use]
pub fn carrier(packet: &Packet) -> &'static str {
    match packet.tuple.map(|t| (t.protocol, t.remote_port)) {
        Some((Protocol::Udp, 4789 | 8472)) => "VXLAN",
        Some((Protocol::Udp, 6081)) => "Geneve",
        Some((Protocol::Udp, _)) => "UDP",
        Some((Protocol::Other(4 | 41), _)) => "IP-in-IP",
        Some((Protocol::Other(47), _)) => "GRE",
        _ => "tunnel",
    }
}

/// What must be let through for it not to be dropped.
#[must_use]
pub fn allowed(d: &Dropped<'_>) -> String {
    match d.inner {
        Some(_) => {
            format!("{} to {}", carrier(d.packet), d.packet.tuple.map_or("there".into(), |t| t.remote.to_string()))
        }
        None => d.discovery.map_or("this connection", how).into(),
    }
}

/// How neighbours are asked for their link addresses.
#[must_use]
pub fn how(d: &Discovery) -> &'static str {
    if d.asked.is_ipv4() { "ARP" } else { "neighbour discovery (ICMPv6)" }
}

/// A question for the link address of a neighbour, or the answer.
#[must_use]
pub fn discovery(d: &Discovery) -> String {
    let what = match (d.asks, d.asked.is_ipv4()) {
        (true, true) => "ARP request for",
        (false, true) => "ARP reply of",
        (true, false) => "neighbour solicitation for",
        (false, false) => "neighbour advertisement of",
    };
    format!("{what} {}", d.asked)
}

/// Whose packet was dropped, for a sentence: `its SYN`, `the answering SYN-ACK`, `the ARP request for 10.0.0.9`, `the VXLAN
/// packet around its SYN`.
#[must_use]
pub fn the_dropped(d: &Dropped<'_>) -> String {
    let whose = match (d.discovery, d.ours) {
        (Some(_), _) => "the",
        (None, true) => "its",
        (None, false) => "the answering",
    };
    let what = event(d.inner.unwrap_or(d.packet), None, d.discovery);
    match d.inner {
        Some(_) => format!("the {} packet around {whose} {what}", carrier(d.packet)),
        None => format!("{whose} {what}"),
    }
}

/// An ICMP error by its name in RFC 792, RFC 1812 §5.2.7 or RFC 4443.
#[must_use]
pub fn icmp(v6: bool, kind: u8, code: u8) -> String {
    let name = if v6 {
        match (kind, code) {
            (1, 0) => "no route to destination",
            (1, 1) => "administratively prohibited",
            (1, 2) => "beyond scope of source address",
            (1, 3) => "address unreachable",
            (1, 4) => "port unreachable",
            (1, 5) => "source address failed ingress/egress policy",
            (1, 6) => "reject route to destination",
            (2, _) => "packet too big",
            (3, 0) => "hop limit exceeded",
            (3, 1) => "fragment reassembly time exceeded",
            (4, _) => "parameter problem",
            _ => return format!("ICMPv6 type {kind} code {code}"),
        }
    } else {
        match (kind, code) {
            (3, 0) => "network unreachable",
            (3, 1) => "host unreachable",
            (3, 2) => "protocol unreachable",
            (3, 3) => "port unreachable",
            (3, 4) => "fragmentation needed",
            (3, 5) => "source route failed",
            (3, 6) => "destination network unknown",
            (3, 7) => "destination host unknown",
            (3, 8) => "source host isolated",
            (3, 9) => "network administratively prohibited",
            (3, 10) => "host administratively prohibited",
            (3, 11) => "network unreachable for this type of service",
            (3, 12) => "host unreachable for this type of service",
            (3, 13) => "communication administratively prohibited",
            (3, 14) => "host precedence violation",
            (3, 15) => "precedence cutoff",
            (11, 0) => "TTL exceeded in transit",
            (11, 1) => "fragment reassembly time exceeded",
            (12, _) => "parameter problem",
            _ => return format!("ICMP type {kind} code {code}"),
        }
    };
    let protocol = if v6 { "ICMPv6" } else { "ICMP" };
    format!("{protocol} {name}")
}

/// An address as an endpoint for the report.
#[must_use]
pub fn end(addr: IpAddr, port: u16) -> Option<Endpoint> {
    (!addr.is_unspecified() || port != 0).then_some(Endpoint { addr, port })
}

/// The name of a DNS type (IANA), `TYPE<n>` when it isn't known (RFC 3597 §5).
#[must_use]
pub fn dns_type(kind: u16) -> String {
    match kind {
        1 => "A".into(),
        2 => "NS".into(),
        5 => "CNAME".into(),
        6 => "SOA".into(),
        12 => "PTR".into(),
        15 => "MX".into(),
        16 => "TXT".into(),
        28 => "AAAA".into(),
        33 => "SRV".into(),
        35 => "NAPTR".into(),
        43 => "DS".into(),
        48 => "DNSKEY".into(),
        64 => "SVCB".into(),
        65 => "HTTPS".into(),
        255 => "ANY".into(),
        257 => "CAA".into(),
        n => format!("TYPE{n}"),
    }
}

/// The name of an RCODE (IANA), `RCODE<n>` when it isn't known.
#[must_use]
pub fn rcode(code: u16) -> String {
    match code {
        0 => "NOERROR".into(),
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        3 => "NXDOMAIN".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        6 => "YXDOMAIN".into(),
        7 => "YXRRSET".into(),
        8 => "NXRRSET".into(),
        9 => "NOTAUTH".into(),
        10 => "NOTZONE".into(),
        16 => "BADVERS".into(),
        n => format!("RCODE{n}"),
    }
}
