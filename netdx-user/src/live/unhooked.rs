//! What can be observed without a hook of its own: names of functions, reasons for drops.
//!
//! Owns: their places in the coverage. Must not know: how hooks are attached.

use super::{features, offsets::Kernel, symbols};
use crate::coverage::Probe;

/// Names of kernel functions are a thing to observe, too: a drop is placed by them.
pub(super) fn function_names() -> Probe {
    let hidden = symbols::hidden();
    Probe {
        name: "function-names".to_owned(),
        hook: hidden.is_none().then(|| symbols::KALLSYMS.to_owned()),
        reason: hidden.map(|e| e.to_string()),
        gives: "in which kernel function a packet was dropped or a socket closed".to_owned(),
    }
}

/// That the kernel says why it drops a packet is a thing to observe, too.
pub(super) fn drop_reasons(kernel: &Kernel) -> Probe {
    let has_reasons = kernel.arguments.kfree_skb_reason != 0;
    Probe {
        name: "drop-reasons".to_owned(),
        hook: has_reasons.then(|| "kfree_skb's reason".to_owned()),
        reason: (!has_reasons).then(|| NO_REASONS.to_owned()),
        gives: "why a packet was dropped, and drops after the handshake".to_owned(),
    }
}

/// What /proc tells of a process that the kernel names is a thing to observe where that can't be done.
pub(super) fn processes() -> Option<Probe> {
    (!features::proc_counts_processes_alike()).then(|| Probe {
        name: "processes".to_owned(),
        hook: None,
        reason: Some(features::OTHER_PROCESS_IDS.to_owned()),
        gives: "the program, the cgroup, the restrictions and the resolver of the process that failed".to_owned(),
    })
}

/// Verdicts that are weaker where the kernel names no reasons for drops.
pub(super) const OF_REASONS: [&str; 5] =
    ["route.reverse-path", "local.queue-drop", "timeout.conntrack", "broken.timeout", "timeout.dropped"];

/// Said where that is so.
pub(super) const NO_REASONS: &str = "this kernel names no reasons for drops (Linux 5.17 was the first)";
