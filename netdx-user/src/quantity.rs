//! Durations and counts in words, the same in sentences and around them. Owns: their rounding, and plurals. Must not know:
//! what they measure.

/// A duration as a person says it: `4.2 µs`, `0.31 ms`, `12 ms`, `3.1 s`, `2 min 5 s`.
#[must_use]
pub fn duration(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    match ns {
        1..10_000 => format!("{} µs", decimals(ms * 1e3, 1)),
        0..10_000_000 => format!("{} ms", decimals(ms, 2)),
        10_000_000..1_000_000_000 => format!("{ms:.0} ms"),
        1_000_000_000..60_000_000_000 => format!("{:.1} s", ms / 1e3),
        _ => {
            let seconds = ns / 1_000_000_000;
            match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
                (0, minutes, 0) => format!("{minutes} min"),
                (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
                (hours, minutes, _) => format!("{hours} h {minutes} min"),
            }
        }
    }
}

/// A moment after the beginning: `+0.08 ms`.
#[must_use]
pub fn offset(ns: u64) -> String {
    format!("+{}", duration(ns))
}

/// A number with its noun: `1 failure`, `3 failures`, `2 queries`.
#[must_use]
pub fn count(n: u64, noun: &str) -> String {
    match noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u'])) {
        _ if n == 1 => format!("1 {noun}"),
        Some(stem) => format!("{n} {stem}ies"),
        None if noun.ends_with('s') => format!("{n} {noun}es"),
        None => format!("{n} {noun}s"),
    }
}

/// At most that many decimals, no trailing zeros.
fn decimals(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let said = [0, 4_210, 80_000, 310_000, 9_994_000, 12_400_000, 999_400_000, 3_140_000_000, 125_000_000_000];
        let said = said.map(duration);
        assert_eq!(said, ["0 ms", "4.2 µs", "0.08 ms", "0.31 ms", "9.99 ms", "12 ms", "999 ms", "3.1 s", "2 min 5 s"]);
        assert_eq!([120_000_000_000, 3_720_000_000_000].map(duration), ["2 min", "1 h 2 min"]);
        assert_eq!(offset(1_500_000), "+1.5 ms");
    }

    #[test]
    fn one_has_no_s() {
        assert_eq!([count(0, "event"), count(1, "event"), count(2, "event")], ["0 events", "1 event", "2 events"]);
        assert_eq!([count(1, "query"), count(2, "query"), count(2, "day")], ["1 query", "2 queries", "2 days"]);
        assert_eq!([count(1, "process"), count(2, "process")], ["1 process", "2 processes"]);
    }
}
