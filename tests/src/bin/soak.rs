//! `cargo xtask soak`: netdx beside a load that comes and goes, for so many seconds. Needs root.
//!
//! Packets stay in network namespaces made for them.
#![expect(clippy::print_stdout, reason = "it tells its result")]

use netdx_tests::soak;
use std::{process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).and_then(|word| word.parse().ok()).expect("SECONDS");
    let mut course = soak::run(Duration::from_secs(seconds));
    if course.lost > 0 {
        course.findings.push(format!("{} events lost at a moderate rate", course.lost));
    }
    println!(
        "{} labs came and went: {} failures, {} connections that worked, {} processes killed",
        course.rounds, course.failures, course.successes, course.killed
    );
    course.notes.iter().for_each(|note| println!("{note}"));
    course.findings.iter().for_each(|found| println!("FOUND  {found}"));
    if course.findings.is_empty() {
        println!("every failure was explained once, nothing was lost, nothing grew, nothing is left");
        return ExitCode::SUCCESS;
    }
    println!("{} findings", course.findings.len());
    ExitCode::FAILURE
}
