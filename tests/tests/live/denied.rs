//! A policy or a BPF program said no.

use crate::needs::{Feature, by_its_reason, skipped_without, weaker_because};
use netdx_tests::bpf::{self, Cgroup, Hook};
use netdx_tests::island::output;
use netdx_tests::lab::{Client, Lab};
use netdx_tests::sandbox::{Forbidden, answer, forbid};
use netdx_tests::tracer::{Expected, Tracer};
use std::os::unix::process::CommandExt as _;

#[test]
fn seccomp_forbids_it() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let mut command = lab.command("blocking 10.1.2.2:80");
    forbid(&mut command, &[Forbidden::Call(libc::SYS_connect)]);
    let attempt = Client::spawn(command).attempt();
    assert_eq!(attempt.errno, libc::EPERM);
    trace.explains(
        &attempt,
        &Expected {
            code: "denied.policy",
            outcome: "failed",
            errno: Some("EPERM"),
            remote: None,
            names: &["seccomp"],
            certainty: None,
        },
    );
    trace.only(&["denied.policy"]);
}

/// A filter answers in place of a call, with an error that means something else where the call gives it.
fn answered_instead(call: Forbidden, target: &str, errno: (&str, i32), names: &[&str]) {
    let lab = Lab::new();
    let _listener = netdx_tests::servers::listen(&lab.server, target);
    let trace = Tracer::start(&lab);
    let mut command = lab.command(&format!("blocking {target}"));
    answer(&mut command, &[call], errno.1);
    let mut client = Client::spawn(command);
    let attempt = client.attempt();
    assert_eq!(attempt.errno, errno.1);
    let expected = Expected { code: "denied.policy", errno: Some(errno.0), names, ..DENIED };
    let report = trace.explains(&attempt, &expected);
    assert_eq!(report["also"].as_array().map(Vec::len), Some(0), "{report:#}");
    trace.only(&["denied.policy"]);
}

#[test]
fn seccomp_says_that_there_is_no_route() {
    // And there is none.
    let lab = Lab::new();
    lab.client.ip("route del default");
    let trace = Tracer::start(&lab);
    let mut command = lab.command("blocking 10.1.2.2:80");
    answer(&mut command, &[Forbidden::Call(libc::SYS_connect)], libc::ENETUNREACH);
    let attempt = Client::spawn(command).attempt();
    assert_eq!(attempt.errno, libc::ENETUNREACH);
    let names = &["seccomp", "ENETUNREACH"];
    let expected = Expected { code: "denied.policy", errno: Some("ENETUNREACH"), names, ..DENIED };
    let report = trace.explains(&attempt, &expected);
    assert_eq!(report["also"].as_array().map(Vec::len), Some(0), "{report:#}");
    trace.only(&["denied.policy"]);
}

#[test]
fn seccomp_says_that_nobody_listens() {
    let connect = Forbidden::Call(libc::SYS_connect);
    let refused = ("ECONNREFUSED", libc::ECONNREFUSED);
    answered_instead(connect, "10.1.2.2:80", refused, &["seccomp", "connect with ECONNREFUSED"]);
    answered_instead(connect, "[fd01:2::2]:80", refused, &["seccomp", "connect with ECONNREFUSED"]);
}

#[test]
fn seccomp_forbids_sockets() {
    let socket = Forbidden::Call(libc::SYS_socket);
    answered_instead(socket, "10.1.2.2:80", ("EPERM", libc::EPERM), &["seccomp", "socket for IPv4 with EPERM"]);
}

#[test]
fn a_service_may_use_no_ipv6() {
    // RestrictAddressFamilies=AF_INET
    let socket = Forbidden::CallOf(libc::SYS_socket, libc::AF_INET6.cast_unsigned());
    let names = &["seccomp", "socket for IPv6 with EAFNOSUPPORT"];
    answered_instead(socket, "[fd01:2::2]:80", ("EAFNOSUPPORT", libc::EAFNOSUPPORT), names);
}

const DENIED: Expected<'static> =
    Expected { code: "denied.bpf", outcome: "failed", errno: None, remote: None, names: &[], certainty: None };

/// A program of the client's control group says no.
fn forbidden(hook: Hook, how: &str, target: &str, errno: (&'static str, i32), certainty: Option<&str>) {
    let lab = Lab::new();
    let _listener = netdx_tests::servers::listen(&lab.server, target);
    let group = Cgroup::new("denied");
    let _program = group.forbid(hook, "lab_says_no");
    let trace = Tracer::start(&lab);
    let mut command = lab.command(&format!("{how} {target}"));
    group.holds(&mut command);
    let attempt = Client::spawn(command).attempt();
    assert_eq!(attempt.errno, errno.1);
    let remote = (hook != Hook::SockCreate).then_some(target);
    let names = &["lab_says_no", "netdx-denied-"];
    let expected = Expected { errno: Some(errno.0), remote, names, certainty, ..DENIED };
    let is_dropped = matches!(hook, Hook::Egress | Hook::Ingress);
    let expected = if is_dropped { by_its_reason(expected) } else { expected };
    trace.explains(&attempt, &expected);
    trace.only(&[expected.code]);
}

#[test]
fn a_control_group_forbids_to_connect() {
    forbidden(Hook::Connect4, "blocking", "10.1.2.2:80", ("EPERM", libc::EPERM), None);
    forbidden(Hook::Connect6, "blocking", "[fd01:2::2]:80", ("EPERM", libc::EPERM), None);
}

#[test]
fn a_control_group_forbids_to_connect_by_io_uring() {
    if !skipped_without(Feature::IoUringRequests) {
        forbidden(Hook::Connect4, "io-uring", "10.1.2.2:80", ("EPERM", libc::EPERM), None);
    }
}

#[test]
fn a_control_group_forbids_sockets() {
    forbidden(Hook::SockCreate, "blocking", "10.1.2.2:80", ("EPERM", libc::EPERM), None);
}

#[test]
fn a_control_group_forbids_to_send_datagrams() {
    forbidden(Hook::Sendmsg4, "udp-unconnected", "10.1.2.2:80", ("EPERM", libc::EPERM), Some("likely"));
}

#[test]
fn a_control_group_drops_what_leaves() {
    forbidden(Hook::Egress, "blocking", "10.1.2.2:80", ("ETIMEDOUT", libc::ETIMEDOUT), None);
    forbidden(Hook::Egress, "blocking", "[fd01:2::2]:80", ("ETIMEDOUT", libc::ETIMEDOUT), None);
}

/// systemd's own program for IPAddressDeny= at a service's control group.
#[test]
fn a_service_may_not_use_the_address() {
    for target in ["10.1.2.2:80", "[fd01:2::2]:80"] {
        let lab = Lab::new();
        let _listener = netdx_tests::servers::listen(&lab.server, target);
        let group = Cgroup::service("denied");
        let _program = group.forbid(Hook::Egress, "sd_fw_egress");
        let trace = Tracer::start(&lab);
        let mut command = lab.command(&format!("blocking {target}"));
        group.holds(&mut command);
        let attempt = Client::spawn(command).attempt();
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        let names = &["sd_fw_egress", "IPAddressDeny=", ".service"];
        let expected = Expected { errno: Some("ETIMEDOUT"), remote: Some(target), names, ..DENIED };
        let expected = by_its_reason(expected);
        trace.explains(&attempt, &expected);
        trace.only(&[expected.code]);
    }
}

#[test]
fn a_control_group_chooses_the_error() {
    if skipped_without(Feature::ChosenErrors) {
        return;
    }
    let cases = [
        (Hook::Connect4, "10.1.2.2:80", ("ECONNREFUSED", libc::ECONNREFUSED)),
        (Hook::Connect6, "[fd01:2::2]:80", ("ENETUNREACH", libc::ENETUNREACH)),
    ];
    for (hook, target, errno) in cases {
        let lab = Lab::new();
        let _listener = netdx_tests::servers::listen(&lab.server, target);
        let group = Cgroup::new("denied");
        let _program = group.fail(hook, "lab_says_no", errno.1);
        let trace = Tracer::start(&lab);
        let mut command = lab.command(&format!("blocking {target}"));
        group.holds(&mut command);
        let attempt = Client::spawn(command).attempt();
        assert_eq!(attempt.errno, errno.1);
        let names = &["lab_says_no", "netdx-denied-"];
        let report =
            trace.explains(&attempt, &Expected { errno: Some(errno.0), remote: Some(target), names, ..DENIED });
        assert_eq!(report["also"].as_array().map(Vec::len), Some(0), "{report:#}");
        trace.only(&["denied.bpf"]);
    }
}

#[test]
fn a_control_group_drops_what_arrives() {
    forbidden(Hook::Ingress, "blocking", "10.1.2.2:80", ("ETIMEDOUT", libc::ETIMEDOUT), None);
}

/// A program at an interface drops IPv4.
fn dropped_at(hook: Hook) {
    if skipped_without(Feature::Tcx) {
        return;
    }
    let lab = Lab::new();
    let _program = bpf::forbid_at(&lab.client, "eth0", hook, "lab_says_no");
    let _listener = netdx_tests::servers::listen(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    assert_eq!(attempt.errno, libc::ETIMEDOUT);
    let names = &["lab_says_no", "eth0"];
    trace.explains(&attempt, &Expected { errno: Some("ETIMEDOUT"), remote: Some("10.1.2.2:80"), names, ..DENIED });
    trace.only(&["denied.bpf"]);
}

#[test]
fn an_interface_drops_what_leaves() {
    dropped_at(Hook::TcEgress);
}

#[test]
fn an_interface_drops_what_arrives() {
    dropped_at(Hook::TcIngress);
}

/// An XDP program drops the server's TCP packets as they come in.
fn dropped_before_it_is_a_packet(hook: Hook) {
    for target in ["10.1.2.2:80", "[fd01:2::2]:80"] {
        let lab = Lab::new();
        let _listener = netdx_tests::servers::listen(&lab.server, target);
        let _program = bpf::forbid_at(&lab.server, "eth0", hook, "lab_says_no");
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        let names = &["lab_says_no", "xdp of eth0", lab.server.name()];
        let expected = Expected { errno: Some("ETIMEDOUT"), remote: Some(target), names, ..DENIED };
        let expected = by_its_reason(expected);
        trace.explains(&attempt, &expected);
        trace.only(&[expected.code]);
    }
}

#[test]
fn an_interface_drops_it_by_xdp() {
    dropped_before_it_is_a_packet(Hook::XdpGeneric);
}

#[test]
fn an_interfaces_driver_drops_it_by_xdp() {
    dropped_before_it_is_a_packet(Hook::XdpNative);
}

/// A Landlock domain in which connect(2) to any TCP port fails with EACCES and everything else works.
fn landlocked() -> std::io::Result<()> {
    /// `struct landlock_ruleset_attr`: what is handled (file system, network, scopes).
    const LANDLOCK_ACCESS_NET_CONNECT_TCP: u64 = 2;
    let handled: [u64; 3] = [0, LANDLOCK_ACCESS_NET_CONNECT_TCP, 0];
    let failed = |result: libc::c_long| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: the kernel reads the attributes, which live until the call returns.
    let ruleset = failed(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, handled.as_ptr(), size_of_val(&handled), 0)
    })?;
    // SAFETY: no memory is given.
    failed(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
    // SAFETY: no memory is given.
    failed(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) })?;
    Ok(())
}

#[test]
fn landlock_forbids_it() {
    if skipped_without(Feature::LandlockConnect) {
        return;
    }
    for target in ["10.1.2.2:80", "[fd01:2::2]:80"] {
        let lab = Lab::new();
        let trace = Tracer::start(&lab);
        let mut command = lab.command(&format!("blocking {target}"));
        // SAFETY: between fork and exec only system calls are made, on memory of its own.
        unsafe { command.pre_exec(landlocked) };
        let attempt = Client::spawn(command).attempt();
        assert_eq!(attempt.errno, libc::EACCES);
        let expected = Expected { code: "denied.policy", errno: Some("EACCES"), remote: Some(target), ..DENIED };
        trace.explains(&attempt, &Expected { names: &["Landlock"], ..expected });
        trace.only(&["denied.policy"]);
    }
}

#[test]
fn a_low_port_needs_a_capability() {
    let lab = Lab::new();
    let trace = Tracer::start(&lab);
    let mut command = lab.command("blocking 10.1.2.2:80 --bind 10.1.1.2:81");
    // SAFETY: between fork and exec only one system call is made.
    unsafe {
        command.pre_exec(|| if libc::setuid(65534) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) })
    };
    let attempt = Client::spawn(command).attempt();
    assert_eq!(attempt.errno, libc::EACCES);
    let expected = Expected { code: "denied.policy", errno: Some("EACCES"), ..DENIED };
    let report = trace.explains(&attempt, &Expected { names: &["81", "CAP_NET_BIND_SERVICE"], ..expected });
    assert_eq!(report["also"].as_array().map(Vec::len), Some(0), "{report:#}");
    trace.only(&["denied.policy"]);
}

/// A program of the server's control group says no to the client's packets, or to its own.
#[test]
fn the_servers_control_group_forbids() {
    for (hook, target) in
        [(Hook::Ingress, "10.1.2.2:80"), (Hook::Egress, "10.1.2.2:80"), (Hook::Egress, "[fd01:2::2]:80")]
    {
        let lab = Lab::new();
        let group = Cgroup::new("denied");
        let _program = group.forbid(hook, "server_says_no");
        let mut command = lab.command_in(&lab.server, &format!("listen {target} --hold 60000"));
        group.holds(&mut command);
        let mut server = Client::spawn(command);
        assert_eq!(server.attempt().errno, 0);
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        if attempt.errno == 0 && target.contains('[') {
            // The same program stopped the answer over IPv4.
            weaker_because("the kernel asks no control group about the answer of a listener over IPv6");
            continue;
        }
        let names = &["server_says_no", "netdx-denied-"];
        let expected = Expected { errno: Some("ETIMEDOUT"), remote: Some(target), names, ..DENIED };
        let expected = by_its_reason(expected);
        trace.explains(&attempt, &expected);
        trace.only(&[expected.code]);
    }
}

#[test]
fn the_listeners_own_filter_drops() {
    let lab = Lab::new();
    let _listener = netdx_tests::servers::deaf(&lab.server, "10.1.2.2:80");
    let trace = Tracer::start(&lab);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    let names = &["a filter attached to the socket of "];
    let expected = Expected { errno: Some("ETIMEDOUT"), certainty: Some("likely"), names, ..DENIED };
    let expected = by_its_reason(expected);
    trace.explains(&attempt, &expected);
    trace.only(&[expected.code]);
}

/// IPsec policies that block: for TCP, by connect, and for a datagram.
#[test]
fn an_ipsec_policy_forbids_it() {
    for (how, target, ends) in [
        ("blocking", "10.1.2.2:80", "src 10.1.1.0/24 dst 10.1.2.2/32"),
        ("blocking", "[fd01:2::2]:80", "src fd01:1::/64 dst fd01:2::2/128"),
        ("udp-unconnected", "10.1.2.2:80", "src 10.1.1.0/24 dst 10.1.2.2/32"),
    ] {
        let lab = Lab::new();
        lab.client.ip(&format!("xfrm policy add {ends} dir out action block"));
        lab.client.ip("xfrm policy add src 10.1.1.0/24 dst 10.1.2.3/32 dir out action block priority 1");
        let trace = Tracer::start(&lab);
        // Of sending the routing lookup isn't followed.
        let (send, certainty) = if how == "blocking" { ("", "proven") } else { (" --send 5", "likely") };
        let mut client = lab.start(&format!("{how} {target}{send}"));
        let attempt = client.attempt();
        let errno = Some("EPERM");
        let names = &["IPsec", ends, "action block"];
        let expected = Expected { code: "denied.policy", outcome: "failed", errno, names, ..Expected::default() };
        trace.explains(&attempt, &Expected { remote: Some(target), certainty: Some(certainty), ..expected });
        trace.only(&["denied.policy"]);
    }
}

/// Nobody keeps keys here: what the policy wants is asked for, and never comes.
#[test]
fn an_ipsec_policy_waits_for_a_security_association() {
    const KEYS: &str =
        "enc aes 0x00112233445566778899aabbccddeeff auth sha1 0x00112233445566778899aabbccddeeff00112233";
    for (target, ends, source, [peer, other], mode) in [
        ("10.1.2.2:80", "src 10.1.1.0/24 dst 10.1.2.2/32", "10.1.1.2", ["10.1.2.2", "10.1.2.3"], "transport"),
        ("[fd01:2::2]:80", "src fd01:1::/64 dst fd01:2::/64", "fd01:1::2", ["fd01:1::1", "fd01:1::9"], "tunnel"),
    ] {
        let lab = Lab::new();
        lab.client.ip(&format!("xfrm policy add {ends} dir out tmpl src {source} dst {peer} proto esp mode {mode}"));
        // One for another end, where the kernel has ESP at all.
        let state = format!("xfrm state add src {source} dst {other} proto esp spi 7 mode {mode} {KEYS}");
        output(lab.client.command("ip").args(state.split_whitespace()));
        let trace = Tracer::start(&lab);
        let attempt = lab.connect(&format!("blocking {target}"));
        assert_eq!(attempt.errno, libc::ETIMEDOUT);
        let way_out = format!("by ESP to {peer}");
        let names = &[ends, &way_out, "no security association is there"];
        let (code, outcome, errno) = ("denied.policy", "failed", Some("ETIMEDOUT"));
        trace.explains(&attempt, &Expected { code, outcome, errno, names, remote: Some(target), certainty: None });
        trace.only(&["denied.policy"]);
    }
}
