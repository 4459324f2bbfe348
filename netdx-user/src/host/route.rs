//! Routes, as rtnetlink has them. Owns: asking the kernel where a packet would go. Must not know: namespaces, processes.
//!
//! The kernel itself decides (`inet_rtm_getroute`, `inet6_rtm_getroute`): once for the route it would use, once for the
//! table entry that matched (RTM_F_FIB_MATCH).

use super::{interface, netlink};
use crate::fact::Route;
use netlink_packet_core::ParseableParametrized;
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteMessage, RouteMetric,
        RouteNextHopFlags, RouteType, RouteVia,
    },
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
};

/// Length of `struct rtmsg`.
const HEADER: usize = 12;

/// What the lookup depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Destination.
    pub to: IpAddr,
    /// Source address, if the socket has one.
    pub from: Option<IpAddr>,
    /// Interface that the socket is bound to, 0: none.
    pub device: u32,
    /// SO_MARK.
    pub mark: u32,
    /// Effective user id.
    pub uid: u32,
}

/// A route of a table, or the kernel's answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Table.
    pub table: u32,
    /// Type (RTN_*).
    pub kind: RouteType,
    /// Destination; none: all.
    pub to: Option<IpAddr>,
    /// Length of the destination's prefix.
    pub length: u8,
    /// Source prefix that it is for; IPv6 only.
    pub from: Option<(IpAddr, u8)>,
    /// RTA_PREFSRC.
    pub source: Option<IpAddr>,
    /// Metric.
    pub priority: u32,
    /// Type of service that it is for, 0: any.
    pub tos: u8,
    /// MTU it sets, 0: none.
    pub mtu: u32,
    /// Ways on; more than one: multipath; empty: none (a route that rejects).
    pub hops: Vec<Hop>,
}

/// A way on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Interface index, 0: none.
    pub device: u32,
    /// Gateway.
    pub gateway: Option<IpAddr>,
    /// RTNH_F_DEAD: its interface is down.
    pub dead: bool,
    /// RTNH_F_LINKDOWN: its interface has no carrier.
    pub linkdown: bool,
}

/// Asks for the route of a packet, in the calling thread's namespace.
///
/// # Errors
/// The kernel could not be asked; a lookup that fails is an answer.
pub fn lookup(query: &Query) -> io::Result<Route> {
    let mut route = Route::default();
    match get(query, RouteFlags::LookupTable)? {
        Ok(used) => {
            let hop = used.hops.first().copied().unwrap_or_default();
            route.kind = kind_name(used.kind);
            route.table = table_name(used.table);
            route.device = hop.device;
            route.device_name = interface::name(hop.device).unwrap_or_default();
            route.gateway = hop.gateway;
            route.source = used.source;
            route.mtu = used.mtu;
            if let Ok(matched) = get(query, RouteFlags::LookupTable | RouteFlags::FibMatch)? {
                route.prefix = Some(matched.prefix());
                // Without policy rules local and main are one trie, which calls itself main (`fib_trie_unmerge`).
                let merged = used.kind == RouteType::Local && matched.table == 254;
                route.table = table_name(if merged { 255 } else { matched.table });
            }
            route.text = text(query, &route);
        }
        Err(errno) => route.errno = errno,
    }
    route.has_default = has_default(query.to.is_ipv6(), 254)?;
    Ok(route)
}

/// Whether an address is local to the calling thread's namespace: a packet to it would be delivered there.
///
/// # Errors
/// The kernel could not be asked.
pub fn is_local(address: IpAddr) -> io::Result<bool> {
    let query = Query { to: address, from: None, device: 0, mark: 0, uid: 0 };
    Ok(get(&query, RouteFlags::empty())?.is_ok_and(|r| r.kind == RouteType::Local))
}

/// One lookup: the route, or the positive errno that connect(2) would get.
fn get(query: &Query, flags: RouteFlags) -> io::Result<Result<Entry, i32>> {
    let mut message = RouteMessage::default();
    let (family, length) = family(query.to.is_ipv6());
    message.header.address_family = family;
    message.header.destination_prefix_length = length;
    message.header.flags = flags;
    message.attributes = vec![
        RouteAttribute::Destination(query.to.into()),
        RouteAttribute::Uid(query.uid),
        RouteAttribute::Mark(query.mark),
    ];
    if let Some(from) = query.from.filter(|f| f.is_ipv6() == query.to.is_ipv6() && !f.is_unspecified()) {
        message.header.source_prefix_length = length;
        message.attributes.push(RouteAttribute::Source(from.into()));
    }
    if query.device != 0 {
        message.attributes.push(RouteAttribute::Oif(query.device));
    }
    let mut found = None;
    let result = netlink::request(NETLINK_ROUTE, libc::RTM_GETROUTE, 0, &message, |_, payload| {
        found = parse(payload);
        ControlFlow::Break(())
    });
    match (result, found) {
        (Ok(()), Some(entry)) => Ok(Ok(entry)),
        (Ok(()), None) => Err(io::ErrorKind::InvalidData.into()),
        (Err(e), _) => match e.raw_os_error() {
            Some(errno) if is_lookup(errno) => Ok(Err(errno)),
            _ => Err(e),
        },
    }
}

/// Errors that a lookup gives, as against those of asking for it.
fn is_lookup(errno: i32) -> bool {
    [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::EACCES,
        libc::EINVAL,
        libc::ENODEV,
        libc::ENETDOWN,
        libc::EADDRNOTAVAIL,
    ]
    .contains(&errno)
}

fn family(v6: bool) -> (AddressFamily, u8) {
    if v6 { (AddressFamily::Inet6, 128) } else { (AddressFamily::Inet, 32) }
}

fn has_default(v6: bool, table: u32) -> io::Result<bool> {
    let mut found = false;
    each(v6, |entry| {
        found = entry.table == table && entry.length == 0 && !matches!(entry.kind, RouteType::Unreachable);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// Hands out the routes of one family, table after table, until `each` breaks.
///
/// # Errors
/// The kernel's.
pub fn each(v6: bool, mut each: impl FnMut(Entry) -> ControlFlow<()>) -> io::Result<()> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(v6).0;
    let result = netlink::request(
        NETLINK_ROUTE,
        libc::RTM_GETROUTE,
        libc::NLM_F_DUMP as u16,
        &message,
        |_, payload| match parse(payload) {
            Some(entry) => each(entry),
            None => ControlFlow::Continue(()),
        },
    );
    match result {
        // Tables change; a route that was missed was added or removed meanwhile.
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}

fn parse(payload: &[u8]) -> Option<Entry> {
    let header = RouteHeader::parse(payload).ok()?;
    let v6 = header.address_family == AddressFamily::Inet6;
    let mut entry = Entry {
        table: header.table.into(),
        kind: header.kind,
        to: None,
        length: header.destination_prefix_length,
        from: None,
        source: None,
        priority: 0,
        tos: header.tos,
        mtu: 0,
        hops: Vec::new(),
    };
    let mut single = Hop {
        dead: header.flags.contains(RouteFlags::Dead),
        linkdown: header.flags.contains(RouteFlags::Linkdown),
        ..Hop::default()
    };
    for attribute in netlink::attributes(payload, HEADER) {
        let parameters = (header.address_family, header.kind, RouteLwEnCapType::None);
        match RouteAttribute::parse_with_param(&attribute, parameters) {
            Ok(RouteAttribute::Destination(to)) => entry.to = address(&to),
            Ok(RouteAttribute::Source(from)) => entry.from = address(&from).map(|a| (a, header.source_prefix_length)),
            Ok(RouteAttribute::PrefSource(source)) => entry.source = address(&source),
            Ok(RouteAttribute::Gateway(gateway)) => single.gateway = address(&gateway),
            Ok(RouteAttribute::Via(via)) => single.gateway = via_address(&via),
            Ok(RouteAttribute::Oif(device)) => single.device = device,
            Ok(RouteAttribute::Table(table)) => entry.table = table,
            Ok(RouteAttribute::Priority(priority)) => entry.priority = priority,
            Ok(RouteAttribute::Metrics(metrics)) => {
                entry.mtu =
                    metrics.iter().find_map(|m| if let RouteMetric::Mtu(n) = m { Some(*n) } else { None }).unwrap_or(0);
            }
            Ok(RouteAttribute::MultiPath(hops)) => entry.hops.extend(hops.iter().map(|hop| Hop {
                device: hop.interface_index,
                gateway: hop.attributes.iter().find_map(|a| match a {
                    RouteAttribute::Gateway(gateway) => address(gateway),
                    RouteAttribute::Via(via) => via_address(via),
                    _ => None,
                }),
                dead: hop.flags.contains(RouteNextHopFlags::Dead),
                linkdown: hop.flags.contains(RouteNextHopFlags::Linkdown),
            })),
            _ => {}
        }
    }
    if entry.hops.is_empty() && single.device != 0 {
        entry.hops.push(single);
    }
    if entry.to.is_none() && entry.length == 0 && v6 {
        entry.to = Some(Ipv6Addr::UNSPECIFIED.into());
    }
    Some(entry)
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

fn via_address(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(a) => Some(IpAddr::V4(*a)),
        RouteVia::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

impl Entry {
    /// Its destination as `ip route` writes it: `default`, an address, or a prefix.
    #[must_use]
    pub fn prefix(&self) -> String {
        let address = self.to.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        match (address, self.length) {
            (_, 0) => "default".into(),
            (IpAddr::V4(a), 32) => a.to_string(),
            (IpAddr::V6(a), 128) => a.to_string(),
            (a, length) => format!("{a}/{length}"),
        }
    }
}

/// A route's type as `ip route` names it.
#[must_use]
pub fn kind_name(kind: RouteType) -> String {
    let name = match kind {
        RouteType::Unicast => "unicast",
        RouteType::Local => "local",
        RouteType::Broadcast => "broadcast",
        RouteType::Anycast => "anycast",
        RouteType::Multicast => "multicast",
        RouteType::BlackHole => "blackhole",
        RouteType::Unreachable => "unreachable",
        RouteType::Prohibit => "prohibit",
        RouteType::Throw => "throw",
        RouteType::Nat => "nat",
        RouteType::ExternalResolve => "xresolve",
        other => return u8::from(other).to_string(),
    };
    name.into()
}

/// A table's name, or its number.
fn table_name(table: u32) -> String {
    match table {
        255 => "local".into(),
        254 => "main".into(),
        253 => "default".into(),
        n => n.to_string(),
    }
}

fn text(query: &Query, route: &Route) -> String {
    let mut text = match route.kind.as_str() {
        "unicast" => query.to.to_string(),
        kind => format!("{kind} {}", query.to),
    };
    for (word, value) in [
        ("from", query.from.map(|f| f.to_string())),
        ("via", route.gateway.map(|g| g.to_string())),
        ("dev", Some(route.device_name.clone()).filter(|n| !n.is_empty())),
        ("table", Some(route.table.clone()).filter(|t| t != "main")),
        ("src", route.source.map(|s| s.to_string())),
    ] {
        if let Some(value) = value {
            text += &format!(" {word} {value}");
        }
    }
    text
}
