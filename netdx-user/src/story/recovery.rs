//! What was wrong with a connection for a while, and was made good. Owns: how that is known. Must not know: causes.

use super::{Connection, Dropped};
use crate::{
    event::{IcmpError, TcpCounters},
    report::Outcome,
    time::Time,
};
use std::time::Duration;

impl Connection {
    /// It was up, and packets of the peer's came in after that, too: what was wrong then did not break it.
    pub(super) fn is_heard_after(&self, time: Time) -> bool {
        /// The kernel notes in its ticks when a packet came in (`rcv_tstamp`; HZ is 100 or more).
        const TICKS: Duration = Duration::from_millis(20);
        let heard = |(seen, tcp): (Time, &TcpCounters)| {
            tcp.idle_ms.is_some_and(|ms| seen.before(Duration::from_millis(ms.into())) > time.after(TICKS))
        };
        self.is_tcp() && self.outcome == Outcome::Broken && self.latest().is_some_and(heard)
    }

    /// The peer was heard after a packet was lost, and has acknowledged it where it was of this side's.
    pub(super) fn is_made_good(&self, d: &Dropped<'_>) -> bool {
        let packet = d.inner.unwrap_or(d.packet);
        // Sequence numbers go round (RFC 9293, 3.4).
        let before =
            |tcp: &TcpCounters| tcp.sequence != 0 && tcp.sequence.wrapping_sub(packet.sequence).cast_signed() > 0;
        let arrived = |tcp: &TcpCounters| !d.ours || tcp.unacknowledged == 0 || before(tcp);
        self.is_heard_after(d.time) && self.counters().is_some_and(arrived)
    }

    /// After this drop something was sent again before the answer came that ended the connection: that got further, unless it
    /// was dropped as well.
    #[must_use]
    pub fn is_sent_again(&self, d: &Dropped<'_>) -> bool {
        /// The kernel tells of what it sends again when that is done, and may have told before what became of it
        /// (`__tcp_retransmit_skb`, 6.18). It waits longer than this before it sends again (TCP_RTO_MIN).
        const DONE: Duration = Duration::from_millis(50);
        let Some(answer) = self.ending_answer() else { return false };
        let mut again = self.syn_retransmits().map(|(time, _)| time).chain(self.retransmits().map(|(time, ..)| time));
        again.any(|time| d.time.after(DONE) < time && time <= answer.after(DONE))
    }

    /// When the answer came that ended it, if one did.
    fn ending_answer(&self) -> Option<Time> {
        let told = |(_, icmp): &(Time, IcmpError)| self.errno.is_some() && icmp.errno() == self.errno;
        let reset = self.reset_in_handshake().or_else(|| self.reset_received().map(|(time, _)| time));
        reset.or_else(|| self.icmp_errors().find(told).map(|(time, _)| time))
    }
}
