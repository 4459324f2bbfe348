//! The listener's side: connections that this host did not let in. Owns: which packets make such a story. Must not know:
//! causes.
//!
//! There is no socket for them, only packets. Their story is kept from the peer's point of view, like any other
//! connection's (`Connection::mirrored`), so that every cause reads the same; the report turns it round.

use super::{
    Connection,
    memory::{Memory, Recent},
};
use crate::{
    event::{Event, Netns, Opened, Packet, Protocol, Sock, TcpState, Tuple},
    report::Outcome,
    time::Time,
};
use std::{collections::BTreeMap, time::Duration};

/// How long a story waits for the other events of the same packet.
const SETTLE: Duration = Duration::from_millis(50);
/// What the kernel does with a packet before it tells what became of it takes no longer.
const AT_ONCE: Duration = Duration::from_millis(1);
/// A peer that tries again within this time is still told once: the kernel's own repetitions of a SYN (RFC 6298).
const QUIET: Duration = Duration::from_secs(130);
/// How many are remembered.
const LIMIT: usize = 16_384;

/// Peers that were not let in.
#[derive(Debug)]
pub(super) struct Inbound {
    pending: BTreeMap<(Time, u64), Connection>,
    told: Recent<Tuple, Time>,
}

impl Default for Inbound {
    fn default() -> Self {
        Inbound { pending: BTreeMap::new(), told: Recent::new(QUIET).with_room_for(LIMIT) }
    }
}

impl Inbound {
    /// Something happened to a packet. Only a SYN that came in begins a story.
    pub(super) fn take(&mut self, time: Time, packet: &Packet, netns: Option<Netns>, memory: &mut Memory) {
        const SYN: u8 = 2;
        const ACK: u8 = 16;
        let (Some(tuple), Some(netns)) = (packet.tuple, netns) else { return };
        if tuple.protocol != Protocol::Tcp || packet.tcp_flags & (SYN | ACK) != SYN || packet.in_device == 0 {
            return;
        }
        if self.told.get(&tuple).is_some_and(|t| time.since(*t) < QUIET) {
            return;
        }
        self.told.insert(time, tuple, time);
        let sock = Sock { state: TcpState::SynRecv, opened: Opened::ByPeer, ..Sock::unseen(tuple, netns) };
        let mut c = Connection::new(memory.serial.next(), time, &sock);
        c.mirrored = true;
        c.ended = Some(time);
        c.outcome = Outcome::Failed;
        self.pending.insert((time.after(SETTLE), c.serial), c);
    }

    /// Forgets what is too old by now.
    pub(super) fn forget(&mut self, now: Time) {
        self.told.forget(now);
    }

    /// Those that have been told whole by now.
    pub(super) fn due(&mut self, now: Time, memory: &Memory) -> Vec<Connection> {
        let mut due = Vec::new();
        while let Some(entry) = self.pending.first_entry()
            && entry.key().0 <= now
        {
            due.push(whole(entry.remove(), memory));
        }
        due.retain(is_turned_away);
        due
    }

    /// All that are left.
    pub(super) fn end(&mut self, memory: &Memory) -> Vec<Connection> {
        std::mem::take(&mut self.pending).into_values().map(|c| whole(c, memory)).filter(is_turned_away).collect()
    }

    /// When the next one is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.pending.first_key_value().map(|((t, _), _)| *t)
    }
}

/// Whether there is anything to tell: a peer that is let in, and sends its SYN again before it gets the answer, is not turned away.
fn is_turned_away(c: &Connection) -> bool {
    c.answered_again().is_none() || c.is_dropped() || c.overflow().is_some() || c.resets_sent(true).next().is_some()
}

fn whole(mut c: Connection, memory: &Memory) -> Connection {
    for (time, event) in memory.packets.between(c.tuple, c.began.before(AT_ONCE), c.began.after(SETTLE)) {
        // The peer's own sockets are not this side's to tell.
        if !matches!(*event, Event::IcmpReceived { .. }) {
            c.push(time, event);
        }
    }
    memory.note_losses(&mut c);
    c.ended = c.events.last().map(|(t, _)| *t).or(c.ended);
    c
}
