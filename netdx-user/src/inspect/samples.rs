//! Answers as they could be, for the snapshots of their text: wide, 80 columns, and a pipe.

use super::{
    addrs, conns,
    conns::{Conn, Counters, Summary},
    dns::{self, Asked, Data, Lookup, Server, System},
    ladder,
    listeners::{Listeners, Listening},
    phrase::View,
    routes::{self, Failing, Path, Row, Tables},
    who::{Where, Who},
};
use crate::{
    fact::{HostsEntry, Interface, Neighbor, Resolver, Route},
    report::{Certainty, Direction, Endpoint, SCHEMA},
};
use unicode_width::UnicodeWidthStr as _;

fn place(name: Option<&str>) -> Where {
    Where {
        netns: if name.is_some() { 4_026_532_000 } else { 4_026_531_840 },
        name: name.map(str::to_owned),
        own: name.is_none(),
    }
}

fn who(pid: u32, comm: &str, unit: Option<&str>) -> Who {
    Who { pid, comm: comm.into(), unit: unit.map(str::to_owned), container: None, cgroup: None }
}

fn listening(addr: &str, port: u16, backlog: u32, owner: Who, reach: &str) -> Listening {
    Listening {
        schema: SCHEMA,
        kind: "listener",
        protocol: "tcp",
        addr: Some(addr.parse().expect("an address")),
        port: Some(port),
        path: None,
        v6only: false,
        device: None,
        place: place(None),
        backlog: Some(backlog),
        max_backlog: Some(128),
        uid: Some(105),
        user: Some("postgres".into()),
        inode: 7,
        owners: vec![owner],
        reach: reach.into(),
    }
}

fn listeners() -> Listeners {
    let web = Listening {
        place: place(Some("web")),
        ..listening("2001:db8:1234:5678::80", 443, 129, who(11, "nginx", None), "only 2001:db8:1234:5678::80 (eth0)")
    };
    Listeners {
        rows: vec![
            listening(
                "127.0.0.1",
                5432,
                0,
                who(812, "postgres", Some("postgresql.service")),
                "only this host can connect",
            ),
            listening("::", 8080, 3, who(900, "evil\u{1b}[2J", None), "every address, IPv4 and IPv6"),
            web,
        ],
        others: vec![("established".into(), 3)],
        near: Vec::new(),
        unseen: vec!["the processes of 2 of 5 sockets belong to others: root sees them".into()],
    }
}

fn connections() -> Vec<Conn> {
    let conn = Conn {
        schema: SCHEMA,
        kind: "connection",
        protocol: "tcp",
        direction: Direction::Outbound,
        local: Endpoint { addr: "10.0.0.2".parse().expect("an address"), port: 40000 },
        remote: Endpoint { addr: "10.0.0.5".parse().expect("an address"), port: 5432 },
        state: "established",
        place: place(None),
        owners: vec![who(4121, "psql", None)],
        uid: Some(1000),
        user: Some("ann".into()),
        inode: 9,
        receive_queue: 0,
        send_queue: 1448,
        timer: Some("retransmit in 0.2 s (number 1)".into()),
        tcp: Some(Counters {
            age_at_least_ms: Some(125_000),
            idle_ms: Some(20),
            rtt_us: Some(310),
            rttvar_us: Some(40),
            retransmits: 1,
            total_retransmits: 4,
            bytes_acked: 1000,
            bytes_received: 2000,
            cwnd: 10,
            mss: 1448,
            path_mtu: 1500,
        }),
    };
    let gone = Conn {
        state: "time-wait",
        owners: Vec::new(),
        uid: None,
        inode: 0,
        tcp: None,
        timer: None,
        send_queue: 0,
        ..conn.clone()
    };
    vec![conn, gone]
}

fn counted() -> Summary {
    let mut summary = Summary::default();
    summary.states.extend([(("tcp", "established"), 12), (("tcp", "time-wait"), 340), (("udp", "established"), 1)]);
    summary.remotes.extend((1..=25_u8).map(|n| (std::net::IpAddr::from([10, 0, 0, n]), 26 - u64::from(n))));
    summary.places.extend([(4_026_531_840, 300), (4_026_532_000, 53)]);
    summary
}

fn tables() -> Tables {
    let rule = |family, priority: u32, text: &str| Row::Rule {
        schema: SCHEMA,
        family,
        priority,
        text: format!("{priority}: {text}"),
    };
    let route = |family, table: &str, text: &str, dead| Row::Route {
        schema: SCHEMA,
        family,
        table: table.into(),
        route: "unicast".into(),
        prefix: "default".into(),
        devices: vec!["eth0".into()],
        gateways: vec![None],
        source: None,
        metric: 0,
        dead,
        text: text.into(),
    };
    let neighbor = |addr: &str, lladdr: Option<&str>, state: &str| Row::Neighbor {
        schema: SCHEMA,
        addr: addr.parse().expect("an address"),
        device: "eth0".into(),
        lladdr: lladdr.map(str::to_owned),
        state: state.into(),
    };
    Tables {
        rows: vec![
            rule(4, 0, "from all lookup local"),
            rule(4, 32766, "from all lookup main"),
            route(4, "local", "local 10.0.0.2 dev eth0 table local", false),
            route(4, "main", "default via 10.0.0.1 dev eth0 proto dhcp src 10.0.0.2 metric 100", false),
            route(4, "main", "10.1.0.0/16 dev eth1 scope link", true),
            neighbor("10.0.0.1", Some("02:fc:00:00:00:05"), "reachable"),
            neighbor("10.0.0.9", None, "failed"),
            rule(6, 0, "from all lookup local"),
            route(6, "main", "fe80::/64 dev eth0 metric 256", false),
        ],
    }
}

fn way() -> Path {
    let asked =
        |rule: &str, outcome: &str, decided| routes::Asked { rule: rule.into(), outcome: outcome.into(), decided };
    let address = |text: &str| text.parse::<std::net::IpAddr>().expect("an address");
    Path {
        schema: SCHEMA,
        kind: "path",
        to: address("10.1.0.5"),
        steps: vec![
            asked("0: from all lookup local", "its table has no route there that can be used", false),
            asked("32766: from all lookup main", "10.1.0.0/16 via 10.0.0.9 dev eth0 metric 100", true),
        ],
        route: Route {
            kind: "unicast".into(),
            table: "main".into(),
            prefix: Some("10.1.0.0/16".into()),
            device: 2,
            device_name: "eth0".into(),
            gateway: Some(address("10.0.0.9")),
            source: Some(address("10.0.0.2")),
            mtu: 1400,
            text: "10.1.0.5 via 10.0.0.9 dev eth0 src 10.0.0.2".into(),
            ..Route::default()
        },
        ways: 2,
        next_hop: Some(address("10.0.0.9")),
        interface: Some(Interface {
            index: 2,
            name: "eth0".into(),
            lladdr: None,
            master: None,
            up: true,
            carrier: true,
            loopback: false,
            mtu: 1500,
            peers: Vec::new(),
            unusable: vec![],
            addresses: Vec::new(),
            kind: "veth".into(),
        }),
        neighbor: Some(Neighbor {
            address: address("10.0.0.9"),
            device_name: "eth0".into(),
            state: "failed".into(),
            lladdr: None,
        }),
        mtu: Some(1400),
        fails: Some(Failing {
            step: "neighbor",
            call: "connect",
            errno: Some("EHOSTUNREACH".into()),
            code: "route.neighbor-silent",
            text: "10.0.0.9 did not answer on eth0 when it was asked last, and is asked again by the next packet; if it stays \
                   silent"
                .into(),
            advice: vec!["see whether 10.0.0.9 is up and on the link of eth0".into()],
        }),
    }
}

fn lookup() -> Lookup {
    let asked = |kind: &str, records: Vec<Data>| Asked {
        name: "db.internal.".into(),
        kind: kind.into(),
        rcode: Some("NOERROR".into()),
        code: None,
        certainty: None,
        error: None,
        alias_of: None,
        errno: None,
        elapsed_ns: 12_400_000,
        tries: 1,
        protocol: "udp",
        truncated: false,
        without_edns: false,
        authoritative: false,
        authentic: true,
        recursion: true,
        records,
        signed: true,
    };
    let record =
        |kind: &str, data: &str| Data { name: "db.internal.".into(), kind: kind.into(), ttl: 3600, data: data.into() };
    let absent = |code, rcode: Option<&str>, error: Option<&str>| Asked {
        rcode: rcode.map(str::to_owned),
        code: Some(code),
        certainty: Some(Certainty::Proven),
        error: error.map(str::to_owned),
        authentic: false,
        signed: false,
        tries: 2,
        ..asked("AAAA", Vec::new())
    };
    let server = |address: &str, queries| Server {
        address: address.parse().expect("an address"),
        zone: None,
        port: 53,
        spare: false,
        queries,
    };
    Lookup {
        schema: SCHEMA,
        kind: "dns",
        name: "db.internal".into(),
        types: vec!["A".into(), "AAAA".into()],
        resolver: Some(Resolver {
            path: "/etc/resolv.conf".into(),
            servers: vec!["10.0.0.53".parse().expect("an address"), "fe80::54".parse().expect("an address")],
            zones: [("fe80::54".parse().expect("an address"), "eth0".into())].into(),
            search: vec!["lab.example".into()],
            ndots: 1,
            nsswitch: vec!["files".into(), "dns".into()],
            ..Resolver::default()
        }),
        hosts: vec![HostsEntry {
            path: "/etc/hosts".into(),
            line: 7,
            address: "10.9.9.9".parse().expect("an address"),
            names: vec!["db.internal".into(), "evil\u{1b}[2J".into()],
        }],
        system: Some(System {
            addresses: vec!["10.9.9.9".parse().expect("an address"), "fe80::9".parse().expect("an address")],
            zones: [("fe80::9".parse().expect("an address"), "eth0".into())].into(),
            name: None,
            error: None,
            elapsed_ns: 210_000,
        }),
        servers: vec![
            server(
                "10.0.0.53",
                vec![
                    asked("A", vec![record("CNAME", "db-1.internal."), record("A", "10.0.0.5")]),
                    absent("dns.nodata", Some("NOERROR"), None),
                ],
            ),
            Server {
                zone: Some("eth0".into()),
                ..server(
                    "fe80::54",
                    vec![absent("dns.timeout", None, None), absent("dns.servfail", Some("SERVFAIL"), None)],
                )
            },
        ],
        differences: vec![
            "/etc/hosts line 7 says 10.9.9.9, DNS says 10.0.0.5: programs that read the hosts file first go to 10.9.9.9"
                .into(),
        ],
        notes: Vec::new(),
        answered: true,
    }
}

fn interfaces() -> Vec<addrs::Row> {
    let interface = |name: &str, up, addresses: &[(&str, u8)]| Interface {
        index: 2,
        name: name.into(),
        up,
        carrier: up,
        loopback: false,
        mtu: 1500,
        peers: Vec::new(),
        unusable: vec![],
        addresses: addresses.iter().map(|(a, length)| (a.parse().expect("an address"), *length)).collect(),
        kind: "veth".into(),
        lladdr: None,
        master: None,
    };
    let list = [
        interface("eth0", true, &[("10.0.0.2", 24), ("2001:db8:1234:5678::2", 64), ("fe80::1234:5678:9abc:def0", 64)]),
        interface("eth1", false, &[]),
    ];
    list.into_iter().map(addrs::Row::from).collect()
}

/// Holds a text against its snapshots: a wide terminal with colour, one of 80 columns, and a pipe.
pub(crate) fn snapshots(what: &str, text: impl Fn(View) -> String) {
    for (name, width, color) in [("wide", Some(160), true), ("80", Some(80), false), ("pipe", None, false)] {
        let written = text(View { width, color });
        let plain = anstream::adapter::strip_str(&written).to_string();
        if let Some(width) = width {
            assert!(plain.lines().all(|line| line.width() <= width), "{what} {name}:\n{plain}");
        }
        assert!(!plain.contains('\u{1b}'), "{what}: what a process is called must not steer a terminal");
        assert!(plain.lines().all(|line| !line.ends_with(' ')), "{what} {name}:\n{plain}");
        let other = text(View { width, color: !color });
        assert_eq!(plain, anstream::adapter::strip_str(&other).to_string(), "{what} {name}: colours take no room");
        assert!(text(View { width: Some(40), color }).lines().count() >= plain.lines().count(), "{what}");
        insta::assert_snapshot!(format!("{what}-{name}"), written);
    }
}

#[test]
fn text_fits_wide_and_80_columns_and_a_pipe() {
    let listed = listeners();
    snapshots("listeners", |view| super::listeners::text::write(&listed, None, view));
    snapshots("listeners-port", |view| super::listeners::text::write(&listed, Some(5432), view));
    snapshots("conns", |view| conns::text::rows(&connections(), view));
    snapshots("conns-summary", |view| conns::text::summary(&counted(), view));
    snapshots("addrs", |view| addrs::text(&interfaces(), view));
    snapshots("routes", |view| routes::text::tables(&tables(), false, view));
    snapshots("routes-path", |view| routes::text::path(&way(), Some("db.internal"), view));
    snapshots("dns", |view| dns::text::write(&lookup(), view));
    snapshots("check", |view| {
        let (rungs, conclusion) = ladder::samples::ladder();
        let rungs: String = rungs.iter().map(|rung| ladder::text::rung(rung, view)).collect();
        ladder::text::title("db.internal port 5432", view) + &rungs + &ladder::text::conclusion(&conclusion, view)
    });
}

#[test]
fn nothing_is_cut_in_a_pipe() {
    let text = super::listeners::text::write(&listeners(), None, View::default());
    let line = text.lines().find(|line| line.contains("443")).expect("it is there");
    assert!(
        line.contains("[2001:db8:1234:5678::80]:443") && line.contains("129/128 FULL") && line.ends_with("web"),
        "{line}"
    );
}
