//! The clock of events: CLOCK_BOOTTIME, and how far UTC is from it.
//!
//! Owns: reading clocks. Must not know: what is timed. The core gets times as inputs only.

use crate::time::Time;
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

fn nanoseconds(t: Timespec) -> u64 {
    u64::try_from(t.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or_default()
}

/// This moment, on the clock that the kernel's programs stamp records with (`bpf_ktime_get_boot_ns`).
#[must_use]
pub fn now() -> Time {
    Time(nanoseconds(clock_gettime(ClockId::Boottime)))
}

/// What has to be added to a [`Time`] to get nanoseconds since 1970 UTC, as of now (UTC may be stepped).
#[must_use]
pub fn utc_offset() -> i128 {
    i128::from(nanoseconds(clock_gettime(ClockId::Realtime))) - i128::from(now().0)
}

/// CONFIG_HZ, the ticks of `jiffies` in a second: the coarse clocks advance once a tick, and say so.
#[must_use]
pub(super) fn ticks_per_second() -> u32 {
    match nanoseconds(clock_getres(ClockId::MonotonicCoarse)) {
        0 => 0,
        period => u32::try_from((1_000_000_000 + period / 2) / period).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_leads_to_utc() {
        let utc = i128::from(now().0) + utc_offset();
        let system = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
        assert!(utc.abs_diff(i128::try_from(system).expect("fits")) < 1_000_000_000);
    }

    #[test]
    fn ticks_are_those_that_linux_can_have() {
        assert!((100..=1200).contains(&ticks_per_second()), "{}", ticks_per_second());
    }
}
