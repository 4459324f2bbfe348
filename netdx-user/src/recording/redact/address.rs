//! Pseudonyms of addresses. Owns: which bits of an address say its class and stay. Must not know: the key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Another address of the same class. `flip` says, for the first bits of an address and how many they are, whether the
/// next bit is turned over: addresses that share a prefix get pseudonyms that share one of that length.
pub(super) fn pseudonym(address: IpAddr, flip: impl Fn(&(u8, u8, u128)) -> bool) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let kept = class_v4(v4);
            let mut bits = u32::from(v4);
            // An ordinary address must not become a special one: turned again until it isn't. This ends, because each
            // turn is a permutation and the address began outside the special ones.
            loop {
                bits = turn(bits.into(), 32, kept, |prefix| flip(&(4, prefix.0, prefix.1))) as u32;
                if class_v4(bits.into()) == kept {
                    return IpAddr::V4(bits.into());
                }
            }
        }
        IpAddr::V6(v6) => {
            let kept = class_v6(v6);
            let mut bits = u128::from(v6);
            loop {
                bits = turn(bits, 128, kept, |prefix| flip(&(6, prefix.0, prefix.1)));
                if class_v6(bits.into()) == kept {
                    return IpAddr::V6(bits.into());
                }
            }
        }
    }
}

/// Turns the bits after the first `kept` ones, each by what stands before it.
fn turn(bits: u128, width: u8, kept: u8, flip: impl Fn((u8, u128)) -> bool) -> u128 {
    let mut turned = bits;
    for at in kept..width {
        // All bits before this one; none at all when it is the first.
        let prefix = bits.checked_shr(u32::from(width - at)).unwrap_or(0);
        if flip((at, prefix)) {
            turned ^= 1 << (width - at - 1);
        }
    }
    turned
}

/// How many of the first bits say what kind of address it is; 32: all.
fn class_v4(address: Ipv4Addr) -> u8 {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // This host (RFC 1122), loopback, reserved and broadcast.
        (0 | 127 | 240..=255, _, _) => 32,
        // Private (RFC 1918), shared (6598), link-local (3927), documentation (5737), benchmarks (2544), multicast (5771).
        (10, _, _) => 8,
        (172, 16..=31, _) => 12,
        (192, 168, _) => 16,
        (100, 64..=127, _) => 10,
        (169, 254, _) => 16,
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => 24,
        (198, 18 | 19, _) => 15,
        (224, 0, 0) => 32,
        (224..=239, _, _) => 4,
        _ => 0,
    }
}

/// The same for IPv6; 128: all.
fn class_v6(address: Ipv6Addr) -> u8 {
    let [a, b, ..] = address.segments();
    match (a, b) {
        _ if u128::from(address) < 2 => 128,
        // Link-local (RFC 4291), unique local (4193), multicast with its scope, documentation (3849), NAT64 (6052).
        (0xfe80..=0xfebf, _) => 64,
        (0xfc00..=0xfdff, _) => 8,
        (0xff00..=0xffff, _) => 16,
        (0x2001, 0xdb8) => 32,
        (0x64, 0xff9b) => 96,
        (0x2000..=0x3fff, _) => 3,
        _ => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::{BuildHasher as _, RandomState};

    fn pseudonym_with(key: &RandomState, address: IpAddr) -> IpAddr {
        pseudonym(address, |prefix| key.hash_one(prefix) & 1 == 1)
    }

    fn common_bits(a: u128, b: u128, width: u32) -> u32 {
        ((a ^ b) << (128 - width)).leading_zeros().min(width)
    }

    #[test]
    fn special_addresses_stay() {
        let key = RandomState::new();
        for text in ["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.251", "::", "::1"] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(pseudonym_with(&key, address), address);
        }
    }

    proptest! {
        #[test]
        fn the_class_stays_and_nothing_collides(a in any::<u32>(), b in any::<u32>()) {
            let key = RandomState::new();
            let to = |bits: u32| match pseudonym_with(&key, IpAddr::V4(bits.into())) {
                IpAddr::V4(v4) => v4,
                IpAddr::V6(_) => unreachable!("the family stays"),
            };
            prop_assert_eq!(class_v4(to(a)), class_v4(a.into()));
            prop_assert_eq!(to(a) == to(b), a == b);
        }

        #[test]
        fn prefixes_are_kept(net in any::<u16>(), a in any::<u8>(), b in any::<u8>()) {
            let key = RandomState::new();
            let of = |host: u8| (10 << 24) | (u32::from(net) << 8) | u32::from(host);
            let to = |bits: u32| match pseudonym_with(&key, IpAddr::V4(bits.into())) {
                IpAddr::V4(v4) => u32::from(v4),
                IpAddr::V6(_) => unreachable!("the family stays"),
            };
            let before = common_bits(of(a).into(), of(b).into(), 32);
            prop_assert_eq!(common_bits(to(of(a)).into(), to(of(b)).into(), 32), before);
        }

        #[test]
        fn v6_keeps_class_and_prefix(a in any::<u128>(), shared in 3u32..128) {
            let key = RandomState::new();
            let a = (a >> 3) | (1 << 125);
            let b = a ^ (1 << (127 - shared));
            let to = |bits: u128| match pseudonym_with(&key, IpAddr::V6(bits.into())) {
                IpAddr::V6(v6) => u128::from(v6),
                IpAddr::V4(_) => unreachable!("the family stays"),
            };
            prop_assert_eq!(class_v6(to(a).into()), class_v6(a.into()));
            if class_v6(a.into()) == class_v6(b.into()) {
                prop_assert_eq!(common_bits(to(a), to(b), 128), shared);
            }
        }
    }
}
