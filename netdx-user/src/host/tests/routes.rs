//! Routes and what refuses them.

use super::*;

#[test]
fn routes_as_the_kernel_takes_them() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let found = route(&mut host, lab.netns(0), "10.99.0.2");
    assert_eq!(
        (found.errno, found.kind.as_str(), found.table.as_str(), found.prefix.as_deref()),
        (0, "unicast", "main", Some("10.99.0.0/24"))
    );
    assert_eq!(
        (found.device_name.as_str(), found.source, found.gateway, found.has_default),
        ("va", Some(ip("10.99.0.1")), None, false)
    );
    let found = route(&mut host, lab.netns(0), "10.99.0.1");
    assert_eq!((found.kind.as_str(), found.table.as_str(), found.device_name.as_str()), ("local", "local", "lo"));
    assert_eq!(route(&mut host, lab.netns(0), "192.0.2.1").errno, libc::ENETUNREACH);
    assert_eq!(route(&mut host, lab.netns(0), "2001:db8::1").errno, libc::ENETUNREACH);
    lab.ip(0, "route add default via 10.99.0.2 mtu 1400");
    lab.ip(0, "-6 route add default via fd99::2");
    let found = route(&mut host, lab.netns(0), "192.0.2.1");
    assert_eq!(
        (found.prefix.as_deref(), found.gateway, found.has_default, found.mtu),
        (Some("default"), Some(ip("10.99.0.2")), true, 1400)
    );
    let found = route(&mut host, lab.netns(0), "2001:db8::1");
    assert_eq!(
        (found.prefix.as_deref(), found.gateway, found.has_default),
        (Some("default"), Some(ip("fd99::2")), true)
    );
}

#[test]
fn what_refuses_a_route_is_named() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    for (kind, errno) in [
        ("unreachable", libc::EHOSTUNREACH),
        ("prohibit", libc::EACCES),
        ("blackhole", libc::EINVAL),
        ("throw", libc::ENETUNREACH),
    ] {
        for (four, to, prefix) in [("", "10.50.0.1", "10.50.0.0/16"), ("-6", "fd50::1", "fd50::/16")] {
            lab.ip(0, &format!("{four} route add {kind} {prefix} table 77"));
            lab.ip(0, &format!("{four} rule add pref 90 to {prefix} lookup 77"));
            // Passed over, because nothing is there to go to.
            lab.ip(0, &format!("{four} rule add pref 89 goto 40000"));
            let found = route(&mut host, lab.netns(0), to);
            assert_eq!(
                (found.errno, found.kind.as_str(), found.table.as_str()),
                (errno, kind, "77"),
                "{to}: {found:?}"
            );
            assert_eq!(found.prefix.as_deref(), Some(prefix));
            assert!(
                kind == "throw" || found.rule.as_deref() == Some(&format!("90: from all to {prefix} lookup 77")),
                "{found:?}"
            );
            assert!(found.text.starts_with(kind) && !found.has_default, "{found:?}");
            lab.ip(0, &format!("{four} rule del pref 90"));
            lab.ip(0, &format!("{four} rule del pref 89"));
            lab.ip(0, &format!("{four} route flush table 77"));
        }
    }
    for (kind, errno) in [("unreachable", libc::ENETUNREACH), ("prohibit", libc::EACCES), ("blackhole", libc::EINVAL)] {
        for (four, to) in [("", "10.50.0.1"), ("-6", "fd50::1")] {
            lab.ip(0, &format!("{four} rule add pref 95 to {to} {kind}"));
            let found = route(&mut host, lab.netns(0), to);
            let rule = format!("95: from all to {to} {kind}");
            assert_eq!(
                (found.errno, found.kind.as_str(), found.rule.as_deref()),
                (errno, kind, Some(rule.as_str())),
                "{found:?}"
            );
            lab.ip(0, &format!("{four} rule del pref 95"));
        }
    }
}

#[test]
fn the_rule_that_decided_is_named_when_it_is_certain() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    lab.ip(0, "route add default via 10.99.0.2");
    lab.ip(0, "route add default via 10.99.0.3 table 77");
    lab.ip(0, "rule add pref 90 fwmark 0x5/0xf lookup 77");
    let want = |mark| Want::Route {
        netns: lab.netns(0),
        to: ip("192.0.2.1"),
        from: None,
        device: 0,
        mark,
        uid: 0,
        flow: None,
    };
    let Answer::Route(found) = host.answer(&want(0x15)) else { panic!() };
    assert_eq!(
        (found.rule.as_deref(), found.gateway),
        (Some("90: from all fwmark 0x5/0xf lookup 77"), Some(ip("10.99.0.3")))
    );
    let Answer::Route(found) = host.answer(&want(0)) else { panic!() };
    assert_eq!((found.rule, found.table.as_str(), found.gateway), (None, "main", Some(ip("10.99.0.2"))));
    // A rule for a port may or may not have led to the same table: nothing is said.
    lab.ip(0, "rule add pref 80 ipproto tcp dport 80 lookup 77");
    let Answer::Route(found) = host.answer(&want(0x15)) else { panic!() };
    assert_eq!((found.errno, found.rule, found.gateway), (0, None, Some(ip("10.99.0.3"))));
}

#[test]
fn routes_that_cannot_be_used_are_told() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    lab.ip(0, "link add dumdum type veth peer name other");
    lab.ip(0, "link set other up");
    lab.ip(0, "addr add 10.60.0.1/24 dev dumdum");
    let found = route(&mut host, lab.netns(0), "10.60.0.9");
    assert_eq!(
        (found.errno, &found.unusable[..]),
        (libc::ENETUNREACH, &["10.60.0.0/24 dev dumdum (dumdum is down)".to_string()][..])
    );
    lab.ip(0, "link set dumdum up");
    let dumdum = lab.within(0, || interface::links().unwrap().into_iter().find(|l| l.name == "dumdum").unwrap().index);
    let want = Want::Route {
        netns: lab.netns(0),
        to: ip("10.99.0.2"),
        from: None,
        device: dumdum,
        mark: 0,
        uid: 0,
        flow: None,
    };
    let Answer::Route(found) = host.answer(&want) else { panic!() };
    assert_eq!((found.errno, found.prefix.as_deref(), found.device), (0, None, dumdum));
    assert_eq!(found.unusable, ["10.99.0.0/24 dev va src 10.99.0.1 (the socket is bound to dumdum)"]);
    // Without carrier the kernel drops the route only if told to.
    run(&format!("ip netns exec {} sysctl -qw net.ipv4.conf.all.ignore_routes_with_linkdown=1", lab.names[0]));
    lab.ip(1, "link set vb down");
    // The kernel takes note of a lost carrier within a second (`linkwatch_schedule_work`).
    let lost = eventually(|| {
        let found = route(&mut host, lab.netns(0), "10.99.0.2");
        found.errno == libc::ENETUNREACH && found.unusable == ["10.99.0.0/24 dev va dead linkdown src 10.99.0.1"]
    });
    assert!(lost, "{:?}", route(&mut host, lab.netns(0), "10.99.0.2"));
}
