//! `netdx conns`. Owns: its arguments, and writing rows as they come. Must not know: sockets (see `inspect::conns`).

use super::{Format, Page, filters};
use crate::{
    exit::Exit,
    filter::{Filter, Host as Remote},
    host::Host,
    inspect::{
        conns::{self, Conn, Request, Summary, text},
        getaddrinfo, who,
    },
    report::SCHEMA,
};
use anyhow::Context as _;
use serde::Serialize;
use std::net::IpAddr;

/// States that can be asked for, as ss(8) has them.
const STATES: [&str; 10] = [
    "established",
    "syn-sent",
    "syn-recv",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "close-wait",
    "last-ack",
    "closing",
    "bound",
];

/// Connections with their owner, state, age, queues, round-trip time and retransmissions
///
/// In every namespace that can be seen; without those in time-wait, unless --all or --summary. A name after --host is
/// resolved now.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Count them, by state and by remote.
    #[arg(short, long)]
    summary: bool,
    /// Those in time-wait too.
    #[arg(short, long)]
    all: bool,
    /// TCP only.
    #[arg(short, long)]
    tcp: bool,
    /// Connected UDP only.
    #[arg(short, long)]
    udp: bool,
    /// Only in this state.
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = STATES)]
    state: Vec<String>,
    /// How the answer is written; JSON is the raw table, one object for each connection (for each count with --summary).
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    // Last, because its heading would stand over what follows.
    #[command(flatten)]
    filters: filters::Connections,
}

/// A count: one line of `--summary --format json`.
#[derive(Debug, Default, Serialize)]
struct Count {
    schema: u32,
    kind: &'static str,
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u32>,
    count: u64,
}

/// Lists or counts them.
///
/// # Errors
/// A filter names what isn't there; the kernel can't be asked; stdout is closed.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let both = args.tcp == args.udp;
    let request = Request {
        tcp: args.tcp || both,
        udp: args.udp || both,
        all: args.all || args.summary,
        states: args.state.clone(),
        filter: filter(args)?,
    };
    let mut host = Host::new();
    let mut page = Page::new(args.format);
    let unseen = if args.summary {
        let summary = conns::summary(&request, &mut host)?;
        match args.format {
            Format::Text => page.text(&text::summary(&summary, page.view()))?,
            Format::Json => counts(&summary).iter().try_for_each(|count| page.json(count))?,
        }
        summary.unseen
    } else {
        let view = page.view();
        let mut batch: Vec<Conn> = Vec::new();
        let mut none = true;
        let unseen = conns::list(&request, &mut host, |conn| match args.format {
            Format::Json => page.json(&conn),
            Format::Text => {
                none = false;
                batch.push(conn);
                if batch.len() < text::BATCH {
                    return Ok(());
                }
                let written = page.text(&text::rows(&batch, view));
                batch.clear();
                written
            }
        })?;
        if args.format == Format::Text {
            page.text(&match batch[..] {
                [] if none => "no such connection\n".into(),
                [] => String::new(),
                _ => text::rows(&batch, view),
            })?;
        }
        unseen
    };
    if args.format == Format::Text {
        page.text(&who::unseen(&unseen, page.view()))?;
    }
    page.flush()?;
    Ok(Exit::Done)
}

/// The filter, with the addresses that names after `--host` have now: a socket knows no name.
fn filter(args: &Args) -> anyhow::Result<Filter> {
    let mut filter = args.filters.resolve()?;
    filters::here(&filter)?;
    let mut hosts = Vec::new();
    for host in filter.hosts {
        match host {
            Remote::Net(..) => hosts.push(host),
            Remote::Name(name) => {
                let addresses = getaddrinfo::addresses(&name)
                    .with_context(|| format!("--host {}: it can't be resolved", name.escape_debug()))?;
                let whole = |a: IpAddr| Remote::Net(a, if a.is_ipv4() { 32 } else { 128 });
                hosts.extend(addresses.into_iter().map(|found| whole(found.address)));
            }
        }
    }
    filter.hosts = hosts;
    Ok(filter)
}

fn counts(summary: &Summary) -> Vec<Count> {
    let count = |by, count| Count { schema: SCHEMA, kind: "count", by, count, ..Count::default() };
    let states = summary.states.iter().map(|(&(protocol, state), &n)| Count {
        protocol: Some(protocol),
        state: Some(state),
        ..count("state", n)
    });
    let remotes = summary.remotes.iter().map(|(&remote, &n)| Count { remote: Some(remote), ..count("remote", n) });
    let places = summary.places.iter().map(|(&netns, &n)| Count { netns: Some(netns), ..count("netns", n) });
    states.chain(remotes).chain(places).collect()
}
