//! The two passes over the kernel's table of connections, in every namespace: who holds them and where, then each one.
//! Owns: the queries, [`Known`]. Must not know: what a connection is shown as.

use super::{Failure, Request};
use crate::{
    event::{Netns, Protocol},
    fact::Owner,
    host::{
        Error, Host,
        sockets::{self, Query, Socket, States},
    },
    inspect::{
        unseen::Unseen,
        who::{Directory, Where},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
    sync::Mutex,
};

/// Bits of states (`include/net/tcp_states.h`).
const LISTEN: u32 = 1 << 10;
const CLOSE: u32 = 1 << 7;
const TIME_WAIT: u32 = 1 << 6;

/// Ports that are listened on, by namespace and protocol.
pub(super) type Listened = BTreeSet<(Netns, u16)>;

/// What the first pass finds out.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) listened: Listened,
    /// Who holds which inode.
    pub(super) holders: BTreeMap<u32, Vec<Owner>>,
    pub(super) places: BTreeMap<Netns, Where>,
    pub(super) unseen: Unseen,
    /// Processes that don't say their namespace.
    pub(super) hidden: usize,
}

/// The queries that a request takes.
fn queries(request: &Request, info: bool, time_wait: bool) -> Vec<Query> {
    let one = |protocol, states| Query { protocol, states: States::Only(states), local_port: 0, remote_port: 0, info };
    let time_wait = if time_wait { 0 } else { TIME_WAIT };
    let mut queries = Vec::new();
    if request.tcp {
        queries.push(one(Protocol::Tcp, !(LISTEN | CLOSE | time_wait)));
    }
    if request.udp {
        queries.push(one(Protocol::Udp, !CLOSE));
    }
    queries
}

/// Ports that are listened on, and (if `holders`) who holds which socket.
pub(super) fn first(
    request: &Request,
    host: &mut Host,
    holders: bool,
    directory: &mut Directory,
) -> Result<Known, Error> {
    let namespaces = host.namespaces()?;
    let own = namespaces.own();
    // What is in time-wait has no inode, and so nobody who holds it.
    let queries = queries(request, false, false);
    let found = namespaces.each(|_| -> io::Result<(Vec<u16>, Vec<u32>)> {
        let mut ports: Vec<u16> =
            sockets::waiting(Protocol::Tcp, 0)?.iter().map(|socket| socket.tuple.local_port).collect();
        ports.sort_unstable();
        ports.dedup();
        let mut inodes = Vec::new();
        if holders {
            for query in &queries {
                sockets::dump(query, |socket| {
                    // Without an inode there is no process that could hold it.
                    inodes.extend(Some(socket.inode).filter(|inode| *inode != 0));
                    ControlFlow::Continue(())
                })?;
            }
        }
        Ok((ports, inodes))
    })?;
    let mut known = Known { hidden: namespaces.hidden(), ..Known::default() };
    let mut inodes = Vec::new();
    for (netns, result) in found {
        match result {
            Ok(Ok((ports, found))) => {
                known.listened.extend(ports.into_iter().map(|port| (netns, port)));
                inodes.extend(found);
                known.places.insert(netns, Where { netns: netns.0, name: None, own: netns == own });
            }
            Ok(Err(source)) if netns == own => return Err(Error::Kernel { what: "its sockets", netns, source }),
            Ok(Err(error)) => known.unseen.question(netns, &error),
            Err(error) => known.unseen.namespace(netns, &error),
        }
    }
    if holders {
        known.holders = host.holders_of(&inodes);
        for (netns, place) in &mut known.places {
            *place = directory.place(*netns, host);
        }
    }
    Ok(known)
}

/// Hands on the sockets of every namespace, one by one.
pub(super) fn each(
    request: &Request,
    host: &mut Host,
    info: bool,
    each: impl FnMut(Netns, Socket) -> io::Result<()> + Send,
) -> Result<(), Failure> {
    let queries = queries(request, info, request.all || request.states.iter().any(|state| state == "time-wait"));
    let visitor = Mutex::new((each, Ok(())));
    let namespaces = host.namespaces()?;
    let own = namespaces.own();
    let results = namespaces.each(|netns| -> io::Result<()> {
        // One namespace is visited after the other: nobody else holds the lock, and a panic inside ends the visit.
        let Ok(mut visitor) = visitor.lock() else { return Ok(()) };
        let (each, written) = &mut *visitor;
        for query in &queries {
            if written.is_ok() {
                sockets::dump(query, |socket| {
                    *written = each(netns, socket);
                    if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })?;
            }
        }
        Ok(())
    })?;
    for (netns, result) in results {
        // Another namespace that went away or may not be entered has been told of in the first pass.
        if let (true, Ok(Err(source))) = (netns == own, result) {
            return Err(Error::Kernel { what: "its sockets", netns, source }.into());
        }
    }
    let (_, written) = visitor.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(written?)
}
