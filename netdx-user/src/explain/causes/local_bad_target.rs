//! `local.bad-target`

use super::evidence::{call_proof, told};
use crate::{
    coverage::Coverage,
    event::{Call, Protocol},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, nothing},
    report::Certainty,
    story::Connection,
};
use std::net::IpAddr;

pub(super) const CAUSE: Cause = Cause {
    code: "local.bad-target",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &["route.none", "route.rejects", "denied.policy"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
That address can't be connected to.

# What happened
The target is no address of one host: a broadcast or multicast address (TCP can't, UDP to broadcast needs SO_BROADCAST), a
link-local IPv6 address without the interface it is on, or port 0.

# How netdx knows
The call failed at once with the errno for it, although its routing lookup found a route, and the address is of that kind.

# What to do
Use the host's own address. For a link-local address add the interface: fe80::1%eth0.

# Easily confused with
route.none: ENETUNREACH because there is no route. denied.policy: EACCES from a security module.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(call) = c.failed_call() else { return Judgement::No };
    if !matches!(call.call, Call::Connect | Call::Send | Call::IoUringConnect) || c.id.is_some() {
        return Judgement::No;
    }
    let remote = c.tuple.remote;
    let link_local = matches!(remote, IpAddr::V6(a) if a.segments()[0] & 0xffc0 == 0xfe80);
    let broadcast =
        matches!(remote, IpAddr::V4(a) if a.is_broadcast()) || c.route().is_some_and(|r| r.kind == "broadcast");
    let multicast = remote.is_multicast();
    let unknown = remote.is_unspecified() && c.tuple.remote_port == 0;
    let kind = match call.errno {
        errno::EINVAL if link_local && c.bound_device == 0 => "a link-local address without its interface (scope id)",
        errno::EINVAL | errno::EADDRNOTAVAIL if c.tuple.remote_port == 0 => "port 0, which is no port",
        // tcp_v6_connect, __ip6_datagram_connect (6.18)
        errno::ENETUNREACH if c.v6_socket && remote.is_ipv4() && call.route.count == 0 => {
            "an IPv4 address, and the socket is for IPv6 only (IPV6_V6ONLY)"
        }
        errno::ENETUNREACH if broadcast && c.tuple.protocol != Protocol::Udp => "a broadcast address",
        errno::ENETUNREACH if multicast && c.tuple.protocol != Protocol::Udp => "a multicast address",
        errno::EACCES if broadcast => "a broadcast address, and the socket has not set SO_BROADCAST",
        // udp_sendmsg (6.18) gives EACCES for nothing else once its routing lookup has succeeded.
        errno::EACCES if unknown && call.call == Call::Send && call.route.error == 0 => {
            "a broadcast address, and the socket has not set SO_BROADCAST"
        }
        _ => return Judgement::No,
    };
    let advice = match call.errno {
        errno::EINVAL if link_local && c.bound_device == 0 => format!("name its interface: {remote}%INTERFACE"),
        _ => "use the address of one host (and a port above 0)".into(),
    };
    let (certainty, target) = if unknown {
        (Certainty::Likely, "the address it sent to".to_owned())
    } else {
        (Certainty::Proven, remote.to_string())
    };
    Judgement::Yes(
        Finding::new(certainty, format!("{target} is {kind}"), call_proof(c, &call)).and_all(told(c)).advise(advice),
    )
}
