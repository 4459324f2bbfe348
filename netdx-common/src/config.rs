//! The load-time configuration: one frozen read-only global, so that the verifier sees constants and removes what
//! this kernel doesn't have.
//!
//! Owns: its layout, and the tables from which the loader fills it ([`FIELDS`], [`ARGUMENTS`], [`IGNORED_DROPS`],
//! [`PLAIN_DROPS`]).
//! Must not know: how BTF is read.
//!
//! # What the loader must know of the object
//! Global: `CONFIG` ([`Config`]), to be overridden before the object is loaded.
//!
//! Maps: `EVENTS` (ring buffer, resizable before load), `COUNTS` (array of [`Counts`] that can be mapped, with as many
//! entries as there can be CPUs); the filters' sets, each a hash with one-byte values: `PIDS` (key: tgid, `u32`), `UIDS`
//! (`u32`), `NETNS` (inode, `u32`), `CGROUPS` (id in the v2 hierarchy, `u64`: descendants are found by the program), `TREE`
//! (tgid, `u32`: the root of the process tree before anything is attached; `sched_process_fork` adds, `sched_process_exit`
//! removes). All others belong to the programs.
//!
//! Programs that exist twice, as `NAME` (`tp_btf`) and `NAME_raw` (`raw_tp`, for a kernel or privileges without
//! `tp_btf`), attached to the tracepoint `NAME`: `inet_sock_set_state`, `inet_sk_error_report`, `tcp_receive_reset`,
//! `tcp_send_reset`, `tcp_retransmit_skb`, `tcp_retransmit_synack`, `tcp_destroy_sock`, `kfree_skb`,
//! `netif_receive_skb`, `icmp_send`, `neigh_timer_handler`, `fib_table_lookup`, `fib6_table_lookup`,
//! `sock_send_length`, `sock_recv_length`, `io_uring_submit_req`, `io_uring_complete`, `sched_process_fork` (only for
//! the process-tree filter), `sched_process_exit`.
//!
//! Programs for what these miss, of the same kind and attached after them to the same tracepoint: `NAME_again` for
//! `inet_sock_set_state` and `inet_sk_error_report`; with [`flag::PREEMPTED`] also for `tcp_receive_reset`, `tcp_send_reset`,
//! `kfree_skb`, `sock_send_length`, `sock_recv_length`, `sched_process_exit` and those of system calls.
//!
//! Where a kernel lacks a tracepoint but has a function with its arguments, the program `NAME` goes to the function's entry
//! (fentry), or `NAME_kprobe` does (kprobe): `inet_sk_error_report` to `sock_def_error_report`, `icmp_send` to
//! `__icmp_send`. `inet_sendmsg` and `inet_recvmsg` (fexit, on these functions and on their twins `inet6_sendmsg` and
//! `inet6_recvmsg`) tell what `sock_send_length` and `sock_recv_length` do.
//!
//! Classic tracepoints (category `syscalls`), by the same name: `sys_enter_connect`, `sys_enter_bind`,
//! `sys_enter_socket`, `sys_enter_listen`; and `sys_exit` on `sys_exit_connect`, `sys_exit_bind`, `sys_exit_socket` and
//! `sys_exit_listen`.
//!
//! On the root of the v2 cgroup hierarchy: `connect4`, `connect6` (cgroup_sock_addr), `cgroup_egress`,
//! `cgroup_ingress` (cgroup_skb). They always let pass: attach them so that others' programs still run (`multi`).
//!
//! The walk over all tasks (`bpf_iter_task`), which writes `record::Walked`: `walk`.
//!
//! In each C library: `getaddrinfo_enter` (uprobe) and `getaddrinfo_return` (uretprobe) on `getaddrinfo`.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// What an offset is that this kernel doesn't have.
pub const ABSENT: u32 = u32::MAX;

/// How many ports the kernel side can filter by.
pub const MAX_PORTS: usize = 8;

/// How long a record may wait, in ns. A program wakes the reader no sooner than this after it last did; the reader looks by
/// itself for as long after it was woken, so that none is left behind.
pub const WAKE_INTERVAL: u64 = 20_000_000;

/// What programs of one CPU count: a cache line, so that none waits for another CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Counts {
    /// Events whose record found no room, or that were too many.
    pub lost: u64,
    /// Events that a program was not run for and a second one told of.
    pub caught: u64,
    /// Padding.
    pub _pad: [u64; 6],
}

/// A field of a kernel structure that programs read.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in [`Offsets`].
    pub name: &'static str,
    /// The kernel's structure.
    pub structure: &'static str,
    /// Dotted path of members from it; members of anonymous structures count as its own.
    pub path: &'static str,
    /// Sizes in bytes that programs can read; empty: any (only the address is used). Another size is as good as absent.
    pub sizes: &'static [u32],
    /// Without it there is no tracing at all.
    pub required: bool,
}

macro_rules! offsets {
    ($($(#[$meta:meta])* $field:ident = $structure:ident, $path:literal, [$($size:literal),*], $need:ident;)*) => {
        /// Byte offsets of kernel fields, [`ABSENT`] where this kernel doesn't have one. Filled in the order of [`FIELDS`].
        #[repr(C)]
        #[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
        pub struct Offsets { $(
            #[doc = concat!("`", stringify!($structure), ".", $path, "`")]
            $(#[$meta])*
            pub $field: u32,
        )* }

        /// The fields of [`Offsets`], in its order: what to look up in the kernel's BTF.
        pub const FIELDS: &[Field] = &[$(Field {
            name: stringify!($field),
            structure: stringify!($structure),
            path: $path,
            sizes: &[$($size),*],
            required: offsets!(@ $need),
        }),*];

        impl Offsets {
            /// None of the fields.
            pub const NONE: Offsets = Offsets { $($field: ABSENT),* };
        }
    };
    (@ required) => { true };
    (@ optional) => { false };
}

offsets! {
    skc_family = sock, "__sk_common.skc_family", [2], required;
    skc_state = sock, "__sk_common.skc_state", [1], required;
    skc_dport = sock, "__sk_common.skc_dport", [2], required;
    skc_num = sock, "__sk_common.skc_num", [2], required;
    skc_daddr = sock, "__sk_common.skc_daddr", [4], required;
    skc_rcv_saddr = sock, "__sk_common.skc_rcv_saddr", [4], required;
    /// Absent without CONFIG_IPV6.
    skc_v6_daddr = sock, "__sk_common.skc_v6_daddr", [16], optional;
    /// Absent without CONFIG_IPV6.
    skc_v6_rcv_saddr = sock, "__sk_common.skc_v6_rcv_saddr", [16], optional;
    skc_net = sock, "__sk_common.skc_net.net", [8], required;
    skc_cookie = sock, "__sk_common.skc_cookie", [8], required;
    skc_bound_dev_if = sock, "__sk_common.skc_bound_dev_if", [4], required;
    sk_protocol = sock, "sk_protocol", [2], required;
    sk_type = sock, "sk_type", [2], required;
    sk_err = sock, "sk_err", [4], required;
    sk_err_soft = sock, "sk_err_soft", [4], required;
    sk_mark = sock, "sk_mark", [4], required;
    sk_ack_backlog = sock, "sk_ack_backlog", [4], required;
    sk_max_ack_backlog = sock, "sk_max_ack_backlog", [4], required;
    sk_uid = sock, "sk_uid", [4], required;
    skc_flags = sock, "__sk_common.skc_flags", [8], required;
    sk_shutdown = sock, "sk_shutdown", [1], required;
    sk_error_queue_prev = sock, "sk_error_queue.prev", [8], required;
    sk_error_queue_qlen = sock, "sk_error_queue.qlen", [4], required;
    inet_sport = inet_sock, "inet_sport", [2], required;
    icsk_retransmits = inet_connection_sock, "icsk_retransmits", [1], required;
    icsk_user_timeout = inet_connection_sock, "icsk_user_timeout", [4], optional;
    icsk_probes_out = inet_connection_sock, "icsk_probes_out", [1], optional;
    tcp_bytes_acked = tcp_sock, "bytes_acked", [8], optional;
    tcp_bytes_received = tcp_sock, "bytes_received", [8], optional;
    tcp_srtt_us = tcp_sock, "srtt_us", [4], optional;
    tcp_total_retrans = tcp_sock, "total_retrans", [4], optional;
    tcp_snd_wnd = tcp_sock, "snd_wnd", [4], optional;
    tcp_snd_una = tcp_sock, "snd_una", [4], optional;
    tcp_write_seq = tcp_sock, "write_seq", [4], optional;
    tcp_rcv_tstamp = tcp_sock, "rcv_tstamp", [4], optional;
    /// Set while a connect carries data (TCP Fast Open).
    tcp_fastopen_req = tcp_sock, "fastopen_req", [8], optional;
    tcp_cb_seq = tcp_skb_cb, "seq", [4], optional;

    req_family = request_sock, "__req_common.skc_family", [2], optional;
    req_num = request_sock, "__req_common.skc_num", [2], optional;
    req_dport = request_sock, "__req_common.skc_dport", [2], optional;
    req_rcv_saddr = request_sock, "__req_common.skc_rcv_saddr", [4], optional;
    req_daddr = request_sock, "__req_common.skc_daddr", [4], optional;
    req_v6_rcv_saddr = request_sock, "__req_common.skc_v6_rcv_saddr", [16], optional;
    req_v6_daddr = request_sock, "__req_common.skc_v6_daddr", [16], optional;
    req_num_retrans = request_sock, "num_retrans", [1], optional;

    net_inum = net, "ns.inum", [4], required;
    /// What a lookup in an IPv6 table gives when nothing matches.
    net_fib6_null = net, "ipv6.fib6_null_entry", [8], optional;

    skb_sk = sk_buff, "sk", [8], required;
    skb_dev = sk_buff, "dev", [8], required;
    skb_cb = sk_buff, "cb", [], required;
    skb_refdst = sk_buff, "_skb_refdst", [8], required;
    skb_len = sk_buff, "len", [4], required;
    skb_data_len = sk_buff, "data_len", [4], required;
    skb_data = sk_buff, "data", [8], required;
    skb_head = sk_buff, "head", [8], required;
    skb_protocol = sk_buff, "protocol", [2], required;
    skb_mark = sk_buff, "mark", [4], required;
    skb_iif = sk_buff, "skb_iif", [4], required;
    skb_network_header = sk_buff, "network_header", [2], required;
    skb_transport_header = sk_buff, "transport_header", [2], required;
    skb_inner_network_header = sk_buff, "inner_network_header", [2], required;
    /// An offset from `head`, on 64-bit machines.
    skb_tail = sk_buff, "tail", [4], required;
    dst_input = dst_entry, "input", [8], required;
    dev_ifindex = net_device, "ifindex", [4], required;
    dev_name = net_device, "name", [16], required;
    dev_net = net_device, "nd_net.net", [8], required;
    /// The ICMP error of a packet in `sk_error_queue`, in its `cb`.
    exterr_ee = sock_exterr_skb, "ee", [16], optional;

    task_pid = task_struct, "pid", [4], required;
    task_tgid = task_struct, "tgid", [4], required;
    task_comm = task_struct, "comm", [16], required;
    task_cred = task_struct, "real_cred", [8], required;
    task_nsproxy = task_struct, "nsproxy", [8], required;
    task_cgroups = task_struct, "cgroups", [8], optional;
    task_start = task_struct, "start_boottime", [8], optional;
    /// The kernel stack, at whose end the user's registers are.
    task_stack = task_struct, "stack", [8], optional;
    task_exec_id = task_struct, "self_exec_id", [4, 8], optional;
    task_leader = task_struct, "group_leader", [8], required;
    task_parent = task_struct, "real_parent", [8], required;
    task_mm = task_struct, "mm", [8], required;
    task_files = task_struct, "files", [8], required;
    task_signal = task_struct, "signal", [8], required;
    task_exit_code = task_struct, "exit_code", [4], required;
    signal_live = signal_struct, "live", [4], optional;
    cred_uid = cred, "uid", [4], required;
    nsproxy_net = nsproxy, "net_ns", [8], required;
    nsproxy_mounts = nsproxy, "mnt_ns", [8], optional;
    mounts_inum = mnt_namespace, "ns.inum", [4], optional;
    /// Since 6.18.
    mounts_id = mnt_namespace, "ns.ns_id", [8], optional;
    /// Before that.
    mounts_seq = mnt_namespace, "seq", [8], optional;
    /// Absent without CONFIG_SECCOMP.
    task_seccomp_mode = task_struct, "seccomp.mode", [4], optional;
    task_fs = task_struct, "fs", [8], optional;
    fs_root = fs_struct, "root.dentry", [8], optional;
    dentry_inode = dentry, "d_inode", [8], optional;
    inode_number = inode, "i_ino", [8], optional;
    css_set_cgroup = css_set, "dfl_cgrp", [8], optional;
    cgroup_kn = cgroup, "kn", [8], optional;
    /// The cgroup's own `cgroup_subsys_state`, which knows the parent.
    cgroup_self = cgroup, "self", [], optional;
    css_parent = cgroup_subsys_state, "parent", [8], optional;
    css_cgroup = cgroup_subsys_state, "cgroup", [8], optional;
    kernfs_id = kernfs_node, "id", [8], optional;
    mm_arg_start = mm_struct, "arg_start", [8], optional;
    mm_arg_end = mm_struct, "arg_end", [8], optional;

    files_fdt = files_struct, "fdt", [8], required;
    fdt_max_fds = fdtable, "max_fds", [4], required;
    fdt_fd = fdtable, "fd", [8], required;
    file_inode = file, "f_inode", [8], required;
    file_private = file, "private_data", [8], required;
    inode_mode = inode, "i_mode", [2], required;
    socket_sk = socket, "sk", [8], required;
    socket_type = socket, "type", [2], required;

    flow4_daddr = flowi4, "daddr", [4], optional;
    flow4_oif = flowi4, "__fl_common.flowic_oif", [4], optional;
    flow6_daddr = flowi6, "daddr", [16], optional;
    flow6_oif = flowi6, "__fl_common.flowic_oif", [4], optional;
    fib6_info = fib6_result, "f6i", [8], optional;
    fib6_type = fib6_result, "fib6_type", [1], optional;
    fib6_table = fib6_table, "tb6_id", [4], optional;

    neigh_state = neighbour, "nud_state", [1], optional;
    neigh_table = neighbour, "tbl", [8], optional;
    neigh_dev = neighbour, "dev", [8], optional;
    neigh_key = neighbour, "primary_key", [], optional;
    neigh_table_family = neigh_table, "family", [4], optional;

    io_opcode = io_kiocb, "opcode", [1], optional;
    io_file = io_kiocb, "file", [8], optional;
    /// Where a request keeps what its opcode needs; `io_connect` lies there.
    io_cmd = io_kiocb, "cmd", [], optional;
    io_connect_addr = io_connect, "addr", [8], optional;
    io_connect_len = io_connect, "addr_len", [4], optional;
    cqe_res = io_uring_cqe, "res", [4], optional;
}

/// An argument of a tracepoint that only some kernels pass.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Name in [`Arguments`].
    pub name: &'static str,
    /// The tracepoint (its prototype is the BTF typedef `btf_trace_NAME`, after a leading `void *`).
    pub tracepoint: &'static str,
    /// Its position, from 0.
    pub position: usize,
    /// What its type must be, qualifiers left out: "enum sk_rst_reason", "struct sock*", "int".
    pub type_name: &'static str,
}

macro_rules! arguments {
    ($($(#[$meta:meta])* $field:ident = $tracepoint:ident[$position:literal]: $type_name:literal;)*) => {
        /// 1 where this kernel's tracepoint passes the argument, 0 where it doesn't. In the order of [`ARGUMENTS`].
        #[repr(C)]
        #[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
        pub struct Arguments { $($(#[$meta])* pub $field: u32,)* }

        /// The fields of [`Arguments`], in its order.
        pub const ARGUMENTS: &[Argument] = &[$(Argument {
            name: stringify!($field),
            tracepoint: stringify!($tracepoint),
            position: $position,
            type_name: $type_name,
        }),*];

        impl Arguments {
            /// None of them.
            pub const NONE: Arguments = Arguments { $($field: 0),* };
        }
    };
}

arguments! {
    /// Why a packet was dropped (5.17).
    kfree_skb_reason = kfree_skb[2]: "enum skb_drop_reason";
    /// The socket that was to receive it (6.11).
    kfree_skb_rx_sk = kfree_skb[3]: "struct sock*";
    /// Why a reset was sent (6.10).
    tcp_send_reset_reason = tcp_send_reset[2]: "enum sk_rst_reason";
    /// What came of the retransmission (6.17).
    tcp_retransmit_skb_err = tcp_retransmit_skb[2]: "int";
    /// The completion itself (6.14).
    io_uring_complete_cqe = io_uring_complete[2]: "struct io_uring_cqe*";
    /// The result by itself, as fourth argument after the request (5.18 ... 6.13; before that there is no request).
    io_uring_complete_res = io_uring_complete[3]: "int";
}

/// Bits of [`Config::flags`].
pub mod flag {
    /// Only processes in map `PIDS`.
    pub const PIDS: u32 = 1 << 0;
    /// Only users in map `UIDS`.
    pub const UIDS: u32 = 1 << 1;
    /// Only network namespaces in map `NETNS`.
    pub const NETNS: u32 = 1 << 2;
    /// Only cgroups in map `CGROUPS` and those below them.
    pub const CGROUPS: u32 = 1 << 3;
    /// Only processes in map `TREE`.
    pub const TREE: u32 = 1 << 4;
    /// Connections that work are written too.
    pub const ALL: u32 = 1 << 5;
    /// DNS messages are written.
    pub const DNS: u32 = 1 << 6;
    /// Connections that listeners accept are followed from their beginning.
    pub const INBOUND: u32 = 1 << 7;
    /// The programs on cgroup/connect are attached: `CallFailed::cgroup_hook` means something.
    pub const CONNECT_HOOK: u32 = 1 << 8;
    /// Syscall tracepoints of connect are attached: what a call needs is kept until it returns.
    pub const CONNECT_CALLS: u32 = 1 << 9;
    /// The io_uring programs are attached.
    pub const IO_URING: u32 = 1 << 10;
    /// Tasks can interrupt programs on tracepoints (7.2).
    pub const PREEMPTED: u32 = 1 << 11;
    /// Any of the filters by task.
    pub const TASK_FILTERS: u32 = PIDS | UIDS | NETNS | CGROUPS | TREE;
}

/// What the programs are told when they are loaded. Only 32-bit numbers and less: no padding, and each field is read
/// by itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Config {
    /// Where kernel fields are.
    pub offsets: Offsets,
    /// Which arguments tracepoints have.
    pub arguments: Arguments,
    /// [`flag`].
    pub flags: u32,
    /// Only these remote (for a listener: local) ports; the first [`Config::port_count`] of them.
    pub ports: [u16; MAX_PORTS],
    /// How many ports are asked for; 0: all.
    pub port_count: u32,
    /// A connection that took at least this many µs to be established is written as if it had failed; 0: none is.
    pub slow_us: u32,
    /// CONFIG_HZ: ticks of `jiffies` in a second; 0: not known.
    pub hz: u32,
    /// netdx's own process: its own connections and lookups aren't written.
    pub own_tgid: u32,
    /// 1: programs of every type may call the helpers that tell of the current task.
    pub task_helpers: u32,
    /// Bit `n % 32` of word `n / 32`: drop reason `n` of the core subsystem isn't written ([`IGNORED_DROPS`], by this
    /// kernel's numbers).
    pub drops_ignored: [u32; 8],
    /// The same for those whose stack says nothing more ([`PLAIN_DROPS`]).
    pub drops_plain: [u32; 8],
}

impl Config {
    /// No field known, nothing asked for.
    pub const EMPTY: Config = Config {
        offsets: Offsets::NONE,
        arguments: Arguments::NONE,
        flags: 0,
        ports: [0; MAX_PORTS],
        port_count: 0,
        slow_us: 0,
        hz: 0,
        own_tgid: 0,
        task_helpers: 0,
        drops_ignored: [0; 8],
        drops_plain: [0; 8],
    };

    /// Marks drop reason `value` as not to be written. Reasons of other subsystems (from 65536 on) are never ignored.
    pub fn ignore_drop(&mut self, value: u32) {
        mark(&mut self.drops_ignored, value);
    }

    /// Marks drop reason `value` as one whose stack says nothing more.
    pub fn plain_drop(&mut self, value: u32) {
        mark(&mut self.drops_plain, value);
    }
}

fn mark(bits: &mut [u32; 8], value: u32) {
    if let Some(word) = bits.get_mut((value / 32) as usize) {
        *word |= 1 << (value % 32);
    }
}

impl Offsets {
    /// From one offset (or [`ABSENT`]) for each of [`FIELDS`], in that order.
    #[must_use]
    pub fn from_values(values: &[u32; FIELDS.len()]) -> Offsets {
        let mut offsets = Offsets::new_zeroed();
        offsets.as_mut_bytes().copy_from_slice(values.as_bytes());
        offsets
    }
}

impl Arguments {
    /// From 1 (passed) or 0 for each of [`ARGUMENTS`], in that order.
    #[must_use]
    pub fn from_values(values: &[u32; ARGUMENTS.len()]) -> Arguments {
        let mut arguments = Arguments::new_zeroed();
        arguments.as_mut_bytes().copy_from_slice(values.as_bytes());
        arguments
    }
}

/// Variants of `enum skb_drop_reason` (without their `SKB_DROP_REASON_`) that come with traffic that works: duplicates,
/// late segments, traffic for others, queues of a socket that closes. Never those that can explain a failure:
/// NOT_SPECIFIED, NO_SOCKET and the like stay.
pub const IGNORED_DROPS: &[&str] = &[
    "SKB_NOT_DROPPED_YET",
    "SKB_CONSUMED",
    "SOCKET_CLOSE",
    "UNIX_DISCONNECT",
    "UNIX_SKIP_OOB",
    "OTHERHOST",
    "UNICAST_IN_L2_MULTICAST",
    "IP_NOPROTO",
    "TCP_OLD_DATA",
    "TCP_OFOMERGE",
    "TCP_OLD_SEQUENCE",
    "TCP_RFC7323_TW_PAWS",
    "TCP_RFC7323_PAWS_ACK",
    "TCP_RESET",
    "TCP_OLD_ACK",
    "TCP_TOO_OLD_ACK",
    "TCP_OFO_QUEUE_PRUNE",
    "UNHANDLED_PROTO",
    "TAP_FILTER",
    "TAP_TXFILTER",
    "DUP_FRAG",
    "IPV6_NDISC_HOP_LIMIT",
    "IPV6_NDISC_BAD_CODE",
    "IPV6_NDISC_BAD_OPTIONS",
    "IPV6_NDISC_NS_OTHERHOST",
    "QUEUE_PURGE",
    "PACKET_SOCK_ERROR",
    "LOCAL_MAC",
    "ARP_PVLAN_DISABLE",
    "MAC_IEEE_MAC_CONTROL",
    "BRIDGE_INGRESS_STP_STATE",
    "CAN_RX_INVALID_FRAME",
    "CANFD_RX_INVALID_FRAME",
    "CANXL_RX_INVALID_FRAME",
    "MACVLAN_BROADCAST_BACKLOG",
    "IPVLAN_MULTICAST_BACKLOG",
];

/// Variants that come from one place each, and often: reading the stack would cost more than all the rest.
pub const PLAIN_DROPS: &[&str] = &["NO_SOCKET", "TCP_LISTEN_OVERFLOW", "SOCKET_RCVBUFF"];

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::size_of;

    #[test]
    fn one_word_for_each_field() {
        assert_eq!(size_of::<Offsets>(), 4 * FIELDS.len());
        assert_eq!(size_of::<Arguments>(), 4 * ARGUMENTS.len());
        assert_eq!(
            size_of::<Config>(),
            size_of::<Offsets>() + size_of::<Arguments>() + 4 + 2 * MAX_PORTS + 20 + 2 * 32
        );
    }

    #[test]
    fn values_land_in_order() {
        let mut values = [ABSENT; FIELDS.len()];
        for (i, value) in values.iter_mut().enumerate() {
            *value = i as u32;
        }
        let offsets = Offsets::from_values(&values);
        let at = |name| FIELDS.iter().position(|field| field.name == name).unwrap() as u32;
        assert_eq!(offsets.skc_family, at("skc_family"));
        assert_eq!(offsets.skb_protocol, at("skb_protocol"));
        assert_eq!(offsets.cqe_res, at("cqe_res"));
    }

    #[test]
    fn a_drop_reason_sets_its_own_bit_only() {
        let mut config = Config::EMPTY;
        config.ignore_drop(104);
        config.ignore_drop(65_536);
        assert_eq!(config.drops_ignored, [0, 0, 0, 1 << 8, 0, 0, 0, 0]);
    }
}
