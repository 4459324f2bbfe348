//! What the kernel said: one variant for each kind of record.
//!
//! Owns: the vocabulary of kernel events, as it goes into stories and recordings.
//! Must not know: bytes (see `decode`), verdicts, or where events come from.
//! Kernel addresses are names here, kernel enumerations are the names of their variants: a recording means the same
//! on every machine.

mod dns;

pub use dns::{Authority, DnsMessage, DnsQuestion, Empty};

use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// The name of a kernel function or of a value of a kernel enumeration.
pub type Name = Cow<'static, str>;

/// netdx's id of one attempt to connect (never a kernel pointer). In JSON a hex string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockId(pub u64);

/// A socket cookie (SO_COOKIE). In JSON a hex string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

/// A network namespace, by the inode of its nsfs file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Netns(pub u32);

macro_rules! hex_id {
    ($($t:ident)*) => {$(
        impl Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(&format_args!("{:x}", self.0))
            }
        }
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(d)?;
                u64::from_str_radix(&text, 16).map($t).map_err(serde::de::Error::custom)
            }
        }
    )*};
}
hex_id!(SockId Cookie);

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IPPROTO_TCP (6)
    Tcp,
    /// IPPROTO_UDP (17)
    Udp,
    /// IPPROTO_MPTCP (262): the connection that an application sees; its subflows are `Tcp`.
    Mptcp,
    /// IPPROTO_ICMP (1)
    Icmp,
    /// IPPROTO_ICMPV6 (58)
    Icmpv6,
    /// Any other, by number.
    Other(u16),
}

impl Protocol {
    /// Its number in IP packets; none: it is none of IP's (ARP).
    #[must_use]
    pub fn number(self) -> Option<u8> {
        match self {
            Protocol::Tcp | Protocol::Mptcp => Some(6),
            Protocol::Udp => Some(17),
            Protocol::Icmp => Some(1),
            Protocol::Icmpv6 => Some(58),
            Protocol::Other(number) => u8::try_from(number).ok(),
        }
    }
}

/// Two endpoints; for a packet, local is the source. IPv4-mapped IPv6 addresses are IPv4 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Protocol.
    pub protocol: Protocol,
    /// Local (source) address; unspecified: not known yet.
    pub local: IpAddr,
    /// Local (source) port; 0: not known yet.
    pub local_port: u16,
    /// Remote (destination) address.
    pub remote: IpAddr,
    /// Remote (destination) port.
    pub remote_port: u16,
}

impl Tuple {
    /// The same conversation seen from the other end.
    #[must_use]
    pub fn reversed(self) -> Tuple {
        Tuple {
            protocol: self.protocol,
            local: self.remote,
            local_port: self.remote_port,
            remote: self.local,
            remote_port: self.local_port,
        }
    }

    /// The same as a fragment behind the first has it, which carries no ports (RFC 791 §3.2, RFC 8200 §4.5).
    #[must_use]
    pub fn of_fragment(self) -> Tuple {
        Tuple { local_port: 0, remote_port: 0, ..self }
    }

    /// Whether a packet's endpoints are those of a fragment behind the first.
    #[must_use]
    pub fn is_of_fragment(self) -> bool {
        matches!(self.protocol, Protocol::Udp | Protocol::Tcp) && self == self.of_fragment()
    }
}

/// A task as the kernel had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Its network namespace; none while it exits.
    pub netns: Option<Netns>,
    /// Id of its cgroup (v2 hierarchy).
    pub cgroup: u64,
    /// Its name; bytes that are not UTF-8 replaced. Comes from outside: escape before showing.
    pub comm: String,
}

/// Where a process sees its files: two processes with the same root read the same `/etc/resolv.conf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Root {
    /// Inode of its mount namespace: a number that is given out again.
    pub mounts: u32,
    /// Id of its mount namespace, which is not; none: not known. (`NS_GET_MNTNS_ID` of linux/nsfs.h, 6.11.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounts_id: Option<u64>,
    /// Inode number of its root directory.
    pub inode: u64,
    /// When the process started.
    pub started: Time,
}

/// TCP states (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the kernel's own names")]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
    /// A number this version doesn't know.
    Unknown(u32),
}

/// Which side opened a connection, as far as the kernel side saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Opened {
    /// This socket connected.
    Here,
    /// A listener accepted it.
    ByPeer,
    /// It was there before netdx.
    Unseen,
}

/// A socket at the moment of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sock {
    /// Its attempt, if it is followed.
    pub id: Option<SockId>,
    /// Its cookie, if it has one.
    pub cookie: Option<Cookie>,
    /// Endpoints.
    pub tuple: Tuple,
    /// It is an AF_INET6 socket (its endpoints may be IPv4 all the same).
    pub v6: bool,
    /// Network namespace.
    pub netns: Netns,
    /// State (TCP's states; UDP uses Established for "connected" and Close for "not connected").
    pub state: TcpState,
    /// `sk_err`: positive errno, 0 none.
    pub error: i32,
    /// `sk_err_soft`.
    pub soft_error: i32,
    /// SO_MARK.
    pub mark: u32,
    /// SO_BINDTODEVICE: interface index, 0 none.
    pub bound_device: u32,
    /// A listener's accept-queue fill.
    pub backlog: u32,
    /// Its limit.
    pub max_backlog: u32,
    /// Who made it (`sk_uid`): rules that ask for a user ask for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Whether the application has closed it, or shut down both ways; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<bool>,
    /// Consecutive retransmissions unanswered.
    pub retransmits: u8,
    /// Which side opened it.
    pub opened: Opened,
}

impl Sock {
    /// A socket of which only its endpoints are known.
    #[must_use]
    pub fn unseen(tuple: Tuple, netns: Netns) -> Sock {
        Sock {
            id: None,
            cookie: None,
            tuple,
            v6: tuple.remote.is_ipv6(),
            netns,
            state: TcpState::Close,
            error: 0,
            soft_error: 0,
            mark: 0,
            bound_device: 0,
            backlog: 0,
            max_backlog: 0,
            uid: None,
            left: None,
            retransmits: 0,
            opened: Opened::Here,
        }
    }
}

/// An ICMP error as a socket has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpError {
    /// Who sent it.
    pub from: IpAddr,
    /// ICMPv6 numbers, not ICMP ones.
    pub v6: bool,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// MTU, for "fragmentation needed" and "packet too big".
    pub info: u32,
}

impl IcmpError {
    /// The errno (positive) that an ICMP error over IPv4 gives a socket: `icmp_err_convert`, and icmp_unreach for the rest
    /// (net/ipv4/icmp.c, 6.18). None: it gives none, or it is ICMPv6.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        const ENETUNREACH: i32 = 101;
        const EHOSTUNREACH: i32 = 113;
        match (self.v6, self.kind, self.code) {
            (true, ..) => None,
            (_, 3, 0 | 6 | 9 | 11) => Some(ENETUNREACH),
            (_, 3, 1 | 10 | 12..=15) | (_, 11, _) => Some(EHOSTUNREACH),
            (_, 3, 2) => Some(92),  // ENOPROTOOPT
            (_, 3, 3) => Some(111), // ECONNREFUSED
            (_, 3, 5) => Some(95),  // EOPNOTSUPP
            (_, 3, 7) => Some(112), // EHOSTDOWN
            (_, 3, 8) => Some(64),  // ENONET
            (_, 12, _) => Some(71), // EPROTO
            _ => None,
        }
    }
}

/// What TCP counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpCounters {
    /// Bytes the peer acknowledged (the SYN counts as one).
    pub bytes_acked: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Smoothed round-trip time, µs.
    pub rtt_us: u32,
    /// Segments retransmitted in all.
    pub retransmitted: u32,
    /// The peer's window, bytes.
    pub send_window: u32,
    /// Bytes written and not acknowledged.
    pub unacknowledged: u32,
    /// ms since a packet last came in.
    pub idle_ms: Option<u32>,
    /// TCP_USER_TIMEOUT in ms, 0 none.
    pub user_timeout_ms: u32,
    /// Keepalive or window probes unanswered.
    pub probes: u8,
    /// The first sequence number that is not acknowledged; before the handshake is done that of the SYN. 0: not known.
    #[serde(default)]
    pub sequence: u32,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// Endpoints: local is the source. None: not IP (ARP), or cut.
    pub tuple: Option<Tuple>,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgement number.
    pub acknowledgement: u32,
    /// Length in bytes as the stack had it.
    pub length: u32,
    /// Network namespace it was in.
    pub netns: Option<Netns>,
    /// Interface index it came in by, 0: made here.
    pub in_device: u32,
    /// Interface index it is at, 0: none yet.
    pub device: u32,
    /// That interface's name.
    pub device_name: String,
    /// TCP flags: FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Mark.
    pub mark: u32,
}

/// A question for the link address of a neighbour, or the answer to one: ARP (RFC 826), or a neighbour solicitation or
/// advertisement (RFC 4861).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// It is the question.
    pub asks: bool,
    /// The address that is asked for.
    pub asked: IpAddr,
    /// Who asks.
    pub by: IpAddr,
    /// The Ethernet address of the one who asks, in colon form, where the packet has it.
    pub link: Option<String>,
}

/// How an attempt was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// connect(2)
    Connect,
    /// io_uring
    IoUring,
    /// TCP Fast Open
    FastOpen,
    /// Not known.
    Unknown,
}

/// A call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// connect(2)
    Connect,
    /// bind(2)
    Bind,
    /// socket(2)
    Socket,
    /// send(2) and its kin
    Send,
    /// recv(2) and its kin
    Receive,
    /// connect by io_uring
    IoUringConnect,
    /// listen(2)
    Listen,
    /// Another, by number.
    Other(u16),
}

/// What the routing lookups of one call said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLookups {
    /// How many.
    pub count: u32,
    /// The main table was asked.
    pub main: bool,
    /// The local table was asked by itself (it is when there are policy rules).
    pub local: bool,
    /// Another table was asked.
    pub other: bool,
    /// The last table.
    pub table: u32,
    /// Its answer: 0 or a negative errno; -11: nothing in this table.
    pub error: i32,
    /// IPv6: the route's type (RTN_*), else 0.
    pub kind: u32,
    /// The interface asked for, 0: any.
    pub device: u32,
}

/// Where a dropped packet was, told from its route and devices (KERNEL.md 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "netfilter's own names")]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    Ingress,
    Egress,
}

/// The function that runs rules of nftables for frames on their way through a bridge.
pub const BRIDGE_RULES: &str = "nft_do_chain_bridge";

/// Netfilter's hooks, one after the other, end with a drop here.
pub const HOOKS: [&str; 2] = ["nf_hook_slow", "nf_hook_slow_list"];

/// Netfilter looked at a frame on its way through a bridge, with rules of their own: the stack has the function that runs
/// them (drops are made there since 6.7), or else the bridge's own code called the hooks. Rules for packets that a bridge asks
/// (br_netfilter) are called by `br_nf_pre_routing` and its kin.
#[must_use]
pub fn in_bridge(stack: &[Name]) -> bool {
    stack.iter().any(|frame| &**frame == BRIDGE_RULES)
        || asker(stack).is_some_and(|asker| {
            matches!(
                asker,
                "br_handle_frame"
                    | "br_handle_frame_finish"
                    | "br_pass_frame_up"
                    | "__br_forward"
                    | "br_forward"
                    | "br_forward_finish"
                    | BRIDGE_HOOKS
            )
        })
}

/// A bridge asked rules for packets about a frame (br_netfilter).
#[must_use]
pub fn asked_by_bridge(stack: &[Name]) -> bool {
    asker(stack).is_some_and(|asker| asker.starts_with("br_nf_") && asker != BRIDGE_HOOKS)
}

/// Where br_netfilter goes on with the bridge's own hooks.
const BRIDGE_HOOKS: &str = "br_nf_hook_thresh";

/// The function that had netfilter look at the packet.
fn asker(stack: &[Name]) -> Option<&str> {
    let is_hook = |frame: &&str| HOOKS.contains(frame);
    stack.iter().map(|frame| &**frame).skip_while(|frame| !is_hook(frame)).find(|frame| !is_hook(frame))
}

/// Netfilter dropped it: the reason says so or, where there is none or one that says nothing, the function that did.
#[must_use]
pub fn dropped_by_netfilter(reason: Option<&str>, at: Option<&str>) -> bool {
    match (reason, at) {
        (Some("NETFILTER_DROP"), _) => true,
        // Before 5.17 only the place tells.
        (None | Some("" | "NOT_SPECIFIED"), Some(at)) => {
            HOOKS.contains(&at)
                || matches!(at, "nft_do_chain" | "ipt_do_table" | "ip6t_do_table" | "arpt_do_table")
                || dropped_in_queue(at)
        }
        _ => false,
    }
}

/// A function that drops packets which a rule gave to a queue for a program (NFQUEUE, `queue`): nobody reads it or it is
/// full (`nf_queue`), or whoever reads it said so (`nf_reinject`, since 6.4 `nfqnl_reinject`).
#[must_use]
pub fn dropped_in_queue(at: &str) -> bool {
    matches!(at, "nf_queue" | "nf_reinject" | "nfqnl_reinject")
}

/// What a kernel said. Every event has its time beside it (`Stamped`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields are the nouns documented above")]
pub enum Event {
    /// A process began to connect, or (opened by peer) a listener got a connection. Comes first for its id.
    /// `dialled`: what the call asked for, if a BPF program sent it elsewhere.
    Attempt {
        started: Time,
        task: Option<Task>,
        sock: Sock,
        via: Via,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dialled: Option<SocketAddr>,
    },
    /// A TCP socket changed state.
    State {
        sock: Sock,
        old: TcpState,
        new: TcpState,
        current: Option<Task>,
        icmp: Option<IcmpError>,
        tcp: TcpCounters,
        stack: Arc<[Name]>,
    },
    /// An error was reported to a socket.
    SocketError { sock: Sock, icmp: Option<IcmpError>, current: Option<Task> },
    /// An RST came in.
    ResetReceived { sock: Sock, tcp: TcpCounters },
    /// This kernel's TCP sent an RST. `packet`: what it answers.
    ResetSent {
        packet: Option<Packet>,
        sock: Option<Sock>,
        reason: Option<Name>,
        current: Option<Task>,
        stack: Arc<[Name]>,
    },
    /// A segment was sent again. `result`: 0, negative errno, positive NET_XMIT code; none: not told.
    Retransmit { sock: Sock, tcp: TcpCounters, result: Option<i32>, length: u32, sequence: u32 },
    /// A listener sent its SYN-ACK again.
    SynAckRetransmit { listener: Sock, tuple: Tuple, retransmits: u32 },
    /// A packet was dropped. `inner`: it was a tunnel's, and had this one in it. `at`: the function that dropped it. `discovery`:
    /// it was a question for a neighbour's link address or the answer; of ARP the packet has no endpoints.
    Drop {
        packet: Packet,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inner: Option<Box<Packet>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        discovery: Option<Discovery>,
        sock: Option<Sock>,
        receiver: bool,
        reason: Option<Name>,
        at: Option<Name>,
        hook: Option<Hook>,
        current: Option<Task>,
        stack: Arc<[Name]>,
    },
    /// An ICMP error came in. `quoted`: the packet it complains of (local is its source).
    IcmpReceived { packet: Packet, quoted: Option<Tuple>, info: u32 },
    /// This kernel sent an ICMP error about `packet` (whose `icmp_type`, `icmp_code` are the answer's).
    IcmpSent { packet: Packet, stack: Arc<[Name]> },
    /// A neighbour did not answer.
    NeighborFailed { netns: Netns, address: IpAddr, device: u32, device_name: String },
    /// A call failed. `result`: negative errno (-512 ... -516: interrupted).
    CallFailed {
        call: Call,
        started: Option<Time>,
        task: Task,
        sock: Option<Sock>,
        address: Option<IpAddr>,
        family: u16,
        port: u16,
        socket_type: u16,
        protocol: u32,
        scope: u32,
        result: i32,
        cgroup_hook: Option<bool>,
        route: RouteLookups,
    },
    /// A DNS message.
    Dns {
        current: Option<Task>,
        cookie: Option<Cookie>,
        tuple: Tuple,
        netns: Option<Netns>,
        leaving: bool,
        /// For a query: when the call of getaddrinfo began that its thread is in; none: it is in none that is observed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resolving: Option<Time>,
        message: DnsMessage,
    },
    /// A SYN reached a listener whose accept queue is full.
    ListenOverflow { listener: Sock, packet: Packet },
    /// What a process is.
    Process {
        task: Task,
        started: Time,
        parent: u32,
        argv: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<Root>,
    },
    /// A process ended. `status`: wait status.
    ProcessExit { task: Task, status: u32 },
    /// getaddrinfo returned. `result`: 0 or EAI_*.
    GetAddrInfo { task: Task, started: Time, result: i32, family: u32, name: String, service: String },
}

impl Event {
    /// It is no packet that was dropped, but what the kernel makes up to answer a question about a route (`ip route get`,
    /// netdx's own): inet_rtm_getroute, 5.10 to 6.18.
    #[must_use]
    pub fn is_of_question(&self) -> bool {
        matches!(self, Event::Drop { at: Some(at), .. } if at == "inet_rtm_getroute")
    }
}
