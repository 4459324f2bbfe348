//! Reports for the renderers' tests: one of each shape, and one made of hostile strings.

use super::Summary;
use crate::{
    coverage::{Coverage, Probe},
    event::Protocol,
    recording::{Counts, FORMAT, Header, Settings, Start},
    report::*,
    time::Time,
};
use std::net::IpAddr;

/// Escape sequences, direction overrides, line ends: what a process may call itself.
pub(super) const HOSTILE: &str = "\u{1b}]0;x\u{7}\u{9b}2J\nroot# \u{202e}moc";

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn header() -> Header {
    let probe = |name: &str, hook: Option<&str>, reason: Option<&str>, gives: &str| Probe {
        name: name.into(),
        hook: hook.map(Into::into),
        reason: reason.map(Into::into),
        gives: gives.into(),
    };
    Header {
        format: FORMAT,
        netdx: "0.1.0".into(),
        kernel: "6.18.44".into(),
        start: Start { boot_ns: 5_000_000_000, utc: "2026-01-02T10:32:01Z".parse().expect("a time") },
        coverage: Coverage {
            probes: vec![
                probe("tcp-state", Some("tp_btf/inet_sock_set_state"), None, "how a connection went"),
                probe("getaddrinfo", None, Some("no libc found"), "lookups that fail without a packet are not seen"),
            ],
        },
        filters: vec!["--port 5432".into()],
        redacted: false,
        settings: Settings::default(),
    }
}

pub(super) fn summary() -> Summary {
    Summary {
        reports: 7,
        failures: 5,
        by_code: [("dns.nxdomain", 2), ("refused.bound-elsewhere", 3)].into(),
        filtered: 1,
        inputs: Counts { inputs: 90, lost: 1, malformed: 2 },
        given_up: 0,
        ended: Some(Time(17_500_000_000)),
        notes: vec!["the recording has no end: the run that wrote it was killed, or the file was cut".into()],
    }
}

fn process(comm: &str) -> Process {
    Process {
        pid: 4121,
        tid: 4121,
        comm: comm.into(),
        name: None,
        exe: Some("/usr/bin/psql".into()),
        argv: vec!["psql".into(), "-h".into(), "db.internal".into()],
        uid: 1000,
        cgroup: Some("/user.slice".into()),
        unit: None,
        container: None,
        netns: Some(4_026_531_840),
        acted: true,
    }
}

pub(crate) fn connection() -> Report {
    Report {
        schema: SCHEMA,
        kind: Kind::Connection,
        id: 7,
        began: Time(5_234_567_890),
        duration_ns: Some(310_000),
        process: Some(process("psql")),
        netns: Some(4_026_531_840),
        protocol: Protocol::Tcp,
        call: None,
        direction: Direction::Outbound,
        local: Some(Endpoint { addr: address("10.0.0.5"), port: 40000 }),
        remote: Some(Endpoint { addr: address("10.0.0.5"), port: 5432 }),
        reached: None,
        name: Some("db.internal".into()),
        outcome: Outcome::Failed,
        errno: Some("ECONNREFUSED".into()),
        verdict: Some(Verdict {
            code: "refused.bound-elsewhere",
            certainty: Certainty::Proven,
            because: "10.0.0.5 is this host, but nothing listens on 10.0.0.5:5432: postgres[812] listens on \
                      127.0.0.1:5432 only"
                .into(),
            summary: "10.0.0.5 is this host, but nothing listens on 10.0.0.5:5432: postgres[812] listens on \
                      127.0.0.1:5432 only"
                .into(),
            evidence: vec![
                Evidence { t_ns: Some(80_000), what: "syn-sent", text: "SYN left on lo".into() },
                Evidence {
                    t_ns: Some(110_000),
                    what: "reset-received",
                    text: "RST came back, sent by this host (no socket)".into(),
                },
                Evidence { t_ns: None, what: "listeners", text: "listens: 127.0.0.1:5432 postgres[812]".into() },
            ],
            advice: vec!["have postgres listen on 10.0.0.5 (or 0.0.0.0), or connect to 127.0.0.1".into()],
        }),
        also: vec![],
        route: Some(Route {
            kind: Some("local".into()),
            table: Some("local".into()),
            dev: Some("lo".into()),
            gateway: None,
            source: Some(address("10.0.0.5")),
            text: "local 10.0.0.5 dev lo table local".into(),
        }),
        listeners: vec![Listener {
            addr: address("127.0.0.1"),
            port: 5432,
            pid: Some(812),
            comm: Some("postgres".into()),
            netns: 4_026_531_840,
        }],
        query: None,
        attempts: None,
        timeline: vec![Moment { t_ns: 0, event: "connect", text: "connect to 10.0.0.5:5432".into() }],
    }
}

pub(crate) fn lookup() -> Report {
    let attempt = |t_ns, name: &str, kind: &str, rcode: Option<&str>| LookupAttempt {
        t_ns,
        name: name.into(),
        kind: kind.into(),
        server: address("10.0.0.53"),
        rcode: rcode.map(Into::into),
        elapsed_ns: rcode.map(|_| 1_200_000),
        protocol: Protocol::Udp,
        flaw: None,
        addresses: vec![],
    };
    Report {
        kind: Kind::Lookup,
        id: 8,
        duration_ns: Some(5_012_000_000),
        netns: Some(4_026_531_840),
        protocol: Protocol::Udp,
        remote: Some(Endpoint { addr: address("10.0.0.53"), port: 53 }),
        reached: None,
        name: None,
        errno: Some("EAI_NONAME".into()),
        verdict: Some(Verdict {
            code: "dns.nxdomain",
            certainty: Certainty::Likely,
            because: "10.0.0.53 says that db.internal does not exist".into(),
            summary: "10.0.0.53 says that db.internal does not exist".into(),
            evidence: vec![Evidence {
                t_ns: Some(1_200_000),
                what: "dns-answer",
                text: "NXDOMAIN from 10.0.0.53".into(),
            }],
            advice: vec!["check the spelling".into(), "ask the server's owner".into()],
        }),
        also: vec![Also {
            code: "dns.search-storm",
            certainty: Certainty::Proven,
            summary: "the search list made 1 useless query before the real one".into(),
        }],
        route: None,
        listeners: vec![],
        query: Some(Query {
            name: "db.internal".into(),
            kind: "A".into(),
            server: Some(address("10.0.0.53")),
            rcode: Some("NXDOMAIN".into()),
            service: None,
        }),
        attempts: Some(vec![
            attempt(0, "db.internal.corp.example", "A", Some("NXDOMAIN")),
            attempt(20_000, "db.internal.corp.example", "AAAA", None),
            attempt(1_300_000, "db.internal", "A", Some("NXDOMAIN")),
        ]),
        timeline: vec![],
        ..connection()
    }
}

pub(crate) fn inbound() -> Report {
    Report {
        id: 10,
        direction: Direction::Inbound,
        local: Some(Endpoint { addr: address("10.0.0.5"), port: 80 }),
        remote: Some(Endpoint { addr: address("fd01::9"), port: 40000 }),
        process: Some(Process { container: Some("web".into()), ..process("nginx") }),
        name: None,
        ..connection()
    }
}

/// One of each shape.
pub(super) fn all() -> Vec<Report> {
    let long = Report {
        id: 9,
        name: Some(format!("{}.example", "a-very-long-label".repeat(5))),
        remote: Some(Endpoint { addr: address("2001:db8:1111:2222:3333:4444:5555:6666"), port: 443 }),
        outcome: Outcome::Abandoned,
        duration_ns: Some(125_000_000_000),
        errno: None,
        ..connection()
    };
    let bare = Report {
        id: 11,
        process: None,
        netns: Some(4_026_531_840),
        protocol: Protocol::Udp,
        local: None,
        remote: None,
        name: None,
        outcome: Outcome::Established,
        errno: None,
        verdict: None,
        route: None,
        listeners: vec![],
        timeline: vec![],
        ..connection()
    };
    vec![connection(), lookup(), long, inbound(), bare]
}

/// Everything that comes from outside is [`HOSTILE`].
pub(super) fn hostile() -> Report {
    let bad = || HOSTILE.to_owned();
    let verdict = Verdict {
        code: "unexplained",
        certainty: Certainty::Possible,
        because: bad(),
        summary: bad(),
        evidence: vec![Evidence { t_ns: None, what: "drop", text: bad() }],
        advice: vec![bad()],
    };
    let lookup = lookup();
    let attempts = lookup.attempts.map(|all| {
        all.into_iter().map(|a| LookupAttempt { name: bad(), kind: bad(), rcode: Some(bad()), ..a }).collect()
    });
    Report {
        process: Some(Process {
            name: Some(bad()),
            exe: Some(bad()),
            argv: vec![bad()],
            cgroup: Some(bad()),
            unit: Some(bad()),
            container: Some(bad()),
            ..process(HOSTILE)
        }),
        name: Some(bad()),
        errno: Some(bad()),
        verdict: Some(verdict),
        also: vec![Also { code: "dns.nxdomain", certainty: Certainty::Proven, summary: format!("also {}", bad()) }],
        route: Some(Route {
            kind: None,
            table: Some(bad()),
            dev: Some(bad()),
            gateway: None,
            source: None,
            text: bad(),
        }),
        attempts,
        timeline: vec![Moment { t_ns: 0, event: "connect", text: bad() }],
        ..connection()
    }
}
