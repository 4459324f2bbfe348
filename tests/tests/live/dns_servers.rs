//! Servers that can't be reached, that answer nonsense, or that only pass on what others say.

use crate::needs::less_sure_without_reasons;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, rdata};
use netdx_tests::lab::Lab;
use netdx_tests::names::{RESOLVER, also, client, lab, python, verdict};
use netdx_tests::servers::{self, Zone};
use netdx_tests::tracer::{Expected, Tracer, check};
use serde_json::Value;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const UNREACHABLE: Expected<'static> = Expected {
    code: "dns.server-unreachable",
    outcome: "failed",
    errno: Some("EAI_AGAIN"),
    remote: None,
    names: &[],
    certainty: None,
};

/// `getent` looks `any.test` up in vain; its report is as expected, and there is no other.
fn in_vain(lab: &Lab, expected: &Expected<'_>) -> Value {
    let trace = Tracer::start(lab);
    assert!(!client(lab, "getent ahosts any.test"));
    let report = verdict(&trace, "getent");
    check(&report, expected);
    trace.only(&[expected.code]);
    report
}

#[test]
fn a_firewall_here_drops_the_query() {
    let lab = lab(RESOLVER);
    lab.client.guard("output", "udp dport 53 drop");
    in_vain(&lab, &Expected { names: &["10.1.2.2", "firewall.dropped", "output"], ..UNREACHABLE });
}

#[test]
fn a_firewall_on_the_way_drops_the_query() {
    let lab = lab(RESOLVER);
    lab.router.guard("forward", "udp dport 53 drop");
    in_vain(&lab, &Expected { names: &["10.1.2.2", "firewall.dropped", lab.router.name()], ..UNREACHABLE });
}

#[test]
fn a_firewall_on_the_way_drops_the_answer() {
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", Zone::default());
    lab.router.guard("forward", "udp sport 53 drop");
    in_vain(&lab, &Expected { names: &["10.1.2.2", "firewall.dropped", lab.router.name()], ..UNREACHABLE });
}

#[test]
fn a_firewall_rejects_the_query() {
    let lab = lab(RESOLVER);
    lab.router.guard("forward", "udp dport 53 reject with icmpx admin-prohibited");
    in_vain(&lab, &Expected { names: &["10.1.2.2", "firewall.rejected", lab.router.name()], ..UNREACHABLE });
}

#[test]
fn there_is_no_route_to_the_server() {
    let lab = lab(RESOLVER);
    lab.client.ip("route del default");
    in_vain(&lab, &Expected { names: &["10.1.2.2", "route.none"], ..UNREACHABLE });
}

#[test]
fn the_server_is_a_silent_neighbour() {
    let lab = lab("nameserver 10.1.1.99\noptions timeout:1 attempts:2\n");
    let expected = Expected { names: &["10.1.1.99", "route.neighbor-silent"], ..UNREACHABLE };
    in_vain(&lab, &less_sure_without_reasons(expected));
}

#[test]
fn the_stub_is_not_running() {
    let lab = lab("nameserver 127.0.0.54\noptions timeout:1 attempts:2\n");
    // Another namespace's server is none of its business.
    servers::dns(&lab.server, "10.1.2.2", Zone::default());
    let report = in_vain(&lab, &Expected { names: &["127.0.0.54", "(refused.no-listener)"], ..UNREACHABLE });
    let advice = report["verdict"]["advice"].to_string();
    assert!(!advice.contains("another network namespace"), "{advice}");
}

#[test]
fn the_server_is_on_a_link_that_is_not_there() {
    let lab = lab("nameserver fe80::dead%wlan9\noptions timeout:1 attempts:2\n");
    let trace = Tracer::start(&lab);
    let script = "getent ahosts any.test; test $? -ne 0 && sleep 5";
    assert!(lab.client.command("sh").args(["-c", script]).status().expect("sh runs").success());
    let report = verdict(&trace, "getent");
    check(&report, &Expected { names: &["fe80::dead", "(local.bad-target)"], ..UNREACHABLE });
    let evidence = report["verdict"]["evidence"].to_string();
    assert!(evidence.contains("fe80::dead%wlan9, and there is no interface wlan9"), "{evidence}");
    trace.only(&[UNREACHABLE.code]);
}

#[test]
fn both_servers_have_no_listener() {
    let lab = lab("nameserver 10.1.2.2\nnameserver fd01:2::2\noptions timeout:1 attempts:2\n");
    let names = &["10.1.2.2", "fd01:2::2", "(refused."];
    in_vain(&lab, &Expected { names, ..UNREACHABLE });
}

#[test]
fn two_servers_disagree() {
    let lab = lab("nameserver 10.1.2.3\nnameserver fd01:2::2\noptions timeout:1 attempts:2\n");
    servers::dns(&lab.server, "10.1.2.3", Zone { otherwise: Some(ResponseCode::ServFail), ..Zone::default() });
    servers::dns(&lab.server, "fd01:2::2", Zone::default());
    let names = &["any.test does not exist, says fd01:2::2"];
    let errno = Some("EAI_NONAME");
    let report = in_vain(&lab, &Expected { code: "dns.nxdomain", errno, names, ..UNREACHABLE });
    let servers: Vec<&str> =
        report["attempts"].as_array().expect("attempts").iter().filter_map(|a| a["server"].as_str()).collect();
    assert!(servers.contains(&"10.1.2.3") && servers.contains(&"fd01:2::2"), "one lookup: {report:#}");
}

#[test]
fn the_server_does_not_understand_edns() {
    let lab = lab("nameserver 10.1.2.2\noptions timeout:1 attempts:2 edns0\n");
    servers::dns(&lab.server, "10.1.2.2", Zone { no_edns: true, ..Zone::default() });
    let trace = Tracer::start(&lab);
    assert!(!client(&lab, "getent ahosts any.test"));
    let report = verdict(&trace, "getent");
    let names = &["any.test", "10.1.2.2", "FORMERR"];
    check(&report, &Expected { code: "dns.error", outcome: "failed", names, ..Expected::default() });
    trace.only(&["dns.error"]);
}

/// An answer to a query, changed byte by byte.
fn answer(query: &[u8], change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let Ok(mut message) = Message::from_vec(query) else { return Vec::new() };
    message.metadata.message_type = MessageType::Response;
    // Else it would be a referral, which the C library doesn't follow.
    message.metadata.recursion_available = true;
    message.additionals.clear();
    change(&mut message);
    message.to_vec().expect("a message")
}

#[test]
fn the_answers_have_the_wrong_id() {
    let lab = lab(RESOLVER);
    servers::raw_dns(&lab.server, "10.1.2.2", None, |query| {
        vec![answer(query, |message| message.metadata.id ^= 0x5555)]
    });
    let names = &["no answer from 10.1.2.2", "with an id that was not asked with"];
    in_vain(&lab, &Expected { code: "dns.timeout", names, ..UNREACHABLE });
}

#[test]
fn somebody_else_answers() {
    let lab = lab(RESOLVER);
    servers::raw_dns(&lab.server, "10.1.2.2", Some("10.1.2.3"), |query| vec![answer(query, |_| ())]);
    let names = &["no answer from 10.1.2.2", "10.1.2.3, which was not asked"];
    in_vain(&lab, &Expected { code: "dns.timeout", names, ..UNREACHABLE });
}

/// Bytes that look random and are the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state: u32 = 0x9e37_79b9;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Answers that no resolver should believe, each with the id of the query.
fn nonsense(query: &[u8]) -> Vec<Vec<u8>> {
    let with_id = |tail: &[u8]| [&query[..2], tail].concat();
    let question = &query[12..];
    vec![
        noise(300),
        with_id(&noise(500)),
        // A name that points at itself, as the question.
        with_id(b"\x81\x80\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01"),
        // A label longer than the message.
        with_id(b"\x81\x80\0\x01\0\0\0\0\0\0\x3fshort"),
        // 65,535 answers, and none there.
        [&query[..2], b"\x81\x80\0\x01\xff\xff\xff\xff\xff\xff", question].concat(),
    ]
}

#[test]
fn the_server_answers_nonsense() {
    let lab = lab(RESOLVER);
    servers::raw_dns(&lab.server, "10.1.2.2", None, nonsense);
    let trace = Tracer::start(&lab);
    assert!(!client(&lab, "getent ahosts any.test"));
    let report = verdict(&trace, "getent");
    let names = &["any.test", "10.1.2.2", "is damaged and can't be read"];
    check(&report, &Expected { code: "dns.error", outcome: "failed", names, ..Expected::default() });
    trace.only(&["dns.error"]);
}

/// glibc gives up at once over a message that is too short for a header (send_dg of res_send.c, 2.41).
#[test]
fn an_answer_too_short_for_a_header_ends_the_lookup() {
    const AAAA: [u8; 2] = [0, 28];
    let lab = lab(RESOLVER);
    servers::raw_dns(&lab.server, "10.1.2.2", None, |query| {
        if query[query.len() - 4..].starts_with(&AAAA) {
            return vec![];
        }
        vec![[&query[..2], b"\x81\x80\0\x01\xff\xff\xff\xff\xff\xff", &query[12..]].concat(), noise(5)]
    });
    let trace = Tracer::start(&lab);
    assert!(!client(&lab, "getent ahosts any.test"));
    let report = verdict(&trace, "getent");
    let names = &["any.test", "10.1.2.2", "is damaged and can't be read"];
    let likely = Expected { certainty: Some("likely"), names, code: "dns.error", ..UNREACHABLE };
    check(&report, &likely);
    assert_eq!(report["errno"], "EAI_AGAIN");
    trace.only(&["dns.error"]);
}

/// What a server answers, over which the C library gives up at once.
#[test]
fn an_answer_that_is_none_ends_the_lookup() {
    type Reply = fn(&[u8]) -> Vec<Vec<u8>>;
    let replies: [(Reply, &str); 3] = [
        (|query| vec![query[..5].to_vec()], "shorter than the header of a DNS message"),
        (|query| vec![[&query[..2], &[0xff; 9]].concat()], "shorter than the header of a DNS message"),
        (|query| vec![query.to_vec()], "a query itself and no answer"),
    ];
    for (reply, what) in replies {
        let lab = lab(RESOLVER);
        servers::raw_dns(&lab.server, "10.1.2.2", None, reply);
        let trace = Tracer::start(&lab);
        assert!(!client(&lab, "getent ahosts any.test"));
        let report = verdict(&trace, "getent");
        let names = &["any.test", "10.1.2.2", what];
        check(&report, &Expected { certainty: Some("likely"), names, code: "dns.error", ..UNREACHABLE });
        trace.only(&["dns.error"]);
    }
}

/// `any.test` is an alias of `gone.test`.
fn alias() -> Record {
    let name = |name| Name::from_ascii(name).expect("a name");
    Record::from_rdata(name("any.test."), 60, RData::CNAME(rdata::CNAME(name("gone.test."))))
}

#[test]
fn what_the_alias_stands_for_does_not_exist() {
    let lab = lab(RESOLVER);
    servers::raw_dns(&lab.server, "10.1.2.2", None, |query| {
        vec![answer(query, |message| {
            message.metadata.response_code = ResponseCode::NXDomain;
            message.add_answer(alias());
        })]
    });
    let names = &["any.test is an alias of gone.test, and gone.test does not exist, says 10.1.2.2"];
    in_vain(&lab, &Expected { code: "dns.nxdomain", errno: Some("EAI_NONAME"), names, ..UNREACHABLE });
}

#[test]
fn the_server_does_not_look_up_what_the_alias_stands_for() {
    let lab = lab(RESOLVER);
    servers::raw_dns(&lab.server, "10.1.2.2", None, |query| {
        vec![answer(query, |message| {
            message.metadata.authoritative = true;
            message.metadata.recursion_available = false;
            message.add_answer(alias());
        })]
    });
    let names = &["any.test is an alias of gone.test, and 10.1.2.2 does not look gone.test up"];
    in_vain(&lab, &Expected { code: "dns.refused", errno: Some("EAI_NONAME"), names, ..UNREACHABLE });
}

#[test]
fn the_server_only_refers_to_others() {
    let lab = lab(RESOLVER);
    servers::raw_dns(&lab.server, "10.1.2.2", None, |query| {
        vec![answer(query, |message| {
            let name = |name| Name::from_ascii(name).expect("a name");
            message.metadata.recursion_available = false;
            message.add_authority(Record::from_rdata(name("test."), 60, RData::NS(rdata::NS(name("ns.test.")))));
            // With an address of that server beside, the C library takes it for the answer (send_dg of res_send.c, 2.36).
            message.add_additional(Record::from_rdata(name("ns.test."), 60, RData::A(rdata::A::new(10, 1, 2, 3))));
        })]
    });
    let names = &["10.1.2.2 only refers to other name servers for any.test"];
    in_vain(&lab, &Expected { code: "dns.refused", errno: Some("EAI_NODATA"), names, ..UNREACHABLE });
}

#[test]
fn names_full_of_escape_sequences_are_text() {
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", Zone::default());
    let trace = Tracer::start(&lab);
    // Labels as bytes: an escape sequence, a right-to-left override, a zero, a line end.
    python(
        &lab,
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(2)\n\
         labels = (b'\\x1b[31mred', '\\u202etxt'.encode(), b'a\\x00b\\r\\n.', b'test')\n\
         name = b''.join(bytes([len(l)]) + l for l in labels) + b'\\0'\n\
         s.sendto(b'\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0' + name + b'\\0\\1\\0\\1', ('10.1.2.2', 53))\ns.recv(999)",
    );
    let report = verdict(&trace, "python3");
    check(&report, &Expected { code: "dns.nxdomain", outcome: "failed", ..Expected::default() });
    let text = report["verdict"]["summary"].as_str().expect("a summary");
    assert!(text.contains("test"), "{text}");
    assert!(!text.contains(|c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{text:?}");
    trace.only(&["dns.nxdomain"]);
}

#[test]
fn the_length_over_tcp_is_a_lie() {
    let lab = lab(RESOLVER);
    servers::raw_dns(&lab.server, "10.1.2.2", None, |query| {
        vec![answer(query, |message| message.metadata.truncation = true)]
    });
    servers::raw_dns_over_tcp(&lab.server, "10.1.2.2", |_| vec![b"\xff\xffnot what was announced, by far".to_vec()]);
    let trace = Tracer::start(&lab);
    assert!(!client(&lab, "getent ahosts any.test"));
    let report = verdict(&trace, "getent");
    check(&report, &Expected { code: "dns.truncated", outcome: "failed", names: &["any.test"], ..Expected::default() });
    trace.only(&["dns.truncated"]);
}

#[test]
fn over_tcp_the_length_comes_by_itself() {
    let lab = lab(RESOLVER);
    servers::raw_dns(&lab.server, "10.1.2.2", None, |query| {
        vec![answer(query, |message| message.metadata.truncation = true)]
    });
    servers::raw_dns_over_tcp(&lab.server, "10.1.2.2", |query| {
        let answer = answer(&query[2..], |message| message.metadata.response_code = ResponseCode::NXDomain);
        let length = u16::try_from(answer.len()).expect("a short answer");
        vec![length.to_be_bytes().to_vec(), answer]
    });
    let trace = Tracer::start(&lab);
    assert!(!client(&lab, "getent ahostsv4 any.test"));
    let report = verdict(&trace, "getent");
    let names = &["any.test does not exist, says 10.1.2.2"];
    check(&report, &Expected { code: "dns.nxdomain", outcome: "failed", names, ..Expected::default() });
    assert_eq!((&report["errno"], &report["protocol"]), (&"EAI_NONAME".into(), &"tcp".into()), "{report:#}");
    trace.only(&["dns.nxdomain"]);
}

/// dnsmasq at 127.0.0.53 in the client's namespace, which asks 10.1.2.2; ended when this is dropped.
struct Forwarder(Child);

impl Forwarder {
    fn start(lab: &Lab) -> Forwarder {
        let arguments = "--keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --no-resolv --no-hosts \
                         --cache-size=0 --listen-address=127.0.0.53 --bind-interfaces --server=10.1.2.2";
        let mut command = lab.client.command("dnsmasq");
        let child = command.args(arguments.split_whitespace()).stderr(Stdio::null()).spawn().expect("dnsmasq runs");
        let forwarder = Forwarder(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        let is_up = || {
            let listed = lab.client.command("ss").arg("-Hlun").output().expect("ss runs");
            String::from_utf8_lossy(&listed.stdout).contains("127.0.0.53:53")
        };
        while !is_up() {
            assert!(Instant::now() < deadline, "dnsmasq does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        forwarder
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

const STUB: &str = "nameserver 127.0.0.53\noptions timeout:1 attempts:2\n";

fn behind_a_stub(zone: Option<Zone>, expected: &Expected<'_>) -> Value {
    let lab = lab(STUB);
    if let Some(zone) = zone {
        servers::dns(&lab.server, "10.1.2.2", zone);
    }
    let _forwarder = Forwarder::start(&lab);
    let report = in_vain(&lab, expected);
    assert_eq!(report["process"]["comm"], "getent", "the client, not the stub");
    report
}

#[test]
fn the_server_behind_the_stub_fails() {
    let zone = Zone { otherwise: Some(ResponseCode::ServFail), ..Zone::default() };
    let names = &["127.0.0.53", "dnsmasq[", "10.1.2.2", "dns.servfail"];
    behind_a_stub(Some(zone), &Expected { code: "dns.servfail", names, ..UNREACHABLE });
}

#[test]
fn the_server_behind_the_stub_is_silent() {
    let zone = Zone { dead: true, ..Zone::default() };
    let names = &["no answer from 127.0.0.53", "dnsmasq[", "10.1.2.2", "dns.timeout"];
    behind_a_stub(Some(zone), &Expected { code: "dns.timeout", names, ..UNREACHABLE });
}

#[test]
fn the_server_behind_the_stub_has_no_listener() {
    let names = &["no answer from 127.0.0.53", "dnsmasq[", "10.1.2.2", "(refused."];
    let report = behind_a_stub(None, &Expected { code: "dns.timeout", names, ..UNREACHABLE });
    assert_eq!(also(&report), ["dns.server-unreachable"], "{report:#}");
}
