//! What was wrong with a connection for a while, and was made good. Owns: how that is known. Must not know: causes.

use super::{Connection, Dropped};
use crate::{event::TcpCounters, report::Outcome, time::Time};
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
}
