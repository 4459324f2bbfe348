//! What a failed connection means, from its errno and the facts of this host. Owns: the verdicts of ports, routes and pings.
//! Must not know: how the connection was tried.
//!
//! An errno alone never proves who is to blame: a verdict is `proven` only where a fact of the kernel says the same.

use super::{
    Ladder,
    port::{Attempt, Failure},
    verdict,
};
use crate::{
    event::{Netns, Protocol},
    explain::phrase,
    fact::{Answer, Interface, Listener, Route},
    inspect::{Ask, errno_text, nanoseconds},
    quantity::duration,
    report::{Certainty, Verdict},
    want::Want,
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// A neighbour that doesn't answer is asked for a second at least (`retrans_time_ms`, net/ipv4/arp.c, Linux 6.18): less, because
/// it may have been asked before.
const ASKED: Duration = Duration::from_millis(500);

/// IPv6 is switched off where it is 1; below /proc/sys/net.
pub(in crate::inspect) const IPV6_OFF: &str = "ipv6/conf/all/disable_ipv6";

/// A link-local address without its link. As connect says it: EINVAL (tcp_v6_connect, net/ipv6/tcp_ipv6.c, Linux 6.18).
#[must_use]
pub(in crate::inspect) fn no_link(to: IpAddr) -> Verdict {
    let summary =
        format!("{to} is a link-local address, which every link has for itself, and no link is named with it");
    let proof = [("address", format!("{to} has no zone: connect gets EINVAL"))];
    let mut failed = verdict("local.bad-target", Certainty::Proven, summary, &proof);
    failed.advice.push(format!("use an address that is valid beyond one link, or name the link: {to}%eth0"));
    failed
}

/// IPv6 is switched off in a namespace, and connect gets EADDRNOTAVAIL, whatever its tables hold (ip6_dst_lookup_tail,
/// net/ipv6/ip6_output.c, Linux 6.18).
pub(in crate::inspect) fn ipv6_is_off() -> Verdict {
    let proof = [("sysctl", format!("net.{} = 1", IPV6_OFF.replace('/', ".")))];
    let summary = "IPv6 is switched off in this network namespace";
    let mut failed = verdict("local.no-family", Certainty::Proven, summary, &proof);
    failed.advice.push("switch it on (sysctl net.ipv6.conf.all.disable_ipv6=0), or use IPv4".into());
    failed
}

/// What is wrong with the interface that a route leads through; none: it can be used.
pub(in crate::inspect) fn interface(to: IpAddr, interface: &Interface) -> Option<Verdict> {
    let what = match (interface.up, interface.carrier) {
        (false, _) => "is down",
        (true, false) => "has no carrier",
        (true, true) => return None,
    };
    let summary = format!("{}, which leads to {to}, {what}", interface.name);
    let proof = [("interfaces", format!("{} {what}", interface.name))];
    let mut failed = verdict("route.interface-down", Certainty::Proven, summary, &proof);
    failed.advice.push(bring_up(interface));
    Some(failed)
}

/// What to do about an interface that can't be used.
pub(super) fn bring_up(interface: &Interface) -> String {
    if interface.up {
        format!("{}: plug it in, or see to its other end", interface.name)
    } else {
        format!("bring it up: ip link set {} up", interface.name)
    }
}

/// What is wrong with a route; none: packets can leave.
pub(in crate::inspect) fn route(to: IpAddr, route: &Route) -> Option<Verdict> {
    let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
    let errno = io::Error::from_raw_os_error(route.errno);
    let proof = [("route", format!("lookup of {to}: {}", errno_text(&errno)))];
    if route.errno == 0 {
        return None;
    }
    let rejecting = matches!(route.kind.as_str(), "unreachable" | "prohibit" | "blackhole" | "throw");
    let mut said = if rejecting || route.rule.is_some() {
        let entry = route.prefix.as_ref().map(|_| format!(": {}", route.text)).unwrap_or_default();
        let summary = format!("{} rejects {to}{entry}", phrase::rejecter(route));
        let mut said = verdict("route.rejects", Certainty::Proven, summary, &proof);
        said.advice.push("remove it, or add a more specific route: netdx routes shows them all".into());
        said
    } else if let Some(unusable) = route.unusable.first() {
        let summary = format!("the route to {to} can't be used: {unusable}");
        let mut said = verdict("route.interface-down", Certainty::Proven, summary, &proof);
        said.advice.push("bring the interface up, and see to its carrier: netdx addrs".into());
        said
    } else if route.main_unasked {
        let summary = format!("there is no {family} route to {to}: no rule has the kernel look into table main");
        let mut said = verdict("route.none", Certainty::Proven, summary, &proof);
        let flag = if to.is_ipv4() { "" } else { "-6 " };
        said.advice
            .push(format!("add a rule for it, such as the usual one: ip {flag}rule add lookup main priority 32766"));
        said
    } else {
        let default =
            if route.has_default { "although there is a default route" } else { "and there is no default route" };
        let summary = format!("there is no {family} route to {to}, {default}");
        let mut said = verdict("route.none", Certainty::Proven, summary, &proof);
        said.advice.push(format!("add a route to {to}, or a default route"));
        said
    };
    said.evidence.extend(route.unusable.iter().map(|text| crate::report::Evidence {
        t_ns: None,
        what: "route",
        text: text.clone(),
    }));
    Some(said)
}

impl<H: Ask> Ladder<'_, H> {
    /// The verdict of a connection that failed.
    pub(super) fn judge(&mut self, attempt: &Attempt) -> Verdict {
        match &attempt.error {
            Some(Failure::Silence(patience)) => self.silence(attempt.endpoint, *patience),
            Some(Failure::Io(error)) => self.errno(attempt.endpoint, error, attempt.elapsed),
            None => verdict("unexplained", Certainty::Possible, "it did not fail", &[]),
        }
    }

    fn errno(&mut self, endpoint: SocketAddr, error: &io::Error, elapsed: Duration) -> Verdict {
        let to = endpoint.ip();
        let said = errno_text(error);
        let proof = vec![("errno", format!("connect: {said} after {}", duration(nanoseconds(elapsed))))];
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => self.refused(endpoint, proof),
            Some(libc::ETIMEDOUT) => self.silence(endpoint, Duration::ZERO),
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES | libc::EADDRNOTAVAIL) => {
                self.no_way_there(to, error, elapsed, proof)
            }
            Some(libc::EPERM) => {
                let summary =
                    format!("this host's kernel did not let the packet to {to} out: a firewall rule, or a BPF program");
                let mut said = verdict("firewall.dropped", Certainty::Possible, summary, &proof);
                said.advice.extend(self.ask_the_kernel("names the rule or the program"));
                said
            }
            Some(libc::EAFNOSUPPORT) => {
                let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
                verdict("local.no-family", Certainty::Proven, format!("{family} is turned off on this host"), &proof)
            }
            Some(libc::ENETDOWN) => verdict(
                "route.interface-down",
                Certainty::Proven,
                format!("the interface that leads to {to} is down"),
                &proof,
            ),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                verdict("local.resources", Certainty::Proven, format!("this host ran out of something: {said}"), &proof)
            }
            Some(libc::EADDRINUSE) => verdict(
                "local.address-in-use",
                Certainty::Proven,
                format!("the local address is taken: {said}"),
                &proof,
            ),
            Some(libc::ECONNRESET) => {
                verdict("broken.reset-by-peer", Certainty::Likely, format!("{to} reset the connection"), &proof)
            }
            _ => verdict("unexplained", Certainty::Possible, format!("connecting to {to} failed: {said}"), &proof),
        }
    }

    fn no_way_there(
        &mut self,
        to: IpAddr,
        error: &io::Error,
        elapsed: Duration,
        mut proof: Vec<(&'static str, String)>,
    ) -> Verdict {
        let looked_up = self.route(to);
        if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) {
            if to.is_ipv6() && self.is_ipv6_off() {
                return ipv6_is_off();
            }
            let summary = format!("this host has no free local port or address to connect to {to} from");
            return verdict("local.ports-exhausted", Certainty::Possible, summary, &proof);
        }
        if let Some(failed) = looked_up.as_ref().and_then(|r| route(to, r)) {
            return failed;
        }
        if let Some(route) = looked_up.as_ref().filter(|r| matches!(r.kind.as_str(), "broadcast" | "multicast")) {
            let summary = format!("{to} is a {} address, and TCP connects to one host only", route.kind);
            proof.push(("route", route.text.clone()));
            let mut said = verdict("local.bad-target", Certainty::Proven, summary, &proof);
            said.advice.push("use the address of one host".into());
            return said;
        }
        // What failed sooner has not waited for the next hop, whose entry may have failed long ago.
        let waited = error.raw_os_error() == Some(libc::EHOSTUNREACH) && elapsed >= ASKED;
        if let Some(route) = looked_up.as_ref().filter(|_| waited) {
            let hop = route.gateway.unwrap_or(to);
            if let Some(neighbor) = self.neighbor(hop, route.device).filter(|n| n.state == "failed") {
                proof.push(("neighbor", format!("{hop} dev {} failed", neighbor.device_name)));
                let summary = format!("{hop}, the next hop to {to}, does not answer on {}", route.device_name);
                return verdict("route.neighbor-silent", Certainty::Proven, summary, &proof);
            }
        }
        match error.raw_os_error() {
            Some(libc::EACCES) => {
                let summary = format!("{to} may not be connected to: {}", errno_text(error));
                verdict("denied.policy", Certainty::Possible, summary, &proof)
            }
            Some(libc::EINVAL) => {
                let summary = format!("{to} can't be connected to: {}", errno_text(error));
                verdict("local.bad-target", Certainty::Likely, summary, &proof)
            }
            _ => {
                let summary = format!("a router on the way to {to}, or {to} itself, says that it can't be reached");
                verdict("route.icmp-unreachable", Certainty::Likely, summary, &proof)
            }
        }
    }

    /// Whether this namespace has IPv6 switched off.
    pub(super) fn is_ipv6_off(&mut self) -> bool {
        let want = Want::Sysctl { netns: self.request.netns, key: IPV6_OFF.into() };
        matches!(self.host.ask(&want), Answer::Sysctl(value) if value == "1")
    }

    fn refused(&mut self, endpoint: SocketAddr, mut proof: Vec<(&'static str, String)>) -> Verdict {
        let (to, port) = (endpoint.ip(), endpoint.port());
        let owners = match self.host.ask(&Want::Owners { address: to, from: self.request.netns }) {
            // An address of this namespace is reached here, whoever else has it.
            Answer::Owners(owners) if owners.contains(&self.request.netns) => vec![self.request.netns],
            Answer::Owners(owners) => owners,
            _ => Vec::new(),
        };
        if owners.is_empty() {
            let summary = format!(
                "{to} refused port {port}: nothing listens there, or a firewall there (or on this side) answers with a reset"
            );
            let mut said = verdict("refused.remote", Certainty::Likely, summary, &proof);
            said.advice.push(format!(
                "on {to}: see that the service runs and listens on that address: netdx listeners {port}"
            ));
            return said;
        }
        let listeners = self.listeners(port);
        let (there, mut elsewhere): (Vec<&Listener>, Vec<&Listener>) =
            listeners.iter().partition(|l| owners.contains(&l.netns) && covers(l, to));
        // What the same namespace has is nearer.
        elsewhere.sort_by_key(|l| !owners.contains(&l.netns));
        // The same address in several namespaces: the one that answered may be any in which nobody listens.
        let silent = owners.iter().any(|netns| there.iter().all(|l| l.netns != *netns));
        let sure = owners.len() == 1 && !owners.iter().any(|netns| self.may_reject(*netns));
        let certainty = if sure { Certainty::Likely } else { Certainty::Possible };
        if let Some(listener) = there.first().filter(|_| !silent) {
            proof.push(("listeners", said_of(listener)));
            let full = listener.backlog > listener.max_backlog;
            let (code, certainty, why) = if full {
                ("refused.queue-full", Certainty::Likely, "its accept queue is full")
            } else {
                (
                    "firewall.rejected",
                    Certainty::Possible,
                    "a firewall rule answers with a reset, or it has begun to listen just now",
                )
            };
            let summary = format!("{} listens on port {port}, yet the connection was refused: {why}", who(listener));
            return verdict(code, certainty, summary, &proof);
        }
        if let Some(listener) = elsewhere.first() {
            let places: Vec<String> = elsewhere.iter().map(|l| said_of(l) + &self.place(l, &owners)).collect();
            let summary = format!("{to} is this host, but nothing listens on {endpoint}: {}", places[0]);
            proof.extend(places.into_iter().map(|place| ("listeners", place)));
            let mut said = verdict("refused.bound-elsewhere", certainty, summary, &proof);
            said.advice.push(if owners.contains(&listener.netns) {
                format!("have {} listen on {to}, or connect to where it listens", who(listener))
            } else {
                phrase::reach_another_namespace(&who(listener))
            });
            return said;
        }
        proof.push(("listeners", format!("no socket listens on port {port} in any namespace that can be seen")));
        let or = if sure { "" } else { "; or a firewall rule there answers with a reset" };
        let summary = format!("{to} is this host, and nothing listens on port {port}{or}");
        let mut said = verdict("refused.no-listener", certainty, summary, &proof);
        said.advice.push(format!("start the service, or see on which port it listens: netdx listeners {port}"));
        said
    }

    /// ` in network namespace db`, where a listener is in none of these.
    fn place(&mut self, listener: &Listener, owners: &[Netns]) -> String {
        let netns = listener.netns;
        if owners.contains(&netns) {
            return String::new();
        }
        match self.host.ask(&Want::Namespace { netns }) {
            Answer::Namespace(namespace) => format!(" in {}", phrase::namespace_name(&namespace)),
            _ => format!(" in network namespace {}", netns.0),
        }
    }

    /// Whether a firewall rule of a namespace may be what answers with a reset.
    fn may_reject(&mut self, netns: Netns) -> bool {
        match self.host.ask(&Want::Ruleset { netns }) {
            Answer::Ruleset(ruleset) => {
                ruleset.chains.iter().flat_map(|c| &c.rules).any(|rule| rule.text.to_lowercase().contains("reject"))
            }
            // What can't be read may hold anything.
            _ => true,
        }
    }

    fn listeners(&mut self, port: u16) -> Vec<Listener> {
        match self.host.ask(&Want::Listeners { protocol: Protocol::Tcp, port }) {
            Answer::Listeners(listeners) => listeners,
            _ => Vec::new(),
        }
    }

    fn silence(&mut self, endpoint: SocketAddr, patience: Duration) -> Verdict {
        let (to, port) = (endpoint.ip(), endpoint.port());
        let within = if patience.is_zero() { String::new() } else { format!(" within {} s", patience.as_secs_f32()) };
        let mut proof = vec![("silence", format!("no answer from {endpoint}{within}"))];
        let owners = match self.host.ask(&Want::Owners { address: to, from: self.request.netns }) {
            Answer::Owners(owners) => owners,
            _ => Vec::new(),
        };
        let listeners = self.listeners(port);
        if let Some(full) =
            listeners.iter().find(|l| owners.contains(&l.netns) && covers(l, to) && l.backlog > l.max_backlog)
        {
            proof.push(("listeners", said_of(full)));
            let summary =
                format!("{} does not accept: {} connections wait, {} may", who(full), full.backlog, full.max_backlog);
            let mut said = verdict("timeout.queue-full", Certainty::Likely, summary, &proof);
            said.advice.push(format!("see why {} does not call accept", who(full)));
            return said;
        }
        let summary = if owners.is_empty() {
            format!(
                "{endpoint} did not answer{within}: a firewall there, on the way or here drops it, or the host is down"
            )
        } else {
            format!("{endpoint} is this host and did not answer{within}: a firewall of this host drops it, most likely")
        };
        let mut said = verdict("timeout.silent", Certainty::Possible, summary, &proof);
        said.advice.extend(self.ask_the_kernel("sees whether this host dropped it"));
        said
    }

    /// How netdx would learn more; none: it was to be traced.
    fn ask_the_kernel(&self, what: &str) -> Option<String> {
        let how = if rustix::process::geteuid().is_root() { "without --no-trace" } else { "as root" };
        (!self.request.trace).then(|| format!("{how} netdx {what}"))
    }
}

/// Whether a listener takes connections to this address.
fn covers(listener: &Listener, to: IpAddr) -> bool {
    if !listener.addr.is_unspecified() {
        return listener.addr == to;
    }
    listener.addr.is_ipv4() == to.is_ipv4() || listener.addr.is_ipv6() && !listener.v6only
}

/// `postgres[812]`, or the user where the process can't be seen.
fn who(listener: &Listener) -> String {
    match listener.owners.first() {
        Some(owner) => format!("{}[{}]", owner.comm, owner.pid),
        None => format!("a process of user {}", listener.uid),
    }
}

fn said_of(listener: &Listener) -> String {
    let v6only = if listener.v6only { " (IPv6 only)" } else { "" };
    format!("{} listens on {}{v6only}", who(listener), SocketAddr::new(listener.addr, listener.port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Netns;

    fn listener(addr: &str, v6only: bool) -> Listener {
        Listener {
            protocol: Protocol::Tcp,
            addr: addr.parse().unwrap(),
            port: 80,
            v6only,
            device: 0,
            netns: Netns(1),
            backlog: 0,
            max_backlog: 1,
            uid: 0,
            inode: 1,
            cookie: None,
            owners: Vec::new(),
        }
    }

    #[test]
    fn a_listener_takes_what_its_address_says() {
        let to = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(covers(&listener("0.0.0.0", false), to("10.0.0.5")));
        assert!(!covers(&listener("0.0.0.0", false), to("::1")));
        assert!(covers(&listener("::", false), to("10.0.0.5")));
        assert!(!covers(&listener("::", true), to("10.0.0.5")));
        assert!(covers(&listener("::", true), to("2001:db8::1")));
        assert!(!covers(&listener("127.0.0.1", false), to("10.0.0.5")));
    }

    #[test]
    fn a_failed_lookup_is_told_by_what_the_tables_hold() {
        let to: IpAddr = "10.9.9.9".parse().unwrap();
        let none = Route { errno: libc::ENETUNREACH, ..Route::default() };
        assert_eq!(route(to, &none).unwrap().code, "route.none");
        let rejects = Route { errno: libc::EHOSTUNREACH, kind: "unreachable".into(), ..Route::default() };
        assert_eq!(route(to, &rejects).unwrap().code, "route.rejects");
        let prefix = Some("default".into());
        let led_to = Route { rule: Some("54: lookup 88".into()), table: "88".into(), prefix, ..rejects };
        assert!(route(to, &led_to).unwrap().summary.starts_with("the unreachable route of table 88 (the rule `"));
        let past = Route { has_default: true, main_unasked: true, ..none.clone() };
        assert!(route(to, &past).unwrap().summary.contains("no rule has the kernel look into table main"));
        let down = Route { unusable: vec!["default dev eth0 linkdown".into()], ..none };
        assert_eq!(route(to, &down).unwrap().code, "route.interface-down");
        assert_eq!(route(to, &Route::default()), None);
    }
}
