//! `netdx routes`: the rules and tables of a namespace, and which of them a packet to an address would take.
//!
//! Owns: [`Tables`], [`Path`]. Must not know: how the kernel is asked (`host/route`), how they are shown (`text`).

pub mod text;

use super::{ladder, zone};
use crate::{
    event::Netns,
    explain::errno,
    fact::{Interface, Neighbor, Route},
    host::{
        Error, Host,
        decision::{Outcome, Step},
        fib, interface, neigh,
        route::{self, Query},
        rule, sysctl,
    },
    report::{SCHEMA, Verdict},
};
use serde::Serialize;
use std::{collections::BTreeMap, io, net::IpAddr, ops::ControlFlow};

/// A rule, a route or a neighbour: one line of `--format json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Row {
    /// A policy rule.
    Rule {
        /// Version of the shape.
        schema: u32,
        /// 4 or 6.
        family: u8,
        /// Rules are asked from the lowest on.
        priority: u32,
        /// As `ip rule` prints it.
        text: String,
    },
    /// A route.
    Route {
        /// Version of the shape.
        schema: u32,
        /// 4 or 6.
        family: u8,
        /// Table by name or number.
        table: String,
        /// unicast, local, unreachable, ...
        #[serde(rename = "type")]
        route: String,
        /// Prefix, `default` for all.
        prefix: String,
        /// Interfaces; more than one: multipath.
        devices: Vec<String>,
        /// Gateways of the same.
        gateways: Vec<Option<IpAddr>>,
        /// Source address it prefers.
        source: Option<IpAddr>,
        /// Of equal prefixes the lowest metric is taken.
        metric: u32,
        /// None of its interfaces can be used now.
        dead: bool,
        /// As `ip route` prints it.
        text: String,
    },
    /// A neighbour.
    Neighbor {
        /// Version of the shape.
        schema: u32,
        /// Its address.
        addr: IpAddr,
        /// Interface.
        device: String,
        /// Link-layer address.
        lladdr: Option<String>,
        /// reachable, stale, failed, ...
        state: String,
    },
}

/// The tables of a namespace.
#[derive(Debug, Default)]
pub struct Tables {
    /// Rules by family and priority, then routes by family and table, then neighbours.
    pub rows: Vec<Row>,
}

/// Reads the tables of a namespace.
///
/// # Errors
/// It may not be entered, or the kernel could not be asked.
pub fn tables(netns: Netns, host: &mut Host) -> Result<Tables, Error> {
    let read = || -> io::Result<Tables> {
        let names = rule::Tables::read();
        let links = interface::links()?;
        let name = |index: u32| links.iter().find(|l| l.index == index).map(|l| l.name.clone()).unwrap_or_default();
        let mut rows = Vec::new();
        for v6 in [false, true] {
            let family = if v6 { 6 } else { 4 };
            rows.extend(rule::list(v6)?.iter().map(|rule| Row::Rule {
                schema: SCHEMA,
                family,
                priority: rule.priority,
                text: rule.text(&names),
            }));
        }
        for v6 in [false, true] {
            let family = if v6 { 6 } else { 4 };
            fib::each(v6, |entry| {
                rows.push(Row::Route {
                    schema: SCHEMA,
                    family,
                    table: names.name(entry.table),
                    route: fib::kind_name(entry.kind),
                    prefix: entry.prefix(),
                    devices: entry.hops.iter().map(|hop| name(hop.device)).collect(),
                    gateways: entry.hops.iter().map(|hop| hop.gateway).collect(),
                    source: entry.source,
                    metric: entry.priority,
                    dead: !entry.hops.is_empty() && entry.hops.iter().all(|hop| hop.dead || hop.linkdown),
                    text: entry.text(&names, &name),
                });
                ControlFlow::Continue(())
            })?;
        }
        for v6 in [false, true] {
            rows.extend(neigh::list(v6, |_| true)?.into_iter().map(|entry| Row::Neighbor {
                schema: SCHEMA,
                addr: entry.address,
                device: name(entry.device),
                lladdr: entry.lladdr,
                state: entry.state.to_string(),
            }));
        }
        Ok(Tables { rows })
    };
    host.namespaces()?.within(netns, read)?.map_err(|source| Error::Kernel { what: "its routes", netns, source })
}

/// The way of a packet: one line of `--format json`.
#[derive(Debug, Serialize)]
pub struct Path {
    /// Version of the shape.
    pub schema: u32,
    /// `path`
    pub kind: &'static str,
    /// Where to.
    pub to: IpAddr,
    /// The rules that were asked, in order.
    pub steps: Vec<Asked>,
    /// The kernel's answer.
    pub route: Route,
    /// How many ways on the route has; with several, a hash of the packet says which is taken (net.ipv4.fib_multipath_hash_policy).
    pub ways: usize,
    /// Who gets the packet first: the gateway, or the target itself; null where it does not leave, or is put into another packet.
    pub next_hop: Option<IpAddr>,
    /// The interface it would leave through.
    pub interface: Option<Interface>,
    /// What the kernel knows of the next hop now; null: nothing.
    pub neighbor: Option<Neighbor>,
    /// MTU of the way: the route's, else the interface's; null: unknown.
    pub mtu: Option<u32>,
    /// Which step would fail; null: none, as far as this host can know.
    pub fails: Option<Failing>,
}

/// A rule that was asked.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// As `ip rule` prints it.
    pub rule: String,
    /// What came of it, in words.
    pub outcome: String,
    /// This is the one that decided.
    pub decided: bool,
}

/// A step that would fail.
#[derive(Debug, Serialize)]
pub struct Failing {
    /// address (the target's, or the source), rules, interface or neighbor.
    pub step: &'static str,
    /// The call that would fail: connect, or bind for a source that isn't there.
    pub call: &'static str,
    /// What it would get, by name; null: nothing at once, packets would be lost.
    pub errno: Option<String>,
    /// The verdict it would be.
    pub code: &'static str,
    /// In a sentence.
    pub text: String,
    /// What to do.
    pub advice: Vec<String>,
}

/// Retraces the way of a packet inside a namespace.
///
/// # Errors
/// The namespace may not be entered, or the kernel could not be asked.
pub fn path(netns: Netns, query: Query, host: &mut Host) -> Result<Path, Error> {
    let look = || -> io::Result<Looked> {
        let explained = route::explain(&query)?;
        let hop = explained.route.gateway.unwrap_or(query.to);
        let asks = leaves(&explained.route) && !is_rerouted(&explained.route);
        let neighbor = if asks { neigh::find(hop, explained.route.device)? } else { None };
        let from = query.from.map_or(Ok(vec![true]), |from| route::are_local(&[from]))?;
        let ipv6_is_off = sysctl::read(ladder::judge::IPV6_OFF).is_ok_and(|value| value == "1");
        Ok(Looked {
            explained,
            interfaces: interface::list()?,
            neighbor,
            names: rule::Tables::read(),
            from_is_local: from == [true],
            ipv6_is_off,
        })
    };
    let looked = host.namespaces()?.within(netns, look)?;
    let looked = looked.map_err(|source| Error::Kernel { what: "the route", netns, source })?;
    let fails = fails(&query, &looked);
    let Looked { explained, interfaces, neighbor, names, .. } = looked;
    let by_index: BTreeMap<u32, String> = interfaces.iter().map(|i| (i.index, i.name.clone())).collect();
    let name = |index: u32| by_index.get(&index).cloned().unwrap_or_default();
    let steps = explained.decision.steps.iter().enumerate();
    let steps = steps
        .map(|(index, step)| Asked {
            rule: step.rule.text(&names),
            outcome: outcome(step, &names, &name),
            decided: explained.decided == Some(index),
        })
        .collect();
    let ways = match explained.decided.map(|index| &explained.decision.steps[index].outcome) {
        Some(Outcome::Takes(entry)) => entry.hops.len(),
        _ => 1,
    };
    let route = explained.route;
    let interface = interfaces.into_iter().find(|i| route.errno == 0 && i.index == route.device);
    let next_hop = next_hop(query.to, &route);
    let mtu = Some(route.mtu).filter(|mtu| *mtu > 0).or(interface.as_ref().map(|i| i.mtu));
    Ok(Path {
        schema: SCHEMA,
        kind: "path",
        to: query.to,
        steps,
        route,
        ways,
        next_hop,
        interface,
        neighbor,
        mtu,
        fails,
    })
}

/// What was read in the namespace.
struct Looked {
    explained: route::Explained,
    interfaces: Vec<Interface>,
    neighbor: Option<Neighbor>,
    names: rule::Tables,
    /// The source that was asked for is an address of this namespace.
    from_is_local: bool,
    ipv6_is_off: bool,
}

/// Who gets the packet first; none: it does not leave this namespace to one other host, or its route does not say by whom.
fn next_hop(to: IpAddr, route: &Route) -> Option<IpAddr> {
    (leaves(route) && !is_rerouted(route)).then(|| route.gateway.unwrap_or(to))
}

/// Whether what the packet is put into has a way of its own. MPLS labels go to the route's own gateway (`mpls_xmit`,
/// net/mpls/mpls_iptunnel.c, Linux 6.18).
fn is_rerouted(route: &Route) -> bool {
    route.encap.as_deref().is_some_and(|kind| kind != "mpls")
}

/// Whether the packet leaves this namespace to one other host.
fn leaves(route: &Route) -> bool {
    route.errno == 0 && route.kind == "unicast"
}

fn outcome(step: &Step, names: &rule::Tables, name: &dyn Fn(u32) -> String) -> String {
    fn words(outcome: &Outcome, names: &rule::Tables, name: &dyn Fn(u32) -> String) -> String {
        match outcome {
            Outcome::NotForIt => "not for this packet".into(),
            Outcome::Unsure(inner) => {
                format!(
                    "it can't be told from here whether it is for this packet; if so: {}",
                    words(inner, names, name)
                )
            }
            Outcome::Nothing => "does nothing".into(),
            Outcome::Goes(priority) => format!("goes on at rule {priority}"),
            Outcome::NoRoute => "its table has no route there that can be used".into(),
            Outcome::Throws(entry) => format!("its table throws the packet back: {}", entry.text(names, name)),
            Outcome::Suppressed(entry) => {
                format!("has a route that is too general for the rule: {}", entry.text(names, name))
            }
            Outcome::Takes(entry) => entry.text(names, name),
            Outcome::RouteRejects(entry, number) => {
                format!("rejects: {} ({})", entry.text(names, name), errno::name(*number))
            }
            Outcome::RuleRejects(number) => format!("the rule itself rejects ({})", errno::name(*number)),
        }
    }
    words(&step.outcome, names, name)
}

fn fails(query: &Query, looked: &Looked) -> Option<Failing> {
    let (to, route) = (query.to, &looked.explained.route);
    let failing = |step, errno: Option<i32>, verdict: Verdict| Failing {
        step,
        call: "connect",
        errno: errno.map(errno::name),
        code: verdict.code,
        text: verdict.summary,
        advice: verdict.advice,
    };
    if query.device == 0 && zone::is_needed(to) {
        return Some(failing("address", Some(libc::EINVAL), ladder::judge::no_link(to)));
    }
    if to.is_ipv6() && route.errno != 0 && looked.ipv6_is_off {
        return Some(failing("address", Some(libc::EADDRNOTAVAIL), ladder::judge::ipv6_is_off()));
    }
    if let Some(source) = query.from.and_then(|from| bad_source(from, looked)) {
        return Some(source);
    }
    if let Some(verdict) = ladder::judge::route(to, route) {
        return Some(failing("rules", Some(route.errno), verdict));
    }
    let interface = looked.interfaces.iter().find(|i| leaves(route) && i.index == route.device);
    if let Some((interface, verdict)) = interface.and_then(|i| Some((i, ladder::judge::interface(to, i)?))) {
        // Without carrier neighbours are asked for in vain; where nobody is to be asked, packets are lost.
        let known = looked.neighbor.as_ref().is_some_and(|n| n.lladdr.is_some());
        let asks = interface.up && interface.has_ethernet_address() && !known;
        return Some(failing("interface", asks.then_some(libc::EHOSTUNREACH), verdict));
    }
    if let (Some(hop), Some(neighbor)) = (next_hop(to, route), looked.neighbor.as_ref().filter(|n| n.state == "failed"))
    {
        return Some(Failing {
            step: "neighbor",
            call: "connect",
            errno: Some(errno::name(libc::EHOSTUNREACH)),
            code: "route.neighbor-silent",
            text: format!(
                "{hop} did not answer on {} when it was asked last, and is asked again by the next packet; if it stays silent",
                neighbor.device_name
            ),
            advice: vec![format!("see whether {hop} is up and on the link of {}", neighbor.device_name)],
        });
    }
    None
}

/// A source that can't be used for that way.
fn bad_source(from: IpAddr, looked: &Looked) -> Option<Failing> {
    let outside = looked.explained.route.kind != "local";
    let (call, errno, text, advice) = if !looked.from_is_local {
        let advice = "use an address of this namespace: netdx addrs; or set net.ipv4.ip_nonlocal_bind=1";
        ("bind", Some(libc::EADDRNOTAVAIL), format!("{from} is no address of this namespace"), advice)
    } else if from.is_loopback() && outside {
        // IPv6 lets a socket send so, and nobody can answer (`__mkroute_output`, net/ipv4/route.c, gives EINVAL for IPv4).
        let errno = from.is_ipv4().then_some(libc::EINVAL);
        let text = format!("{from} is an address that this host has for itself only");
        ("connect", errno, text, "use an address that others can answer")
    } else {
        return None;
    };
    let (step, code, errno, advice) = ("address", "local.bad-source", errno.map(errno::name), vec![advice.into()]);
    Some(Failing { step, call, errno, code, text, advice })
}
