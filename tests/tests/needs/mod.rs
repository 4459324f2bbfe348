//! What scenarios need of the kernel they run on. Owns: looking for it, in the kernel's own type information, and saying
//! that it is missing. Must not know: any scenario.
//!
//! A kernel's version tells nothing: distributions carry features back and leave others out.

#![allow(dead_code, reason = "several test programs have it, and each needs some of it")]

use netdx::live::btf::{Blob, Btf, KERNEL, Kind};
use netdx_tests::tracer::Expected;
use std::io::Write as _;
use std::path::Path;

/// Something that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Reasons for drops (5.17).
    DropReasons,
    /// A tracepoint for each request to io_uring, whose address is told (6.4).
    IoUringRequests,
    /// Tracepoints for what sending and receiving gave, with the socket (6.3).
    SendResults,
    /// Multipath TCP.
    Mptcp,
    /// nftables' hook for what leaves an interface (5.16).
    NetfilterEgress,
    /// BPF programs at interfaces by links (6.6).
    Tcx,
    /// Landlock rules for connecting (6.7).
    LandlockConnect,
    /// BPF programs of control groups that choose the error of a call (5.18).
    ChosenErrors,
    /// A program that is at work is not run again on the same CPU, and that is counted (6.1 for tracepoints; 5.12 for others).
    RunsOnce,
    /// No task interrupts a program on a tracepoint (until 7.2). Where one does, and another the second program that is there for
    /// that, the next event is lost, and counted.
    WholePrograms,
    /// Memory of BPF maps counts as that of the control group whose process made them (5.11).
    MapsOfGroups,
}

/// What of the kernel's types comes with a feature.
enum Sign {
    /// A type.
    Type(Kind, &'static str),
    /// A member of a structure.
    Member(&'static str, &'static str),
    /// That there is no such function.
    NoFunction(&'static str),
}

impl Feature {
    /// What comes with it, and what is missing without.
    fn sign(self) -> (Sign, &'static str) {
        match self {
            Feature::DropReasons => (
                Sign::Type(Kind::Enum, "skb_drop_reason"),
                "the kernel names no reasons for drops (no `enum skb_drop_reason`)",
            ),
            Feature::IoUringRequests => (
                Sign::Type(Kind::Typedef, "btf_trace_io_uring_submit_req"),
                "the kernel does not tell of requests to io_uring (no tracepoint `io_uring_submit_req`)",
            ),
            Feature::SendResults => (
                Sign::Type(Kind::Typedef, "btf_trace_sock_send_length"),
                "the kernel does not tell what sending gave (no tracepoint `sock_send_length`)",
            ),
            Feature::Mptcp => {
                (Sign::Type(Kind::Struct, "mptcp_sock"), "the kernel has no MPTCP (no `struct mptcp_sock`)")
            }
            Feature::NetfilterEgress => (
                Sign::Member("net_device", "nf_hooks_egress"),
                "the kernel has no filter for what leaves an interface (no `nf_hooks_egress` in `struct net_device`)",
            ),
            Feature::Tcx => (
                Sign::Type(Kind::Struct, "tcx_link"),
                "the kernel has no links for BPF programs at interfaces (no `struct tcx_link`)",
            ),
            Feature::LandlockConnect => (
                Sign::Type(Kind::Struct, "landlock_net_port_attr"),
                "the kernel's Landlock has no rules for connecting (no `struct landlock_net_port_attr`)",
            ),
            Feature::ChosenErrors => (
                Sign::Type(Kind::Func, "bpf_set_retval"),
                "the kernel's BPF programs of control groups can't choose an error (no function `bpf_set_retval`)",
            ),
            Feature::RunsOnce => (
                Sign::Member("bpf_prog", "active"),
                "the kernel runs a BPF program again while it is at work (no `active` in `struct bpf_prog`)",
            ),
            Feature::WholePrograms => (
                Sign::NoFunction("trace_call_bpf_faultable"),
                "tasks interrupt BPF programs on tracepoints (there is a function `trace_call_bpf_faultable`)",
            ),
            Feature::MapsOfGroups => (
                Sign::Type(Kind::Func, "bpf_map_kmalloc_node"),
                "the kernel does not limit the memory of BPF maps by control groups (no function `bpf_map_kmalloc_node`)",
            ),
        }
    }

    fn is_missing(self) -> bool {
        let blob = Blob::open(Path::new(KERNEL)).expect("the kernel's type information");
        let types = Btf::parse(blob.bytes()).expect("the kernel's own BTF");
        let find = |kind, name| types.find([(kind, name)]).into_values().next();
        match self.sign().0 {
            Sign::Type(kind, name) => find(kind, name).is_none(),
            Sign::Member(name, member) => {
                let id = find(Kind::Struct, name).unwrap_or_else(|| panic!("the kernel has no `struct {name}`"));
                types.member(id, member).is_none()
            }
            Sign::NoFunction(name) => find(Kind::Func, name).is_some(),
        }
    }
}

/// The kernel lacks what the scenario is about, which is told: there is nothing to test.
#[must_use]
pub(crate) fn skipped_without(feature: Feature) -> bool {
    feature.is_missing() && tell("skipped", feature.sign().1)
}

/// The machine has one processor and the scenario is about two of them, which is told: there is nothing to test.
#[must_use]
pub(crate) fn skipped_with_one_processor() -> bool {
    std::thread::available_parallelism().is_ok_and(|number| number.get() == 1)
        && tell("skipped", "the machine has one processor")
}

/// The kernel lacks what the full answer needs, which is told: the scenario expects the weaker one.
#[must_use]
pub(crate) fn weaker_without(feature: Feature) -> bool {
    feature.is_missing() && tell("weaker", feature.sign().1)
}

/// What is expected of a drop that has a reason: without one netdx says that the kernel dropped the packet, and where.
#[must_use]
pub(crate) fn by_its_reason(expected: Expected<'_>) -> Expected<'_> {
    if weaker_without(Feature::DropReasons) {
        Expected { code: "timeout.dropped", certainty: None, names: &["the kernel dropped "], ..expected }
    } else {
        expected
    }
}

/// What is expected where only the reason of a drop shows the whole of it: without one it is said that something was not seen.
#[must_use]
pub(crate) fn less_sure_without_reasons(expected: Expected<'_>) -> Expected<'_> {
    if weaker_without(Feature::DropReasons) { Expected { certainty: Some("likely"), ..expected } } else { expected }
}

/// What is expected where only the reason of a drop tells the cause: without one it is this code, and so certain.
#[must_use]
pub(crate) fn other_without_reasons<'a>(code: &'a str, certainty: &'a str, expected: Expected<'a>) -> Expected<'a> {
    if weaker_without(Feature::DropReasons) {
        Expected { code, certainty: Some(certainty), names: &[], ..expected }
    } else {
        expected
    }
}

/// The scenario has shown that the kernel doesn't do what a part of it is about, and leaves that part out.
pub(crate) fn weaker_because(why: &str) {
    _ = tell("weaker", why);
}

/// One line past libtest's capture, which `cargo xtask vm` reads. Always true.
fn tell(what: &str, why: &str) -> bool {
    let thread = std::thread::current();
    let scenario = thread.name().expect("a test's thread has its name");
    let line = format!("{what}: {scenario}: {why}\n");
    std::io::stdout().write_all(line.as_bytes()).expect("standard output is open");
    true
}
