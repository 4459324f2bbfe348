//! Says whether this kernel keeps softirqs from all tracers: how many of them, or nothing. For `cargo xtask live`. Needs root.
#![expect(clippy::print_stdout, reason = "it tells its result")]

use netdx_tests::softirqs::Softirqs;
use std::time::Duration;

/// There, a process of the machine's own is at work some ten milliseconds each second.
const TIME: Duration = Duration::from_secs(10);

fn main() {
    let softirqs = Softirqs::count(TIME).expect("count softirqs");
    if softirqs.unseen() > 0 {
        println!("this kernel ran {} of {} softirqs without any BPF program", softirqs.unseen(), softirqs.ran);
    }
}
