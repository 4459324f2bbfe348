//! What is told of packets that were dropped, with events made by hand.

use super::tests::{MS, attempt, closed, code, drop_of, elsewhere, ip, packet, retransmit, run, run_with, sock, tuple};
use crate::{
    diagnosis::Settings,
    event::{Event, Hook, Netns, Packet, Sock, TcpState, Tuple},
    fact::{Answer, Interface, Route, Translation},
    report::{Certainty, Report},
    want::Want,
};
use std::sync::Arc;

fn drop(packet: Packet, reason: &'static str, at: &'static str) -> Event {
    drop_of(packet, reason, Some(at))
}

/// A connection that times out after its SYN was sent twice, and what else happened by then.
fn timed_out(others: impl IntoIterator<Item = (u64, Event)>, answer: impl Fn(&Want) -> Answer) -> Report {
    let mut events = vec![(1000 * MS, attempt()), (2000 * MS, retransmit()), (4000 * MS, closed(110))];
    events.extend(others);
    events.sort_by_key(|(time, _)| *time);
    let mut reports = run(events, answer);
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports.remove(0)
}

fn summary(report: &Report) -> &str {
    report.verdict.as_ref().map_or("", |verdict| &verdict.summary)
}

/// The router's answer may be lost, or come too late.
#[test]
fn a_router_without_a_route_is_told_from_one_that_rejects() {
    let route = |kind: &'static str| {
        move |want: &Want| match want {
            Want::Route { netns: Netns(2), .. } => {
                Answer::Route(Route { errno: 101, kind: kind.into(), ..Route::default() })
            }
            other => elsewhere(other),
        }
    };
    for (kind, told) in [("", "route.none"), ("unreachable", "route.rejects")] {
        let lost = (1000 * MS + 1, drop(packet(tuple()), "IP_INNOROUTES", "ip_error"));
        let report = timed_out([lost], route(kind));
        assert_eq!(code(std::slice::from_ref(&report)), [told]);
        assert!(summary(&report).contains("network namespace 2"), "{}", summary(&report));
    }
}

#[test]
fn a_time_to_live_that_runs_out_is_no_malformed_header() {
    for (ttl, told) in [(1, "route.ttl-exceeded"), (64, "timeout.dropped")] {
        let lost = (1000 * MS + 1, drop(Packet { ttl, ..packet(tuple()) }, "IP_INHDR", "ip_forward"));
        assert_eq!(code(&[timed_out([lost], elsewhere)]), [told]);
    }
}

/// The kernel frees a SYN that was sent again without a reason, once it has sent the SYN-ACK again.
#[test]
fn a_syn_that_is_answered_again_is_not_lost() {
    let again = |time| {
        let listener = Sock { netns: Netns(2), state: TcpState::Listen, ..sock(TcpState::Listen) };
        (time, Event::SynAckRetransmit { listener, tuple: tuple().reversed(), retransmits: 1 })
    };
    let freed = |time| (time, drop(packet(tuple()), "NOT_SPECIFIED", "tcp_v4_rcv"));
    let report = timed_out([again(2000 * MS + 1), freed(2000 * MS + 2)], elsewhere);
    assert_eq!(code(std::slice::from_ref(&report)), ["timeout.silent"]);
    assert!(summary(&report).contains("the listener in network namespace 2"), "{}", summary(&report));
    // Nobody answered.
    let report = timed_out([freed(1000 * MS + 2), freed(2000 * MS + 2)], elsewhere);
    assert_eq!(code(std::slice::from_ref(&report)), ["timeout.dropped"]);
    // Seen from the listener's side.
    let inbound = Settings { all: false, slow: None, dns: true, inbound: true };
    let here = |want: &Want| match want {
        Want::Owners { .. } => Answer::Owners(vec![Netns(2)]),
        other => elsewhere(other),
    };
    let told = |events| run_with(inbound.clone(), events, here).len();
    assert_eq!((told(vec![freed(MS)]), told(vec![again(MS), freed(MS + 2)])), (1, 0));
}

/// A router's routes lead back to the sender, which does not forward.
#[test]
fn what_comes_back_is_not_to_be_forwarded_by_its_sender() {
    let off = |want: &Want| match want {
        Want::Sysctl { .. } => Answer::Sysctl("0".into()),
        other => elsewhere(other),
    };
    for (netns, told) in [(2, "route.forwarding-off"), (1, "timeout.dropped")] {
        let netns = Some(Netns(netns));
        let lost = (1000 * MS + 1, drop(Packet { netns, ..packet(tuple()) }, "IP_INADDRERRORS", "ip_error"));
        assert_eq!(code(&[timed_out([lost], off)]), [told]);
    }
}

#[test]
fn what_is_wrong_with_a_martian_is_what_to_mend() {
    let advice = |netns, remote: &str, reason, value: &'static str| {
        let (netns, tuple) = (Some(Netns(netns)), Tuple { remote: ip(remote), ..tuple() });
        let lost = drop(Packet { netns, ..packet(tuple) }, reason, "ip_rcv_finish_core");
        // Sent with these endpoints: as if it were translated.
        let report = timed_out([(1000 * MS + 1, lost)], |want| match want {
            Want::Sysctl { .. } => Answer::Sysctl(value.into()),
            Want::Translations { .. } => Answer::Translations(vec![Translation { netns: Netns(2), to: tuple }]),
            other => elsewhere(other),
        });
        assert_eq!(code(std::slice::from_ref(&report)), ["route.reverse-path"], "{}", summary(&report));
        report.verdict.map(|verdict| verdict.advice.join("; ")).unwrap_or_default()
    };
    for (netns, remote, reason, value, told) in [
        (2, "10.0.0.5", "IP_RPFILTER", "1", "set rp_filter to 2"),
        (2, "10.0.0.5", "IP_RPFILTER", "2", "any interface will do"),
        (2, "127.0.0.1", "IP_LOCALNET", "0", "route_localnet=1"),
        (2, "10.0.0.5", "IP_LOCAL_SOURCE", "0", "two hosts have the address 10.0.0.1"),
        (1, "10.0.0.5", "IP_LOCAL_SOURCE", "0", "a router on the way"),
        (1, "10.0.0.1", "IP_LOCAL_SOURCE", "0", "SNAT"),
    ] {
        let advice = advice(netns, remote, reason, value);
        assert!(advice.contains(told), "{remote} {reason}: {advice}");
    }
}

/// What is translated as it is sent is routed anew, which a loopback source makes impossible.
#[test]
fn a_loopback_source_may_not_leave() {
    let dialled = Tuple { local: ip("127.0.0.1"), remote: ip("127.0.0.1"), ..tuple() };
    let to = Tuple { remote: ip("10.0.0.5"), ..dialled };
    let with_ends = |event: Event| match event {
        Event::Attempt { started, task, sock, via, dialled: to } => {
            Event::Attempt { started, task, sock: Sock { tuple: dialled, ..sock }, via, dialled: to }
        }
        Event::State { sock, old, new, current, icmp, tcp, stack } => {
            Event::State { sock: Sock { tuple: dialled, ..sock }, old, new, current, icmp, tcp, stack }
        }
        other => other,
    };
    let mut lost = drop(Packet { netns: Some(Netns(1)), in_device: 0, ..packet(to) }, "NETFILTER_DROP", "nf_hook_slow");
    if let Event::Drop { hook, .. } = &mut lost {
        *hook = Some(Hook::Output);
    }
    for (localnet, told) in [("0", "route.reverse-path"), ("1", "firewall.dropped")] {
        let events = vec![(MS, with_ends(attempt())), (MS + 1, lost.clone()), (3000 * MS, with_ends(closed(110)))];
        let reports = run(events, |want| match want {
            Want::Sysctl { .. } => Answer::Sysctl(localnet.into()),
            Want::Ruleset { .. } => Answer::Ruleset(Arc::default()),
            Want::Translations { .. } => Answer::Translations(vec![Translation { netns: Netns(1), to }]),
            other => elsewhere(other),
        });
        assert_eq!(code(&reports), [told]);
    }
}

#[test]
fn what_a_bridge_does_not_hand_on_is_told_by_whose_it_is() {
    for (owner, words) in [(Netns(1), "hairpin mode"), (Netns(3), "may not hand it on to the port it was for")] {
        let kept = (1000 * MS + 1, drop(packet(tuple()), "NOT_SPECIFIED", "br_handle_frame_finish"));
        let report = timed_out([kept], |want| match want {
            Want::Owners { .. } => Answer::Owners(vec![owner]),
            other => elsewhere(other),
        });
        assert_eq!(code(std::slice::from_ref(&report)), ["timeout.dropped"]);
        assert!(summary(&report).contains(words), "{}", summary(&report));
    }
}

/// A user-mode network that can't connect closes what it never opened.
#[test]
fn a_fin_from_a_program_opens_nothing() {
    let answer =
        Tuple { local: tuple().remote, local_port: 5432, remote: tuple().local, remote_port: 40_000, ..tuple() };
    let fin = Packet { tcp_flags: 1, netns: Some(Netns(1)), ..packet(answer) };
    let report = timed_out([(3000 * MS, drop(fin, "TCP_FLAGS", "tcp_v4_rcv"))], |want| match want {
        Want::Route { .. } => Answer::Route(Route { device: 3, device_name: "tap0".into(), ..Route::default() }),
        Want::Interfaces { .. } => {
            let tap = Interface {
                index: 3,
                name: "tap0".into(),
                kind: "tun".into(),
                up: true,
                carrier: true,
                ..Interface::default()
            };
            Answer::Interfaces(vec![tap])
        }
        other => elsewhere(other),
    });
    assert_eq!(code(std::slice::from_ref(&report)), ["timeout.dropped"]);
    assert!(summary(&report).contains("what the program behind tap0 (tun) says"), "{}", summary(&report));
}

/// The last container of a bridge may end right after an attempt.
#[test]
fn an_interface_without_carrier_that_stopped_no_packet_may_be_so_only_since() {
    let told = |others: Vec<(u64, Event)>| {
        let report = timed_out(others, |want| match want {
            Want::Route { .. } => Answer::Route(Route { device: 2, device_name: "br0".into(), ..Route::default() }),
            Want::Interfaces { .. } => {
                Answer::Interfaces(vec![Interface { index: 2, name: "br0".into(), up: true, ..Interface::default() }])
            }
            other => elsewhere(other),
        });
        assert_eq!(code(std::slice::from_ref(&report)), ["route.interface-down"]);
        report.verdict.expect("a verdict").certainty
    };
    assert_eq!(told(Vec::new()), Certainty::Likely);
    let stopped = drop(Packet { netns: Some(Netns(1)), ..packet(tuple()) }, "QDISC_DROP", "__dev_queue_xmit");
    assert_eq!(told(vec![(1000 * MS + 1, stopped)]), Certainty::Proven);
}
