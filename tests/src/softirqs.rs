//! Softirqs that the kernel runs without the BPF programs of its tracepoints. Owns: counting both. Must not know: netdx.
//!
//! Some machines for builds and tests have a kernel that hides a process of the machine's own from every tracer: no program runs
//! in its threads, nor in a softirq that interrupts one. What a timer or a packet does there is seen by nobody.

use crate::bpf::Idle;
use std::fs;
use std::io;
use std::time::Duration;

/// What a stretch of time had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softirqs {
    /// That the kernel ran, of every kind (/proc/softirqs).
    pub ran: u64,
    /// In which it ran a program of the tracepoint `softirq_entry`.
    pub seen: u64,
}

impl Softirqs {
    /// Counts for that long.
    ///
    /// # Errors
    /// When the program can't be loaded, or the kernel does not count.
    pub fn count(time: Duration) -> io::Result<Softirqs> {
        let _counting = aya::sys::enable_stats(aya::sys::Stats::RunTime).map_err(io::Error::other)?;
        let program = Idle::at(c"softirq_entry")?;
        let before = (ran()?, program.runs()?);
        std::thread::sleep(time);
        Ok(Softirqs { ran: ran()? - before.0, seen: program.runs()? - before.1 })
    }

    /// Those in which no program ran; none if there are so few that they may have come between the two counts.
    #[must_use]
    pub fn unseen(self) -> u64 {
        const BETWEEN: u64 = 4;
        let unseen = self.ran.saturating_sub(self.seen);
        if unseen > BETWEEN { unseen } else { 0 }
    }
}

/// The sum of all counts of /proc/softirqs (proc(5)).
fn ran() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/softirqs")?;
    Ok(text.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).sum())
}
