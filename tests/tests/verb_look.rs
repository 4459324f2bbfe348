//! `listeners`, `conns`, `routes` and `addrs` against what `ss` and `ip -j` say. Needs root (namespaces).

use netdx_tests::{
    island::{Island, json_lines, netdx, output, run},
    servers,
};
use rustix::net::{self, AddressFamily, SocketType, sockopt};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
};

fn lines(command: &mut Command) -> Vec<Value> {
    let (lines, status) = json_lines(command);
    assert_eq!(status, Some(0), "{command:?}");
    lines
}

fn text(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).expect("text")
}

/// `local` or `local remote` of each line of ss, in the form of netdx: `tcp 127.0.0.1:80`.
fn ss(island: &Island, arguments: &[&str], protocol: &str, columns: &[usize]) -> BTreeSet<String> {
    text(island.command("ss").arg("-Hn").args(arguments))
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ends: Vec<String> = columns.iter().map(|&c| end(words[c])).collect();
            format!("{protocol} {}", ends.join(" "))
        })
        .collect()
}

/// `*:80` is the IPv6 wildcard that takes IPv4; a device stands behind `%`; IPv4 in IPv6 is IPv4.
fn end(text: &str) -> String {
    let (address, port) = text.rsplit_once(':').expect("address and port");
    let address = address.split('%').next().unwrap().trim_matches(['[', ']']);
    let address = if address == "*" { "::" } else { address };
    let address: std::net::IpAddr = address.parse().expect("an address");
    SocketAddr::new(address.to_canonical(), port.parse().expect("a port")).to_string()
}

fn endpoint(value: &Value) -> String {
    let address: std::net::IpAddr = value["addr"].as_str().unwrap().parse().unwrap();
    SocketAddr::new(address, u16::try_from(value["port"].as_u64().unwrap()).unwrap()).to_string()
}

fn of_own(lines: Vec<Value>) -> Vec<Value> {
    lines.into_iter().filter(|line| line["own"] == true).collect()
}

#[test]
fn the_same_listeners_as_ss() {
    let island = Island::new("listen");
    let _kept: Vec<TcpListener> =
        ["127.0.0.1:5432", "0.0.0.0:8080", "[::1]:5433", "[::]:9090"].map(|e| servers::listen(&island, e)).into();
    let _udp = island.inside(|| UdpSocket::bind("127.0.0.1:5353").expect("bind"));
    let rows = of_own(lines(&mut island.netdx(&["listeners", "--format", "json"])));
    let ours: BTreeSet<String> =
        rows.iter().map(|row| format!("{} {}", row["protocol"].as_str().unwrap(), endpoint(row))).collect();
    let mut theirs = ss(&island, &["-tl"], "tcp", &[3]);
    theirs.extend(ss(&island, &["-ul"], "udp", &[3]));
    assert_eq!(ours, theirs);
    let row = |port: u64| rows.iter().find(|row| row["port"] == port).unwrap();
    assert_eq!(row(5432)["owners"][0]["pid"], std::process::id());
    assert_eq!(row(5432)["reach"], "only this host can connect");
    assert_eq!(row(8080)["reach"], "every IPv4 address");
    assert_eq!(row(9090)["reach"], "every address, IPv4 and IPv6");
    assert_eq!(row(5432)["max_backlog"], 128);
}

#[test]
fn the_same_sockets_as_proc() {
    let island = Island::new("proc");
    let _kept: Vec<TcpListener> = ["127.0.0.1:7611", "[::1]:7611"].map(|e| servers::listen(&island, e)).into();
    let _both = island.inside(|| ["127.0.0.1:7611", "[::1]:7611"].map(|e| TcpStream::connect(e).expect("connect")));
    // State and inode are the 4th and 10th columns; 0A is LISTEN, 01 ESTABLISHED (proc_net_tcp(5)).
    let tables = text(island.command("cat").args(["/proc/net/tcp", "/proc/net/tcp6"]));
    let theirs = |state: &str| -> BTreeSet<u64> {
        let rows = tables.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row[3] == state).map(|row| row[9].parse().expect("an inode")).collect()
    };
    let ours = |arguments: &[&str]| -> BTreeSet<u64> {
        let rows = of_own(lines(island.netdx(arguments).args(["--tcp", "--format", "json"])));
        rows.iter().map(|row| row["inode"].as_u64().expect("an inode")).collect()
    };
    assert_eq!(ours(&["listeners"]), theirs("0A"));
    assert_eq!(ours(&["conns", "--state", "established"]), theirs("01"));
}

#[test]
fn the_fill_of_the_queue_and_who_else_holds_the_port() {
    let island = Island::new("queue");
    let _first = servers::listen(&island, "127.0.0.1:7001");
    let _second = servers::listen(&island, "[::1]:7001");
    let _waiting: Vec<TcpStream> =
        island.inside(|| (0..3).map(|_| TcpStream::connect("127.0.0.1:7001").expect("connect")).collect());
    let rows = of_own(lines(&mut island.netdx(&["listeners", "7001", "--format", "json"])));
    assert_eq!((rows.len(), &rows[0]["backlog"]), (2, &Value::from(3)));
    let said = text(&mut island.netdx(&["listeners", "7001"]));
    assert!(said.contains("3 of 128 connections wait to be accepted"), "{said}");
    assert!(said.contains("2 hold port 7001 side by side"), "{said}");
    assert!(said.contains("also on local port 7001: 3 established"), "{said}");
}

#[test]
fn of_sockets_that_share_a_port_one_may_be_full() {
    let island = Island::new("shared");
    // Each waits for none but its first: of so many connections some come to a full one.
    let listen = |backlog| {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        sockopt::set_socket_reuseport(&socket, true).expect("SO_REUSEPORT");
        net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 5433))).expect("bind");
        net::listen(&socket, backlog).expect("listen");
        socket
    };
    let _sockets = island.inside(move || [listen(0), listen(100)]);
    let connect = || {
        let to = "127.0.0.1:5433".parse().unwrap();
        TcpStream::connect_timeout(&to, std::time::Duration::from_millis(50)).ok()
    };
    let _kept: Vec<_> = island.inside(move || (0..30).map(|_| connect()).collect());
    let said = text(&mut island.netdx(&["listeners", "5433"]));
    assert!(said.contains("1 of 2 sockets FULL"), "{said}");
    assert!(text(&mut island.netdx(&["listeners"])).contains("x2, 1 FULL"), "{said}");
}

#[test]
fn what_is_near_when_nobody_listens() {
    let island = Island::new("near");
    let _listener = servers::listen(&island, "127.0.0.1:7102");
    let said = text(&mut island.netdx(&["listeners", "7120"]));
    assert!(said.contains("nobody listens on port 7120"), "{said}");
    assert!(said.contains("nearly the same digits: verb_look") && said.contains("127.0.0.1:7102"), "{said}");
}

#[test]
fn the_process_that_listened_there_listens_elsewhere() {
    let island = Island::new("moved");
    let _kept = island.inside(|| {
        let gone = TcpListener::bind("127.0.0.1:7111").expect("listen");
        let client = TcpStream::connect("127.0.0.1:7111").expect("connect");
        (TcpListener::bind("127.0.0.1:17999").expect("listen"), gone.accept().expect("accept"), client)
    });
    let said = text(&mut island.netdx(&["listeners", "7111"]));
    let near = "a process that has connections on it: verb_look";
    assert!(said.contains(near) && said.contains("127.0.0.1:17999"), "{said}");
}

#[test]
fn unix_sockets_too() {
    let island = Island::new("unix");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let bound = path.clone();
    let _socket = island.inside(move || std::os::unix::net::UnixListener::bind(bound).expect("bind"));
    let rows = of_own(lines(&mut island.netdx(&["listeners", "--unix", "--format", "json"])));
    let row = rows.iter().find(|row| row["path"] == path.to_str().unwrap()).expect("it is there");
    assert_eq!((&row["protocol"], &row["owners"][0]["pid"]), (&"unix-stream".into(), &std::process::id().into()));
}

#[test]
fn the_same_connections_as_ss() {
    let island = Island::new("conns");
    let (_kept, gone) = island.inside(|| {
        let mut kept = Vec::new();
        let mut gone = 0;
        for endpoint in ["127.0.0.1:7200", "[::1]:7200"] {
            let listener = TcpListener::bind(endpoint).expect("listen");
            for keep in [true, true, false] {
                let client = TcpStream::connect(endpoint).expect("connect");
                let (server, _) = listener.accept().expect("accept");
                if keep {
                    kept.push((client, server));
                } else {
                    drop(client);
                    drop(server);
                    gone += 1;
                }
            }
        }
        (kept, gone)
    });
    let rows = of_own(lines(&mut island.netdx(&["conns", "--tcp", "--all", "--format", "json"])));
    let ours: BTreeSet<String> =
        rows.iter().map(|row| format!("tcp {} {}", endpoint(&row["local"]), endpoint(&row["remote"]))).collect();
    assert_eq!(ours, ss(&island, &["-ta", "state", "connected"], "tcp", &[3, 4]));
    assert_eq!(rows.iter().filter(|row| row["state"] == "time-wait").count(), gone);
    let established: Vec<&Value> = rows.iter().filter(|row| row["state"] == "established").collect();
    assert_eq!(established.len(), 8);
    for row in &established {
        assert_eq!(row["owners"][0]["pid"], std::process::id(), "{row}");
        assert!(row["tcp"]["rtt_us"].as_u64().is_some_and(|rtt| rtt > 0), "{row}");
        assert!(row["tcp"]["age_at_least_ms"].as_u64().is_some_and(|age| age < 60_000), "{row}");
    }
    let inbound = established.iter().filter(|row| row["direction"] == "inbound");
    assert!(inbound.count() == 0, "the listeners are closed: nothing tells who opened what");
}

#[test]
fn filters_and_counts() {
    let island = Island::new("filter");
    let _kept = island.inside(|| {
        let listener = TcpListener::bind("127.0.0.1:7300").expect("listen");
        let other = TcpListener::bind("127.0.0.2:7301").expect("listen");
        let mut kept = vec![TcpStream::connect("127.0.0.1:7300").expect("connect")];
        kept.extend((0..3).map(|_| TcpStream::connect("127.0.0.2:7301").expect("connect")));
        (listener, other, kept)
    });
    let name = island.name().to_owned();
    let count = |arguments: &[&str]| {
        lines(island.netdx(&["conns", "--format", "json", "--netns", &name]).args(arguments)).len()
    };
    assert_eq!(count(&[]), 8, "both ends are on this host");
    assert_eq!(count(&["--port", "7301"]), 6);
    assert_eq!(count(&["--port", "7301", "--outbound"]), 3);
    assert_eq!(count(&["--host", "127.0.0.2"]), 3, "the other end of what was opened");
    assert_eq!(count(&["--pid", &std::process::id().to_string()]), 4, "what waits to be accepted has no owner yet");
    assert_eq!(count(&["--comm", "nobody-of-that-name"]), 0);
    assert_eq!(count(&["--state", "time-wait"]), 0);
    let nothing = text(&mut island.netdx(&["conns", "--comm", "nobody-of-that-name"]));
    assert!(nothing.starts_with("no such connection\n"), "{nothing}");
    let rows = lines(&mut island.netdx(&["conns", "--summary", "--format", "json", "--netns", &name]));
    let established = rows.iter().find(|row| row["state"] == "established").unwrap();
    assert_eq!((&established["by"], &established["count"]), (&"state".into(), &8.into()));
    let remote = rows.iter().find(|row| row["remote"] == "127.0.0.2").unwrap();
    assert_eq!(remote["count"], 3);
    let refused = output(island.netdx(&["conns", "--netns", "no-such-namespace"]).stdin(std::process::Stdio::null()));
    assert_eq!(refused.status.code(), Some(2));
}

/// An island with routes of every kind.
fn routed() -> (Island, Island) {
    let (here, there) = (Island::new("routes"), Island::new("routes"));
    here.link("e0", &there, "e0", ["10.71.0.1/24 fd71::1/64", "10.71.0.2/24 fd71::2/64"]);
    for command in [
        "route add default via 10.71.0.2",
        "-6 route add default via fd71::2",
        "route add 10.72.0.0/16 via 10.71.0.9 mtu 1400",
        "route add unreachable 10.73.0.0/16",
        "route add prohibit 10.74.0.0/16",
        "route add blackhole 10.75.0.0/16",
        "-6 route add unreachable 2001:db8:73::/48",
        "-6 route add prohibit 2001:db8:74::/48",
        "route add 10.76.0.0/16 via 10.71.0.8 table 77",
        "rule add to 10.76.0.0/16 lookup 77",
        "rule add to 10.77.0.0/16 prohibit",
        "rule add fwmark 0x9 lookup 78",
        "route add unreachable default table 78",
    ] {
        here.ip(command);
    }
    (here, there)
}

#[test]
fn the_same_decision_as_the_kernels() {
    let (here, _there) = routed();
    let targets = [
        "127.0.0.1",
        "10.71.0.1",
        "10.71.0.2",
        "10.71.0.50",
        "10.72.1.1",
        "10.73.1.1",
        "10.74.1.1",
        "10.75.1.1",
        "10.76.1.1",
        "10.77.1.1",
        "192.0.2.1",
        "::1",
        "fd71::1",
        "fd71::50",
        "2001:db8::1",
        "2001:db8:73::1",
        "2001:db8:74::1",
    ];
    for target in targets {
        let (ours, status) = json_lines(&mut here.netdx(&["routes", target, "--format", "json"]));
        let ours = &ours[0];
        let theirs = output(here.command("ip").args(["-j", "route", "get", target]));
        if theirs.status.success() {
            let theirs: Value = serde_json::from_slice(&theirs.stdout).expect("JSON");
            let theirs = &theirs[0];
            assert_eq!(status, Some(0), "{target}: {ours}");
            assert_eq!(ours["route"]["device_name"], theirs["dev"], "{target}");
            assert_eq!(ours["route"]["gateway"], theirs["gateway"], "{target}");
            assert_eq!(ours["route"]["source"], theirs["prefsrc"], "{target}");
            assert!(
                ours["fails"].is_null() && ours["steps"].as_array().unwrap().iter().any(|s| s["decided"] == true),
                "{ours}"
            );
        } else {
            assert_eq!(status, Some(3), "{target}: {ours}");
            assert_eq!(ours["fails"]["code"], "route.rejects", "{target}: {ours}");
        }
    }
    let mark = |mark: &str| lines_of(&here, &["routes", "192.0.2.1", "--mark", mark, "--format", "json"]);
    assert_eq!(mark("0x9")["fails"]["code"], "route.rejects");
    assert!(mark("8")["fails"].is_null());
    assert_eq!(lines_of(&here, &["routes", "10.72.1.1", "--format", "json"])["mtu"], 1400);
}

#[test]
fn routes_and_rules_are_written_as_ip_writes_them() {
    let (here, _there) = routed();
    let sure = [
        "route add 10.81.0.0/24 via 10.99.0.1 dev e0 onlink",
        "route add 10.82.0.0/24 via 10.71.0.2 mtu lock 1300",
        "route add 10.83.0.0/24 via inet6 fd71::2 dev e0",
        "rule add pref 100 iif gone0 lookup 77",
        "rule add pref 110 goto 999",
        "rule add pref 120 lookup main suppress_ifgroup 5",
        "rule add pref 130 ipproto tcp dport 80 lookup 77",
        "rule add pref 140 tun_id 7 lookup 77",
    ];
    sure.iter().for_each(|command| here.ip(command));
    here.ip("-6 route add fd82::/64 via fd71::2 dev e0 expires 600");
    let written = text(&mut here.netdx(&["routes"]));
    let has = |words: &str| assert!(written.contains(words), "{words}\n{written}");
    has("10.81.0.0/24 via 10.99.0.1 dev e0 onlink\n");
    has("10.82.0.0/24 via 10.71.0.2 dev e0 mtu lock 1300\n");
    has("10.83.0.0/24 via inet6 fd71::2 dev e0\n");
    has("fd82::/64 via fd71::2 dev e0 metric 1024 expires ");
    let rules = text(here.command("ip").args(["rule", "show"]));
    for line in rules.lines().map(|line| line.replacen(":\t", ": ", 1)) {
        has(&format!("{}\n", line.trim_end()));
    }
}

#[test]
fn what_a_packet_is_put_into_has_a_way_of_its_own() {
    let (here, _there) = routed();
    let encapsulated =
        ["-6", "route", "add", "fd83::/64", "encap", "seg6", "mode", "encap", "segs", "fd71::2", "dev", "e0"];
    if !output(here.command("ip").args(encapsulated)).status.success() {
        // CONFIG_IPV6_SEG6_LWTUNNEL is not in every kernel.
        return;
    }
    let path = lines_of(&here, &["routes", "fd83::1", "--format", "json"]);
    assert_eq!(
        (&path["route"]["encap"], &path["next_hop"], &path["neighbor"]),
        (&"seg6".into(), &Value::Null, &Value::Null)
    );
    assert!(text(&mut here.netdx(&["routes"])).contains("fd83::/64 encap seg6 dev e0"), "{path}");
}

#[test]
fn the_unspecified_address_is_this_host() {
    let (here, _there) = routed();
    for (typed, meant) in [("::", "::1"), ("0.0.0.0", "127.0.0.1")] {
        let path = lines_of(&here, &["routes", typed, "--format", "json"]);
        assert_eq!((&path["to"], &path["route"]["kind"]), (&meant.into(), &"local".into()), "{path}");
    }
}

#[test]
fn what_can_only_be_wrong_usage_exits_with_2() {
    let (here, _there) = routed();
    for (arguments, word) in [
        ("routes fe80::1", "which link"),
        ("routes 10.71.0.2 --dev gone0", "no interface gone0"),
        ("routes 10.71.0.2 --from fd71::1", "one family"),
        ("check [fe80::1]:80", "which link"),
        ("check --http db.example", "asks for a port"),
        ("addrs --netns /etc/passwd", "is no network namespace"),
        ("routes --netns /", "is no network namespace"),
        ("conns --netns gone-from-here", "there is no network namespace"),
        ("conns --pid 4194303", "there is no process 4194303"),
        ("trace --pid 4194303", "there is no process 4194303"),
        ("listeners http", "'http' is no port"),
    ] {
        let said = output(&mut here.netdx(&arguments.split(' ').collect::<Vec<_>>()));
        let text = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(2), "{arguments}: {text}");
        assert!(text.contains(word), "{arguments}: {text}");
    }
    let said = output(&mut here.netdx(&["conns", "--unit", "gone-from-here", "--cgroup", "/gone-from-here"]));
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(text.contains("in --unit gone-from-here") && text.contains("in --cgroup /gone-from-here"), "{text}");
}

fn lines_of(island: &Island, arguments: &[&str]) -> Value {
    json_lines(&mut island.netdx(arguments)).0.remove(0)
}

#[test]
fn which_step_would_fail() {
    let (here, _there) = routed();
    // Asked for once, the neighbour is known to be silent.
    let ping = output(here.command("ping").args(["-c", "1", "-W", "4", "10.71.0.50"]));
    assert!(!ping.status.success());
    let path = lines_of(&here, &["routes", "10.71.0.50", "--format", "json"]);
    assert_eq!(
        (&path["fails"]["step"], &path["fails"]["errno"]),
        (&"neighbor".into(), &"EHOSTUNREACH".into()),
        "{path}"
    );
    for (from, call, errno) in [("9.9.9.9", "bind", "EADDRNOTAVAIL"), ("127.0.0.1", "connect", "EINVAL")] {
        let path = lines_of(&here, &["routes", "10.71.0.2", "--from", from, "--format", "json"]);
        let fails = &path["fails"];
        assert_eq!((&fails["code"], &fails["call"]), (&"local.bad-source".into(), &call.into()), "{path}");
        assert_eq!(fails["errno"], errno, "{path}");
    }
    here.ip("link add q0 type veth peer name q1");
    here.ip("addr add 10.79.0.1/24 dev q0");
    here.ip("link set q0 up");
    let path = lines_of(&here, &["routes", "10.79.0.2", "--format", "json"]);
    assert_eq!(
        (&path["fails"]["step"], &path["fails"]["errno"]),
        (&"interface".into(), &"EHOSTUNREACH".into()),
        "{path}"
    );
    here.ip("link set e0 down");
    let path = lines_of(&here, &["routes", "10.71.0.2", "--format", "json"]);
    assert_eq!(
        (&path["fails"]["step"], &path["fails"]["code"]),
        (&"rules".into(), &"route.interface-down".into()),
        "{path}"
    );
}

#[test]
fn the_same_addresses_and_tables_as_ip() {
    let (here, _there) = routed();
    here.ip("addr add 10.85.0.1/24 dev e0 noprefixroute");
    here.ip("addr add 10.86.0.1/24 dev e0 noprefixroute");
    here.ip("route add 10.86.0.0/24 dev e0");
    here.ip("addr add fd85::1/64 dev e0 preferred_lft 0 nodad");
    let rows = lines(&mut here.netdx(&["addrs", "--format", "json"]));
    let address = |wanted: &str| {
        let mut all = rows.iter().flat_map(|row| row["addresses"].as_array().unwrap());
        all.find(|address| address["addr"] == wanted).expect("it is listed").clone()
    };
    assert!(address("10.85.0.1")["covers"].as_str().unwrap().starts_with("itself only: its prefix has no route"));
    assert!(
        address("10.86.0.1")["covers"].as_str().unwrap().ends_with("on the link of e0"),
        "{:?}",
        address("10.86.0.1")
    );
    assert_eq!(address("fd85::1")["flags"], serde_json::json!(["deprecated", "nodad"]));
    let theirs: Value = serde_json::from_str(&text(here.command("ip").args(["-j", "addr"]))).expect("JSON");
    let ours: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| {
            let of = |a: &Value| format!("{} {}/{}", row["name"], a["addr"], a["prefix"]);
            row["addresses"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
        })
        .collect();
    let theirs: BTreeSet<String> = theirs
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|link| {
            let of = |a: &Value| format!("{} {}/{}", link["ifname"], a["local"], a["prefixlen"]);
            link["addr_info"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(ours, theirs);
    let rows = lines(&mut here.netdx(&["routes", "--format", "json"]));
    for (family, flag) in [(4, "-4"), (6, "-6")] {
        let number = |kind: &str| rows.iter().filter(|r| r["kind"] == kind && r["family"] == family).count();
        let count = |arguments: &[&str]| {
            let said: Value =
                serde_json::from_str(&text(here.command("ip").args(["-j", flag]).args(arguments))).expect("JSON");
            said.as_array().unwrap().len()
        };
        assert_eq!(number("rule"), count(&["rule"]), "IPv{family}");
        let is_neighbor =
            |r: &&Value| r["kind"] == "neighbor" && r["addr"].as_str().unwrap().contains(':') == (family == 6);
        assert_eq!(rows.iter().filter(is_neighbor).count(), count(&["neigh", "show", "nud", "all"]), "IPv{family}");
        assert_eq!(number("route"), count(&["route", "show", "table", "all"]), "IPv{family}");
    }
}

#[test]
fn an_ordinary_user_is_told_what_can_not_be_seen() {
    let island = Island::new("user");
    // One that has a name is seen, though it may not be entered.
    let _other = Island::new("other");
    let _listener = servers::listen(&island, "127.0.0.1:7400");
    let as_nobody = |arguments: &[&str]| {
        let mut setpriv = island.command("setpriv");
        setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(netdx());
        text(setpriv.args(arguments))
    };
    let closed = as_nobody(&["conns"]);
    assert!(closed.contains("may not be entered: root sees them"), "{closed}");
    let said = as_nobody(&["listeners"]);
    assert!(said.contains("127.0.0.1:7400") && said.contains("? (user root)"), "{said}");
    assert!(said.contains("not seen:") && said.contains("root sees them"), "{said}");
    assert!(as_nobody(&["conns", "--summary"]).contains("not seen:"));
    assert!(as_nobody(&["addrs"]).contains("127.0.0.1/8"));
    assert!(as_nobody(&["routes", "127.0.0.1"]).contains("this host"));
}

/// What a command writes to a terminal of 80 columns.
fn on_a_terminal(island: &Island, environment: &[(&str, &str)], arguments: &str) -> String {
    let line = format!("stty cols 80 && {} {arguments}", netdx().display());
    let mut script = island.command("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null());
    script.env_remove("NO_COLOR").env_remove("CLICOLOR").env("TERM", "xterm-256color");
    text(script.envs(environment.iter().copied())).replace('\r', "")
}

#[test]
fn colours_are_for_terminals() {
    let (here, _there) = routed();
    let _listener = servers::listen(&here, "127.0.0.1:7500");
    let _connected = here.inside(|| TcpStream::connect("127.0.0.1:7500").expect("connect"));
    let verbs = ["listeners", "listeners 7500", "conns", "conns --summary", "routes", "routes 10.71.0.2", "addrs"];
    for verb in verbs.into_iter().chain(["dns localhost", "check 127.0.0.1:7500 --no-trace", "explain refused"]) {
        let painted = on_a_terminal(&here, &[], verb);
        let plain = on_a_terminal(&here, &[("NO_COLOR", "1")], verb);
        assert!(painted.contains("\u{1b}["), "{verb}: {painted}");
        for quiet in [plain, on_a_terminal(&here, &[], &format!("{verb} --color never"))] {
            assert!(!quiet.contains('\u{1b}'), "{verb}: {quiet}");
            assert!(quiet.lines().all(|line| line.chars().count() <= 80), "{verb}:\n{quiet}");
        }
        let arguments: Vec<&str> = verb.split(' ').collect();
        assert!(!text(&mut here.netdx(&arguments)).contains('\u{1b}'), "{verb} in a pipe");
        let asked = text(here.netdx(&arguments).args(["--color", "always"]));
        assert!(asked.contains("\u{1b}["), "{verb}: {asked}");
    }
}
