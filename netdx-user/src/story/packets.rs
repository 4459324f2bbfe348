//! What happened to packets, kept until the connection they belong to asks. Owns: the bounded memory of packet events.
//! Must not know: sockets, causes.
//!
//! A drop or a reset is seen before the socket's own end of it is known to be in trouble, and carries endpoints only.

use super::memory::Recent;
use crate::{
    event::{Event, Protocol, Tuple},
    fact::Translation,
    time::Time,
};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
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
#[derive(Debug)]
pub(super) struct Packets {
    by_conversation: HashMap<Conversation, VecDeque<(Time, Arc<Event>)>>,
    ages: VecDeque<Conversation>,
    /// By sequence number of a SYN: when, where and with which endpoints it or its answer was seen.
    by_syn: Recent<u32, Vec<(Time, Translation)>>,
}

impl Default for Packets {
    fn default() -> Self {
        Packets { by_conversation: HashMap::new(), ages: VecDeque::new(), by_syn: Recent::new() }
    }
}

/// The SYN that an event tells of, or of the answer to it: its sequence number, and its endpoints there.
fn syn(event: &Event) -> Option<(u32, Translation)> {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let (Event::Drop { packet, .. }
    | Event::ResetSent { packet: Some(packet), .. }
    | Event::IcmpSent { packet, .. }
    | Event::ListenOverflow { packet, .. }) = event
    else {
        return None;
    };
    let (tuple, netns) = (packet.tuple.filter(|t| t.protocol == Protocol::Tcp)?, packet.netns?);
    match packet.tcp_flags & (SYN | ACK) {
        SYN => Some((packet.sequence, Translation { netns, to: tuple })),
        // RFC 9293 §3.5: it acknowledges the SYN.
        0x12 => Some((packet.acknowledgement.wrapping_sub(1), Translation { netns, to: tuple.reversed() })),
        _ => None,
    }
}

impl Packets {
    /// Remembers an event of a conversation.
    pub(super) fn push(&mut self, tuple: Tuple, time: Time, event: Arc<Event>) {
        if let Some((sequence, seen)) = syn(&event) {
            let mut all = self.by_syn.get(&sequence).cloned().unwrap_or_default();
            if all.len() < LIMIT_EACH && !all.iter().any(|(_, s)| s.to == seen.to) {
                all.push((time, seen));
                self.by_syn.insert(sequence, all);
            }
        }
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

    /// Other endpoints than these with which the SYN of that sequence number was seen in a span of time, where, in order:
    /// network address translation leaves it its sequence number, which is random (RFC 9293 §3.4.1).
    pub(super) fn translated(&self, tuple: Tuple, sequence: u32, from: Time, to: Time) -> Vec<Translation> {
        let seen = self.by_syn.get(&sequence).map(Vec::as_slice).unwrap_or_default();
        let others = seen.iter().filter(|(t, s)| (from..=to).contains(t) && s.to != tuple);
        others.map(|(_, s)| *s).collect()
    }

    /// The events of a conversation in a span of time, in order.
    pub(super) fn between(&self, tuple: Tuple, from: Time, to: Time) -> Vec<(Time, Arc<Event>)> {
        let Some(events) = self.by_conversation.get(&Conversation::from(tuple)) else { return Vec::new() };
        events.iter().filter(|(t, _)| (from..=to).contains(t)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Netns, Packet};

    fn tuple(remote: &str, port: u16) -> Tuple {
        Tuple {
            protocol: Protocol::Tcp,
            local: "10.0.0.1".parse().expect("an address"),
            local_port: 40_000,
            remote: remote.parse().expect("an address"),
            remote_port: port,
        }
    }

    fn drop(tuple: Tuple, tcp_flags: u8, sequence: u32, acknowledgement: u32) -> Event {
        let packet = Packet {
            tuple: Some(tuple),
            sequence,
            acknowledgement,
            length: 40,
            netns: Some(Netns(2)),
            in_device: 2,
            device: 2,
            device_name: "eth0".into(),
            tcp_flags,
            icmp_type: 0,
            icmp_code: 0,
            ttl: 64,
            mark: 0,
        };
        Event::Drop {
            packet,
            discovery: None,
            sock: None,
            receiver: false,
            reason: None,
            at: None,
            hook: None,
            current: None,
            stack: vec![],
        }
    }

    #[test]
    fn a_syn_is_known_by_its_sequence_number() {
        let (dialled, reached, other) = (tuple("10.0.0.9", 80), tuple("10.0.0.5", 8080), tuple("10.0.0.6", 80));
        let mut packets = Packets::default();
        packets.push(dialled, Time(10), Arc::new(drop(dialled, 2, 7, 0)));
        packets.push(reached, Time(20), Arc::new(drop(reached, 2, 7, 0)));
        packets.push(reached, Time(30), Arc::new(drop(reached.reversed(), 0x12, 1, 8)));
        packets.push(other, Time(20), Arc::new(drop(other, 2, 8, 0)));
        packets.push(other, Time(20), Arc::new(drop(other, 0x10, 7, 0)));
        let seen = |from, to| packets.translated(dialled, 7, Time(from), Time(to));
        assert_eq!(seen(0, 99), [Translation { netns: Netns(2), to: reached }]);
        assert_eq!(seen(0, 15), []);
        assert_eq!(packets.translated(dialled, 9, Time(0), Time(99)), []);
    }

    #[test]
    fn the_answer_alone_tells_as_well() {
        let (dialled, reached) = (tuple("10.0.0.9", 80), tuple("10.0.0.5", 8080));
        let mut packets = Packets::default();
        packets.push(reached, Time(20), Arc::new(drop(reached.reversed(), 0x12, 1, 0)));
        let seen = packets.translated(dialled, u32::MAX, Time(0), Time(99));
        assert_eq!(seen, [Translation { netns: Netns(2), to: reached }]);
    }
}
