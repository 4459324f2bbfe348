//! This host lacked something.

use crate::needs::by_its_reason;
use netdx_tests::island::output;
use netdx_tests::lab::{Client, Lab};
use netdx_tests::patience::patience;
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer, check};
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::os::unix::process::CommandExt as _;

const LOCAL: Expected<'static> =
    Expected { code: "", outcome: "failed", errno: None, remote: Some("10.1.2.2:80"), names: &[], certainty: None };

#[test]
fn the_local_ports_are_used_up() {
    let lab = Lab::new();
    let _taken = lab.without_ports();
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

#[test]
fn the_interface_has_no_queue() {
    for target in ["10.1.2.2:80", "[fd01:2::2]:80"] {
        let lab = Lab::new();
        // The next hop's address is found out before the queue takes nothing more.
        assert_eq!(lab.connect(&format!("blocking {target}")).errno, libc::ECONNREFUSED);
        lab.client.tc("qdisc add dev eth0 root bfifo limit 1");
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        let code = "local.queue-drop";
        let expected = Expected { code, remote: Some(target), names: &["eth0", "queue"], ..LOCAL };
        let expected = by_its_reason(expected);
        trace.explains(&attempt, &expected);
        trace.only(&[expected.code]);
    }
}

/// A shaper whose rate is used up for longer than anybody waits.
#[test]
fn the_interfaces_queue_holds_it() {
    let lab = Lab::new();
    lab.client.tc("qdisc add dev eth0 root tbf rate 8bit burst 1600 limit 100000");
    // The first one takes what is left, and finds out the next hop's address.
    _ = output(lab.client.command("ping").args(["-qc2", "-i0.2", "-s1400", "-W1", "10.1.2.2"]));
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let code = "local.queue-drop";
    let names = &["its SYN still waits in the queue (qdisc) of eth0"];
    let remote = Some("10.1.2.2:80");
    trace.explains(
        &attempt,
        &Expected { code, errno: Some("ETIMEDOUT"), remote, names, certainty: Some("likely"), ..LOCAL },
    );
    trace.only(&[code]);
}

#[test]
fn a_datagram_is_told_that_the_queue_is_full() {
    let lab = Lab::new();
    // The next hop's address is found out before the queue takes nothing more.
    assert_eq!(lab.connect("blocking 10.1.2.2:80").errno, libc::ECONNREFUSED);
    lab.client.tc("qdisc add dev eth0 root bfifo limit 1");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("udp 10.1.2.2:80 --send 900 --told");
    assert_eq!(attempt.errno, libc::ENOBUFS);
    let code = "local.queue-drop";
    let expected = Expected { code, errno: Some("ENOBUFS"), names: &["eth0", "queue"], ..LOCAL };
    let expected = by_its_reason(expected);
    trace.explains(&attempt, &expected);
    trace.only(&[expected.code]);
}

#[test]
fn the_receivers_buffer_is_full() {
    let lab = Lab::new();
    let _receiver = lab.server.inside(|| {
        let socket = std::net::UdpSocket::bind("10.1.2.2:80").expect("bind");
        sockopt::set_socket_recv_buffer_size(&socket, 1).expect("SO_RCVBUF");
        socket
    });
    let trace = Tracer::start(&lab);
    // Its socket is there while netdx asks whose it is.
    let mut client = lab.start("udp 10.1.2.2:80 --send 900 --burst 20 --hold 60000");
    let attempt = client.attempt();
    assert_eq!(attempt.errno, 0);
    let code = "local.queue-drop";
    let expected = by_its_reason(Expected { code, names: &["receiving socket's buffer is full"], ..LOCAL });
    trace.explains(&attempt, &expected);
    trace.only(&[expected.code]);
}

/// What fails before there is a socket to name: the report is the client's only one.
fn set_up(lab: &Lab, client: &str, errno: (&'static str, i32), code: &str, names: &[&str]) {
    let trace = Tracer::start(lab);
    let attempt = lab.connect(client);
    assert_eq!(attempt.errno, errno.1);
    let report = trace.wait_for(std::time::Duration::from_secs(5), |report| report["process"]["pid"] == attempt.pid);
    check(&report, &Expected { code, errno: Some(errno.0), remote: None, names, ..LOCAL });
    trace.only(&[code]);
}

const ADDRESS_IN_USE: (&str, i32) = ("EADDRINUSE", libc::EADDRINUSE);

#[test]
fn the_local_ports_are_used_up_for_bind() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    lab.client.sysctl("net.ipv4.ip_local_port_range=40000 40003");
    let mut filler = lab.start("blocking 10.1.2.2:80 --bind 10.1.1.2:0 --times 4 --hold 60000");
    for _ in 0..4 {
        assert_eq!(filler.attempt().errno, 0);
    }
    let code = "local.ports-exhausted";
    set_up(&lab, "blocking 10.1.2.2:80 --bind 10.1.1.2:0", ADDRESS_IN_USE, code, &["40000 to 40003", "netdx-client["]);
}

#[test]
fn the_local_ports_are_reserved() {
    let lab = Lab::new();
    lab.client.sysctl("net.ipv4.ip_local_port_range=40000 40003, net.ipv4.ip_local_reserved_ports=40000-40010");
    let names = &["0 of the 4 ports 40000 to 40003 are in use, and 4 are reserved (net.ipv4.ip_local_reserved_ports)"];
    set_up(&lab, "blocking 10.1.2.2:80 --bind 10.1.1.2:0", ADDRESS_IN_USE, "local.ports-exhausted", names);
}

#[test]
fn another_namespace_has_the_address() {
    let lab = Lab::new();
    // No other lab has it.
    lab.router.ip("address add 10.1.66.1/32 dev lo");
    let names = &["10.1.66.1 is not an address of this network namespace, but of network namespace", lab.router.name()];
    let not_available = ("EADDRNOTAVAIL", libc::EADDRNOTAVAIL);
    set_up(&lab, "listen 10.1.66.1:8080", not_available, "local.bad-source", names);
}

#[test]
fn somebody_listens_there_already() {
    for address in ["10.1.1.2:8080", "[fd01:1::2]:8080"] {
        let lab = Lab::new();
        let _holder = listen(&lab.client, address);
        let code = "local.address-in-use";
        set_up(&lab, &format!("listen {address}"), ADDRESS_IN_USE, code, &[address, "live"]);
    }
}

#[test]
fn somebody_else_was_faster_to_listen() {
    let lab = Lab::new();
    // Both are bound before either listens.
    let mut first = lab.start("listen 10.1.1.2:8080 --pause 6000 --hold 60000");
    let code = "local.address-in-use";
    set_up(&lab, "listen 10.1.1.2:8080 --pause 9000", ADDRESS_IN_USE, code, &["10.1.1.2:8080", "netdx-client["]);
    assert_eq!(first.attempt().errno, 0);
}

/// A server finds its port taken: told to whoever asks for that port, or for what comes in.
#[test]
fn a_server_that_finds_its_port_taken_is_asked_for_by_its_port() {
    let lab = Lab::new();
    let _holder = listen(&lab.client, "10.1.1.2:8080");
    let trace = Tracer::with(&lab, &["--inbound", "--port", "8080", "--host", "10.1.1.2"]);
    let attempt = lab.connect("listen 10.1.1.2:8080");
    assert_eq!(attempt.errno, libc::EADDRINUSE);
    let report = trace.wait_for(std::time::Duration::from_secs(5), |report| report["process"]["pid"] == attempt.pid);
    let code = "local.address-in-use";
    check(&report, &Expected { code, errno: Some("EADDRINUSE"), remote: None, ..LOCAL });
    assert_eq!(report["call"], "bind", "{report:#}");
    trace.only(&[code]);
}

#[test]
fn an_ipv6_source_is_not_ours() {
    let not_ours = ("EADDRNOTAVAIL", libc::EADDRNOTAVAIL);
    let client = "blocking [fd01:2::2]:80 --bind [fd01:1::77]:0";
    set_up(&Lab::new(), client, not_ours, "local.bad-source", &["fd01:1::77 is not an address of this host"]);
}

/// Duplicate address detection: the router has it.
#[test]
fn another_host_has_the_ipv6_source() {
    let lab = Lab::new();
    lab.client.sysctl("net.ipv6.conf.eth0.accept_dad=1");
    lab.client.ip("addr add fd01:1::1/64 dev eth0");
    let marked = || {
        let listing = output(lab.client.command("ip").args(["-6", "addr", "show", "dev", "eth0"])).stdout;
        String::from_utf8_lossy(&listing).contains("dadfailed")
    };
    assert!((0..100).any(|_| {
        std::thread::sleep(patience(std::time::Duration::from_millis(100)));
        marked()
    }));
    let client = "blocking [fd01:2::2]:80 --bind [fd01:1::1]:0";
    let names = &["fd01:1::1 is an address of eth0 that may not be used: another host on its network has it, too"];
    set_up(&lab, client, ("EADDRNOTAVAIL", libc::EADDRNOTAVAIL), "local.bad-source", names);
}

#[test]
fn a_link_local_source_has_no_interface() {
    let client = "blocking [fd01:2::2]:80 --bind [fe80::1]:0";
    let names = &["fe80::1", "scope"];
    set_up(&Lab::new(), client, ("EINVAL", libc::EINVAL), "local.bad-source", names);
}

#[test]
fn a_source_that_is_not_ours_is_found_out_late() {
    let lab = Lab::new();
    // bind takes any address then, as it does with IP_FREEBIND, or before the address is taken away.
    lab.client.sysctl("net.ipv4.ip_nonlocal_bind=1");
    let unreachable = ("ENETUNREACH", libc::ENETUNREACH);
    let names = &["its source address 10.1.1.77 is not an address of this host"];
    set_up(&lab, "blocking 10.1.2.2:80 --bind 10.1.1.77:0", unreachable, "local.bad-source", names);
}

/// connect is given an address that its socket can't be connected to.
fn bad_target(client: &str, errno: (&'static str, i32), remote: &str, names: &[&str]) {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let attempt = lab.connect(client);
    assert_eq!(attempt.errno, errno.1);
    let code = "local.bad-target";
    trace.explains(&attempt, &Expected { code, errno: Some(errno.0), remote: Some(remote), names, ..LOCAL });
    trace.only(&[code]);
}

#[test]
fn the_socket_is_of_the_other_family() {
    let invalid = ("EINVAL", libc::EINVAL);
    let target = "10.1.2.2:80";
    bad_target("other-family 10.1.2.2:80", invalid, target, &["an IPv4 address, and the socket is for IPv6"]);
    let not_supported = ("EAFNOSUPPORT", libc::EAFNOSUPPORT);
    let target = "[fd01:2::2]:80";
    bad_target("other-family [fd01:2::2]:80", not_supported, target, &["an IPv6 address, and the socket is for IPv4"]);
}

#[test]
fn a_link_local_targets_interface_is_none() {
    let unreachable = ("ENETUNREACH", libc::ENETUNREACH);
    let names = &["fe80::9 is a link-local address of interface 99, and there is no such interface"];
    bad_target("blocking [fe80::9%99]:80", unreachable, "[fe80::9]:80", names);
}

#[test]
fn the_port_is_0() {
    let refused = ("ECONNREFUSED", libc::ECONNREFUSED);
    bad_target("blocking 10.1.2.2:0", refused, "10.1.2.2:0", &["port 0, which is no port"]);
}
