//! Which netfilter hook a packet was dropped in.
//!
//! Owns: the inference from stack, route and devices. Must not know: rules, which the kernel doesn't tell of.
//! What is said holds on 5.10 ... 7.3: the frame under `nf_hook_slow` is the hook's place in the stack; without one the
//! route tells, for it is looked up between PREROUTING and the others, and what it does with packets is their way.

use crate::event::{BRIDGE_RULES, HOOKS, Hook, Name, dropped_by_netfilter};

/// What of a packet tells where it was.
pub(super) struct Place {
    /// The function that its route hands packets to; none when there is no name for it.
    pub route_input: Option<Name>,
    /// It has a route.
    pub has_route: bool,
    /// Interface it came in by, 0: made here.
    pub in_device: u32,
    /// Interface it is at, 0: none yet.
    pub device: u32,
}

/// The hook, if netfilter dropped the packet and it can be told.
pub(super) fn of_drop(reason: Option<&str>, at: Option<&str>, stack: &[Name], place: &Place) -> Option<Hook> {
    if dropped_by_netfilter(reason, at) { by_stack(stack, place.in_device).or_else(|| by_route(place)) } else { None }
}

/// By the function that ran the hook.
fn by_stack(stack: &[Name], in_device: u32) -> Option<Hook> {
    // br_handle_frame asks the first hook of a bridge itself, without nf_hook_slow (nf_hook_bridge_pre, Linux 5.10 to 6.18).
    let of_hook = |frame: &Name| HOOKS.contains(&&**frame) || &**frame == BRIDGE_RULES;
    let hook = stack.iter().position(of_hook)?;
    stack.get(hook + 1..)?.iter().find_map(|frame| {
        Some(match &**frame {
            "ip_rcv" | "ipv6_rcv" | "ip_sublist_rcv" | "ipv6_list_rcv" | "ip_list_rcv" | "ip6_sublist_rcv" => {
                Hook::Prerouting
            }
            "ip_local_deliver" | "ip6_input" | "arp_rcv" => Hook::Input,
            "ip_forward" | "ip6_forward" => Hook::Forward,
            "arp_xmit" | "arp_send_dst" | "ndisc_send_skb" => Hook::Output,
            "__ip_local_out" | "ip_local_out" | "__ip6_local_out" | "ip6_local_out" | "ip6_xmit" | "raw_sendmsg"
            | "rawv6_sendmsg" => Hook::Output,
            "ip_output" | "ip_mc_output" | "ip6_output" => Hook::Postrouting,
            "br_handle_frame" => Hook::Prerouting,
            "br_pass_frame_up" => Hook::Input,
            // Frames of the bridge's own pass the output hook there: they have not come in.
            "__br_forward" | "br_forward" if in_device == 0 => Hook::Output,
            "__br_forward" | "br_forward" => Hook::Forward,
            "br_forward_finish" => Hook::Postrouting,
            "__netif_receive_skb_core" => Hook::Ingress,
            "__dev_queue_xmit" => Hook::Egress,
            _ => return None,
        })
    })
}

/// By the packet's route and devices. A packet without a route, or past forwarding, may have been in one of two hooks:
/// that is not told.
fn by_route(place: &Place) -> Option<Hook> {
    let input = place.route_input.as_deref();
    if !place.has_route {
        None
    } else if place.in_device == 0 {
        if place.device == 0 { Some(Hook::Output) } else { None }
    } else if matches!(input, Some("ip_local_deliver" | "ip6_input")) {
        Some(Hook::Input)
    } else if matches!(input, Some("ip_forward" | "ip6_forward")) && place.device == place.in_device {
        Some(Hook::Forward)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{asked_by_bridge, in_bridge};

    /// As kernels show them: 6.7 and later drop where the rules run, earlier ones where the hooks end.
    #[test]
    fn a_bridges_own_rules_are_told_from_those_it_asks_for_packets() {
        for (stack, hook, bridged) in [
            (&["nft_do_chain_bridge", "br_handle_frame", "__netif_receive_skb_core"][..], Hook::Prerouting, true),
            (&["nft_do_chain_bridge", "nf_hook_slow", "__br_forward"], Hook::Forward, true),
            (&["nf_hook_slow", "__br_forward", "br_handle_frame"], Hook::Forward, true),
            (&["nf_hook_slow", "br_forward_finish", "__br_forward"], Hook::Postrouting, true),
            (&["nf_hook_slow", "br_pass_frame_up"], Hook::Input, true),
            (&["nf_hook_slow", "br_nf_hook_thresh", "br_nf_pre_routing", "br_handle_frame"], Hook::Prerouting, true),
            (&["nf_hook_slow", "br_nf_pre_routing", "br_handle_frame"], Hook::Prerouting, false),
            (&["nf_hook_slow", "ip_rcv", "br_pass_frame_up"], Hook::Prerouting, false),
            (&["nf_hook_slow_list", "ip_sublist_rcv"], Hook::Prerouting, false),
        ] {
            let stack: Vec<Name> = stack.iter().map(|frame| Name::from(*frame)).collect();
            assert_eq!((by_stack(&stack, 2), in_bridge(&stack)), (Some(hook), bridged), "{stack:?}");
        }
        assert!(!in_bridge(&[]));
    }

    #[test]
    fn what_a_bridge_asks_is_told_from_what_routing_asks_later() {
        for (stack, by_bridge) in [
            (&["nft_do_chain", "nf_hook_slow", "br_nf_forward_ip", "nf_hook_slow", "__br_forward"][..], true),
            (&["nf_hook_slow", "br_nf_pre_routing_ipv6", "br_nf_pre_routing", "br_handle_frame"], true),
            (&["nf_hook_slow", "br_nf_hook_thresh", "br_nf_pre_routing"], false),
            (&["nf_hook_slow", "ip_local_deliver", "ip_rcv", "br_pass_frame_up", "br_nf_pre_routing"], false),
        ] {
            let stack: Vec<Name> = stack.iter().map(|frame| Name::from(*frame)).collect();
            assert_eq!(asked_by_bridge(&stack), by_bridge, "{stack:?}");
        }
    }
}
