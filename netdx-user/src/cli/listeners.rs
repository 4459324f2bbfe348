//! `netdx listeners`. Owns: its arguments. Must not know: sockets (see `inspect::listeners`).

use super::{Format, Page, complete};
use crate::{
    exit::Exit,
    host::Host,
    inspect::listeners::{self, Request},
};
use clap_complete::ArgValueCandidates;

/// Who waits for connections, on which address and port, in every namespace that can be seen
///
/// With PORT: who holds it, who can reach it, how full its accept queue is; and, when nobody does, what is near.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this port.
    #[arg(value_parser = port, add = ArgValueCandidates::new(complete::ports))]
    port: Option<u16>,
    /// TCP only.
    #[arg(short, long)]
    tcp: bool,
    /// UDP only.
    #[arg(short, long)]
    udp: bool,
    /// Unix sockets too; with neither --tcp nor --udp beside the others.
    #[arg(short = 'x', long, conflicts_with = "port")]
    unix: bool,
    /// How the answer is written; JSON is the raw table, one object for each socket.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn port(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|port| *port != 0);
    number.ok_or_else(|| format!("'{}' is no port: 1 to 65535", text.escape_debug()))
}

/// Lists them.
///
/// # Errors
/// The kernel can't be asked; stdout is closed.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let both = args.tcp == args.udp;
    let request = Request { port: args.port, tcp: args.tcp || both, udp: args.udp || both, unix: args.unix };
    let listeners = listeners::list(request, &mut Host::new())?;
    let mut page = Page::new(args.format);
    match args.format {
        Format::Text => page.text(&listeners::text::write(&listeners, args.port, page.view()))?,
        Format::Json => listeners.rows.iter().try_for_each(|row| page.json(row))?,
    }
    page.flush()?;
    Ok(Exit::Done)
}
