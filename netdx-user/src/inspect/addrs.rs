//! `netdx addrs`: interfaces, their state and addresses, and what each prefix covers.
//!
//! Owns: [`Row`], the words for prefixes. Must not know: how interfaces are listed (`host/interface`).

use super::{
    phrase::{Phrase, View},
    sheet::Sheet,
    table::Table,
};
use crate::{
    event::Netns,
    fact::{Interface, Unusable},
    host::{
        Error, Host, fib,
        interface::{self, Assigned},
    },
    render::ink::{BAD, BOLD, DIM, GOOD, PLAIN},
    report::SCHEMA,
};
use netlink_packet_route::address::AddressFlags;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
};

/// An interface: one line of `--format json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Version of the shape.
    pub schema: u32,
    /// `interface`
    pub kind: &'static str,
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Switched on.
    pub up: bool,
    /// Plugged in.
    pub carrier: bool,
    /// veth, bridge, ...; empty: physical, or loopback.
    #[serde(rename = "type")]
    pub link: String,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Addresses.
    pub addresses: Vec<Address>,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// Itself.
    pub addr: IpAddr,
    /// The other end's, if it has one: the prefix is of that.
    pub peer: Option<IpAddr>,
    /// Prefix length.
    pub prefix: u8,
    /// First address of its prefix.
    pub first: IpAddr,
    /// Last address of its prefix.
    pub last: IpAddr,
    /// What that means, in words.
    pub covers: String,
    /// Why it may not be used: `tentative`, `duplicate`; null: it may.
    pub unusable: Option<Unusable>,
    /// What the kernel says of it besides, as ip-address(8) has it: `deprecated`, `noprefixroute`, ...
    pub flags: Vec<&'static str>,
}

/// The flags and their names (ip-address(8)). Of IPv6 the first one says that it is temporary (RFC 8981); what is not permanent
/// is dynamic. Those of [`Unusable`] are told as that.
const FLAGS: &[(AddressFlags, &str)] = &[
    (AddressFlags::Secondary, "secondary"),
    (AddressFlags::Deprecated, "deprecated"),
    (AddressFlags::Permanent, "dynamic"),
    (AddressFlags::Noprefixroute, "noprefixroute"),
    (AddressFlags::Optimistic, "optimistic"),
    (AddressFlags::Nodad, "nodad"),
    (AddressFlags::Homeaddress, "home"),
    (AddressFlags::Managetempaddr, "mngtmpaddr"),
    (AddressFlags::StablePrivacy, "stable-privacy"),
    (AddressFlags::Mcautojoin, "autojoin"),
];

fn flags(assigned: &Assigned) -> Vec<&'static str> {
    let is = |flag| assigned.flags.contains(flag) != (flag == AddressFlags::Permanent);
    let temporary = |name| if name == "secondary" && assigned.address.is_ipv6() { "temporary" } else { name };
    FLAGS.iter().filter(|(flag, _)| is(*flag)).map(|(_, name)| temporary(name)).collect()
}

/// What most prefixes mean.
const ON_THE_LINK: &str = "are on the link of";

/// The interfaces of a namespace.
///
/// # Errors
/// It may not be entered, or the kernel could not be asked.
pub fn list(netns: Netns, host: &mut Host) -> Result<Vec<Row>, Error> {
    let listed = host.namespaces()?.within(netns, look)?;
    let (interfaces, assigned, routed) =
        listed.map_err(|source| Error::Kernel { what: "its interfaces", netns, source })?;
    let mut rows: Vec<Row> = interfaces.into_iter().map(Row::from).collect();
    for row in &mut rows {
        for address in &mut row.addresses {
            let own = |a: &&Assigned| a.device == row.index && a.address == address.addr && a.length == address.prefix;
            address.flags = assigned.iter().find(own).map(flags).unwrap_or_default();
            // The kernel makes a route of each other prefix.
            let asks = address.flags.contains(&"noprefixroute") && address.covers.contains(ON_THE_LINK);
            if asks && !routed.contains(&(row.index, address.first, address.prefix)) {
                address.covers = "itself only: its prefix has no route (noprefixroute)".into();
            }
            if address.flags.contains(&"deprecated") {
                address.covers += "; nothing new is sent from it where there is another (deprecated)";
            }
        }
    }
    Ok(rows)
}

/// Interfaces, their addresses with flags, and which prefixes have a route to their link.
type Looked = (Vec<Interface>, Vec<Assigned>, BTreeSet<(u32, IpAddr, u8)>);

fn look() -> io::Result<Looked> {
    let assigned = interface::addresses_of_all()?;
    let mut routed = BTreeSet::new();
    if assigned.iter().any(|a| a.flags.contains(AddressFlags::Noprefixroute)) {
        for v6 in [false, true] {
            fib::each(v6, |entry| {
                let hops = entry.hops.iter().filter(|hop| hop.gateway.is_none() && hop.encap.is_none());
                routed.extend(hops.filter_map(|hop| Some((hop.device, entry.to?, entry.length))));
                ControlFlow::Continue(())
            })?;
        }
    }
    Ok((interface::list()?, assigned, routed))
}

impl From<Interface> for Row {
    fn from(interface: Interface) -> Row {
        let of = |&(addr, prefix): &_| {
            address(addr, interface.peer(addr), prefix, &interface.name, interface.unusable(addr))
        };
        let addresses = interface.addresses.iter().map(of).collect();
        Row {
            schema: SCHEMA,
            kind: "interface",
            index: interface.index,
            up: interface.up,
            carrier: interface.carrier,
            link: interface.kind,
            mtu: interface.mtu,
            addresses,
            name: interface.name,
        }
    }
}

impl Address {
    /// As ip(8) has it.
    fn text(&self) -> String {
        match self.peer {
            Some(peer) => format!("{} peer {peer}/{}", self.addr, self.prefix),
            None => format!("{}/{}", self.addr, self.prefix),
        }
    }
}

fn address(addr: IpAddr, peer: Option<IpAddr>, prefix: u8, device: &str, unusable: Option<Unusable>) -> Address {
    let (first, last) = ends(peer.unwrap_or(addr), prefix);
    let whole = if addr.is_ipv4() { 32 } else { 128 };
    let link_local = match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let covers = if addr.is_loopback() {
        "this host itself".into()
    } else if link_local {
        format!("the link of {device} only, no router passes it on")
    } else if prefix >= whole {
        match peer {
            Some(peer) => format!("{peer} is at the other end of {device}"),
            None => "itself only: everything else takes a route".into(),
        }
    } else {
        format!("{first} to {last} {ON_THE_LINK} {device}")
    };
    let covers = match unusable {
        None => covers,
        Some(Unusable::Tentative) => format!("not used yet: does another host have it? ({covers})"),
        Some(Unusable::Duplicate) => format!("not used: another host has it, too ({covers})"),
    };
    Address { addr, peer, prefix, first, last, covers, unusable, flags: Vec::new() }
}

/// The first and last address of a prefix.
fn ends(addr: IpAddr, prefix: u8) -> (IpAddr, IpAddr) {
    match addr {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let bits = v4.to_bits();
            (Ipv4Addr::from_bits(bits & !host).into(), Ipv4Addr::from_bits(bits | host).into())
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let bits = v6.to_bits();
            (Ipv6Addr::from_bits(bits & !host).into(), Ipv6Addr::from_bits(bits | host).into())
        }
    }
}

/// The table.
#[must_use]
pub fn text(rows: &[Row], view: View) -> String {
    let flagged = rows.iter().flat_map(|row| &row.addresses).any(|address| !address.flags.is_empty());
    let mut header = vec!["INTERFACE", "STATE", "TYPE", "MTU", "ADDRESS", "FLAGS", "COVERS"];
    header.retain(|heading| flagged || *heading != "FLAGS");
    let mut table = Table::new(&header);
    let flags = |address: Option<&Address>| {
        let words = address.map(|address| address.flags.join(",")).filter(|words| !words.is_empty());
        flagged.then(|| Phrase::from(words.as_deref().unwrap_or("-")))
    };
    for row in rows {
        let link = if row.link.is_empty() { "-" } else { &row.link };
        let mut head = [Phrase::of(BOLD, &row.name), state(row), link.into(), row.mtu.to_string().into()];
        if row.addresses.is_empty() {
            let cells = ["-".into()].into_iter().chain(flags(None)).chain([Phrase::of(DIM, "no address")]);
            table.row(head.iter().cloned().chain(cells).collect());
        }
        for address in &row.addresses {
            let cells = [address.text().into()].into_iter().chain(flags(Some(address)));
            let cells = cells.chain([address.covers.as_str().into()]);
            table.row(head.iter().cloned().chain(cells).collect());
            // A line in a pipe says whose it is; on a terminal the name stands once.
            if view.width.is_some() {
                head = Default::default();
            }
        }
    }
    table.within(view).unwrap_or_else(|| stacked(rows, view))
}

/// The same with a line for each interface and each address, where a line is too long for the terminal.
fn stacked(rows: &[Row], view: View) -> String {
    let mut sheet = Sheet::new(view);
    for row in rows {
        let link = if row.link.is_empty() { String::new() } else { format!(" {}", row.link) };
        let none = if row.addresses.is_empty() { ", no address" } else { "" };
        let mut title = Phrase::of(BOLD, &row.name).and(PLAIN, " ");
        title.join(state(row));
        sheet.line(title.and(PLAIN, format!("{link}, mtu {}{none}", row.mtu)));
        for address in &row.addresses {
            let flags = address.flags.iter().map(|flag| format!(" {flag}")).collect::<String>();
            sheet.row("", format!("{}{flags}: {}", address.text(), address.covers));
        }
    }
    sheet.finish()
}

fn state(row: &Row) -> Phrase {
    match (row.up, row.carrier) {
        (false, _) => Phrase::of(BAD, "down"),
        (true, false) => Phrase::of(BAD, "no carrier"),
        (true, true) => Phrase::of(GOOD, "up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(text: &str) -> (String, String, String) {
        let (addr, prefix) = text.split_once('/').unwrap();
        let address = address(addr.parse().unwrap(), None, prefix.parse().unwrap(), "eth0", None);
        (address.first.to_string(), address.last.to_string(), address.covers)
    }

    #[test]
    fn what_a_prefix_covers() {
        let three = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            say("10.0.0.5/24"),
            three("10.0.0.0", "10.0.0.255", "10.0.0.0 to 10.0.0.255 are on the link of eth0")
        );
        assert_eq!(say("10.0.0.5/32"), three("10.0.0.5", "10.0.0.5", "itself only: everything else takes a route"));
        assert_eq!(say("0.0.0.5/0").1, "255.255.255.255");
        assert_eq!(
            say("2001:db8::5/64"),
            three(
                "2001:db8::",
                "2001:db8::ffff:ffff:ffff:ffff",
                "2001:db8:: to 2001:db8::ffff:ffff:ffff:ffff are on the link of eth0"
            )
        );
        assert_eq!(say("fe80::1/64").2, "the link of eth0 only, no router passes it on");
        assert_eq!(say("127.0.0.1/8").2, "this host itself");
        assert_eq!(say("::1/128").2, "this host itself");
        let peer = |length| address("10.1.0.1".parse().unwrap(), "10.2.0.7".parse().ok(), length, "ppp0", None);
        assert_eq!(
            (peer(32).text().as_str(), peer(32).covers.as_str()),
            ("10.1.0.1 peer 10.2.0.7/32", "10.2.0.7 is at the other end of ppp0")
        );
        assert_eq!(peer(24).covers, "10.2.0.0 to 10.2.0.255 are on the link of ppp0");
        let duplicate = address("fd00::5".parse().unwrap(), None, 128, "eth0", Some(Unusable::Duplicate));
        assert!(duplicate.covers.starts_with("not used: another host has it, too ("), "{duplicate:?}");
    }

    #[test]
    fn flags_have_the_names_of_ip_address() {
        let of = |address: &str, flags| {
            let address = address.parse().unwrap();
            super::flags(&Assigned { device: 2, address, peer: None, length: 64, unusable: None, flags })
        };
        assert_eq!(of("fd00::5", AddressFlags::Permanent | AddressFlags::Nodad), ["nodad"]);
        assert_eq!(
            of("fd00::5", AddressFlags::Secondary | AddressFlags::Deprecated),
            ["temporary", "deprecated", "dynamic"]
        );
        let second = AddressFlags::Secondary | AddressFlags::Permanent | AddressFlags::Noprefixroute;
        assert_eq!(of("10.0.0.5", second), ["secondary", "noprefixroute"]);
    }
}
