//! Ring-buffer records to events: a pure function over bytes.
//!
//! Owns: what each number on the wire means. Must not know: where the bytes come from, or what an event is worth.
//! Bytes may be anything: what can't be read is an [`Error`], never a panic. Kernel addresses and numbers of kernel
//! enumerations become names here, by [`Names`], and go no further.

mod dns;
#[cfg(test)]
mod garbage;
mod hook;
#[cfg(test)]
mod tests;
mod values;

use crate::{
    event::{Call, Cookie, Event, Name, Netns, Opened, Packet, Root, RouteLookups, Sock, SockId, TcpState, Tuple},
    input::{Input, Stamped},
    time::Time,
};
use netdx_common::record::{self as wire, Kind, STACK_DEPTH, call};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};
use values::{
    AF_INET6, ETH_P_ARP, address, counters, dialled, discovery, icmp_error, inner, known_task, netns, protocol, task,
    tcp_state, text, via, without,
};
use zerocopy::FromBytes;

/// What the running kernel calls things.
pub trait Names {
    /// The function that an address is in.
    fn function(&self, address: u64) -> Option<Name>;
    /// The functions of a stack, the innermost first, without tracing's own; it ends at an address of zero.
    fn stack(&self, addresses: &[u64; STACK_DEPTH]) -> Arc<[Name]> {
        functions(self, addresses)
    }
    /// A variant of `enum skb_drop_reason`, with or without its `SKB_DROP_REASON_`.
    fn drop_reason(&self, value: i32) -> Option<Name>;
    /// A variant of `enum sk_rst_reason`, with or without its `SK_RST_REASON_`.
    fn reset_reason(&self, value: i32) -> Option<Name>;
}

/// The functions of a stack, see [`Names::stack`].
pub(crate) fn functions(names: &(impl Names + ?Sized), addresses: &[u64; STACK_DEPTH]) -> Arc<[Name]> {
    /// How the functions between a hook and its program begin.
    const OWN: [&str; 4] = ["bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_"];
    let frames = addresses.iter().take_while(|address| **address != 0);
    let functions = frames.filter_map(|address| names.function(*address));
    functions.filter(|name| !OWN.iter().any(|own| name.starts_with(own))).collect()
}

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not even a header.
    #[error("record of {0} bytes: shorter than a header")]
    Short(usize),
    /// The header doesn't say the length that there is.
    #[error("record of kind {kind}: {length} bytes, but its header says {said}")]
    Length {
        /// Kind.
        kind: u16,
        /// Bytes there are.
        length: usize,
        /// Bytes there should be.
        said: u16,
    },
    /// A kind that this version doesn't know.
    #[error("record of unknown kind {0}")]
    Kind(u16),
    /// A known kind of another size.
    #[error("record of kind {kind}: {length} bytes, expected {expected}")]
    Size {
        /// Kind.
        kind: u16,
        /// Bytes there are.
        length: usize,
        /// Bytes this version knows.
        expected: usize,
    },
    /// Endpoints of neither IPv4 nor IPv6 where there must be some.
    #[error("record of kind {kind}: address family {family}")]
    Family {
        /// Kind.
        kind: u16,
        /// The family.
        family: u16,
    },
}

/// Reads one record, which may tell of several events, and puts them into `out` in their order.
///
/// # Errors
/// For bytes that are no record of this version; `out` stays as it is.
pub fn decode(bytes: &[u8], names: &dyn Names, out: &mut Vec<Stamped>) -> Result<(), Error> {
    let Ok((header, _)) = wire::Header::read_from_prefix(bytes) else {
        return Err(Error::Short(bytes.len()));
    };
    let kind = header.kind.0;
    if usize::from(header.size) != bytes.len() {
        return Err(Error::Length { kind, length: bytes.len(), said: header.size });
    }
    let record = Record { kind, bytes, names };
    let event = match header.kind {
        Kind::ATTEMPT => record.attempt()?,
        Kind::STATE => record.state()?,
        Kind::SOCKET_ERROR => record.socket_error()?,
        Kind::RESET_RECEIVED => record.reset_received()?,
        Kind::RESET_SENT => record.reset_sent()?,
        Kind::RETRANSMIT => record.retransmit()?,
        Kind::SYNACK_RETRANSMIT => record.synack_retransmit()?,
        Kind::DROP => record.drop()?,
        Kind::ICMP_RECEIVED => record.icmp_received()?,
        Kind::ICMP_SENT => record.icmp_sent()?,
        Kind::NEIGHBOR_FAILED => record.neighbor_failed()?,
        Kind::CALL_FAILED => record.call_failed()?,
        Kind::DNS => record.dns()?,
        Kind::LISTEN_OVERFLOW => record.listen_overflow()?,
        Kind::PROCESS => record.process()?,
        Kind::PROCESS_EXIT => record.process_exit()?,
        Kind::GETADDRINFO => record.getaddrinfo()?,
        Kind::RESET_ANSWER => record.reset_answer()?,
        Kind::RESET_END => return record.reset_end(out),
        Kind(other) => return Err(Error::Kind(other)),
    };
    out.push(stamped(header.time, event));
    Ok(())
}

fn stamped(time: u64, event: Event) -> Stamped {
    Stamped { t: Time(time), input: Input::Event(event) }
}

/// A record whose header is read.
struct Record<'a> {
    kind: u16,
    bytes: &'a [u8],
    names: &'a dyn Names,
}

impl Record<'_> {
    fn read<T: FromBytes>(&self) -> Result<T, Error> {
        T::read_from_bytes(self.bytes).map_err(|_| Error::Size {
            kind: self.kind,
            length: self.bytes.len(),
            expected: size_of::<T>(),
        })
    }

    fn attempt(&self) -> Result<Event, Error> {
        let r: wire::Attempt = self.read()?;
        Ok(Event::Attempt {
            started: Time(r.started),
            task: task(&r.task),
            sock: self.sock(&r.sock)?,
            via: via(r.via),
            dialled: dialled(&r.dialled),
        })
    }

    fn state(&self) -> Result<Event, Error> {
        let r: wire::State = self.read()?;
        Ok(Event::State {
            sock: self.sock(&r.sock)?,
            old: tcp_state(r.old),
            new: tcp_state(r.new),
            current: task(&r.current),
            icmp: icmp_error(&r.icmp),
            tcp: counters(&r.tcp),
            stack: self.stack(&r.stack),
        })
    }

    fn socket_error(&self) -> Result<Event, Error> {
        let r: wire::SocketError = self.read()?;
        Ok(Event::SocketError { sock: self.sock(&r.sock)?, icmp: icmp_error(&r.icmp), current: task(&r.current) })
    }

    fn reset_received(&self) -> Result<Event, Error> {
        let r: wire::ResetReceived = self.read()?;
        Ok(Event::ResetReceived { sock: self.sock(&r.sock)?, tcp: counters(&r.tcp) })
    }

    fn reset_end(&self, out: &mut Vec<Stamped>) -> Result<(), Error> {
        let r: wire::ResetEnd = self.read()?;
        let after = self.sock(&r.sock)?;
        // Nothing else had become of it: the RST was what brought the error (tcp_reset, 6.18).
        let before = Sock { state: tcp_state(r.old.into()), error: 0, ..after.clone() };
        let tcp = counters(&r.tcp);
        if r.first != 0 {
            let attempt = Event::Attempt {
                started: Time(r.started),
                task: task(&r.task),
                sock: before.clone(),
                via: via(r.via),
                dialled: dialled(&r.dialled),
            };
            out.push(stamped(r.received, attempt));
        }
        let (old, new) = (before.state, TcpState::Close);
        out.push(stamped(r.received, Event::ResetReceived { sock: before, tcp }));
        let state = Event::State {
            sock: after,
            old,
            new,
            current: None,
            icmp: icmp_error(&r.icmp),
            tcp,
            stack: Arc::default(),
        };
        out.push(stamped(r.header.time, state));
        Ok(())
    }

    fn reset_answer(&self) -> Result<Event, Error> {
        let r: wire::ResetAnswer = self.read()?;
        Ok(Event::ResetSent {
            packet: Some(self.packet(&r.packet)?),
            sock: None,
            reason: self.reset_reason(r.reason),
            current: None,
            stack: Arc::default(),
        })
    }

    fn reset_reason(&self, reason: i32) -> Option<Name> {
        self.names.reset_reason(reason).map(|name| without(name, "SK_RST_REASON_"))
    }

    fn reset_sent(&self) -> Result<Event, Error> {
        let r: wire::ResetSent = self.read()?;
        let answered = r.packet.tuple.family != 0;
        Ok(Event::ResetSent {
            packet: if answered { Some(self.packet(&r.packet)?) } else { None },
            sock: self.optional_sock(&r.sock)?,
            reason: self.reset_reason(r.reason),
            current: task(&r.current),
            stack: self.stack(&r.stack),
        })
    }

    fn retransmit(&self) -> Result<Event, Error> {
        let r: wire::Retransmit = self.read()?;
        Ok(Event::Retransmit {
            sock: self.sock(&r.sock)?,
            tcp: counters(&r.tcp),
            result: (r.result != i32::MIN).then_some(r.result),
            length: r.length,
            sequence: r.sequence,
        })
    }

    fn synack_retransmit(&self) -> Result<Event, Error> {
        let r: wire::SynAckRetransmit = self.read()?;
        Ok(Event::SynAckRetransmit {
            listener: self.sock(&r.listener)?,
            tuple: self.tuple(&r.tuple)?,
            retransmits: r.retransmits,
        })
    }

    fn drop(&self) -> Result<Event, Error> {
        let r: wire::Drop = self.read()?;
        let reason = self.names.drop_reason(r.reason).map(|name| without(name, "SKB_DROP_REASON_"));
        let at = self.names.function(r.location);
        let stack = self.stack(&r.stack);
        let place = hook::Place {
            route_input: self.names.function(r.route_input),
            has_route: r.route_input != 0,
            in_device: r.packet.in_device,
            device: r.packet.device,
        };
        let hook = hook::of_drop(reason.as_deref(), at.as_deref(), &stack, &place);
        let sock = self.optional_sock(&r.sock)?;
        let packet = self.packet(&r.packet)?;
        let discovery = discovery(&r);
        let inner = if r.inner.tuple.family == 0 { None } else { Some(inner(self.packet(&r.inner)?, &packet)) };
        Ok(Event::Drop {
            packet,
            inner: inner.map(Box::new),
            discovery,
            receiver: sock.is_some() && r.socket_role == 1,
            sock,
            reason,
            at,
            hook,
            current: task(&r.current),
            stack,
        })
    }

    fn icmp_received(&self) -> Result<Event, Error> {
        let r: wire::IcmpReceived = self.read()?;
        Ok(Event::IcmpReceived {
            packet: self.packet(&r.packet)?,
            quoted: self.optional_tuple(&r.quoted)?,
            info: r.info,
        })
    }

    fn icmp_sent(&self) -> Result<Event, Error> {
        let r: wire::IcmpSent = self.read()?;
        Ok(Event::IcmpSent { packet: self.packet(&r.packet)?, stack: self.stack(&r.stack) })
    }

    fn neighbor_failed(&self) -> Result<Event, Error> {
        let r: wire::NeighborFailed = self.read()?;
        let address = address(r.family, &r.address).ok_or(Error::Family { kind: self.kind, family: r.family })?;
        Ok(Event::NeighborFailed {
            netns: Netns(r.netns),
            address,
            device: r.device,
            device_name: text(&r.device_name),
        })
    }

    fn call_failed(&self) -> Result<Event, Error> {
        let r: wire::CallFailed = self.read()?;
        let call = match r.call {
            call::CONNECT => Call::Connect,
            call::BIND => Call::Bind,
            call::SOCKET => Call::Socket,
            call::SEND => Call::Send,
            call::RECEIVE => Call::Receive,
            call::IO_URING_CONNECT => Call::IoUringConnect,
            call::LISTEN => Call::Listen,
            other => Call::Other(other),
        };
        // socket(2) and listen(2) are given a family at most.
        let has_address = !matches!(call, Call::Socket | Call::Listen);
        Ok(Event::CallFailed {
            call,
            started: (r.started != 0).then_some(Time(r.started)),
            task: known_task(&r.task),
            sock: self.optional_sock(&r.sock)?,
            address: if has_address { address(r.family, &r.address) } else { None },
            family: r.family,
            port: r.port,
            socket_type: r.socket_type,
            protocol: r.protocol,
            scope: r.scope,
            result: r.result,
            cgroup_hook: match r.cgroup_hook {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
            route: RouteLookups {
                count: r.route.count,
                main: r.route.tables & 1 != 0,
                local: r.route.tables & 2 != 0,
                other: r.route.tables & 4 != 0,
                table: r.route.table,
                error: r.route.error,
                kind: r.route.kind,
                device: r.route.device,
            },
        })
    }

    fn dns(&self) -> Result<Event, Error> {
        // The data is cut to what there is: filled up, the record has its full size.
        let mut whole = [0; size_of::<wire::Dns>()];
        let (Some(to), true) = (whole.get_mut(..self.bytes.len()), self.bytes.len() >= wire::DNS_HEAD) else {
            return Err(Error::Size { kind: self.kind, length: self.bytes.len(), expected: whole.len() });
        };
        to.copy_from_slice(self.bytes);
        let r: wire::Dns = Record { bytes: &whole, ..*self }.read()?;
        let carried = self.bytes.get(wire::DNS_HEAD..).unwrap_or_default();
        Ok(Event::Dns {
            current: task(&r.current),
            cookie: (r.cookie != 0).then_some(Cookie(r.cookie)),
            tuple: self.tuple(&r.tuple)?,
            netns: netns(r.netns),
            leaving: r.flow == 1,
            resolving: (r.resolving != 0).then_some(Time(r.resolving)),
            message: dns::message(carried, r.length),
        })
    }

    fn listen_overflow(&self) -> Result<Event, Error> {
        let r: wire::ListenOverflow = self.read()?;
        Ok(Event::ListenOverflow { listener: self.sock(&r.listener)?, packet: self.packet(&r.packet)? })
    }

    fn process(&self) -> Result<Event, Error> {
        let r: wire::Process = self.read()?;
        let length = usize::try_from(r.argv_len).unwrap_or(usize::MAX).min(r.argv.len());
        let filled = r.argv.get(..length).unwrap_or_default();
        let filled = filled.strip_suffix(&[0]).unwrap_or(filled);
        let argv = if filled.is_empty() {
            Vec::new()
        } else {
            filled.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
        };
        let root = (r.mounts != 0 && r.root != 0).then_some(Root {
            mounts: r.mounts,
            mounts_id: (r.mounts_id != 0).then_some(r.mounts_id),
            inode: r.root,
            started: Time(r.started),
        });
        Ok(Event::Process { task: known_task(&r.task), started: Time(r.started), parent: r.parent, argv, root })
    }

    fn process_exit(&self) -> Result<Event, Error> {
        let r: wire::ProcessExit = self.read()?;
        Ok(Event::ProcessExit { task: known_task(&r.task), status: r.status })
    }

    fn getaddrinfo(&self) -> Result<Event, Error> {
        let r: wire::GetAddrInfo = self.read()?;
        Ok(Event::GetAddrInfo {
            task: known_task(&r.task),
            started: Time(r.started),
            result: r.result,
            family: r.family,
            name: text(&r.name),
            service: text(&r.service),
        })
    }

    fn optional_sock(&self, sock: &wire::Sock) -> Result<Option<Sock>, Error> {
        if sock.tuple.family == 0 { Ok(None) } else { self.sock(sock).map(Some) }
    }

    fn sock(&self, sock: &wire::Sock) -> Result<Sock, Error> {
        Ok(Sock {
            id: (sock.id != 0).then_some(SockId(sock.id)),
            cookie: (sock.cookie != 0).then_some(Cookie(sock.cookie)),
            tuple: self.tuple(&sock.tuple)?,
            v6: sock.tuple.family == AF_INET6,
            netns: Netns(sock.netns),
            state: tcp_state(sock.state.into()),
            error: sock.error,
            soft_error: sock.soft_error,
            mark: sock.mark,
            bound_device: sock.bound_device,
            backlog: sock.backlog,
            max_backlog: sock.max_backlog,
            uid: (sock.uid != u32::MAX).then_some(sock.uid),
            left: Some(sock.left != 0),
            retransmits: sock.retransmits,
            opened: match sock.direction {
                1 => Opened::Here,
                2 => Opened::ByPeer,
                _ => Opened::Unseen,
            },
        })
    }

    fn packet(&self, packet: &wire::Packet) -> Result<Packet, Error> {
        Ok(Packet {
            // Those of ARP are none.
            tuple: self.optional_tuple(&packet.tuple)?.filter(|_| packet.tuple.protocol != ETH_P_ARP),
            sequence: packet.sequence,
            acknowledgement: packet.acknowledgement,
            length: packet.length,
            netns: netns(packet.netns),
            in_device: packet.in_device,
            device: packet.device,
            device_name: text(&packet.device_name),
            tcp_flags: packet.tcp_flags,
            icmp_type: packet.icmp_type,
            icmp_code: packet.icmp_code,
            ttl: packet.ttl,
            mark: packet.mark,
        })
    }

    fn optional_tuple(&self, tuple: &wire::Tuple) -> Result<Option<Tuple>, Error> {
        if tuple.family == 0 { Ok(None) } else { self.tuple(tuple).map(Some) }
    }

    fn tuple(&self, tuple: &wire::Tuple) -> Result<Tuple, Error> {
        let (Some(mut local), Some(mut remote)) =
            (address(tuple.family, &tuple.local), address(tuple.family, &tuple.remote))
        else {
            return Err(Error::Family { kind: self.kind, family: tuple.family });
        };
        // An AF_INET6 socket with one end in IPv4 has both there: what isn't known yet is IPv4's "unspecified".
        if local.is_ipv4() != remote.is_ipv4() {
            for end in [&mut local, &mut remote] {
                if end.is_unspecified() {
                    *end = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                }
            }
        }
        Ok(Tuple {
            protocol: protocol(tuple.protocol),
            local,
            local_port: tuple.local_port,
            remote,
            remote_port: tuple.remote_port,
        })
    }

    fn stack(&self, stack: &wire::Stack) -> Arc<[Name]> {
        self.names.stack(&stack.frames)
    }
}
