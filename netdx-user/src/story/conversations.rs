//! Conversations of datagrams, by time and by their ends. Owns: finding one of them, of which a flood of failures makes
//! thousands. Must not know: what becomes of them.

use crate::{
    event::{Cookie, Netns, Tuple},
    time::Time,
};
use std::collections::{BTreeMap, BTreeSet};

/// Whose conversation an event is of, as far as the event says.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) tuple: Tuple,
    /// Of the socket.
    pub(super) netns: Option<Netns>,
    pub(super) pid: Option<u32>,
    /// Of the socket.
    pub(super) cookie: Option<Cookie>,
    /// The local end is what a failed bind wanted: packets with it are another socket's.
    pub(super) wanted: bool,
}

impl End {
    /// The two are one conversation as far as both are known. Sockets without a port yet are told apart by their cookies,
    /// and by their owner.
    fn is(self, other: End) -> bool {
        fn agree<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        self.wanted == other.wanted
            && agree(self.cookie, other.cookie)
            && agree(self.netns, other.netns)
            && agree(self.pid, other.pid)
            && same(self.tuple, other.tuple)
    }
}

/// The two are one conversation as far as both are known: a socket that isn't bound yet has no port.
fn same(a: Tuple, b: Tuple) -> bool {
    // A datagram sent from a socket that isn't connected names its target only in the packet.
    let nowhere = |t: Tuple| t.remote.is_unspecified() && t.remote_port == 0 && t.local_port != 0;
    let ends = |x: Tuple, y: Tuple| {
        ((x.remote, x.remote_port) == (y.remote, y.remote_port) || nowhere(x) || nowhere(y))
            && (x.local_port == y.local_port || x.local_port == 0 || y.local_port == 0)
            && (x.local == y.local || x.local.is_unspecified() || y.local.is_unspecified())
    };
    ends(a, b) || ends(a, b.reversed())
}

/// A time that matters for one, and its number.
type Key = (Time, u64);

/// What is kept of conversations.
#[derive(Debug)]
pub(super) struct Conversations<T> {
    by_time: BTreeMap<Key, (End, T)>,
    /// By the local port; 0: not bound yet.
    by_port: BTreeSet<(u16, Key)>,
}

impl<T> Default for Conversations<T> {
    fn default() -> Self {
        Conversations { by_time: BTreeMap::new(), by_port: BTreeSet::new() }
    }
}

impl<T> Conversations<T> {
    /// Adds one. `serial`: no other one has it.
    pub(super) fn insert(&mut self, time: Time, serial: u64, end: End, what: T) {
        let key = (time, serial);
        self.by_port.insert((end.tuple.local_port, key));
        self.by_time.insert(key, (end, what));
    }

    /// Takes out the conversation that an event is of.
    pub(super) fn take(&mut self, end: End) -> Option<T> {
        self.find(end).and_then(|key| self.remove(key))
    }

    /// Whether there is the conversation that an event is of.
    pub(super) fn holds(&self, end: End) -> bool {
        self.find(end).is_some()
    }

    /// Takes out the first one, if its time has come or there are more than so many.
    pub(super) fn pop(&mut self, now: Time, most: usize) -> Option<T> {
        let key = *self.by_time.first_key_value()?.0;
        if key.0 <= now || self.by_time.len() > most { self.remove(key) } else { None }
    }

    /// The first time that matters.
    pub(super) fn first(&self) -> Option<Time> {
        self.by_time.first_key_value().map(|((time, _), _)| *time)
    }

    /// Forgets those of which something is so.
    pub(super) fn forget(&mut self, is_so: impl Fn(&T) -> bool) {
        for key in self.by_time.iter().filter(|(_, (_, what))| is_so(what)).map(|(key, _)| *key).collect::<Vec<_>>() {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: Key) -> Option<T> {
        let (end, what) = self.by_time.remove(&key)?;
        self.by_port.remove(&(end.tuple.local_port, key));
        Some(what)
    }

    /// A conversation is found by either of an event's ports, for the event may be of its other end; and among those that
    /// have none yet. Where the event lacks one, any may be meant.
    fn find(&self, end: End) -> Option<Key> {
        let is = |key: &Key| self.by_time.get(key).is_some_and(|(known, _)| known.is(end));
        if end.tuple.local_port == 0 || end.tuple.remote_port == 0 {
            return self.by_time.iter().find(|(_, (known, _))| known.is(end)).map(|(key, _)| *key);
        }
        [end.tuple.local_port, end.tuple.remote_port, 0].into_iter().find_map(|port| {
            let of_port = (port, (Time(0), 0))..=(port, (Time(u64::MAX), u64::MAX));
            self.by_port.range(of_port).map(|(_, key)| *key).find(is)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Protocol;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn ends() -> impl Strategy<Value = End> {
        let address = || prop_oneof![Just("0.0.0.0"), Just("10.0.0.1"), Just("10.0.0.2")];
        let (port, some) = (|| 0u16..4, || proptest::option::of(1u64..3));
        (address(), port(), address(), port(), some(), some(), some(), any::<bool>()).prop_map(
            |(local, local_port, remote, remote_port, netns, pid, cookie, wanted)| {
                let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
                let tuple =
                    Tuple { protocol: Protocol::Udp, local: ip(local), local_port, remote: ip(remote), remote_port };
                let netns = netns.map(|n| Netns(n as u32));
                End { tuple, netns, pid: pid.map(|n| n as u32), cookie: cookie.map(Cookie), wanted }
            },
        )
    }

    proptest! {
        #[test]
        fn one_is_found_wherever_it_is(all in prop::collection::vec((0u64..50, ends()), 0..40), sought in ends()) {
            let mut kept = Conversations::default();
            for (serial, (time, end)) in all.iter().enumerate() {
                kept.insert(Time(*time), serial as u64, *end, serial);
            }
            let found = kept.take(sought);
            prop_assert_eq!(found.is_some(), all.iter().any(|(_, end)| end.is(sought)));
            prop_assert!(found.is_none_or(|serial| all[serial].1.is(sought)));
            let left = std::iter::from_fn(|| kept.pop(Time(u64::MAX), 0)).count();
            prop_assert_eq!(left + usize::from(found.is_some()), all.len());
            prop_assert!(kept.by_port.is_empty());
        }
    }
}
