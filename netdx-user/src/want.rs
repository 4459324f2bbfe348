//! Questions the core has for the host. Owns: [`Want`]. Must not know: how they are answered (see `host/`).
//!
//! The core returns wants as data; the live source answers each with a `Fact`, in replay the answer is in the file.
//! Two equal wants have the same answer at the same moment.

use crate::{
    event::{Netns, Protocol, Root, Tuple},
    time::Time,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Of a packet, what routing rules can ask for besides its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// Index of the interface that it comes in by, 0: it is made in this namespace.
    pub in_device: u32,
    /// Its protocol.
    pub protocol: Protocol,
    /// Port that it comes from.
    pub source_port: u16,
    /// Port that it goes to.
    pub destination_port: u16,
}

impl Flow {
    /// Of a packet with these endpoints, local being its source.
    #[must_use]
    pub fn of(packet: Tuple, in_device: u32) -> Flow {
        let Tuple { protocol, local_port: source_port, remote_port: destination_port, .. } = packet;
        Flow { in_device, protocol, source_port, destination_port }
    }
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "want", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Want {
    /// Every listening socket (TCP) or unconnected bound socket (UDP) on this port, in every namespace, with owners.
    Listeners { protocol: Protocol, port: u16 },
    /// The namespaces in which this address is local, loopback addresses in the one given.
    Owners { address: IpAddr, from: Netns },
    /// The route a packet would take, with the rule and table, from this namespace.
    Route {
        netns: Netns,
        to: IpAddr,
        from: Option<IpAddr>,
        device: u32,
        mark: u32,
        uid: u32,
        /// What rules can ask for besides; none: not asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flow: Option<Flow>,
    },
    /// Neighbour entry of an address on an interface (0: any).
    Neighbor { netns: Netns, address: IpAddr, device: u32 },
    /// An interface and its state, by index; 0: all of the namespace.
    Interfaces { netns: Netns },
    /// The interfaces that what one of them sends may leave by.
    Beneath { netns: Netns, device: u32 },
    /// What a process is: exe, argv, cgroup, unit, container, limits, confinement.
    Process { pid: u32 },
    /// What resolves names for a process: resolv.conf, nsswitch and hosts file of its mount namespace. `root`: where its
    /// files are, for when it has ended and another process has to show them; none: only itself will do.
    Resolver {
        pid: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<Root>,
    },
    /// The hosts file's addresses for a name, and the hosts file's names for an address, as this process sees it.
    Hosts {
        pid: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<Root>,
        name: String,
    },
    /// The firewall rules of a namespace.
    Ruleset { netns: Netns },
    /// The number of a namespace's rules, another one for others, when a packet was dropped there.
    RulesetGeneration { netns: Netns, dropped: Time },
    /// A sysctl under /proc/sys/net of a namespace, for example `ipv4/ip_forward`.
    Sysctl { netns: Netns, key: String },
    /// Who uses local ports of a namespace towards one remote, by owner and state.
    PortUse { netns: Netns, protocol: Protocol, remote: IpAddr, remote_port: u16 },
    /// The sockets that hold a local address and port.
    Holders { netns: Netns, protocol: Protocol, address: IpAddr, port: u16 },
    /// Who owns the socket with these endpoints.
    Owner { netns: Netns, tuple: Tuple },
    /// A namespace's name and a process in it.
    Namespace { netns: Netns },
    /// BPF programs that can deny: attached to the cgroup (v2 id) and its ancestors, and to interfaces of the namespace.
    BpfPrograms { netns: Netns, cgroup: u64 },
    /// The same for the cgroup that a process is in.
    BpfProgramsOf { netns: Netns, pid: u32 },
    /// IPsec policies for what a namespace sends.
    IpsecPolicies { netns: Netns },
    /// IPsec security associations of a namespace, those left out that are only being asked for.
    IpsecStates { netns: Netns },
    /// The services of the load balancer (IPVS) of a namespace.
    IpvsServices { netns: Netns },
    /// How many packets the queues of an interface have dropped on their way out since they were made.
    QueueDrops { netns: Netns, device: u32 },
    /// The peers of a WireGuard interface.
    WireguardPeers { netns: Netns, device: u32 },
    /// To how many ends a VXLAN interface sends what is for a neighbour.
    TunnelEnds { netns: Netns, address: IpAddr, device: u32 },
    /// Connection tracking of a namespace: table fill and limit, drop counters.
    Conntrack { netns: Netns },
    /// The table of all namespaces' neighbours: its fill and limit, as a namespace is told.
    NeighborTable { netns: Netns, v6: bool },
    /// What network address translation makes of packets with these endpoints (local is the source), in every namespace.
    Translations { packet: Tuple },
    /// Connections to a local port of a namespace that are half open: SYN-ACK sent, nothing heard since.
    HalfOpen { netns: Netns, port: u16 },
    /// What packets with these endpoints were before network address translation, in every namespace.
    Origin { packet: Tuple },
    /// Counters of /proc/net/netstat and snmp of a namespace that tell of dropped connections.
    Counters { netns: Netns },
}
