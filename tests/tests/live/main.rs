//! Live scenarios: each makes a real failure in namespaces of its own and holds netdx's report against what the
//! application saw. Root only; `cargo xtask live [NAME]` runs them.

mod broken;
mod denied;
mod dns;
mod dns_clients;
mod dns_servers;
mod dns_together;
mod dualstack;
mod firewall;
mod inbound;
mod ipv6;
mod kernel;
mod local;
mod many;
mod meanwhile;
mod nat;
#[path = "../needs/mod.rs"]
mod needs;
mod refused;
mod route;
mod rules;
mod silence;
mod slow;
mod timeout;
mod tunnels;
mod udp;
mod unexplained;
mod ways;
