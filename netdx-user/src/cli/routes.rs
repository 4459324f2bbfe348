//! `netdx routes`. Owns: its arguments. Must not know: routes (see `inspect::routes`).

use super::{Format, Page, Usage, complete, filters};
use crate::{
    event::Netns,
    exit::Exit,
    fact::Interface,
    host::{Host, interface, route::Query},
    inspect::{
        getaddrinfo, routes,
        zone::{self, Scoped},
    },
};
use anyhow::Context as _;
use clap_complete::ArgValueCandidates;
use std::net::IpAddr;

/// Rules, routes and neighbours; for an address: which of them a packet would take, and which step would fail
///
/// Sends nothing, except that a name has to be resolved as the system does it. Exit status 3: a step would fail.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An address (a link-local one with its link: fe80::1%eth0), or a name.
    address: Option<String>,
    /// From this source address.
    #[arg(long, value_name = "ADDRESS", requires = "address")]
    from: Option<IpAddr>,
    /// As a socket that is bound to this interface.
    #[arg(long, value_name = "INTERFACE", requires = "address")]
    dev: Option<String>,
    /// With this mark (SO_MARK), decimal or 0x...
    #[arg(long, value_parser = mark, default_value = "0", requires = "address")]
    mark: u32,
    /// As this user, by name or number.
    #[arg(long, value_name = "USER", requires = "address")]
    uid: Option<String>,
    /// In another network namespace: its name (ip netns), the pid of a process in it, or its inode.
    #[arg(long, value_name = "NETNS", add = ArgValueCandidates::new(complete::namespaces))]
    netns: Option<String>,
    /// The local table too, and neighbours that need no asking.
    #[arg(short, long)]
    all: bool,
    /// How the answer is written; JSON is the raw table, one object for each rule, route and neighbour.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Lists them, or retraces a packet's way.
///
/// # Errors
/// There is no such namespace, interface or name; stdout is closed.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut host = Host::new();
    let netns = match &args.netns {
        Some(text) => Netns(filters::namespace(text)?),
        None => host.namespaces()?.own(),
    };
    let mut page = Page::new(args.format);
    let Some(text) = &args.address else {
        let tables = routes::tables(netns, &mut host)?;
        match args.format {
            Format::Text => page.text(&routes::text::tables(&tables, args.all, page.view()))?,
            Format::Json => tables.rows.iter().try_for_each(|row| page.json(row))?,
        }
        page.flush()?;
        return Ok(Exit::Done);
    };
    let bound = match &args.dev {
        Some(name) => Some(device(name, netns, &mut host)?),
        None => None,
    };
    let (addresses, name) = match (text.parse::<IpAddr>(), zone::split(text)) {
        (Ok(IpAddr::V6(address)), _) if bound.is_none() && zone::is_needed(address.into()) => {
            return Err(Usage::from(zone::Error::Missing(address)).into());
        }
        (Ok(address), _) => (vec![Scoped { address: zone::meant(address.to_canonical()), link: 0 }], None),
        (Err(_), Some((address, zone))) => {
            let device = zone::among(address, zone, &links(netns, &mut host)?).map_err(Usage::from)?;
            // As connect says it (EINVAL; __ip6_datagram_connect, net/ipv6/datagram.c, and tcp_v6_connect).
            if bound.is_some_and(|bound| bound != device) {
                return Err(Usage("--dev and the zone of the address have to be the same interface".into()).into());
            }
            (vec![Scoped { address: address.into(), link: device }], None)
        }
        (Err(_), None) => {
            let found = getaddrinfo::addresses(text);
            let found = found.with_context(|| format!("{}: it can't be resolved", text.escape_debug()))?;
            (found, Some(text.as_str()))
        }
    };
    let uid = match &args.uid {
        Some(user) => filters::uid(user)?,
        None => rustix::process::geteuid().as_raw(),
    };
    let mut failed = false;
    for Scoped { address: to, link } in addresses {
        if args.from.is_some_and(|from| from.is_ipv4() != to.is_ipv4()) {
            if name.is_some() {
                continue;
            }
            return Err(Usage("--from and the address have to be of one family".into()).into());
        }
        let device = bound.unwrap_or(link);
        let query = Query { to, from: args.from, device, mark: args.mark, uid, flow: None };
        let path = routes::path(netns, query, &mut host)?;
        failed |= path.fails.is_some();
        match args.format {
            Format::Text => page.text(&routes::text::path(&path, name, page.view()))?,
            Format::Json => page.json(&path)?,
        }
    }
    page.flush()?;
    Ok(if failed { Exit::Verdict } else { Exit::Done })
}

fn device(name: &str, netns: Netns, host: &mut Host) -> anyhow::Result<u32> {
    let links = links(netns, host)?;
    let link = links.iter().find(|link| link.name == name);
    let missing = || Usage::from(zone::Error::NoInterface(name.to_owned()));
    Ok(link.ok_or_else(missing)?.index)
}

fn links(netns: Netns, host: &mut Host) -> anyhow::Result<Vec<Interface>> {
    host.namespaces()?.within(netns, interface::links)?.context("list the interfaces")
}

fn mark(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.map_err(|error| error.to_string())
}
