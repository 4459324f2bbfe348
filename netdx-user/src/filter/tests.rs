//! Each part of a filter shows what it should and hides the rest.

use super::*;
use crate::render::samples::{connection, inbound, lookup};
use proptest::prelude::*;

fn ports(text: &str) -> Filter {
    Filter { ports: vec![text.parse().expect("ports")], ..Filter::default() }
}

fn host(text: &str) -> Filter {
    Filter { hosts: vec![text.parse().expect("a host")], ..Filter::default() }
}

#[test]
fn nothing_asked_is_everything_shown() {
    assert!([connection(), lookup(), inbound()].iter().all(|report| Filter::default().wants(report)));
}

#[test]
fn a_port_is_the_services() {
    assert!(ports("5432").wants(&connection()));
    assert!(ports("5000-6000").wants(&connection()));
    assert!(!ports("40000").wants(&connection()), "the local port of what this host opened");
    assert!(ports("80").wants(&inbound()));
    assert!(!ports("40000").wants(&inbound()));
}

#[test]
fn a_port_does_not_hide_a_failed_lookup_but_no_dns_does() {
    let mut filter = ports("5432");
    assert!(filter.wants(&lookup()));
    filter.lookups = Some(false);
    assert!(!filter.wants(&lookup()));
    assert!(filter.wants(&connection()));
    filter.lookups = Some(true);
    assert!(!filter.wants(&connection()));
}

#[test]
fn sockets() {
    let holders = [HolderView { pid: 812, comm: "postgres", cgroup: Some("/a/b"), unit: None, container: None }];
    let remote = Endpoint { addr: "10.0.0.5".parse().expect("an address"), port: 40000 };
    let socket = SocketView {
        direction: Direction::Inbound,
        local_port: 5432,
        remote,
        uid: Some(105),
        netns: 7,
        holders: &holders,
    };
    assert!(Filter::default().wants_socket(&socket));
    assert!(ports("5432").wants_socket(&socket) && !ports("40000").wants_socket(&socket));
    assert!(ports("40000").wants_socket(&SocketView { direction: Direction::Outbound, ..socket }));
    assert!(host("10.0.0.0/8").wants_socket(&socket) && !host("10.1.0.0/16").wants_socket(&socket));
    for (pid, comm, shown) in [(812, "postgres", true), (813, "postgres", false), (812, "psql", false)] {
        let filter = Filter { pids: vec![pid], comms: vec![comm.into()], ..Filter::default() };
        assert!(filter.asks_for_holders());
        assert_eq!(filter.wants_socket(&socket), shown, "{pid} {comm}");
    }
    let below = Filter { cgroups: vec!["/a".into()], uids: vec![105], netns: vec![7], ..Filter::default() };
    assert!(below.wants_socket(&socket) && !below.wants_socket(&SocketView { holders: &[], ..socket }));
}

#[test]
fn sides() {
    let outbound = Filter { directions: vec![Direction::Outbound], ..Filter::default() };
    assert!(outbound.wants(&connection()) && outbound.wants(&lookup()) && !outbound.wants(&inbound()));
    let inbound_only = Filter { directions: vec![Direction::Inbound], ..Filter::default() };
    assert!(!inbound_only.wants(&connection()) && inbound_only.wants(&inbound()));
}

#[test]
fn ports_that_are_none_are_told() {
    for bad in ["0", "65536", "http", "10-5", "-5", "5-", ""] {
        assert!(bad.parse::<Ports>().is_err(), "{bad}");
    }
    assert_eq!("8000-8010".parse(), Ok(Ports(8000..=8010)));
}

#[test]
fn hosts() {
    assert!(host("10.0.0.5").wants(&connection()));
    assert!(host("::ffff:10.0.0.5").wants(&connection()));
    assert!(host("10.0.0.0/8").wants(&connection()));
    assert!(host("0.0.0.0/0").wants(&connection()));
    assert!(!host("10.0.1.0/24").wants(&connection()));
    assert!(!host("::/0").wants(&connection()), "another family");
    assert!(host("DB.internal.").wants(&connection()));
    assert!(host("db.internal.corp.example").wants(&lookup()), "a name of the search list");
    assert!(!host("internal").wants(&connection()));
    for bad in ["10.0.0.0/33", "10.0.0/8", "", "a b", "10.0.0.5:80"] {
        assert!(bad.parse::<Host>().is_err(), "{bad}");
    }
}

#[test]
fn processes() {
    let wants = |filter: Filter| filter.wants(&connection());
    assert!(wants(Filter { pids: vec![1, 4121], ..Filter::default() }));
    assert!(!wants(Filter { pids: vec![1], ..Filter::default() }));
    assert!(wants(Filter { comms: vec!["psql".into()], ..Filter::default() }));
    assert!(!wants(Filter { comms: vec!["psq".into()], ..Filter::default() }));
    assert!(wants(Filter { uids: vec![1000], ..Filter::default() }));
    assert!(wants(Filter { cgroups: vec!["/user.slice".into()], ..Filter::default() }));
    assert!(!wants(Filter { cgroups: vec!["/user".into()], ..Filter::default() }));
    assert!(!wants(Filter { units: vec!["psql".into()], ..Filter::default() }));
    assert!(wants(Filter { netns: vec![4_026_531_840], ..Filter::default() }));
    let thread = || connection().process.map(|process| Process { comm: "isc-net-0000".into(), exe: None, ..process });
    for (argv, shown) in [("psql", true), ("/usr/bin/psql", true), ("psql2", false)] {
        let process = thread().map(|process| Process { argv: vec![argv.into()], ..process });
        let report = Report { process, ..connection() };
        assert_eq!(Filter { comms: vec!["psql".into()], ..Filter::default() }.wants(&report), shown, "{argv}");
    }
    let process = thread().map(|process| Process { name: Some("deploy.sh".into()), ..process });
    assert!(Filter { comms: vec!["deploy.sh".into()], ..Filter::default() }.wants(&Report { process, ..connection() }));
    let unknown = Report { process: None, ..connection() };
    assert!(!Filter { pids: vec![1], ..Filter::default() }.wants(&unknown));
}

#[test]
fn names_that_are_cut_or_short() {
    assert!(is_named("a-very-long-nam", [], "a-very-long-name"));
    assert!(is_named("python3", ["/usr/bin/python3.11"], "python3.11"));
    assert!(is_below("/a/b", "/a/") && is_below("/a", "/a") && !is_below("/ab", "/a") && is_below("/a", "/"));
    assert!(is_unit("nginx.service", "nginx") && is_unit("x.timer", "x.timer"));
    assert!(is_container("0123456789ab", "0123") && !is_container("0123456789ab", "012"));
}

#[test]
fn codes() {
    let known = ["refused.bound-elsewhere", "dns.nxdomain", "dns.search-storm", "unexplained"];
    let holds = |text: &str, report: &Report| Code::parse(text, &known).expect("a code").holds(report);
    assert!(holds("refused", &connection()) && holds("refused.bound-elsewhere", &connection()));
    assert!(!holds("dns", &connection()) && !holds("unexplained", &connection()));
    assert!(holds("dns.search-storm", &lookup()), "beside the verdict");
    assert!(Code::Any.holds(&connection()));
    assert!(!Code::Any.holds(&Report { verdict: None, ..connection() }));
    let error = Code::parse("nxdomian", &known).expect_err("no such code");
    assert!(error.contains("Did you mean dns.nxdomain?"), "{error}");
    let error = Code::parse("zzz", &known).expect_err("no such code");
    assert!(!error.contains("Did you mean"), "{error}");
}

proptest! {
    #[test]
    fn any_text_gives_a_word_or_a_meaning(text in any::<String>()) {
        _ = text.parse::<Ports>();
        _ = text.parse::<Host>();
        _ = Code::parse(&text, &["dns.nxdomain"]);
        prop_assert!(is_named(&text, [], &text));
    }
}

#[test]
fn what_nobody_is_in_is_told() {
    let filter = Filter {
        cgroups: vec!["/a".into(), "/b".into()],
        units: vec!["nginx".into(), "gone".into()],
        containers: vec!["deadbeef".into(), "cafe1234".into()],
        ..Filter::default()
    };
    let holder = |cgroup, unit, container| HolderView { pid: 1, comm: "x", cgroup, unit, container };
    let processes =
        [holder(Some("/a/below"), Some("nginx.service"), None), holder(Some("/bc"), None, Some("cafe1234cafe"))];
    assert_eq!(filter.absent(&processes), ["--cgroup /b", "--unit gone", "--container deadbeef"]);
}
