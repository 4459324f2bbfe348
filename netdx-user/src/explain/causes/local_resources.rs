//! `local.resources`

use super::evidence::{call_proof, place, stopping_drops, told};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    fact::Answer,
    quantity,
    report::Certainty,
    story::{Connection, Dropped},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "local.resources",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.dropped", "timeout.silent", "timeout.abandoned", "broken.timeout"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
This host or this process ran out of something.

# What happened
A socket needs a file descriptor and memory. The process is at its limit of open files (EMFILE), the host at its own
(ENFILE), or there is no memory for it (ENOMEM, ENOBUFS; ENFILE as well): the host's, or its control group's limit. And each
next hop needs an entry in the table of neighbours (ARP, neighbour discovery), which all network namespaces of a host share:
where it is full, packets to a new neighbour are dropped.

# How netdx knows
The call returned that errno; the open files of the process and of the host, and their limits, were read right after: they
tell the two meanings of ENFILE apart. ENOBUFS of a datagram also comes from a full queue, where the drop is seen. A drop
for want of a neighbour entry (NEIGH_CREATEFAIL) was seen, and the table was at its limit right after.

# What to do
EMFILE: look for descriptors that are never closed (`ls /proc/PID/fd`), or raise the limit (`ulimit -n`, LimitNOFILE=).
ENFILE: fs.file-max. ENOBUFS, ENOMEM: net.ipv4.tcp_mem, the control group's memory limit. Neighbours: `ip neigh` shows what
fills the table (a scan of a large network, too short a prefix); net.ipv4.neigh.default.gc_thresh3 (ipv6: net.ipv6...) of the
host's first namespace is its limit.

# Easily confused with
local.ports-exhausted: it is ports that are out. local.queue-drop: an interface's queue is full.
";

/// The drop of a packet whose next hop got no entry (ip_finish_output2, ip6_finish_output2, 5.18).
fn dropped(c: &Connection) -> Option<Dropped<'_>> {
    stopping_drops(c).find(|d| d.reason == "NEIGH_CREATEFAIL")
}

fn is_v6(d: &Dropped<'_>) -> bool {
    d.packet.tuple.is_some_and(|t| t.remote.is_ipv6())
}

fn table(c: &Connection, d: &Dropped<'_>) -> Want {
    Want::NeighborTable { netns: d.netns().unwrap_or(c.netns), v6: is_v6(d) }
}

fn wants(c: &Connection) -> Vec<Want> {
    dropped(c).map(|d| table(c, &d)).into_iter().collect()
}

/// No entry for the next hop: the table is full, or there was no memory.
fn no_neighbor(c: &Connection, d: &Dropped<'_>) -> Finding {
    let (what, at) = (phrase::the_dropped(d), place(c, d));
    let (family, protocol) = if is_v6(d) { ("ipv6", "neighbour discovery") } else { ("ipv4", "ARP") };
    let now = match c.facts.get(&table(c, d)) {
        Some(Answer::NeighborTable(table)) => Some(*table),
        _ => None,
    };
    let (certainty, why) = match now {
        Some(t) if t.entries >= t.limit => (
            Certainty::Proven,
            format!(
                "the table of neighbours ({protocol}) is full, {} of {}, and has no room for the next hop",
                t.entries, t.limit
            ),
        ),
        _ => (
            Certainty::Likely,
            format!(
                "the next hop got no entry in the table of neighbours ({protocol}): it was full, or there was no memory"
            ),
        ),
    };
    Finding::new(
        certainty,
        format!("{what} was dropped {at}: {why}"),
        seen(c, d.time, "drop", format!("{} dropped {at}: {}", phrase::dropped(d), d.reason)),
    )
    .and_all(now.map(|t| {
        let often = quantity::count(t.overflows, "time");
        fact("neighbors", format!("{} of {} entries in all namespaces of the host, {often} without room", t.entries, t.limit))
    }))
    .advise(format!(
        "see by `ip neigh` what fills the table, or raise net.{family}.neigh.default.gc_thresh3 of the host's first namespace"
    ))
}

fn judge(c: &Connection, coverage: &Coverage) -> Judgement {
    if let Some(d) = dropped(c) {
        return Judgement::Yes(no_neighbor(c, &d).and_all(told(c)));
    }
    let Some(call) = c.failed_call() else { return Judgement::No };
    let process = c.task.as_ref().and_then(|t| match c.facts.get(&Want::Process { pid: t.pid }) {
        Some(Answer::Process(Some(p))) => Some(p.as_ref()),
        _ => None,
    });
    let of = |files: Option<(u64, u64)>| files.map(|(n, limit)| format!(": {n} of {limit}")).unwrap_or_default();
    let own = process.and_then(|p| p.files);
    let all = process.and_then(|p| p.all_files);
    // A packet that a queue took no more (net_xmit_errno) would have been seen dropped.
    let no_buffer = c.is_tcp() || coverage.has("drop") && c.lost == 0 && !c.is_dropped();
    let (because, certainty, limits, advice) = match call.errno {
        errno::EMFILE => (
            format!("the process has reached its limit of open files{}", of(own)),
            Certainty::Proven,
            own,
            "look for descriptors that are never closed, or raise the limit (ulimit -n, LimitNOFILE=)",
        ),
        // The kernel says so as well when it has no memory for the socket's inode (__sock_create, 6.18).
        errno::ENFILE if all.is_some_and(|(open, limit)| open < limit) => (
            format!(
                "there was no memory for another socket (open files of this host{}, so it is not their limit)",
                of(all)
            ),
            Certainty::Likely,
            all,
            MEMORY,
        ),
        errno::ENFILE => (
            format!("this host has reached its limit of open files (fs.file-max){}", of(all)),
            if all.is_some() { Certainty::Proven } else { Certainty::Likely },
            all,
            "look for what keeps so many files open, or raise fs.file-max",
        ),
        errno::ENOMEM => ("there was no memory for it".to_owned(), Certainty::Proven, None, MEMORY),
        errno::ENOBUFS if c.is_tcp() => {
            ("there was no buffer memory for it".to_owned(), Certainty::Proven, None, MEMORY)
        }
        errno::ENOBUFS if no_buffer => {
            ("there was no memory for the packet, and no queue dropped it".to_owned(), Certainty::Likely, None, MEMORY)
        }
        _ => return Judgement::No,
    };
    Judgement::Yes(
        Finding::new(certainty, because, call_proof(c, &call))
            .and_all(limits.map(|(open, limit)| fact("limits", format!("open files: {open} of {limit}"))))
            .and_all(told(c))
            .advise(advice),
    )
}

const MEMORY: &str = "look at the memory limit of its control group (memory.max, memory.events), at net.ipv4.tcp_mem and udp_mem, and at \
                      the host's free memory";
