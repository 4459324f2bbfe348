//! Local ports. Owns: how many of a namespace's ephemeral ports are taken, and by whom. Must not know: why it is asked.

use super::{
    Error, Host,
    sockets::{self, Query, Socket, States},
    sysctl,
};
use crate::{
    event::{Netns, Protocol},
    fact::{Owner, PortUse},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    ops::{ControlFlow, RangeInclusive},
};

/// What one namespace says.
struct Taken {
    range: (u16, u16),
    reserved: Vec<RangeInclusive<u16>>,
    /// Port, state and inode.
    sockets: Vec<(u16, &'static str, u32)>,
}

impl Host {
    /// Who uses the ephemeral ports of a namespace towards one remote; unspecified address or port 0: towards any.
    ///
    /// # Errors
    /// The namespace can't be entered or does not say.
    pub fn port_use(&mut self, netns: Netns, protocol: Protocol, remote: IpAddr, port: u16) -> Result<PortUse, Error> {
        let taken = self.namespaces()?.within(netns, || {
            let range = range(&sysctl::read("ipv4/ip_local_port_range")?)?;
            let reserved = reserved(&sysctl::read("ipv4/ip_local_reserved_ports")?);
            let sockets = list(protocol, remote, port, range).map_err(|source| Error::Kernel {
                what: "its sockets",
                netns,
                source,
            })?;
            Ok::<_, Error>(Taken { range, reserved, sockets })
        })??;
        let inodes: Vec<u32> = taken.sockets.iter().map(|(_, _, inode)| *inode).collect();
        let owners = self.holders.of(&inodes);
        let mut by: BTreeMap<(Option<&Owner>, &str), u32> = BTreeMap::new();
        for (_, state, inode) in &taken.sockets {
            let owner = owners.get(inode).and_then(|o| o.first());
            *by.entry((owner, state)).or_default() += 1;
        }
        let mut by: Vec<_> = by.into_iter().map(|((o, state), n)| (o.cloned(), state.to_string(), n)).collect();
        by.sort_by_key(|(_, _, n)| std::cmp::Reverse(*n));
        let (low, high) = taken.range;
        let reserved = (low..=high).filter(|port| taken.reserved.iter().any(|r| r.contains(port))).count();
        let used = taken.sockets.iter().map(|(port, _, _)| port).collect::<BTreeSet<_>>().len();
        Ok(PortUse { range: taken.range, used: count(used), reserved: count(reserved), by })
    }
}

/// Ports are 16 bits: their number always fits.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The sockets of the calling thread's namespace that take a port of the range. A connection takes its port for one
/// remote; a port that was bound (a listener, every UDP socket) is taken for all (`__inet_hash_connect` passes over bound
/// ports, Linux 5.10 to 6.18).
fn list(
    protocol: Protocol,
    remote: IpAddr,
    port: u16,
    (low, high): (u16, u16),
) -> io::Result<Vec<(u16, &'static str, u32)>> {
    let takes = |s: &Socket| {
        let for_all = protocol == Protocol::Udp || matches!(s.state, "listen" | "bound");
        let same = (remote.is_unspecified() || s.tuple.remote == remote) && (port == 0 || s.tuple.remote_port == port);
        (low..=high).contains(&s.tuple.local_port) && (for_all || same)
    };
    let mut found = Vec::new();
    let query = Query { protocol, states: States::All, local_port: 0, remote_port: 0, info: false };
    sockets::dump(&query, |s| {
        if takes(&s) {
            found.push((s.tuple.local_port, s.state, s.inode));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Two numbers with a tab between.
fn range(text: &str) -> Result<(u16, u16), Error> {
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(low)), Some(Ok(high))) => Ok((low, high)),
        _ => Err(Error::Malformed { what: "net.ipv4.ip_local_port_range".into(), why: format!("it reads {text:?}") }),
    }
}

/// `8080,9148-9150`
fn reserved(text: &str) -> Vec<RangeInclusive<u16>> {
    let parse = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some(low.parse().ok()?..=high.parse().ok()?)
    };
    text.split(',').filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_sysctl_has_them() {
        assert_eq!(range("32768\t60999").unwrap(), (32768, 60999));
        assert!(range("32768").unwrap_err().to_string().contains("ip_local_port_range"));
        assert_eq!(reserved("8080,9148-9150"), [8080..=8080, 9148..=9150]);
        assert!(reserved("").is_empty());
    }
}
