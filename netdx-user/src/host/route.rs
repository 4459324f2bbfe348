//! Routes that packets take. Owns: asking the kernel, and telling which rule and route its answer came from. Must not know:
//! namespaces, processes.
//!
//! The kernel itself decides (`inet_rtm_getroute`, `inet6_rtm_getroute`): once for the route it would use, once for the
//! table entry that matched (RTM_F_FIB_MATCH).

use super::{
    decision::{self, Choice, Decision, Outcome},
    fib::{self, Entry, LOCAL, MAIN, family, kind_name},
    interface,
    netlink::Exchange,
    rule::{self, PolicyAction, PolicyRule, Tables},
};
use crate::{
    fact::{Interface, Route},
    want::Flow,
};
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteType};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
};

/// What the lookup depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Destination.
    pub to: IpAddr,
    /// Source address, if the socket has one.
    pub from: Option<IpAddr>,
    /// Interface that the socket is bound to, 0: none.
    pub device: u32,
    /// SO_MARK.
    pub mark: u32,
    /// Effective user id.
    pub uid: u32,
    /// What rules can ask for besides; none: not known.
    pub flow: Option<Flow>,
}

/// How a route was chosen, and what the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The rules that were asked, in order.
    pub decision: Decision,
    /// The one step that the kernel's answer came from; none: no rule decided, or it can't be told which.
    pub decided: Option<usize>,
    /// The kernel's answer.
    pub route: Route,
}

/// Asks for the routes of packets, in the calling thread's namespace. The tables are read once for all of them.
///
/// # Errors
/// The kernel could not be asked; a lookup that fails is an answer.
pub fn lookup_all(queries: &[Query]) -> io::Result<Vec<Route>> {
    Ok(explain_all(queries)?.into_iter().map(|explained| explained.route).collect())
}

/// Asks for the route of a packet and retraces how it was chosen.
///
/// # Errors
/// As [`lookup_all`].
pub fn explain(query: &Query) -> io::Result<Explained> {
    let mut all = explain_all(std::slice::from_ref(query))?;
    all.pop().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// What routes depend on, at one moment, in one address family.
struct View {
    rules: Vec<PolicyRule>,
    tables: Tables,
    links: Vec<Interface>,
    /// Tables with a default route.
    defaults: Vec<u32>,
}

impl View {
    fn name(&self, index: u32) -> String {
        self.links.iter().find(|l| l.index == index).map(|l| l.name.clone()).unwrap_or_default()
    }
}

/// What the kernel says of one packet.
struct Answered {
    used: Result<Entry, i32>,
    matched: Option<Entry>,
    /// Entries whose prefix has its destination in it.
    covering: Vec<Entry>,
}

fn explain_all(queries: &[Query]) -> io::Result<Vec<Explained>> {
    let mut exchange = Exchange::new(NETLINK_ROUTE)?;
    let mut answered = Vec::with_capacity(queries.len());
    for query in queries {
        let used = get(&mut exchange, query, RouteFlags::LookupTable)?;
        let matched = get(&mut exchange, query, RouteFlags::LookupTable | RouteFlags::FibMatch)?.ok();
        answered.push(Answered { used, matched, covering: Vec::new() });
    }
    let (tables, links) = (Tables::read(), interface::links()?);
    let mut views = [None, None];
    for (v6, view) in [false, true].into_iter().zip(&mut views) {
        if queries.iter().all(|query| query.to.is_ipv6() != v6) {
            continue;
        }
        let mut of_family =
            View { rules: rule::list(v6)?, tables: tables.clone(), links: links.clone(), defaults: Vec::new() };
        fib::each(v6, |entry| {
            if entry.length == 0 && matches!(entry.kind, RouteType::Unicast) && !entry.expired {
                of_family.defaults.push(entry.table);
            }
            for (query, answered) in queries.iter().zip(&mut answered) {
                if entry.covers(query.to) && query.to.is_ipv6() == v6 {
                    answered.covering.push(entry.clone());
                }
            }
            ControlFlow::Continue(())
        })?;
        *view = Some(of_family);
    }
    let explained = queries.iter().zip(&answered).map(|(query, answered)| {
        let view = views[usize::from(query.to.is_ipv6())].as_ref().ok_or(io::ErrorKind::InvalidData)?;
        retrace(query, answered, view)
    });
    explained.collect()
}

/// Tells which rule and which entry an answer came from.
fn retrace(query: &Query, answered: &Answered, view: &View) -> io::Result<Explained> {
    let Answered { used, matched, covering } = answered;
    let View { rules, tables, links, defaults } = view;
    let name = |index: u32| view.name(index);
    // What is made here comes in by the loopback interface, as far as rules see (LOOPBACK_IFINDEX).
    let came_by = query.flow.map(|f| f.in_device).filter(|d| *d != 0).map_or_else(|| "lo".to_owned(), name);
    let decision = decision::decide(query, [&came_by, &name(query.device)], rules, covering);
    let mut agreeing = decision.choices.iter().filter(|c| agrees(c, used, matched.as_ref()));
    let choice = agreeing.next().filter(|_| agreeing.next().is_none());
    let decided = choice.and_then(|c| c.step);

    let mut route = Route::default();
    match used {
        Ok(used) => {
            let hop = used.hops.first().copied().unwrap_or_default();
            route.kind = kind_name(used.kind);
            (route.device, route.device_name) = (hop.device, name(hop.device));
            (route.gateway, route.source, route.mtu) = (hop.gateway, used.source, used.mtu);
            route.encap = hop.encap.map(str::to_owned);
            route.prefix = matched.as_ref().map(Entry::prefix);
            // Without policy rules local and main are one trie, which calls itself main (`fib_trie_unmerge`).
            let table = choice.and_then(|c| c.entry.as_ref()).or(matched.as_ref()).map_or(used.table, |e| e.table);
            route.table = tables.name(table);
            route.text = text(query, &route);
        }
        Err(errno) => {
            route.errno = *errno;
            refused(&mut route, &decision, choice, tables, &name);
        }
    }
    let rule = decided.map(|step| &decision.steps[step].rule).filter(|rule| !rule.is_default());
    route.rule = rule.map(|rule| rule.text(tables));
    route.by_mark = rules.iter().any(|rule| rule.fwmark.is_some());
    // Asked with its ports, too, the kernel names another one than the socket took, a third of the time (Linux 6.18).
    let several = route.errno == 0 && matched.as_ref().is_some_and(|entry| entry.hops.len() > 1);
    route.by_flow = several || query.flow.is_none() && rules.iter().any(PolicyRule::asks_for_flow);
    if several {
        route.text += " (one of several next hops)";
    }
    route.has_default = defaults.iter().any(|table| *table == MAIN || tables.name(*table) == route.table);
    let asks_main = |s: &decision::Step| s.rule.action == PolicyAction::Table(MAIN) && s.outcome != Outcome::NotForIt;
    route.main_unasked = route.errno != 0 && !decision.steps.iter().any(asks_main);
    if route.errno != 0 || matched.is_none() {
        route.unusable = unusable(query, covering, links, tables)?;
        route.expired = covering.iter().filter(|e| e.expired).map(|e| e.text(tables, &name)).collect();
    }
    Ok(Explained { decision, decided, route })
}

/// Whether what was retraced is what the kernel says.
fn agrees(choice: &Choice, used: &Result<Entry, i32>, matched: Option<&Entry>) -> bool {
    match (used, matched, &choice.entry) {
        (Err(errno), _, _) => choice.errno == *errno,
        (Ok(_), Some(matched), Some(entry)) => {
            let same_table = entry.table == matched.table || (entry.table == LOCAL && matched.table == MAIN);
            choice.errno == 0 && same_table && entry.kind == matched.kind && entry.prefix() == matched.prefix()
        }
        _ => false,
    }
}

/// Says what refused: a route or a rule that rejects, or one that throws back to rules that have nothing more.
fn refused(
    route: &mut Route,
    decision: &Decision,
    choice: Option<&Choice>,
    tables: &Tables,
    name: &dyn Fn(u32) -> String,
) {
    let outcome = match choice {
        Some(Choice { step: Some(step), .. }) => Some(&decision.steps[*step].outcome),
        Some(Choice { step: None, .. }) => {
            decision.steps.iter().rev().map(|s| &s.outcome).find(|o| matches!(o, Outcome::Throws(_)))
        }
        None => None,
    };
    let outcome = outcome.map(|o| if let Outcome::Unsure(inner) = o { inner } else { o });
    match (outcome, choice) {
        (Some(Outcome::RouteRejects(entry, _) | Outcome::Throws(entry)), _) => {
            route.kind = kind_name(entry.kind);
            route.table = tables.name(entry.table);
            route.prefix = Some(entry.prefix());
            route.text = entry.text(tables, name);
        }
        (Some(Outcome::RuleRejects(_)), Some(Choice { step: Some(step), .. })) => {
            let rule = &decision.steps[*step].rule;
            route.kind = match rule.action {
                PolicyAction::Prohibit => "prohibit",
                PolicyAction::Blackhole => "blackhole",
                _ => "unreachable",
            }
            .to_string();
            route.text = rule.text(tables);
        }
        _ => {}
    }
}

/// Routes that would lead there and can't be used, with the reason.
fn unusable(query: &Query, covering: &[Entry], links: &[Interface], tables: &Tables) -> io::Result<Vec<String>> {
    let name = |index: u32| links.iter().find(|l| l.index == index).map(|l| l.name.clone()).unwrap_or_default();
    let mut found = Vec::new();
    let leads = |e: &&Entry| matches!(e.kind, RouteType::Unicast | RouteType::Local);
    for entry in covering.iter().filter(leads) {
        let text = entry.text(tables, &name);
        if !entry.hops.is_empty() && entry.hops.iter().all(|h| h.dead || h.linkdown) {
            found.push(text);
        } else if query.device != 0 && entry.hops.iter().all(|h| h.device != query.device) {
            found.push(format!("{text} (the socket is bound to {})", name(query.device)));
        }
    }
    // An interface that is down has lost its routes; its own addresses tell what it would lead to.
    for assigned in interface::addresses_of_all()? {
        let (address, length) = assigned.network();
        let down = links.iter().find(|l| l.index == assigned.device && !l.up);
        if let Some(link) = down.filter(|_| crate::fact::covers(address, length, query.to)) {
            let network = Entry { to: Some(network(address, length)), length, ..Entry::new(RouteType::Unicast) };
            found.push(format!("{} dev {} ({} is down)", network.prefix(), link.name, link.name));
        }
    }
    found.dedup();
    Ok(found)
}

/// The first address of a prefix.
fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(length.into())).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask))
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(length.into())).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask))
        }
    }
}

/// Whether addresses are local to the calling thread's namespace: a packet to it would be delivered there.
///
/// # Errors
/// The kernel could not be asked.
pub fn are_local(addresses: &[IpAddr]) -> io::Result<Vec<bool>> {
    let mut exchange = Exchange::new(NETLINK_ROUTE)?;
    let mut local = |address: &IpAddr| {
        // Without an interface the kernel finds no route to a link-local address (`rt6_need_strict`, Linux 5.10 to 6.18).
        if matches!(address, IpAddr::V6(a) if a.is_unicast_link_local()) {
            return Ok(interface::addresses_of_all()?.iter().any(|assigned| assigned.address == *address));
        }
        let query = Query { to: *address, from: None, device: 0, mark: 0, uid: 0, flow: None };
        Ok(get(&mut exchange, &query, RouteFlags::empty())?.is_ok_and(|r| r.kind == RouteType::Local))
    };
    addresses.iter().map(&mut local).collect()
}

/// One lookup: the route, or the positive errno that connect(2) would get.
fn get(exchange: &mut Exchange, query: &Query, flags: RouteFlags) -> io::Result<Result<Entry, i32>> {
    let mut message = RouteMessage::default();
    let (family, length) = family(query.to.is_ipv6());
    message.header.address_family = family;
    message.header.destination_prefix_length = length;
    message.header.flags = flags;
    message.attributes = vec![
        RouteAttribute::Destination(query.to.into()),
        RouteAttribute::Uid(query.uid),
        RouteAttribute::Mark(query.mark),
    ];
    if let Some(from) = query.from.filter(|f| f.is_ipv6() == query.to.is_ipv6() && !f.is_unspecified()) {
        message.header.source_prefix_length = length;
        message.attributes.push(RouteAttribute::Source(from.into()));
    }
    if query.device != 0 {
        message.attributes.push(RouteAttribute::Oif(query.device));
    }
    if let Some(flow) = query.flow {
        if flow.in_device != 0 {
            message.attributes.push(RouteAttribute::Iif(flow.in_device));
        }
        // Of others the kernel takes none (rtm_getroute_parse_ip_proto, Linux 4.17 to 6.18).
        if let Some(number @ (6 | 17)) = flow.protocol.number() {
            message.attributes.extend([
                RouteAttribute::IpProto(number),
                RouteAttribute::Sport(flow.source_port),
                RouteAttribute::Dport(flow.destination_port),
            ]);
        }
    }
    let mut found = None;
    let result = exchange.request(libc::RTM_GETROUTE, 0, &message, |_, payload| {
        found = fib::parse(payload);
        ControlFlow::Break(())
    });
    match (result, found) {
        (Ok(()), Some(entry)) => Ok(Ok(entry)),
        (Ok(()), None) => Err(io::ErrorKind::InvalidData.into()),
        (Err(e), _) => match e.raw_os_error() {
            Some(errno) if is_lookup(errno) => Ok(Err(errno)),
            _ => Err(e),
        },
    }
}

/// Errors that a lookup gives, as against those of asking for it.
fn is_lookup(errno: i32) -> bool {
    [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::EACCES,
        libc::EINVAL,
        libc::ENODEV,
        libc::ENETDOWN,
        libc::EADDRNOTAVAIL,
    ]
    .contains(&errno)
}

fn text(query: &Query, route: &Route) -> String {
    let mut text = match route.kind.as_str() {
        "unicast" => query.to.to_string(),
        kind => format!("{kind} {}", query.to),
    };
    for (word, value) in [
        ("from", query.from.map(|f| f.to_string())),
        ("encap", route.encap.clone()),
        ("via", route.gateway.map(|g| g.to_string())),
        ("dev", Some(route.device_name.clone()).filter(|n| !n.is_empty())),
        ("table", Some(route.table.clone()).filter(|t| t != "main")),
        ("src", route.source.map(|s| s.to_string())),
    ] {
        if let Some(value) = value {
            text += &format!(" {word} {value}");
        }
    }
    text
}
