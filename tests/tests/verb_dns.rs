//! `netdx dns` against servers of the tests' own, and against `dig` and getent. Needs root (namespaces).

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData,
        rdata::{CAA, CNAME, MX, NS, PTR, SOA, SRV, TXT},
    },
};
use netdx_tests::{
    island::{Island, json_lines, output, run},
    servers::{self, Zone},
};
use serde_json::Value;

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn zone() -> Zone {
    Zone::default()
        .address("db.lab.example", "10.0.0.5")
        .address("db.lab.example", "fd00::5")
        .with("www.lab.example", 60, RData::CNAME(CNAME(name("db.lab.example."))))
        .with("lab.example", 300, RData::MX(MX::new(10, name("mail.lab.example."))))
        .with("lab.example", 300, RData::TXT(TXT::new(vec!["v=spf1 -all".into(), "two".into()])))
        .with("lab.example", 300, RData::NS(NS(name("ns.lab.example."))))
        .with(
            "lab.example",
            300,
            RData::SOA(SOA::new(name("ns.lab.example."), name("root.lab.example."), 7, 1, 2, 3, 4)),
        )
        .with("lab.example", 300, RData::CAA(CAA::new_issue(false, Some(name("ca.example")), Vec::new())))
        .with("_pg._tcp.lab.example", 300, RData::SRV(SRV::new(1, 2, 5432, name("db.lab.example."))))
        .with("5.0.0.10.in-addr.arpa", 300, RData::PTR(PTR(name("db.lab.example."))))
}

/// An island with two servers, the first of them the zone's.
fn island(what: &str, first: Zone, second: Option<Zone>) -> Island {
    let conf =
        if second.is_some() { "nameserver 127.0.0.53\nnameserver 127.0.0.54\n" } else { "nameserver 127.0.0.53\n" };
    let island = Island::new(what)
        .with_file("/etc/resolv.conf", &format!("{conf}search lab.example\noptions timeout:1 attempts:1\n"))
        .with_file("/etc/nsswitch.conf", "hosts: files dns\n");
    servers::dns(&island, "127.0.0.53", first);
    if let Some(second) = second {
        servers::dns(&island, "127.0.0.54", second);
    }
    island
}

fn ask(island: &Island, arguments: &[&str]) -> (Value, i32) {
    let (mut lines, status) = json_lines(island.netdx(&["dns", "--format", "json"]).args(arguments));
    assert_eq!(lines.len(), 1, "{lines:?}");
    (lines.remove(0), status.expect("it was not killed"))
}

fn records(answer: &Value) -> Vec<String> {
    let of = |r: &Value| {
        format!("{} {} {}", r["name"].as_str().unwrap(), r["type"].as_str().unwrap(), r["data"].as_str().unwrap())
    };
    let queries = answer["servers"][0]["queries"].as_array().unwrap();
    queries.iter().flat_map(|q| q["records"].as_array().unwrap()).map(of).collect()
}

#[test]
fn every_type_says_what_dig_says() {
    let island = island("types", zone(), None);
    for (what, kind) in [
        ("db.lab.example", "A"),
        ("db.lab.example", "AAAA"),
        ("www.lab.example", "A"),
        ("www.lab.example", "CNAME"),
        ("lab.example", "MX"),
        ("lab.example", "TXT"),
        ("lab.example", "NS"),
        ("lab.example", "SOA"),
        ("lab.example", "CAA"),
        ("_pg._tcp.lab.example", "SRV"),
        ("5.0.0.10.in-addr.arpa", "PTR"),
    ] {
        let (answer, status) = ask(&island, &[&format!("{what}."), kind]);
        assert_eq!(status, 0, "{what} {kind}: {answer}");
        let dig = run(island.command("dig").args(["+noall", "+answer", "+nottl", "+noclass", what, kind]));
        let normal = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ").replace('"', "").to_lowercase();
        let mut theirs: Vec<String> = String::from_utf8_lossy(&dig.stdout).lines().map(normal).collect();
        let mut ours: Vec<String> = records(&answer).iter().map(|line| normal(line)).collect();
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs, "{what} {kind}");
    }
}

#[test]
fn a_name_is_looked_up_everywhere() {
    let island = island("all", zone(), Some(zone()));
    let (answer, status) = ask(&island, &["db"]);
    assert_eq!(status, 0);
    assert_eq!(answer["resolver"]["search"][0], "lab.example");
    assert_eq!(answer["servers"].as_array().unwrap().len(), 2);
    assert_eq!(answer["servers"][0]["queries"][0]["name"], "db.lab.example.");
    assert_eq!(answer["servers"][1]["address"], "127.0.0.54");
    assert!(answer["servers"][0]["queries"][0]["elapsed_ns"].as_u64().unwrap() > 0);
    assert_eq!(answer["servers"][0]["queries"][0]["records"][0]["ttl"], 300);
    assert_eq!(answer["differences"], Value::Array(vec![]));
    let getent = run(island.command("getent").args(["hosts", "db"]));
    let first = String::from_utf8_lossy(&getent.stdout).split_whitespace().next().unwrap().to_owned();
    assert!(answer["system"]["addresses"].as_array().unwrap().contains(&Value::String(first)), "{answer}");
}

#[test]
fn an_address_gets_its_name() {
    let island = island("ptr", zone(), None);
    let (answer, status) = ask(&island, &["10.0.0.5"]);
    assert_eq!((status, &answer["system"]["name"]), (0, &Value::from("db.lab.example")));
    assert_eq!(records(&answer), ["5.0.0.10.in-addr.arpa. PTR db.lab.example."]);
}

#[test]
fn ndots_and_the_search_list_are_followed() {
    let island = island("search", zone(), None);
    let (answer, status) = ask(&island, &["db.nowhere"]);
    let names: Vec<&str> =
        answer["servers"][0]["queries"].as_array().unwrap().iter().map(|q| q["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["db.nowhere.", "db.nowhere.", "db.nowhere.lab.example.", "db.nowhere.lab.example."]);
    assert_eq!(status, 3);
    assert_eq!(answer["system"]["error"]["name"], "EAI_NONAME");
}

#[test]
fn servers_are_asked_as_the_c_library_asks_them() {
    let conf = "nameserver 127.53\nsearch lab.example\r\noptions timeout:1 attempts:1 use-vc\n";
    let island = island("vc", zone(), None).with_file("/etc/resolv.conf", conf);
    let (answer, status) = ask(&island, &["db.lab.example", "A"]);
    assert_eq!((status, &answer["servers"][0]["address"]), (0, &Value::from("127.0.0.53")), "{answer}");
    assert_eq!(answer["servers"][0]["queries"][0]["protocol"], "tcp", "{answer}");
    // Programs get the IPv6 address, too, for which no server was asked here.
    assert!(answer["system"]["addresses"].as_array().unwrap().contains(&Value::from("fd00::5")), "{answer}");
    assert_eq!(answer["differences"], Value::Array(vec![]), "{answer}");
    let (answer, _) = ask(&island, &["db", "A"]);
    let names = answer["servers"][0]["queries"].as_array().unwrap().iter().map(|q| q["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["db.lab.example\\015.", "db."], "the carriage return is part of the name");
}

#[test]
fn numbers_are_no_names() {
    let island = island("numbers", zone(), None);
    for text in ["10.5", "0x0a000005", "::ffff:10.0.0.5"] {
        let (answer, status) = ask(&island, &[text]);
        assert_eq!((status, &answer["system"]["name"]), (0, &Value::from("db.lab.example")), "{text}: {answer}");
        assert_eq!(records(&answer), ["5.0.0.10.in-addr.arpa. PTR db.lab.example."], "{text}");
    }
}

#[test]
fn a_cut_answer_is_fetched_over_tcp() {
    let cut = Zone { truncate: true, ..zone() };
    let island = island("cut", cut.clone(), Some(Zone { no_tcp: true, ..cut }));
    let (answer, status) = ask(&island, &["db.lab.example.", "A"]);
    let [first, second] = [0, 1].map(|i| &answer["servers"][i]["queries"][0]);
    assert_eq!((status, &first["truncated"], &first["protocol"]), (0, &Value::Bool(true), &Value::from("tcp")));
    assert_eq!(first["records"][0]["data"], "10.0.0.5");
    assert_eq!(second["code"], "dns.truncated");
}

#[test]
fn each_failure_has_its_code() {
    for (zone, code) in [
        (Zone::default(), "dns.nxdomain"),
        (Zone { otherwise: Some(ResponseCode::NoError), ..Zone::default() }, "dns.nodata"),
        (Zone { otherwise: Some(ResponseCode::ServFail), ..Zone::default() }, "dns.servfail"),
        (Zone { otherwise: Some(ResponseCode::Refused), ..Zone::default() }, "dns.refused"),
        (Zone { otherwise: Some(ResponseCode::NotImp), ..Zone::default() }, "dns.error"),
        (Zone { dead: true, ..Zone::default() }, "dns.timeout"),
    ] {
        let island = island("codes", zone, None);
        let (answer, status) = ask(&island, &["gone.example."]);
        assert_eq!((status, &answer["servers"][0]["queries"][0]["code"]), (3, &Value::from(code)));
    }
    let island = Island::new("codes").with_file("/etc/resolv.conf", "nameserver 127.0.0.53\n");
    let (answer, status) = ask(&island, &["gone.example."]);
    assert_eq!((status, &answer["servers"][0]["queries"][0]["code"]), (3, &Value::from("dns.server-unreachable")));
    assert!(answer["servers"][0]["queries"][0]["error"].as_str().unwrap().contains("ECONNREFUSED"), "{answer}");
}

#[test]
fn disagreement_is_shown() {
    let other = Zone::default().address("db.lab.example", "10.0.0.6").address("db.lab.example", "fd00::5");
    let island =
        island("differ", zone(), Some(other)).with_file("/etc/hosts", "127.0.0.1 localhost\n10.9.9.9 db.lab.example\n");
    let (answer, _) = ask(&island, &["db.lab.example"]);
    let differences: Vec<&str> =
        answer["differences"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
    assert_eq!(
        differences,
        [
            "the servers differ for A: 127.0.0.53 says 10.0.0.5; 127.0.0.54 says 10.0.0.6",
            "/etc/hosts line 2 says 10.9.9.9, DNS says 10.0.0.5, 10.0.0.6: programs that read the hosts file first go to 10.9.9.9",
        ]
    );
}

#[test]
fn servers_beyond_the_third_are_not_those_of_the_c_library() {
    let servers: Vec<String> = (1..=4).map(|host| format!("127.0.0.{host}")).collect();
    let conf: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let island = Island::new("fourth").with_file("/etc/resolv.conf", &format!("{conf}options timeout:1 attempts:1\n"));
    servers::dns(&island, "127.0.0.4", zone());
    let (answer, _) = ask(&island, &["db.lab.example."]);
    let spare: Vec<bool> = answer["servers"].as_array().unwrap().iter().map(|s| s["spare"] == true).collect();
    assert_eq!(spare, [false, false, false, true]);
    assert_eq!(
        answer["differences"][0],
        "DNS answers 10.0.0.5, fd00::5, yet applications get EAI_AGAIN: the C library asks only the first three servers"
    );
    servers::dns(&island, "127.0.0.1", Zone { otherwise: Some(ResponseCode::NoError), ..Zone::default() });
    let (answer, _) = ask(&island, &["db.lab.example."]);
    let reason = "the C library takes the first answer, which is that of 127.0.0.1";
    let differences = answer["differences"].as_array().unwrap();
    assert!(differences.iter().any(|d| d.as_str().unwrap().ends_with(reason)), "{answer}");
}

#[test]
fn without_a_server_the_c_library_asks_this_host() {
    let island = Island::new("none").with_file("/etc/resolv.conf", "").with_file("/etc/nsswitch.conf", "hosts: dns\n");
    let (answer, _) = ask(&island, &["db.lab.example."]);
    assert_eq!(answer["servers"][0]["queries"][0]["code"], "dns.no-server");
    servers::dns(&island, "127.0.0.1", zone());
    let (answer, status) = ask(&island, &["db.lab.example."]);
    assert_eq!((status, &answer["differences"]), (0, &Value::Array(vec![])), "{answer}");
}

#[test]
fn dnssec_and_old_servers_are_told() {
    let island = island("flags", Zone { authentic: true, ..zone() }, Some(Zone { no_edns: true, ..zone() }));
    let (answer, _) = ask(&island, &["db.lab.example.", "A"]);
    let [first, second] = [0, 1].map(|i| &answer["servers"][i]["queries"][0]);
    assert_eq!((&first["authentic"], &first["without_edns"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!((&second["authentic"], &second["without_edns"]), (&Value::Bool(false), &Value::Bool(true)));
    assert_eq!(second["records"][0]["data"], "10.0.0.5");
}

#[test]
fn what_a_server_sends_can_not_steer_a_terminal() {
    let evil = Zone::default().with("e.example", 1, RData::TXT(TXT::new(vec!["\u{1b}[2J\u{202e}x".into()])));
    let island = island("escape", evil, None);
    let text = String::from_utf8(run(&mut island.netdx(&["dns", "e.example.", "TXT"])).stdout).unwrap();
    assert!(text.contains("TXT") && !text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
}

#[test]
fn an_ordinary_user_gets_the_same_answers() {
    let island = island("user", zone(), None);
    let mut setpriv = island.command("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(netdx_tests::island::netdx());
    let (lines, status) = json_lines(setpriv.args(["dns", "db", "--format", "json"]));
    assert_eq!((status, records(&lines[0]).len()), (Some(0), 2), "{lines:?}");
}

#[test]
fn nonsense_is_refused_with_a_word() {
    let island = Island::new("nonsense");
    for (arguments, status, word) in [
        (["a.example", "FOO"], 2, "record type"),
        (["a.example", "@x#y"], 2, "port"),
        (["a..example", "A"], 2, "DNS name"),
        (["", "A"], 2, "empty"),
        (["@127.0.0.53", "a.example"], 2, "the name comes first"),
        (["a.example", "@fe80::1"], 2, "which link"),
    ] {
        let output = output(island.netdx(&["dns"]).args(arguments));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
}
