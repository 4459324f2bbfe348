//! `broken.reset-by-peer`

use super::{
    aborts,
    evidence::{life, told},
};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, exit_status, nothing, phrase, seen},
    report::Certainty,
    story::{Connection, SentReset},
};
use std::time::Duration;

pub(super) const CAUSE: Cause = Cause {
    code: "broken.reset-by-peer",
    page: PAGE,
    rule: Rule::Connection { wants: nothing, judge },
    hides: &["broken.timeout", "broken.reset-by-us", "timeout.dropped"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
The other side broke the connection off.

# What happened
The connection was up, and the other side answered with a reset (RST): its program closed the connection with data unread or
with SO_LINGER 0, or disconnected its socket, it ended or was restarted, perhaps before it had accepted the connection at
all, it has forgotten the connection (after a restart, or a time-out of a load balancer or NAT in between), or somebody in
between sent the reset.

# How netdx knows
A reset came in for an established connection. Where the other side is on this host, the reset was seen being sent, with the
kernel's reason for it, and whether its process was killed. Where a peer connected to this host and reset the connection
before either side had sent anything, it tried out whether somebody listens (a load balancer's health check): no failure.

# What to do
Look at the other side's log at that moment. A reset after a long idle time points to a time-out of a middle box: send
keepalives. A reset right after a request points to a crash or a protocol the server doesn't speak (TLS on a plain port).

# Easily confused with
broken.reset-by-us: this side did it. refused.*: the reset came before the connection was up. firewall.rejected: a filter of
this host sent it.
";

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    if c.established.is_none() || c.is_tried_out() {
        return Judgement::No;
    }
    let Some((time, _)) = c.reset_received() else { return Judgement::No };
    let sender = c.resets_sent(true).filter(|r| r.time <= time.after(BEFORE)).last();
    let peer = phrase::endpoint(c.tuple.remote, c.tuple.remote_port);
    let why = sender.as_ref().map(|s| format!(": {}", reason(c, s))).unwrap_or_default();
    let program = sender.as_ref().map(|s| who(c, s, " (", ")")).unwrap_or_default();
    let because = format!("{peer}{program} sent a reset {}{why}", life(c));
    Judgement::Yes(
        Finding::new(Certainty::Proven, because, seen(c, time, "reset-received", format!("RST came in from {peer}")))
            .and_all(sender.as_ref().map(|s| {
                seen(
                    c,
                    s.time,
                    "reset-sent",
                    format!("sent by this host's TCP{}: {}", who(c, s, " for ", ""), reason(c, s)),
                )
            }))
            .and_all(c.peer_died.map(|(t, status)| seen(c, t, "process-exit", exit_status(status))))
            .and_all(told(c))
            .advise(advice(c, sender.as_ref(), &peer)),
    )
}

fn advice(c: &Connection, sender: Option<&SentReset<'_>>, peer: &str) -> String {
    match (sender, c.peer_died) {
        (_, Some((_, KILLED))) => {
            "who killed it? `dmesg` tells what the OOM killer did, `journalctl` who stopped a service".to_owned()
        }
        (Some(s), _) if aborts::by_destroyer(s) => "look who destroys sockets there: `ss -K` does".to_owned(),
        (Some(s), _) if of_a_proxy(s) => {
            format!("start the server behind {peer}, or check the port that it is to have")
        }
        // It closes what is idle, and this side writes once more.
        (Some(SentReset { reason: Some("TCP_TIMEWAIT_SOCKET" | "TCP_ABORT_ON_DATA"), .. }), _) if was_idle(c) => {
            format!(
                "{peer} had closed it: have this side give up idle connections sooner than that does (keep-alive time-outs), or try \
                 again on a new one"
            )
        }
        // No program had a socket for it where the packet came.
        (Some(s), _) if s.packet.is_some() && s.sock.is_none() => format!(
            "no program of that TCP has it: was {peer} restarted or moved, or did network address translation on the way forget it?"
        ),
        _ => format!("look at the log of the program behind {peer} at that moment"),
    }
}

/// It answers a SYN, although the connection was up: a proxy on the way had made the handshake in the server's place, and made
/// it with the server only then (`synproxy_send_server_syn`, 6.18).
fn of_a_proxy(s: &SentReset<'_>) -> bool {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    s.sock.is_none() && s.packet.is_some_and(|packet| packet.tcp_flags & (SYN | ACK) == SYN)
}

/// Nothing had come for a while.
fn was_idle(c: &Connection) -> bool {
    c.counters().and_then(|tcp| tcp.idle_ms).is_some_and(|ms| ms >= 1000)
}

/// SIGKILL, as a wait status.
const KILLED: u32 = 9;

/// An abort is told right after it was sent, and where the way is short it has arrived by then.
const BEFORE: Duration = Duration::from_millis(50);

/// The program behind an abort, which happens in the context of the process that closes, and where it is.
fn who(c: &Connection, s: &SentReset<'_>, before: &str, after: &str) -> String {
    let elsewhere = match s.sock.map(|s| s.netns) {
        Some(netns) if netns != c.netns => format!(" in {}", phrase::namespace(&c.facts, netns, c.netns)),
        _ => String::new(),
    };
    match (s.packet, s.current) {
        (None, Some(t)) => format!("{before}{}{elsewhere}{after}", phrase::task(t)),
        _ => String::new(),
    }
}

/// `enum sk_rst_reason` (include/net/rstreason.h) in words.
fn reason(c: &Connection, s: &SentReset<'_>) -> String {
    let words = match s.reason {
        _ if aborts::by_destroyer(s) => "its socket was destroyed from outside (SOCK_DESTROY)",
        // Without a packet that it answers a reset is the program's doing.
        _ if s.packet.is_none()
            && let Some(abort) = aborts::by_program(s) =>
        {
            return match c.peer_died {
                Some((_, status)) => format!("{}, which {}", exit_status(status), abort.did),
                None if s.by_its_end() => format!("the process ended, which {}", abort.did),
                None => format!("its program {}", abort.did),
            };
        }
        _ if of_a_proxy(s) => {
            "nobody listens on that port there: a proxy on the way (SYN proxy) had made the handshake in its place"
        }
        Some("TCP_TIMEWAIT_SOCKET") => "it had closed the connection before",
        Some("TCP_FLAGS" | "NO_SOCKET") => "it doesn't know this connection (any more)",
        Some("TCP_KEEPALIVE_TIMEOUT") => "its keepalives were not answered",
        Some("TCP_ABORT_ON_DATA") => "data came after its program had closed",
        Some("TCP_ABORT_ON_MEMORY") => "it ran out of socket memory",
        _ => "the kernel gives no reason that says more",
    };
    words.to_owned()
}
