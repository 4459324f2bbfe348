//! `route.forwarding-off`

use super::evidence::{came_back, place, stopping_drops, sysctl_wants, sysctls, told};
use super::misdirected;
use crate::{
    coverage::Coverage,
    explain::{Cause, Finding, Judgement, Rule, Tells, fact, phrase, seen},
    report::Certainty,
    story::{Connection, Dropped},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "route.forwarding-off",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &["timeout.dropped", "timeout.silent", "timeout.abandoned"],
    tells: Tells::Failure,
};

const PAGE: &str = "\
This host should have passed the packet on, but forwarding is off.

# What happened
A packet for another host came in (from a container, a virtual machine, a VPN client, another namespace), and the kernel
drops it because it is not set to forward (`net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`).

# How netdx knows
The kernel dropped the packet in its routing code, in a namespace that does not own the target address, and the setting,
read right after, is 0.

# What to do
`sysctl -w net.ipv4.ip_forward=1` (and `net.ipv6.conf.all.forwarding=1`), and keep it in /etc/sysctl.d. Container engines
switch it on when they start; something else may have switched it off since.

# Easily confused with
route.rejects and route.icmp-unreachable: forwarding is on, and routing says no. firewall.dropped at the forward hook.
";

/// What was to be passed on, and was not.
pub(super) fn dropped(c: &Connection) -> Option<Dropped<'_>> {
    stopping_drops(c).find(|d| {
        // An answer has arrived, or its own packet has come back: neither is to be passed on.
        let arrived = !d.ours && d.netns() == Some(c.netns) || came_back(c, d);
        !arrived
            && (d.by("ip_error")
                || d.by("ip6_forward")
                || d.by("ip_forward")
                || d.by("ip6_pkt_discard")
                || d.reason == "IP_INADDRERRORS")
    })
}

fn keys(d: &Dropped<'_>) -> Vec<String> {
    let v6 = d.packet.tuple.is_some_and(|t| t.remote.is_ipv6());
    if v6 {
        return vec!["ipv6/conf/all/forwarding".into()];
    }
    let device = (!d.packet.device_name.is_empty()).then(|| format!("ipv4/conf/{}/forwarding", d.packet.device_name));
    std::iter::once("ipv4/ip_forward".to_owned()).chain(device).collect()
}

fn wants(c: &Connection) -> Vec<Want> {
    dropped(c).map(|d| sysctl_wants(&d, &keys(&d))).unwrap_or_default()
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let Some(d) = dropped(c).filter(|_| !misdirected::is_it(c)) else { return Judgement::No };
    let off = sysctls(c, &d, &keys(&d)).into_iter().find(|(_, value)| value == "0");
    let Some((setting, _)) = off else { return Judgement::No };
    let at = place(c, &d);
    let what = phrase::packet(d.packet);
    Judgement::Yes(
        Finding::new(
            Certainty::Proven,
            format!("its {what} should have been forwarded {at}, but {setting} is 0"),
            seen(
                c,
                d.time,
                "drop",
                format!("{what} dropped {at}: {}", if d.reason.is_empty() { d.at } else { d.reason }),
            ),
        )
        .and(fact("sysctl", format!("{setting} = 0")))
        .and_all(told(c))
        .advise(format!("switch forwarding on there: sysctl -w {setting}=1")),
    )
}
