//! What could be observed, and what not, and why. Owns: [`Coverage`]. Must not know: how probes are attached.
//! It is data in every recording, start and summary line, and an input to verdicts (`unexplained` says what was missing).

use serde::{Deserialize, Serialize};

/// The probes and what became of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// In the order of the probe table.
    pub probes: Vec<Probe>,
}

/// One thing to observe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Stable name: tcp-state, socket-error, reset-received, reset-sent, retransmit, synack-retransmit, drop, icmp,
    /// icmp-sent, neighbor, route4, route6, connect-call, bind-call, socket-call, send-receive, io-uring, dns-out,
    /// dns-in, listen-overflow, cgroup-connect, process-exit, process-tree, getaddrinfo, function-names, drop-reasons.
    pub name: String,
    /// The hook in use (`tp_btf/inet_sock_set_state`); none: not attached.
    pub hook: Option<String>,
    /// Why it is not attached (kernel, privilege, configuration), or why less than the best hook is used.
    pub reason: Option<String>,
    /// What is lost with it, in words.
    pub gives: String,
}

impl Coverage {
    /// Whether the named probe is attached.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.probes.iter().any(|p| p.name == name && p.hook.is_some())
    }

    /// What kept the named probe from its best hook, or from any.
    #[must_use]
    pub fn reason(&self, name: &str) -> Option<&str> {
        self.probes.iter().find(|p| p.name == name)?.reason.as_deref()
    }

    /// Why the named probe could not be attached; none: it is, or nobody tried (older recordings don't know them all).
    #[must_use]
    pub fn refused(&self, name: &str) -> Option<&str> {
        self.probes.iter().find(|p| p.name == name && p.hook.is_none())?.reason.as_deref()
    }

    /// Why the named probe is not attached; none: it is.
    #[must_use]
    pub fn missing(&self, name: &str) -> Option<String> {
        match self.probes.iter().find(|p| p.name == name) {
            Some(p) if p.hook.is_some() => None,
            Some(p) => Some(p.reason.clone().unwrap_or_else(|| "not attached".into())),
            None => Some("not known to this recording".into()),
        }
    }
}
