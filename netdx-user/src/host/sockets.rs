//! Sockets, as sock_diag has them. Owns: dumping and finding them. Must not know: which process asks why.
//!
//! The kernel filters by protocol, family, state and ports (`inet_diag_dump_icsk`, `udp_dump`, Linux 5.10 to 6.18);
//! sockets are handed out one by one, so that 100,000 of them need no more memory than one.

use super::{Error, Host, netlink};
use crate::{
    event::{Cookie, Netns, Protocol, Tuple},
    fact::{Listener, Owner, SocketEntry},
};
use netlink_packet_core::{NLM_F_DUMP, Parseable};
use netlink_packet_sock_diag::{
    SOCK_DIAG_BY_FAMILY,
    constants::{AF_INET, AF_INET6, INET_DIAG_INFO, INET_DIAG_SKV6ONLY, TCP_CLOSE, TCP_LISTEN},
    inet::{
        ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags, Timer,
        nlas::{TcpInfo, TcpInfoBuffer},
    },
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use std::{collections::BTreeMap, io, net::IpAddr, ops::ControlFlow};

/// Length of `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// TCP sockets that are bound, neither connected nor listening (`TCP_BOUND_INACTIVE`, Linux 6.8); older kernels don't
/// show them and ignore the bit.
const BOUND_INACTIVE: u8 = 13;

/// Which sockets. Ports 0: any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// TCP (which includes MPTCP's subflows and listeners) or UDP.
    pub protocol: Protocol,
    /// The states wanted, as bits `1 << TCP_state`.
    pub states: States,
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// With TCP's counters (`tcp_info`).
    pub info: bool,
}

impl Query {
    /// Whether a socket has the ports asked for. Of those that are only bound the kernel hands out all, whatever their ports
    /// (inet_diag_dump_icsk, 6.8 to 6.18).
    fn asks_for(&self, socket: &Socket) -> bool {
        let fits = |wanted: u16, has: u16| wanted == 0 || wanted == has;
        fits(self.local_port, socket.tuple.local_port) && fits(self.remote_port, socket.tuple.remote_port)
    }
}

/// States of sockets to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum States {
    /// Listening TCP, unconnected UDP.
    Waiting,
    /// All but those.
    Connected,
    /// Every state, time-wait included.
    All,
    /// Those whose bit `1 << TCP_state` is set.
    Only(u32),
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Endpoints; IPv4-mapped addresses are IPv4.
    pub tuple: Tuple,
    /// It is an AF_INET6 socket.
    pub v6: bool,
    /// IPV6_V6ONLY; told only of sockets that wait.
    pub v6only: bool,
    /// State by name, see [`state`].
    pub state: &'static str,
    /// SO_BINDTODEVICE or scope: interface index, 0 none.
    pub device: u32,
    /// SO_COOKIE.
    pub cookie: u64,
    /// Owner's user id.
    pub uid: u32,
    /// Inode, 0: none.
    pub inode: u32,
    /// Bytes to be read; of a listener, connections to be accepted.
    pub receive_queue: u32,
    /// Bytes not acknowledged; of a listener, how many connections may wait.
    pub send_queue: u32,
    /// Timer that runs and when it will fire.
    pub timer: Option<Timer>,
    /// TCP's counters, if asked for.
    pub info: Option<Box<TcpInfo>>,
}

/// Name of a socket's state, as ss(8) has it in lower case; a UDP socket is `established` (connected) or `unconnected`.
#[must_use]
pub fn state(protocol: Protocol, number: u8) -> &'static str {
    match (protocol, number) {
        (Protocol::Udp, TCP_CLOSE) => "unconnected",
        (_, 1) => "established",
        (_, 2) => "syn-sent",
        (_, 3 | 12) => "syn-recv",
        (_, 4) => "fin-wait-1",
        (_, 5) => "fin-wait-2",
        (_, 6) => "time-wait",
        (_, 8) => "close-wait",
        (_, 9) => "last-ack",
        (_, TCP_LISTEN) => "listen",
        (_, 11) => "closing",
        // Of closed sockets the kernel lists none but those that are bound, as what they are: closed (inet_diag_dump_icsk, 6.8).
        (_, TCP_CLOSE | BOUND_INACTIVE) => "bound",
        _ => "unknown",
    }
}

/// Hands out the sockets of the calling thread's namespace, IPv4 before IPv6, until `each` breaks.
///
/// # Errors
/// The kernel's, for example ENOENT where the kernel has no `inet_diag` of that protocol.
pub fn dump(query: &Query, mut each: impl FnMut(Socket) -> ControlFlow<()>) -> io::Result<()> {
    if !matches!(query.protocol, Protocol::Tcp | Protocol::Mptcp | Protocol::Udp) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "only TCP and UDP sockets can be listed"));
    }
    for family in [AF_INET, AF_INET6] {
        let mut stopped = false;
        let result = netlink::request(
            NETLINK_SOCK_DIAG,
            SOCK_DIAG_BY_FAMILY,
            NLM_F_DUMP,
            &request(query, family),
            |_, payload| match parse(query.protocol, payload).filter(|socket| query.asks_for(socket)) {
                Some(socket) => {
                    let next = each(socket);
                    stopped |= next.is_break();
                    next
                }
                None => ControlFlow::Continue(()),
            },
        );
        match result {
            // Sockets come and go all the time; what a dump missed was opened or closed meanwhile.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
            Ok(()) if stopped => break,
            Ok(()) => {}
        }
    }
    Ok(())
}

fn request(query: &Query, family: u8) -> InetRequest {
    let udp = query.protocol == Protocol::Udp;
    let waiting = 1 << if udp { TCP_CLOSE } else { TCP_LISTEN };
    let states: u32 = match query.states {
        States::Waiting => waiting,
        States::Connected => !waiting,
        States::All => u32::MAX,
        States::Only(bits) => bits,
    };
    let mut socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    socket_id.source_port = query.local_port;
    socket_id.destination_port = query.remote_port;
    socket_id.cookie = [0xff; 8];
    InetRequest {
        family,
        protocol: if udp { libc::IPPROTO_UDP as u8 } else { libc::IPPROTO_TCP as u8 },
        extensions: if query.info { ExtensionFlags::INFO } else { ExtensionFlags::empty() },
        states: StateFlags::from_bits_retain(states),
        socket_id,
    }
}

fn parse(protocol: Protocol, payload: &[u8]) -> Option<Socket> {
    let header = InetResponseHeader::parse(payload).ok()?;
    let id = header.socket_id;
    let mut socket = Socket {
        tuple: Tuple {
            protocol: if protocol == Protocol::Udp { Protocol::Udp } else { Protocol::Tcp },
            local: id.source_address.to_canonical(),
            local_port: id.source_port,
            remote: id.destination_address.to_canonical(),
            remote_port: id.destination_port,
        },
        v6: header.family == AF_INET6,
        v6only: false,
        state: state(protocol, header.state),
        device: id.interface_id,
        cookie: u64::from_ne_bytes(id.cookie),
        uid: header.uid,
        inode: header.inode,
        receive_queue: header.recv_queue,
        send_queue: header.send_queue,
        timer: header.timer,
        info: None,
    };
    for attribute in netlink::attributes(payload, MESSAGE) {
        match attribute.kind() {
            INET_DIAG_SKV6ONLY => socket.v6only = attribute.value().first().is_some_and(|b| *b != 0),
            INET_DIAG_INFO => socket.info = info(attribute.value()),
            _ => {}
        }
    }
    Some(socket)
}

/// TCP's counters; what an older kernel's shorter structure lacks is 0.
fn info(value: &[u8]) -> Option<Box<TcpInfo>> {
    let mut whole = value.to_vec();
    whole.resize(value.len().max(size_of::<TcpInfoBuffer>()), 0);
    TcpInfo::parse(&whole).ok().map(Box::new)
}

/// The sockets of the calling thread's namespace that wait on a local port (0: any).
///
/// # Errors
/// As [`dump`].
pub fn waiting(protocol: Protocol, port: u16) -> io::Result<Vec<Socket>> {
    collect(&Query { protocol, states: States::Waiting, local_port: port, remote_port: 0, info: false }, |_| true)
}

/// The sockets that hold a local address and port, in any state: bound to it, or to every address of its family (an IPv6
/// wildcard that takes IPv4 included). Unspecified address: whatever the address.
///
/// # Errors
/// As [`dump`].
pub fn holders(protocol: Protocol, address: IpAddr, port: u16) -> io::Result<Vec<Socket>> {
    collect(&Query { protocol, states: States::All, local_port: port, remote_port: 0, info: false }, |s| {
        let wildcard =
            s.tuple.local.is_unspecified() && (s.v6 || address.is_ipv4()) && !(s.v6only && address.is_ipv4());
        address.is_unspecified() || s.tuple.local == address || wildcard
    })
}

/// How many connections to a local port of the calling thread's namespace are half open: the listener has answered a SYN and
/// heard nothing since.
///
/// # Errors
/// As [`dump`].
pub fn half_open(port: u16) -> io::Result<u64> {
    // TCP_SYN_RECV, by which TCP_NEW_SYN_RECV is meant as well (inet_diag_dump, 6.18).
    const SYN_RECV: u32 = 1 << 3;
    let states = States::Only(SYN_RECV);
    let mut count = 0;
    dump(&Query { protocol: Protocol::Tcp, states, local_port: port, remote_port: 0, info: false }, |_| {
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// The sockets with exactly these endpoints; endpoints not known yet (unspecified, 0) match any. A datagram socket that isn't
/// connected, or not bound to one address, sends and receives with any.
///
/// # Errors
/// As [`dump`].
pub fn exact(tuple: &Tuple) -> io::Result<Vec<Socket>> {
    let query = Query {
        protocol: tuple.protocol,
        states: States::All,
        local_port: tuple.local_port,
        remote_port: if tuple.protocol == Protocol::Udp { 0 } else { tuple.remote_port },
        info: false,
    };
    let fits = |wanted: IpAddr, has: IpAddr| {
        wanted.is_unspecified() || has == wanted || tuple.protocol == Protocol::Udp && has.is_unspecified()
    };
    collect(&query, |s| {
        fits(tuple.local, s.tuple.local)
            && fits(tuple.remote, s.tuple.remote)
            && (tuple.remote_port == 0 || s.tuple.remote_port == 0 || s.tuple.remote_port == tuple.remote_port)
    })
}

fn collect(query: &Query, wanted: impl Fn(&Socket) -> bool) -> io::Result<Vec<Socket>> {
    let mut all = Vec::new();
    dump(query, |socket| {
        all.extend(Some(socket).filter(&wanted));
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

impl Host {
    /// The sockets that wait for connections or datagrams, in every namespace that can be seen; on these ports, or all.
    ///
    /// # Errors
    /// The own namespace can't be read. Others that may not be entered are left out.
    pub fn listeners(&mut self, protocol: Protocol, ports: &[u16]) -> Result<Vec<Listener>, Error> {
        let (mut found, own) = {
            let namespaces = self.namespaces()?;
            let own = namespaces.own();
            // The kernel looks for one port or for none.
            let port = if let [one] = ports { *one } else { 0 };
            (namespaces.each(|_| waiting(protocol, port))?, own)
        };
        let mut sockets: Vec<(Netns, Socket)> = Vec::new();
        for (netns, result) in found.drain(..) {
            match result {
                Ok(Ok(list)) => sockets.extend(list.into_iter().map(|s| (netns, s))),
                Ok(Err(source)) if netns == own => return Err(Error::Kernel { what: "its listeners", netns, source }),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        sockets.retain(|(_, s)| ports.is_empty() || ports.contains(&s.tuple.local_port));
        let inodes: Vec<u32> = sockets.iter().map(|(_, s)| s.inode).collect();
        let owners = self.holders.of(&inodes);
        let listener = |(netns, s): (Netns, Socket)| Listener {
            protocol: s.tuple.protocol,
            addr: s.tuple.local,
            port: s.tuple.local_port,
            v6only: s.v6only,
            device: s.device,
            netns,
            backlog: if protocol == Protocol::Udp { 0 } else { s.receive_queue },
            max_backlog: if protocol == Protocol::Udp { 0 } else { s.send_queue },
            uid: s.uid,
            inode: s.inode,
            cookie: Some(Cookie(s.cookie)),
            owners: owners.get(&s.inode).cloned().unwrap_or_default(),
        };
        let mut listeners: Vec<Listener> = sockets.into_iter().map(listener).collect();
        listeners.sort_by_key(|l| (l.netns != own, l.netns, l.port, l.addr, l.device, l.inode));
        Ok(listeners)
    }

    /// The processes that hold each of these sockets, by inode; a socket that nobody is seen to hold is left out.
    pub fn holders_of(&mut self, inodes: &[u32]) -> BTreeMap<u32, Vec<Owner>> {
        self.holders.of(inodes)
    }

    /// Sockets with their owners.
    pub fn entries(&mut self, sockets: Vec<Socket>) -> Vec<SocketEntry> {
        let inodes: Vec<u32> = sockets.iter().map(|s| s.inode).collect();
        let owners = self.holders.of(&inodes);
        let entry = |s: Socket| SocketEntry {
            tuple: s.tuple,
            state: s.state.to_string(),
            uid: s.uid,
            inode: s.inode,
            owners: owners.get(&s.inode).cloned().unwrap_or_default(),
        };
        sockets.into_iter().map(entry).collect()
    }
}
