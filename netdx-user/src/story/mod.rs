//! Stories: what happened to one attempt to connect, or to one lookup of a name, from its beginning to its end.
//!
//! Owns: joining events into stories, order across CPUs, when a story has ended. Must not know: causes, wording, where
//! inputs come from. Time comes in with the inputs.

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod broken_tests;
#[cfg(test)]
mod call_tests;
mod calls;
mod connection;
mod conversations;
#[cfg(test)]
mod datagram_tests;
mod datagrams;
#[cfg(test)]
mod drop_tests;
mod events;
mod facts;
mod fallback;
mod getaddrinfo;
mod habits;
mod held;
mod inbound;
mod lookup;
#[cfg(test)]
mod lookup_tests;
mod lookups;
mod memory;
mod neighbors;
mod order;
mod packets;
mod questions;
mod recovery;
mod relays;
#[cfg(test)]
mod resolver_tests;
#[cfg(test)]
mod rule_tests;
mod rules;
mod settling;
mod subflows;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod together_tests;
mod tracker;
mod unused;

pub use connection::{Connection, Fallback, Program};
pub use events::{Carried, Dropped, Ending, FailedCall, SentReset};
pub use facts::Facts;
pub use lookup::{Client, Lookup, Misfit, Query, Resolved, Stray, rcode};
pub use order::Order;
pub use relays::lead_to;
pub use tracker::{Settings, Tracker};

/// A story that has ended (or, for a connection that worked, has come to be).
#[derive(Clone, Debug)]
pub enum Story {
    /// An attempt to connect, or a connection that broke.
    Connection(Box<Connection>),
    /// A lookup of a name.
    Lookup(Box<Lookup>),
}
