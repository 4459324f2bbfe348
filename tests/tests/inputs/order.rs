//! The events of a recording may come in any order within the window in which the kernel can disorder them, and anything at
//! all does no harm.

use crate::driven::{RECORDED, Recorded, Run};
use netdx::diagnosis::Settings;
use netdx::input::{Input, Stamped};
use netdx::time::Time;
use proptest::prelude::*;
use std::time::Duration;

/// How late an event may come after one that happened later: a little less than `story::Order` waits.
const WINDOW: u64 = 1_900_000;

/// The reports of a recording, each event coming so much (ns) after it happened; sorted, for what becomes certain in the
/// same moment has no order.
fn reports(of: &Recorded, late: impl Fn(usize) -> u64) -> Vec<String> {
    let mut run = Run::new(of);
    let mut arrivals: Vec<(Time, &Stamped)> = Vec::new();
    for (n, stamped) in of.events.iter().enumerate() {
        let arrival = stamped.t.after(Duration::from_nanos(late(n)));
        // What happened at once, as far as the clock tells, comes in the order in which it was written.
        let arrival = match arrivals.last() {
            Some((last, before)) if before.t == stamped.t => *last,
            _ => arrival,
        };
        arrivals.push((arrival, stamped));
    }
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    for (arrival, stamped) in arrivals {
        run.until(arrival);
        run.feed(stamped.clone());
    }
    let end = of.end.max(run.now).after(Duration::from_millis(10));
    run.until(end);
    run.feed(Stamped { t: end, input: Input::End });
    for _ in 0..1000 {
        let Some(deadline) = run.core.deadline().filter(|_| !run.core.idle()) else { break };
        run.until(deadline);
    }
    run.reports.sort_unstable();
    run.reports
}

/// Spreads a seed over events.
fn lateness(seed: u64) -> impl Fn(usize) -> u64 {
    move |n| {
        // SplitMix64
        let mut z = seed.wrapping_add((n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % WINDOW
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_order_within_the_window_changes_nothing(which: prop::sample::Index, seed: u64) {
        let recorded = which.get(&RECORDED);
        let (straight, disordered) = (reports(recorded, |_| 0), reports(recorded, lateness(seed)));
        prop_assert_eq!(straight, disordered, "{}", recorded.name);
    }

    /// Events of any recordings, twice, never, in any order, at any time, with losses between them.
    #[test]
    fn no_inputs_make_it_panic(picks in prop::collection::vec(
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u32..45, 0_u8..20), 1..120,
    )) {
        let of = &RECORDED[0];
        let mut run = Run::with(of, Settings { all: true, slow: Some(Duration::ZERO), dns: true, inbound: true });
        let mut now = run.now;
        for (which, event, step, what) in picks {
            let events = &which.get(&RECORDED).events;
            // Forward by up to some hours, or back.
            now = if what == 0 { Time(now.0 >> 1) } else { now.after(Duration::from_nanos(1 << step)) };
            run.feed(match what {
                1 => Stamped { t: now, input: Input::Lost(3) },
                2 => Stamped { t: now, input: Input::Tick },
                3 => Stamped { t: now, input: Input::Malformed("cut".into()) },
                4 => Stamped { t: now, input: Input::End },
                _ if events.is_empty() => continue,
                _ => Stamped { t: now, input: event.get(events).input.clone() },
            });
        }
        run.feed(Stamped { t: now, input: Input::End });
    }
}

#[test]
fn the_harness_finds_what_the_recordings_are_of() {
    let all: Vec<String> = RECORDED.iter().flat_map(|recorded| reports(recorded, |_| 0)).collect();
    let told = |code: &str| all.iter().any(|report| report.contains(&format!("\"code\":\"{code}\"")));
    for code in ["refused.bound-elsewhere", "firewall.dropped", "route.none", "timeout.queue-full", "dns.nxdomain"] {
        assert!(told(code), "{code} is in no report");
    }
}
