//! The clock of events: CLOCK_BOOTTIME, and how far UTC is from it.
//!
//! Owns: reading clocks. Must not know: what is timed. The core gets times as inputs only.

use crate::time::Time;
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};
use std::sync::LazyLock;

fn nanoseconds(t: Timespec) -> u64 {
    u64::try_from(t.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or_default()
}

/// This moment, on the clock that the kernel's programs stamp records with (`bpf_ktime_get_boot_ns`): in a time namespace
/// it is another one than processes read.
#[must_use]
pub fn now() -> Time {
    static SHIFT: LazyLock<i128> = LazyLock::new(|| {
        // Not there on kernels before 5.6, or without CONFIG_TIME_NS.
        namespace_shift(&std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default())
    });
    let read = i128::from(nanoseconds(clock_gettime(ClockId::Boottime)));
    Time(u64::try_from(read - *SHIFT).unwrap_or_default())
}

/// How many nanoseconds the boot clock of this time namespace is ahead, from `boottime SECONDS NANOSECONDS`
/// (time_namespaces(7)).
fn namespace_shift(offsets: &str) -> i128 {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i128>().ok()).unwrap_or_default();
    let line =
        offsets.lines().map(str::split_whitespace).find_map(|mut words| (words.next()? == "boottime").then_some(words));
    line.map_or(0, |mut words| number(words.next()) * 1_000_000_000 + number(words.next()))
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
    fn a_time_namespace_is_undone() {
        assert_eq!(
            namespace_shift("monotonic           0         0\nboottime        86400         5\n"),
            86_400_000_000_005
        );
        assert_eq!(namespace_shift("monotonic -1 0\nboottime -7 1\n"), -6_999_999_999);
        assert_eq!(namespace_shift(""), 0);
    }

    #[test]
    fn ticks_are_those_that_linux_can_have() {
        assert!((100..=1200).contains(&ticks_per_second()), "{}", ticks_per_second());
    }
}
