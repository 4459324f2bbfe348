//! Every cause: one file, one line. The order is the precedence among findings of the same certainty: what acts earlier
//! on a connection's way stands first.

use super::Cause;

mod refused_bound_elsewhere;
mod refused_no_listener;
mod refused_remote;
mod route_none;
mod route_rejects;
mod timeout_abandoned;
mod timeout_silent;
mod unexplained;

mod dns_nxdomain;
mod dns_refused;
mod dns_servfail;
mod dns_timeout;

mod evidence;

/// The registry.
pub(super) const ALL: &[Cause] = &[
    refused_bound_elsewhere::CAUSE,
    refused_no_listener::CAUSE,
    refused_remote::CAUSE,
    route_rejects::CAUSE,
    route_none::CAUSE,
    timeout_silent::CAUSE,
    timeout_abandoned::CAUSE,
    dns_nxdomain::CAUSE,
    dns_servfail::CAUSE,
    dns_refused::CAUSE,
    dns_timeout::CAUSE,
    unexplained::CAUSE,
];
