//! Datagrams: what the kernel tells of them.

use crate::needs::{Feature, weaker_without};
use netdx_tests::bpf::Cgroup;
use netdx_tests::island::run;
use netdx_tests::lab::{Client, Lab};
use netdx_tests::names::python;
use netdx_tests::tracer::{Expected, Tracer, check};
use serde_json::Value;
use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

const UDP: Expected<'static> =
    Expected { code: "", outcome: "failed", errno: None, remote: None, names: &[], certainty: None };

/// One datagram that comes to nothing; what the application gets: 0 nothing.
fn lost(lab: &Lab, how: &str, target: &str, errno: (Option<&'static str>, i32), expected: &Expected<'_>) {
    let trace = Tracer::start(lab);
    // Its socket is there while netdx asks whose it is.
    let mut client = lab.start(&format!("{how} --hold 60000"));
    let attempt = client.attempt();
    assert_eq!(attempt.errno, errno.1);
    let expected = Expected { errno: errno.0, remote: Some(target), outcome: "failed", ..*expected };
    let report = trace.explains(&attempt, &expected);
    assert_eq!(report["protocol"], "udp", "{report:#}");
    if errno.0.is_none() {
        assert!(report["errno"].is_null(), "{report:#}");
    }
    trace.only(&[expected.code]);
}

const REFUSED: (Option<&str>, i32) = (Some("ECONNREFUSED"), libc::ECONNREFUSED);
const NOTHING: (Option<&str>, i32) = (None, 0);
const GAVE_UP: (Option<&str>, i32) = (None, -1);

#[test]
fn nobody_receives() {
    for target in ["10.1.2.2:81", "[fd01:2::2]:81", "127.0.0.1:81"] {
        let expected = Expected { code: "refused.no-listener", names: &["netdx-client[", target], ..UDP };
        lost(&Lab::new(), &format!("udp {target} --send 10 --receive --give-up 2000"), target, REFUSED, &expected);
    }
}

/// A client asks 10.1.2.2, and gets an answer from this address, or when it has gone.
fn answered(from: &str, late: bool, expected: &Expected<'_>) {
    let lab = Lab::new();
    // No other lab has a server there.
    let port = if late { 8154 } else { 8153 };
    let bind = |to: &'static str| lab.server.inside(move || UdpSocket::bind((to, port)).expect("bind"));
    let server = bind("10.1.2.2");
    let other = bind("10.1.2.3");
    let trace = Tracer::start(&lab);
    // Its socket is there while netdx asks whose it is, or gone.
    let give_up = if late { 500 } else { 60_000 };
    let mut client = lab.start(&format!("udp 10.1.2.2:{port} --send 10 --receive --give-up {give_up}"));
    let (_, client_address) = server.recv_from(&mut [0; 10]).expect("what the client sends");
    if late {
        client.wait();
    }
    let answers = if from == "10.1.2.3" { other } else { server };
    answers.send_to(b"answer", client_address).expect("send");
    let remote = client_address.to_string();
    let report = trace.wait_for(Duration::from_secs(10), |report| report["remote"]["addr"] == "10.1.1.2");
    check(&report, &Expected { remote: Some(&remote), outcome: "failed", ..*expected });
    trace.only(&[expected.code]);
}

#[test]
fn the_answer_comes_from_another_address() {
    let names = &["netdx-client[", "connected to 10.1.2.2:8153"];
    answered("10.1.2.3", false, &Expected { code: "refused.bound-elsewhere", names, ..UDP });
}

#[test]
fn the_answer_comes_when_the_client_has_gone() {
    let names = &["a port that clients get"];
    answered("10.1.2.2", true, &Expected { code: "refused.no-listener", names, ..UDP });
}

#[test]
fn nobody_receives_and_the_socket_is_not_connected() {
    for target in ["10.1.2.2:81", "[fd01:2::2]:81"] {
        let expected = Expected { code: "refused.no-listener", names: &["netdx-client[", target], ..UDP };
        lost(&Lab::new(), &format!("udp-unconnected {target}"), target, NOTHING, &expected);
    }
}

#[test]
fn the_client_drops_what_goes_out() {
    for how in ["udp", "udp-unconnected"] {
        for target in ["10.1.2.2:81", "[fd01:2::2]:81"] {
            let lab = Lab::new();
            lab.client.guard("output", "udp dport 81 drop");
            let expected = Expected { code: "firewall.dropped", names: &["netdx-client[", "udp dport 81 drop"], ..UDP };
            let command = format!("{how} {target} --send 10");
            lost(&lab, &command, target, (Some("EPERM"), libc::EPERM), &expected);
        }
    }
}

#[test]
fn the_router_drops() {
    for target in ["10.1.2.2:81", "[fd01:2::2]:81"] {
        let lab = Lab::new();
        lab.router.guard("forward", "udp dport 81 drop");
        let expected =
            Expected { code: "firewall.dropped", names: &["netdx-client[", "forward", "udp dport 81"], ..UDP };
        lost(&lab, &format!("udp {target} --send 10"), target, NOTHING, &expected);
    }
}

#[test]
fn the_router_rejects() {
    let lab = Lab::new();
    lab.router.guard("forward", "udp dport 81 reject with icmp port-unreachable");
    let expected = Expected { code: "firewall.rejected", names: &["netdx-client[", "forward", "udp dport 81"], ..UDP };
    lost(&lab, "udp 10.1.2.2:81 --send 10 --receive --give-up 1000", "10.1.2.2:81", REFUSED, &expected);
}

#[test]
fn the_router_has_no_route() {
    let lab = Lab::new();
    let expected = Expected { code: "route.icmp-unreachable", names: &["netdx-client[", "10.1.1.1"], ..UDP };
    lost(&lab, "udp 10.44.0.1:81 --send 10 --receive --give-up 3000", "10.44.0.1:81", GAVE_UP, &expected);
}

#[test]
fn there_is_no_route() {
    for target in ["10.1.2.2:81", "[fd01:2::2]:81"] {
        let lab = Lab::new();
        lab.client.ip("route del default");
        lab.client.ip("-6 route del default");
        let expected = Expected { code: "route.none", names: &["netdx-client["], ..UDP };
        let command = format!("udp-unconnected {target}");
        lost(&lab, &command, target, (Some("ENETUNREACH"), libc::ENETUNREACH), &expected);
    }
}

#[test]
fn one_after_the_other_has_the_same_port() {
    const SOCKETS: usize = 5;
    let lab = Lab::new();
    lab.client.ip("route del default");
    let trace = Tracer::start(&lab);
    let mut client = lab.start(&format!("udp-unconnected 10.1.2.2:81 --bind 0.0.0.0:4444 --times {SOCKETS}"));
    (0..SOCKETS).for_each(|_| assert_eq!(client.attempt().errno, libc::ENETUNREACH));
    client.wait();
    let (reports, _) = trace.end();
    // Without the socket itself they can't be told apart: one that fails again is told once.
    let told = if weaker_without(Feature::SendResults) { 1 } else { SOCKETS };
    let codes: Vec<_> = reports.iter().map(|report| report["verdict"]["code"].as_str()).collect();
    assert_eq!(codes, vec![Some("route.none"); told], "{reports:#?}");
}

#[test]
fn it_is_sent_although_the_socket_could_not_be_connected() {
    let lab = Lab::new();
    lab.client.ip("route del default");
    let trace = Tracer::start(&lab);
    let script = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  s.connect_ex(('10.1.2.2', 81))\ntry:\n s.send(b'x')\nexcept OSError:\n pass";
    python(&lab, script);
    let report = trace.wait_for(Duration::from_secs(10), |r| r["protocol"] == "udp" && !r["verdict"].is_null());
    let names = &["no IPv4 route to 10.1.2.2"];
    let (errno, remote) = (Some("ENETUNREACH"), Some("10.1.2.2:81"));
    check(&report, &Expected { code: "route.none", outcome: "failed", errno, remote, names, ..UDP });
    let (reports, _) = trace.end();
    assert_eq!(reports.len(), 1, "{reports:#?}");
}

#[test]
fn it_is_larger_than_the_path() {
    let lab = Lab::new();
    lab.client.ip("link set eth0 mtu 1400");
    let expected = Expected { code: "local.message-size", names: &["netdx-client[", "1400"], ..UDP };
    let command = "udp 10.1.2.2:81 --whole --send 1390";
    lost(&lab, command, "10.1.2.2:81", (Some("EMSGSIZE"), libc::EMSGSIZE), &expected);
}

#[test]
fn it_is_larger_than_a_bridges_port_lets_pass() {
    let lab = Lab::new();
    lab.bridged();
    lab.router.ip("link set by mtu 1000");
    lab.router.ip("link set br0 mtu 1500");
    let names = &["it is larger than the link of by in network namespace", "(MTU 1000)"];
    let expected = Expected { code: "timeout.dropped", names, ..UDP };
    lost(&lab, "udp 10.1.1.3:81 --send 1400", "10.1.1.3:81", NOTHING, &expected);
}

#[test]
fn it_is_for_everybody_and_was_not_allowed_to() {
    let lab = Lab::new();
    let expected = Expected { code: "local.bad-target", names: &["netdx-client[", "SO_BROADCAST"], ..UDP };
    let command = "udp-unconnected 10.1.1.255:81";
    lost(&lab, command, "10.1.1.255:81", (Some("EACCES"), libc::EACCES), &expected);
}

/// What a process is told of that the kernel does not see act: its socket is not connected, so no error reaches it.
const UNSEEN: &str = "udp-unconnected 10.1.2.2:81 --hold 3000";

#[test]
fn a_control_group_is_told_of_its_own_datagrams_only() {
    let lab = Lab::new();
    let cgroup = Cgroup::new("own");
    let trace = Tracer::with(&lab, &["--cgroup", cgroup.path()]);
    let mut stranger = lab.start(UNSEEN);
    _ = stranger.attempt();
    let mut command = lab.command(UNSEEN);
    cgroup.holds(&mut command);
    let mut own = Client::spawn(command);
    let attempt = own.attempt();
    trace.explains(&attempt, &Expected { code: "refused.no-listener", remote: Some("10.1.2.2:81"), ..UDP });
    only_of(trace, attempt.pid);
}

#[test]
fn a_command_is_told_of_its_own_datagrams_only() {
    let lab = Lab::new();
    let folder = tempfile::tempdir().expect("a folder");
    let (go, client) = (folder.path().join("go"), lab.client_program());
    run(Command::new("mkfifo").arg(&go));
    // The client is no child of the command that netdx starts, but of a child of it.
    let script = "read go <\"$1\"; (ip netns exec \"$2\" $3 >/dev/null; true); true";
    let words = format!("{} {UNSEEN}", client.display());
    let go_path = go.to_str().expect("a path of text");
    let trace = Tracer::with(&lab, &["--", "sh", "-c", script, "sh", go_path, lab.client.name(), &words]);
    let mut stranger = lab.start(UNSEEN);
    _ = stranger.attempt();
    fs::write(&go, "go\n").expect("the command reads");
    let own = |report: &Value| report["remote"]["port"] == 81 && report["process"]["pid"] != stranger.pid();
    let report = trace.wait_for(Duration::from_secs(10), own);
    assert_eq!(report["verdict"]["code"], "refused.no-listener", "{report:#}");
    let pid = report["process"]["pid"].as_u64().expect("a process");
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
    assert!(line.replace('\0', " ").contains(&words), "{line:?}: {report:#}");
    trace.wait_for(Duration::from_secs(20), |line| line["kind"] == "summary");
    only_of(trace, u32::try_from(pid).expect("a process id"));
}

/// Ends netdx, which must have told of no other process.
fn only_of(trace: Tracer, pid: u32) {
    let (reports, _) = trace.end();
    for report in reports {
        assert_eq!(report["process"]["pid"], pid, "a stranger's: {report:#}");
    }
}
