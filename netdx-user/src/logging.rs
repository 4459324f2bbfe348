//! What netdx says about itself with `-v`, on stderr. Owns: the one subscriber. Must not know: reports (see `render`).

use std::io;
use tracing::Level;

/// Shows netdx's own log: 0 warnings, 1 what it does, 2 and more every step.
pub fn start(verbosity: u8) {
    let level = match verbosity {
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    // A second call (in tests) finds a subscriber there already: the first one stays.
    _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(level >= Level::DEBUG)
        .try_init();
}
