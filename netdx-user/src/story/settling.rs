//! Stories that have ended and wait for what still belongs to them. Owns: finding one of them, of which a flood of failures
//! makes thousands. Must not know: how long one waits, and why.

use super::Connection;
use crate::{event::SockId, time::Time};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// When a story is settled, and its number.
pub(super) type Key = (Time, u64);

/// Stories by when they are settled.
#[derive(Debug, Default)]
pub(super) struct Settling {
    by_due: BTreeMap<Key, Box<Connection>>,
    by_socket: HashMap<SockId, Key>,
    /// Of each thread that connected, in the order in which they are settled.
    by_thread: BTreeSet<(u32, Key)>,
}

impl Settling {
    /// Adds a story.
    pub(super) fn insert(&mut self, due: Time, c: Box<Connection>) {
        let key = (due, c.serial);
        if let Some(id) = c.id {
            self.by_socket.insert(id, key);
        }
        if let Some(task) = &c.task {
            self.by_thread.insert((task.tid, key));
        }
        self.by_due.insert(key, c);
    }

    fn remove(&mut self, key: Key) -> Option<Box<Connection>> {
        let c = self.by_due.remove(&key)?;
        if let Some(id) = c.id
            && self.by_socket.get(&id) == Some(&key)
        {
            self.by_socket.remove(&id);
        }
        if let Some(task) = &c.task {
            self.by_thread.remove(&(task.tid, key));
        }
        Some(c)
    }

    /// The next story that is settled by now.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Box<Connection>> {
        let key = *self.by_due.first_key_value()?.0;
        if key.0 <= now { self.remove(key) } else { None }
    }

    /// When the next one is settled.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    /// The story of a socket.
    pub(super) fn of_socket(&mut self, id: SockId) -> Option<&mut Connection> {
        let key = self.by_socket.get(&id)?;
        self.by_due.get_mut(key).map(|c| &mut **c)
    }

    /// The story that a failed call belongs to, by its socket or by the thread that made it; of several the one that is
    /// settled last.
    pub(super) fn called(&self, id: Option<SockId>, tid: u32, belongs: impl Fn(&Connection) -> bool) -> Option<Key> {
        let fits = |key: &Key| self.by_due.get(key).is_some_and(|c| belongs(c));
        let of_socket = id.and_then(|id| self.by_socket.get(&id)).copied().filter(fits);
        let of_thread = self.by_thread.range((tid, (Time(0), 0))..=(tid, (Time(u64::MAX), u64::MAX)));
        of_socket.max(of_thread.rev().map(|(_, key)| *key).find(fits))
    }

    /// Has a story settled at another time.
    pub(super) fn put_off(&mut self, key: Key, due: Time) -> Option<&mut Connection> {
        let c = self.remove(key)?;
        let key = (due, c.serial);
        self.insert(due, c);
        self.by_due.get_mut(&key).map(|c| &mut **c)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Box<Connection>> {
        self.by_due.values()
    }
}
