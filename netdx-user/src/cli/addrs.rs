//! `netdx addrs`. Owns: its arguments. Must not know: interfaces (see `inspect::addrs`).

use super::{Format, Page, complete, filters};
use crate::{event::Netns, exit::Exit, host::Host, inspect::addrs};
use clap_complete::ArgValueCandidates;

/// Interfaces, their state and addresses, and what each address's prefix covers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// In another network namespace: its name (ip netns), the pid of a process in it, or its inode.
    #[arg(long, value_name = "NETNS", add = ArgValueCandidates::new(complete::namespaces))]
    netns: Option<String>,
    /// How the answer is written; JSON is the raw table, one object for each interface.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Lists them.
///
/// # Errors
/// There is no such namespace, it may not be entered; stdout is closed.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut host = Host::new();
    let netns = match &args.netns {
        Some(text) => Netns(filters::namespace(text)?),
        None => host.namespaces()?.own(),
    };
    let rows = addrs::list(netns, &mut host)?;
    let mut page = Page::new(args.format);
    match args.format {
        Format::Text => page.text(&addrs::text(&rows, page.view()))?,
        Format::Json => rows.iter().try_for_each(|row| page.json(row))?,
    }
    page.flush()?;
    Ok(Exit::Done)
}
