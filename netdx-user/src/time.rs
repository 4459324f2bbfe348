//! Points in time, as inputs. Owns: [`Time`]. Must not know: any clock.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Nanoseconds of CLOCK_BOOTTIME. In a recording: nanoseconds since its start, and then negative for what was before
/// it (a process that ran already), which is why it is written as a signed number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub struct Time(pub u64);

impl From<i64> for Time {
    fn from(ns: i64) -> Time {
        Time(ns.cast_unsigned())
    }
}

impl From<Time> for i64 {
    fn from(time: Time) -> i64 {
        time.0.cast_signed()
    }
}

impl Time {
    /// This moment plus `d`.
    #[must_use]
    pub fn after(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This moment less `d`.
    #[must_use]
    pub fn before(self, d: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it isn't after it.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
