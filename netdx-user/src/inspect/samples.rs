//! Answers as they could be, for the snapshots of their text: wide, 80 columns, and a pipe.

use super::{
    addrs, conns,
    conns::{Conn, Counters},
    listeners::{Listeners, Listening},
    who::{Where, Who},
};
use crate::{
    fact::Interface,
    report::{Direction, Endpoint, SCHEMA},
};

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

fn interfaces() -> Vec<addrs::Row> {
    let interface = |name: &str, up, addresses: &[(&str, u8)]| Interface {
        index: 2,
        name: name.into(),
        up,
        carrier: up,
        loopback: false,
        mtu: 1500,
        addresses: addresses.iter().map(|(a, length)| (a.parse().expect("an address"), *length)).collect(),
        kind: "veth".into(),
    };
    let list = [
        interface("eth0", true, &[("10.0.0.2", 24), ("2001:db8:1234:5678::2", 64), ("fe80::1234:5678:9abc:def0", 64)]),
        interface("eth1", false, &[]),
    ];
    list.into_iter().map(addrs::Row::from).collect()
}

/// Wide, 80 columns, a pipe.
const WIDTHS: [(&str, Option<usize>); 3] = [("wide", Some(160)), ("80", Some(80)), ("pipe", None)];

#[test]
fn text_fits_wide_and_80_columns_and_a_pipe() {
    let listed = listeners();
    for (name, width) in WIDTHS {
        let texts = [
            ("listeners", super::listeners::text::write(&listed, None, width)),
            ("listeners-port", super::listeners::text::write(&listed, Some(5432), width)),
            ("conns", conns::text::rows(&connections(), width)),
            ("addrs", addrs::text(&interfaces(), width)),
        ];
        for (what, text) in texts {
            if let Some(width) = width {
                assert!(text.lines().all(|line| line.chars().count() <= width), "{what} {name}:\n{text}");
            }
            assert!(!text.contains('\u{1b}'), "{what}: what a process is called must not steer a terminal");
            insta::assert_snapshot!(format!("{what}-{name}"), text);
        }
    }
}

#[test]
fn nothing_is_cut_in_a_pipe() {
    let text = super::listeners::text::write(&listeners(), None, None);
    let line = text.lines().find(|line| line.contains("443")).expect("it is there");
    assert!(
        line.contains("[2001:db8:1234:5678::80]:443") && line.contains("129/128 FULL") && line.ends_with("web"),
        "{line}"
    );
}
