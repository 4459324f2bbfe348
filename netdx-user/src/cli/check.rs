//! `netdx check`. Owns: its arguments. Must not know: how a rung is tried (see `inspect::ladder`).

use super::{Format, Page, Usage};
use crate::{
    exit::Exit,
    host::Host,
    inspect::{
        ladder::{self, Family, Request, target::Target},
        zone,
    },
};
use anyhow::Context as _;
use std::{net::IpAddr, time::Duration};

/// Try every step to a target: interfaces, route, next hop, names, port, TLS, HTTP
///
/// Sends: DNS queries, pings to the next hops, TCP connections to the target, a TLS handshake and an HTTP HEAD where the port
/// or the URL says so. Nothing goes to a public address but the target, unless --internet names one.
/// Exit status 0: no rung failed; 3: one did.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name or an address ([fe80::1%eth0] for a link-local one), with :PORT if one is meant; or a URL.
    #[arg(value_name = "TARGET[:PORT]|URL", value_parser = Target::parse)]
    target: Target,
    /// TLS is spoken on the port, from the first byte.
    #[arg(long, conflicts_with = "no_tls")]
    tls: bool,
    /// No TLS is spoken on the port, whatever its number says.
    #[arg(long)]
    no_tls: bool,
    /// HTTP is spoken on the port: ask for the head of /.
    #[arg(long, conflicts_with = "no_http")]
    http: bool,
    /// No HTTP is spoken on the port, whatever its number says.
    #[arg(long)]
    no_http: bool,
    /// Try this public address too: with a ping, or with a TCP connection if :PORT is given.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = internet)]
    internet: Option<(IpAddr, Option<u16>)>,
    /// Do not trace beside it; as root it is traced, so that verdicts have the kernel's proof.
    #[arg(long)]
    no_trace: bool,
    /// IPv4 only.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6 only.
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Seconds that each step may take.
    #[arg(long, value_name = "SECONDS", value_parser = super::seconds, default_value = "5")]
    timeout: Duration,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Climbs the ladder, saying each rung as soon as it is certain.
///
/// # Errors
/// The target makes no sense; stdout is closed.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut target = args.target.clone();
    if let Some(flag) = [(args.tls, "--tls"), (args.http, "--http")].iter().find(|(on, _)| *on && target.port.is_none())
    {
        return Err(Usage(format!("{} asks for a port: {}:PORT", flag.1, target.host)).into());
    }
    target.tls = args.tls || target.tls && !args.no_tls;
    if args.no_http {
        target.path = None;
    } else if args.http {
        target.path.get_or_insert_with(|| "/".into());
    }
    let family = match (args.ipv4, args.ipv6) {
        (true, _) => Some(Family::Ipv4),
        (_, true) => Some(Family::Ipv6),
        _ => None,
    };
    if let Some(address) = target.address {
        if family.is_some_and(|family| family != Family::of(address)) {
            let flag = if args.ipv4 { "-4" } else { "-6" };
            return Err(Usage(format!("{flag} leaves nothing of {address}")).into());
        }
        zone::index(address, target.zone.as_deref()).map_err(Usage::from)?;
    }
    let mut host = Host::new();
    let request = Request {
        target,
        internet: args.internet,
        family,
        patience: args.timeout,
        netns: host.namespaces()?.own(),
        trace: !args.no_trace && rustix::process::geteuid().is_root(),
    };
    let mut page = Page::new(args.format);
    let view = page.view();
    let runtime = super::runtime()?;
    let mut written = Ok(());
    if args.format == Format::Text {
        page.text(&ladder::text::title(&request.target.label(), view))?;
    }
    let (_, conclusion) = runtime.block_on(ladder::climb(&request, &mut host, &mut |rung| {
        if written.is_ok() {
            written = match args.format {
                Format::Text => page.text(&ladder::text::rung(rung, view)),
                Format::Json => page.json(rung).and_then(|()| page.flush()),
            };
        }
    }));
    written.context("write a rung")?;
    match args.format {
        Format::Text => page.text(&ladder::text::conclusion(&conclusion, view))?,
        Format::Json => page.json(&conclusion)?,
    }
    page.flush()?;
    Ok(if conclusion.ok { Exit::Done } else { Exit::Verdict })
}

/// `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; never a name, so that nothing is sent that was not asked for.
fn internet(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    let target = Target::parse(text).map_err(|error| error.to_string())?;
    match target.address {
        None => Err("it has to be an address".into()),
        Some(address) if zone::is_needed(address) => Err("that is no public address".into()),
        Some(address) => Ok((address, target.port)),
    }
}
