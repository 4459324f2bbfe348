//! A recording reads back as it was written, and a bad one does no harm.

use super::*;
use crate::{
    event::*,
    fact::{Answer, Fact},
    want::Want,
};
use proptest::prelude::*;

pub(crate) fn header() -> Header {
    Header {
        format: FORMAT,
        netdx: "0.1.0".into(),
        kernel: "6.18.0".into(),
        start: Start { boot_ns: 1_000_000, utc: "2026-01-02T10:32:01Z".parse().expect("a time") },
        coverage: Coverage::default(),
        filters: vec!["--port 5432".into()],
        redacted: false,
        settings: Settings { all: true, slow_ns: Some(5), dns: true, inbound: false },
    }
}

fn task() -> Task {
    Task { pid: 7, tid: 8, uid: 1000, netns: Some(Netns(4_026_531_840)), cgroup: 1 << 60, comm: "a\u{1b}[2J".into() }
}

/// One input of each kind, with the values that are hard to write: negative times, 64-bit ids, nulls, unknown numbers.
pub(crate) fn inputs() -> Vec<Stamped> {
    let tuple = Tuple {
        protocol: Protocol::Other(132),
        local: "10.0.0.5".parse().expect("an address"),
        local_port: 40000,
        remote: "fd01::2".parse().expect("an address"),
        remote_port: 5432,
    };
    let sock = Sock {
        id: Some(SockId(u64::MAX)),
        cookie: Some(Cookie(0x1f)),
        tuple,
        v6: true,
        netns: Netns(u32::MAX),
        state: TcpState::Unknown(99),
        error: 111,
        soft_error: 0,
        mark: 0,
        bound_device: 0,
        backlog: 0,
        max_backlog: 0,
        uid: Some(1000),
        left: Some(true),
        retransmits: 255,
        opened: Opened::Here,
    };
    let message = DnsMessage {
        id: 1,
        answer: true,
        truncated: false,
        rcode: 3,
        question: Some(DnsQuestion { name: "a.example".into(), kind: 28 }),
        answers: 0,
        addresses: vec!["::1".parse().expect("an address")],
        aliases: vec!["b.example".into()],
        authority: Some(Authority { authoritative: true, recursion: false, soa: true, servers: false }),
        length: 40,
        malformed: None,
    };
    let rule = crate::fact::Rule {
        text: "tcp dport 1 drop".into(),
        handle: 1,
        expr: vec![serde_json::json!({"match": {"right": {"set": [1, 2, {"range": [3, 4]}]}}})],
    };
    let chain = crate::fact::Chain {
        family: "inet".into(),
        table: "t".into(),
        name: "c".into(),
        hook: None,
        priority: -5,
        device: None,
        kind: String::new(),
        policy: None,
        rules: vec![rule],
    };
    let netns = Netns(3);
    let inputs = [
        Input::Event(Event::Process { task: task(), started: Time(3), parent: 1, argv: vec!["x".into()], root: None }),
        Input::Event(Event::Attempt {
            started: Time(999_000),
            task: Some(task()),
            sock: sock.clone(),
            via: Via::Connect,
            dialled: None,
        }),
        Input::Event(Event::CallFailed {
            call: Call::Other(9),
            started: Some(Time(1)),
            task: task(),
            sock: Some(sock),
            address: None,
            family: 2,
            port: 1,
            socket_type: 1,
            protocol: 6,
            scope: 0,
            result: -111,
            cgroup_hook: None,
            route: RouteLookups::default(),
        }),
        Input::Event(Event::Dns {
            current: None,
            cookie: None,
            tuple,
            netns: None,
            leaving: false,
            resolving: None,
            message,
        }),
        Input::Event(Event::GetAddrInfo {
            task: task(),
            started: Time(u64::MAX),
            result: -2,
            family: 0,
            name: "\u{202e}".into(),
            service: String::new(),
        }),
        Input::Fact(Fact { want: Want::Interfaces { netns }, answer: Answer::Unavailable("gone".into()) }),
        Input::Fact(Fact { want: Want::Process { pid: 1 }, answer: Answer::Process(None) }),
        Input::Fact(Fact {
            want: Want::Ruleset { netns },
            answer: Answer::Ruleset(crate::fact::Ruleset { chains: vec![chain], ..Default::default() }.into()),
        }),
        Input::Fact(Fact { want: Want::Owner { netns, tuple }, answer: Answer::Sockets(vec![]) }),
        Input::Fact(Fact { want: Want::Counters { netns }, answer: Answer::Counters(vec![("a".into(), u64::MAX)]) }),
        Input::Lost(u64::MAX),
        Input::Malformed("short".into()),
        Input::Tick,
        Input::End,
    ];
    (0..).zip(inputs).map(|(n, input)| Stamped { t: Time(n * 500_000), input }).collect()
}

pub(crate) fn write(inputs: &[Stamped], compressed: bool) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header(), compressed).expect("memory takes everything");
    inputs.iter().for_each(|input| writer.write(input.clone()).expect("memory takes everything"));
    writer.finish().expect("memory takes everything")
}

/// Everything that is in a file, and what is wrong with it.
fn read(file: &[u8]) -> Result<(Header, Vec<Stamped>, Damage), reader::Error> {
    let mut reader = Reader::new(file)?;
    let inputs: Vec<Stamped> = reader.by_ref().collect();
    Ok((reader.header().clone(), inputs, reader.damage().clone()))
}

#[test]
fn what_was_written_is_read() {
    for compressed in [false, true] {
        let (header_read, inputs_read, damage) = read(&write(&inputs(), compressed)).expect("a recording");
        assert_eq!(header_read, header());
        assert_eq!(inputs_read, inputs());
        assert_eq!(damage, Damage::default());
    }
}

#[test]
fn a_recording_of_a_replay_is_the_recording() {
    let file = write(&inputs(), false);
    let (_, inputs, _) = read(&file).expect("a recording");
    assert_eq!(String::from_utf8(write(&inputs, false)), String::from_utf8(file));
}

#[test]
fn times_are_counted_from_the_start() {
    let file = String::from_utf8(write(&inputs(), false)).expect("JSON is text");
    let process = file.lines().nth(1).expect("a line");
    assert!(process.starts_with(r#"{"t":-1000000,"#), "{process}");
    assert!(process.contains(r#""started":-999997"#), "{process}");
}

#[test]
fn the_shape_stays() {
    let file = String::from_utf8(write(&inputs()[10..], false)).expect("JSON is text");
    insta::assert_snapshot!(file);
}

#[test]
fn a_bad_line_is_an_input_that_could_not_be_read() {
    let mut file = String::from_utf8(write(&inputs(), false)).expect("JSON is text");
    file = file.replacen("\"tick\"", "\"tock\"", 1);
    let (_, inputs_read, damage) = read(file.as_bytes()).expect("a recording");
    assert_eq!(inputs_read.len(), inputs().len());
    let unreadable: Vec<&Stamped> = inputs_read.iter().filter(|i| matches!(i.input, Input::Malformed(_))).collect();
    assert_eq!(unreadable.len(), 2, "the recorded one and the line: {unreadable:?}");
    assert_eq!(damage.unreadable, 1);
    assert!(damage.sentences()[0].contains("line 14 can't be read: unknown variant `tock`"), "{damage:?}");
}

#[test]
fn a_file_cut_anywhere_gives_what_is_there() {
    for compressed in [false, true] {
        let file = write(&inputs(), compressed);
        for end in 0..file.len() {
            match read(&file[..end]) {
                Ok((_, inputs_read, damage)) => {
                    assert!(damage.no_end, "cut at {end}");
                    assert!(!damage.sentences().is_empty());
                    assert_eq!(inputs_read, inputs()[..inputs_read.len()], "cut at {end}");
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn a_newer_format_is_refused_with_what_to_get() {
    let file = r#"{"format":2,"netdx":"9.1.0","anything":1}"#;
    let error = read(file.as_bytes()).expect_err("newer");
    assert_eq!(error.to_string(), "the recording has format 2, this netdx reads up to 1: use netdx 9.1.0 or newer");
}

#[test]
fn a_line_without_end_is_skipped() {
    let mut file = write(&[], false);
    let end = file.split_off(file.iter().position(|b| *b == b'\n').expect("a header") + 1);
    file.resize(file.len() + reader::MAX_LINE + 5, b'x');
    file.push(b'\n');
    file.extend(end);
    let (_, inputs_read, damage) = read(&file).expect("a recording");
    assert_eq!((inputs_read.len(), damage.unreadable, damage.no_end), (1, 1, false));
}

#[test]
fn what_never_ends_is_no_recording() {
    let error = Reader::new(std::io::repeat(b'x')).map(drop).expect_err("it has no first line");
    assert!(error.to_string().contains("no header"), "{error}");
}

#[test]
fn why_a_line_cannot_be_read_steers_no_terminal() {
    // serde names what it does not know as it stands there.
    let mut file = write(&[], false);
    file.truncate(file.iter().position(|b| *b == b'\n').expect("a header") + 1);
    file.extend("{\"t\":1,\"input\":{\"\\u001b[2J\u{7f}\u{202e}\":1}}\n".bytes());
    let (_, inputs, damage) = read(&file).expect("the header is good");
    let sentence = damage.sentences().join(" ");
    assert!(sentence.contains("\\x1b[2J\\x7f\\u{202e}"), "{sentence}");
    assert!(matches!(&inputs[0].input, Input::Malformed(why) if why.contains("\\x1b[2J")), "{inputs:?}");
    let newer = read(b"{\"format\":9,\"netdx\":\"\\u001b[2J\"}\n").expect_err("a newer one").to_string();
    assert!(newer.contains("\\x1b[2J"), "{newer}");
}

#[test]
fn deep_nesting_is_no_stack_overflow() {
    let mut file = write(&[], false);
    file.extend("[".repeat(1_000_000).bytes());
    assert!(read(&file).is_ok());
    assert!(matches!(read("[".repeat(1_000_000).as_bytes()), Err(reader::Error::NoHeader(_))));
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(read(&bytes).is_err(), "random bytes have no header");
        let mut file = write(&[], false);
        file.truncate(file.iter().position(|b| *b == b'\n').expect("a header") + 1);
        file.extend(&bytes);
        let (_, inputs, damage) = read(&file).expect("the header is good");
        prop_assert!(inputs.iter().all(|i| matches!(i.input, Input::Malformed(_))));
        prop_assert_eq!(inputs.len() as u64, damage.unreadable);
    }

    #[test]
    fn changed_bytes_do_no_harm(at in 0usize..4096, to in any::<u8>(), compressed in any::<bool>()) {
        let mut file = write(&inputs(), compressed);
        let at = at % file.len();
        file[at] = to;
        if let Ok((_, inputs, damage)) = read(&file) {
            let unreadable = inputs.iter().filter(|i| matches!(&i.input, Input::Malformed(m) if m != "short")).count();
            prop_assert!(unreadable as u64 >= damage.unreadable);
        }
    }
}
