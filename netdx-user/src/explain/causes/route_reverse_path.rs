//! `route.reverse-path`

use super::{
    evidence::{came_back, place, stopping_drops, sysctl_wants, sysctls, told, turned_back},
    firewall_rule::{Action, by_no_rule, rule_wants},
};
use crate::{
    coverage::Coverage,
    event::{Hook, Tuple},
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, phrase, seen},
    report::Certainty,
    story::{Connection, Dropped},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "route.reverse-path",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.dropped", "timeout.abandoned", "broken.timeout", "firewall.dropped"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
This host dropped the packet because of where it came from.

# What happened
With reverse-path filtering (`rp_filter`) a host drops a packet that comes in by another interface than the one by which it
would answer. Packets with impossible addresses (martians: loopback from or to the outside, its own as the source) are
dropped as well. It hits asymmetric routing, several uplinks, VPNs, sources without a route back, and what is translated to
or from 127.0.0.1.

# How netdx knows
The kernel reported the drop with that reason, for a packet of this connection, with namespace and interface. Before Linux
5.17 it names no reasons: there the verdict is *likely*, from the function that dropped the packet and the setting. Or a
packet of this host's own with a loopback source was translated to go elsewhere and dropped there, and no rule can have done
that.

# What to do
Give the host a route back to that source by the interface it comes in on, or loosen the filter there:
`sysctl net.ipv4.conf.DEV.rp_filter=2` (loose). The larger of `all` and the interface's own value counts. Where 127.0.0.1 is
translated to another host: `net.ipv4.conf.all.route_localnet=1`, and MASQUERADE.

# Easily confused with
firewall.dropped: a rule, also one of `fib saddr . iif`. route.forwarding-off: the host does not forward at all.
";

/// What is wrong with where a packet came from, or goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Answers to its source would not go out by the interface that it came in by, or by none.
    WayBack,
    /// Its source is an address of the namespace that it came to.
    OwnSource,
    /// Its target is a loopback address, and it came from outside.
    LoopbackTarget,
    /// Its source is a loopback address, and it came from outside or was to go there.
    LoopbackSource,
    /// Another one, that no packet may have.
    Other,
}

impl Fault {
    fn of(c: &Connection, d: &Dropped<'_>) -> Option<Fault> {
        match d.reason {
            _ if is_by_place(d) => Some(Fault::WayBack),
            _ if is_to_leave(c, d) => Some(Fault::LoopbackSource),
            "IP_LOCAL_SOURCE" => Some(Fault::OwnSource),
            "IP_LOCALNET" if ends(c, d).remote.is_loopback() => Some(Fault::LoopbackTarget),
            "IP_LOCALNET" => Some(Fault::LoopbackSource),
            "IP_INVALID_SOURCE" | "IP_MARTIAN_SOURCE" | "IP_MARTIAN_DESTINATION" => Some(Fault::Other),
            reason => reason.starts_with("IP_RPFILTER").then_some(Fault::WayBack),
        }
    }

    /// The setting that forbids it, in the namespace where it was dropped.
    fn setting(self) -> Option<&'static str> {
        match self {
            Fault::WayBack => Some("rp_filter"),
            Fault::LoopbackTarget | Fault::LoopbackSource => Some("route_localnet"),
            Fault::OwnSource | Fault::Other => None,
        }
    }

    /// What to do about it. `value`: that of the setting.
    fn advice(self, c: &Connection, d: &Dropped<'_>, value: Option<u8>) -> String {
        let (source, target) = (ends(c, d).local, ends(c, d).remote);
        let device = if d.packet.device_name.is_empty() { "all" } else { &d.packet.device_name };
        match self {
            Fault::WayBack if value == Some(2) => {
                format!(
                    "give that host a route back to {source}: rp_filter is 2 (loose) there, so any interface will do"
                )
            }
            Fault::WayBack => {
                format!(
                    "give that host a route back to {source} by this interface, or set rp_filter to 2 (loose) there"
                )
            }
            Fault::OwnSource if came_back(c, d) && c.tuple.remote != c.reached().remote => format!(
                "where {} is translated to {target}, translate the source as well (SNAT, MASQUERADE)",
                c.tuple.remote
            ),
            Fault::OwnSource if came_back(c, d) => turned_back(c),
            Fault::OwnSource => format!("two hosts have the address {source}: give one of them another"),
            Fault::LoopbackTarget => format!(
                "translate to another address than {target}, one that the server listens on; or let it be reached from outside: \
                 sysctl -w net.ipv4.conf.{device}.route_localnet=1 there"
            ),
            Fault::LoopbackSource if is_to_leave(c, d) => format!(
                "translate the source as well (SNAT, MASQUERADE), and let {source} out: sysctl -w \
                 net.ipv4.conf.all.route_localnet=1"
            ),
            Fault::LoopbackSource => {
                format!("where {source} is sent from, translate the source as well (SNAT, MASQUERADE)")
            }
            Fault::Other => format!("{source} and {target}: one of them is an address that no packet may have there"),
        }
    }
}

/// The packet's source and target.
fn ends(c: &Connection, d: &Dropped<'_>) -> Tuple {
    d.packet.tuple.unwrap_or(c.tuple)
}

fn dropped(c: &Connection) -> Option<(Dropped<'_>, Fault)> {
    stopping_drops(c).find_map(|d| Some((d, Fault::of(c, &d)?)))
}

/// Without a reason: routing refused a packet that came in (`ip_rcv_finish_core`, net/ipv4/ip_input.c).
fn is_by_place(d: &Dropped<'_>) -> bool {
    d.reason.is_empty() && d.at == "ip_rcv_finish_core"
}

/// Translation gave it a target elsewhere, and with its loopback source it may not leave: the hook that translates what is sent
/// routes it anew, and drops it where that fails (`nf_nat_ipv4_local_fn`, `__mkroute_output`; Linux 6.18).
fn is_to_leave(c: &Connection, d: &Dropped<'_>) -> bool {
    let Tuple { local, remote, .. } = ends(c, d);
    d.ours
        && d.netns() == Some(c.netns)
        && (d.hook, d.at) == (Some(Hook::Output), "nf_hook_slow")
        && local.is_ipv4()
        && local.is_loopback()
        && !remote.is_loopback()
}

fn keys(d: &Dropped<'_>, fault: Fault) -> Vec<String> {
    let devices = ["all", &d.packet.device_name].into_iter().filter(|device| !device.is_empty());
    let of = |setting: &str| devices.map(|device| format!("ipv4/conf/{device}/{setting}")).collect();
    fault.setting().map(of).unwrap_or_default()
}

fn wants(c: &Connection) -> Vec<Want> {
    let Some((d, fault)) = dropped(c) else { return Vec::new() };
    let rules = if is_to_leave(c, &d) { rule_wants(c, &d) } else { Vec::new() };
    sysctl_wants(&d, &keys(&d, fault)).into_iter().chain(rules).collect()
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some((d, fault)) = dropped(c) else { return Judgement::No };
    let settings = sysctls(c, &d, &keys(&d, fault));
    // The larger one counts.
    let value = settings.iter().filter_map(|(_, value)| value.trim().parse::<u8>().ok()).max();
    let off = value.is_none_or(|value| value == 0);
    if is_by_place(&d) && off || is_to_leave(c, &d) && !(off && by_no_rule(c, &d, Action::Drop)) {
        return Judgement::No;
    }
    let (what, at) = (phrase::packet(d.packet), place(c, &d));
    let Tuple { local: source, remote: target, .. } = ends(c, &d);
    let how = match d.reason {
        _ if is_to_leave(c, &d) => "no rule does it, and it could not be routed anew",
        "" => "by its route lookup; this kernel names no reason",
        reason => reason,
    };
    let martian = format!("the {what} from {source} was dropped as a martian {at}");
    let why = match fault {
        Fault::WayBack => format!(
            "reverse-path filtering (rp_filter) dropped its {what} {at}: answers to {source} would not go out there"
        ),
        Fault::OwnSource if came_back(c, &d) => format!("{martian}: it came back to where it was sent from"),
        Fault::OwnSource => format!("{martian}, which has that address itself"),
        Fault::LoopbackTarget => {
            format!(
                "the {what} to {target} was dropped as a martian {at}: loopback addresses are not reached from outside"
            )
        }
        Fault::LoopbackSource if is_to_leave(c, &d) => {
            format!("its {what} was translated to {target}, and may not leave with its loopback source {source}")
        }
        Fault::LoopbackSource | Fault::Other => martian,
    };
    Judgement::Yes(
        Finding::new(
            if is_by_place(&d) { Certainty::Likely } else { Certainty::Proven },
            why,
            seen(c, d.time, "drop", format!("{what} from {source} dropped {at}: {how}")),
        )
        .and_all(settings.into_iter().map(|(setting, value)| fact("sysctl", format!("{setting} = {value}"))))
        .and_all(told(c))
        .advise(fault.advice(c, &d, value)),
    )
}
