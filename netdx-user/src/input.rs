//! Everything the core may learn, and nothing else. Owns: [`Input`], [`Stamped`]. Must not know: where it comes from.

use crate::{event::Event, fact::Fact, time::Time};
use serde::{Deserialize, Serialize};

/// One thing the core learns. What is not an `Input` cannot influence a verdict; a recording is a list of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// The kernel said something.
    Event(Event),
    /// The host answered a `Want`.
    Fact(Fact),
    /// Records were lost in the kernel since the last such input.
    Lost(u64),
    /// A record could not be read: why.
    Malformed(String),
    /// Time passed: deadlines are judged against it.
    Tick,
    /// The source has ended: everything pending is closed.
    End,
}

/// An input and when it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// When: for an event the kernel's time, else the loader's clock (both CLOCK_BOOTTIME).
    pub t: Time,
    /// What.
    #[serde(flatten)]
    pub input: Input,
}
