//! Why a TCP of this host sent a reset, in words: what the program behind a socket did. Owns: the meaning of the kernel's
//! reasons and of the way it came there. Must not know: which side is asked about.

use crate::story::SentReset;

/// What a program did that made its TCP send a reset, as a clause about it (`closed it with data unread`), and what it should
/// do instead.
pub(super) struct Abort {
    pub(super) did: &'static str,
    pub(super) instead: &'static str,
}

const UNREAD: Abort = Abort { did: "closed it with data unread", instead: "read all data before closing" };
const LINGER: Abort = Abort { did: "closed it with SO_LINGER 0", instead: "don't set SO_LINGER to 0" };
const LINGER2: Abort = Abort {
    did: "closed it with TCP_LINGER2 below 0 after it had shut down its sending side",
    instead: "don't set TCP_LINGER2 below 0",
};
const DISCONNECTED: Abort = Abort {
    did: "disconnected it (connect with AF_UNSPEC)",
    instead: "end it in order instead of disconnecting it (shutdown, then read to the end)",
};
const MULTIPATH: Abort = Abort {
    did: "closed it with data unread or with SO_LINGER 0",
    instead: "read all data before closing, and don't set SO_LINGER to 0",
};
const WAITING: Abort = Abort {
    did: "closed its listener while it still waited to be accepted",
    instead: "accept what waits in the listener's queue before closing the listener",
};
const NOT_TOLD: Abort = Abort {
    did: "aborted it (SO_LINGER 0, or its listener was closed while it still waited to be accepted)",
    instead: "don't set SO_LINGER to 0, and accept what waits in a listener's queue before closing the listener",
};

/// `enum sk_rst_reason` (include/net/rstreason.h); TCP_STATE and, before 6.10, the lack of one say only that a socket was
/// disconnected: the functions say why (inet_csk_listen_stop, tcp_disconnect, tcp_close; net/ipv4, 6.18). MPTCP closes its
/// subflows by `__tcp_close` itself, and sets their SO_LINGER to 0 where it wants a reset (`__mptcp_close_ssk`). None: it was
/// no deed of a program.
pub(super) fn by_program(reset: &SentReset<'_>) -> Option<Abort> {
    let by = |function: &str| reset.stack.iter().any(|f| f == function);
    match reset.reason {
        Some("TCP_ABORT_ON_CLOSE") => Some(UNREAD),
        Some("TCP_ABORT_ON_LINGER") => Some(LINGER2),
        Some("TCP_DISCONNECT_WITH_DATA" | "TCP_STATE") | None => {
            if by("tcp_abort") {
                None
            } else if by("inet_csk_listen_stop") {
                Some(WAITING)
            } else if by("tcp_disconnect") {
                match (by("tcp_close"), by("__tcp_close")) {
                    (true, _) => Some(LINGER),
                    (false, true) => Some(MULTIPATH),
                    (false, false) => Some(DISCONNECTED),
                }
            } else if by("tcp_close") {
                Some(UNREAD)
            } else {
                Some(NOT_TOLD)
            }
        }
        _ => None,
    }
}

/// A socket was destroyed from outside (SOCK_DESTROY).
pub(super) fn by_destroyer(reset: &SentReset<'_>) -> bool {
    reset.stack.iter().any(|f| f == "tcp_abort")
}
