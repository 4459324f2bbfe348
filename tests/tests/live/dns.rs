//! The name did not become an address.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use netdx_tests::lab::Lab;
use netdx_tests::names::{RESOLVER, also, asked, client, lab, python, verdict};
use netdx_tests::servers::{self, Zone, listen};
use netdx_tests::tracer::{Expected, Tracer, check};
use serde_json::Value;
use std::time::Duration;

/// `getent ahosts NAME` in the client's namespace, which fails, and the report of its lookup.
fn lookup_report(lab: &Lab, trace: &Tracer, name: &str) -> Value {
    assert!(!client(lab, &format!("getent ahosts {name}")), "{name} was found");
    verdict(trace, "getent")
}

fn failed_lookup(resolver: &str, zone: Option<Zone>, name: &str, code: &str) -> Value {
    let lab = lab(resolver);
    if let Some(zone) = zone {
        servers::dns(&lab.server, "10.1.2.2", zone);
    }
    let trace = Tracer::start(&lab);
    let report = lookup_report(&lab, &trace, name);
    check(&report, &Expected { code, outcome: "failed", names: &[name], ..Expected::default() });
    assert_eq!(report["query"]["name"], name, "{report:#}");
    trace.only(&[code]);
    report
}

#[test]
fn the_name_does_not_exist() {
    let report = failed_lookup(RESOLVER, Some(Zone::default()), "nx.test", "dns.nxdomain");
    assert_eq!(report["query"]["rcode"], "NXDOMAIN");
    assert_eq!(report["query"]["server"], "10.1.2.2");
}

/// As Docker's resolver is: a query is for another port by the time it leaves.
#[test]
fn the_server_is_behind_another_port() {
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", Zone::default());
    let chain = |hook: &str, rule: &str| {
        format!("table ip other {{\n chain c {{\n type nat hook {hook} priority -100;\n {rule}\n }}\n}}")
    };
    lab.client.nft(&chain("output", "udp dport 53 dnat to 10.1.2.2:5353"));
    lab.server.nft(&chain("prerouting", "udp dport 5353 redirect to :53"));
    let trace = Tracer::start(&lab);
    let report = lookup_report(&lab, &trace, "nx.test");
    check(&report, &Expected { code: "dns.nxdomain", outcome: "failed", names: &["nx.test"], ..Expected::default() });
    assert_eq!(report["query"]["server"], "10.1.2.2");
    trace.only(&["dns.nxdomain"]);
}

#[test]
fn the_server_fails() {
    let zone = Zone { otherwise: Some(ResponseCode::ServFail), ..Zone::default() };
    failed_lookup(RESOLVER, Some(zone), "sf.test", "dns.servfail");
}

#[test]
fn the_server_refuses() {
    let zone = Zone { otherwise: Some(ResponseCode::Refused), ..Zone::default() };
    failed_lookup(RESOLVER, Some(zone), "ref.test", "dns.refused");
}

#[test]
fn the_server_does_not_implement_it() {
    let zone = Zone { otherwise: Some(ResponseCode::NotImp), ..Zone::default() };
    failed_lookup(RESOLVER, Some(zone), "odd.test", "dns.error");
}

#[test]
fn the_name_has_no_address() {
    let text = hickory_proto::rr::rdata::TXT::new(vec!["no address".into()]);
    let zone = Zone::default().with("nd.test", 60, hickory_proto::rr::RData::TXT(text));
    failed_lookup(RESOLVER, Some(zone), "nd.test", "dns.nodata");
}

#[test]
fn the_server_is_silent() {
    let zone = Zone { dead: true, ..Zone::default() };
    failed_lookup(RESOLVER, Some(zone), "drop.test", "dns.timeout");
}

#[test]
fn nothing_has_the_servers_port() {
    failed_lookup(RESOLVER, None, "ok.test", "dns.server-unreachable");
}

/// getaddrinfo gives no answer before it has all.
#[test]
fn the_program_gives_up_waiting_for_the_second_answer() {
    let lab = lab("nameserver 10.1.2.2\n");
    let zone = Zone { mute: Some(RecordType::AAAA), ..Zone::default() };
    servers::dns(&lab.server, "10.1.2.2", zone.address("half.test", "10.1.2.2"));
    let trace = Tracer::start(&lab);
    assert!(!client(&lab, "timeout 3 getent ahosts half.test"));
    let report = verdict(&trace, "getent");
    let names = &["half.test", "to 1 query within", "when the process ended"];
    check(&report, &Expected { code: "dns.timeout", outcome: "failed", names, ..Expected::default() });
    trace.only(&["dns.timeout"]);
}

#[test]
fn the_connection_bears_the_name_that_was_looked_up() {
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", Zone::default().address("db.test", "10.1.2.2"));
    let trace = Tracer::start(&lab);
    python(&lab, "import socket\ntry: socket.create_connection(('db.test', 81))\nexcept OSError: pass");
    let report = trace.wait_for(Duration::from_secs(10), |report| {
        report["kind"] == "connection" && report["remote"]["port"] == 81 && !report["verdict"].is_null()
    });
    assert_eq!(report["name"], "db.test", "{report:#}");
    assert_eq!(report["verdict"]["code"], "refused.no-listener", "{report:#}");
    trace.only(&["refused.no-listener"]);
}

#[test]
fn a_name_that_resolves_is_no_failure() {
    let lab = lab(RESOLVER);
    servers::dns(
        &lab.server,
        "10.1.2.2",
        Zone::default().address("ok.test", "10.1.2.2").address("ok.test", "fd01:2::2"),
    );
    let _listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let resolved = lab.client.command("getent").args(["ahosts", "ok.test"]).output().expect("getent runs");
    assert!(resolved.status.success());
    trace.only(&[]);
}

#[test]
fn the_answer_is_cut_and_tcp_works() {
    let zone = Zone { truncate: true, ..Zone::default() }.address("big.test", "10.1.2.2");
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", zone);
    let trace = Tracer::start(&lab);
    assert!(client(&lab, "getent ahosts big.test"));
    let report = trace.wait_for(Duration::from_secs(10), |r| r["kind"] == "lookup" && r["process"]["comm"] == "getent");
    assert_eq!(report["outcome"], "answered", "{report:#}");
    let protocols: Vec<&Value> =
        report["attempts"].as_array().expect("attempts").iter().map(|a| &a["protocol"]).collect();
    assert_eq!(protocols, ["udp", "udp", "tcp", "tcp"], "A and AAAA by UDP, then by TCP: {report:#}");
    trace.only(&[]);
}

#[test]
fn the_answer_is_cut_and_tcp_fails() {
    let zone = Zone { truncate: true, no_tcp: true, ..Zone::default() };
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", zone);
    lab.server.guard("input", "tcp dport 53 reject with tcp reset");
    let trace = Tracer::start(&lab);
    let report = lookup_report(&lab, &trace, "tc.test");
    let names = &["tc.test", "firewall.rejected"];
    check(&report, &Expected { code: "dns.truncated", outcome: "failed", names, ..Expected::default() });
    assert_eq!(report["errno"], "EAI_AGAIN");
    trace.only(&["dns.truncated"]);
}

#[test]
fn no_source_knows_the_name_and_no_packet_leaves() {
    let mut lab = Lab::new();
    lab.client = lab.client.with_file("/etc/nsswitch.conf", "hosts: files\n");
    let trace = Tracer::start(&lab);
    let report = lookup_report(&lab, &trace, "nowhere.test");
    check(&report, &Expected { code: "dns.lookup-failed", outcome: "failed", ..Expected::default() });
    trace.only(&["dns.lookup-failed"]);
}

#[test]
fn no_server_is_configured() {
    let lab = lab("# nothing here\n");
    let trace = Tracer::start(&lab);
    // The lookup's own process has ended when somebody asks for its files; the shell sees the same ones.
    let script = "getent ahosts any.test; test $? -ne 0 && sleep 5";
    assert!(lab.client.command("sh").args(["-c", script]).status().expect("sh runs").success());
    let report = verdict(&trace, "getent");
    let names = &["any.test", "/etc/resolv.conf", "127.0.0.1"];
    check(&report, &Expected { code: "dns.no-server", outcome: "failed", names, ..Expected::default() });
    assert_eq!(report["errno"], "EAI_AGAIN");
    trace.only(&["dns.no-server"]);
}

/// A lookup in vain by `getent ahosts any.test` as this user, while the shell that started it is there to show its files. `before`:
/// what the shell does first, in a mount namespace of its own.
fn unusable_configuration(before: &str, user: u32, names: &[&str]) -> Value {
    let lab = lab(RESOLVER);
    let trace = Tracer::start(&lab);
    let by = format!("setpriv --reuid {user} --regid {user} --clear-groups");
    let script = format!("{before}; {by} getent ahosts any.test; test $? -ne 0 && sleep 5");
    let shell = lab.client.command("unshare").args(["--mount", "sh", "-c", &script]).status();
    assert!(shell.expect("unshare runs").success());
    let report = verdict(&trace, "getent");
    check(&report, &Expected { code: "dns.no-server", outcome: "failed", names, ..Expected::default() });
    trace.only(&["dns.no-server"]);
    report
}

#[test]
fn the_process_may_not_read_resolv_conf() {
    let names = &["may not read /etc/resolv.conf (mode 600, owner uid 0), so that 127.0.0.1 was asked"];
    unusable_configuration("chmod 600 /etc/resolv.conf", 65534, names);
}

#[test]
fn resolv_conf_was_written_on_windows() {
    let names = &["the lines of /etc/resolv.conf end with a carriage return", "127.0.0.1"];
    unusable_configuration("printf 'nameserver 10.1.2.2\\r\\n' >/etc/resolv.conf", 0, names);
}

#[test]
fn resolv_conf_is_a_directory() {
    // As a container engine has it that mounts a file that is not there.
    let script = "mount -t tmpfs none /mnt; cp -a /etc/nsswitch.conf /etc/hosts /etc/passwd /mnt; mkdir /mnt/resolv.conf; \
                  umount /etc/resolv.conf; mount --bind /mnt /etc";
    let report = unusable_configuration(script, 0, &["/etc/resolv.conf is a directory"]);
    assert_eq!(report["errno"], "EAI_NONAME");
}

#[test]
fn there_is_no_address_of_the_family_asked_for() {
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", Zone::default().address("ok.test", "10.1.2.2"));
    lab.client.sysctl("net.ipv6.conf.all.disable_ipv6=1");
    lab.client.sysctl("net.ipv6.conf.lo.disable_ipv6=0");
    let trace = Tracer::start(&lab);
    // Of getaddrinfo's callers, getent sets AI_ADDRCONFIG.
    assert!(!client(&lab, "getent ahostsv6 ok.test"));
    let report = verdict(&trace, "getent");
    let names = &["ok.test", "IPv6 addresses, and no interface has one but ::1", "AI_ADDRCONFIG"];
    let certainty = Some("likely");
    check(&report, &Expected { code: "dns.lookup-failed", outcome: "failed", names, certainty, ..Expected::default() });
    trace.only(&["dns.lookup-failed"]);
}

#[test]
fn the_address_came_from_the_hosts_file() {
    let mut lab = lab(RESOLVER);
    lab.client = lab.client.with_file("/etc/hosts", "127.0.0.1 localhost\n10.1.2.3 db.test db # moved long ago\n");
    let trace = Tracer::start(&lab);
    python(&lab, "import socket, time\ntry: socket.create_connection(('db.test', 81))\nexcept OSError: time.sleep(5)");
    let report = trace.wait_for(Duration::from_secs(10), |r| r["kind"] == "connection" && !r["verdict"].is_null());
    let names = &["db.test (10.1.2.3:81)"];
    check(&report, &Expected { code: "refused.no-listener", outcome: "failed", names, ..Expected::default() });
    assert_eq!(also(&report), ["dns.hosts-override"], "{report:#}");
    let summary = report["also"][0]["summary"].as_str().expect("a summary");
    assert!(summary.contains("/etc/hosts:2"), "{summary}");
    trace.only(&["refused.no-listener"]);
}

/// Blocked names are given an address that stands for this host itself.
#[test]
fn the_name_was_made_to_lead_nowhere() {
    let mut lab = lab(RESOLVER);
    lab.client = lab.client.with_file("/etc/hosts", "127.0.0.1 localhost\n0.0.0.0 ads.test\n");
    servers::dns(&lab.server, "10.1.2.2", Zone::default().address("blocked.test", "0.0.0.0"));
    for (name, also_told) in [("ads.test", vec!["dns.hosts-override"]), ("blocked.test", vec![])] {
        let trace = Tracer::start(&lab);
        python(
            &lab,
            &format!(
                "import socket, time\ntry: socket.create_connection(('{name}', 81))\nexcept OSError: time.sleep(5)"
            ),
        );
        let report = trace.wait_for(Duration::from_secs(10), |r| r["kind"] == "connection" && !r["verdict"].is_null());
        let named = format!("{name} (127.0.0.1:81)");
        let names = &[named.as_str()];
        check(&report, &Expected { code: "refused.no-listener", outcome: "failed", names, ..Expected::default() });
        assert_eq!((report["name"].as_str(), also(&report)), (Some(name), also_told), "{report:#}");
        trace.only(&["refused.no-listener"]);
    }
}

const SEARCH: &str =
    "search a.example b.example c.example\nnameserver 10.1.2.2\noptions ndots:5 timeout:1 attempts:2\n";

#[test]
fn the_search_list_asks_in_vain() {
    let lab = lab(SEARCH);
    servers::dns(&lab.server, "10.1.2.2", Zone::default().address("ok.test", "10.1.2.2"));
    let trace = Tracer::start(&lab);
    let report = lookup_report(&lab, &trace, "nx.test");
    check(&report, &Expected { code: "dns.nxdomain", outcome: "failed", names: &["nx.test"], ..Expected::default() });
    assert_eq!(report["query"]["name"], "nx.test");
    assert_eq!(also(&report), ["dns.search-storm"], "{report:#}");
    let names = ["nx.test.a.example", "nx.test.b.example", "nx.test.c.example", "nx.test"];
    let expected: Vec<String> = names.iter().flat_map(|n| [format!("{n} A"), format!("{n} AAAA")]).collect();
    assert_eq!(asked(&report), expected, "one lookup");
    assert!(client(&lab, "getent ahosts ok.test"));
    let report = trace.wait_for(Duration::from_secs(10), |r| r["outcome"] == "answered");
    assert_eq!((report["name"].as_str(), also(&report)), (Some("ok.test"), vec!["dns.search-storm"]), "{report:#}");
    trace.only(&["dns.nxdomain"]);
}

#[test]
fn the_service_has_no_such_name() {
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", Zone::default().address("ok.test", "10.1.2.2"));
    let trace = Tracer::start(&lab);
    python(&lab, "import socket\ntry: socket.getaddrinfo('ok.test', 'no-such-service')\nexcept OSError: pass");
    let report = verdict(&trace, "python3");
    let names = &["no-such-service"];
    check(&report, &Expected { code: "dns.lookup-failed", outcome: "failed", names, ..Expected::default() });
    assert_eq!((&report["errno"], &report["query"]["service"]), (&"EAI_SERVICE".into(), &"no-such-service".into()));
    trace.only(&["dns.lookup-failed"]);
}

#[test]
fn a_port_is_asked_for_and_the_lookup_is_of_that_port() {
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", Zone::default());
    let trace = Tracer::with(&lab, &["--port", "5432"]);
    let script = "import socket\nfor port in ('5432', '80', None):\n try: socket.getaddrinfo(f'p{port}.test', port)\n \
                  except OSError: pass";
    python(&lab, script);
    let (reports, _) = trace.end();
    let mut names: Vec<&str> = reports.iter().filter_map(|r| r["query"]["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["p5432.test", "pNone.test"], "that of another port is not shown");
    let of_port = reports.iter().find(|r| r["name"] == "p5432.test").expect("it is there");
    assert_eq!(of_port["query"]["service"], "5432");
}
