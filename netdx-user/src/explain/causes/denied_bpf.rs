//! `denied.bpf`

use super::{
    evidence::{listener, obstructing_drops, other_family, place, told, who_listens, who_listens_want},
    route_none::unasked,
};
use crate::{
    coverage::Coverage,
    event::{Call, Netns, Protocol},
    explain::{Cause, Finding, Judgement, Rule, Tells, errno, fact, phrase, seen},
    fact::{Answer, BpfProgram},
    report::Certainty,
    story::{Connection, Dropped},
    want::Want,
};

pub(super) const CAUSE: Cause = Cause {
    code: "denied.bpf",
    page: PAGE,
    rule: Rule::Connection { wants, judge },
    hides: &[
        "timeout.dropped",
        "denied.policy",
        "timeout.abandoned",
        "local.queue-drop",
        "broken.timeout",
        "route.neighbor-silent",
    ],
    tells: Tells::Failure,
};

const PAGE: &str = "\
A BPF program refused it.

# What happened
Programs can be attached to control groups (systemd's IPAddressDeny and SocketBindDeny, container runtimes), to interfaces
(tc, XDP: CNIs, load balancers, DDoS filters) and refuse calls or drop packets. One of them did.

# How netdx knows
A refused call failed after the control group's programs had been asked and before any routing lookup was made; a dropped
packet carries the reason (BPF_CGROUP_EGRESS, TC_INGRESS, TC_EGRESS, XDP, SOCKET_FILTER). The programs attached there, to the
interface or to the control group of the side whose socket it was, are listed by id and name. SOCKET_FILTER where there is
none is a filter of the socket itself (SO_ATTACH_FILTER).

# What to do
`bpftool prog show id ID` and `bpftool cgroup tree` show the program and who loaded it. For a systemd unit look at
IPAddressDeny=, IPAddressAllow=, SocketBindDeny=, RestrictNetworkInterfaces=.

# Easily confused with
firewall.dropped: a netfilter rule. denied.policy: seccomp, Landlock or a security module, which act before the control
group's programs are asked. route.none: in a namespace that never had a route the kernel looks for none.
";

/// Whose programs dropped a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// An interface's.
    Interface,
    /// This side's control group's.
    Own,
    /// The control group's of the socket on the other side.
    Peer,
}

/// A packet dropped by a program, where such programs are attached, and whose they are.
fn dropped(c: &Connection) -> Option<(Dropped<'_>, &'static [&'static str], Whose)> {
    let side = |own: bool| if own { Whose::Own } else { Whose::Peer };
    obstructing_drops(c).find_map(|d| {
        let (attach, whose): (&[&str], Whose) = match d.reason {
            "BPF_CGROUP_EGRESS" => (&["egress"], side(d.ours)),
            "SOCKET_FILTER" => (&["ingress"], side(!d.ours)),
            "TC_EGRESS" => (&["tc-egress", "tcx-egress"], Whose::Interface),
            "TC_INGRESS" => (&["tc-ingress", "tcx-ingress"], Whose::Interface),
            "XDP" => (&["xdp"], Whose::Interface),
            // Without a reason of its own (6.18). Most drivers drop it before it is a packet, which nothing tells.
            _ if d.by("do_xdp_generic") || d.by("veth_xdp_rcv_skb") => (&["xdp"], Whose::Interface),
            _ => return None,
        };
        Some((d, attach, whose))
    })
}

/// The call was refused after the control group's programs were asked, and before anything else was done. Programs may set
/// any error (bpf_set_retval).
fn refused(c: &Connection) -> bool {
    c.failed_call().is_some_and(|call| {
        c.id.is_none()
            && call.cgroup_hook == Some(true)
            && call.route.count == 0
            && !unasked(c, &call)
            && (call.errno == errno::EPERM || !unroutable(c) && other_family(c, &call).is_none())
    })
}

/// connect refuses such a target by itself before it looks for a route (tcp_v6_connect, __ip6_datagram_connect, 6.18).
fn unroutable(c: &Connection) -> bool {
    let link_local = matches!(c.tuple.remote, std::net::IpAddr::V6(a) if a.is_unicast_link_local());
    let mapped = c.v6_socket && c.tuple.remote.is_ipv4();
    c.tuple.remote.is_multicast() || c.tuple.remote_port == 0 || link_local || mapped
}

/// A send was refused before any routing lookup was made, and no packet was dropped. netdx has no program of its own where
/// sending is refused: what is attached there tells.
fn send_refused(c: &Connection) -> bool {
    c.failed_call().is_some_and(|call| {
        call.call == Call::Send
            && c.tuple.protocol == Protocol::Udp
            && call.cgroup_hook.is_none()
            && call.route.count == 0
            && call.errno == errno::EPERM
            && !c.is_dropped()
    })
}

fn programs_want(c: &Connection, netns: Netns) -> Want {
    Want::BpfPrograms { netns, cgroup: c.task.as_ref().map_or(0, |t| t.cgroup) }
}

fn wants(c: &Connection) -> Vec<Want> {
    if refused(c) || socket_refused(c) || send_refused(c) {
        return vec![programs_want(c, c.netns)];
    }
    let Some((d, _, whose)) = dropped(c) else { return Vec::new() };
    let mut wants = if whose == Whose::Peer { who_listens_want(c) } else { Vec::new() };
    wants.extend(d.netns().and_then(|netns| droppers_want(c, netns, whose)));
    wants
}

/// The question for the programs that can have dropped a packet; none: whose socket it was is not known (yet).
fn droppers_want(c: &Connection, netns: Netns, whose: Whose) -> Option<Want> {
    match whose {
        Whose::Interface | Whose::Own => Some(programs_want(c, netns)),
        Whose::Peer => {
            let pid = listener(c, netns)?.owners.first()?.pid;
            Some(Want::BpfProgramsOf { netns, pid })
        }
    }
}

/// A call that programs can refuse without netdx having one of its own there to tell that they were asked.
fn socket_refused(c: &Connection) -> bool {
    c.failed_call().is_some_and(|call| matches!(call.call, Call::Socket | Call::Bind) && call.errno == errno::EPERM)
}

fn attached<'a>(c: &'a Connection, want: &Want, at: &[&str]) -> Option<Vec<&'a BpfProgram>> {
    match c.facts.get(want) {
        Some(Answer::BpfPrograms(all)) => Some(all.iter().filter(|p| at.contains(&p.attach.as_str())).collect()),
        _ => None,
    }
}

fn list(programs: &[&BpfProgram]) -> String {
    let names: Vec<String> = programs
        .iter()
        .take(4)
        .map(|p| format!("program {} `{}` ({} of {})", p.id, p.name, p.attach, p.place))
        .collect();
    names.join(", or ")
}

fn judge(c: &Connection, _: &Coverage) -> Judgement {
    let udp = c.tuple.protocol == Protocol::Udp;
    let v6 = c.tuple.remote.is_ipv6();
    if refused(c) || socket_refused(c) || send_refused(c) {
        let Some(call) = c.failed_call() else { return Judgement::No };
        let at: &[&str] = match (call.call, v6, udp) {
            (Call::Socket, ..) => &["sock-create"],
            (Call::Bind, false, _) => &["bind4"],
            (Call::Bind, true, _) => &["bind6"],
            (Call::Send, false, _) => &["sendmsg4"],
            (Call::Send, true, _) => &["sendmsg6"],
            (_, false, _) => &["connect4"],
            (_, true, _) => &["connect6"],
        };
        let programs = attached(c, &programs_want(c, c.netns), at);
        let asked = if refused(c) { " after the control group's programs were asked," } else { "" };
        let proof = seen(
            c,
            call.time,
            "call-failed",
            format!("the call returned {}{asked} before any routing lookup", errno::name(call.errno)),
        );
        let likely = send_refused(c);
        return match programs {
            Some(p) if p.is_empty() => Judgement::No,
            Some(p) => {
                let certainty = if p.len() == 1 && !likely { Certainty::Proven } else { Certainty::Likely };
                yes(c, proof, certainty, &p, "refused the call")
            }
            None if refused(c) => Judgement::Yes(
                Finding::new(Certainty::Likely, "a BPF program of its control group refused the call", proof)
                    .and_all(told(c)),
            ),
            None => Judgement::No,
        };
    }
    let Some((d, at, whose)) = dropped(c) else { return Judgement::No };
    let Some(netns) = d.netns() else { return Judgement::No };
    let proof = seen(
        c,
        d.time,
        "drop",
        format!(
            "{} dropped {}: {}",
            phrase::dropped(&d),
            place(c, &d),
            if d.is_without_reason() { d.at } else { d.reason }
        ),
    );
    let certainty = super::route_neighbor_silent::certainty(c, &d);
    let what = phrase::the_dropped(&d);
    match droppers_want(c, netns, whose).and_then(|want| attached(c, &want, at)) {
        Some(p) if p.is_empty() => match d.reason {
            // sk_filter_trim_cap (6.18) has this reason for both.
            "SOCKET_FILTER" => {
                let owner =
                    if whose == Whose::Peer { who_listens(c, netns) } else { c.task.as_ref().map(phrase::task) };
                let socket =
                    owner.map_or_else(|| "the receiving socket".to_owned(), |who| format!("the socket of {who}"));
                Judgement::Yes(
                    Finding::new(
                        Certainty::Likely,
                        format!(
                            "a filter attached to {socket} (SO_ATTACH_FILTER, SO_ATTACH_BPF) dropped {what} {}",
                            place(c, &d)
                        ),
                        proof,
                    )
                    .and(fact(
                        "bpf-programs",
                        "the control group of that socket's owner has no program for packets that come in",
                    ))
                    .and_all(told(c)),
                )
            }
            "BPF_CGROUP_EGRESS" | "XDP" => Judgement::Yes(
                Finding::new(
                    certainty,
                    format!("a BPF program dropped {} {}", phrase::the_dropped(&d), place(c, &d)),
                    proof,
                )
                .and_all(told(c)),
            ),
            // A queue's filter that is no program.
            _ => Judgement::No,
        },
        Some(p) => yes(c, proof, certainty, &p, &format!("dropped {} {}", phrase::the_dropped(&d), place(c, &d))),
        None => Judgement::Yes(
            Finding::new(
                Certainty::Likely,
                format!("a BPF program dropped {} {}", phrase::the_dropped(&d), place(c, &d)),
                proof,
            )
            .and_all(told(c)),
        ),
    }
}

fn yes(
    c: &Connection,
    proof: crate::report::Evidence,
    certainty: Certainty,
    programs: &[&BpfProgram],
    what: &str,
) -> Judgement {
    let names = list(programs);
    let setting = programs.iter().find_map(|p| systemd(p));
    let by = setting
        .map(|(setting, place)| format!(", by which systemd enforces {setting} of {place},"))
        .unwrap_or_default();
    let ids = programs.iter().map(|p| p.id.to_string()).collect::<Vec<_>>().join(", ");
    Judgement::Yes(
        Finding::new(certainty, format!("BPF {names}{by} {what}"), proof)
            .and(fact("bpf-programs", names))
            .and_all(told(c))
            .advise(match setting {
                Some((setting, place)) => format!("look at {setting} of {place} (`systemctl cat {place}`)"),
                None => format!("`bpftool prog show id {ids}` says what it is and who loaded it"),
            }),
    )
}

/// The setting that systemd loads a program for, by the name it gives it (bpf-firewall.c, socket-bind.bpf.c and
/// restrict-ifaces.bpf.c of systemd 255), and the unit, which its control group is called by.
fn systemd(program: &BpfProgram) -> Option<(&'static str, &str)> {
    let setting = match program.name.as_str() {
        "sd_fw_egress" | "sd_fw_ingress" => "IPAddressDeny= or IPAddressAllow=",
        "sd_bind4" | "sd_bind6" => "SocketBindDeny= or SocketBindAllow=",
        "sd_restrictif_e" | "sd_restrictif_i" => "RestrictNetworkInterfaces=",
        _ => return None,
    };
    let unit = program.place.rsplit('/').next().filter(|unit| !unit.is_empty());
    Some((setting, unit.unwrap_or("-.slice")))
}
