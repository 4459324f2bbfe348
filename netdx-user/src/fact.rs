//! What the host answered. Owns: [`Fact`], [`Answer`] and the nouns in it. Must not know: how it was found out.

use crate::{
    event::{Cookie, Netns, Protocol, Tuple},
    want::Want,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// A question and its answer. Its time stands beside it (`Stamped`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// The question.
    #[serde(flatten)]
    pub want: Want,
    /// The answer.
    pub answer: Answer,
}

/// The answer to the `Want` of the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Could not be found out: why, in one line, for the user.
    Unavailable(String),
    /// `Want::Listeners`; empty: nothing listens on that port in any namespace that can be seen.
    Listeners(Vec<Listener>),
    /// `Want::Owners`
    Owners(Vec<Netns>),
    /// `Want::Route`
    Route(Route),
    /// `Want::Neighbor`; none: no entry.
    Neighbor(Option<Neighbor>),
    /// `Want::Interfaces`
    Interfaces(Vec<Interface>),
    /// `Want::Beneath`, the interface itself first.
    Beneath(Vec<Beneath>),
    /// `Want::Process`; none: it has ended.
    Process(Option<Box<Process>>),
    /// `Want::Resolver`
    Resolver(Resolver),
    /// `Want::Hosts`
    Hosts(Vec<HostsEntry>),
    /// `Want::Ruleset`
    Ruleset(Arc<Ruleset>),
    /// `Want::RulesetGeneration`; none: that can't be known.
    RulesetGeneration(Option<u32>),
    /// `Want::Sysctl`: its text, trimmed.
    Sysctl(String),
    /// `Want::PortUse`
    PortUse(PortUse),
    /// `Want::Holders`, `Want::Owner`
    Sockets(Vec<SocketEntry>),
    /// `Want::Namespace`
    Namespace(Namespace),
    /// `Want::BpfPrograms`, `Want::BpfProgramsOf`
    BpfPrograms(Vec<BpfProgram>),
    /// `Want::IpsecPolicies`
    IpsecPolicies(Vec<IpsecPolicy>),
    /// `Want::IpsecStates`
    IpsecStates(Vec<IpsecEnd>),
    /// `Want::IpvsServices`
    IpvsServices(Vec<IpvsService>),
    /// `Want::WireguardPeers`
    WireguardPeers(Vec<WireguardPeer>),
    /// `Want::TunnelEnds`: how many.
    TunnelEnds(u64),
    /// `Want::Conntrack`
    Conntrack(Conntrack),
    /// `Want::NeighborTable`
    NeighborTable(NeighborTable),
    /// `Want::Translations`, in the order of the packet's way; empty: no namespace that can be seen translates it.
    Translations(Vec<Translation>),
    /// `Want::QueueDrops`: how many.
    QueueDrops(u64),
    /// `Want::HalfOpen`: how many.
    HalfOpen(u64),
    /// `Want::Origin`; none: no namespace that can be seen made it what it is.
    Origin(Option<Origin>),
    /// `Want::Counters`: name (`TcpExt.ListenOverflows`) and value.
    Counters(Vec<(String, u64)>),
}

/// A listening (TCP) or receiving (UDP) socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Protocol.
    pub protocol: Protocol,
    /// Address it is bound to; unspecified: every address of its family.
    pub addr: IpAddr,
    /// Port.
    pub port: u16,
    /// An IPv6 wildcard that takes no IPv4 (IPV6_V6ONLY); for an IPv4 socket false.
    pub v6only: bool,
    /// Interface index it is bound to, 0: none.
    pub device: u32,
    /// Namespace.
    pub netns: Netns,
    /// Connections that wait to be accepted.
    pub backlog: u32,
    /// How many may wait.
    pub max_backlog: u32,
    /// Owner's user id.
    pub uid: u32,
    /// Inode of the socket.
    pub inode: u32,
    /// Its cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Cookie>,
    /// Processes that hold it; empty: none found, or none that may be seen.
    pub owners: Vec<Owner>,
}

impl Listener {
    /// Whether it has an address, as far as family and address go.
    #[must_use]
    pub fn takes(&self, address: IpAddr) -> bool {
        match (self.addr, address) {
            (IpAddr::V6(a), IpAddr::V4(_)) => a.is_unspecified() && !self.v6only,
            (a, b) => a == b || (a.is_unspecified() && a.is_ipv4() == b.is_ipv4()),
        }
    }
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Name. Comes from outside: escape before showing.
    pub comm: String,
}

/// Where a packet would go, and which rule and table said so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Positive errno of the lookup (ENETUNREACH 101, EHOSTUNREACH 113, EACCES 13, EINVAL 22); 0: it was found.
    pub errno: i32,
    /// unicast, local, broadcast, multicast, unreachable, prohibit, blackhole, throw; empty: none matched.
    pub kind: String,
    /// Table by name or number.
    pub table: String,
    /// Destination prefix of the route that matched, `default` for all; none: no route matched.
    pub prefix: Option<String>,
    /// Interface index, 0: none.
    pub device: u32,
    /// Interface name.
    pub device_name: String,
    /// Gateway.
    pub gateway: Option<IpAddr>,
    /// What the packet is put into, or made into, as `ip route` names it (seg6, mpls, ...); none: it goes as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encap: Option<String>,
    /// Source address that would be used.
    pub source: Option<IpAddr>,
    /// The policy rule that decided, in `ip rule` form, if it isn't one of the three defaults.
    pub rule: Option<String>,
    /// What `ip route get` would print, on one line.
    pub text: String,
    /// There is a default route of that family in the table that decided (or in main).
    pub has_default: bool,
    /// No policy rule has sent the packet to table main.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub main_unasked: bool,
    /// A route that would fit but cannot be used, in `ip route` form with the reason (`linkdown`, interface down).
    pub unusable: Vec<String>,
    /// Routes that would fit and whose time is over, in `ip route` form: a router that advertised them does so no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expired: Vec<String>,
    /// MTU of the path as the kernel has it, 0: unknown.
    pub mtu: u32,
    /// Rules of that namespace ask for marks: with another mark it may be another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_mark: bool,
    /// For a packet it may be another one: rules of that namespace ask for its protocol or ports, which the question did not tell, or
    /// it has several next hops, and which one a socket takes can't be asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_flow: bool,
}

/// A neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor {
    /// Its address.
    pub address: IpAddr,
    /// Interface name.
    pub device_name: String,
    /// Link-layer address, colon form.
    pub lladdr: Option<String>,
    /// reachable, stale, delay, probe, incomplete, failed, permanent, noarp, none.
    pub state: String,
}

impl Neighbor {
    /// It was asked for its link address, and has not answered.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        matches!(self.state.as_str(), "failed" | "incomplete")
    }
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// Has carrier (IFF_LOWER_UP).
    pub carrier: bool,
    /// IFF_LOOPBACK.
    pub loopback: bool,
    /// MTU.
    pub mtu: u32,
    /// Addresses with prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Those of them that have another end, with its address: the prefix length is of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<(IpAddr, IpAddr)>,
    /// Those of them that may not be used, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusable: Vec<(IpAddr, Unusable)>,
    /// Kind: veth, bridge, tun, ... ; empty: physical.
    pub kind: String,
    /// Link-layer address, colon form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lladdr: Option<String>,
    /// The interface that it is a port of, by index; none: of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<u32>,
}

impl Interface {
    /// Whether it has this address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(one, _)| *one == address)
    }

    /// The address of the other end of this address of its, if it has one.
    #[must_use]
    pub fn peer(&self, address: IpAddr) -> Option<IpAddr> {
        self.peers.iter().find(|(one, _)| *one == address).map(|(_, peer)| *peer)
    }

    /// Why this address of its may not be used; none: it may, or is no address of its.
    #[must_use]
    pub fn unusable(&self, address: IpAddr) -> Option<Unusable> {
        self.unusable.iter().find(|(one, _)| *one == address).map(|(_, why)| *why)
    }

    /// Its link-layer address is one of Ethernet, so neighbours are asked for theirs.
    #[must_use]
    pub fn has_ethernet_address(&self) -> bool {
        self.lladdr.as_ref().is_some_and(|address| address.split(':').count() == 6)
    }
}

/// Why an IPv6 address may not be used (RFC 4862, section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unusable {
    /// It is still being asked for on its link (IFA_F_TENTATIVE).
    Tentative,
    /// Another host has it (IFA_F_DADFAILED).
    Duplicate,
}

/// An interface that what another one sends may leave by: it carries that one, is a port of a bridge that does, or of a bridge
/// at the other end of its cable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beneath {
    /// The interface.
    pub interface: Interface,
    /// Name of the bridge that it is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// It is in another namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// Path of its program.
    pub exe: Option<String>,
    /// Command line.
    pub argv: Vec<String>,
    /// User id.
    pub uid: u32,
    /// Path of its cgroup (v2), or of its systemd v1 hierarchy.
    pub cgroup: Option<String>,
    /// systemd unit, from the cgroup path.
    pub unit: Option<String>,
    /// Container id or name, from the cgroup path.
    pub container: Option<String>,
    /// Network namespace.
    pub netns: Option<Netns>,
    /// seccomp mode: 0 none, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Label of its security module (AppArmor profile, SELinux context); none: unconfined or none.
    pub label: Option<String>,
    /// Open files and their soft limit.
    pub files: Option<(u64, u64)>,
    /// Open files of all processes and the limit for them (fs.file-max).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_files: Option<(u64, u64)>,
}

/// What resolves names for a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// `nameserver` lines, in order.
    pub servers: Vec<IpAddr>,
    /// The links of link-local servers, as written after `%`: an interface's name or index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<IpAddr, String>,
    /// `search` (or `domain`) list.
    pub search: Vec<String>,
    /// `options ndots:`, 1 when not given.
    pub ndots: u32,
    /// `options timeout:` in seconds, 5 when not given.
    pub timeout: u32,
    /// `options attempts:`, 2 when not given.
    pub attempts: u32,
    /// The `hosts:` sources of nsswitch.conf; empty: no such line.
    pub nsswitch: Vec<String>,
    /// Path of the resolv.conf that was read.
    pub path: String,
    /// What is there; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<ResolvConf>,
    /// The first `nameserver` line without an address that can be read, as it is written: such lines count for nothing. Comes from
    /// outside: escape before showing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<String>,
    /// `options use-vc`: it asks over TCP from the start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub use_vc: bool,
}

/// What is found where a resolv.conf should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolvConf {
    /// Nothing, or a link to nothing.
    Missing,
    /// A directory.
    Directory,
    /// A file, with its owner's user id and its permission bits.
    File {
        /// Owner's user id.
        owner: u32,
        /// Permission bits (`st_mode`), without the type.
        mode: u32,
    },
}

impl Resolver {
    /// The servers as resolv.conf writes them: `10.0.0.53`, `fe80::1%eth0`.
    #[must_use]
    pub fn written(&self) -> Vec<String> {
        let written = |server: &IpAddr| match self.zones.get(server) {
            Some(zone) => format!("{server}%{zone}"),
            None => server.to_string(),
        };
        self.servers.iter().map(written).collect()
    }
}

/// A line of a hosts file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsEntry {
    /// Its address.
    pub address: IpAddr,
    /// Its names.
    pub names: Vec<String>,
    /// Line number, from 1.
    pub line: u32,
    /// The file.
    pub path: String,
}

/// Firewall rules of a namespace, as far as static matching needs them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Chains that are attached to a hook, in order of hook and priority, and the chains they can jump to.
    pub chains: Vec<Chain>,
    /// Rules that could not be listed, in words, with the reason: these chains are not all there is.
    #[serde(default)]
    pub missing: Vec<String>,
    /// A number of theirs, another one for others, when they had been listed; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// ip, ip6, inet, netdev, bridge; `iptables`/`ip6tables` for legacy tables.
    pub family: String,
    /// Table.
    pub table: String,
    /// Name.
    pub name: String,
    /// Hook (input, output, forward, prerouting, postrouting, ingress, egress); none: only jumped to.
    pub hook: Option<String>,
    /// Priority.
    pub priority: i32,
    /// Device of a netdev chain.
    pub device: Option<String>,
    /// Type of a base chain: filter, nat or route; empty: it is only jumped to, or the type wasn't told.
    #[serde(default)]
    pub kind: String,
    /// Policy of a base chain: accept or drop.
    pub policy: Option<String>,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its text, as the tool lists it.
    pub text: String,
    /// Its handle or number.
    pub handle: u64,
    /// nft's JSON expressions (legacy iptables: translated to the same form as far as possible).
    pub expr: Vec<serde_json::Value>,
}

/// Who uses local ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortUse {
    /// net.ipv4.ip_local_port_range, both inclusive.
    pub range: (u16, u16),
    /// Number of ports of the range that are taken towards that remote: by a socket with that remote, or by one that is
    /// bound to the port for everybody (a listener; any UDP socket).
    pub used: u32,
    /// Number of ports of the range that are never given out (net.ipv4.ip_local_reserved_ports).
    #[serde(default)]
    pub reserved: u32,
    /// Owner, state and count, most first.
    pub by: Vec<(Option<Owner>, String, u32)>,
}

/// A socket of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketEntry {
    /// Endpoints.
    pub tuple: Tuple,
    /// State in lower case, as `ss` names it without dashes (`established`, `time-wait`).
    pub state: String,
    /// Owner's user id.
    pub uid: u32,
    /// Inode, 0: none (orphaned, time-wait).
    pub inode: u32,
    /// Who holds it.
    pub owners: Vec<Owner>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its inode.
    pub netns: Netns,
    /// Name under /run/netns (or a container runtime's folder), if it has one.
    pub name: Option<String>,
    /// A process in it, the oldest; none: none.
    pub process: Option<Owner>,
    /// Container, from that process.
    pub container: Option<String>,
    /// It is the namespace netdx itself runs in.
    pub own: bool,
}

/// A BPF program that can refuse or drop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfProgram {
    /// Program id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Attach type: connect4, connect6, sendmsg4, sendmsg6, egress, ingress, sock-create, tc-ingress, tc-egress, xdp, ...
    pub attach: String,
    /// Cgroup path or interface name.
    pub place: String,
}

/// One translation of a packet's addresses or ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translation {
    /// The namespace that does it (of a packet that was seen: where).
    pub netns: Netns,
    /// The endpoints the packet leaves it with; local is the source.
    pub to: Tuple,
}

/// What a packet was before its addresses or ports were translated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The endpoints it was sent with; local is the source.
    pub sent: Tuple,
    /// What became of it, in the order of its way; the last is what was asked about.
    pub translations: Vec<Translation>,
}

/// An IPsec policy for what is sent (`struct xfrm_userpolicy_info`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpsecPolicy {
    /// Source addresses with prefix length.
    pub source: (IpAddr, u8),
    /// Destination addresses with prefix length.
    pub destination: (IpAddr, u8),
    /// Protocol by number, 0: any.
    pub protocol: u8,
    /// Source port and mask; of ICMP something else.
    pub source_port: (u16, u16),
    /// Destination port and mask.
    pub destination_port: (u16, u16),
    /// Index of the interface, 0: any.
    pub device: u32,
    /// The one with the lowest number decides.
    pub priority: u32,
    /// Number of the policy.
    pub index: u32,
    /// It forbids what it is for; else it lets it pass, or wants it transformed.
    pub blocks: bool,
    /// What it wants done to them; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<IpsecEnd>,
}

/// Where protected packets go: what a policy wants, or a security association does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpsecEnd {
    /// The other end; unspecified: whoever the packet is for.
    pub destination: IpAddr,
    /// ESP 50, AH 51.
    pub protocol: u8,
}

/// A service of the kernel's load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvsService {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Address that is dialled.
    pub address: IpAddr,
    /// Port that is dialled.
    pub port: u16,
    /// Who serves it.
    pub servers: Vec<IpvsServer>,
}

/// One of those who serve such a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvsServer {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Its share; 0: no new connections.
    pub weight: u32,
}

/// A peer of a WireGuard interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireguardPeer {
    /// Addresses that it is sent what is for them, with prefix length.
    pub allowed: Vec<(IpAddr, u8)>,
    /// Where it is; none: not known, until it calls.
    pub endpoint: Option<SocketAddr>,
    /// How long ago both last agreed on keys (the latest handshake), seconds; none: never.
    pub agreed_ago_s: Option<u64>,
    /// Bytes sent to it.
    pub sent: u64,
    /// Bytes received from it.
    pub received: u64,
}

impl WireguardPeer {
    /// So long both may go on with keys (`REJECT_AFTER_TIME`, drivers/net/wireguard/messages.h), seconds. Whoever has something to
    /// send after that asks for new ones first.
    const KEPT_S: u64 = 180;

    /// Of several peers the one that is sent what is for an address.
    #[must_use]
    pub fn of(peers: &[WireguardPeer], address: IpAddr) -> Option<&WireguardPeer> {
        let fit = |peer: &WireguardPeer| {
            let all = peer.allowed.iter().filter(|(network, length)| covers(*network, *length, address));
            all.map(|(_, length)| *length).max()
        };
        peers.iter().filter_map(|peer| Some((fit(peer)?, peer))).max_by_key(|(length, _)| *length).map(|(_, peer)| peer)
    }

    /// It has something to agree on and does not answer.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.agreed_ago_s.is_none_or(|ago| ago > Self::KEPT_S)
    }
}

impl IpsecPolicy {
    /// Whether it is for packets with these endpoints, made here (`xfrm_selector_match`, Linux 6.18). A source that is not
    /// known yet is taken for one that fits.
    #[must_use]
    pub fn is_for(&self, packet: &Tuple, device: u32) -> bool {
        let within = |(network, length): (IpAddr, u8), address: IpAddr| covers(network, length, address);
        let port = |(wanted, mask): (u16, u16), port: u16| wanted & mask == port & mask;
        within(self.destination, packet.remote)
            && (packet.local.is_unspecified() || within(self.source, packet.local))
            && (self.protocol == 0 || packet.protocol.number() == Some(self.protocol))
            && port(self.destination_port, packet.remote_port)
            && (packet.local_port == 0 || port(self.source_port, packet.local_port))
            && (self.device == 0 || device == 0 || self.device == device)
    }
}

impl std::fmt::Display for IpsecPolicy {
    /// As `ip xfrm policy` has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ((source, of_source), (destination, of_destination)) = (self.source, self.destination);
        write!(f, "src {source}/{of_source} dst {destination}/{of_destination}")?;
        if self.protocol != 0 {
            write!(f, " proto {}", self.protocol)?;
        }
        if self.destination_port.1 != 0 {
            write!(f, " dport {}", self.destination_port.0)?;
        }
        write!(f, " dir out action {} index {}", if self.blocks { "block" } else { "allow" }, self.index)
    }
}

/// Connection tracking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conntrack {
    /// Entries.
    pub count: u64,
    /// Limit.
    pub max: u64,
    /// Drops for want of room.
    pub drop: u64,
    /// Packets found invalid.
    pub invalid: u64,
    /// Entries thrown out early to make room.
    #[serde(default)]
    pub early_drop: u64,
    /// Entries that could not be inserted, because another packet of the same tuple was faster or of a hash chain too long.
    #[serde(default)]
    pub insert_failed: u64,
    /// The kernel tells the counters (`drop` to `insert_failed`); false: they are unknown, and 0.
    #[serde(default)]
    pub counted: bool,
}

/// The host's table of neighbours of one family. All namespaces share it (`arp_tbl`, `nd_tbl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborTable {
    /// Entries, permanent ones with them, which don't count.
    pub entries: u32,
    /// Limit (`gc_thresh3`).
    pub limit: u32,
    /// How often there was no room since the host started (`table_fulls`).
    pub overflows: u64,
}

/// Whether a prefix has an address in it.
#[must_use]
pub fn covers(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => {
            (n.to_bits() ^ a.to_bits()).checked_shr(32u32.saturating_sub(length.into())).unwrap_or(0) == 0
        }
        (IpAddr::V6(n), IpAddr::V6(a)) => {
            (n.to_bits() ^ a.to_bits()).checked_shr(128u32.saturating_sub(length.into())).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_for_the_peer_with_the_longest_prefix() {
        let peer = |allowed: &[(&str, u8)], agreed_ago_s| WireguardPeer {
            allowed: allowed.iter().map(|(network, length)| (network.parse().unwrap(), *length)).collect(),
            endpoint: None,
            agreed_ago_s,
            sent: 0,
            received: 0,
        };
        let peers = [
            peer(&[("0.0.0.0", 0), ("fd00::", 8)], None),
            peer(&[("10.9.0.0", 24), ("10.0.0.0", 8)], Some(180)),
            peer(&[("10.9.0.0", 16)], Some(181)),
        ];
        let silent = |to: &str| WireguardPeer::of(&peers, to.parse().unwrap()).map(WireguardPeer::is_silent);
        assert_eq!(silent("10.9.0.7"), Some(false));
        assert_eq!(silent("10.9.1.7"), Some(true));
        assert_eq!(silent("10.8.0.7"), Some(false));
        assert_eq!(silent("192.0.2.1"), Some(true));
        assert_eq!(silent("2001:db8::1"), None);
    }
}
