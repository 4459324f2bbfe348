//! All maps, and the values the programs keep in their own.
//!
//! Owns: what is kept between two runs of a program. Names that the loader uses are in `netdx_common::config`.

use crate::probes::{Note, Watched};
use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use netdx_common::{
    config::Counts,
    record::{ARGV_LEN, Dialled, Dns, NAME_LEN, ResetSent, RouteLookups, SERVICE_LEN, Sock, Task},
};
use zerocopy::FromZeros;

/// Records on their way to user space.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// What is counted, by CPU. User space has it mapped: asked for an element, the kernel keeps classic tracepoint programs from
/// running on that CPU, also while whoever asks is interrupted (bpf_disable_instrumentation).
#[map]
pub static COUNTS: Array<Counts> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Events that the first program of a tracepoint was run for on this CPU and the second one not yet, by [`Watched`].
#[map]
pub static NOTES: PerCpuArray<Note> = PerCpuArray::with_max_entries(Watched::COUNT, 0);

/// When the reader was last woken by this CPU.
#[map]
pub static WOKEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// How many records of what others cause were written lately, by CPU.
#[map]
pub static FLOOD: PerCpuArray<Flood> = PerCpuArray::with_max_entries(1, 0);

/// Filter: process ids.
#[map]
pub static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(1024, 0);

/// Filter: user ids.
#[map]
pub static UIDS: HashMap<u32, u8> = HashMap::with_max_entries(256, 0);

/// Filter: network namespaces.
#[map]
pub static NETNS: HashMap<u32, u8> = HashMap::with_max_entries(1024, 0);

/// Filter: cgroups.
#[map]
pub static CGROUPS: HashMap<u64, u8> = HashMap::with_max_entries(256, 0);

/// Filter: processes of a tree.
#[map]
pub static TREE: HashMap<u32, u8> = HashMap::with_max_entries(32768, 0);

/// TCP sockets that are followed, by address.
#[map]
pub static CONNS: LruHashMap<u64, Conn> = LruHashMap::with_max_entries(65536, 0);

/// The last call of a thread, by thread id: under way until its `family` is [`Call::NONE`]. An entry stays until its thread
/// ends, for to make one and to remove it takes longer than all else that is done for a call that works.
#[map]
pub static CALLS: LruHashMap<u32, Call> = LruHashMap::with_max_entries(16384, 0);

/// Connects by io_uring under way, by request.
#[map]
pub static REQUESTS: LruHashMap<u64, Request> = LruHashMap::with_max_entries(4096, 0);

/// The request that a thread submitted last.
#[map]
pub static SUBMITTED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4096, 0);

/// The last routing lookup of a thread that failed, outside of a call that is kept.
#[map]
pub static FAILED_LOOKUPS: LruHashMap<u32, FailedLookup> = LruHashMap::with_max_entries(4096, 0);

/// Processes that may have records, by process id.
#[map]
pub static PROCESSES: LruHashMap<u32, Known> = LruHashMap::with_max_entries(4096, 0);

/// Sockets that sent a DNS query, by cookie. No hook tells that a UDP socket is closed: an entry stays until others need
/// its place, and does no harm, for no cookie is given out twice. The value: in which directions (`Dns::flow`) the last
/// segment was but the length of a message over TCP.
#[map]
pub static DNS_SOCKETS: LruHashMap<u64, u16> = LruHashMap::with_max_entries(8192, 0);

/// Room for a DNS message: 0 for one that leaves, 1 for one that arrives (a softirq may interrupt the other).
#[map]
pub static DNS_SCRATCH: PerCpuArray<Dns> = PerCpuArray::with_max_entries(2, 0);

/// Room to look at what may be worth a record while the ring is full.
#[map]
pub static SCRATCH: PerCpuArray<[u64; SCRATCH_SIZE / 8]> = PerCpuArray::with_max_entries(1, 0);

/// That of the largest record it is used for.
pub const SCRATCH_SIZE: usize = size_of::<ResetSent>();

/// The packet that this CPU answered with a reset last, by address: its end, which follows at once, says no more.
#[map]
pub static ANSWERED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Calls of getaddrinfo under way, by thread id.
#[map]
pub static LOOKUPS: LruHashMap<u32, Lookup> = LruHashMap::with_max_entries(2048, 0);

/// Records of what others cause.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flood {
    /// When they began to be counted.
    pub began: u64,
    /// How many since.
    pub count: u64,
}

/// A TCP socket that is followed.
#[repr(C)]
#[derive(Clone, Copy, FromZeros)]
pub struct Conn {
    /// When it began to connect, or was first seen.
    pub started: u64,
    /// When a reset came in for it; 0: none did.
    pub reset: u64,
    /// Who connected; all zero: not known.
    pub task: Task,
    /// Its id on the wire, its direction, and the rest as last seen (at first its endpoints only), for the kernel erases the
    /// endpoints before it says that it closed.
    pub last: Sock,
    /// As in `Attempt`.
    pub via: u32,
    /// As in `Attempt`.
    pub dialled: Dialled,
    /// [`Conn::WRITTEN`], [`Conn::TROUBLE`], [`Conn::ENDED`].
    pub flags: u8,
    /// Retransmissions written.
    pub retransmits: u8,
    /// Drops written.
    pub drops: u8,
    /// Padding.
    pub _pad: [u8; 5],
}

impl Conn {
    /// Its `Attempt` is written.
    pub const WRITTEN: u8 = 1;
    /// Something went wrong: what follows is written too.
    pub const TROUBLE: u8 = 2;
    /// Its end was written, with the error it ended with.
    pub const ENDED: u8 = 4;
}

/// A call.
#[repr(C)]
#[derive(Clone, Copy, FromZeros)]
pub struct Call {
    /// When it began.
    pub started: u64,
    /// The attempt it began; 0: none (yet).
    pub id: u64,
    /// The socket of that, by address; 0: none, or it began attempts of several (a multipath socket and its subflow).
    pub sock: u64,
    /// Address given.
    pub address: [u8; 16],
    /// Routing lookups so far.
    pub route: RouteLookups,
    /// Descriptor.
    pub fd: i32,
    /// IPv6 scope given.
    pub scope: u32,
    /// Protocol given.
    pub protocol: u32,
    /// 1: a cgroup/connect program was reached.
    pub cgroup_hook: u32,
    /// Family given; [`Call::FOREIGN`]: a call that isn't written; [`Call::NONE`]: it has returned.
    pub family: u16,
    /// Port given, host order.
    pub port: u16,
    /// Type given.
    pub socket_type: u16,
    /// Which: one of `netdx_common::record::call`.
    pub which: u16,
}

impl Call {
    /// In `family`: not ours, but its entry was seen.
    pub const FOREIGN: u16 = u16::MAX;

    /// In `family`: no call is under way.
    pub const NONE: u16 = u16::MAX - 1;
}

/// A new entry for a call.
pub static NO_CALL: Call = Call {
    started: 0,
    id: 0,
    sock: 0,
    address: [0; 16],
    route: RouteLookups { count: 0, tables: 0, table: 0, error: 0, kind: 0, device: 0 },
    fd: -1,
    scope: 0,
    protocol: 0,
    cgroup_hook: 0,
    family: Call::NONE,
    port: 0,
    socket_type: 0,
    which: 0,
};

/// A connect by io_uring.
#[repr(C)]
#[derive(Clone, Copy, FromZeros)]
pub struct Request {
    /// As for a call; `fd` is not used.
    pub call: Call,
    /// Who submitted it.
    pub task: Task,
}

/// A routing lookup that failed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FailedLookup {
    /// When.
    pub time: u64,
    /// Destination.
    pub address: [u8; 16],
    /// What it said.
    pub route: RouteLookups,
    /// Address family.
    pub family: u32,
    /// Padding.
    pub _pad: u32,
}

/// A process that may have records.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Known {
    /// When it started.
    pub started: u64,
    /// Who.
    pub task: Task,
    /// `self_exec_id`: changes with every program it runs.
    pub exec_id: u32,
    /// 1: its record is written.
    pub written: u32,
    /// Parent's process id.
    pub parent: u32,
    /// Bytes of `argv`.
    pub argv_len: u32,
    /// Inode number of its root directory.
    pub root: u64,
    /// Inode of its mount namespace.
    pub mounts: u32,
    /// Padding.
    pub _pad: u32,
    /// The id of that.
    pub mounts_id: u64,
    /// Command line.
    pub argv: [u8; ARGV_LEN],
}

/// A call of getaddrinfo under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Lookup {
    /// When it began.
    pub started: u64,
    /// `hints.ai_family`.
    pub family: u32,
    /// Padding.
    pub _pad: u32,
    /// Name asked for.
    pub name: [u8; NAME_LEN],
    /// Service asked for.
    pub service: [u8; SERVICE_LEN],
}

/// An entry of a hash. The reference is good until the program ends: the kernel frees no entry that a running program
/// may see, though another CPU may write to it (each field then is the one value or the other).
macro_rules! find {
    ($map:ident, $key:expr) => {
        // SAFETY: see above; values are plain integers, for which any bytes are valid.
        $crate::maps::$map.get_ptr_mut($key).map(|entry| unsafe { &mut *entry })
    };
}
pub(crate) use find;
