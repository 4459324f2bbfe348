//! `netdx dns`: what each source says of a name. Owns: [`Lookup`], who is asked and in which order.
//! Must not know: how a query is sent (`exchange`), how it is shown (`text`).

pub mod answer;
pub mod differences;
pub mod exchange;
pub mod search;
pub mod text;

use super::{
    Ask, all,
    getaddrinfo::{self, Eai},
    nanoseconds, zone,
};
use crate::{
    fact::{Answer, HostsEntry, Resolver},
    report::SCHEMA,
    want::Want,
};
pub use answer::{Asked, Data, Server};
use exchange::Patience;
use hickory_proto::{
    ProtoError,
    rr::{Name, RecordType},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

/// The port of DNS (RFC 1035).
pub const PORT: u16 = 53;

/// What to look up, and where.
#[derive(Clone, Debug)]
pub struct Request {
    /// A name or an address, as typed.
    pub name: String,
    /// Types to ask for; empty: A and AAAA for a name, PTR for an address.
    pub types: Vec<RecordType>,
    /// Servers to ask instead of the configured ones.
    pub servers: Vec<SocketAddr>,
    /// How long to wait for each try; none: what resolv.conf says.
    pub timeout: Option<Duration>,
    /// UDP tries; none: what resolv.conf says.
    pub tries: Option<u32>,
    /// Ask over TCP from the start.
    pub tcp: bool,
}

/// Everything that was found out. One line of `--format json`.
#[derive(Debug, Serialize)]
pub struct Lookup {
    /// Version of the shape.
    pub schema: u32,
    /// `dns`
    pub kind: &'static str,
    /// The name, as typed.
    pub name: String,
    /// Types asked for.
    pub types: Vec<String>,
    /// resolv.conf and nsswitch; null: they could not be read (`notes` says why).
    pub resolver: Option<Resolver>,
    /// Lines of the hosts file that name it (for an address: that it stands in).
    pub hosts: Vec<HostsEntry>,
    /// What getaddrinfo (for an address getnameinfo) says; null where a server or a type it doesn't know was asked for.
    pub system: Option<System>,
    /// Each server's answers, in the order of resolv.conf.
    pub servers: Vec<Server>,
    /// Where the sources disagree, in sentences.
    pub differences: Vec<String>,
    /// What could not be asked, and why.
    pub notes: Vec<String>,
    /// Somebody answered the question.
    pub answered: bool,
}

/// The system's own answer.
#[derive(Debug, Serialize)]
pub struct System {
    /// Addresses (for an address: empty).
    pub addresses: Vec<IpAddr>,
    /// The links of those that are link-local, by the interface's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<IpAddr, String>,
    /// Name of the address.
    pub name: Option<String>,
    /// Why there is none.
    pub error: Option<Eai>,
    /// How long it took.
    pub elapsed_ns: u64,
}

/// The error of a request that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a name.
    #[error("{name:?} is no DNS name: {reason}")]
    BadName {
        /// What was typed.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The C library reads so many `nameserver` lines (MAXNS, resolv/resolv.h, glibc 2.36; musl too).
const READ: usize = 3;

/// The servers that the C library asks, and those that it leaves out: where resolv.conf names none, 127.0.0.1 (`res_vinit_1`,
/// resolv/res_init.c, glibc 2.36); none where nsswitch.conf lets it ask nobody.
#[must_use]
pub fn servers(resolver: &Resolver) -> Vec<IpAddr> {
    let asks = resolver.nsswitch.is_empty() || resolver.nsswitch.iter().any(|source| source == "dns");
    if resolver.servers.is_empty() && asks { vec![Ipv4Addr::LOCALHOST.into()] } else { resolver.servers.clone() }
}

/// `/etc/resolv.conf: 10.0.0.53`
#[must_use]
pub fn configuration(resolver: &Resolver) -> String {
    let written = resolver.written();
    let (read, rest) = written.split_at(written.len().min(READ));
    let mut text = format!("{}: {}", resolver.path, read.join(", "));
    if written.is_empty() {
        let asked = servers(resolver);
        let instead = asked.first().map(|server| format!(", so that the C library asks {server}"));
        let why = resolver.passed_over.as_ref();
        let why = why.map(|line| format!(" (no address can be read in `{}`)", line.escape_debug()));
        text += &format!("no server{}{}", why.unwrap_or_default(), instead.unwrap_or_default());
    }
    if !rest.is_empty() {
        text += &format!("; beyond the {READ} that the C library asks: {}", rest.join(", "));
    }
    if resolver.use_vc {
        text += "; over TCP (use-vc)";
    }
    text
}

/// What getaddrinfo says, on a thread of its own: nothing can interrupt it, so it is left behind when it is too slow.
pub async fn system(name: String, patience: Duration) -> System {
    let began = Instant::now();
    let (answer, answered) = tokio::sync::oneshot::channel();
    let asked = std::thread::Builder::new().name("getaddrinfo".into()).spawn(move || {
        let result = match name.parse::<IpAddr>() {
            Ok(address) => getaddrinfo::name(address).map(|name| (Vec::new(), Some(name))),
            Err(_) => getaddrinfo::addresses(&name).map(|found| (found, None)),
        };
        // Nobody waits any more when it was too slow: then the answer is of no use.
        let _ = answer.send(result);
    });
    let result = match asked {
        Ok(_) => match tokio::time::timeout(patience, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Eai { name: "EAI_SYSTEM", text: "the thread that asked has died".into() }),
            Err(_) => Err(Eai { name: "EAI_AGAIN", text: format!("no answer within {} s", patience.as_secs_f32()) }),
        },
        Err(error) => Err(Eai { name: "EAI_SYSTEM", text: error.to_string() }),
    };
    let elapsed_ns = nanoseconds(began.elapsed());
    match result {
        Ok((found, name)) => {
            let zones = found.iter().filter_map(|scoped| Some((scoped.address, zone::name(scoped.link)?))).collect();
            let mut addresses: Vec<IpAddr> = found.into_iter().map(|scoped| scoped.address).collect();
            addresses.dedup();
            System { addresses, zones, name, error: None, elapsed_ns }
        }
        Err(error) => {
            System { addresses: Vec::new(), zones: BTreeMap::new(), name: None, error: Some(error), elapsed_ns }
        }
    }
}

/// Asks every source.
///
/// # Errors
/// The name can't be asked for.
pub async fn look_up(request: &Request, host: &mut impl Ask) -> Result<Lookup, Error> {
    let pid = std::process::id();
    let mut notes = Vec::new();
    let resolver = match host.ask(&Want::Resolver { pid, root: None }) {
        Answer::Resolver(resolver) => Some(resolver),
        Answer::Unavailable(reason) => {
            notes.push(format!("the resolver's configuration is not known: {reason}"));
            None
        }
        _ => None,
    };
    // A server that was named is asked, and nothing else.
    let configured = request.servers.is_empty();
    let hosts = if configured {
        let name = getaddrinfo::a_labels(request.name.trim_end_matches('.')).into_owned();
        match host.ask(&Want::Hosts { pid, root: None, name }) {
            Answer::Hosts(entries) => entries,
            Answer::Unavailable(reason) => {
                notes.push(format!("the hosts file is not known: {reason}"));
                Vec::new()
            }
            _ => Vec::new(),
        }
    } else {
        Vec::new()
    };
    let settings =
        resolver.clone().unwrap_or_else(|| Resolver { ndots: 1, timeout: 5, attempts: 2, ..Resolver::default() });
    let patience = Patience {
        timeout: request.timeout.unwrap_or(Duration::from_secs(settings.timeout.into())),
        tries: request.tries.unwrap_or(settings.attempts),
        tcp: request.tcp || settings.use_vc,
    };
    let address = request.name.parse::<IpAddr>().ok();
    let types = match (&request.types[..], address) {
        ([], Some(_)) => vec![RecordType::PTR],
        ([], None) => vec![RecordType::A, RecordType::AAAA],
        (types, _) => types.to_vec(),
    };
    let names = match address {
        Some(address) if types == [RecordType::PTR] => vec![Name::from(address)],
        _ => names(&request.name, &settings)?,
    };
    let servers: Vec<SocketAddr> = if configured {
        let locate = |&server: &IpAddr| {
            // Without its link the C library's question fails, and so does the one here: the kernel says so.
            let link = zone::index(server, settings.zones.get(&server).map(String::as_str));
            zone::endpoint(
                server,
                PORT,
                link.unwrap_or_else(|error| {
                    notes.push(format!("{}: {error}", settings.path));
                    0
                }),
            )
        };
        resolver.iter().flat_map(self::servers).collect::<Vec<_>>().iter().map(locate).collect()
    } else {
        request.servers.clone()
    };
    let system_knows = types.iter().all(|t| matches!(t, RecordType::A | RecordType::AAAA)) || address.is_some();
    // As long as every server may take, and one more try for slow modules.
    let limit = patience.timeout * (patience.tries * u32::try_from(servers.len()).unwrap_or(1) + 1) * 2;
    let from_system =
        async { if configured && system_knows { Some(system(request.name.clone(), limit).await) } else { None } };
    let from_servers = all(servers.iter().map(|&server| ask_server(server, &names, &types, patience)));
    let (system, mut servers) = tokio::join!(from_system, from_servers);
    if configured {
        servers.iter_mut().skip(READ).for_each(|server| server.spare = true);
        // Nobody has said that a server is there.
        let unnamed = servers.iter_mut().filter(|_| settings.servers.is_empty()).flat_map(|s| &mut s.queries);
        unnamed.filter(|q| q.rcode.is_none()).for_each(|q| q.code = Some("dns.no-server"));
    }
    let answered = !hosts.is_empty()
        || system.as_ref().is_some_and(|s| s.error.is_none())
        || servers.iter().any(|s| s.queries.iter().any(Asked::has_data));
    let mut lookup = Lookup {
        schema: SCHEMA,
        kind: "dns",
        name: request.name.clone(),
        types: types.iter().map(ToString::to_string).collect(),
        resolver,
        hosts,
        system,
        servers,
        differences: Vec::new(),
        notes,
        answered,
    };
    lookup.differences = differences::find(&lookup);
    Ok(lookup)
}

/// The full names to try, in the resolver's order.
fn names(name: &str, settings: &Resolver) -> Result<Vec<Name>, Error> {
    check_name(name)?;
    // A search domain that makes the name too long can't be asked for, by no resolver: it is passed over. One that ends in a
    // carriage return can: the C library sends the bytes as they are.
    let raw = |name: &str| Name::from_labels(name.split_terminator('.').map(str::as_bytes));
    let candidates = search::candidates(name, &settings.search, settings.ndots);
    Ok(candidates.iter().filter_map(|c| parse(c).or_else(|_| raw(c)).ok()).collect())
}

/// International names become punycode; names with underscores and other bytes are taken as they are.
fn parse(name: &str) -> Result<Name, ProtoError> {
    Name::from_utf8(name).or_else(|_| Name::from_ascii(name))
}

/// Whether a name can be asked for.
///
/// # Errors
/// It can't, and why.
pub fn check_name(name: &str) -> Result<(), Error> {
    let bad = |reason: String| Error::BadName { name: name.into(), reason };
    if name.is_empty() {
        return Err(bad("it is empty".into()));
    }
    let whole = format!("{}.", name.strip_suffix('.').unwrap_or(name));
    if whole.len() > 1 && whole.split_terminator('.').any(str::is_empty) {
        return Err(bad("there is nothing between two of its dots, or before the first".into()));
    }
    parse(&whole).map(drop).map_err(|error| bad(error.to_string()))
}

/// Asks one server as a resolver would: the next candidate only after NXDOMAIN, NODATA or SERVFAIL for every type.
fn ask_server(
    server: SocketAddr,
    names: &[Name],
    types: &[RecordType],
    patience: Patience,
) -> impl Future<Output = Server> + 'static {
    let (names, types) = (names.to_vec(), types.to_vec());
    async move {
        let mut queries = Vec::new();
        for name in &names {
            let asked: Vec<Asked> = all(types.iter().map(|&kind| {
                let name = name.clone();
                async move {
                    let exchange = exchange::ask(server, &name, kind, patience).await;
                    Asked::from_exchange(&name, kind, patience.tcp, exchange)
                }
            }))
            .await;
            let go_on = asked.iter().all(|a| matches!(a.code, Some("dns.nxdomain" | "dns.nodata" | "dns.servfail")));
            queries.extend(asked);
            if !go_on {
                break;
            }
        }
        let link = if let SocketAddr::V6(v6) = server { v6.scope_id() } else { 0 };
        Server { address: server.ip(), zone: zone::name(link), port: server.port(), spare: false, queries }
    }
}

/// The type a person typed: a name (`MX`), in any case, or `TYPE65280`.
///
/// # Errors
/// A sentence for the user.
pub fn record_type(text: &str) -> Result<RecordType, String> {
    let upper = text.to_ascii_uppercase();
    upper.parse().ok().or_else(|| upper.strip_prefix("TYPE")?.parse::<u16>().ok().map(RecordType::from)).ok_or_else(
        || format!("{text:?} is no record type; for example A, AAAA, CNAME, MX, TXT, NS, SOA, SRV, PTR, CAA"),
    )
}
