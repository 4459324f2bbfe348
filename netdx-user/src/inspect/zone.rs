//! The zone of a link-local address: the interface whose link is meant, as in `fe80::1%eth0` (RFC 4007, section 11).
//!
//! Owns: reading it, the socket address that goes with it, and what the unspecified address stands for. Must not know: which namespace is meant.

use crate::{fact::Interface, host::interface};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

/// An address, on its link where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scoped {
    /// Itself.
    pub address: IpAddr,
    /// Index of the link; 0: none is named.
    pub link: u32,
}

/// Why a zone is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The same address is on every link.
    #[error("{0} is a link-local address, which every link has for itself: say which link is meant, as in {0}%eth0")]
    Missing(Ipv6Addr),
    /// Not of a link.
    #[error("{0} belongs to no link: only link-local addresses (fe80::/10, ff02::/16) have a zone after %")]
    NotLinkLocal(Ipv6Addr),
    /// No such interface.
    #[error("there is no interface {}: netdx addrs lists them", .0.escape_debug())]
    NoInterface(String),
    /// The kernel's.
    #[error("list the interfaces: {0}")]
    Interfaces(#[source] io::Error),
}

/// Address and zone of `ADDRESS%ZONE`; none: it is not of that form.
#[must_use]
pub fn split(text: &str) -> Option<(Ipv6Addr, &str)> {
    let (address, zone) = text.split_once('%')?;
    Some((address.parse().ok()?, zone)).filter(|_| !zone.is_empty())
}

/// Whether an address means something on one link only.
#[must_use]
pub fn is_needed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        // ff01::/16 and ff02::/16 (RFC 4291, section 2.7).
        IpAddr::V6(v6) => v6.is_unicast_link_local() || matches!(v6.segments()[0] & 0xff0f, 0xff01 | 0xff02),
    }
}

/// The index of the interface that a zone names, by name or by number, among `links`.
///
/// # Errors
/// The address has no zone, or there is no such interface.
pub fn among(address: Ipv6Addr, zone: &str, links: &[Interface]) -> Result<u32, Error> {
    if !is_needed(address.into()) {
        return Err(Error::NotLinkLocal(address));
    }
    let link = links.iter().find(|link| link.name == zone);
    let link = link.or_else(|| links.iter().find(|link| zone.parse() == Ok(link.index)));
    link.map(|link| link.index).ok_or_else(|| Error::NoInterface(zone.into()))
}

/// The same among the interfaces of the calling thread's namespace; 0 where an address has no zone and needs none.
///
/// # Errors
/// As [`among`], or the zone is missing.
pub fn index(address: IpAddr, zone: Option<&str>) -> Result<u32, Error> {
    match (address, zone) {
        (IpAddr::V6(v6), Some(zone)) => among(v6, zone, &interface::links().map_err(Error::Interfaces)?),
        (IpAddr::V6(v6), None) if is_needed(address) => Err(Error::Missing(v6)),
        _ => Ok(0),
    }
}

/// The name of a link of the calling thread's namespace, or its number where it has none any more; none: there is no link.
#[must_use]
pub fn name(index: u32) -> Option<String> {
    let links = (index != 0).then(|| interface::links().unwrap_or_default())?;
    let named = links.into_iter().find(|link| link.index == index);
    Some(named.map_or_else(|| index.to_string(), |link| link.name))
}

/// `fe80::1%eth0`
#[must_use]
pub fn text(address: IpAddr, zone: Option<&str>) -> String {
    match zone {
        Some(zone) => format!("{address}%{zone}"),
        None => address.to_string(),
    }
}

/// An address and port, on the link of that index where the address needs one.
#[must_use]
pub fn endpoint(address: IpAddr, port: u16, index: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if is_needed(address) => SocketAddrV6::new(v6, port, 0, index).into(),
        _ => SocketAddr::new(address, port),
    }
}

/// The address that is reached under one: the unspecified address is this host itself (`ip_route_output_key_hash_rcu`,
/// net/ipv4/route.c, and `tcp_v6_connect`, net/ipv6/tcp_ipv6.c, Linux 6.18).
#[must_use]
pub fn meant(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_link_local_addresses_have_a_zone() {
        let links =
            [Interface { index: 7, name: "eth0".into(), ..link() }, Interface { index: 9, name: "3".into(), ..link() }];
        let (address, zone) = split("fe80::1%eth0").expect("a zone");
        assert_eq!(among(address, zone, &links).expect("it is there"), 7);
        assert_eq!(among(address, "7", &links).expect("by number"), 7);
        assert_eq!(among(address, "3", &links).expect("a name goes before a number"), 9);
        assert!(matches!(among(address, "eth1", &links), Err(Error::NoInterface(_))));
        assert!(matches!(among("2001:db8::1".parse().unwrap(), "eth0", &links), Err(Error::NotLinkLocal(_))));
        assert!(matches!(index(address.into(), None), Err(Error::Missing(_))));
        assert_eq!(index("2001:db8::1".parse().unwrap(), None).expect("it needs none"), 0);
        assert_eq!(endpoint(address.into(), 80, 7).to_string(), "[fe80::1%7]:80");
        assert_eq!(endpoint("::1".parse().unwrap(), 80, 7).to_string(), "[::1]:80");
        for text in ["fe80::1", "fe80::1%", "db%eth0", "10.0.0.1%eth0", "%"] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    fn link() -> Interface {
        Interface {
            index: 0,
            name: String::new(),
            up: true,
            carrier: true,
            loopback: false,
            mtu: 1500,
            peers: Vec::new(),
            unusable: vec![],
            addresses: Vec::new(),
            kind: String::new(),
            lladdr: None,
            master: None,
        }
    }
}
