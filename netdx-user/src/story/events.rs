//! What the events of a connection say, asked by kind. Owns: which events are about which side. Must not know: causes.

use super::Connection;
use crate::{
    event::{
        Call, Discovery, Event, Hook, IcmpError, Name, Netns, Packet, Protocol, RouteLookups, Sock, Task, TcpCounters,
        TcpState,
    },
    fact::Translation,
    time::Time,
};
use std::{net::IpAddr, time::Duration};

/// A call that failed, as a story needs it.
#[derive(Clone, Copy, Debug)]
pub struct FailedCall {
    /// When it returned.
    pub time: Time,
    /// Which.
    pub call: Call,
    /// Positive errno (512 ... 516: interrupted).
    pub errno: i32,
    /// What its routing lookups said.
    pub route: RouteLookups,
    /// A cgroup program slot was reached; none: netdx has none there.
    pub cgroup_hook: Option<bool>,
    /// SOCK_*; 0 unknown.
    pub socket_type: u16,
    /// Protocol asked for.
    pub protocol: u32,
    /// AF_* of the address given.
    pub family: u16,
    /// Interface index given with a link-local IPv6 address (its scope id), 0: none.
    pub scope: u32,
}

/// An RST sent by this host.
#[derive(Clone, Copy, Debug)]
pub struct SentReset<'a> {
    /// When.
    pub time: Time,
    /// The packet it answers.
    pub packet: Option<&'a Packet>,
    /// The socket it is about.
    pub sock: Option<&'a Sock>,
    /// `enum sk_rst_reason` by name.
    pub reason: Option<&'a str>,
    /// Whose deed it was; none: the kernel's own, or not known.
    pub current: Option<&'a Task>,
    /// How the kernel came there.
    pub stack: &'a [Name],
}

impl SentReset<'_> {
    /// The process that closed the socket was ending: it has no namespaces any more when its files are closed (do_exit, 6.18).
    #[must_use]
    pub fn by_its_end(&self) -> bool {
        self.packet.is_none() && self.current.is_some_and(|task| task.netns.is_none())
    }
}

/// A packet dropped on this host.
#[derive(Clone, Copy, Debug)]
pub struct Dropped<'a> {
    /// When.
    pub time: Time,
    /// The packet.
    pub packet: &'a Packet,
    /// Where it is a tunnel's: the packet of this connection that is in it.
    pub inner: Option<&'a Packet>,
    /// It, or what is in it, asked for the link address of a neighbour, or answered that.
    pub discovery: Option<&'a Discovery>,
    /// A socket it belongs to.
    pub sock: Option<&'a Sock>,
    /// That socket was to get it.
    pub receiver: bool,
    /// Reason by name, without SKB_DROP_REASON_; empty: this kernel gives none.
    pub reason: &'a str,
    /// Function that dropped it; empty: not known.
    pub at: &'a str,
    /// Netfilter hook it was at.
    pub hook: Option<Hook>,
    /// How the kernel came there.
    pub stack: &'a [Name],
    /// It was on its way from this side; else it was an answer.
    pub ours: bool,
}

impl Dropped<'_> {
    /// The namespace it was in.
    #[must_use]
    pub fn netns(&self) -> Option<Netns> {
        self.packet.netns.or_else(|| self.sock.map(|s| s.netns))
    }

    /// The kernel gives no reason for it, for it names none (before 5.17) or has none for this place.
    #[must_use]
    pub fn is_without_reason(&self) -> bool {
        matches!(self.reason, "" | "NOT_SPECIFIED")
    }

    /// It waited for a neighbour's link address in vain.
    #[must_use]
    pub fn waited_for_neighbor(&self) -> bool {
        matches!(self.reason, "NEIGH_FAILED" | "NEIGH_QUEUEFULL") || self.by("neigh_invalidate")
    }
    /// The kernel came by this function.
    #[must_use]
    pub fn by(&self, function: &str) -> bool {
        self.at == function || self.stack.iter().any(|f| f == function)
    }
}

/// How a TCP socket came to its end.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// When.
    pub time: Time,
    /// State before.
    pub old: TcpState,
    /// State after.
    pub new: TcpState,
    /// `sk_err`.
    pub error: i32,
    /// The ICMP error on the socket.
    pub icmp: Option<IcmpError>,
    /// Counters.
    pub tcp: TcpCounters,
    /// Whose deed it was; none: the kernel's own, or not known.
    pub current: Option<&'a Task>,
    /// How the kernel came there.
    pub stack: &'a [Name],
}

/// Whose deed it was: whoever was running, but for the kernel's timers, which interrupt anybody (net/ipv4/tcp_timer.c, 5.10 to
/// 6.18). `reason`: that of a reset, which tells where functions have no names.
fn doer<'a>(current: Option<&'a Task>, reason: Option<&str>, stack: &[Name]) -> Option<&'a Task> {
    let by_timer = matches!(reason, Some("TCP_KEEPALIVE_TIMEOUT" | "TCP_ABORT_ON_MEMORY"))
        || stack
            .iter()
            .any(|f| matches!(&**f, "tcp_keepalive_timer" | "tcp_write_timer_handler" | "tcp_retransmit_timer"));
    let told = reason.is_some() || !stack.is_empty();
    current.filter(|_| told && !by_timer)
}

/// How much data a connection carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Bytes sent that the peer acknowledged.
    pub acknowledged: u64,
    /// Bytes written beyond that.
    pub waiting: u64,
    /// Bytes received.
    pub received: u64,
}

impl Connection {
    /// Sequence number of its SYN, where an event from before the end of the handshake has it.
    #[must_use]
    pub fn syn_sequence(&self) -> Option<u32> {
        let first = self.events.iter().find_map(|(_, e)| match &**e {
            Event::State { old: TcpState::SynSent, new: TcpState::Close, tcp, .. } => Some(tcp.sequence),
            Event::Retransmit { sock, tcp, .. } | Event::ResetReceived { sock, tcp }
                if sock.state == TcpState::SynSent =>
            {
                Some(tcp.sequence)
            }
            _ => None,
        });
        first.filter(|n| *n != 0)
    }

    /// The call that told the application, if one did. What was answered in its place is [`Self::call_not_entered`].
    #[must_use]
    pub fn failed_call(&self) -> Option<FailedCall> {
        self.last_call().filter(|(_, entered)| *entered).map(|(call, _)| call)
    }

    /// The call that told the application, if it was not even begun: a seccomp filter answers before it, with whatever error
    /// it was told to. It says nothing of sockets, addresses or routes.
    #[must_use]
    pub fn call_not_entered(&self) -> Option<FailedCall> {
        self.last_call().filter(|(_, entered)| !*entered).map(|(call, _)| call)
    }

    /// The call that should have set its socket up and failed, where that is all there is: no connection was asked for yet.
    #[must_use]
    pub fn failed_setup(&self) -> Option<Call> {
        let (call, _) = self.last_call().filter(|_| self.id.is_none())?;
        matches!(call.call, Call::Socket | Call::Bind | Call::Listen).then_some(call.call)
    }

    /// The last call that failed, and whether its entry was seen.
    fn last_call(&self) -> Option<(FailedCall, bool)> {
        self.events.iter().rev().find_map(|(time, e)| match &**e {
            Event::CallFailed {
                call,
                result,
                route,
                cgroup_hook,
                started,
                socket_type,
                protocol,
                family,
                scope,
                ..
            } if *call != Call::Receive || self.established.is_some() || !self.is_tcp() => {
                let failed = FailedCall {
                    time: *time,
                    call: *call,
                    errno: -*result,
                    route: *route,
                    cgroup_hook: *cgroup_hook,
                    socket_type: *socket_type,
                    protocol: *protocol,
                    family: *family,
                    scope: *scope,
                };
                // Sending and receiving are seen on their return only.
                Some((failed, started.is_some() || matches!(call, Call::Send | Call::Receive)))
            }
            _ => None,
        })
    }

    /// Retransmissions of the SYN: time and result of each.
    pub fn syn_retransmits(&self) -> impl Iterator<Item = (Time, Option<i32>)> + '_ {
        self.events.iter().filter_map(|(t, e)| match &**e {
            Event::Retransmit { sock, result, .. } if sock.state == TcpState::SynSent => Some((*t, *result)),
            _ => None,
        })
    }

    /// When the timer of its SYN ran out for the last time, if it ran out before, too, and yet no SYN was sent again: the first
    /// one still waits on this host. `tcp_retransmit_skb` of kernels without its result (6.12) tells only of what was sent.
    #[must_use]
    pub fn syn_waits(&self) -> Option<Time> {
        let unsent = |tcp: &TcpCounters| tcp.retransmitted == 0 && self.syn_retransmits().next().is_none();
        self.events.iter().find_map(|(time, e)| match &**e {
            Event::State { sock, old: TcpState::SynSent, new: TcpState::Close, tcp, .. } => {
                (sock.retransmits > 0 && unsent(tcp)).then_some(*time)
            }
            _ => None,
        })
    }

    /// Retransmissions after the handshake: time, counters, result, length, sequence number.
    pub fn retransmits(&self) -> impl Iterator<Item = (Time, &TcpCounters, Option<i32>, u32, u32)> + '_ {
        self.events.iter().filter_map(|(t, e)| match &**e {
            Event::Retransmit { sock, tcp, result, length, sequence } if sock.state != TcpState::SynSent => {
                Some((*t, tcp, *result, *length, *sequence))
            }
            _ => None,
        })
    }

    /// The RST that answered the SYN.
    #[must_use]
    pub fn reset_in_handshake(&self) -> Option<Time> {
        self.events.iter().find_map(|(t, e)| match &**e {
            Event::ResetReceived { sock, .. } if sock.state == TcpState::SynSent => Some(*t),
            _ => None,
        })
    }

    /// The RST that broke the connection.
    #[must_use]
    pub fn reset_received(&self) -> Option<(Time, &TcpCounters)> {
        self.events.iter().find_map(|(t, e)| match &**e {
            Event::ResetReceived { sock, tcp } if sock.state != TcpState::SynSent => Some((*t, tcp)),
            _ => None,
        })
    }

    /// RSTs that a TCP of this host sent in answer to this side's packets (`to_us`) or to the other side's.
    pub fn resets_sent(&self, to_us: bool) -> impl Iterator<Item = SentReset<'_>> + '_ {
        self.events.iter().filter_map(move |(time, e)| match &**e {
            Event::ResetSent { packet, sock, reason, current, stack } => {
                let ours = match (packet.as_ref().and_then(|p| p.tuple), sock) {
                    (Some(t), _) => self.sent_by_us(t),
                    (None, Some(s)) => s.tuple != self.tuple,
                    (None, None) => return None,
                };
                (ours == to_us).then_some(SentReset {
                    time: *time,
                    packet: packet.as_ref(),
                    sock: sock.as_ref(),
                    reason: reason.as_deref(),
                    current: doer(current.as_ref(), reason.as_deref(), stack),
                    stack,
                })
            }
            _ => None,
        })
    }

    /// Its SYN itself was seen in that namespace with those endpoints, not only what answered it.
    #[must_use]
    pub fn shows_syn(&self, hop: &Translation) -> bool {
        const SYN: u8 = 2;
        const ACK: u8 = 16;
        let is_it =
            |p: &Packet| p.netns == Some(hop.netns) && p.tuple == Some(hop.to) && p.tcp_flags & (SYN | ACK) == SYN;
        self.events.iter().any(|(_, e)| match &**e {
            Event::Drop { packet, inner, .. } => is_it(inner.as_deref().unwrap_or(packet)),
            Event::ResetSent { packet: Some(packet), .. }
            | Event::IcmpSent { packet, .. }
            | Event::ListenOverflow { packet, .. } => is_it(packet),
            _ => false,
        })
    }

    /// Packets of this connection that were dropped on this host.
    pub fn drops(&self) -> impl Iterator<Item = Dropped<'_>> + '_ {
        self.lost_here().filter(|d| d.inner.is_none())
    }

    /// Packets of tunnels that were dropped on this host, with packets of this connection in them.
    pub fn wrapped_drops(&self) -> impl Iterator<Item = Dropped<'_>> + '_ {
        self.lost_here().filter(|d| d.inner.is_some())
    }

    /// Both, in order.
    pub fn lost_here(&self) -> impl Iterator<Item = Dropped<'_>> + '_ {
        self.all_drops().filter(|d| d.discovery.is_none() && !self.is_answered_again(d) && !self.is_made_good(d))
    }

    /// There are any of them.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.lost_here().next().is_some()
    }

    /// Questions for the link address of a neighbour, and answers to them, that were dropped on this host meanwhile.
    pub fn discovery_drops(&self) -> impl Iterator<Item = (Dropped<'_>, &Discovery)> + '_ {
        self.all_drops()
            .filter_map(|d| d.discovery.map(|discovery| (d, discovery)))
            .filter(|(d, _)| !self.is_heard_after(d.time))
    }

    /// All of these.
    pub(super) fn all_drops(&self) -> impl Iterator<Item = Dropped<'_>> + '_ {
        self.events.iter().filter_map(|(time, e)| match &**e {
            Event::Drop { packet, inner, discovery, sock, receiver, reason, at, hook, stack, .. } => {
                let inner = inner.as_deref();
                let ours = match (discovery, inner.unwrap_or(packet).tuple) {
                    (Some(discovery), _) => discovery.asks,
                    (None, Some(tuple)) => self.sent_by_us(tuple),
                    (None, None) => return None,
                };
                Some(Dropped {
                    time: *time,
                    packet,
                    inner,
                    discovery: discovery.as_ref(),
                    sock: sock.as_ref(),
                    receiver: *receiver,
                    reason: reason.as_deref().unwrap_or(""),
                    at: at.as_deref().unwrap_or(""),
                    hook: *hook,
                    stack,
                    ours,
                })
            }
            _ => None,
        })
    }

    /// ICMP errors about this connection: those the socket got, and those seen coming in. What went on all the same did not
    /// end by one.
    pub fn icmp_errors(&self) -> impl Iterator<Item = (Time, IcmpError)> + '_ {
        self.events.iter().filter(|(t, _)| !self.is_heard_after(*t)).filter_map(|(t, e)| match &**e {
            Event::State { icmp: Some(i), .. } | Event::SocketError { icmp: Some(i), .. } => Some((*t, *i)),
            Event::IcmpReceived { packet, quoted: Some(q), info } if self.sent_by_us(*q) => {
                let outer = packet.tuple?;
                Some((
                    *t,
                    IcmpError {
                        from: outer.local,
                        v6: outer.protocol == Protocol::Icmpv6,
                        kind: packet.icmp_type,
                        code: packet.icmp_code,
                        info: *info,
                    },
                ))
            }
            _ => None,
        })
    }

    /// ICMP errors that this host's own stack sent about this side's packets: time, packet, stack.
    pub fn icmp_sent(&self) -> impl Iterator<Item = (Time, &Packet, &[Name])> + '_ {
        self.events.iter().filter_map(|(t, e)| match &**e {
            Event::IcmpSent { packet, stack } if packet.tuple.is_some_and(|t| self.sent_by_us(t)) => {
                Some((*t, packet, &**stack))
            }
            _ => None,
        })
    }

    /// A neighbour that did not answer while this went on, and that its packets may have waited for: time, namespace, address,
    /// interface name.
    pub fn silent_neighbors(&self) -> impl Iterator<Item = (Time, Netns, IpAddr, &str)> + '_ {
        let silent = self.events.iter().filter(|(t, _)| !self.is_heard_after(*t));
        silent.filter_map(|(t, e)| match &**e {
            Event::NeighborFailed { netns, address, device_name, .. } if self.may_wait_for(*t, *netns, *address) => {
                Some((*t, *netns, *address, device_name.as_str()))
            }
            _ => None,
        })
    }

    /// Whether a neighbour that did not answer at a time can be one that its packets waited for, as far as it is known where they
    /// went: there is always somebody on a network who does not answer somebody else.
    #[must_use]
    pub fn may_wait_for(&self, time: Time, netns: Netns, address: IpAddr) -> bool {
        /// What waits for a neighbour is dropped in the same breath (neigh_timer_handler, 6.18).
        const AT_ONCE: Duration = Duration::from_millis(1);
        let given_up = |d: &Dropped<'_>| d.netns() == Some(netns) && d.waited_for_neighbor();
        // Marked by a rule, or in a tunnel's packet, it went elsewhere than the route to the address dialled leads.
        if self.lost_here().any(|d| given_up(&d) && d.time <= time.after(AT_ONCE) && time <= d.time.after(AT_ONCE)) {
            return true;
        }
        if netns != self.netns {
            return self.lost_here().any(|d| d.netns() == Some(netns));
        }
        // Translated, it went elsewhere than the route to the address dialled leads.
        self.next_hop().is_none_or(|(hop, _)| hop == address || !self.translated.is_empty())
    }

    /// A full listener that this side's SYN reached.
    #[must_use]
    pub fn overflow(&self) -> Option<(Time, &Sock)> {
        self.events.iter().find_map(|(t, e)| match &**e {
            Event::ListenOverflow { listener, .. } => Some((*t, listener)),
            _ => None,
        })
    }

    /// When a listener of this host, which had got its SYN, answered for the last time again, and where.
    #[must_use]
    pub fn answered_again(&self) -> Option<(Time, Netns)> {
        self.answers_again().last()
    }

    fn answers_again(&self) -> impl Iterator<Item = (Time, Netns)> + '_ {
        self.events.iter().filter_map(|(time, e)| match &**e {
            Event::SynAckRetransmit { listener, .. } => Some((*time, listener.netns)),
            _ => None,
        })
    }

    /// Not lost: a SYN that was sent again. Where the listener has got it before, it answers again, and the kernel frees this one
    /// without a reason (`tcp_check_req`, Linux 6.18).
    fn is_answered_again(&self, d: &Dropped<'_>) -> bool {
        const SYN: u8 = 2;
        const ACK: u8 = 16;
        d.ours
            && d.packet.tcp_flags & (SYN | ACK) == SYN
            && matches!(d.at, "tcp_v4_rcv" | "tcp_v6_rcv")
            && d.is_without_reason()
            && self.answers_again().next().is_some_and(|(answered, _)| answered <= d.time)
    }

    /// How the socket ended: its change to TCP_CLOSE, or to a closing state when the application left it so.
    #[must_use]
    pub fn ending(&self) -> Option<Ending<'_>> {
        let change = |wanted: fn(TcpState) -> bool| {
            self.events.iter().rev().find_map(move |(time, e)| match &**e {
                Event::State { sock, old, new, current, icmp, tcp, stack } if wanted(*new) => Some(Ending {
                    time: *time,
                    old: *old,
                    new: *new,
                    error: sock.error,
                    icmp: *icmp,
                    tcp: *tcp,
                    current: doer(current.as_ref(), None, stack),
                    stack,
                }),
                _ => None,
            })
        };
        change(|s| s == TcpState::Close)
            .or_else(|| change(|s| matches!(s, TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing)))
    }

    /// The latest counters seen.
    #[must_use]
    pub fn counters(&self) -> Option<&TcpCounters> {
        self.latest().map(|(_, tcp)| tcp)
    }

    /// The same, and when.
    pub(super) fn latest(&self) -> Option<(Time, &TcpCounters)> {
        self.events.iter().rev().find_map(|(time, e)| match &**e {
            Event::State { tcp, .. } | Event::Retransmit { tcp, .. } | Event::ResetReceived { tcp, .. } => {
                Some((*time, tcp))
            }
            _ => None,
        })
    }

    /// The peer only tried out whether somebody listens, as load balancers do (HAProxy's `check`): it connected, and reset the
    /// connection before anything had been sent either way.
    #[must_use]
    pub fn is_tried_out(&self) -> bool {
        self.inbound() && self.reset_received().is_some() && self.is_unused()
    }

    /// Nothing was sent either way, as far as its counters tell.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.carried() == Some(Carried { acknowledged: 0, waiting: 0, received: 0 })
    }

    /// The data it carried, by the latest counters. TCP counts a FIN as a byte (RFC 9293, 3.4), and the SYN where this side sent
    /// it first; one that it writes last, after the change to the state that says so (`tcp_close_state`, 6.18).
    #[must_use]
    pub fn carried(&self) -> Option<Carried> {
        use TcpState::{CloseWait, Closing, FinWait1, FinWait2, LastAck, TimeWait};
        let (tcp, old, new) = self.events.iter().rev().find_map(|(_, e)| match &**e {
            Event::State { old, new, tcp, .. } => Some((tcp, *old, *new)),
            Event::Retransmit { sock, tcp, .. } | Event::ResetReceived { sock, tcp } => {
                Some((tcp, sock.state, sock.state))
            }
            _ => None,
        })?;
        let is_in = |states: &[TcpState]| states.contains(&old) || states.contains(&new);
        let syn = u64::from(!self.inbound());
        let own_fin = u64::from(is_in(&[FinWait2, TimeWait]));
        let waiting_fin = u64::from(matches!(old, FinWait1 | Closing | LastAck));
        let peers_fin = u64::from(is_in(&[CloseWait, LastAck, Closing, TimeWait]));
        Some(Carried {
            acknowledged: tcp.bytes_acked.saturating_sub(syn + own_fin),
            waiting: u64::from(tcp.unacknowledged).saturating_sub(waiting_fin),
            received: tcp.bytes_received.saturating_sub(peers_fin),
        })
    }
}
