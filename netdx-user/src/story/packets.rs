//! What happened to packets, kept until the connection they belong to asks. Owns: the bounded memory of packet events.
//! Must not know: sockets, causes.
//!
//! A drop or a reset is seen before the socket's own end of it is known to be in trouble, and carries endpoints only.

use crate::{
    event::{Event, Protocol, Tuple},
    time::Time,
};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

/// How many packet events are remembered.
const LIMIT: usize = 65_536;
/// How many are remembered for one conversation.
const LIMIT_EACH: usize = 48;

/// A conversation, whichever end one looks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Conversation {
    protocol: Protocol,
    low: (IpAddr, u16),
    high: (IpAddr, u16),
}

impl From<Tuple> for Conversation {
    fn from(t: Tuple) -> Self {
        let (a, b) = ((t.local, t.local_port), (t.remote, t.remote_port));
        Conversation { protocol: t.protocol, low: a.min(b), high: a.max(b) }
    }
}

/// Packet events by conversation; the oldest go first when there are too many.
#[derive(Debug, Default)]
pub(super) struct Packets {
    by_conversation: HashMap<Conversation, VecDeque<(Time, Event)>>,
    ages: VecDeque<Conversation>,
}

impl Packets {
    /// Remembers an event of a conversation.
    pub(super) fn push(&mut self, tuple: Tuple, time: Time, event: Event) {
        let key = Conversation::from(tuple);
        let events = self.by_conversation.entry(key).or_default();
        if events.len() >= LIMIT_EACH {
            // The first ones say how it began; of the later ones the last is enough.
            events.pop_back();
            events.push_back((time, event));
            return;
        }
        events.push_back((time, event));
        self.ages.push_back(key);
        while self.ages.len() > LIMIT {
            if let Some(oldest) = self.ages.pop_front()
                && let Some(events) = self.by_conversation.get_mut(&oldest)
            {
                events.pop_front();
                if events.is_empty() {
                    self.by_conversation.remove(&oldest);
                }
            }
        }
    }

    /// The events of a conversation in a span of time, in order.
    pub(super) fn between(&self, tuple: Tuple, from: Time, to: Time) -> Vec<(Time, Event)> {
        let Some(events) = self.by_conversation.get(&Conversation::from(tuple)) else { return Vec::new() };
        events.iter().filter(|(t, _)| (from..=to).contains(t)).cloned().collect()
    }
}
