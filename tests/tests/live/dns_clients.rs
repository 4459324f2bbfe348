//! Every kind of program that looks names up: the same lookup, told once, and the connection that follows bears the name.

use netdx_tests::lab::Lab;
use netdx_tests::names::{PATIENCE, RESOLVER, asked, client, lab, musl_client, python, verdict};
use netdx_tests::patience::patience;
use netdx_tests::servers::{self, Zone};
use netdx_tests::tracer::{Expected, Tracer, check};
use serde_json::Value;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

/// A lab with a server that knows `db.test`, where nothing listens on port 81.
fn served() -> Lab {
    let lab = lab(RESOLVER);
    servers::dns(&lab.server, "10.1.2.2", Zone::default().address("db.test", "10.1.2.2"));
    lab
}

/// The one report there is: that the name does not exist.
fn does_not_exist(trace: Tracer, comm: &str, name: &str) -> Value {
    let report = verdict(&trace, comm);
    check(&report, &Expected { code: "dns.nxdomain", outcome: "failed", names: &[name], ..Expected::default() });
    assert_eq!((&report["query"]["name"], &report["query"]["server"]), (&name.into(), &"10.1.2.2".into()));
    let (reports, _) = trace.end();
    assert_eq!(reports.len(), 1, "{reports:#?}");
    report
}

/// The report of a connection to port 81 that was refused, with the name that was looked up.
fn is_named(trace: Tracer, comm: &str) {
    let report =
        trace.wait_for(PATIENCE, |r| r["kind"] == "connection" && r["remote"]["port"] == 81 && !r["verdict"].is_null());
    let names = &["db.test (10.1.2.2:81)"];
    check(&report, &Expected { code: "refused.no-listener", outcome: "failed", names, ..Expected::default() });
    assert_eq!((&report["name"], &report["process"]["comm"]), (&"db.test".into(), &comm.into()));
    trace.only(&["refused.no-listener"]);
}

#[test]
fn dig() {
    let lab = served();
    let trace = Tracer::with(&lab, &["--all", "--comm", "dig"]);
    assert!(client(&lab, "dig nx.test MX"));
    let report = does_not_exist(trace, "isc-net-0000", "nx.test");
    assert_eq!(report["query"]["type"], "MX");
    assert_eq!(report["process"]["name"], "dig", "its thread's name is not its own");
    assert_eq!(report["process"]["argv"][0], "dig");
}

#[test]
fn host() {
    let lab = served();
    let trace = Tracer::start(&lab);
    assert!(!client(&lab, "host nx.test"));
    does_not_exist(trace, "isc-net-0000", "nx.test");
}

#[test]
fn a_raw_query_from_a_socket_that_is_not_connected() {
    let lab = served();
    let trace = Tracer::start(&lab);
    python(
        &lab,
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         q = b'\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\2nx\\4test\\0\\0\\1\\0\\1'\n\
         s.sendto(q, ('10.1.2.2', 53))\ns.recvfrom(999)",
    );
    does_not_exist(trace, "python3", "nx.test");
}

/// As Go's own resolver: a thread and a connected socket for each type, then a connection.
const LIKE_GO: &str = "import socket, struct, sys, threading
def ask(name, kind, found):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(3)
    s.connect(('10.1.2.2', 53))
    q = struct.pack('>6H', 0x1000 + kind, 0x100, 1, 0, 0, 0)
    q += b''.join(bytes([len(l)]) + l.encode() for l in name.split('.')) + struct.pack('>BHH', 0, kind, 1)
    s.send(q)
    a = s.recv(999)
    if a[7]:
        found.append((kind, a[-4:]))
found = []
threads = [threading.Thread(target=ask, args=(sys.argv[1], kind, found)) for kind in (1, 28)]
[t.start() for t in threads]
[t.join() for t in threads]
for kind, address in found:
    if kind == 1:
        socket.socket().connect_ex((socket.inet_ntoa(address), 81))
";

fn like_go(lab: &Lab, name: &str) {
    let status = lab.client.command("/usr/bin/python3").args(["-c", LIKE_GO, name]).status().expect("python3 runs");
    assert!(status.success());
}

#[test]
fn a_resolver_of_its_own_with_a_thread_for_each_type() {
    let lab = served();
    let trace = Tracer::start(&lab);
    like_go(&lab, "nx.test");
    let report = does_not_exist(trace, "python3", "nx.test");
    assert_eq!(report["query"]["type"], "A+AAAA");
    // Which thread asks first is the scheduler's choice.
    let mut asked = asked(&report);
    asked.sort();
    assert_eq!(asked, ["nx.test A", "nx.test AAAA"]);
}

#[test]
fn a_resolver_of_its_own_names_the_connection() {
    let lab = served();
    let trace = Tracer::start(&lab);
    like_go(&lab, "db.test");
    is_named(trace, "python3");
}

/// A musl program fails to look a name up, and one names its connection.
fn by_musl(is_static: bool, comm: &str) {
    let lab = served();
    let program = musl_client(is_static);
    let run = |arguments: &[&str]| {
        lab.client.command(&program).args(arguments).status().expect("it runs").code().expect("it ends by itself")
    };
    let trace = Tracer::start(&lab);
    assert_eq!(run(&["nx.test", "81"]), 1);
    let report = does_not_exist(trace, comm, "nx.test");
    let said = if is_static { (Value::Null, Value::Null) } else { ("EAI_NONAME".into(), "81".into()) };
    assert_eq!((report["errno"].clone(), report["query"]["service"].clone()), said, "{report:#}");
    let trace = Tracer::start(&lab);
    assert_eq!(run(&["db.test", "81"]), 2);
    is_named(trace, comm);
}

#[test]
fn musl_linked_statically() {
    by_musl(true, "look-up-static");
}

#[test]
fn musl_as_a_shared_library() {
    assert!(Path::new("/lib/ld-musl-x86_64.so.1").exists(), "the package musl is not installed");
    by_musl(false, "look-up-musl");
}

/// Nobody answers for IPv6 addresses: musl gives up, others make do with the IPv4 one.
#[test]
fn musl_linked_statically_gets_one_answer_of_two() {
    // Its resolv.conf is read while it waits.
    let lab = lab("nameserver 10.1.2.2\noptions timeout:3 attempts:2\n");
    servers::raw_dns(&lab.server, "10.1.2.2", None, |query| {
        const AAAA: [u8; 4] = [0, 28, 0, 1];
        if query.ends_with(&AAAA) {
            return Vec::new();
        }
        // The answer is the question and one record, whose name is the one at offset 12 (RFC 1035, 4.1.4).
        let header = [&query[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 2];
        vec![[&header, &query[12..], &record].concat()]
    });
    let program = musl_client(true);
    let trace = Tracer::start(&lab);
    assert_eq!(lab.client.command(&program).arg("db.test").status().expect("it runs").code(), Some(1));
    let report = verdict(&trace, "look-up-static");
    let names = &["db.test", "10.1.2.2", "musl"];
    check(
        &report,
        &Expected { code: "dns.timeout", outcome: "failed", names, certainty: Some("likely"), ..Expected::default() },
    );
    trace.only(&["dns.timeout"]);
}

#[test]
fn musl_asks_a_server_that_is_not_there() {
    let lab = lab(RESOLVER);
    let program = musl_client(true);
    let trace = Tracer::start(&lab);
    assert!(!lab.client.command(&program).arg("any.test").status().expect("it runs").success());
    let report = verdict(&trace, "look-up-static");
    let names = &["any.test", "10.1.2.2", "(refused."];
    check(&report, &Expected { code: "dns.server-unreachable", outcome: "failed", names, ..Expected::default() });
    trace.only(&["dns.server-unreachable"]);
}

/// A container: files of its own, and a C library of its own.
#[test]
fn a_container_with_a_c_library_of_its_own() {
    let mut lab = served();
    let libc = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"];
    let libc = libc.into_iter().find(|path| Path::new(path).exists()).expect("a C library");
    lab.client = lab.client.with_copy_of(libc).with_file("/etc/nsswitch.conf", "hosts: files\n");
    // Its first process runs before netdx does, as a container's.
    let mut shell = lab.client.command("sh").stdin(Stdio::piped()).spawn().expect("sh runs");
    let trace = Tracer::start(&lab);
    // Libraries of running processes are looked for beside the rest.
    std::thread::sleep(patience(std::time::Duration::from_secs(1)));
    let mut stdin = shell.stdin.take().expect("a pipe");
    stdin.write_all(b"getent ahosts nowhere.test\nsleep 1\nexit 0\n").expect("sh reads");
    drop(stdin);
    assert!(shell.wait().expect("sh ends").success());
    let report = verdict(&trace, "getent");
    let names = &["nowhere.test", "EAI_NONAME", "sources: files"];
    check(&report, &Expected { code: "dns.lookup-failed", outcome: "failed", names, ..Expected::default() });
    trace.only(&["dns.lookup-failed"]);
}
