//! Namespaces, processes and connections come and go for a while beside netdx, and it is held against what happened.
//! Owns: the load, and what has to hold. Must not know: causes beyond their codes.
//!
//! Two netdx run at once: one sees the whole machine, as a user's does; the other only the control group of this load, so
//! that its maps hold nothing of others and have to be empty in the end.

mod load;
mod watch;

use crate::bpf::Cgroup;
use load::Round;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use watch::Watch;

/// How many labs there are at once.
const LABS: usize = 2;
/// How often netdx is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Growth of resident memory after the warm-up that is none: the memories of processes, names and packets fill up to their
/// bounds (8192 entries each) while the soak runs.
const GROWTH_KIB: u64 = 2048;
/// Shorter runs say nothing about memory: all that is bounded still fills.
const LEAST_FOR_MEMORY: Duration = Duration::from_secs(300);

/// What came of it.
#[derive(Debug, Default)]
pub struct Course {
    /// Labs that came and went.
    pub rounds: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Connections that worked.
    pub successes: u64,
    /// Processes that were killed while they connected or looked a name up.
    pub killed: u64,
    /// Events that both netdx say they lost.
    pub lost: u64,
    /// How both netdx fared, in words.
    pub notes: Vec<String>,
    /// What should not have been.
    pub findings: Vec<String>,
}

/// Runs the load for so long.
///
/// # Panics
/// When the load itself can't be made.
#[must_use]
pub fn run(time: Duration) -> Course {
    let cgroup = Cgroup::new("soak");
    let all = Watch::start("of the whole machine", &[]);
    let own = Watch::start("of the load", &["--cgroup", cgroup.path()]);
    let watches = [&all, &own];
    let before = watches.map(Watch::usage);
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let mut course = Course::default();
    let (mut usage, mut told) = ([Vec::new(), Vec::new()], Instant::now());
    thread::scope(|scope| {
        let work = || {
            let mut done = Course::default();
            while !over.load(Ordering::Relaxed) {
                Round::new().run(&cgroup, &watches, &mut done);
            }
            done
        };
        let workers: Vec<_> = (0..LABS).map(|_| scope.spawn(work)).collect();
        while began.elapsed() < time && workers.iter().all(|worker| !worker.is_finished()) {
            thread::sleep(LOOK);
            for (usage, watch) in usage.iter_mut().zip(watches) {
                usage.push(watch.usage());
            }
            if told.elapsed() > Duration::from_secs(30) {
                told = Instant::now();
                let now = usage.each_ref().map(|usage| usage.last().map(ToString::to_string).unwrap_or_default());
                course.notes.push(format!("{:>4} s: {}", began.elapsed().as_secs(), now.join("; ")));
            }
        }
        over.store(true, Ordering::Relaxed);
        for worker in workers {
            course.add(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    for ((watch, usage), before) in watches.iter().zip(&usage).zip(before) {
        let (first, last) = watch::memory(usage);
        let name = watch.name();
        course
            .notes
            .push(format!("netdx {name}: resident memory {first} KiB after the warm-up, {last} KiB in the end"));
        if time >= LEAST_FOR_MEMORY && last > first + GROWTH_KIB {
            course.findings.push(format!("netdx {name}: resident memory grew from {first} to {last} KiB"));
        }
        watch.settled(before, &mut course);
    }
    let left = own.entries_after();
    course.notes.push(format!("stale map entries in the end: {left:?}"));
    course.findings.extend(
        left.iter().filter(|(_, entries)| **entries > 0).map(|(map, n)| format!("{n} stale entries in map {map}")),
    );
    for watch in [all, own] {
        watch.end(&mut course);
    }
    course
}

impl Course {
    fn add(&mut self, other: Course) {
        self.rounds += other.rounds;
        self.failures += other.failures;
        self.successes += other.successes;
        self.killed += other.killed;
        self.lost += other.lost;
        self.notes.extend(other.notes);
        self.findings.extend(other.findings);
    }
}
