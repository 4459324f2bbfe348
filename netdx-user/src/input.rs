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
    /// What. A field of its own: serde can't read back a flattened enum that has variants without content.
    pub input: Input,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_input_reads_back() {
        let inputs = [Input::Lost(3), Input::Malformed("cut".into()), Input::Tick, Input::End];
        for input in inputs {
            let stamped = Stamped { t: Time(7), input };
            let line = serde_json::to_string(&stamped).expect("an input can be written");
            assert_eq!(serde_json::from_str::<Stamped>(&line).expect("and read"), stamped, "{line}");
        }
    }

    #[test]
    fn what_was_before_the_start_is_negative() {
        let stamped = Stamped { t: Time(0u64.wrapping_sub(5)), input: Input::Tick };
        assert_eq!(serde_json::to_string(&stamped).expect("an input can be written"), r#"{"t":-5,"input":"tick"}"#);
    }
}
