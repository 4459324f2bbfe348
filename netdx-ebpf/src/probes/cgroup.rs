//! Programs on the root of the cgroup v2 hierarchy: `cgroup/connect4`, `cgroup/connect6` (that a call came so far), and
//! `cgroup_skb` in both directions (DNS messages; a SYN for a listener whose accept queue is full). They see every packet
//! of every local socket, and always let it pass.
//!
//! A query leaves in the context of whoever sends it; its answer arrives in a softirq, at a socket with the same cookie.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    bindings::bpf_sock,
    helpers::{bpf_get_socket_cookie, bpf_skb_load_bytes, bpf_skc_to_tcp_sock},
    macros::{cgroup_skb, cgroup_sock_addr},
    programs::{SkBuffContext, SockAddrContext},
};
use netdx_common::config::flag;
use netdx_common::record::{DNS_HEAD, DNS_LEN, ListenOverflow, Packet, Tuple};

use super::connect;
use crate::{
    emit::{self, Wake},
    filter::{self, DNS_PORT},
    maps::{DNS_SCRATCH, DNS_SOCKETS, find},
    packet::tcp_flag,
    read::{Kernel, Linear, Place, at_most, clear, now, offset, zeroed},
    socket::{self, AF_INET, AF_INET6, TCP, UDP, state},
    task,
};

/// Let it pass.
const ALLOW: i32 = 1;

/// `Dns::flow`
const LEAVING: u16 = 1;
/// `Dns::flow`
const ARRIVING: u16 = 2;

/// A DNS message has at least its header (RFC 1035 §4.1.1).
const DNS_HEADER: u32 = 12;

/// connect(2) of an IPv4 address.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    connecting(&context)
}

/// connect(2) of an IPv6 address.
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    connecting(&context)
}

#[inline(always)]
fn connecting(context: &SockAddrContext) -> i32 {
    // Gives the socket a cookie, for errors that come before its first DNS query leaves.
    // SAFETY: the program's own context.
    unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    if let Some(call) = connect::under_way(task::tid()) {
        call.cgroup_hook = 1;
    }
    ALLOW
}

/// A packet leaves a socket. Its destination may have been translated by now: where the socket is connected tells, too.
#[cgroup_skb(egress)]
pub fn cgroup_egress(context: SkBuffContext) -> i32 {
    if filter::on(flag::DNS)
        && let Some(headers) = headers(&context)
        && (headers.destination == DNS_PORT || remote_port(&context) == DNS_PORT)
    {
        dns(&context, &headers, LEAVING);
    }
    ALLOW
}

/// A packet arrives at a socket.
#[cgroup_skb(ingress)]
pub fn cgroup_ingress(context: SkBuffContext) -> i32 {
    let Some(headers) = headers(&context) else {
        return ALLOW;
    };
    if headers.source == DNS_PORT && filter::on(flag::DNS) {
        dns(&context, &headers, ARRIVING);
    }
    const FLAGS: u8 = 0b10111;
    if headers.protocol == TCP && headers.tcp_flags & FLAGS == tcp_flag::SYN {
        syn(&context, &headers);
    }
    ALLOW
}

/// What of a packet's headers tells whether it matters.
struct Headers {
    /// AF_INET or AF_INET6.
    family: u16,
    /// IPPROTO_TCP or IPPROTO_UDP.
    protocol: u16,
    /// Ports, host order.
    source: u16,
    destination: u16,
    /// Where the transport header begins.
    transport: u32,
    /// TCP flags.
    tcp_flags: u8,
    /// Where the payload begins.
    payload: u32,
}

/// The headers of a TCP or UDP packet. They are in the linear part by now: the stack has read them.
#[inline(always)]
fn headers(context: &SkBuffContext) -> Option<Headers> {
    // SAFETY: fields of the program's own context.
    let packet =
        unsafe { Linear { start: (*context.skb.skb).data as usize, end: (*context.skb.skb).data_end as usize } };
    // Fixed sizes first: one comparison with the end for each, as the verifier wants it.
    let ip: [u8; 20] = packet.read(0)?;
    let (family, protocol, transport) = if ip[0] >> 4 == 4 {
        if (ip[6] & 0x1f) | ip[7] != 0 {
            return None;
        }
        (AF_INET, ip[9] as u16, (ip[0] & 15) as u32 * 4)
    } else {
        (AF_INET6, ip[6] as u16, 40)
    };
    if protocol != TCP && protocol != UDP {
        return None;
    }
    let [a, b, c, d]: [u8; 4] = packet.read(transport as usize)?;
    let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let mut headers =
        Headers { family, protocol, source, destination, transport, tcp_flags: 0, payload: transport + 8 };
    if protocol == TCP {
        let [offset, flags]: [u8; 2] = packet.read(transport as usize + 12)?;
        headers.tcp_flags = flags;
        headers.payload = transport + (offset >> 4) as u32 * 4;
    }
    Some(headers)
}

/// Writes the DNS message in a packet; over TCP two of them, as glibc asks for A and AAAA at once.
///
/// What both need is read before, once: the verifier counts the stack of each copy of the code that the compiler makes.
#[inline(always)]
fn dns(context: &SkBuffContext, headers: &Headers, flow: u16) {
    let Some(payload) = context.len().checked_sub(headers.payload) else {
        return;
    };
    if payload == 0 {
        return;
    }
    // SAFETY: the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    let over_tcp = headers.protocol == TCP;
    if flow == LEAVING && !filter::current_task_of_packet() {
        return;
    }
    let mut has_length = over_tcp;
    match find!(DNS_SOCKETS, cookie) {
        Some(known) if over_tcp => {
            // Another CPU may write it at the same time, which costs one message.
            has_length = *known & flow == 0;
            *known &= !flow;
            if has_length && payload == LENGTH {
                *known |= flow;
                return;
            }
        }
        Some(_) => {}
        None if flow == LEAVING => {
            let alone = has_length && payload == LENGTH;
            // Without room its answer won't be written.
            if DNS_SOCKETS.insert(cookie, if alone { flow } else { 0 }, 0).is_err() || alone {
                return;
            }
        }
        None => return,
    }
    let Some(record) = DNS_SCRATCH.get_ptr_mut(if flow == LEAVING { 0 } else { 1 }) else {
        return;
    };
    // SAFETY: this CPU's own; what leaves and what arrives have each their own slot.
    let record = unsafe { &mut *record };
    clear(&mut record.current);
    record.resolving = 0;
    if flow == LEAVING {
        record.current = task::read_current_of_packet();
        task::remember(&record.current);
        task::announce(record.current.tgid);
        if let Some(lookup) = find!(LOOKUPS, record.current.tid) {
            record.resolving = lookup.started;
        }
    }
    record.cookie = cookie;
    record.netns = netns_of(context);
    record.flow = flow;
    tuple(context, headers, flow, &mut record.tuple);

    // Too short for a header it is no query; as an answer it is one that makes no sense.
    let least = if flow == ARRIVING && !over_tcp { 1 } else { DNS_HEADER };
    let mut start = headers.payload;
    for _ in 0..MESSAGES {
        let mut length = context.len() - start;
        if has_length {
            let mut bytes = [0u8; LENGTH as usize];
            // SAFETY: 2 bytes are written into as many; the helper checks what it reads.
            if unsafe { bpf_skb_load_bytes(context.as_ptr().cast(), start, bytes.as_mut_ptr().cast(), LENGTH) } != 0 {
                return;
            }
            start += LENGTH;
            length = u16::from_be_bytes(bytes) as u32;
        }
        let Some(rest) = context.len().checked_sub(start) else {
            return;
        };
        if length < least || rest < least {
            return;
        }
        record.length = if length > u16::MAX as u32 { u16::MAX } else { length as u16 };
        let carried = at_most::<DNS_LEN>(if rest < length { rest } else { length });
        // SAFETY: no more than `data` has is written; the helper checks what it reads.
        let failed =
            unsafe { bpf_skb_load_bytes(context.as_ptr().cast(), start, record.data.as_mut_ptr().cast(), carried) };
        if failed == 0 {
            emit::dns(record, DNS_HEAD + carried as usize);
        }
        if rest <= length {
            return;
        }
        start += length;
    }
}

/// Before a message over TCP stands its length (RFC 1035 §4.2.2), in as many bytes.
const LENGTH: u32 = 2;
/// So many messages of one segment are read.
const MESSAGES: u32 = 2;

/// The endpoints as the socket sees them.
#[inline(always)]
fn tuple(context: &SkBuffContext, headers: &Headers, flow: u16, to: &mut Tuple) {
    clear(to);
    to.family = headers.family;
    to.protocol = headers.protocol;
    let (source, destination) = if flow == LEAVING {
        to.local_port = headers.source;
        to.remote_port = headers.destination;
        (&mut to.local, &mut to.remote)
    } else {
        to.local_port = headers.destination;
        to.remote_port = headers.source;
        (&mut to.remote, &mut to.local)
    };
    addresses(context, headers.family, source, destination);
    let sk = socket_of(context);
    if flow == LEAVING && !sk.is_null() && remote_port(context) != 0 {
        to.remote_port = remote_port(context);
        // SAFETY: not null; the verifier knows it for a socket.
        unsafe {
            if headers.family == AF_INET {
                to.remote[..4].copy_from_slice(&(*sk).dst_ip4.to_ne_bytes());
            } else {
                for (word, bytes) in (*sk).dst_ip6.iter().zip(to.remote.chunks_exact_mut(4)) {
                    bytes.copy_from_slice(&word.to_ne_bytes());
                }
            }
        }
    }
}

/// The addresses of a packet's IP header.
#[inline(always)]
fn addresses(context: &SkBuffContext, family: u16, source: &mut [u8; 16], destination: &mut [u8; 16]) {
    let (at, size) = if family == AF_INET { (12, 4) } else { (8, 16) };
    // SAFETY: 4 or 16 bytes are written into 16; the helper checks what it reads.
    unsafe {
        bpf_skb_load_bytes(context.as_ptr().cast(), at, source.as_mut_ptr().cast(), size);
        bpf_skb_load_bytes(context.as_ptr().cast(), at + size, destination.as_mut_ptr().cast(), size);
    }
}

/// Inode of the network namespace of the packet's socket. The verifier allows no arithmetic on this pointer: the
/// beginning of `sock_common` is read as a block.
#[inline(always)]
fn netns_of(context: &SkBuffContext) -> u32 {
    let sk = socket_of(context);
    if sk.is_null() {
        return 0;
    }
    let block: [u64; 16] = Kernel(sk as u64).read(0);
    let Some(net) = block.get(offset!(skc_net) as usize / 8) else {
        return 0;
    };
    Kernel(*net).read(offset!(net_inum))
}

/// Where the packet's socket is connected to; 0: nowhere.
#[inline(always)]
fn remote_port(context: &SkBuffContext) -> u16 {
    let sk = socket_of(context);
    // SAFETY: not null; the verifier knows it for a socket.
    if sk.is_null() { 0 } else { u16::from_be(unsafe { (*sk).dst_port }) }
}

#[inline(always)]
fn socket_of(context: &SkBuffContext) -> *mut bpf_sock {
    // SAFETY: a field of the program's own context.
    unsafe { (*context.skb.skb).__bindgen_anon_2.sk }
}

/// A SYN arrives: for a listener whose queue is full the kernel drops it without a word (tcp_conn_request).
#[inline(always)]
fn syn(context: &SkBuffContext, headers: &Headers) {
    let sk = socket_of(context);
    // SAFETY: not null; the verifier knows it for a socket.
    if sk.is_null() || unsafe { (*sk).state } != state::LISTEN {
        return;
    }
    // SAFETY: not null.
    let listener = Kernel(unsafe { bpf_skc_to_tcp_sock(sk.cast()) } as u64);
    if listener.is_null() {
        return;
    }
    let fill: u32 = listener.read(offset!(sk_ack_backlog));
    let room: u32 = listener.read(offset!(sk_max_ack_backlog));
    if fill <= room || !emit::has_room_for_flood(now()) {
        return;
    }
    // Gives the listener a cookie, by which it is found among others of its port (SO_REUSEPORT).
    // SAFETY: the program's own context.
    unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    let mut room = MaybeUninit::uninit();
    let packet: &mut Packet = zeroed(&mut room);
    packet.tuple.protocol = headers.protocol;
    packet.tuple.local_port = headers.source;
    packet.tuple.remote_port = headers.destination;
    packet.tuple.family = headers.family;
    addresses(context, headers.family, &mut packet.tuple.local, &mut packet.tuple.remote);
    packet.length = context.len();
    // SAFETY: fields of the program's own context.
    unsafe {
        packet.in_device = (*context.skb.skb).ingress_ifindex;
        packet.device = (*context.skb.skb).ifindex;
        packet.mark = (*context.skb.skb).mark;
    }
    packet.tcp_flags = headers.tcp_flags;
    let mut sequence = [0u8; 4];
    let ttl = if headers.family == AF_INET { 8 } else { 7 };
    // SAFETY: 4 bytes and 1 are written into as many; the helper checks what it reads.
    unsafe {
        bpf_skb_load_bytes(context.as_ptr().cast(), headers.transport + 4, sequence.as_mut_ptr().cast(), 4);
        bpf_skb_load_bytes(context.as_ptr().cast(), ttl, (&raw mut packet.ttl).cast(), 1);
    }
    packet.sequence = u32::from_be_bytes(sequence);
    emit::record::<ListenOverflow>(Wake::Later, |record| {
        socket::describe(listener, None, &mut record.listener);
        record.packet = *packet;
        record.packet.netns = record.listener.netns;
    });
}
