//! It worked, then it did not.

use crate::needs::{less_sure_without_reasons, other_without_reasons, weaker_because};
use netdx_tests::lab::{Attempt, Client, Lab};
use netdx_tests::remote::{self, Answer};
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer, check};
use rustix::net::{connect_unspec, sockopt};
use serde_json::Value;
use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

const BROKEN: Expected<'static> =
    Expected { code: "", outcome: "broken", errno: None, remote: Some("10.1.2.2:80"), names: &[], certainty: None };

/// The client sends ten bytes, and is told that the connection is reset: by what the server's program does, or, once it has done
/// that, by closing its end.
fn reset_by_peer(flags: &str, names: &[&str], does: fn(&mut TcpStream)) {
    let lab = Lab::new();
    let listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let mut client = lab.start(&format!("blocking 10.1.2.2:80 --send 10 {flags} --receive"));
    let (mut stream, _) = listener.accept().expect("accept");
    does(&mut stream);
    drop(stream);
    let attempt = client.attempt();
    assert_eq!(attempt.errno, libc::ECONNRESET);
    let code = "broken.reset-by-peer";
    trace.explains(&attempt, &Expected { code, errno: Some("ECONNRESET"), names, ..BROKEN });
    trace.only(&[code, "broken.reset-by-us"]);
}

/// Linger zero: close sends a reset instead of a FIN.
fn linger_0(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("SO_LINGER");
}

#[test]
fn the_peer_resets() {
    reset_by_peer("", &[], |stream| {
        stream.read_exact(&mut [0; 10]).expect("what the client sends");
        linger_0(stream);
    });
}

#[test]
fn the_peer_resets_who_sends_no_more() {
    reset_by_peer("--half", &[], |stream| {
        stream.read_to_end(&mut Vec::new()).expect("what the client sends");
        linger_0(stream);
    });
}

/// What a rule dropped for a while arrived later: it did not break the connection.
#[test]
fn the_peer_resets_after_a_rule_has_gone() {
    let lab = Lab::new();
    let listener = listen(&lab.server, "10.1.2.2:80");
    lab.router.guard("forward", "accept");
    lab.router.nft("flush chain inet lab guard");
    let trace = Tracer::start(&lab);
    let mut client = lab.start("blocking 10.1.2.2:80 --pause 1000 --send 10 --receive");
    let (mut stream, _) = listener.accept().expect("accept");
    lab.router.nft("add rule inet lab guard tcp dport 80 drop");
    std::thread::sleep(Duration::from_millis(2000));
    lab.router.nft("flush chain inet lab guard");
    stream.read_exact(&mut [0; 10]).expect("what the client sends");
    std::thread::sleep(Duration::from_millis(200));
    linger_0(&stream);
    drop(stream);
    let attempt = client.attempt();
    assert_eq!(attempt.errno, libc::ECONNRESET);
    let code = "broken.reset-by-peer";
    let report = trace.explains(&attempt, &Expected { code, errno: Some("ECONNRESET"), ..BROKEN });
    assert_eq!(report["also"], serde_json::json!([]), "{report:#}");
    trace.only(&[code]);
}

#[test]
fn the_peer_disconnects() {
    reset_by_peer("", &["its program disconnected it (connect with AF_UNSPEC)"], |stream| {
        stream.read_exact(&mut [0; 10]).expect("what the client sends");
        connect_unspec(stream).expect("connect with AF_UNSPEC");
    });
}

#[test]
fn the_application_ends_without_reading() {
    let lab = Lab::new();
    let listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let mut client = lab.start("blocking 10.1.2.2:80 --hold 300");
    let (mut stream, _) = listener.accept().expect("accept");
    std::io::Write::write_all(&mut stream, &[b'x'; 100]).expect("send to the client");
    let attempt = client.attempt();
    client.wait();
    trace.explains(&attempt, &Expected { code: "broken.reset-by-us", ..BROKEN });
    trace.only(&["broken.reset-by-us", "broken.reset-by-peer"]);
}

/// The server stops while the connection waits to be accepted; the report of the side that is asked for.
fn never_accepted(target: &str, side: &str) -> (Attempt, Value, Tracer) {
    let lab = Lab::new();
    let listener = listen(&lab.server, target);
    let trace = Tracer::with(&lab, &["--all", side]);
    let mut client = lab.start(&format!("blocking {target} --receive"));
    let of = |report: &Value, outcome: &str| {
        report["outcome"] == outcome && side.ends_with(report["direction"].as_str().expect("a direction"))
    };
    // It is in the queue once it is told to be established.
    trace.wait_for(Duration::from_secs(10), |report| of(report, "established"));
    drop(listener);
    let attempt = client.attempt();
    assert_eq!(attempt.errno, libc::ECONNRESET);
    let report = trace.wait_for(Duration::from_secs(10), |report| of(report, "broken"));
    (attempt, report, trace)
}

#[test]
fn the_listener_closes_before_it_accepts() {
    for target in ["10.1.2.2:80", "[fd01:2::2]:80"] {
        let (attempt, report, trace) = never_accepted(target, "--outbound");
        assert_eq!(report["process"]["pid"], attempt.pid, "{report:#}");
        let names = &[target, "its program closed its listener while it still waited to be accepted"];
        let code = "broken.reset-by-peer";
        check(&report, &Expected { code, errno: Some("ECONNRESET"), remote: Some(target), names, ..BROKEN });
        trace.only(&[code]);
    }
}

#[test]
fn this_hosts_listener_closes_before_it_accepts() {
    let (attempt, report, trace) = never_accepted("10.1.2.2:80", "--inbound");
    // This process, or a child that another test has forked and that has not executed its program yet.
    let closer = &report["process"]["pid"];
    assert!(closer.is_u64() && *closer != attempt.pid, "who closed the listener: {report:#}");
    let code = "broken.reset-by-us";
    let remote = attempt.local.expect("it was connected").to_string();
    let names = &["closed its listener while it still waited to be accepted"];
    check(&report, &Expected { code, remote: Some(&remote), names, ..BROKEN });
    trace.only(&[code]);
}

#[test]
fn an_administrator_destroys_it() {
    let lab = Lab::new();
    let listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let mut client = lab.start("blocking 10.1.2.2:80 --receive");
    let (_stream, _) = listener.accept().expect("accept");
    let killed = lab.client.command("ss").args(["-K", "dst", "10.1.2.2"]).output().expect("ss runs");
    assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
    let attempt = client.attempt();
    assert_eq!(attempt.errno, libc::ECONNABORTED);
    let code = "broken.destroyed";
    trace.explains(&attempt, &Expected { code, errno: Some("ECONNABORTED"), names: &["ss["], ..BROKEN });
    trace.only(&[code, "broken.reset-by-peer"]);
}

#[test]
fn large_packets_vanish() {
    let lab = Lab::new();
    let listener = listen(&lab.server, "10.1.2.2:80");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        // Reads until the client gives up.
        _ = stream.read_to_end(&mut Vec::new());
    });
    lab.router.ip("link set rsv mtu 1000");
    lab.router.guard("output", "icmp type destination-unreachable drop");
    lab.client.sysctl("net.ipv4.tcp_retries2=3");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80 --send 5000 --receive");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let code = "broken.mtu";
    let names = &["its segments of 1448 bytes", "the link of rsv in network namespace", "(MTU 1000)"];
    trace.explains(&attempt, &Expected { code, errno: Some("ETIMEDOUT"), names, ..BROKEN });
    trace.only(&[code]);
}

/// A bridge can't say so to anybody.
#[test]
fn large_packets_vanish_at_a_bridge() {
    let lab = Lab::new();
    lab.bridged();
    lab.router.ip("link set by mtu 1000");
    lab.router.ip("link set br0 mtu 1500");
    // What would be cut in pieces later passes.
    lab.client.ip("link set eth0 gso_max_segs 1 gso_max_size 1500");
    let listener = listen(&lab.server, "10.1.1.3:80");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        // Reads until the client gives up.
        _ = stream.read_to_end(&mut Vec::new());
    });
    lab.client.sysctl("net.ipv4.tcp_retries2=3");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.1.3:80 --send 5000 --receive");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let code = "broken.mtu";
    let names = &["its segments of 1448 bytes", "the link of by in network namespace", "(MTU 1000)"];
    let remote = Some("10.1.1.3:80");
    let expected = Expected { code, errno: Some("ETIMEDOUT"), remote, names, ..BROKEN };
    let expected = other_without_reasons("broken.timeout", "likely", expected);
    trace.explains(&attempt, &expected);
    trace.only(&[expected.code]);
}

/// The other side completes the handshake and is never heard of again.
fn vanished(settings: &str, client: &str, names: &[&str]) {
    let lab = Lab::new();
    remote::attach(&lab.client, Answer::Handshake);
    if !settings.is_empty() {
        lab.client.sysctl(settings);
    }
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("blocking 10.7.0.1:5432 {client}"));
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let code = "broken.timeout";
    let remote = Some("10.7.0.1:5432");
    let expected = Expected { code, errno: Some("ETIMEDOUT"), remote, names, ..BROKEN };
    trace.explains(&attempt, &less_sure_without_reasons(expected));
    trace.only(&[code]);
}

#[test]
fn keepalive_probes_find_nobody() {
    vanished("", "--keepalive 1 --receive", &["10.7.0.1:5432 stopped answering", "2 keepalive probes"]);
}

#[test]
fn the_user_timeout_runs_out() {
    vanished("", "--user-timeout 700 --send 100 --receive", &["TCP_USER_TIMEOUT (700 ms)"]);
}

#[test]
fn retransmissions_run_out() {
    vanished("net.ipv4.tcp_retries2=2", "--send 100 --receive", &["retransmission"]);
}

#[test]
fn the_peer_stops_reading() {
    for target in ["10.1.2.2:80", "[fd01:2::2]:80"] {
        let lab = Lab::new();
        lab.server.sysctl("net.ipv4.tcp_rmem=4096 4096 4096");
        let _listener = listen(&lab.server, target);
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target} --user-timeout 700 --send 4000000 --receive"));
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        let code = "broken.zero-window";
        let names = &[target, "stopped reading", "TCP_USER_TIMEOUT (700 ms) ran out"];
        trace.explains(&attempt, &Expected { code, errno: Some("ETIMEDOUT"), remote: Some(target), names, ..BROKEN });
        trace.only(&[code]);
    }
}

#[test]
fn the_application_is_killed() {
    let lab = Lab::new();
    let listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let mut client = lab.start("blocking 10.1.2.2:80 --hold 60000");
    let (mut stream, _) = listener.accept().expect("accept");
    let attempt = client.attempt();
    std::io::Write::write_all(&mut stream, &[b'x'; 100]).expect("send to the client");
    kill(&client);
    client.wait();
    let names = &["netdx-client[", "killed by signal 9"];
    trace.explains(&attempt, &Expected { code: "broken.reset-by-us", names, ..BROKEN });
    trace.only(&["broken.reset-by-us", "broken.reset-by-peer"]);
}

#[test]
fn the_peers_program_is_killed() {
    let lab = Lab::new();
    let mut server = Client::spawn(lab.command_in(&lab.server, "listen 10.1.2.2:80 --hold 60000"));
    assert_eq!(server.attempt().errno, 0);
    let trace = Tracer::with(&lab, &["--all", "--outbound"]);
    let mut client = lab.start("blocking 10.1.2.2:80 --receive");
    trace.wait_for(Duration::from_secs(10), |report| report["outcome"] == "established");
    kill(&server);
    let attempt = client.attempt();
    assert_eq!(attempt.errno, libc::ECONNRESET);
    let code = "broken.reset-by-peer";
    let names = &["the process was killed by signal 9, which closed its listener"];
    let expected = Expected { code, errno: Some("ECONNRESET"), names, ..BROKEN };
    let broken = |report: &Value| report["outcome"] == "broken" && report["process"]["pid"] == attempt.pid;
    check(&trace.wait_for(Duration::from_secs(10), broken), &expected);
    trace.only(&[code]);
}

fn kill(program: &Client) {
    let pid = rustix::process::Pid::from_raw(program.pid().cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
}

#[test]
fn nothing_that_ends_well_is_reported() {
    let lab = Lab::new();
    let listener = listen(&lab.server, "10.1.2.2:80");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut data = [0; 10];
        stream.read_exact(&mut data).expect("what the client sends");
        std::io::Write::write_all(&mut stream, &data).expect("send it back");
    });
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80 --send 10 --receive");
    server.join().expect("the server ends");
    assert_eq!(attempt.errno, 0);
    let report = trace.wait_for(Duration::from_secs(5), |report| report["process"]["pid"] == attempt.pid);
    assert_eq!(report["outcome"], "established", "{report:#}");
    assert!(report["verdict"].is_null(), "{report:#}");
    trace.only(&[]);
}

/// As a client does that keeps a connection for the next request, to a server that has closed it meanwhile.
#[test]
fn an_idle_connection_is_used_again() {
    let lab = Lab::new();
    let listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let mut client = lab.start("blocking 10.1.2.2:80 --pause 1500 --send 10 --receive");
    drop(listener.accept().expect("accept"));
    let attempt = client.attempt();
    let code = "broken.reset-by-peer";
    let of = |report: &Value| report["process"]["pid"] == attempt.pid && report["outcome"] == "broken";
    let report = trace.wait_for(Duration::from_secs(10), of);
    assert_eq!(report["verdict"]["code"], code, "{report:#}");
    let mut evidence = report["verdict"]["evidence"].as_array().expect("evidence").iter();
    if evidence.any(|e| e["what"] == "reset-sent") {
        let advice = report["verdict"]["advice"][0].as_str().expect("advice");
        assert!(advice.contains("have this side give up idle connections sooner"), "{report:#}");
    } else {
        weaker_because("the kernel does not tell of resets that no socket sends");
    }
    trace.only(&[code]);
}

/// HAProxy's health check of a server whose protocol it doesn't speak.
#[test]
fn trying_out_whether_somebody_listens_is_no_failure() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::with(&lab, &["--all", "--outbound"]);
    // It closes as soon as it has waited long enough, and ends later.
    let mut client = lab.start("blocking 10.1.2.2:80 --linger-0 --receive --give-up 100 --hold 300");
    let attempt = client.attempt();
    assert_eq!(attempt.errno, -1);
    client.wait();
    let report = trace.wait_for(Duration::from_secs(5), |report| report["process"]["pid"] == attempt.pid);
    assert_eq!(report["outcome"], "established", "{report:#}");
    trace.only(&[]);
}

#[test]
fn nor_is_it_one_of_the_listeners() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    lab.server.guard("input", "tcp dport 81 reject with tcp reset");
    let trace = Tracer::with(&lab, &["--inbound"]);
    let attempt = lab.connect("blocking 10.1.2.2:80 --linger-0 --receive --give-up 100");
    assert_eq!(attempt.errno, -1);
    // What comes after it has been told.
    let attempt = lab.connect("blocking 10.1.2.2:81");
    assert_eq!(attempt.errno, libc::ECONNREFUSED);
    trace.wait_for(Duration::from_secs(10), |report| report["local"]["port"] == 81);
    trace.only(&["firewall.rejected"]);
}
