//! Which rules a namespace had when netfilter dropped packets there: by the end of a story they may be others.
//!
//! Owns: when that is asked, and which answer is of which drop. Must not know: rules.

use super::{Connection, memory::Recent};
use crate::{
    event::{Event, Netns, dropped_by_netfilter},
    fact::{Answer, Fact},
    time::Time,
    want::Want,
};
use std::{collections::VecDeque, time::Duration};

/// It is not asked again sooner than this: strangers' packets are dropped all the time.
const APART: Duration = Duration::from_secs(1);
/// How long answers are remembered: a connect that nobody answers takes 127 s with the usual six repetitions.
const KEPT: Duration = Duration::from_secs(180);
/// How many.
const LIMIT: usize = 8_192;

/// A generation of a namespace's rules.
#[derive(Debug)]
struct Generation {
    /// The drop that it was asked for at.
    dropped: Time,
    netns: Netns,
    number: Option<u32>,
}

/// Generations of rules, in the order in which they were told.
#[derive(Debug)]
pub(super) struct Rules {
    asked: Recent<Netns, ()>,
    generations: VecDeque<Generation>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { asked: Recent::new(APART), generations: VecDeque::new() }
    }
}

impl Rules {
    /// The question that an event raises.
    pub(super) fn question(&mut self, time: Time, event: &Event) -> Option<Want> {
        let Event::Drop { packet, reason, at, .. } = event else { return None };
        let netns = packet.netns.filter(|_| dropped_by_netfilter(reason.as_deref(), at.as_deref()))?;
        self.asked.forget(time);
        if self.asked.get(&netns).is_some() {
            return None;
        }
        self.asked.insert(time, netns, ());
        Some(Want::RulesetGeneration { netns, dropped: time })
    }

    /// The host answered something.
    pub(super) fn fact(&mut self, fact: &Fact) {
        if let (Want::RulesetGeneration { netns, dropped }, Answer::RulesetGeneration(number)) =
            (&fact.want, &fact.answer)
        {
            self.generations.push_back(Generation { dropped: *dropped, netns: *netns, number: *number });
            if self.generations.len() > LIMIT {
                self.generations.pop_front();
            }
        }
    }

    /// Gives a story, for each of its drops by netfilter, the generation that was asked for last by then.
    pub(super) fn tell(&self, c: &mut Connection) {
        let by_netfilter = c.all_drops().filter(|d| dropped_by_netfilter(Some(d.reason), Some(d.at)));
        let drops: Vec<(Netns, Time)> = by_netfilter.filter_map(|d| Some((d.netns()?, d.time))).collect();
        for (netns, dropped) in drops {
            let mut latest_first = self.generations.iter().rev();
            if let Some(generation) = latest_first.find(|g| g.netns == netns && g.dropped <= dropped) {
                let answer = Answer::RulesetGeneration(generation.number);
                c.facts.insert(Want::RulesetGeneration { netns, dropped }, answer);
            }
        }
    }

    /// Forgets what is too old by now.
    pub(super) fn forget(&mut self, now: Time) {
        while self.generations.pop_front_if(|g| g.dropped.after(KEPT) <= now).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Packet,
        story::tests::{drop_of, packet, tuple},
    };

    fn drop(netns: u32, reason: &'static str) -> Event {
        drop_of(Packet { netns: Some(Netns(netns)), ..packet(tuple()) }, reason, None)
    }

    #[test]
    fn however_much_is_dropped_it_is_asked_once_a_second() {
        let mut rules = Rules::default();
        let mut asks = |ms: u64, netns, reason| rules.question(Time(ms * 1_000_000), &drop(netns, reason)).is_some();
        assert!(!asks(0, 2, "TCP_CSUM"));
        assert!(asks(1, 2, "NETFILTER_DROP") && asks(2, 3, "NETFILTER_DROP"));
        assert!(!asks(1000, 2, "NETFILTER_DROP"));
        assert!(asks(1001, 2, "NETFILTER_DROP") && !asks(1001, 3, "NETFILTER_DROP"));
    }
}
