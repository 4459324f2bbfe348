//! The table of connection tracking of an island, filled to its limit. Owns: ctnetlink messages
//! (include/uapi/linux/netfilter/nfnetlink_conntrack.h). Must not know: netdx.

use crate::island::Island;
use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};
use std::fs;

/// Entries in one message to the kernel.
const BATCH: u32 = 500;

fn attribute(kind: u16, value: &[u8]) -> DefaultNla {
    DefaultNla::new(kind, value.to_vec())
}

fn nested(kind: u16, parts: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NLA_F_NESTED, bytes(parts))
}

fn bytes(parts: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; parts.buffer_len()];
    parts.emit(&mut bytes);
    bytes
}

/// CTA_TUPLE_IP and CTA_TUPLE_PROTO of a TCP connection.
fn tuple(kind: u16, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> DefaultNla {
    const TCP: u8 = 6;
    let addresses = nested(1, &[attribute(1, &from.0), attribute(2, &to.0)]);
    let ports =
        nested(2, &[attribute(1, &[TCP]), attribute(2, &from.1.to_be_bytes()), attribute(3, &to.1.to_be_bytes())]);
    nested(kind, &[addresses, ports])
}

/// IPCTNL_MSG_CT_NEW: an established connection that makes no room for others (IPS_ASSURED).
fn entry(number: u32) -> Vec<u8> {
    const NEW: u16 = 1 << 8;
    const REQUEST_CREATE: u16 = 0x1 | 0x400;
    const SEEN_REPLY_ASSURED_CONFIRMED: u32 = 2 | 4 | 8;
    const ESTABLISHED: u8 = 3;
    let [_, a, b, c] = number.to_be_bytes();
    let (client, server) = (([10, 99, a, b], 1024 + u16::from(c)), ([10, 98, 0, 1], 80));
    let attributes = [
        tuple(1, client, server),
        tuple(2, server, client),
        attribute(3, &SEEN_REPLY_ASSURED_CONFIRMED.to_be_bytes()),
        nested(4, &[nested(1, &[attribute(1, &[ESTABLISHED])])]),
        attribute(7, &600_u32.to_be_bytes()),
    ];
    // `struct nfgenmsg` goes before.
    let body = [vec![libc::AF_INET as u8, 0, 0, 0], bytes(&attributes)].concat();
    let length = u32::try_from(16 + body.len()).expect("a short message");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&NEW.to_ne_bytes());
    message.extend_from_slice(&REQUEST_CREATE.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&body);
    message
}

/// Fills the table; the limit is the machine's, the entries are the island's own and go with it.
///
/// # Panics
/// When the table is not full afterwards.
pub fn fill(island: &Island) {
    island.inside(|| {
        let number = |name: &str| -> u32 {
            let path = format!("/proc/sys/net/netfilter/{name}");
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            text.trim().parse().unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
        };
        let limit = number("nf_conntrack_max");
        assert!(limit <= 1 << 22, "a table of {limit} entries takes too much of this machine's memory");
        let kernel =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::NETFILTER))
                .expect("a netlink socket");
        let mut next = 0;
        while next < limit {
            let end = limit.min(next + BATCH);
            let batch: Vec<u8> = (next..end).flat_map(entry).collect();
            rustix::io::write(&kernel, &batch).expect("the kernel takes entries");
            next = end;
        }
        let count = number("nf_conntrack_count");
        assert!(count >= limit, "only {count} of {limit} entries");
    });
}
