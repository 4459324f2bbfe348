//! A remote host that this kernel cannot see into: a TUN device whose other end is this process.
//! Owns: answering packets by hand. Must not know: netdx, what is tested.

use crate::island::Island;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
    /// ICMP destination unreachable with this code, sent by this address; over IPv6 its ICMP.
    Unreachable(u8, IpAddr),
}

/// IP protocol numbers (IANA).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;

/// TCP flags.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Lengths of headers without options, in bytes.
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;

/// Puts a network with such a host behind a device `far0` of the island: 10.7.0.0/16 and fd07::/64 are there. It answers until the test
/// process ends.
pub fn attach(island: &Island, answer: Answer) -> Remote {
    let mut device = island.inside(|| open_tun("far0"));
    island.ip("addr add 10.6.0.1/32 dev far0");
    island.ip("link set far0 up");
    island.ip("route add 10.7.0.0/16 dev far0 src 10.6.0.1");
    island.ip("-6 addr add fd06::1/128 dev far0 nodad");
    island.ip("-6 route add fd07::/64 dev far0 src fd06::1");
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
        self.send_syn((Ipv4Addr::new(10, 7, 0, 1).into(), from), (Ipv4Addr::new(10, 6, 0, 1).into(), to));
    }

    /// fd07::1 sends one to fd06::1.
    pub fn knock_over_ipv6(&self, from: u16, to: u16) {
        let end = |network: u16| Ipv6Addr::new(network, 0, 0, 0, 0, 0, 0, 1).into();
        self.send_syn((end(0xfd07), from), (end(0xfd06), to));
    }

    fn send_syn(&self, (source, from): (IpAddr, u16), (target, to): (IpAddr, u16)) {
        let mut syn = from.to_be_bytes().to_vec();
        syn.extend_from_slice(&to.to_be_bytes());
        syn.extend_from_slice(&[0, 0, 1, 0, 0, 0, 0, 0, 5 << 4, SYN, 0x20, 0, 0, 0, 0, 0]);
        seal(TCP, &mut syn, source, target);
        (&self.device).write_all(&ip(TCP, source, target, &syn)).expect("the device takes a packet");
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

/// The answer to a packet; none to what is not a TCP SYN right behind its IP header.
fn reply(packet: &[u8], answer: Answer) -> Option<Vec<u8>> {
    let (source, target, header_length) = addresses(packet)?;
    let tcp = packet.get(header_length..header_length + TCP_HEADER)?;
    if tcp[13] & 0x3f != SYN {
        return None;
    }
    match answer {
        Answer::Silence => None,
        Answer::Reset => Some(ip(TCP, target, source, &segment(RST | ACK, tcp, target, source))),
        Answer::Handshake => Some(ip(TCP, target, source, &segment(SYN | ACK, tcp, target, source))),
        Answer::Unreachable(code, by) if by.is_ipv4() => {
            Some(ip(ICMP, by, source, &unreachable(code, packet, header_length)))
        }
        Answer::Unreachable(code, by) => Some(ip(ICMPV6, by, source, &unreachable_v6(code, packet, by, source))),
    }
}

/// Source and target of a packet of TCP, and the length of its IP header.
fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr, usize)> {
    let first = packet.first()?;
    match first >> 4 {
        4 => {
            let header = packet.get(..IPV4_HEADER).filter(|header| header[9] == TCP)?;
            let address =
                |at: usize| header.get(at..at + 4)?.first_chunk().map(|b: &[u8; 4]| Ipv4Addr::from(*b).into());
            Some((address(12)?, address(16)?, usize::from(first & 0x0f) * 4))
        }
        6 => {
            let header = packet.get(..IPV6_HEADER).filter(|header| header[6] == TCP)?;
            let address =
                |at: usize| header.get(at..at + 16)?.first_chunk().map(|b: &[u8; 16]| Ipv6Addr::from(*b).into());
            Some((address(8)?, address(24)?, IPV6_HEADER))
        }
        _ => None,
    }
}

/// RFC 9293: a segment that acknowledges the SYN.
fn segment(flags: u8, syn: &[u8], from: IpAddr, to: IpAddr) -> Vec<u8> {
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
    seal(TCP, &mut segment, from, to);
    segment
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Writes the checksum over the pseudo header of a payload (RFC 9293 §3.1, RFC 8200 §8.1; both are this for less than 64 KiB).
fn seal(protocol: u8, payload: &mut [u8], from: IpAddr, to: IpAddr) {
    let at = if protocol == TCP { 16 } else { 2 };
    let mut pseudo = [octets(from), octets(to)].concat();
    pseudo.extend_from_slice(&[0, protocol]);
    pseudo.extend_from_slice(&u16::try_from(payload.len()).expect("a short packet").to_be_bytes());
    pseudo.extend_from_slice(payload);
    let sum = checksum(&pseudo);
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 4443: type 1, as much of the packet quoted as there is.
fn unreachable_v6(code: u8, packet: &[u8], from: IpAddr, to: IpAddr) -> Vec<u8> {
    let mut message = vec![1, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(packet);
    seal(ICMPV6, &mut message, from, to);
    message
}

/// RFC 792: type 3, the packet's header and its first eight bytes quoted.
fn unreachable(code: u8, packet: &[u8], header_length: usize) -> Vec<u8> {
    let mut message = vec![3, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&packet[..header_length + 8]);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn ip(protocol: u8, from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(payload.len() + more).expect("a short packet").to_be_bytes();
    let mut packet = Vec::new();
    if from.is_ipv4() {
        packet.extend_from_slice(&[0x45, 0]);
        packet.extend_from_slice(&length(IPV4_HEADER));
        packet.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    } else {
        packet.extend_from_slice(&[0x60, 0, 0, 0]);
        packet.extend_from_slice(&length(0));
        packet.extend_from_slice(&[protocol, 64]);
    }
    packet.extend_from_slice(&[octets(from), octets(to)].concat());
    if from.is_ipv4() {
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
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
        ip(TCP, Ipv4Addr::new(10, 6, 0, 1).into(), Ipv4Addr::new(10, 7, 0, 1).into(), &tcp)
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
        let reply = reply(&syn(), Answer::Unreachable(1, Ipv4Addr::new(10, 7, 9, 9).into())).expect("an answer");
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

    #[test]
    fn over_ipv6_the_answers_are_those_of_ipv6() {
        let (here, there) = ("fd06::1".parse().expect("an address"), "fd07::1".parse().expect("an address"));
        let syn = ip(TCP, here, there, &syn()[IPV4_HEADER..]);
        let reset = reply(&syn, Answer::Reset).expect("an answer");
        assert_eq!(addresses(&reset), Some((there, here, IPV6_HEADER)));
        assert_eq!(reset[40 + 13], 0x14);
        let error = reply(&syn, Answer::Unreachable(3, there)).expect("an answer");
        assert_eq!((error[6], &error[40..42]), (ICMPV6, &[1, 3][..]));
        assert_eq!(&error[48..], &syn);
        let mut pseudo = [octets(there), octets(here), vec![0, ICMPV6, 0, 68]].concat();
        pseudo.extend_from_slice(&error[40..]);
        assert_eq!((error.len() - 40, checksum(&pseudo)), (68, 0));
    }
}
