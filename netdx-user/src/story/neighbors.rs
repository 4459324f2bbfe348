//! What happened to neighbours. Owns: the bounded memory of who did not answer, and of questions for link addresses and answers
//! that this host dropped. Must not know: routes (whose next hop a neighbour is), causes.

use crate::{
    event::{Discovery, Event, Tuple},
    time::Time,
};
use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};

/// How many events are remembered.
const LIMIT: usize = 8_192;
/// How many dropped questions and answers one story is given.
const LIMIT_EACH: usize = 24;
/// How long they are remembered: a connect that nobody answers takes 127 s with the usual six repetitions, and of one that
/// takes longer the latest tell the same.
const KEPT: Duration = Duration::from_secs(180);
/// The kernel asks that long before it gives up: three times, a second apart (`mcast_solicit`, `retrans_time_ms` of
/// Documentation/networking/ip-sysctl.rst). Who needs the neighbour meanwhile waits for the same answer.
const ASKING: Duration = Duration::from_secs(3);

/// Events about neighbours, in order of time.
#[derive(Debug, Default)]
pub(super) struct Neighbors {
    events: VecDeque<(Time, Arc<Event>)>,
}

impl Neighbors {
    /// Remembers an event.
    pub(super) fn push(&mut self, time: Time, event: Arc<Event>) {
        if let Event::Drop { discovery, reason, at, .. } = &*event
            && (discovery.is_none() || is_ordinary(reason.as_deref(), at.as_deref()))
        {
            return;
        }
        self.events.push_back((time, event));
        if self.events.len() > LIMIT {
            self.events.pop_front();
        }
    }

    /// Forgets what is too old by now.
    pub(super) fn forget(&mut self, now: Time) {
        while self.events.pop_front_if(|(time, _)| time.after(KEPT) <= now).is_some() {}
    }

    /// What may matter to a connection with these endpoints: every neighbour that did not answer meanwhile, and what was
    /// dropped of the questions for it, for the other end, or by this one.
    pub(super) fn of(&self, tuple: Tuple, reached: Tuple, began: Time, end: Time) -> Vec<(Time, Arc<Event>)> {
        let failed: Vec<(Time, Arc<Event>)> = self.failed(began, end).collect();
        let is_silent = |address: IpAddr| {
            failed.iter().any(|(_, e)| matches!(&**e, Event::NeighborFailed { address: a, .. } if *a == address))
        };
        let concerns = |d: &Discovery| {
            d.asked == tuple.remote || d.asked == reached.remote || d.by == tuple.local || is_silent(d.asked)
        };
        let from = began.before(ASKING);
        let dropped = self
            .between(from, end)
            .filter(|(_, e)| matches!(&**e, Event::Drop { discovery: Some(d), .. } if concerns(d)));
        let mut all: Vec<(Time, Arc<Event>)> = dropped.rev().take(LIMIT_EACH).cloned().collect();
        all.extend(failed);
        all
    }

    fn failed(&self, began: Time, end: Time) -> impl Iterator<Item = (Time, Arc<Event>)> {
        self.between(began, end).filter(|(_, e)| matches!(&**e, Event::NeighborFailed { .. })).cloned()
    }

    fn between(&self, from: Time, to: Time) -> impl DoubleEndedIterator<Item = &(Time, Arc<Event>)> {
        self.events.iter().filter(move |(t, _)| (from..=to).contains(t))
    }
}

/// Freed without a reason where neighbour discovery frees what it has done with, before 6.3, and what isn't for this host
/// (icmpv6_rcv, ip6_mc_input; arp_rcv, arp_process).
fn is_ordinary(reason: Option<&str>, at: Option<&str>) -> bool {
    matches!(reason, None | Some("NOT_SPECIFIED" | ""))
        && matches!(at, None | Some("icmpv6_rcv" | "ip6_mc_input" | "ndisc_rcv" | "arp_rcv" | "arp_process"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Netns, Packet, Protocol};

    fn drop(asked: &str, by: &str, at: &'static str) -> Event {
        let packet = Packet {
            tuple: None,
            sequence: 0,
            acknowledgement: 0,
            length: 28,
            netns: Some(Netns(2)),
            in_device: 0,
            device: 2,
            device_name: "eth0".into(),
            tcp_flags: 0,
            icmp_type: 1,
            icmp_code: 0,
            ttl: 0,
            mark: 0,
        };
        let discovery = Some(Discovery {
            asks: true,
            asked: asked.parse().expect("an address"),
            by: by.parse().expect("an address"),
            link: None,
        });
        Event::Drop {
            packet,
            inner: None,
            discovery,
            sock: None,
            receiver: false,
            reason: None,
            at: Some(at.into()),
            hook: None,
            current: None,
            stack: Arc::default(),
        }
    }

    #[test]
    fn a_story_gets_what_was_dropped_of_the_questions_that_concern_it() {
        const SECOND: u64 = 1_000_000_000;
        let tuple = Tuple {
            protocol: Protocol::Tcp,
            local: "10.0.0.1".parse().expect("an address"),
            local_port: 40_000,
            remote: "10.0.0.9".parse().expect("an address"),
            remote_port: 80,
        };
        let mut neighbors = Neighbors::default();
        neighbors.push(Time(SECOND), Arc::new(drop("10.0.0.9", "10.0.0.7", "nf_hook_slow")));
        neighbors.push(Time(5 * SECOND), Arc::new(drop("10.0.0.9", "10.0.0.7", "nf_hook_slow")));
        neighbors.push(Time(6 * SECOND), Arc::new(drop("10.0.0.8", "10.0.0.1", "nf_hook_slow")));
        neighbors.push(Time(7 * SECOND), Arc::new(drop("10.0.0.5", "10.0.0.7", "nf_hook_slow")));
        neighbors.push(Time(7 * SECOND), Arc::new(drop("10.0.0.9", "10.0.0.1", "arp_process")));
        let times = |from, to| -> Vec<u64> {
            let of = neighbors.of(tuple, tuple, Time(from * SECOND), Time(to * SECOND));
            of.iter().map(|(t, _)| t.0 / SECOND).collect()
        };
        assert_eq!(times(5, 9), [6, 5]);
        assert_eq!(times(4, 5), [5, 1]);
        let failed = Event::NeighborFailed {
            netns: Netns(2),
            address: "10.0.0.5".parse().expect("an address"),
            device: 2,
            device_name: "eth0".into(),
        };
        neighbors.push(Time(8 * SECOND), Arc::new(failed));
        let of = neighbors.of(tuple, tuple, Time(5 * SECOND), Time(9 * SECOND));
        assert_eq!(of.iter().map(|(t, _)| t.0 / SECOND).collect::<Vec<_>>(), [7, 6, 5, 8]);
    }
}
