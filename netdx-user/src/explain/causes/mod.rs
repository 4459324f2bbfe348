//! Every cause: one file, one line. The order is the precedence among findings of the same certainty: what acts earlier
//! on a connection's way stands first.

use super::Cause;

mod aborts;
mod answers;
mod asymmetric;
mod evidence;
mod firewall_rule;
mod forwarding;
mod hops;
mod ipsec;
mod late_answer;
mod lost_route;
mod misdirected;
mod own_neighbor;
mod stopped_by_routing;
mod tunnel;

macro_rules! causes {
    ($($name:ident)*) => {
        $(mod $name;)*
        /// The registry.
        pub(super) const ALL: &[Cause] = &[$($name::CAUSE),*];
    };
}

causes! {
    refused_queue_full
    refused_bound_elsewhere
    refused_no_listener
    route_rejects
    route_forwarding_off
    route_reverse_path
    route_interface_down
    route_neighbor_silent
    firewall_rejected
    firewall_dropped
    denied_bpf
    denied_policy
    refused_remote
    local_no_family
    local_bad_source
    local_bad_target
    local_ports_exhausted
    local_address_in_use
    local_message_size
    local_resources
    route_none
    route_ttl_exceeded
    route_icmp_unreachable
    broken_destroyed
    broken_mtu
    broken_zero_window
    broken_reset_by_peer
    broken_reset_by_us
    timeout_queue_full
    timeout_conntrack
    local_queue_drop
    broken_timeout
    timeout_dropped
    timeout_silent
    timeout_abandoned
    dns_no_server
    dns_truncated
    dns_server_unreachable
    dns_nxdomain
    dns_nodata
    dns_servfail
    dns_refused
    dns_error
    dns_timeout
    dns_lookup_failed
    dns_hosts_override
    dns_search_storm
    dualstack_fallback
    slow_handshake
    slow_lookup
    unexplained
}

pub(super) use dns_hosts_override::entry as hosts_entry;
