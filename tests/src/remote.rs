//! A remote host that this kernel cannot see into: a TUN device whose other end is this process.
//! Owns: answering packets by hand. Must not know: netdx, what is tested.

use crate::island::Island;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

/// What the remote host does with a TCP SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A reset.
    Reset,
    /// A SYN-ACK, and nothing to all that follows.
    Handshake,
    /// Nothing.
    Silence,
    /// ICMP destination unreachable with this code, sent by this address.
    Unreachable(u8, Ipv4Addr),
}

/// IPv4 protocol numbers (IANA).
const ICMP: u8 = 1;
const TCP: u8 = 6;

/// TCP flags.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Lengths of headers without options, in bytes.
const IPV4_HEADER: usize = 20;
const TCP_HEADER: usize = 20;

/// Puts a network with such a host behind a device `far0` of the island: 10.7.0.0/16 is there. It answers until the test
/// process ends.
pub fn attach(island: &Island, answer: Answer) -> Remote {
    let mut device = island.inside(|| open_tun("far0"));
    island.ip("addr add 10.6.0.1/32 dev far0");
    island.ip("link set far0 up");
    island.ip("route add 10.7.0.0/16 dev far0 src 10.6.0.1");
    let remote = Remote { device: device.try_clone().expect("duplicate a descriptor") };
    std::thread::spawn(move || {
        let mut packet = [0; 65536];
        while let Ok(length) = device.read(&mut packet) {
            if let Some(reply) = reply(&packet[..length], answer) {
                // The device may be gone already: the test is over.
                if device.write_all(&reply).is_err() {
                    break;
                }
            }
        }
    });
    remote
}

/// A host behind the device.
#[derive(Debug)]
pub struct Remote {
    device: File,
}

impl Remote {
    /// 10.7.0.1 sends a SYN to the island's 10.6.0.1.
    pub fn knock(&self, from: u16, to: u16) {
        let (source, target) = ([10, 7, 0, 1], [10, 6, 0, 1]);
        let mut syn = from.to_be_bytes().to_vec();
        syn.extend_from_slice(&to.to_be_bytes());
        syn.extend_from_slice(&[0, 0, 1, 0, 0, 0, 0, 0, 5 << 4, SYN, 0x20, 0, 0, 0, 0, 0]);
        seal(&mut syn, source, target);
        (&self.device).write_all(&ipv4(TCP, source, target, &syn)).expect("the device takes a packet");
    }
}

/// Opens a TUN device that carries bare IP packets (Documentation/networking/tuntap.rst).
fn open_tun(name: &str) -> File {
    let device = File::options().read(true).write(true).open("/dev/net/tun").expect("open /dev/net/tun");
    // SAFETY: all of `ifreq` is integers and bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).expect("these flags fit");
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives here.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(result, 0, "make {name}: {}", std::io::Error::last_os_error());
    device
}

/// The answer to a packet; none to what is not a TCP SYN over IPv4.
fn reply(packet: &[u8], answer: Answer) -> Option<Vec<u8>> {
    let header = packet.get(..IPV4_HEADER)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let tcp = packet.get(header_length..header_length + TCP_HEADER)?;
    let (is_ipv4, is_syn) = (header[0] >> 4 == 4, tcp[13] & 0x3f == 0x02);
    if !is_ipv4 || header[9] != TCP || !is_syn {
        return None;
    }
    let source: [u8; 4] = header[12..16].try_into().ok()?;
    let target: [u8; 4] = header[16..20].try_into().ok()?;
    match answer {
        Answer::Silence => None,
        Answer::Reset => Some(ipv4(TCP, target, source, &segment(RST | ACK, tcp, target, source))),
        Answer::Handshake => Some(ipv4(TCP, target, source, &segment(SYN | ACK, tcp, target, source))),
        Answer::Unreachable(code, by) => {
            Some(ipv4(ICMP, by.octets(), source, &unreachable(code, packet, header_length)))
        }
    }
}

/// RFC 9293: a segment that acknowledges the SYN.
fn segment(flags: u8, syn: &[u8], from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    /// What it can receive.
    const WINDOW: u8 = 0x20;
    let sequence = u32::from_be_bytes([syn[4], syn[5], syn[6], syn[7]]);
    let mut segment = Vec::with_capacity(TCP_HEADER);
    segment.extend_from_slice(&syn[2..4]);
    segment.extend_from_slice(&syn[0..2]);
    segment.extend_from_slice(&0_u32.to_be_bytes());
    segment.extend_from_slice(&sequence.wrapping_add(1).to_be_bytes());
    // Data offset of five words; flags; window; no checksum yet, no urgent pointer.
    segment.extend_from_slice(&[5 << 4, flags, WINDOW, 0, 0, 0, 0, 0]);
    seal(&mut segment, from, to);
    segment
}

/// Writes the checksum of a segment that is a bare header.
fn seal(segment: &mut [u8], from: [u8; 4], to: [u8; 4]) {
    let mut pseudo = Vec::from(from);
    pseudo.extend_from_slice(&to);
    pseudo.extend_from_slice(&[0, TCP, 0, TCP_HEADER as u8]);
    pseudo.extend_from_slice(segment);
    let sum = checksum(&pseudo);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 792: type 3, the packet's header and its first eight bytes quoted.
fn unreachable(code: u8, packet: &[u8], header_length: usize) -> Vec<u8> {
    let mut message = vec![3, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&packet[..header_length + 8]);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn ipv4(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(IPV4_HEADER + payload.len()).expect("a short packet");
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend_from_slice(&from);
    packet.extend_from_slice(&to);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn() -> Vec<u8> {
        let mut tcp = vec![0x9c, 0x40, 0x15, 0x38, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 5 << 4, 0x02];
        tcp.extend_from_slice(&[0; 6]);
        ipv4(TCP, [10, 6, 0, 1], [10, 7, 0, 1], &tcp)
    }

    #[test]
    fn a_reset_answers_the_syn_and_its_checksums_hold() {
        let reply = reply(&syn(), Answer::Reset).expect("an answer");
        assert_eq!(checksum(&reply[..20]), 0);
        assert_eq!(&reply[12..20], [10, 7, 0, 1, 10, 6, 0, 1]);
        assert_eq!(&reply[20..24], [0x15, 0x38, 0x9c, 0x40]);
        assert_eq!(&reply[28..32], [0, 0, 0, 0], "the acknowledgement wraps");
        assert_eq!(reply[33], 0x14);
    }

    #[test]
    fn an_icmp_error_quotes_the_syn() {
        let reply = reply(&syn(), Answer::Unreachable(1, Ipv4Addr::new(10, 7, 9, 9))).expect("an answer");
        assert_eq!(&reply[12..16], [10, 7, 9, 9]);
        assert_eq!(&reply[20..22], [3, 1]);
        assert_eq!(checksum(&reply[20..]), 0);
        assert_eq!(&reply[28..], &syn()[..28]);
    }

    #[test]
    fn only_a_syn_is_answered() {
        assert_eq!(reply(&syn(), Answer::Silence), None);
        assert_eq!(reply(&[0x60; 60], Answer::Reset), None);
        assert_eq!(reply(&[], Answer::Reset), None);
        let mut ack = syn();
        ack[33] = 0x10;
        assert_eq!(reply(&ack, Answer::Reset), None);
    }
}
