//! How long tests wait. Owns: the one factor for machines that are slower than a developer's. Must not know: for what.

use std::time::Duration;

/// The time, as much longer as `NETDX_TEST_PATIENCE` says (a whole number; 1 when it is not set). `cargo xtask vm` sets it:
/// there every instruction is interpreted.
///
/// # Panics
/// When the variable is no such number.
#[must_use]
pub fn patience(time: Duration) -> Duration {
    time * std::env::var("NETDX_TEST_PATIENCE").map_or(1, |factor| factor.parse().expect("a whole number"))
}
