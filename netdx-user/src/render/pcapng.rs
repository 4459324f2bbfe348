//! The packets that a recording tells of, as pcapng, for packet tools. Owns: the file format (draft-ietf-opsawg-pcapng)
//! and the headers of rebuilt packets. Must not know: verdicts, files.
//!
//! The kernel told netdx of packets, it did not hand them over: headers are rebuilt from what it told, payloads are left
//! out (the original length says how much), unknown fields and checksums above IP are zero, and every packet's comment
//! says what happened to it.

use crate::{
    event::{DnsMessage, Event, Name, Packet, Protocol, Sock, TcpState, Tuple},
    input::{Input, Stamped},
    recording::{Header, Start},
};
use std::net::{IpAddr, SocketAddr};

/// Raw IP, version by its first four bits.
const LINKTYPE_RAW: u16 = 101;
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const OPTION_COMMENT: u16 = 1;
const OPTION_APPLICATION: u16 = 4;
const OPTION_NAME: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The beginning of the file.
#[must_use]
pub fn start(header: &Header) -> Vec<u8> {
    let mut section = Vec::new();
    section.extend(BYTE_ORDER.to_le_bytes());
    section.extend([1u16, 0].map(u16::to_le_bytes).concat());
    // Length of the section: not known yet.
    section.extend(u64::MAX.to_le_bytes());
    let about = "headers rebuilt by netdx from what the kernel told; payloads and checksums are not known";
    options(
        &mut section,
        &[(OPTION_COMMENT, about.as_bytes()), (OPTION_APPLICATION, format!("netdx {}", header.netdx).as_bytes())],
    );
    let mut interface = Vec::new();
    interface.extend(LINKTYPE_RAW.to_le_bytes());
    interface.extend([0; 6]);
    // Times in units of 10^-9 s.
    options(&mut interface, &[(OPTION_NAME, b"netdx"), (OPTION_RESOLUTION, &[9])]);
    [block(SECTION, &section), block(INTERFACE, &interface)].concat()
}

/// The packet that an input tells of, if it tells of one.
#[must_use]
pub fn packet(stamped: &Stamped, start: &Start) -> Option<Vec<u8>> {
    let Input::Event(event) = &stamped.input else { return None };
    let rebuilt = rebuild(event)?;
    let ns = u64::try_from(start.utc_of(stamped.t)?.as_nanosecond()).ok()?;
    let length = u32::try_from(rebuilt.bytes.len()).ok()?;
    let mut body = Vec::new();
    for field in [0, (ns >> 32) as u32, ns as u32, length, rebuilt.length.max(length)] {
        body.extend(field.to_le_bytes());
    }
    padded(&mut body, &rebuilt.bytes);
    options(&mut body, &[(OPTION_COMMENT, rebuilt.comment.as_bytes())]);
    Some(block(ENHANCED_PACKET, &body))
}

/// A packet as far as it is known.
struct Rebuilt {
    bytes: Vec<u8>,
    /// Length that it had.
    length: u32,
    comment: String,
}

fn rebuild(event: &Event) -> Option<Rebuilt> {
    match event {
        Event::Drop { .. } if event.is_of_question() => None,
        Event::Drop { packet, inner, reason, at, hook, .. } => {
            let hook = hook.map(|hook| format!(", {hook:?}").to_lowercase()).unwrap_or_default();
            let around = inner.as_ref().and_then(|inner| inner.tuple).map(|t| {
                let [from, to] = [(t.local, t.local_port), (t.remote, t.remote_port)].map(SocketAddr::from);
                format!(", around a packet from {from} to {to}")
            });
            let around = around.unwrap_or_default();
            told(packet, None, format!("dropped: {} at {}{hook}{around}", known(reason), known(at)))
        }
        Event::ResetSent { packet: Some(packet), reason, .. } => {
            told(packet, None, format!("answered with a reset: {}", known(reason)))
        }
        Event::IcmpSent { packet, .. } => {
            told(packet, None, format!("answered with ICMP type {} code {}", packet.icmp_type, packet.icmp_code))
        }
        Event::IcmpReceived { packet, quoted, info } => {
            told(packet, quoted.as_ref().map(|quoted| (*info, quoted)), "came in".into())
        }
        Event::ListenOverflow { listener, packet } => {
            let fill = format!("accept queue full: {} of {}", listener.backlog, listener.max_backlog);
            told(packet, None, fill)
        }
        Event::Retransmit { sock, sequence, length, .. } => {
            let flags = if sock.state == TcpState::SynSent { SYN } else { ACK };
            segment(
                sock.tuple,
                *sequence,
                flags,
                *length,
                format!("sent again, {} unanswered so far", sock.retransmits),
            )
        }
        Event::ResetReceived { sock, .. } => {
            segment(sock.tuple.reversed(), 0, RST, 0, "reset came in (sequence number not known)".into())
        }
        Event::Attempt { sock, .. } => attempt(sock),
        Event::Dns { tuple, leaving, message, .. } => {
            let tuple = if *leaving { *tuple } else { tuple.reversed() };
            dns(tuple, message)
        }
        Event::ResetSent { packet: None, .. }
        | Event::State { .. }
        | Event::SocketError { .. }
        | Event::SynAckRetransmit { .. }
        | Event::NeighborFailed { .. }
        | Event::CallFailed { .. }
        | Event::Process { .. }
        | Event::ProcessExit { .. }
        | Event::GetAddrInfo { .. } => None,
    }
}

fn known(name: &Option<Name>) -> &str {
    name.as_deref().unwrap_or("unknown")
}

/// A packet that the kernel described.
fn told(packet: &Packet, quoted: Option<(u32, &Tuple)>, comment: String) -> Option<Rebuilt> {
    let tuple = packet.tuple?;
    let payload = match tuple.protocol {
        Protocol::Tcp | Protocol::Mptcp => {
            let mut header = tcp(&tuple, packet.sequence, packet.acknowledgement, packet.tcp_flags);
            if packet.tcp_flags & (SYN | RST) != 0 {
                with_options(&mut header, packet.length.saturating_sub(ip_length(&tuple)));
            }
            header
        }
        Protocol::Udp => udp(&tuple, packet.length.saturating_sub(ip_length(&tuple))),
        Protocol::Icmp | Protocol::Icmpv6 => icmp(packet, quoted),
        Protocol::Other(_) => Vec::new(),
    };
    Some(Rebuilt { bytes: ip(&tuple, packet.ttl, &payload, packet.length)?, length: packet.length, comment })
}

fn segment(tuple: Tuple, sequence: u32, flags: u8, payload: u32, comment: String) -> Option<Rebuilt> {
    let header = tcp(&tuple, sequence, 0, flags);
    let length = ip_length(&tuple).saturating_add(header.len() as u32).saturating_add(payload);
    Some(Rebuilt { bytes: ip(&tuple, 0, &header, length)?, length, comment })
}

/// Only a TCP attempt that began here is a packet for sure.
fn attempt(sock: &Sock) -> Option<Rebuilt> {
    let tcp = sock.tuple.protocol == Protocol::Tcp && sock.opened == crate::event::Opened::Here;
    tcp.then(|| segment(sock.tuple, 0, SYN, 0, "SYN (sequence number not known)".into()))?
}

fn ip_length(tuple: &Tuple) -> u32 {
    if tuple.remote.is_ipv4() { 20 } else { 40 }
}

/// RFC 791, RFC 8200. None: ends of different families.
fn ip(tuple: &Tuple, ttl: u8, payload: &[u8], length: u32) -> Option<Vec<u8>> {
    let protocol = tuple.protocol.number()?;
    let whole = length.max(ip_length(tuple).saturating_add(payload.len() as u32));
    let mut header = Vec::with_capacity(60);
    match (tuple.local, tuple.remote) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([0x45, 0]);
            header.extend(u16::try_from(whole).unwrap_or(u16::MAX).to_be_bytes());
            header.extend([0, 0, 0, 0, ttl, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.extend([0x60, 0, 0, 0]);
            header.extend(u16::try_from(whole - 40).unwrap_or(u16::MAX).to_be_bytes());
            header.extend([protocol, ttl]);
            header.extend(from.octets());
            header.extend(to.octets());
        }
        _ => return None,
    }
    header.extend(payload);
    Some(header)
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// RFC 9293; window, checksum and urgent pointer zero.
fn tcp(tuple: &Tuple, sequence: u32, acknowledgement: u32, flags: u8) -> Vec<u8> {
    let mut header = Vec::with_capacity(20);
    header.extend(tuple.local_port.to_be_bytes());
    header.extend(tuple.remote_port.to_be_bytes());
    header.extend(sequence.to_be_bytes());
    header.extend(acknowledgement.to_be_bytes());
    header.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    header
}

/// A segment that carries no data is its header: what is longer are options, which are not known and have the zeros of the
/// list's end.
fn with_options(header: &mut Vec<u8>, length: u32) {
    // The length in words has four bits.
    let length = usize::try_from(length).unwrap_or(0).clamp(header.len(), 60) / 4 * 4;
    header.resize(length, 0);
    header[12] = ((length / 4) as u8) << 4;
}

/// RFC 768; the length includes the header.
fn udp(tuple: &Tuple, length: u32) -> Vec<u8> {
    let length = u16::try_from(length.max(8)).unwrap_or(u16::MAX);
    [tuple.local_port, tuple.remote_port, length, 0].map(u16::to_be_bytes).concat()
}

/// RFC 792, RFC 4443, with the first bytes of the packet it complains of.
fn icmp(packet: &Packet, quoted: Option<(u32, &Tuple)>) -> Vec<u8> {
    let mut bytes = vec![packet.icmp_type, packet.icmp_code, 0, 0];
    let (info, quoted) = quoted.unzip();
    bytes.extend(info.unwrap_or_default().to_be_bytes());
    if let Some(quoted) = quoted {
        // ICMP quotes the ports at least.
        let ports = [quoted.local_port, quoted.remote_port, 0, 0].map(u16::to_be_bytes).concat();
        bytes.extend(ip(quoted, 0, &ports, 0).unwrap_or_default());
    }
    bytes
}

/// Header and question (RFC 1035); the answers are only counted.
fn dns(tuple: Tuple, message: &DnsMessage) -> Option<Rebuilt> {
    if tuple.protocol != Protocol::Udp {
        return None;
    }
    let mut bytes = Vec::new();
    let flags = u16::from(message.answer) << 15 | u16::from(message.truncated) << 9 | message.rcode & 0xf;
    let questions = u16::from(message.question.is_some());
    for field in [message.id, flags, questions, message.answers, 0, 0] {
        bytes.extend(field.to_be_bytes());
    }
    if let Some(question) = &message.question {
        for label in question.name.split('.').filter(|label| !label.is_empty()) {
            // A label is 63 bytes at most; its text may be longer where bytes were escaped.
            let label = &label.as_bytes()[..label.len().min(63)];
            bytes.push(label.len() as u8);
            bytes.extend(label);
        }
        bytes.push(0);
        bytes.extend(question.kind.to_be_bytes());
        bytes.extend(1u16.to_be_bytes());
    }
    let length = u32::from(message.length) + 8;
    let payload = [udp(&tuple, length), bytes].concat();
    let length = length + ip_length(&tuple);
    let way = if message.answer { "DNS answer, cut after the question" } else { "DNS query" };
    Some(Rebuilt { bytes: ip(&tuple, 0, &payload, length)?, length, comment: way.into() })
}

/// A block: type, length, body, length again.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    // 12 bytes around the body; no body here is longer than a few hundred.
    let length = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

fn options(body: &mut Vec<u8>, options: &[(u16, &[u8])]) {
    for (code, value) in options {
        let value = &value[..value.len().min(u16::MAX.into())];
        body.extend(code.to_le_bytes());
        body.extend((value.len() as u16).to_le_bytes());
        padded(body, value);
    }
    // End of options.
    body.extend([0; 4]);
}

/// Everything begins at a multiple of four bytes.
fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::tests::{header, inputs};

    /// The blocks of a file: type and body.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
        let mut all = Vec::new();
        while !file.is_empty() {
            let length = number(&file[4..]) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(number(&file[length - 4..]), length as u32, "the length stands at both ends");
            all.push((number(file), file[8..length - 4].to_vec()));
            file = &file[length..];
        }
        all
    }

    fn tuple(protocol: Protocol, from: &str, to: &str) -> Tuple {
        let address = |text: &str| text.parse().expect("an address");
        Tuple { protocol, local: address(from), local_port: 40000, remote: address(to), remote_port: 53 }
    }

    #[test]
    fn a_file_has_whole_blocks() {
        let start_of = header().start;
        let packets: Vec<u8> = inputs().iter().filter_map(|input| packet(input, &start_of)).flatten().collect();
        let file = [start(&header()), packets].concat();
        let kinds: Vec<u32> = blocks(&file).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds[..2], [SECTION, INTERFACE]);
        assert!(kinds[2..].iter().all(|kind| *kind == ENHANCED_PACKET));
    }

    #[test]
    fn a_dns_query_is_whole() {
        let message = DnsMessage {
            id: 0x1234,
            answer: false,
            truncated: false,
            rcode: 0,
            question: Some(crate::event::DnsQuestion { name: "a.example".into(), kind: 1 }),
            answers: 0,
            addresses: vec![],
            aliases: Vec::new(),
            authority: None,
            length: 27,
            malformed: None,
        };
        let rebuilt = dns(tuple(Protocol::Udp, "10.0.0.5", "10.0.0.53"), &message).expect("a packet");
        assert_eq!(rebuilt.bytes.len(), 20 + 8 + 27);
        assert_eq!(rebuilt.length, 55);
        assert_eq!(checksum(&rebuilt.bytes[..20]), 0, "a right checksum sums to nothing");
        assert_eq!(&rebuilt.bytes[28..], b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01");
    }

    #[test]
    fn options_of_a_syn_are_no_data() {
        let tuple = tuple(Protocol::Tcp, "10.0.0.5", "10.0.0.53");
        for (length, words) in [(20 + 40, 10), (20 + 20, 5), (0, 5), (1500, 15)] {
            let mut header = tcp(&tuple, 7, 0, SYN);
            with_options(&mut header, length - length.min(20));
            assert_eq!((header.len(), header[12]), (usize::from(words) * 4, words << 4));
        }
    }

    #[test]
    fn segments_of_both_families() {
        for (from, to, header) in [("10.0.0.5", "10.0.0.53", 20), ("fd01::1", "fd01::2", 40)] {
            let rebuilt = segment(tuple(Protocol::Tcp, from, to), 7, SYN, 0, String::new()).expect("a packet");
            assert_eq!(rebuilt.bytes.len(), header + 20);
            assert_eq!(rebuilt.bytes[header..header + 8], [0x9c, 0x40, 0, 53, 0, 0, 0, 7]);
            assert_eq!(rebuilt.bytes[header + 13], SYN);
        }
        assert!(segment(tuple(Protocol::Tcp, "10.0.0.5", "fd01::2"), 7, SYN, 0, String::new()).is_none());
    }
}
