//! Queues of interfaces (qdiscs), as rtnetlink has them. Owns: what they dropped. Must not know: interfaces.

use super::netlink;
use netlink_packet_route::tc::{TcHandle, TcHeader, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;

/// Length of `struct tcmsg`.
const HEADER: usize = 20;
/// Where `struct tc_stats` has its drops.
const DROPS: usize = 12;

/// How many packets the queues of an interface of the calling thread's namespace have dropped on their way out since they
/// were made. While it is down or has no carrier another one stands in for them, which counts nothing (`noop_qdisc`,
/// net/sched/sch_generic.c, 6.18).
///
/// # Errors
/// The kernel's.
pub fn drops(device: u32) -> io::Result<u64> {
    let of_one = |payload: &[u8]| {
        let header = TcHeader::parse(payload).ok()?;
        let out = header.parent != TcHandle::INGRESS && u32::try_from(header.index) == Ok(device);
        let mut attributes = netlink::attributes(payload, HEADER).filter(|_| out);
        let statistics = attributes.find(|attribute| attribute.kind() == libc::TCA_STATS)?;
        statistics.value().get(DROPS..)?.first_chunk().map(|drops| u64::from(u32::from_ne_bytes(*drops)))
    };
    Ok(netlink::list(NETLINK_ROUTE, libc::RTM_GETQDISC, &TcMessage::default(), of_one)?.iter().sum())
}
