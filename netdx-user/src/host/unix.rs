//! Unix sockets that listen, as sock_diag has them. Owns: dumping them. Must not know: who holds them.

use super::netlink;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_sock_diag::{
    SOCK_DIAG_BY_FAMILY,
    constants::{UNIX_DIAG_NAME, UNIX_DIAG_RQLEN},
    unix::{ShowFlags, StateFlags, UnixRequest},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use std::{io, ops::ControlFlow};

/// Length of `struct unix_diag_msg`.
const MESSAGE: usize = 16;

/// A Unix socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixListener {
    /// Its path; an abstract name begins with `@`. Bytes that are not UTF-8 replaced; empty: it has none.
    pub path: String,
    /// stream, seqpacket or dgram.
    pub kind: &'static str,
    /// Inode.
    pub inode: u32,
    /// Connections that wait to be accepted.
    pub backlog: u32,
    /// How many may wait.
    pub max_backlog: u32,
}

/// The listening Unix sockets of the calling thread's network namespace.
///
/// # Errors
/// The kernel's, for example ENOENT where it has no `unix_diag`.
pub fn listening() -> io::Result<Vec<UnixListener>> {
    let request = UnixRequest {
        state_flags: StateFlags::LISTEN,
        inode: 0,
        show_flags: ShowFlags::NAME | ShowFlags::RQLEN,
        cookie: [0xff; 8],
    };
    let mut all = Vec::new();
    let result = netlink::request(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request, |_, payload| {
        all.extend(parse(payload));
        ControlFlow::Continue(())
    });
    match result {
        // What a dump missed was opened or closed meanwhile.
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(all),
        other => other.map(|()| all),
    }
}

/// One `struct unix_diag_msg` (family, type, state, pad, inode, cookie) and its attributes.
fn parse(payload: &[u8]) -> Option<UnixListener> {
    let header = payload.first_chunk::<MESSAGE>()?;
    let mut socket = UnixListener {
        path: String::new(),
        kind: match i32::from(header[1]) {
            libc::SOCK_STREAM => "stream",
            libc::SOCK_SEQPACKET => "seqpacket",
            libc::SOCK_DGRAM => "dgram",
            _ => "unknown",
        },
        inode: u32::from_ne_bytes([header[4], header[5], header[6], header[7]]),
        backlog: 0,
        max_backlog: 0,
    };
    for attribute in netlink::attributes(payload, MESSAGE) {
        let value = attribute.value();
        match attribute.kind() {
            UNIX_DIAG_NAME => {
                let name = match value.split_first() {
                    Some((0, rest)) => [b"@", rest].concat(),
                    _ => value.strip_suffix(b"\0").unwrap_or(value).to_vec(),
                };
                socket.path = String::from_utf8_lossy(&name).into_owned();
            }
            // struct unix_diag_rqlen: waiting, limit.
            UNIX_DIAG_RQLEN => {
                let number = |at: usize| {
                    value.get(at..at + 4).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_ne_bytes(*b))
                };
                (socket.backlog, socket.max_backlog) = (number(0), number(4));
            }
            _ => {}
        }
    }
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let found = listening().unwrap().into_iter().find(|l| l.path == path.to_string_lossy()).expect("it listens");
        assert_eq!((found.kind, found.backlog), ("stream", 1));
        assert!(found.max_backlog > 0 && found.inode > 0);
    }

    #[test]
    fn a_short_message_is_passed_over() {
        assert_eq!(parse(&[1, 1, 10]), None);
    }
}
