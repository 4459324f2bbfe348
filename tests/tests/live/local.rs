//! This host lacked something.

use netdx_tests::lab::{Client, Lab};
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::os::unix::process::CommandExt as _;

const LOCAL: Expected<'static> =
    Expected { code: "", outcome: "failed", errno: None, remote: Some("10.1.2.2:80"), names: &[], certainty: None };

#[test]
fn the_local_ports_are_used_up() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    lab.client.sysctl("net.ipv4.ip_local_port_range=40000 40003");
    let mut filler = lab.start("blocking 10.1.2.2:80 --times 4 --hold 60000");
    for _ in 0..4 {
        assert_eq!(filler.attempt().errno, 0);
    }
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    assert_eq!(attempt.errno, libc::EADDRNOTAVAIL);
    let code = "local.ports-exhausted";
    trace.explains(&attempt, &Expected { code, errno: Some("EADDRNOTAVAIL"), names: &["40000"], ..LOCAL });
    trace.only(&[code]);
}

#[test]
fn the_four_tuple_is_taken() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    let mut holder = lab.start("blocking 10.1.2.2:80 --hold 60000");
    let local = holder.attempt().local.expect("it is connected");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(&format!("blocking 10.1.2.2:80 --bind {local}"));
    assert_eq!(attempt.errno, libc::EADDRINUSE);
    let report = trace.wait_for(std::time::Duration::from_secs(5), |report| {
        report["process"]["pid"] == attempt.pid && !report["verdict"].is_null()
    });
    assert_eq!(report["verdict"]["code"], "local.address-in-use", "{report:#}");
    assert_eq!(report["errno"], "EADDRINUSE", "{report:#}");
    trace.only(&["local.address-in-use"]);
}

#[test]
fn the_source_is_not_ours() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80 --bind 10.1.1.200:0");
    assert_eq!(attempt.errno, libc::EADDRNOTAVAIL);
    let report = trace.wait_for(std::time::Duration::from_secs(5), |report| {
        report["process"]["pid"] == attempt.pid && !report["verdict"].is_null()
    });
    assert_eq!(report["verdict"]["code"], "local.bad-source", "{report:#}");
    assert_eq!(report["errno"], "EADDRNOTAVAIL", "{report:#}");
    trace.only(&["local.bad-source"]);
}

#[test]
fn loopback_cannot_reach_out() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80 --bind 127.0.0.1:0");
    assert_eq!(attempt.errno, libc::EINVAL);
    let code = "local.bad-source";
    trace.explains(&attempt, &Expected { code, errno: Some("EINVAL"), names: &["127.0.0.1"], ..LOCAL });
    trace.only(&[code]);
}

#[test]
fn a_broadcast_address_is_no_target() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.1.255:80");
    assert_eq!(attempt.errno, libc::ENETUNREACH);
    let code = "local.bad-target";
    let remote = Some("10.1.1.255:80");
    trace.explains(&attempt, &Expected { code, errno: Some("ENETUNREACH"), remote, names: &["broadcast"], ..LOCAL });
    trace.only(&[code]);
}

#[test]
fn ipv6_is_switched_off() {
    let lab = Lab::new();
    lab.client.sysctl("net.ipv6.conf.all.disable_ipv6=1, net.ipv6.conf.default.disable_ipv6=1");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking [fd01:2::2]:80");
    let code = "local.no-family";
    trace.explains(&attempt, &Expected { code, remote: Some("[fd01:2::2]:80"), names: &["disable_ipv6"], ..LOCAL });
    trace.only(&[code]);
}

#[test]
fn there_is_no_descriptor_left() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let mut command = lab.command("blocking 10.1.2.2:80 --times 2");
    let four = Rlimit { current: Some(4), maximum: Some(4) };
    // SAFETY: between fork and exec only one system call is made.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, four)?)) };
    let mut client = Client::spawn(command);
    assert_eq!(client.attempt().errno, 0);
    let attempt = client.attempt();
    assert_eq!(attempt.errno, libc::EMFILE);
    let report = trace.wait_for(std::time::Duration::from_secs(5), |report| {
        report["process"]["pid"] == attempt.pid && !report["verdict"].is_null()
    });
    assert_eq!(report["verdict"]["code"], "local.resources", "{report:#}");
    assert_eq!(report["errno"], "EMFILE", "{report:#}");
    trace.only(&["local.resources"]);
}

#[test]
fn the_datagram_is_too_large() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("udp 10.1.2.2:80 --send 70000");
    assert_eq!(attempt.errno, libc::EMSGSIZE);
    let code = "local.message-size";
    trace.explains(&attempt, &Expected { code, errno: Some("EMSGSIZE"), ..LOCAL });
    trace.only(&[code]);
}
