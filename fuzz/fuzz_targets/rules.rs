//! What nft and iptables-save list. The first byte says of what kind the rest is; nft's two listings, JSON and text, are
//! parted by a zero byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netdx::{
    event::{Hook, Protocol, Tuple},
    fact::{Interface, Ruleset},
    host::{firewall, iptables},
    ruleset::{Action, PacketView, culprits},
};
use std::net::IpAddr;

fn tuple(v6: bool) -> Tuple {
    let address = |v4: &str, in_v6: &str| -> IpAddr { if v6 { in_v6 } else { v4 }.parse().expect("an address") };
    Tuple {
        protocol: Protocol::Tcp,
        local: address("10.0.0.1", "fd01::1"),
        local_port: 40000,
        remote: address("10.0.0.2", "fd01::2"),
        remote_port: 80,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let v6 = kind & 1 != 0;
    let ruleset = if kind & 2 != 0 {
        Ruleset { chains: iptables::parse(&text, v6), ..Ruleset::default() }
    } else {
        let (json, listing) = text.split_once('\0').unwrap_or((&text, ""));
        match firewall::parse(json, listing) {
            Ok(ruleset) => ruleset,
            Err(error) => return netdx_fuzz::plain(&error.to_string()),
        }
    };
    let own = [Interface { addresses: vec![(tuple(v6).remote, 24)], ..Interface::default() }];
    let packet = PacketView {
        tuple: tuple(v6),
        tcp_flags: Some(2),
        icmp: None,
        arp: None,
        mark: Some(1),
        in_device: Some("eth0"),
        out_device: None,
        uid: Some(0),
        interfaces: &own,
        bridged: kind & 4 != 0,
        engine: None,
    };
    for hook in [Hook::Input, Hook::Output, Hook::Forward, Hook::Prerouting, Hook::Postrouting, Hook::Ingress] {
        for action in [Action::Drop, Action::Reset, Action::Icmp { v6, kind: 3, code: 3 }] {
            _ = culprits(&ruleset, hook, &packet, action);
        }
    }
});
