//! Ring-buffer records: one `repr(C)` struct for each kind.
//!
//! A socket that netdx follows has an id of its own (`Sock::id`, never a kernel pointer, never reused within a run):
//! programs find it by the socket's address in a map. Zero means "no socket, or one that isn't followed".

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Length of a task's `comm`, terminator included (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;
/// How much of a command line is kept.
pub const ARGV_LEN: usize = 256;
/// Kernel stack frames kept with a record.
pub const STACK_DEPTH: usize = 12;
/// Length of an interface name, terminator included (`IFNAMSIZ`).
pub const IFNAME_LEN: usize = 16;
/// The most of a DNS message that is carried (a message may be longer: `Dns::length` says how long it was).
pub const DNS_LEN: usize = 1024;
/// Longest name that getaddrinfo's record carries (RFC 1035 §2.3.4: 253 characters in text form).
pub const NAME_LEN: usize = 256;
/// Longest service that getaddrinfo's record carries.
pub const SERVICE_LEN: usize = 32;

macro_rules! wire {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$fm:meta])* pub $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
        pub struct $name { $($(#[$fm])* pub $field: $ty,)* }
    )*};
}

/// What a record is. A newtype and not an enum: an unknown number from a newer object is data, not undefined behaviour.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Kind(pub u16);

impl Kind {
    /// [`Attempt`]
    pub const ATTEMPT: Kind = Kind(1);
    /// [`State`]
    pub const STATE: Kind = Kind(2);
    /// [`SocketError`]
    pub const SOCKET_ERROR: Kind = Kind(3);
    /// [`ResetReceived`]
    pub const RESET_RECEIVED: Kind = Kind(4);
    /// [`ResetSent`]
    pub const RESET_SENT: Kind = Kind(5);
    /// [`Retransmit`]
    pub const RETRANSMIT: Kind = Kind(6);
    /// [`SynAckRetransmit`]
    pub const SYNACK_RETRANSMIT: Kind = Kind(7);
    /// [`Drop`]
    pub const DROP: Kind = Kind(8);
    /// [`IcmpReceived`]
    pub const ICMP_RECEIVED: Kind = Kind(9);
    /// [`IcmpSent`]
    pub const ICMP_SENT: Kind = Kind(10);
    /// [`NeighborFailed`]
    pub const NEIGHBOR_FAILED: Kind = Kind(11);
    /// [`CallFailed`]
    pub const CALL_FAILED: Kind = Kind(12);
    /// [`Dns`]
    pub const DNS: Kind = Kind(13);
    /// [`ListenOverflow`]
    pub const LISTEN_OVERFLOW: Kind = Kind(14);
    /// [`Process`]
    pub const PROCESS: Kind = Kind(15);
    /// [`ProcessExit`]
    pub const PROCESS_EXIT: Kind = Kind(16);
    /// [`GetAddrInfo`]
    pub const GETADDRINFO: Kind = Kind(17);
    /// [`ResetAnswer`]
    pub const RESET_ANSWER: Kind = Kind(18);
    /// [`ResetEnd`]
    pub const RESET_END: Kind = Kind(19);
}

wire! {
    /// The beginning of every record.
    pub struct Header {
        /// What follows.
        pub kind: Kind,
        /// Size of the whole record in bytes, this header included.
        pub size: u16,
        /// The CPU it was written on.
        pub cpu: u32,
        /// When, in ns of CLOCK_BOOTTIME (`bpf_ktime_get_boot_ns`).
        pub time: u64,
    }

    /// A task, read in its own context (never from a softirq that interrupted it).
    pub struct Task {
        /// Process id (thread group id) in the initial pid namespace; 0: unknown.
        pub tgid: u32,
        /// Thread id in the initial pid namespace.
        pub tid: u32,
        /// Real user id in the initial user namespace.
        pub uid: u32,
        /// Inode of its network namespace; 0: none (a task that is exiting).
        pub netns: u32,
        /// Id of its cgroup in the v2 hierarchy (the inode of its directory).
        pub cgroup: u64,
        /// Name, NUL-padded, any bytes.
        pub comm: [u8; COMM_LEN],
    }

    /// No record of the ring: a step of the walk over all tasks.
    pub struct Walked {
        /// Process id in the initial pid namespace.
        pub tgid: u32,
        /// Thread id in the initial pid namespace: the process id, unless this thread is in another namespace than that.
        pub tid: u32,
        /// Inode of its network namespace.
        pub netns: u32,
    }

    /// Two endpoints. For a socket "local" is its own; for a packet "local" is the source.
    #[repr(align(8))]
    pub struct Tuple {
        /// AF_INET (2) or AF_INET6 (10); 0: nothing known. IPv4-mapped addresses keep AF_INET6.
        pub family: u16,
        /// IPPROTO_TCP, IPPROTO_UDP, IPPROTO_MPTCP (262), ...
        pub protocol: u16,
        /// Port of the local end (source), host order; 0: not bound yet.
        pub local_port: u16,
        /// Port of the remote end (destination), host order.
        pub remote_port: u16,
        /// Local (source) address.
        pub local: [u8; 16],
        /// Remote (destination) address.
        pub remote: [u8; 16],
    }

    /// A socket at the moment of the record.
    pub struct Sock {
        /// netdx's own id of this connection attempt; 0: not followed.
        pub id: u64,
        /// Socket cookie; 0: none was ever made (kernels before 5.12 make none in a tracing program).
        pub cookie: u64,
        /// Its endpoints.
        pub tuple: Tuple,
        /// Inode of its network namespace.
        pub netns: u32,
        /// `sk_err`, a positive errno.
        pub error: i32,
        /// `sk_err_soft`, a positive errno.
        pub soft_error: i32,
        /// `sk_mark`.
        pub mark: u32,
        /// `skc_bound_dev_if`: the interface it is bound to; 0: none.
        pub bound_device: u32,
        /// `sk_ack_backlog`: fill of a listener's accept queue.
        pub backlog: u32,
        /// `sk_max_ack_backlog`.
        pub max_backlog: u32,
        /// `sk_uid`: who made it, by which rules go; [`u32::MAX`]: not known.
        pub uid: u32,
        /// `skc_state`: TCP_ESTABLISHED = 1 ... TCP_NEW_SYN_RECV = 12.
        pub state: u8,
        /// `icsk_retransmits` (TCP only).
        pub retransmits: u8,
        /// 1: this side opened the connection, 2: accepted by a listener, 0: not seen.
        pub direction: u8,
        /// 1: the application has closed it, or shut down both ways (TCP only).
        pub left: u8,
        /// Padding.
        pub _pad: u32,
    }

    /// An ICMP error as the socket has it (`sock_exterr_skb` at the tail of `sk_error_queue`). All zero: none.
    pub struct IcmpError {
        /// Who sent it.
        pub from: [u8; 16],
        /// `ee_info`: the MTU for "fragmentation needed".
        pub info: u32,
        /// SO_EE_ORIGIN_ICMP (2) or SO_EE_ORIGIN_ICMP6 (3); 0: no ICMP error.
        pub origin: u8,
        /// ICMP type.
        pub kind: u8,
        /// ICMP code.
        pub code: u8,
        /// Padding.
        pub _pad: u8,
    }

    /// What TCP counted on a connection (`tcp_sock`). Zero where a kernel has no such field.
    pub struct TcpCounters {
        /// `bytes_acked`.
        pub bytes_acked: u64,
        /// `bytes_received`.
        pub bytes_received: u64,
        /// `srtt_us` / 8, in µs.
        pub rtt_us: u32,
        /// `total_retrans`.
        pub retransmitted: u32,
        /// `snd_wnd`: the peer's receive window in bytes.
        pub send_window: u32,
        /// `write_seq - snd_una`: bytes not acknowledged, in flight or queued.
        pub unacknowledged: u32,
        /// `tcp_jiffies32 - rcv_tstamp`/HZ is not computable in a program: ms since the last packet came in; u32::MAX: unknown.
        pub idle_ms: u32,
        /// `icsk_user_timeout` in ms; 0: none.
        pub user_timeout_ms: u32,
        /// `icsk_probes_out`: unanswered keepalive or window probes.
        pub probes: u8,
        /// Padding.
        pub _pad: [u8; 3],
        /// `snd_una`: the first sequence number that is not acknowledged; before the handshake is done that of the SYN.
        pub sequence: u32,
    }

    /// A packet (`sk_buff`). In [`Packet::tuple`] local is the source and remote the destination.
    pub struct Packet {
        /// Endpoints and protocol; for ICMP the ports are 0. A packet of ARP: ETH_P_ARP for the protocol, the sender's
        /// address as local, the target's as remote, its operation as `icmp_type`.
        pub tuple: Tuple,
        /// TCP sequence number.
        pub sequence: u32,
        /// TCP acknowledgement number.
        pub acknowledgement: u32,
        /// `skb->len`, bytes.
        pub length: u32,
        /// Inode of the network namespace it was in; 0: unknown.
        pub netns: u32,
        /// `skb->skb_iif`: the interface it came in by; 0: made here.
        pub in_device: u32,
        /// `skb->dev->ifindex`; 0: no device yet.
        pub device: u32,
        /// `skb->dev->name`.
        pub device_name: [u8; IFNAME_LEN],
        /// TCP flags (FIN 1, SYN 2, RST 4, PSH 8, ACK 16).
        pub tcp_flags: u8,
        /// ICMP type, when the protocol is ICMP or ICMPv6; operation, when it is ARP.
        pub icmp_type: u8,
        /// ICMP code.
        pub icmp_code: u8,
        /// IPv4 TTL or IPv6 hop limit.
        pub ttl: u8,
        /// `skb->mark`.
        pub mark: u32,
    }

    /// The kernel stack at the record, innermost first; unused entries are 0. Kernel addresses: they become names in
    /// the loader and go no further.
    pub struct Stack {
        /// Return addresses.
        pub frames: [u64; STACK_DEPTH],
    }

    /// What the routing lookups of this task's last call said (fib_table_lookup, fib6_table_lookup). All zero: none seen.
    pub struct RouteLookups {
        /// How many there were.
        pub count: u32,
        /// Tables that were asked, as bits: 1 main (254), 2 local (255), 4 any other.
        pub tables: u32,
        /// The table of the last one that found something or failed for good.
        pub table: u32,
        /// Its result: 0, or a negative errno (-11 EAGAIN: nothing in this table).
        pub error: i32,
        /// IPv6: the route's type (`fib6_type`, RTN_*); IPv4: 0.
        pub kind: u32,
        /// `flowi_oif` asked for; 0: any.
        pub device: u32,
    }

    /// Where a call asked to connect to, if the socket was sent elsewhere: BPF programs of control groups may do that
    /// (`BPF_CGROUP_INET4_CONNECT`, `BPF_CGROUP_INET6_CONNECT`).
    pub struct Dialled {
        /// AF_INET or AF_INET6; 0: where it went.
        pub family: u16,
        /// Port, host order.
        pub port: u16,
        /// Address.
        pub address: [u8; 16],
    }

    /// [`Kind::ATTEMPT`]: a process began to connect (TCP_CLOSE to TCP_SYN_SENT in its own context), or, with
    /// `Sock::direction` 2, a listener got a connection. Written when the first trouble shows, or at once when all
    /// connections are asked for; comes before any other record of the same id.
    pub struct Attempt {
        /// Header; its time is when this was written.
        pub header: Header,
        /// When the attempt began (CLOCK_BOOTTIME ns).
        pub started: u64,
        /// Who (tgid 0: not known, the socket was there before netdx or was opened by a peer).
        pub task: Task,
        /// The socket now.
        pub sock: Sock,
        /// How it was begun: 1 connect(2), 2 io_uring, 3 TCP Fast Open (sendmsg), 0 not known.
        pub via: u32,
        /// What the call asked for.
        pub dialled: Dialled,
    }

    /// [`Kind::STATE`]: a TCP socket changed state (`inet_sock_set_state`).
    pub struct State {
        /// Header.
        pub header: Header,
        /// The socket, with its endpoints as they were before teardown erased them.
        pub sock: Sock,
        /// State before.
        pub old: u32,
        /// State after.
        pub new: u32,
        /// Whoever was running (a softirq may have interrupted it: compare the tgid with the attempt's).
        pub current: Task,
        /// The ICMP error on the socket.
        pub icmp: IcmpError,
        /// Counters.
        pub tcp: TcpCounters,
        /// How the kernel came here (only on a change to TCP_CLOSE).
        pub stack: Stack,
    }

    /// [`Kind::SOCKET_ERROR`]: an error was reported to a socket (`inet_sk_error_report`), TCP or UDP. Not for a TCP socket
    /// whose [`State`] record has told it.
    pub struct SocketError {
        /// Header.
        pub header: Header,
        /// The socket; `Sock::error` is the error.
        pub sock: Sock,
        /// The ICMP error behind it, where the socket's queue has it.
        pub icmp: IcmpError,
        /// Whoever was running.
        pub current: Task,
    }

    /// [`Kind::RESET_END`]: an RST came in (`tcp_receive_reset`) and ended the connection: what [`Attempt`],
    /// [`ResetReceived`] and [`State`] say, in one record, for a refused connection is what fails most. It has no stack, and
    /// nobody ran whom it concerns.
    pub struct ResetEnd {
        /// Header; its time is when the RST came in, which the change to TCP_CLOSE follows at once.
        pub header: Header,
        /// The socket at that time, with its endpoints as they were before teardown erased them.
        pub sock: Sock,
        /// Counters: the same before the change and after.
        pub tcp: TcpCounters,
        /// The ICMP error on the socket.
        pub icmp: IcmpError,
        /// When the RST came in (CLOCK_BOOTTIME ns).
        pub received: u64,
        /// As in [`Attempt`].
        pub started: u64,
        /// As in [`Attempt`].
        pub task: Task,
        /// As in [`Attempt`].
        pub via: u32,
        /// The state before.
        pub old: u16,
        /// 1: no [`Attempt`] was written before, this is it, too.
        pub first: u16,
        /// As in [`Attempt`].
        pub dialled: Dialled,
        /// Padding.
        pub _pad: u32,
    }

    /// [`Kind::RESET_RECEIVED`]: an RST came in for a socket that it did not end (`tcp_receive_reset`).
    pub struct ResetReceived {
        /// Header.
        pub header: Header,
        /// The socket, in the state it had.
        pub sock: Sock,
        /// Counters.
        pub tcp: TcpCounters,
    }

    /// [`Kind::RESET_ANSWER`]: this kernel's TCP answered a packet with an RST because it found no socket for it
    /// (`tcp_send_reset`). That the packet was then dropped is not written by itself.
    pub struct ResetAnswer {
        /// Header.
        pub header: Header,
        /// The packet that is answered.
        pub packet: Packet,
        /// `enum sk_rst_reason`; -1: this kernel gives none.
        pub reason: i32,
        /// Padding.
        pub _pad: u32,
    }

    /// [`Kind::RESET_SENT`]: this kernel's TCP sent an RST for a socket (`tcp_send_reset`).
    pub struct ResetSent {
        /// Header.
        pub header: Header,
        /// The packet that is answered; family 0: none (an abort by this side).
        pub packet: Packet,
        /// The socket (a listener, an aborted connection).
        pub sock: Sock,
        /// Whoever was running, when there is no packet; else all zero: a softirq's task says nothing.
        pub current: Task,
        /// `enum sk_rst_reason`; -1: this kernel gives none.
        pub reason: i32,
        /// Padding.
        pub _pad: u32,
        /// How the kernel came here.
        pub stack: Stack,
    }

    /// [`Kind::RETRANSMIT`]: a segment was sent again (`tcp_retransmit_skb`).
    pub struct Retransmit {
        /// Header.
        pub header: Header,
        /// The socket.
        pub sock: Sock,
        /// Counters.
        pub tcp: TcpCounters,
        /// Result of the send: 0, negative errno, positive NET_XMIT code; i32::MIN: this kernel doesn't tell.
        pub result: i32,
        /// Payload length of the segment in bytes.
        pub length: u32,
        /// Its sequence number (`TCP_SKB_CB(skb)->seq`).
        pub sequence: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// [`Kind::SYNACK_RETRANSMIT`]: a listener sent its SYN-ACK again (`tcp_retransmit_synack`).
    pub struct SynAckRetransmit {
        /// Header.
        pub header: Header,
        /// The listener.
        pub listener: Sock,
        /// The half-open connection, local end first.
        pub tuple: Tuple,
        /// `num_timeout`/`num_retrans` of the request.
        pub retransmits: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// [`Kind::DROP`]: a packet was dropped (`kfree_skb`).
    pub struct Drop {
        /// Header.
        pub header: Header,
        /// The packet.
        pub packet: Packet,
        /// Of a tunnel's: what the headers of the packet in it say; the rest is zero (family 0: none).
        pub inner: Packet,
        /// The socket that had sent it or was to get it (family 0: none).
        pub sock: Sock,
        /// `enum skb_drop_reason`; -1: this kernel gives none.
        pub reason: i32,
        /// 1: the socket is the receiver (`rx_sk`), 2: it is the packet's own (`skb->sk`), 0: none.
        pub socket_role: u32,
        /// Return address of the call that dropped it. Goes no further than the loader.
        pub location: u64,
        /// `dst->input` of the packet's route, or 0: tells the netfilter hook. Goes no further than the loader.
        pub route_input: u64,
        /// Of a neighbour solicitation or advertisement: the address that it is about.
        pub discovery_target: [u8; 16],
        /// Of it or of ARP: the Ethernet address of the one who asks, where the packet has it; else zero.
        pub discovery_link: [u8; 8],
        /// Whoever was running, for a packet made here; else all zero: a softirq's task says nothing.
        pub current: Task,
        /// How the kernel came here; all zero for reasons that have one place only (`config::PLAIN_DROPS`).
        pub stack: Stack,
    }

    /// [`Kind::ICMP_RECEIVED`]: an ICMP or ICMPv6 error came in (`netif_receive_skb`).
    pub struct IcmpReceived {
        /// Header.
        pub header: Header,
        /// The ICMP packet itself (`icmp_type`, `icmp_code`).
        pub packet: Packet,
        /// The packet it quotes: local is its source.
        pub quoted: Tuple,
        /// Bytes 4..8 of the ICMP header, host order: the MTU for "fragmentation needed" (low 16 bits) and "packet too big".
        pub info: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// [`Kind::ICMP_SENT`]: this kernel sends an ICMP error (`icmp_send`; ICMPv6 has no such tracepoint).
    pub struct IcmpSent {
        /// Header.
        pub header: Header,
        /// The packet that is answered (`icmp_type`, `icmp_code`: those of the answer).
        pub packet: Packet,
        /// How the kernel came here.
        pub stack: Stack,
    }

    /// [`Kind::NEIGHBOR_FAILED`]: a neighbour did not answer (`neigh_timer_handler`, state NUD_FAILED).
    pub struct NeighborFailed {
        /// Header.
        pub header: Header,
        /// The neighbour's address.
        pub address: [u8; 16],
        /// AF_INET or AF_INET6.
        pub family: u16,
        /// Padding.
        pub _pad: u16,
        /// Inode of the network namespace.
        pub netns: u32,
        /// Interface index.
        pub device: u32,
        /// Padding.
        pub _pad2: u32,
        /// Interface name.
        pub device_name: [u8; IFNAME_LEN],
    }

    /// [`Kind::CALL_FAILED`]: a call of an application on a socket failed.
    pub struct CallFailed {
        /// Header; its time is the call's return.
        pub header: Header,
        /// When the call began (CLOCK_BOOTTIME ns); 0: the entry wasn't seen (seccomp answers before it).
        pub started: u64,
        /// Who.
        pub task: Task,
        /// The socket; family 0: it could not be found (no such descriptor, call refused before).
        pub sock: Sock,
        /// The address given (remote of connect and sendto, local of bind), as the application wrote it.
        pub address: [u8; 16],
        /// AF_* of that address, or of the socket asked for; 0: none given.
        pub family: u16,
        /// Port given, host order.
        pub port: u16,
        /// Which call: [`call`].
        pub call: u16,
        /// SOCK_STREAM, SOCK_DGRAM, ... of the socket; 0: unknown.
        pub socket_type: u16,
        /// The result: a negative errno (-512 ... -516: interrupted by a signal).
        pub result: i32,
        /// 1: a cgroup/connect program slot was reached in this call, 0: not reached, 2: netdx has no program there.
        pub cgroup_hook: u32,
        /// IPv6 scope id given.
        pub scope: u32,
        /// Protocol asked for (socket) .
        pub protocol: u32,
        /// Routing lookups of the call.
        pub route: RouteLookups,
    }

    /// [`Kind::DNS`]: a DNS message, `data` cut to what is there. The record's size is [`DNS_HEAD`] + bytes carried.
    pub struct Dns {
        /// Header.
        pub header: Header,
        /// Sender's process for a query; all zero for an answer: a softirq's task says nothing.
        pub current: Task,
        /// Cookie of the socket: the same for query and answer.
        pub cookie: u64,
        /// Seen from the socket: local end first, in both directions.
        pub tuple: Tuple,
        /// Inode of the network namespace; 0: unknown.
        pub netns: u32,
        /// 1: leaving this socket, 2: arriving at it.
        pub flow: u16,
        /// Length of the message in bytes.
        pub length: u16,
        /// For a query: when the call of getaddrinfo began that its thread is in; 0: none is known.
        pub resolving: u64,
        /// The message from its header on (the two length bytes of TCP left out).
        pub data: [u8; DNS_LEN],
    }

    /// [`Kind::LISTEN_OVERFLOW`]: a SYN reached a listener whose accept queue is full.
    pub struct ListenOverflow {
        /// Header.
        pub header: Header,
        /// The listener, with its backlog.
        pub listener: Sock,
        /// The SYN: local is its source.
        pub packet: Packet,
    }

    /// [`Kind::PROCESS`]: what a process is, once for each program it runs, before its first other record.
    pub struct Process {
        /// Header.
        pub header: Header,
        /// Who.
        pub task: Task,
        /// When it started (`task->start_boottime`, ns).
        pub started: u64,
        /// Its parent's tgid.
        pub parent: u32,
        /// Bytes of `argv` that are filled.
        pub argv_len: u32,
        /// Inode number of its root directory (`inode->i_ino`); 0: unknown.
        pub root: u64,
        /// Inode of its mount namespace; 0: unknown, or the process is exiting.
        pub mounts: u32,
        /// Padding.
        pub _pad: u32,
        /// Id of its mount namespace, which is given out once; 0: unknown.
        pub mounts_id: u64,
        /// Command line: arguments, each ended by NUL, cut.
        pub argv: [u8; ARGV_LEN],
    }

    /// [`Kind::PROCESS_EXIT`]: a process that has had records ended.
    pub struct ProcessExit {
        /// Header.
        pub header: Header,
        /// Who.
        pub task: Task,
        /// Wait status (`task->exit_code`): low 7 bits the signal, bits 8..16 the exit status.
        pub status: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// [`Kind::GETADDRINFO`]: a call of the C library's resolver ended.
    pub struct GetAddrInfo {
        /// Header; its time is the call's return.
        pub header: Header,
        /// Who.
        pub task: Task,
        /// When it was called.
        pub started: u64,
        /// 0, or an EAI_* code (negative with glibc and musl).
        pub result: i32,
        /// `hints.ai_family`; 0: any, or no hints.
        pub family: u32,
        /// Name asked for, NUL-terminated.
        pub name: [u8; NAME_LEN],
        /// Service asked for, NUL-terminated.
        pub service: [u8; SERVICE_LEN],
    }
}

/// Bytes of a [`Dns`] record before its data.
pub const DNS_HEAD: usize = core::mem::offset_of!(Dns, data);

/// [`CallFailed::call`].
pub mod call {
    /// connect(2)
    pub const CONNECT: u16 = 1;
    /// bind(2)
    pub const BIND: u16 = 2;
    /// socket(2)
    pub const SOCKET: u16 = 3;
    /// send(2) and its kin
    pub const SEND: u16 = 4;
    /// recv(2) and its kin
    pub const RECEIVE: u16 = 5;
    /// IORING_OP_CONNECT
    pub const IO_URING_CONNECT: u16 = 6;
    /// listen(2)
    pub const LISTEN: u16 = 7;
}
