//! `netdx listeners`: who waits on which port, who can reach it, and what is near when nobody does.
//!
//! Owns: [`Listening`], [`Answer`](Listeners), the collecting. Must not know: how it is shown (`text`).

pub mod near;
pub mod reach;
pub mod text;

use super::{
    Ask,
    unseen::Unseen,
    who::{Directory, Where, Who},
};
use crate::{
    event::{Netns, Protocol},
    fact::{Answer, Interface, Owner},
    host::{
        Error, Host,
        sockets::{self, Query, Socket, States},
        unix,
    },
    report::SCHEMA,
    want::Want,
};
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr, ops::ControlFlow};

/// What to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// One port; none: all.
    pub port: Option<u16>,
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
    /// Unix sockets.
    pub unix: bool,
}

/// A socket that waits for connections or datagrams: one line of `--format json`.
#[derive(Clone, Debug, Serialize)]
pub struct Listening {
    /// Version of the shape.
    pub schema: u32,
    /// `listener`
    pub kind: &'static str,
    /// tcp, udp, or unix-stream, unix-seqpacket, unix-dgram.
    pub protocol: &'static str,
    /// Address it is bound to; null for a Unix socket.
    pub addr: Option<IpAddr>,
    /// Port; null for a Unix socket.
    pub port: Option<u16>,
    /// Path of a Unix socket; `@` begins an abstract name.
    pub path: Option<String>,
    /// An IPv6 socket that takes no IPv4.
    pub v6only: bool,
    /// Interface it is bound to.
    pub device: Option<String>,
    /// Namespace.
    #[serde(flatten)]
    pub place: Where,
    /// Connections that wait to be accepted; null for UDP.
    pub backlog: Option<u32>,
    /// How many may wait; null for UDP.
    pub max_backlog: Option<u32>,
    /// Owner's user id; null for a Unix socket.
    pub uid: Option<u32>,
    /// And name.
    pub user: Option<String>,
    /// Inode.
    pub inode: u32,
    /// Processes that hold it; empty: none that can be seen.
    pub owners: Vec<Who>,
    /// Who can reach it, in words.
    pub reach: String,
}

/// Everything that was asked for.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Sockets that wait, this namespace first, by port.
    pub rows: Vec<Listening>,
    /// With a port: other sockets on it, by state, with how many.
    pub others: Vec<(String, usize)>,
    /// With a port that nobody listens on: what is near, in sentences.
    pub near: Vec<String>,
    /// What could not be seen, in sentences.
    pub unseen: Vec<String>,
}

/// Lists them.
///
/// # Errors
/// The own namespace can't be read.
pub fn list(request: Request, host: &mut Host) -> Result<Listeners, Error> {
    let mut listeners = Listeners::default();
    let mut unseen = Unseen::default();
    let mut directory = Directory::new();
    let port = request.port.unwrap_or(0);
    let mut found: Vec<(Netns, Found)> = Vec::new();
    for (wanted, protocol) in [(request.tcp, Protocol::Tcp), (request.udp, Protocol::Udp)] {
        if wanted {
            let sockets = each(host, &mut unseen, || sockets::waiting(protocol, port))?;
            found.extend(sockets.into_iter().map(|(netns, socket)| (netns, Found::Inet(socket))));
        }
    }
    if request.unix {
        let sockets = each(host, &mut unseen, unix::listening)?;
        found.extend(sockets.into_iter().map(|(netns, socket)| (netns, Found::Unix(socket))));
    }
    listeners.rows = describe(found, host, &mut directory);
    let own = |l: &Listening| !l.place.own;
    listeners.rows.sort_by(|a, b| {
        (own(a), a.place.netns, a.port.is_none(), a.port, a.protocol, a.addr, &a.path, a.inode).cmp(&(
            own(b),
            b.place.netns,
            b.port.is_none(),
            b.port,
            b.protocol,
            b.addr,
            &b.path,
            b.inode,
        ))
    });
    if let Some(port) = request.port {
        let others = others(port, host)?;
        listeners.others = others.counts;
        if listeners.rows.is_empty() {
            let everything = list(Request { port: None, tcp: true, udp: true, unix: false }, host)?;
            // A host without services(5) has no names for its ports.
            let services = std::fs::read_to_string("/etc/services").unwrap_or_default();
            let users = host.holders_of(&others.inodes).into_values().flatten().map(|owner| owner.pid).collect();
            let port = near::Port { number: port, names: near::names(&services, port), users };
            listeners.near = near::find(&port, &everything.rows);
        }
    }
    let unowned = listeners.rows.iter().filter(|l| l.owners.is_empty()).count();
    listeners.unseen = unseen.sentences(host.namespaces()?.hidden(), unowned);
    Ok(listeners)
}

enum Found {
    Inet(Socket),
    Unix(unix::UnixListener),
}

impl Found {
    fn inode(&self) -> u32 {
        match self {
            Found::Inet(socket) => socket.inode,
            Found::Unix(socket) => socket.inode,
        }
    }
}

/// The same question in every namespace; one that may not be entered is said once, unless it is netdx's own.
fn each<T: Send>(
    host: &mut Host,
    unseen: &mut Unseen,
    ask: impl Fn() -> std::io::Result<Vec<T>> + Send + Sync,
) -> Result<Vec<(Netns, T)>, Error> {
    let namespaces = host.namespaces()?;
    let own = namespaces.own();
    let mut all = Vec::new();
    for (netns, result) in namespaces.each(|_| ask())? {
        match result {
            Ok(Ok(list)) => all.extend(list.into_iter().map(|item| (netns, item))),
            Ok(Err(source)) if netns == own => return Err(Error::Kernel { what: "its listeners", netns, source }),
            Ok(Err(error)) => unseen.question(netns, &error),
            Err(error) => unseen.namespace(netns, &error),
        }
    }
    Ok(all)
}

fn describe(found: Vec<(Netns, Found)>, host: &mut Host, directory: &mut Directory) -> Vec<Listening> {
    let inodes: Vec<u32> = found.iter().map(|(_, socket)| socket.inode()).collect();
    let owners = host.holders_of(&inodes);
    let mut interfaces: BTreeMap<Netns, Vec<Interface>> = BTreeMap::new();
    let mut rows = Vec::with_capacity(found.len());
    for (netns, socket) in found {
        let place = directory.place(netns, host);
        let owners: Vec<Who> = owners
            .get(&socket.inode())
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|owner: &Owner| directory.who(owner))
            .collect();
        let inode = socket.inode();
        rows.push(match socket {
            Found::Inet(socket) => {
                let known = interfaces.entry(netns).or_insert_with(|| match host.ask(&Want::Interfaces { netns }) {
                    Answer::Interfaces(list) => list,
                    _ => Vec::new(),
                });
                let device = known.iter().find(|i| i.index == socket.device).map(|i| i.name.clone());
                let tcp = socket.tuple.protocol == Protocol::Tcp;
                Listening {
                    schema: SCHEMA,
                    kind: "listener",
                    protocol: if tcp { "tcp" } else { "udp" },
                    addr: Some(socket.tuple.local),
                    port: Some(socket.tuple.local_port),
                    path: None,
                    v6only: socket.v6only,
                    reach: reach::words(
                        socket.tuple.local,
                        socket.v6 && socket.v6only,
                        socket.v6,
                        device.as_deref(),
                        &place,
                        known,
                    ),
                    device,
                    place,
                    backlog: tcp.then_some(socket.receive_queue),
                    max_backlog: tcp.then_some(socket.send_queue),
                    uid: Some(socket.uid),
                    user: directory.user(socket.uid),
                    inode,
                    owners,
                }
            }
            Found::Unix(socket) => Listening {
                schema: SCHEMA,
                kind: "listener",
                protocol: match socket.kind {
                    "stream" => "unix-stream",
                    "seqpacket" => "unix-seqpacket",
                    _ => "unix-dgram",
                },
                addr: None,
                port: None,
                reach: if socket.path.starts_with('@') {
                    format!("processes in {}", place.label())
                } else {
                    "processes that may open its path".into()
                },
                path: Some(socket.path),
                v6only: false,
                device: None,
                place,
                backlog: Some(socket.backlog),
                max_backlog: Some(socket.max_backlog),
                uid: None,
                user: None,
                inode,
                owners,
            },
        });
    }
    rows
}

/// Other TCP sockets on a port.
struct Others {
    /// By state, how many.
    counts: Vec<(String, usize)>,
    /// Those that have one.
    inodes: Vec<u32>,
}

/// Other TCP sockets that have this local port, in every namespace.
fn others(port: u16, host: &mut Host) -> Result<Others, Error> {
    let query =
        Query { protocol: Protocol::Tcp, states: States::Connected, local_port: port, remote_port: 0, info: false };
    let found = host.namespaces()?.each(|_| {
        let mut found = Vec::new();
        // A namespace that can't be read has none; that it can't is said with the listeners.
        _ = sockets::dump(&query, |socket| {
            found.push((socket.state, socket.inode));
            ControlFlow::Continue(())
        });
        found
    })?;
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut inodes = Vec::new();
    for (state, inode) in found.into_iter().filter_map(|(_, result)| result.ok()).flatten() {
        *counts.entry(state).or_default() += 1;
        inodes.extend(Some(inode).filter(|inode| *inode != 0));
    }
    Ok(Others { counts: counts.into_iter().map(|(state, count)| (state.to_owned(), count)).collect(), inodes })
}
