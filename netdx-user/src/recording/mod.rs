//! Recordings: what a run learned, as JSON lines (DESIGN.md §7, a contract).
//!
//! Owns: the file's shape. Must not know: files (any reader or writer will do), clocks, or what an input means.
//!
//! Line 1 is the [`Header`]. Then one [`Stamped`] a line, its times (and those inside events) in ns since the start.
//! The last line holds the [`Counts`]: a file without it was cut. `.zst` files are the same, compressed.

pub mod reader;
pub mod redact;
pub mod window;
pub mod writer;

use crate::{
    coverage::Coverage,
    event::Event,
    input::{Input, Stamped},
    time::Time,
    want::Want,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub use reader::{Damage, Reader};
pub use window::Window;
pub use writer::Writer;

/// Version of the file's shape. It goes up when an old reader would misread a new file; fields may be added without.
pub const FORMAT: u32 = 1;

/// The first line: what was recorded, where, and under which settings. Also what a run's `start` object says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`] of the netdx that wrote it.
    pub format: u32,
    /// Version of the netdx that wrote it.
    pub netdx: String,
    /// Release of the kernel (`uname -r`).
    pub kernel: String,
    /// The moment that times are counted from.
    pub start: Start,
    /// What could be observed.
    pub coverage: Coverage,
    /// The filters in use, as they were given (`--port 5432`).
    #[serde(default)]
    pub filters: Vec<String>,
    /// Addresses, names, users and command lines are pseudonyms.
    #[serde(default)]
    pub redacted: bool,
    /// What changes verdicts.
    #[serde(default)]
    pub settings: Settings,
}

/// One moment on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// CLOCK_BOOTTIME, ns.
    pub boot_ns: u64,
    /// CLOCK_REALTIME, RFC 3339.
    pub utc: Timestamp,
}

impl Start {
    /// When `time` (of CLOCK_BOOTTIME) was by the calendar; none: outside what a calendar can say.
    #[must_use]
    pub fn utc_of(&self, time: Time) -> Option<Timestamp> {
        let since = i128::from(time.0) - i128::from(self.boot_ns);
        Timestamp::from_nanosecond(self.utc.as_nanosecond().checked_add(since)?).ok()
    }
}

/// Settings that change which verdicts are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Connections that worked are reported too.
    pub all: bool,
    /// What worked but took longer than this, in ns, is reported as slow.
    pub slow_ns: Option<u64>,
    /// Lookups are reported.
    pub dns: bool,
    /// The listeners' side is reported.
    pub inbound: bool,
}

impl Settings {
    /// The threshold of `--slow`.
    #[must_use]
    pub fn slow(&self) -> Option<Duration> {
        self.slow_ns.map(Duration::from_nanos)
    }
}

/// The last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Inputs in the file.
    pub inputs: u64,
    /// Records that the kernel could not hand over.
    pub lost: u64,
    /// Records that could not be read.
    pub malformed: u64,
}

impl Counts {
    /// Counts one more input.
    pub fn add(&mut self, input: &Input) {
        self.inputs += 1;
        match input {
            Input::Lost(n) => self.lost = self.lost.saturating_add(*n),
            Input::Malformed(_) => self.malformed += 1,
            Input::Event(_) | Input::Fact(_) | Input::Tick | Input::End => {}
        }
    }
}

/// The last line as it is written: `{"counts":{...}}`.
#[derive(Debug, Serialize, Deserialize)]
struct Trailer {
    counts: Counts,
}

/// Moves every time of an input. Wrapping, so that it can be undone exactly whatever the times are.
fn shift(stamped: &mut Stamped, by: impl Fn(u64) -> u64) {
    stamped.t.0 = by(stamped.t.0);
    let event = match &mut stamped.input {
        Input::Event(event) => event,
        Input::Fact(fact) => {
            if let Want::Resolver { root: Some(root), .. } | Want::Hosts { root: Some(root), .. } = &mut fact.want {
                root.started.0 = by(root.started.0);
            }
            return;
        }
        _ => return,
    };
    match event {
        Event::Process { started, root, .. } => {
            started.0 = by(started.0);
            if let Some(root) = root {
                root.started.0 = by(root.started.0);
            }
        }
        Event::Attempt { started, .. } | Event::GetAddrInfo { started, .. } => {
            started.0 = by(started.0);
        }
        Event::CallFailed { started: Some(started), .. } | Event::Dns { resolving: Some(started), .. } => {
            started.0 = by(started.0);
        }
        Event::CallFailed { started: None, .. }
        | Event::State { .. }
        | Event::SocketError { .. }
        | Event::ResetReceived { .. }
        | Event::ResetSent { .. }
        | Event::Retransmit { .. }
        | Event::SynAckRetransmit { .. }
        | Event::Drop { .. }
        | Event::IcmpReceived { .. }
        | Event::IcmpSent { .. }
        | Event::NeighborFailed { .. }
        | Event::Dns { .. }
        | Event::ListenOverflow { .. }
        | Event::ProcessExit { .. } => {}
    }
}

#[cfg(test)]
pub(crate) mod tests;
