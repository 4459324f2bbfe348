//! `netdx dns`. Owns: its arguments. Must not know: DNS (see `inspect::dns`).

use super::{Format, Page, Usage};
use crate::{
    exit::Exit,
    host::{Host, resolver::inet_aton},
    inspect::{
        dns::{self, Request},
        zone,
    },
};
use anyhow::Context as _;
use hickory_proto::rr::RecordType;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Look a name up: hosts file, the system's way, each configured server; and where they disagree
///
/// Sends DNS queries. A name gets its addresses (A and AAAA), an address its name (PTR). The search list and ndots of
/// resolv.conf apply, unless the name ends in a dot. Exit status 0: somebody answered; 3: nobody did.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name, or an address.
    #[arg(value_parser = name)]
    name: String,
    /// Record types (A, AAAA, CNAME, MX, TXT, NS, SOA, SRV, PTR, CAA, ... or TYPE65280), and servers to ask instead of the
    /// configured ones: @ADDRESS (@fe80::1%eth0), @ADDRESS#PORT or @NAME.
    #[arg(value_name = "TYPE|@SERVER", value_parser = word)]
    what: Vec<Word>,
    /// Wait this many seconds for each try, instead of what resolv.conf says.
    #[arg(long, value_name = "SECONDS", value_parser = super::seconds)]
    timeout: Option<Duration>,
    /// Send each query at most this often, instead of what resolv.conf says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10))]
    tries: Option<u32>,
    /// Ask over TCP from the start.
    #[arg(long)]
    tcp: bool,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What stands behind the name.
#[derive(Clone, Debug)]
enum Word {
    Type(RecordType),
    Server(String),
}

fn word(text: &str) -> Result<Word, String> {
    match text.strip_prefix('@') {
        Some(server) => Ok(Word::Server(server.to_owned())),
        None => dns::record_type(text).map(Word::Type),
    }
}

/// Looks it up and shows what was said.
///
/// # Errors
/// The name or a server makes no sense; stdout is closed.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    // An address is looked up by what it is, whatever its link.
    let name = match zone::split(&args.name) {
        Some((address, zone)) => {
            zone::index(address.into(), Some(zone)).map_err(Usage::from)?;
            address.to_string()
        }
        None => numeric(&args.name).map_or_else(|| args.name.clone(), |address| address.to_string()),
    };
    let mut request = Request {
        name,
        types: Vec::new(),
        servers: Vec::new(),
        timeout: args.timeout,
        tries: args.tries,
        tcp: args.tcp,
    };
    for word in &args.what {
        match word {
            Word::Server(server) => request.servers.extend(servers(server)?),
            Word::Type(kind) if request.types.contains(kind) => {}
            Word::Type(kind) => request.types.push(*kind),
        }
    }
    let runtime = super::runtime()?;
    let lookup = runtime.block_on(dns::look_up(&request, &mut Host::new())).map_err(Usage::from)?;
    let mut page = Page::new(args.format);
    match args.format {
        Format::Text => page.text(&dns::text::write(&lookup, page.view()))?,
        Format::Json => page.json(&lookup)?,
    }
    page.flush()?;
    Ok(if lookup.answered { Exit::Done } else { Exit::Verdict })
}

/// An address as the C library takes it: fewer than four numbers, too, and IPv4 in IPv6 is IPv4 (getnameinfo(3)).
fn numeric(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical()).or_else(|| inet_aton(text).map(Into::into))
}

/// A name, which comes before what is asked and who.
fn name(text: &str) -> Result<String, String> {
    let is_server = text.starts_with('@');
    if is_server { Err(format!("the name comes first: netdx dns NAME {text}")) } else { Ok(text.to_owned()) }
}

/// `ADDRESS`, `ADDRESS#PORT` or a name, which the system resolves.
fn servers(text: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let (host, port) = match text.split_once('#') {
        Some((host, port)) => (host, port.parse().map_err(|_| Usage(format!("@{text}: {port:?} is no port")))?),
        None => (text, dns::PORT),
    };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let zoned = zone::split(bare);
    let typed: Option<IpAddr> = zoned.map(|(address, _)| address.into()).or_else(|| bare.parse().ok());
    if let Some(address) = typed {
        let index = zone::index(address, zoned.map(|(_, zone)| zone)).map_err(Usage::from)?;
        return Ok(vec![zone::endpoint(address, port, index)]);
    }
    let addresses = crate::inspect::getaddrinfo::addresses(bare)
        .with_context(|| format!("@{text}: the server's own name can't be resolved"))?;
    Ok(addresses.into_iter().map(|found| zone::endpoint(found.address, port, found.link)).collect())
}

#[cfg(test)]
mod tests {
    use super::{name, numeric, servers};

    #[test]
    fn addresses_as_the_c_library_takes_them() {
        let read = |text| numeric(text).map(|address| address.to_string());
        assert_eq!(read("10.77.2").as_deref(), Some("10.77.0.2"));
        assert_eq!(read("::ffff:10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(read("fd00::1").as_deref(), Some("fd00::1"));
        assert_eq!(read("db.test"), None);
        assert!(name("@10.0.0.53").unwrap_err().contains("NAME @10.0.0.53"));
    }

    #[test]
    fn servers_with_and_without_a_port() {
        assert_eq!(servers("10.0.0.53").unwrap(), ["10.0.0.53:53".parse().unwrap()]);
        assert_eq!(servers("10.0.0.53#5353").unwrap(), ["10.0.0.53:5353".parse().unwrap()]);
        assert_eq!(servers("[::1]#54").unwrap(), ["[::1]:54".parse().unwrap()]);
        assert_eq!(servers("::1").unwrap(), ["[::1]:53".parse().unwrap()]);
        assert_eq!(servers("fe80::1%lo#54").unwrap(), ["[fe80::1%1]:54".parse().unwrap()]);
        assert!(servers("10.0.0.53#dns").is_err());
        assert!(servers("fe80::1").unwrap_err().to_string().contains("which link"));
        assert!(servers("fe80::1%no-such-link").unwrap_err().to_string().contains("no interface no-such-link"));
    }
}
