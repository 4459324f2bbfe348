//! Services of the kernel's load balancer (IPVS). Owns: reading their list. Must not know: packets.

use super::Error;
use crate::{
    event::Protocol,
    fact::{IpvsServer, IpvsService},
};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The services of the calling thread's namespace, those by firewall mark left out.
///
/// # Errors
/// The list may not be read. Without IPVS it is empty.
pub fn services() -> Result<Vec<IpvsService>, Error> {
    let path = "/proc/thread-self/net/ip_vs";
    match fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::read(path, e)),
    }
}

/// Lines as `TCP  0A600001:01BB rr` and `  -> 0A000001:1F90      Masq    1      0          0`, with IPv6 addresses in brackets
/// (`ip_vs_info_seq_show`, 6.18). What can't be read is left out.
fn parse(text: &str) -> Vec<IpvsService> {
    let mut services: Vec<IpvsService> = Vec::new();
    // Servers belong to the service above them, if it was taken.
    let mut taken = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next().and_then(end)) {
            (Some("->"), Some((address, port))) if taken => {
                let weight = words.nth(1).and_then(|weight| weight.parse().ok()).unwrap_or(0);
                if let Some(service) = services.last_mut() {
                    service.servers.push(IpvsServer { address, port, weight });
                }
            }
            (Some("->"), _) => {}
            (Some(protocol @ ("TCP" | "UDP")), Some((address, port))) => {
                let protocol = if protocol == "TCP" { Protocol::Tcp } else { Protocol::Udp };
                services.push(IpvsService { protocol, address, port, servers: Vec::new() });
                taken = true;
            }
            _ => taken = false,
        }
    }
    services
}

fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    let address = match address.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into(),
        None => Ipv4Addr::from_bits(u32::from_str_radix(address, 16).ok()?).into(),
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_the_servers_below_them() {
        let text = "IP Virtual Server version 1.2.1 (size=4096)\n\
                    Prot LocalAddress:Port Scheduler Flags\n  \
                    -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
                    TCP  0A600001:01BB rr  \n  -> 0A000001:1F90      Masq    1      0          0         \n  \
                    -> 0A000002:1F90      Masq    0      0          0         \n\
                    FWM  00000001 wlc  \n  -> 0A000003:0000      Route   1      0          0         \n\
                    UDP  [fd00:0000:0000:0000:0000:0000:0000:0001]:0035 rr  \nTCP  nonsense rr\n  -> 0A000004:0001 Masq 1 0 0\n";
        let server = |last: u8, weight| IpvsServer { address: [10, 0, 0, last].into(), port: 8080, weight };
        let expected = [
            IpvsService {
                protocol: Protocol::Tcp,
                address: [10, 96, 0, 1].into(),
                port: 443,
                servers: vec![server(1, 1), server(2, 0)],
            },
            IpvsService { protocol: Protocol::Udp, address: "fd00::1".parse().unwrap(), port: 53, servers: Vec::new() },
        ];
        assert_eq!(parse(text), expected);
    }
}
