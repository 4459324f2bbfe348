//! The kernel's numbers and bytes in the field's terms. Owns: what each value of a field means. Must not know: records.

use crate::event::{Discovery, IcmpError, Name, Netns, Packet, Protocol, Task, TcpCounters, TcpState, Via};
use netdx_common::record as wire;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// AF_INET
const AF_INET: u16 = 2;
/// AF_INET6
pub(super) const AF_INET6: u16 = 10;

/// ETH_P_ARP, where a packet of ARP has its protocol.
pub(super) const ETH_P_ARP: u16 = 0x0806;

/// What a question for a neighbour's link address asks, or its answer answers; none: it is another packet, or one by which
/// nobody is asked (gratuitous ARP, duplicate address detection, an advertisement to everybody).
pub(super) fn discovery(r: &wire::Drop) -> Option<Discovery> {
    let packet = if r.inner.tuple.family == 0 { &r.packet } else { &r.inner };
    let ends = &packet.tuple;
    let (from, to) = (address(ends.family, &ends.local)?, address(ends.family, &ends.remote)?);
    let target = || address(AF_INET6, &r.discovery_target);
    let (asks, asked, by) = match (ends.protocol, packet.icmp_type) {
        (ETH_P_ARP, 1) => (true, to, from),
        (ETH_P_ARP, 2) => (false, from, to),
        (58, 135) => (true, target()?, from),
        (58, 136) => (false, target()?, to),
        _ => return None,
    };
    if by.is_unspecified() || by.is_multicast() || by == asked {
        return None;
    }
    let [link @ .., _, _] = r.discovery_link;
    let link = (link != [0; 6]).then(|| link.map(|byte| format!("{byte:02x}")).join(":"));
    Some(Discovery { asks, asked, by, link })
}

/// The packet in a tunnel's: what isn't said by its headers is what both have, for they are one buffer.
pub(super) fn inner(headers: Packet, outer: &Packet) -> Packet {
    let Packet { tuple, sequence, acknowledgement, tcp_flags, icmp_type, icmp_code, ttl, .. } = headers;
    Packet { tuple, sequence, acknowledgement, tcp_flags, icmp_type, icmp_code, ttl, ..outer.clone() }
}

pub(super) fn without(name: Name, prefix: &str) -> Name {
    match name {
        Name::Borrowed(name) => Name::Borrowed(name.strip_prefix(prefix).unwrap_or(name)),
        Name::Owned(name) => Name::Owned(name.strip_prefix(prefix).map(str::to_owned).unwrap_or(name)),
    }
}

pub(super) fn netns(inode: u32) -> Option<Netns> {
    (inode != 0).then_some(Netns(inode))
}

/// NUL-terminated bytes from outside.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// An address; IPv4-mapped ones are IPv4.
pub(super) fn address(family: u16, bytes: &[u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, ..] = *bytes;
    match family {
        AF_INET => Some(Ipv4Addr::new(a, b, c, d).into()),
        AF_INET6 => Some(IpAddr::from(Ipv6Addr::from(*bytes)).to_canonical()),
        _ => None,
    }
}

/// A task; none where there was only the idle one.
pub(super) fn task(task: &wire::Task) -> Option<Task> {
    (task.tgid != 0).then(|| known_task(task))
}

pub(super) fn known_task(task: &wire::Task) -> Task {
    Task {
        pid: task.tgid,
        tid: task.tid,
        uid: task.uid,
        netns: netns(task.netns),
        cgroup: task.cgroup,
        comm: text(&task.comm),
    }
}

pub(super) fn protocol(number: u16) -> Protocol {
    match number {
        1 => Protocol::Icmp,
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        58 => Protocol::Icmpv6,
        262 => Protocol::Mptcp,
        other => Protocol::Other(other),
    }
}

/// What a call asked for, if the socket was sent elsewhere.
pub(super) fn dialled(dialled: &wire::Dialled) -> Option<SocketAddr> {
    Some(SocketAddr::new(address(dialled.family, &dialled.address)?, dialled.port))
}

pub(super) fn via(number: u32) -> Via {
    match number {
        1 => Via::Connect,
        2 => Via::IoUring,
        3 => Via::FastOpen,
        _ => Via::Unknown,
    }
}

pub(super) fn tcp_state(number: u32) -> TcpState {
    match number {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        3 => TcpState::SynRecv,
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        7 => TcpState::Close,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        10 => TcpState::Listen,
        11 => TcpState::Closing,
        12 => TcpState::NewSynRecv,
        other => TcpState::Unknown(other),
    }
}

pub(super) fn icmp_error(error: &wire::IcmpError) -> Option<IcmpError> {
    /// SO_EE_ORIGIN_ICMP
    const ICMP: u8 = 2;
    /// SO_EE_ORIGIN_ICMP6
    const ICMP6: u8 = 3;
    let family = match error.origin {
        ICMP => AF_INET,
        ICMP6 => AF_INET6,
        _ => return None,
    };
    Some(IcmpError {
        from: address(family, &error.from)?,
        v6: error.origin == ICMP6,
        kind: error.kind,
        code: error.code,
        info: error.info,
    })
}

pub(super) fn counters(tcp: &wire::TcpCounters) -> TcpCounters {
    TcpCounters {
        bytes_acked: tcp.bytes_acked,
        bytes_received: tcp.bytes_received,
        rtt_us: tcp.rtt_us,
        retransmitted: tcp.retransmitted,
        send_window: tcp.send_window,
        unacknowledged: tcp.unacknowledged,
        idle_ms: (tcp.idle_ms != u32::MAX).then_some(tcp.idle_ms),
        user_timeout_ms: tcp.user_timeout_ms,
        probes: tcp.probes,
        sequence: tcp.sequence,
    }
}
