//! Talks netlink. Owns: requests and their replies, on a socket of their own, in the namespace of the calling thread.
//! Must not know: what the messages mean.
//!
//! Framing and message types are those of netlink-packet-core, -route and -sock-diag. Attributes are parsed one by one and
//! those that a newer kernel writes differently are skipped: an unknown attribute must not cost the whole answer.
//! A socket lives for the requests of one moment only. Kept, it would hold its namespace, and with it the interfaces of a container that
//! has ended (`sk_alloc` takes a reference, Linux 6.18); opening one takes a few microseconds.

use netlink_packet_core::{
    Emitable, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_ALIGNTO, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP,
    NetlinkBuffer, NlaBuffer, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};
use std::{io, ops::ControlFlow};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The kernel never puts more than 32 KiB into one datagram of a dump (`netlink_dump`, Linux 5.10 to 6.18).
const DATAGRAM: usize = 64 * 1024;
/// How often a listing is begun again because the table changed under it.
const ATTEMPTS: usize = 8;

/// Sends one request on a socket of its own. See [`Exchange::request`].
///
/// # Errors
/// As [`Exchange::request`].
pub fn request(
    protocol: isize,
    kind: u16,
    flags: u16,
    body: &impl Emitable,
    each: impl FnMut(u16, &[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    Exchange::new(protocol)?.request(kind, flags, body, each)
}

/// The body of a message, ready to be sent.
pub struct Body(pub Vec<u8>);

impl Emitable for Body {
    fn buffer_len(&self) -> usize {
        self.0.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

/// A socket for several requests of one moment, in the namespace of the thread that made it.
pub struct Exchange {
    socket: Socket,
    sequence: u32,
    message: Vec<u8>,
    buffer: Vec<u8>,
}

impl Exchange {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(protocol: isize) -> io::Result<Exchange> {
        // Sending gives it an address.
        let socket = Socket::new(protocol)?;
        Ok(Exchange { socket, sequence: 0, message: Vec::new(), buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Sends one request and hands every reply (message type, payload) to `each` until the kernel ends it or `each` breaks.
    /// With `NLM_F_DUMP` in `flags` there are many replies, without it one.
    ///
    /// # Errors
    /// The kernel's own error for the request; `Interrupted` when the table changed during a dump, after all of it was
    /// handed out; `InvalidData` when a reply can't be read.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        body: &impl Emitable,
        mut each: impl FnMut(u16, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let length = HEADER + body.buffer_len();
        self.sequence += 1;
        self.message.clear();
        self.message.resize(length, 0);
        let mut header = NetlinkBuffer::new(&mut self.message[..]);
        header.set_length(u32::try_from(length).map_err(io::Error::other)?);
        header.set_message_type(kind);
        header.set_flags(flags | NLM_F_REQUEST);
        header.set_sequence_number(self.sequence);
        body.emit(&mut self.message[HEADER..]);
        self.socket.send_to(&self.message, &SocketAddr::new(0, 0), 0)?;

        let dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        let mut interrupted = false;
        loop {
            self.buffer.clear();
            let (_, sender) = self.socket.recv_from(&mut self.buffer, 0)?;
            if sender.port_number() != 0 {
                continue;
            }
            let mut rest = &self.buffer[..];
            while !rest.is_empty() {
                let reply = NetlinkBuffer::new_checked(rest).map_err(malformed)?;
                let taken = (reply.length() as usize).next_multiple_of(NLMSG_ALIGNTO as usize);
                rest = rest.get(taken..).unwrap_or_default();
                if reply.sequence_number() != self.sequence {
                    // The rest of a listing that was enough.
                    continue;
                }
                interrupted |= reply.flags() & NLM_F_DUMP_INTR != 0;
                let payload = reply.payload();
                match reply.message_type() {
                    NLMSG_NOOP => {}
                    // Both carry an int: 0 or a negative errno. A dump that fails on its way says so in DONE.
                    NLMSG_ERROR | NLMSG_DONE => {
                        let code = payload.first_chunk().map_or(0, |b| i32::from_ne_bytes(*b));
                        return match code {
                            code if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                            _ if interrupted => Err(io::ErrorKind::Interrupted.into()),
                            _ => Ok(()),
                        };
                    }
                    kind => {
                        if each(kind, payload).is_break() || !dump {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }
}

/// Lists a table: every reply that `parse` can read. Begins again when the table changed meanwhile.
///
/// # Errors
/// As [`request`].
pub fn list<T>(
    protocol: isize,
    kind: u16,
    body: &impl Emitable,
    mut parse: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let mut last = Ok(());
    for _ in 0..ATTEMPTS {
        let mut all = Vec::new();
        last = request(protocol, kind, NLM_F_DUMP, body, |_, payload| {
            all.extend(parse(payload));
            ControlFlow::Continue(())
        });
        match &last {
            Ok(()) => return Ok(all),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    last.map(|()| Vec::new())
}

/// The attributes of a message after its header of `offset` bytes; what can't be read ends them.
pub fn attributes(payload: &[u8], offset: usize) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(payload.get(offset..).unwrap_or_default()).map_while(Result::ok)
}

fn malformed(e: netlink_packet_core::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}
