//! What happened to packets, kept until the connection they belong to asks. Owns: the bounded memory of packet events.
//! Must not know: sockets, causes.
//!
//! A drop or a reset is seen before the socket's own end of it is known to be in trouble, and carries endpoints only.

use super::memory::Losses;
use crate::{
    event::{Event, Protocol, Tuple},
    fact::Translation,
    time::Time,
};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// How many packet events are remembered: those of seven SYNs of 9,000 connections that all fail of one drop. One takes some 800
/// bytes with all that leads to it, and a flood of others' packets, which nobody here asks for, fills it.
const LIMIT: usize = 65_536;
/// How many are remembered of one conversation: as many of the first, which say how it began, and of the last; and all of the
/// latest moment: many attempts may have had the same endpoints in it.
const LIMIT_EACH: usize = 24;
/// ... which is this long: longer than a story, and that of its other end, waits for what belongs to it.
const MOMENT: Duration = Duration::from_secs(1);
/// How many of a moment are.
const LIMIT_MOMENT: usize = 2048;
/// How long a conversation is remembered in which nothing happens: longer than the kernel waits before it sends again
/// (TCP_RTO_MAX, 120 s), and than a connect that nobody answers takes (127 s with the usual six repetitions).
const KEPT: Duration = Duration::from_secs(180);
/// How long one is remembered whose story was told: the other end's may be told after it.
const KEPT_TOLD: Duration = Duration::from_secs(60);
/// How many of those are: a flood of failures makes tens of thousands a second.
const LIMIT_TOLD: usize = 4_096;
/// How often all are looked at.
const LOOK: Duration = Duration::from_secs(10);

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

/// What happened in a conversation, in order.
type Events = VecDeque<(Time, Arc<Event>)>;

/// Packet events by conversation. Those in which nothing happened for the longest go first when there are too many.
#[derive(Debug, Default)]
pub(super) struct Packets {
    by_conversation: HashMap<Conversation, Events>,
    /// How many events there are in all.
    count: usize,
    /// Conversations whose stories were told, and when.
    told: VecDeque<(Time, Conversation)>,
    /// By sequence number of a SYN: where it, or the answer to it, was seen.
    by_syn: HashMap<u32, Vec<Conversation>>,
    /// When all were looked at.
    looked: Time,
    /// What was forgotten untold, by when it happened.
    forgotten: Losses,
}

/// The SYN that an event tells of, or of the answer to it: its sequence number, and its endpoints there.
pub(super) fn syn(event: &Event) -> Option<(u32, Translation)> {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let packet = match event {
        Event::Drop { inner: Some(packet), .. } => packet,
        Event::Drop { packet, .. }
        | Event::ResetSent { packet: Some(packet), .. }
        | Event::IcmpSent { packet, .. }
        | Event::ListenOverflow { packet, .. } => packet,
        _ => return None,
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
        let key = Conversation::from(tuple);
        if let Some((sequence, _)) = syn(&event) {
            let seen = self.by_syn.entry(sequence).or_insert_with(|| Vec::with_capacity(1));
            if seen.len() < 2 * LIMIT_EACH && !seen.contains(&key) {
                seen.push(key);
            }
        }
        let events = self.by_conversation.entry(key).or_insert_with(|| VecDeque::with_capacity(1));
        events.push_back((time, event));
        self.count += 1;
        let dropped = thinned(events);
        self.count -= dropped.len();
        for (_, event) in dropped {
            self.unlink(key, &event);
        }
        if self.count > LIMIT {
            self.make_room(time);
        }
    }

    /// The story of a conversation was told: soon nobody will ask for its packets any more.
    pub(super) fn told(&mut self, tuple: Tuple, time: Time) {
        let key = Conversation::from(tuple);
        if self.by_conversation.contains_key(&key) {
            self.told.push_back((time, key));
        }
        self.forget_told(time);
    }

    /// Forgets what nobody will ask for any more.
    pub(super) fn forget(&mut self, now: Time) {
        self.forget_told(now);
        if now.since(self.looked) >= LOOK {
            self.looked = now;
            self.forget_before(|last| last.after(KEPT) <= now);
        }
    }

    fn forget_told(&mut self, now: Time) {
        while self.told.len() > LIMIT_TOLD || self.told.front().is_some_and(|(told, _)| told.after(KEPT_TOLD) <= now) {
            self.forget_first_told();
        }
    }

    fn forget_first_told(&mut self) {
        let Some((told, key)) = self.told.pop_front() else { return };
        // It may have gone on since, or be another with the same endpoints.
        if self.by_conversation.get(&key).is_some_and(|events| last(events) <= told) {
            self.remove(key);
        }
    }

    /// Forgets what was told by both ends, and where that is not enough, half of what is left.
    fn make_room(&mut self, now: Time) {
        while self.told.front().is_some_and(|(told, _)| told.after(MOMENT) <= now) {
            self.forget_first_told();
        }
        if self.count <= LIMIT {
            return;
        }
        let mut all: Vec<Time> = self.by_conversation.values().map(last).collect();
        let middle = all.len() / 2;
        let (_, median, _) = all.select_nth_unstable(middle);
        let (median, before) = (*median, self.count);
        self.forget_before(|last| last <= median);
        self.forgotten.push(median, (before - self.count) as u64);
    }

    /// How many events that happened since something began were forgotten untold, for there were too many.
    pub(super) fn forgotten_since(&self, began: Time) -> u64 {
        self.forgotten.since(began)
    }

    /// Forgets conversations by when something happened in them last.
    fn forget_before(&mut self, is_old: impl Fn(Time) -> bool) {
        let old = self.by_conversation.iter().filter(|(_, events)| is_old(last(events))).map(|(key, _)| *key);
        for key in old.collect::<Vec<_>>() {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: Conversation) {
        let Some(events) = self.by_conversation.remove(&key) else { return };
        self.count -= events.len();
        for (_, event) in events {
            self.unlink(key, &event);
        }
    }

    /// An event of a conversation is remembered no more.
    fn unlink(&mut self, key: Conversation, event: &Event) {
        let Some((sequence, _)) = syn(event) else { return };
        let others = self.by_conversation.get(&key).into_iter().flatten();
        if others.filter_map(|(_, event)| syn(event)).any(|(other, _)| other == sequence) {
            return;
        }
        if let Some(seen) = self.by_syn.get_mut(&sequence) {
            seen.retain(|other| *other != key);
            if seen.is_empty() {
                self.by_syn.remove(&sequence);
            }
        }
    }

    /// Other endpoints than these with which the SYN of that sequence number was seen in a span of time, where, in order:
    /// network address translation leaves it its sequence number, which is random (RFC 9293 §3.4.1).
    pub(super) fn translated(&self, tuple: Tuple, sequence: u32, from: Time, to: Time) -> Vec<Translation> {
        let conversations = self.by_syn.get(&sequence).into_iter().flatten();
        let events = conversations.filter_map(|key| self.by_conversation.get(key)).flatten();
        let mut seen: Vec<(Time, Translation)> = events
            .filter(|(time, _)| (from..=to).contains(time))
            .filter_map(|(time, event)| syn(event).filter(|(s, _)| *s == sequence).map(|(_, seen)| (*time, seen)))
            .filter(|(_, seen)| seen.to != tuple)
            .collect();
        seen.sort_by_key(|(time, _)| *time);
        let mut others: Vec<Translation> = Vec::new();
        for (_, translation) in seen {
            // A SYN that is sent again may be given another port.
            let port_aside = |t: Translation| (t.netns, Tuple { local_port: 0, ..t.to });
            // Seen again further on, it was not translated there.
            let seen_again = others.last().is_some_and(|last| port_aside(*last).1 == port_aside(translation).1);
            match others.iter_mut().find(|other| port_aside(**other) == port_aside(translation)) {
                Some(other) => *other = translation,
                None if seen_again => {}
                None => others.push(translation),
            }
        }
        others
    }

    /// The events of a conversation in a span of time, in order; and those of fragments between the same hosts, which may be
    /// of this one.
    pub(super) fn between(&self, tuple: Tuple, from: Time, to: Time) -> Vec<(Time, Arc<Event>)> {
        let of = |tuple: Tuple| self.by_conversation.get(&Conversation::from(tuple)).into_iter().flatten();
        let own = of(tuple).chain(of(tuple.of_fragment()).filter(|_| !tuple.is_of_fragment()));
        let mut all: Vec<_> = own.filter(|(t, _)| (from..=to).contains(t)).cloned().collect();
        all.sort_by_key(|(t, _)| *t);
        all
    }
}

/// Takes out what is too much of one conversation.
fn thinned(events: &mut Events) -> Vec<(Time, Arc<Event>)> {
    let Some(most) = events.len().checked_sub(LIMIT_EACH).filter(|most| *most > LIMIT_EACH) else { return Vec::new() };
    let moment = events.partition_point(|(time, _)| *time < last(events).before(MOMENT));
    let end = most.min(moment.max(events.len().saturating_sub(LIMIT_MOMENT)));
    if end > LIMIT_EACH { events.drain(LIMIT_EACH..end).collect() } else { Vec::new() }
}

/// When something happened last.
fn last(events: &Events) -> Time {
    events.back().map_or(Time(0), |(time, _)| *time)
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
            inner: None,
            discovery: None,
            sock: None,
            receiver: false,
            reason: None,
            at: None,
            hook: None,
            current: None,
            stack: Arc::default(),
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
    fn fragments_are_of_every_conversation_of_their_hosts() {
        let (one, other) = (tuple("10.0.0.9", 80), tuple("10.0.0.6", 80));
        let fragment = one.reversed().of_fragment();
        let mut packets = Packets::default();
        packets.push(fragment, Time(20), Arc::new(drop(fragment, 0, 0, 0)));
        packets.push(one, Time(10), Arc::new(drop(one, 2, 7, 0)));
        let times = |t| packets.between(t, Time(0), Time(99)).iter().map(|(t, _)| t.0).collect::<Vec<_>>();
        assert_eq!((times(one), times(fragment), times(other)), (vec![10, 20], vec![20], vec![]));
    }

    #[test]
    fn what_was_told_is_forgotten_and_what_goes_on_is_not() {
        let after = |seconds: u64| Time(seconds * 1_000_000_000);
        let (over, on, silent) = (tuple("10.0.0.9", 80), tuple("10.0.0.5", 80), tuple("10.0.0.6", 80));
        let mut packets = Packets::default();
        for (conversation, sequence) in [(over, 7), (on, 8), (silent, 9)] {
            packets.push(conversation, after(1), Arc::new(drop(conversation, 2, sequence, 0)));
        }
        packets.told(over, after(2));
        packets.told(on, after(2));
        packets.push(on, after(50), Arc::new(drop(on, 2, 8, 0)));
        let known = |packets: &Packets| {
            let between = |conversation| packets.between(conversation, after(0), after(999)).len();
            (between(over), between(on), between(silent), packets.by_syn.len(), packets.count)
        };
        packets.forget(after(61));
        assert_eq!(known(&packets), (1, 2, 1, 3, 4), "not yet");
        packets.forget(after(62));
        assert_eq!(known(&packets), (0, 2, 1, 2, 3), "something has happened since the other one was told");
        packets.forget(after(181));
        assert_eq!(known(&packets), (0, 2, 0, 1, 2), "nothing has happened for three minutes");
        packets.forget(after(230));
        assert_eq!(known(&packets), (0, 0, 0, 0, 0));
    }

    #[test]
    fn of_a_flood_the_latest_are_remembered() {
        let mut packets = Packets::default();
        let (mut last, mut most) = (tuple("10.0.0.9", 80), 0);
        let flood = LIMIT as u32 * 3;
        for n in 0..flood {
            last = Tuple { local_port: (n % 50_000) as u16, remote_port: (n / 50_000) as u16, ..last };
            packets.push(last, Time(n.into()), Arc::new(drop(last, 2, n, 0)));
            most = most.max(packets.by_conversation.len());
        }
        assert!(most <= LIMIT + 1 && packets.by_syn.len() == packets.by_conversation.len(), "{most}");
        assert_eq!(packets.between(last, Time(0), Time(u64::MAX)).len(), 1);
        let forgotten = flood as usize - packets.count;
        assert_eq!(
            (packets.forgotten_since(Time(0)), packets.forgotten_since(Time(flood.into()))),
            (forgotten as u64, 0)
        );
        let before = packets.count;
        for n in 0..10_000_u16 {
            packets.told(Tuple { local_port: last.local_port - 9_999 + n, ..last }, Time(flood.into()));
        }
        assert_eq!((packets.count, packets.told.len()), (before - 10_000 + LIMIT_TOLD, LIMIT_TOLD));
        assert_eq!(packets.between(last, Time(0), Time(u64::MAX)).len(), 1, "the last one told");
    }

    #[test]
    fn of_one_conversation_the_first_the_last_and_the_latest_moment_are_remembered() {
        let (conversation, second) = (tuple("10.0.0.9", 80), MOMENT.as_nanos() as u64);
        let mut packets = Packets::default();
        let push = |packets: &mut Packets, n: u32, time: u64| {
            packets.push(conversation, Time(time), Arc::new(drop(conversation, 2, n, 0)));
            (packets.between(conversation, Time(0), Time(u64::MAX)).len(), packets.count, packets.by_syn.len())
        };
        for n in 0..200 {
            push(&mut packets, n, n.into());
        }
        assert_eq!(push(&mut packets, 200, 200), (201, 201, 201), "all of a moment");
        assert_eq!(push(&mut packets, 201, 2 * second), (48, 48, 48), "later the first and the last");
        for n in 0..10_000 {
            push(&mut packets, 300 + n, 3 * second);
        }
        let most = LIMIT_MOMENT + LIMIT_EACH;
        assert_eq!(push(&mut packets, 200_000, 3 * second), (most, most, most));
    }

    #[test]
    fn what_was_told_makes_room_first() {
        let mut packets = Packets::default();
        let of = |n: usize| Tuple { local_port: (n % 50_000) as u16, ..tuple("10.0.0.9", 1 + (n / 50_000) as u16) };
        for n in 0..LIMIT {
            packets.push(of(n), Time(n as u64), Arc::new(drop(of(n), 2, n as u32, 0)));
        }
        packets.told(of(LIMIT - 1), Time(LIMIT as u64));
        let later = Time(LIMIT as u64).after(MOMENT);
        packets.push(of(LIMIT), later, Arc::new(drop(of(LIMIT), 2, LIMIT as u32, 0)));
        let known = |n| !packets.between(of(n), Time(0), Time(u64::MAX)).is_empty();
        assert_eq!((known(0), known(LIMIT - 1), known(LIMIT)), (true, false, true));
        assert_eq!((packets.count, packets.forgotten_since(Time(0))), (LIMIT, 0));
    }

    #[test]
    fn the_answer_alone_tells_as_well() {
        let (dialled, reached) = (tuple("10.0.0.9", 80), tuple("10.0.0.5", 8080));
        let mut packets = Packets::default();
        packets.push(reached, Time(20), Arc::new(drop(reached.reversed(), 0x12, 1, 0)));
        let seen = packets.translated(dialled, u32::MAX, Time(0), Time(99));
        assert_eq!(seen, [Translation { netns: Netns(2), to: reached }]);
    }

    #[test]
    fn what_is_seen_again_further_on_was_not_translated_there() {
        let (dialled, reached) = (tuple("10.0.0.9", 80), tuple("10.0.0.5", 8080));
        let mut packets = Packets::default();
        for (time, netns) in [(10, 2), (20, 3)] {
            let Event::Drop { packet, .. } = drop(reached, 2, 7, 0) else { panic!() };
            let seen = crate::story::tests::drop_of(Packet { netns: Some(Netns(netns)), ..packet }, "NO_SOCKET", None);
            packets.push(reached, Time(time), Arc::new(seen));
        }
        let seen = packets.translated(dialled, 7, Time(0), Time(99));
        assert_eq!(seen, [Translation { netns: Netns(2), to: reached }]);
    }
}
