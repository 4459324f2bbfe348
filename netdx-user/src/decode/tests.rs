use super::*;
use crate::event::{Authority, Hook, Via};
use netdx_common::record::{DNS_HEAD, DNS_LEN};
use proptest::prelude::*;
use zerocopy::{FromZeros, IntoBytes};

struct Known;

impl Names for Known {
    fn function(&self, address: u64) -> Option<Name> {
        Some(Name::Borrowed(match address {
            1 => "nft_do_chain",
            2 => "nf_hook_slow",
            3 => "ip_local_deliver",
            4 => "ip_forward",
            5 => "bpf_trace_run4",
            _ => return None,
        }))
    }

    fn drop_reason(&self, value: i32) -> Option<Name> {
        (value == 12).then_some(Name::Borrowed("SKB_DROP_REASON_NETFILTER_DROP"))
    }

    fn reset_reason(&self, value: i32) -> Option<Name> {
        (value == 1).then(|| Name::Owned("SK_RST_REASON_NO_SOCKET".to_owned()))
    }
}

/// A record of zeroes with its header.
fn record<T: FromZeros>(kind: Kind) -> (T, wire::Header) {
    let header = wire::Header { kind, size: u16::try_from(size_of::<T>()).unwrap(), cpu: 0, time: 7 };
    (T::new_zeroed(), header)
}

fn v4(last: u8) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&[10, 0, 0, last]);
    bytes
}

fn tuple() -> wire::Tuple {
    wire::Tuple { family: 2, protocol: 6, local_port: 4000, remote_port: 80, local: v4(1), remote: v4(2) }
}

fn one(bytes: &[u8]) -> Result<Stamped, Error> {
    let mut out = Vec::new();
    decode(bytes, &Known, &mut out)?;
    let [one] = <[Stamped; 1]>::try_from(out).expect("one event");
    Ok(one)
}

fn event(bytes: &[u8]) -> Event {
    match one(bytes).unwrap().input {
        Input::Event(event) => event,
        other => panic!("not an event: {other:?}"),
    }
}

#[test]
fn what_is_no_record_is_refused() {
    let header = |kind, size| wire::Header { kind: Kind(kind), size, cpu: 0, time: 0 }.as_bytes().to_vec();
    let mut familyless = record::<wire::Attempt>(Kind::ATTEMPT);
    familyless.0.header = familyless.1;
    let cases: [(&str, Vec<u8>, Error); 7] = [
        ("nothing", vec![], Error::Short(0)),
        ("half a header", vec![0; 15], Error::Short(15)),
        ("a header that lies", header(2, 17), Error::Length { kind: 2, length: 16, said: 17 }),
        ("no kind", header(0, 16), Error::Kind(0)),
        ("a later kind", header(999, 16), Error::Kind(999)),
        ("too short", header(1, 16), Error::Size { kind: 1, length: 16, expected: size_of::<wire::Attempt>() }),
        ("a socket of no family", familyless.0.as_bytes().to_vec(), Error::Family { kind: 1, family: 0 }),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(one(&bytes).unwrap_err(), expected, "{what}");
    }
}

#[test]
fn every_kind_is_known() {
    for kind in 1..=19 {
        let bytes = wire::Header { kind: Kind(kind), size: 16, cpu: 0, time: 0 };
        assert!(
            matches!(one(bytes.as_bytes()), Err(Error::Size { .. })),
            "kind {kind} of 16 bytes must be refused for its size"
        );
    }
}

#[test]
fn time_is_the_kernels() {
    let (mut exit, header) = record::<wire::ProcessExit>(Kind::PROCESS_EXIT);
    exit.header = header;
    assert_eq!(one(exit.as_bytes()).unwrap().t, Time(7));
}

#[test]
fn mapped_addresses_are_ipv4_at_both_ends() {
    let (mut attempt, header) = record::<wire::Attempt>(Kind::ATTEMPT);
    attempt.header = header;
    attempt.sock.tuple = tuple();
    attempt.sock.tuple.family = 10;
    attempt.sock.tuple.local = [0; 16];
    attempt.sock.tuple.remote = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2];
    let Event::Attempt { sock, task, .. } = event(attempt.as_bytes()) else { panic!("not an attempt") };
    assert!(sock.v6);
    assert_eq!(sock.tuple.local, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    assert_eq!(sock.tuple.remote, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!(task, None);
    assert_eq!(sock.id, None);
}

#[test]
fn a_drop_has_names_and_no_addresses_of_the_kernel() {
    let (mut drop, header) = record::<wire::Drop>(Kind::DROP);
    drop.header = header;
    drop.packet.tuple = tuple();
    drop.reason = 12;
    drop.location = 1;
    drop.stack.frames[..4].copy_from_slice(&[5, 2, 99, 3]);
    let Event::Drop { reason, at, hook, stack, sock, packet, .. } = event(drop.as_bytes()) else {
        panic!("not a drop")
    };
    assert_eq!(reason.as_deref(), Some("NETFILTER_DROP"));
    assert_eq!(at.as_deref(), Some("nft_do_chain"));
    assert_eq!(hook, Some(Hook::Input));
    assert_eq!(*stack, ["nf_hook_slow", "ip_local_deliver"]);
    assert_eq!(sock, None);
    assert_eq!(packet.tuple.unwrap().remote_port, 80);
}

#[test]
fn what_a_tunnels_packet_has_in_it_is_of_the_same_buffer() {
    let (mut drop, header) = record::<wire::Drop>(Kind::DROP);
    drop.header = header;
    drop.packet.tuple = wire::Tuple { protocol: 17, remote_port: 4789, ..tuple() };
    drop.packet.mark = 5;
    drop.packet.device = 3;
    let inner_of = |drop: &wire::Drop| {
        let Event::Drop { packet, inner, discovery, .. } = event(drop.as_bytes()) else { panic!("not a drop") };
        assert_eq!(packet.tuple.unwrap().remote_port, 4789);
        (inner, discovery)
    };
    assert_eq!(inner_of(&drop), (None, None));
    drop.inner.tuple = tuple();
    drop.inner.tcp_flags = 2;
    drop.inner.ttl = 64;
    let (inner, _) = inner_of(&drop);
    let inner = inner.unwrap();
    assert_eq!((inner.tuple.unwrap().remote_port, inner.tcp_flags, inner.ttl), (80, 2, 64));
    assert_eq!((inner.mark, inner.device), (5, 3));
    // A question for a neighbour has no endpoints.
    drop.inner = wire::Packet { icmp_type: 1, ..wire::Packet::new_zeroed() };
    drop.inner.tuple = wire::Tuple { protocol: ETH_P_ARP, local_port: 0, remote_port: 0, ..tuple() };
    let (inner, discovery) = inner_of(&drop);
    assert_eq!(inner.unwrap().tuple, None);
    assert_eq!(discovery.unwrap().asked, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));
}

#[test]
fn the_hook_follows_from_route_and_devices() {
    // Columns: route's function, in by, at, hook.
    let cases = [
        (0, 0, 0, None),
        (3, 2, 2, Some(Hook::Input)),
        (4, 2, 2, Some(Hook::Forward)),
        (4, 2, 3, None),
        (99, 0, 0, Some(Hook::Output)),
        (99, 0, 3, None),
    ];
    for (route_input, in_device, device, expected) in cases {
        let (mut drop, header) = record::<wire::Drop>(Kind::DROP);
        drop.header = header;
        drop.reason = 12;
        drop.route_input = route_input;
        drop.packet.in_device = in_device;
        drop.packet.device = device;
        let Event::Drop { hook, .. } = event(drop.as_bytes()) else { panic!("not a drop") };
        assert_eq!(hook, expected, "route {route_input}, in {in_device}, at {device}");
    }
}

#[test]
fn only_netfilter_has_a_hook() {
    let (mut drop, header) = record::<wire::Drop>(Kind::DROP);
    drop.header = header;
    drop.reason = 3;
    drop.route_input = 3;
    drop.packet.in_device = 1;
    drop.packet.device = 1;
    let Event::Drop { hook, reason, .. } = event(drop.as_bytes()) else { panic!("not a drop") };
    assert_eq!((hook, reason), (None, None));
}

#[test]
fn what_is_unknown_is_none() {
    let (mut retransmit, header) = record::<wire::Retransmit>(Kind::RETRANSMIT);
    retransmit.header = header;
    retransmit.sock.tuple = tuple();
    retransmit.result = i32::MIN;
    retransmit.tcp.idle_ms = u32::MAX;
    let Event::Retransmit { result, tcp, .. } = event(retransmit.as_bytes()) else { panic!("not a retransmission") };
    assert_eq!((result, tcp.idle_ms), (None, None));

    let (mut reset, header) = record::<wire::ResetSent>(Kind::RESET_SENT);
    reset.header = header;
    reset.reason = 1;
    let Event::ResetSent { packet, sock, reason, .. } = event(reset.as_bytes()) else { panic!("not a reset") };
    assert_eq!((packet, sock), (None, None));
    assert_eq!(reason.as_deref(), Some("NO_SOCKET"));

    let (mut call, header) = record::<wire::CallFailed>(Kind::CALL_FAILED);
    call.header = header;
    call.call = call::CONNECT;
    call.cgroup_hook = 2;
    let Event::CallFailed { started, address, cgroup_hook, sock, .. } = event(call.as_bytes()) else {
        panic!("not a call")
    };
    assert_eq!((started, address, cgroup_hook, sock), (None, None, None, None));
}

#[test]
fn a_reset_that_ends_a_connection_is_all_its_events() {
    let (mut end, header) = record::<wire::ResetEnd>(Kind::RESET_END);
    end.header = header;
    (end.received, end.started, end.via, end.old) = (5, 3, 1, 2);
    end.dialled = wire::Dialled { family: 2, port: 80, address: [10, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] };
    end.sock.id = 9;
    end.sock.tuple = tuple();
    end.sock.error = 111;
    end.sock.state = 2;
    end.tcp.sequence = 77;
    let events = |first| {
        let mut out = Vec::new();
        decode(wire::ResetEnd { first, ..end }.as_bytes(), &Known, &mut out).unwrap();
        out
    };
    let all = events(1);
    assert_eq!(all.iter().map(|s| s.t.0).collect::<Vec<_>>(), [5, 5, 7]);
    let [Input::Event(attempt), Input::Event(reset), Input::Event(state)] =
        [&all[0], &all[1], &all[2]].map(|s| &s.input)
    else {
        panic!("not three events: {all:?}")
    };
    assert!(matches!(attempt, Event::Attempt { started: Time(3), via: Via::Connect, sock, dialled: Some(dialled), .. }
        if sock.error == 0 && dialled.to_string() == "10.96.0.1:80"));
    assert!(matches!(reset, Event::ResetReceived { sock, tcp }
        if sock.state == TcpState::SynSent && sock.error == 0 && tcp.sequence == 77));
    assert!(matches!(state, Event::State { sock, old: TcpState::SynSent, new: TcpState::Close, tcp, .. }
        if sock.error == 111 && tcp.sequence == 77));
    assert_eq!(events(0), all[1..]);
}

#[test]
fn a_command_line_is_split_and_may_be_cut() {
    let (mut process, header) = record::<wire::Process>(Kind::PROCESS);
    process.header = header;
    process.argv[..9].copy_from_slice(b"a\0\0b c\0\xff\0");
    for (length, expected) in
        [(0, vec![]), (2, vec!["a"]), (9, vec!["a", "", "b c", "\u{fffd}"]), (5, vec!["a", "", "b "])]
    {
        process.argv_len = length;
        let Event::Process { argv, .. } = event(process.as_bytes()) else { panic!("not a process") };
        assert_eq!(argv, expected, "of {length} bytes");
    }
    process.argv_len = u32::MAX;
    event(process.as_bytes());
}

fn dns(message: &[u8], length: u16) -> crate::event::DnsMessage {
    let mut record = wire::Dns::new_zeroed();
    let size = DNS_HEAD + message.len();
    record.header = wire::Header { kind: Kind::DNS, size: u16::try_from(size).unwrap(), cpu: 0, time: 0 };
    record.tuple = tuple();
    record.length = length;
    record.data[..message.len()].copy_from_slice(message);
    let Event::Dns { message, .. } = event(&record.as_bytes()[..size]) else { panic!("not DNS") };
    message
}

/// NXDOMAIN for "Db.Example", type A, with an OPT record that makes it BADVERS (16), and one address.
const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\x01\x02Db\x07Example\0\0\x01\0\x01\
    \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x05\
    \0\0\x29\x04\xd0\x01\0\0\0\0\0";

#[test]
fn a_dns_answer_is_read() {
    let message = dns(ANSWER, u16::try_from(ANSWER.len()).unwrap());
    assert_eq!(message.malformed, None);
    assert!(message.answer);
    assert_eq!((message.id, message.rcode, message.answers), (0x1234, 16, 1));
    let question = message.question.unwrap();
    assert_eq!((question.name.as_str(), question.kind), ("db.example", 1));
    assert_eq!(message.addresses, [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5))]);
}

/// NXDOMAIN of a zone's own server for "a.b", type A: a.b is an alias of c.b, as that is of D.b; and the SOA record of b.
const ALIAS: &[u8] = b"\x12\x34\x84\x03\0\x01\0\x02\0\x01\0\0\x01a\x01b\0\0\x01\0\x01\
    \x01c\xc0\x0e\0\x05\0\x01\0\0\0\x3c\0\x04\x01D\xc0\x0e\
    \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x15\
    \xc0\x0e\0\x06\0\x01\0\0\0\x3c\0\x16\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01";

#[test]
fn aliases_are_followed_and_the_zones_word_is_known() {
    let message = dns(ALIAS, u16::try_from(ALIAS.len()).unwrap());
    assert_eq!((message.malformed, message.rcode, &message.aliases[..]), (None, 3, &["c.b".into(), "d.b".into()][..]));
    let own = Authority { authoritative: true, recursion: false, soa: true, servers: false };
    assert_eq!(message.authority, Some(own));
    // What was not carried is not known.
    let message = dns(&ALIAS[..ALIAS.len() - 1], u16::try_from(ALIAS.len()).unwrap());
    assert_eq!((message.aliases.len(), message.authority), (2, None));
}

#[test]
fn aliases_that_go_round_in_circles_end() {
    let circle = b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\x01a\x01b\0\0\x01\0\x01\
        \x01c\xc0\x0e\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x15";
    let message = dns(circle, u16::try_from(circle.len()).unwrap());
    assert_eq!((message.malformed, &message.aliases[..]), (None, &["c.b".into(), "a.b".into()][..]));
}

#[test]
fn a_dns_answer_that_is_cut_is_not_malformed() {
    let message = dns(&ANSWER[..30], u16::try_from(ANSWER.len()).unwrap());
    assert_eq!(message.malformed, None);
    assert_eq!(message.question.unwrap().name, "db.example");
    assert_eq!(message.addresses, [] as [IpAddr; 0]);
}

#[test]
fn malformed_dns_is_data() {
    for (what, bytes) in [("empty", &b""[..]), ("half a header", &ANSWER[..5]), ("a lie in the counts", &ANSWER[..28])]
    {
        let message = dns(bytes, u16::try_from(bytes.len()).unwrap());
        assert!(message.malformed.is_some(), "{what}");
    }
    // A name that points at itself (RFC 1035 §4.1.4).
    assert!(dns(b"\0\x01\0\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01", 18).malformed.is_some());
}

#[test]
fn the_root_has_a_name() {
    let message = dns(b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01", 17);
    assert_eq!(message.question.unwrap().name, ".");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..1400)) {
        let _ = decode(&bytes, &Known, &mut Vec::new());
    }

    #[test]
    fn no_record_panics(kind in 1u16..20, mut bytes in prop::collection::vec(any::<u8>(), 1200)) {
        // Every size that a kind may have, with anything in it.
        for size in (16..bytes.len()).step_by(4) {
            let header = wire::Header { kind: Kind(kind), size: u16::try_from(size).unwrap(), cpu: 0, time: 0 };
            bytes[..16].copy_from_slice(header.as_bytes());
            let _ = decode(&bytes[..size], &Known, &mut Vec::new());
        }
    }

    #[test]
    fn no_dns_message_panics(bytes in prop::collection::vec(any::<u8>(), 0..DNS_LEN), length: u16) {
        dns(&bytes, length);
    }
}
