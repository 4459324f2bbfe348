//! ICMP echo. Owns: one ping and its socket. Must not know: what an answer means for the ladder.
//!
//! An ordinary user may open the kernel's ping sockets when net.ipv4.ping_group_range lets the group (ping_init_sock,
//! net/ipv4/ping.c, Linux 6.18); root falls back to a raw socket.

use rustix::net::{AddressFamily, SocketType, ipproto};
use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};
use tokio::{net::UdpSocket, time::timeout_at};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
/// Pause before the next echo request is sent.
const PAUSE: Duration = Duration::from_secs(1);
/// Length of what follows the ICMP header, so that a reply can be told from somebody else's.
const PAYLOAD: usize = 16;

/// Why there was no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// This user may not ping.
    #[error(
        "this user may not ping (net.ipv4.ping_group_range leaves the group out, and a raw socket needs CAP_NET_RAW)"
    )]
    NotAllowed,
    /// Nothing came back.
    #[error("no reply")]
    Silence,
    /// The kernel refused, or an ICMP error came back.
    #[error("{}", crate::inspect::errno_text(.0))]
    Io(#[from] io::Error),
}

/// Sends echo requests once a second until one is answered; the time from the answered request to its reply.
pub(super) async fn ping(to: IpAddr, device: u32, patience: Duration) -> Result<Duration, Error> {
    let (socket, raw) = open(to)?;
    let scope = match to {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => device,
        _ => 0,
    };
    let endpoint = match to {
        IpAddr::V4(v4) => SocketAddr::from((v4, 0)),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, scope).into(),
    };
    let socket = std::net::UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    socket.connect(endpoint).await?;
    let deadline = tokio::time::Instant::now() + patience;
    let mut sequence = 0;
    loop {
        sequence += 1;
        let request = echo(to.is_ipv6(), sequence);
        let began = Instant::now();
        socket.send(&request).await?;
        let until = deadline.min(tokio::time::Instant::now() + PAUSE);
        let mut buffer = [0; 1500];
        loop {
            match timeout_at(until, socket.recv(&mut buffer)).await {
                Err(_) => break,
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(length)) => {
                    if is_reply(&buffer[..length], &request, raw, to.is_ipv6()) {
                        return Ok(began.elapsed());
                    }
                }
            }
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(Error::Silence);
        }
    }
}

fn open(to: IpAddr) -> Result<(OwnedFd, bool), Error> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    if let Ok(socket) = rustix::net::socket(family, SocketType::DGRAM, Some(protocol)) {
        return Ok((socket, false));
    }
    match rustix::net::socket(family, SocketType::RAW, Some(protocol)) {
        Ok(socket) => Ok((socket, true)),
        Err(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => Err(Error::NotAllowed),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// An echo request (RFC 792, RFC 4443). A ping socket fills in the identifier and checksum itself, a raw ICMPv6 socket the
/// checksum; only a raw ICMPv4 socket needs both.
fn echo(v6: bool, sequence: u16) -> Vec<u8> {
    let mut packet = vec![if v6 { ECHO_REQUEST_V6 } else { ECHO_REQUEST }, 0, 0, 0];
    packet.extend((std::process::id() as u16).to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    let nonce = u64::from(std::process::id()) << 32 | u64::from(sequence);
    packet.extend(nonce.to_be_bytes());
    packet.resize(8 + PAYLOAD, b'n');
    if !v6 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// Whether a packet answers the request. A raw IPv4 socket hands out the IP header too.
fn is_reply(packet: &[u8], request: &[u8], raw: bool, v6: bool) -> bool {
    let icmp = if raw && !v6 {
        let header = packet.first().map_or(0, |b| usize::from(b & 0xf) * 4);
        packet.get(header..).unwrap_or_default()
    } else {
        packet
    };
    let wanted = if v6 { ECHO_REPLY_V6 } else { ECHO_REPLY };
    icmp.len() >= request.len()
        && icmp[0] == wanted
        && icmp[1] == 0
        // A ping socket has put its own identifier in; the kernel hands out its own replies only.
        && (!raw || icmp[4..6] == request[4..6])
        && icmp[6..request.len()] == request[6..]
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        assert_eq!(checksum(&echo(false, 7)), 0);
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn only_the_reply_to_this_request_counts() {
        let request = echo(false, 3);
        let mut reply = request.clone();
        assert!(!is_reply(&reply, &request, false, false), "a request is no reply");
        reply[0] = ECHO_REPLY;
        assert!(is_reply(&reply, &request, false, false));
        assert!(!is_reply(&reply, &echo(false, 4), false, false), "another sequence number");
        let with_header = [&[0x45; 20][..], &reply].concat();
        assert!(is_reply(&with_header, &request, true, false));
        assert!(!is_reply(&[0x4f], &request, true, false));
        assert!(!is_reply(&[], &request, false, true));
    }
}
