//! `route.reverse-path`

use super::evidence::{place, stopping_drops, sysctl_wants, sysctls, told};
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, phrase, seen},
    report::Certainty,
    story::{Connection, Dropped},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "route.reverse-path",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.dropped", "timeout.abandoned", "broken.timeout"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
This host dropped the packet because of where it came from.

# What happened
With reverse-path filtering (`rp_filter`) a host drops a packet that comes in by another interface than the one by which it
would answer. Packets with impossible sources (martians: loopback from outside, its own address) are dropped as well. It hits
asymmetric routing, several uplinks, VPNs, and sources without a route back.

# How netdx knows
The kernel reported the drop with that reason, for a packet of this connection, with namespace and interface. Before Linux
5.17 it names no reasons: there the verdict is *likely*, from the function that dropped the packet and the setting.

# What to do
Give the host a route back to that source by the interface it comes in on, or loosen the filter there:
`sysctl net.ipv4.conf.DEV.rp_filter=2` (loose). The larger of `all` and the interface's own value counts.

# Easily confused with
firewall.dropped: a rule, also one of `fib saddr . iif`. route.forwarding-off: the host does not forward at all.
";

fn dropped(c: &Connection) -> Option<Dropped<'_>> {
    stopping_drops(c).find(|d| {
        is_by_place(d)
            || d.reason.starts_with("IP_RPFILTER")
            || matches!(
                d.reason,
                "IP_LOCAL_SOURCE"
                    | "IP_INVALID_SOURCE"
                    | "IP_LOCALNET"
                    | "IP_MARTIAN_SOURCE"
                    | "IP_MARTIAN_DESTINATION"
            )
    })
}

/// Without a reason: routing refused a packet that came in (`ip_rcv_finish_core`, net/ipv4/ip_input.c).
fn is_by_place(d: &Dropped<'_>) -> bool {
    d.reason.is_empty() && d.at == "ip_rcv_finish_core"
}

fn keys(d: &Dropped<'_>) -> Vec<String> {
    let mut keys = vec!["ipv4/conf/all/rp_filter".to_owned()];
    if !d.packet.device_name.is_empty() {
        keys.push(format!("ipv4/conf/{}/rp_filter", d.packet.device_name));
    }
    keys
}

fn wants(c: &Connection) -> Vec<Want> {
    dropped(c).map(|d| sysctl_wants(&d, &keys(&d))).unwrap_or_default()
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(d) = dropped(c) else { return Judgement::No };
    let what = phrase::packet(d.packet);
    let source = d.packet.tuple.map_or(c.tuple.local, |t| t.local);
    let at = place(c, &d);
    if is_by_place(&d) && !filters(c, &d) {
        return Judgement::No;
    }
    let settings = sysctls(c, &d, &keys(&d));
    let settings = settings.into_iter().map(|(setting, value)| fact("sysctl", format!("{setting} = {value}")));
    let how = if d.reason.is_empty() { "by its route lookup; this kernel names no reason" } else { d.reason };
    let why = if is_by_place(&d) || d.reason.starts_with("IP_RPFILTER") {
        format!(
            "reverse-path filtering (rp_filter) dropped its {what} {at}: answers to {source} would not go out there"
        )
    } else {
        format!("the {what} from {source} was dropped as a martian {at}")
    };
    Judgement::Yes(
        Finding::new(
            if is_by_place(&d) { Certainty::Likely } else { Certainty::Proven },
            why,
            seen(c, d.time, "drop", format!("{what} from {source} dropped {at}: {how}")),
        )
        .and_all(settings)
        .and_all(told(c))
        .advise(format!(
            "give that host a route back to {source} by this interface, or set rp_filter to 2 (loose) there"
        )),
    )
}

/// Whether a reverse-path filter is on where the packet came in.
fn filters(c: &Connection, d: &Dropped<'_>) -> bool {
    sysctls(c, d, &keys(d)).iter().any(|(_, value)| value.trim().parse::<u8>().is_ok_and(|value| value > 0))
}
