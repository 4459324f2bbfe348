//! Calls that failed. Owns: which story a failed call belongs to, and the story of one that is all there is. Must not know:
//! causes.

use super::{Connection, Tracker};
use crate::{
    event::{Call, Event, Netns, Protocol, Sock, SockId, TcpState, Tuple, Via},
    report::Outcome,
    time::Time,
    want::Want,
};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// How long a story that has ended waits once the call has returned.
const SETTLE_TOLD: Duration = Duration::from_millis(2);
/// EPIPE
const EPIPE: i32 = 32;
/// ENOTCONN
const ENOTCONN: i32 = 107;

impl Tracker {
    pub(super) fn call_failed(&mut self, time: Time, event: &Arc<Event>) {
        let Event::CallFailed { call, started, task, sock, address, family, port, result, .. } = &**event else {
            return;
        };
        let Event::CallFailed { socket_type, protocol: asked, .. } = &**event else { return };
        let (call, started, address, family, port, result) = (*call, *started, *address, *family, *port, *result);
        let (socket_type, asked) = (*socket_type, *asked);
        let errno = -result;
        let inet = |f: u16| f == 2 || f == 10;
        // Of a call that seccomp answered only the answer is known.
        let unentered = call == Call::Connect && started.is_none();
        if !(inet(family) || sock.is_some() || unentered) {
            return;
        }
        // Raw and ICMP sockets make no connections (SOCK_STREAM 1, SOCK_DGRAM 2; protocols TCP, UDP, MPTCP or the default).
        if call == Call::Socket && !(matches!(socket_type & 0xf, 1 | 2) && matches!(asked, 0 | 6 | 17 | 262)) {
            return;
        }
        let want = Want::Process { pid: task.pid };
        if !self.wants.contains(&want) {
            self.wants.push(want);
        }
        if sock.as_ref().is_some_and(|s| s.tuple.protocol == Protocol::Udp) {
            if self.lookups.call_failed(time, started, event, &mut self.memory) {
                return;
            }
            self.datagrams.call_failed(time, event, &mut self.memory);
            return;
        }
        let began = started.unwrap_or(time);
        let id = sock.as_ref().and_then(|s| s.id);
        let (tid, to) = (task.tid, (address, port));
        let belongs = |c: &Connection| {
            c.id.is_some() && c.id == id
                || (matches!(call, Call::Connect | Call::IoUringConnect | Call::Send)
                    && c.task.as_ref().is_some_and(|t| t.tid == tid)
                    && c.began >= began
                    && (to.0.is_none() || to == (Some(c.tuple.remote), c.tuple.remote_port)))
        };
        let settling = self.settling.called(id, tid, belongs);
        if settling.is_none() && id.is_some_and(|id| self.told.holds(&id)) {
            return;
        }
        let found = match settling {
            Some(key) => self.settling.put_off(key, time.after(SETTLE_TOLD)),
            None => id.and_then(|id| self.open.get_mut(&id)).map(|c| &mut **c),
        };
        if let Some(c) = found {
            if matches!(call, Call::Connect | Call::IoUringConnect | Call::Send | Call::Receive) && !interrupted(errno)
            {
                let known = c.errno;
                c.errno = Some(match known {
                    // A send on a connection that was reset says EPIPE only the second time.
                    Some(first) if call == Call::Send || call == Call::Receive => first,
                    _ => errno,
                });
            }
            if let Some(address) = address
                && c.tuple.remote.is_unspecified()
            {
                // A multipath socket gets its endpoints from its first subflow, and here there was none.
                (c.tuple.remote, c.tuple.remote_port) = (address, port);
            }
            c.task.get_or_insert_with(|| task.clone());
            c.push(time, Arc::clone(event));
            if sock.as_ref().is_some_and(|s| s.state == TcpState::Close) {
                self.ended_unseen(id, time);
            }
            return;
        }
        // Fast Open: sending is what connects a socket that isn't.
        let opens = call == Call::Send
            && address.is_some()
            && sock.as_ref().is_some_and(|s| s.id.is_none() && s.state == TcpState::Close)
            && !matches!(errno, EPIPE | ENOTCONN);
        if matches!(call, Call::Send | Call::Receive) && !opens || interrupted(errno) {
            // On a socket that isn't followed nothing can be said about its history.
            return;
        }
        // No packet was ever sent for it: the call is the whole story.
        let unspecified = if family == 10 { IpAddr::from([0u16; 8]) } else { IpAddr::from([0u8; 4]) };
        let mut local = (unspecified, 0);
        let mut remote = (unspecified, 0);
        let given = (address.unwrap_or(unspecified), port);
        match call {
            Call::Bind | Call::Listen => local = given,
            _ => remote = given,
        }
        if let Some(s) = sock
            && (call != Call::Bind)
        {
            local = (s.tuple.local, s.tuple.local_port);
        }
        let protocol = sock.as_ref().map_or(Protocol::Tcp, |s| s.tuple.protocol);
        let netns = sock.as_ref().map(|s| s.netns).or(task.netns).unwrap_or(Netns(0));
        let tuple = Tuple { protocol, local: local.0, local_port: local.1, remote: remote.0, remote_port: remote.1 };
        let blank = Sock {
            cookie: sock.as_ref().and_then(|s| s.cookie),
            v6: sock.as_ref().map_or(family == 10, |s| s.v6),
            mark: sock.as_ref().map_or(0, |s| s.mark),
            bound_device: sock.as_ref().map_or(0, |s| s.bound_device),
            ..Sock::unseen(tuple, netns)
        };
        let mut c = Connection::new(self.memory.serial.next(), began, &blank);
        c.task = Some(task.clone());
        c.ended = Some(time);
        c.errno = Some(errno);
        c.via = match call {
            Call::IoUringConnect => Via::IoUring,
            Call::Send => Via::FastOpen,
            _ => Via::Connect,
        };
        c.push(time, Arc::clone(event));
        self.memory.dress(&mut c);
        self.settle(Box::new(c), time);
    }

    /// A call says that the socket of an open story is closed. Its change to TCP_CLOSE comes first; where it did not, that
    /// record is missing, as is seen, rarely, of timers' ends: the story must not wait for it for ever.
    fn ended_unseen(&mut self, id: Option<SockId>, time: Time) {
        let Some(mut c) = id.and_then(|id| self.open.remove(&id)) else { return };
        c.ended = Some(time);
        c.outcome = if c.established.is_some() { Outcome::Broken } else { Outcome::Failed };
        self.settle(c, time);
    }
}

/// A signal interrupted the call (ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK; EINTR).
fn interrupted(errno: i32) -> bool {
    errno == 4 || (512..=516).contains(&errno)
}
