//! Routing tables, as rtnetlink has them. Owns: listing and reading routes. Must not know: which one is taken.

use super::{netlink, rule::Tables};
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
    fmt::Write as _,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
};

/// Length of `struct rtmsg`.
const HEADER: usize = 12;
/// The bit of RTAX_MTU in RTAX_LOCK (linux/rtnetlink.h).
const LOCK_MTU: u32 = 1 << 2;
/// Of a second, in which the kernel tells times to programs (USER_HZ).
const TICKS: u32 = 100;

/// `RT_TABLE_MAIN`
pub const MAIN: u32 = 254;
/// `RT_TABLE_LOCAL`
pub const LOCAL: u32 = 255;

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
    /// Path MTU discovery does not change that (RTAX_LOCK).
    pub mtu_is_locked: bool,
    /// It goes away by itself after so many seconds; none: it does not.
    pub expires: Option<u32>,
    /// Its time is over, and it has not been taken away yet: no packet goes by it (`fib6_check_expired`, Linux 6.18).
    pub expired: bool,
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
    /// Its share among several, 1 to 256; 0: it is the only one.
    pub weight: u16,
    /// RTNH_F_DEAD: its interface is down.
    pub dead: bool,
    /// RTNH_F_LINKDOWN: its interface has no carrier.
    pub linkdown: bool,
    /// RTNH_F_ONLINK: the gateway is taken to be on the link, whatever the routes say.
    pub onlink: bool,
    /// What the packet is put into, or made into (`ip`, `mpls`, `seg6`, ...): from there on that has a way of its own.
    pub encap: Option<&'static str>,
}

/// The address family and the length of its addresses in bits.
#[must_use]
pub fn family(v6: bool) -> (AddressFamily, u8) {
    if v6 { (AddressFamily::Inet6, 128) } else { (AddressFamily::Inet, 32) }
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

/// Reads a route message.
#[must_use]
pub fn parse(payload: &[u8]) -> Option<Entry> {
    let header = RouteHeader::parse(payload).ok()?;
    let v6 = header.address_family == AddressFamily::Inet6;
    let mut entry = Entry {
        table: header.table.into(),
        length: header.destination_prefix_length,
        tos: header.tos,
        ..Entry::new(header.kind)
    };
    let mut single = Hop {
        dead: header.flags.contains(RouteFlags::Dead),
        linkdown: header.flags.contains(RouteFlags::Linkdown),
        onlink: header.flags.contains(RouteFlags::Onlink),
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
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(mtu) => entry.mtu = mtu,
                        RouteMetric::Lock(bits) => entry.mtu_is_locked = bits & LOCK_MTU != 0,
                        _ => {}
                    }
                }
            }
            Ok(RouteAttribute::CacheInfo(cached)) => {
                entry.expires = Some(cached.expires / TICKS).filter(|_| cached.expires.cast_signed() > 0);
                // Below 0 once it is over (`rtnl_put_cacheinfo`, Linux 6.18).
                entry.expired = cached.expires.cast_signed() < 0;
            }
            Ok(RouteAttribute::EncapType(kind)) => single.encap = encap(kind),
            Ok(RouteAttribute::MultiPath(hops)) => entry.hops.extend(hops.iter().map(|hop| Hop {
                device: hop.interface_index,
                weight: u16::from(hop.hops) + 1,
                gateway: hop.attributes.iter().find_map(|a| match a {
                    RouteAttribute::Gateway(gateway) => address(gateway),
                    RouteAttribute::Via(via) => via_address(via),
                    _ => None,
                }),
                dead: hop.flags.contains(RouteNextHopFlags::Dead),
                linkdown: hop.flags.contains(RouteNextHopFlags::Linkdown),
                onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
                encap: hop.attributes.iter().find_map(|a| match a {
                    RouteAttribute::EncapType(kind) => encap(*kind),
                    _ => None,
                }),
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

/// As `ip route` names it.
fn encap(kind: RouteLwEnCapType) -> Option<&'static str> {
    Some(match kind {
        RouteLwEnCapType::None => return None,
        RouteLwEnCapType::Mpls => "mpls",
        RouteLwEnCapType::Ip => "ip",
        RouteLwEnCapType::Ila => "ila",
        RouteLwEnCapType::Ip6 => "ip6",
        RouteLwEnCapType::Seg6 => "seg6",
        RouteLwEnCapType::Bpf => "bpf",
        RouteLwEnCapType::Seg6Local => "seg6local",
        RouteLwEnCapType::Rpl => "rpl",
        RouteLwEnCapType::Ioam6 => "ioam6",
        RouteLwEnCapType::Xfrm => "xfrm",
        _ => "unknown",
    })
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
    /// A route of a type to everywhere, without anything else.
    #[must_use]
    pub fn new(kind: RouteType) -> Self {
        Self {
            table: 0,
            kind,
            to: None,
            length: 0,
            from: None,
            source: None,
            priority: 0,
            tos: 0,
            mtu: 0,
            mtu_is_locked: false,
            expires: None,
            expired: false,
            hops: Vec::new(),
        }
    }

    /// Whether its destination has this address in it.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        self.to.map_or(self.length == 0, |to| crate::fact::covers(to, self.length, address))
    }

    /// It as `ip route` prints it.
    #[must_use]
    pub fn text(&self, tables: &Tables, name: &dyn Fn(u32) -> String) -> String {
        let mut text = match self.kind {
            RouteType::Unicast => self.prefix(),
            kind => format!("{} {}", kind_name(kind), self.prefix()),
        };
        let word = |text: &mut String, name: &str, value: Option<String>| {
            // Writing to a string does not fail.
            let _ = value.map(|value| write!(text, " {name} {value}"));
        };
        word(&mut text, "from", self.from.filter(|(_, length)| *length > 0).map(|(a, length)| format!("{a}/{length}")));
        word(&mut text, "tos", (self.tos != 0).then(|| format!("{:#04x}", self.tos)));
        for hop in &self.hops {
            // IPv4 by an IPv6 gateway (RFC 5549).
            let family = |g: IpAddr| if g.is_ipv6() && self.to.is_none_or(|to| to.is_ipv4()) { "inet6 " } else { "" };
            let encap = hop.encap.map(|kind| format!(" encap {kind}")).unwrap_or_default();
            let via = encap + &hop.gateway.map(|g| format!(" via {}{g}", family(g))).unwrap_or_default();
            let states = [(hop.dead, " dead"), (hop.linkdown, " linkdown"), (hop.onlink, " onlink")];
            let state: String = states.into_iter().filter_map(|(is, word)| is.then_some(word)).collect();
            let (one, weight) =
                if self.hops.len() > 1 { (" nexthop", format!(" weight {}", hop.weight)) } else { ("", String::new()) };
            text += &format!("{one}{via} dev {}{weight}{state}", name(hop.device));
        }
        word(&mut text, "table", (self.table != MAIN).then(|| tables.name(self.table)));
        word(&mut text, "src", self.source.map(|source| source.to_string()));
        word(&mut text, "metric", (self.priority != 0).then(|| self.priority.to_string()));
        let lock = if self.mtu_is_locked { "lock " } else { "" };
        word(&mut text, "mtu", (self.mtu != 0).then(|| format!("{lock}{}", self.mtu)));
        word(&mut text, "expires", self.expires.map(|seconds| format!("{seconds}sec")));
        text
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_written_with_what_tells_it_from_others() {
        let tables = Tables::read();
        let address = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        let hop = Hop { device: 2, gateway: address("10.0.0.1"), ..Hop::default() };
        let text = |entry: &Entry| entry.text(&tables, &|index| format!("eth{index}"));
        let plain = Entry { table: MAIN, hops: vec![hop], ..Entry::new(RouteType::Unicast) };
        assert_eq!(text(&plain), "default via 10.0.0.1 dev eth2");
        let whole = Entry { source: address("10.0.0.5"), tos: 0x10, priority: 100, mtu: 1400, ..plain.clone() };
        assert_eq!(text(&whole), "default tos 0x10 via 10.0.0.1 dev eth2 src 10.0.0.5 metric 100 mtu 1400");
        let from = Entry { from: Some(("fd00::".parse().expect("an address"), 64)), ..plain.clone() };
        assert_eq!(text(&from), "default from fd00::/64 via 10.0.0.1 dev eth2");
        let lasting = Entry { mtu: 1300, mtu_is_locked: true, expires: Some(599), ..plain.clone() };
        assert_eq!(text(&lasting), "default via 10.0.0.1 dev eth2 mtu lock 1300 expires 599sec");
        let odd = Hop { gateway: address("fd00::1"), onlink: true, encap: Some("mpls"), ..hop };
        assert_eq!(
            text(&Entry { hops: vec![odd], ..plain.clone() }),
            "default encap mpls via inet6 fd00::1 dev eth2 onlink"
        );
        let v6 = Entry { to: address("::"), hops: vec![Hop { encap: None, ..odd }], ..plain.clone() };
        assert_eq!(text(&v6), "default via fd00::1 dev eth2 onlink");
        let hops = vec![Hop { weight: 1, ..hop }, Hop { weight: 3, dead: true, ..hop }];
        let expected = "default nexthop via 10.0.0.1 dev eth2 weight 1 nexthop via 10.0.0.1 dev eth2 weight 3 dead";
        assert_eq!(text(&Entry { hops, ..plain }), expected);
    }
}
