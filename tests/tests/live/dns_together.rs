//! What belongs to one lookup, and what of it decides: told once, with the right reason.

use hickory_proto::op::{Message, MessageType, ResponseCode};
use netdx_tests::lab::Lab;
use netdx_tests::names::{RESOLVER, asked, client, lab, python, verdict};
use netdx_tests::servers::{self, Zone};
use netdx_tests::tracer::{Expected, Tracer, check};
use serde_json::Value;
use std::net::UdpSocket;

const FAILED: Expected<'static> = Expected {
    code: "dns.nxdomain",
    outcome: "failed",
    errno: Some("EAI_AGAIN"),
    remote: None,
    names: &[],
    certainty: None,
};

/// `getent DATABASE NAME` fails, and there is one report, as expected.
fn getent(lab: &Lab, what: &str, expected: &Expected<'_>) -> Value {
    let trace = Tracer::start(lab);
    assert!(!client(lab, &format!("getent {what}")));
    let report = verdict(&trace, "getent");
    check(&report, expected);
    trace.only(&[expected.code]);
    report
}

/// A search list with one suffix, below which the server answers each name with this RCODE and no record; no other exists.
fn searched(suffix: &'static str, code: ResponseCode) -> Lab {
    let lab = lab(&format!("search {suffix}\n{RESOLVER}"));
    servers::raw_dns(&lab.server, "10.1.2.2", None, move |query| {
        let Ok(mut message) = Message::from_vec(query) else { return Vec::new() };
        let name = message.queries.first().map(|q| q.name.to_ascii()).unwrap_or_default();
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_available = true;
        let below = name.trim_end_matches('.').ends_with(suffix);
        message.metadata.response_code = if below { code } else { ResponseCode::NXDomain };
        vec![message.to_vec().expect("a message")]
    });
    lab
}

#[test]
fn the_name_decides_that_the_server_failed_about() {
    let lab = searched("sf.example", ResponseCode::ServFail);
    let names = &["10.1.2.2 could not answer for db.sf.example", "tried db.sf.example, db"];
    getent(&lab, "ahosts db", &Expected { code: "dns.servfail", names, ..FAILED });
}

#[test]
fn the_name_as_it_was_given_decides() {
    let lab = searched("nd.example", ResponseCode::NoError);
    let names = &["the name db.test does not exist", "tried db.test, db.test.nd.example"];
    getent(&lab, "ahosts db.test", &Expected { errno: Some("EAI_NONAME"), names, ..FAILED });
}

#[test]
fn one_search_by_an_older_call_is_told_once() {
    let lab = lab(&format!("search a.example b.example\n{RESOLVER}"));
    servers::dns(&lab.server, "10.1.2.2", Zone::default());
    let report = getent(&lab, "hosts db.test", &Expected { errno: None, names: &["db.test does not exist"], ..FAILED });
    let suffixes = ["db.test", "db.test.a.example", "db.test.b.example"];
    let expected: Vec<String> = ["AAAA", "A"].iter().flat_map(|t| suffixes.map(|name| format!("{name} {t}"))).collect();
    assert_eq!(asked(&report), expected);
}

#[test]
fn by_tcp_alone_the_server_has_no_listener() {
    let lab = lab("nameserver 10.1.2.2\noptions use-vc timeout:1\n");
    let names = &["the name server 10.1.2.2 can't be reached", "(refused."];
    getent(&lab, "ahosts any.test", &Expected { code: "dns.server-unreachable", names, ..FAILED });
}

#[test]
fn behind_a_translation_the_server_has_no_listener() {
    let lab = lab("nameserver 10.1.1.1\noptions timeout:1 attempts:2\n");
    let rule = "ip daddr 10.1.1.1 udp dport 53 dnat to 10.1.2.2:5300";
    lab.router
        .nft(&format!("table ip nat {{\n chain at {{\n type nat hook prerouting priority -100;\n {rule}\n}}\n}}"));
    let names =
        &["the name server 10.1.1.1 can't be reached", "is translated to 10.1.2.2:5300", "(refused.no-listener)"];
    getent(&lab, "ahosts any.test", &Expected { code: "dns.server-unreachable", names, ..FAILED });
}

#[test]
fn a_firewall_drops_the_longer_one_of_two_answers() {
    let lab = lab(RESOLVER);
    let zone = (1..=60).fold(Zone::default(), |zone, n| zone.address("big.test", &format!("10.1.9.{n}")));
    servers::dns(&lab.server, "10.1.2.2", zone);
    lab.router.guard("forward", "udp sport 53 meta length > 600 drop");
    let names = &["A big.test got no answer from the name server 10.1.2.2", "meta length > 600", "(firewall.dropped)"];
    getent(&lab, "ahosts big.test", &Expected { code: "dns.server-unreachable", names, ..FAILED });
}

#[test]
fn the_server_answers_from_another_port() {
    let lab = lab(RESOLVER);
    let (socket, other) = lab.server.inside(|| {
        let bind = |port: u16| UdpSocket::bind(("10.1.2.2", port)).expect("bind");
        (bind(53), bind(5353))
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, asker)) = socket.recv_from(&mut buffer) {
            buffer[2] |= 0x80;
            // A client that has gone away needs no answer.
            _ = other.send_to(&buffer[..length], asker);
        }
    });
    let names = &["no answer from 10.1.2.2", "from 10.1.2.2, from another port than was asked"];
    getent(&lab, "ahosts any.test", &Expected { code: "dns.timeout", names, ..FAILED });
}

#[test]
fn that_a_name_has_no_record_for_https_is_no_failure() {
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", Zone::default().address("db.test", "10.1.2.2"));
    let trace = Tracer::start(&lab);
    python(
        &lab,
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         q = b'\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\2db\\4test\\0\\0\\x41\\0\\1'\n\
         s.sendto(q, ('10.1.2.2', 53))\ns.recvfrom(999)",
    );
    assert!(!client(&lab, "getent ahosts nx.test"));
    check(&verdict(&trace, "getent"), &Expected { errno: Some("EAI_NONAME"), ..FAILED });
    trace.only(&["dns.nxdomain"]);
}
