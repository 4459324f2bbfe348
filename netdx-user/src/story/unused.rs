//! Connections that were closed unused, for somebody had said that their packets don't get through. Owns: what tells of one.
//! Must not know: causes.
//!
//! A program that connects without waiting asks for the error when it is told that the connection is up, and an ICMP error
//! may have come by then, about the last packet of the handshake. TCP keeps it aside (`sk_err_soft`; tcp_v4_err, tcp_v6_err,
//! 6.18), SO_ERROR gives it to the program (sk_getsockopt), and that closes. The kernel tells of nothing before the FIN is not
//! answered either.

use super::Tracker;
use crate::{
    event::{Event, Opened, Packet, Protocol, Sock, TcpCounters, TcpState},
    report::Outcome,
    time::Time,
};

impl Tracker {
    /// A segment was sent again: where it is the FIN of such a connection, the story ended when the error came.
    pub(super) fn closed_unused(&mut self, time: Time, sock: &Sock, tcp: &TcpCounters) {
        // SYN and FIN count as a byte each.
        let used = tcp.bytes_acked > 1 || tcp.bytes_received > 0 || tcp.unacknowledged > 1;
        let Some(id) = sock.id.filter(|_| sock.state == TcpState::FinWait1 && !used) else { return };
        let Some(c) = self.open.get(&id).filter(|c| c.opened == Opened::Here && c.task.is_some()) else { return };
        let refused = |event: &Event| match event {
            Event::IcmpReceived { packet, quoted, .. } => *quoted == Some(c.tuple) && is_unreachable(packet),
            _ => false,
        };
        let seen = self.memory.packets.between(c.tuple, c.began, time);
        let Some((came, _)) = seen.iter().find(|(_, event)| refused(event)) else { return };
        let Some(mut c) = self.open.remove(&id) else { return };
        c.ended = Some(*came);
        c.outcome = Outcome::Broken;
        self.settle(c, time);
    }
}

/// Destination unreachable, but for one that was too long (RFC 792; RFC 4443 §3.1, which has another message for that).
fn is_unreachable(packet: &Packet) -> bool {
    match packet.tuple.map(|t| t.protocol) {
        Some(Protocol::Icmp) => packet.icmp_type == 3 && packet.icmp_code != 4,
        Some(Protocol::Icmpv6) => packet.icmp_type == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Tuple, Via},
        story::tests::{MS, code, elsewhere, ip, packet, run, sock, task, tuple},
    };

    #[test]
    fn an_error_that_comes_with_the_end_of_the_handshake_ends_the_connection() {
        let left = Sock { state: TcpState::FinWait1, ..sock(TcpState::Close) };
        let again = |bytes_received| Event::Retransmit {
            sock: left.clone(),
            tcp: TcpCounters { bytes_acked: 1, unacknowledged: 1, bytes_received, ..TcpCounters::default() },
            result: Some(0),
            length: 0,
            sequence: 2,
        };
        let refused = |icmp_code| Event::IcmpReceived {
            packet: Packet {
                tuple: Some(Tuple {
                    protocol: Protocol::Icmp,
                    local: ip("10.0.0.9"),
                    local_port: 0,
                    remote: tuple().local,
                    remote_port: 0,
                }),
                icmp_type: 3,
                icmp_code,
                ..packet(tuple())
            },
            quoted: Some(tuple()),
            info: 0,
        };
        let first = Event::Attempt {
            started: Time(MS),
            task: Some(task()),
            sock: left.clone(),
            via: Via::Connect,
            dialled: None,
        };
        let story = |icmp_code, bytes_received| {
            let events =
                vec![(3 * MS, refused(icmp_code)), (400 * MS, first.clone()), (400 * MS, again(bytes_received))];
            run(events, elsewhere)
        };
        let reports = story(10, 0);
        assert_eq!(code(&reports), ["firewall.rejected"]);
        assert_eq!((reports[0].outcome, reports[0].duration_ns), (Outcome::Broken, Some(2 * MS)));
        // Too long is what it can do something about; and what came over a connection did get through.
        assert!(story(4, 0).is_empty() && story(10, 9).is_empty());
    }
}
