//! Who can reach a bound address. Owns: those words. Must not know: sockets, processes. Pure.

use crate::{fact::Interface, inspect::who::Where};
use std::net::IpAddr;

/// In words. `v6only`: an IPv6 socket that takes no IPv4; `v6`: an IPv6 socket.
#[must_use]
pub fn words(
    address: IpAddr,
    v6only: bool,
    v6: bool,
    device: Option<&str>,
    place: &Where,
    interfaces: &[Interface],
) -> String {
    let who = if place.own { "this host".to_owned() } else { place.label() };
    let mut text = if address.is_loopback() {
        format!("only {who} can connect")
    } else if address.is_unspecified() {
        match (v6, v6only) {
            (false, _) => "every IPv4 address".into(),
            (true, true) => "every IPv6 address".into(),
            (true, false) => "every address, IPv4 and IPv6".into(),
        }
    } else if address.is_multicast() {
        "what is sent to that group".into()
    } else {
        match interfaces.iter().find(|i| i.has(address)) {
            Some(interface) if is_link_local(address) => format!("only the link of {}", interface.name),
            Some(interface) if interface.up => format!("only {address} ({})", interface.name),
            Some(interface) => format!("nobody else: {} is down", interface.name),
            // Broadcast addresses, and what IP_FREEBIND or a local route allows.
            None => format!("only {address}, which no interface has now"),
        }
    };
    if let Some(device) = device {
        text += &format!(", only through {device}");
    }
    text
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(address: &str, v6only: bool, device: Option<&str>) -> String {
        let interface = |name: &str, up, address: &str| Interface {
            index: 2,
            name: name.into(),
            up,
            carrier: up,
            loopback: false,
            mtu: 1500,
            peers: Vec::new(),
            unusable: vec![],
            addresses: vec![(address.parse().unwrap(), 24)],
            kind: String::new(),
            lladdr: None,
            master: None,
        };
        let interfaces = [
            interface("eth0", true, "10.0.0.5"),
            interface("eth1", false, "10.1.0.5"),
            interface("eth0", true, "fe80::1"),
        ];
        let place = Where { netns: 1, name: None, own: true };
        words(address.parse().unwrap(), v6only, address.contains(':'), device, &place, &interfaces)
    }

    #[test]
    fn each_kind_of_address() {
        assert_eq!(say("127.0.0.1", false, None), "only this host can connect");
        assert_eq!(say("::1", false, None), "only this host can connect");
        assert_eq!(say("0.0.0.0", false, None), "every IPv4 address");
        assert_eq!(say("::", false, None), "every address, IPv4 and IPv6");
        assert_eq!(say("::", true, None), "every IPv6 address");
        assert_eq!(say("10.0.0.5", false, None), "only 10.0.0.5 (eth0)");
        assert_eq!(say("10.1.0.5", false, None), "nobody else: eth1 is down");
        assert_eq!(say("10.9.0.5", false, None), "only 10.9.0.5, which no interface has now");
        assert_eq!(say("fe80::1", false, Some("eth0")), "only the link of eth0, only through eth0");
        assert_eq!(say("224.0.0.251", false, None), "what is sent to that group");
    }

    #[test]
    fn a_loopback_of_another_namespace_is_its_own() {
        let place = Where { netns: 7, name: Some("web".into()), own: false };
        assert_eq!(
            words("127.0.0.1".parse().unwrap(), false, false, None, &place, &[]),
            "only namespace web can connect"
        );
    }
}
