//! A netdx beside the load. Owns: its reports by namespace, what it uses, its maps. Must not know: the load.

use super::Course;
use crate::island::netdx;
use crate::kernel;
use crate::patience::patience;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Maps of the object that hold something only while it goes on.
const PASSING: [&str; 8] =
    ["CONNS", "CALLS", "REQUESTS", "SUBMITTED", "FAILED_LOOKUPS", "PROCESSES", "LOOKUPS", "TREE"];

/// How long it may take until nothing is left: TIME_WAIT, the kernel's work queues, and netdx's own looks are over by then.
const TIDY: Duration = Duration::from_secs(20);

/// Reports by the namespace they are of.
type Reports = BTreeMap<u64, Vec<Value>>;

/// A netdx at work.
#[derive(Debug)]
pub(super) struct Watch {
    name: &'static str,
    child: Ended,
    reports: Arc<Mutex<Reports>>,
    /// Its last line, and how many reports came before it.
    end: JoinHandle<(Value, u64)>,
}

/// What a netdx uses at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    resident_kib: u64,
    descriptors: usize,
    threads: u64,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} descriptors, {} threads", self.resident_kib, self.descriptors, self.threads)
    }
}

impl Watch {
    /// Starts it, and waits until every probe is attached.
    pub(super) fn start(name: &'static str, flags: &[&str]) -> Watch {
        let mut child = Command::new(netdx())
            .args(["trace", "--format", "json"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("netdx runs");
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let reports = Arc::new(Mutex::new(Reports::new()));
        let (ready, started) = channel();
        let kept = Arc::clone(&reports);
        let end = thread::spawn(move || {
            let (mut count, mut summary) = (0, Value::Null);
            for line in output.lines() {
                let line = line.expect("netdx writes text");
                let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                match value["kind"].as_str() {
                    // Nobody waits for it any more when the test has failed meanwhile.
                    Some("start") => _ = ready.send(()),
                    Some("summary") => summary = value,
                    _ => {
                        count += 1;
                        let netns = value["process"]["netns"].as_u64().or(value["netns"].as_u64()).unwrap_or(0);
                        lock(&kept).entry(netns).or_default().push(value);
                    }
                }
            }
            (summary, count)
        });
        started.recv_timeout(patience(Duration::from_secs(60))).expect("netdx starts");
        Watch { name, child: Ended(child), reports, end }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Takes the reports about processes in a namespace, and frees their memory.
    pub(super) fn take(&self, netns: u64) -> Vec<Value> {
        lock(&self.reports).remove(&netns).unwrap_or_default()
    }

    /// The reports about processes in a namespace so far.
    pub(super) fn reports(&self, netns: u64) -> Vec<Value> {
        lock(&self.reports).get(&netns).cloned().unwrap_or_default()
    }

    pub(super) fn usage(&self) -> Usage {
        let of = |file: &str| format!("/proc/{}/{file}", self.child.0.id());
        let status = fs::read_to_string(of("status")).expect("netdx runs");
        let number = |label: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(label)).expect(label);
            line.split_whitespace().next().expect(label).parse().expect("a number")
        };
        let descriptors = fs::read_dir(of("fd")).expect("netdx runs").count();
        Usage { resident_kib: number("VmRSS:"), descriptors, threads: number("Threads:") }
    }

    /// What it uses once nothing goes on any more; what it did `before` the load came, it should again.
    pub(super) fn settled(&self, before: Usage, course: &mut Course) {
        /// Kept from the first question on: a folder of the host.
        const FIRST_QUESTIONS: usize = 3;
        let deadline = Instant::now() + patience(TIDY);
        let most = Usage { descriptors: before.descriptors + FIRST_QUESTIONS, ..before };
        let is_flat = |now: &Usage| now.descriptors <= most.descriptors && now.threads <= most.threads;
        let mut now = self.usage();
        while !is_flat(&now) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(200));
            now = self.usage();
        }
        course.notes.push(format!("netdx {}: {before} before the load; {now} after it", self.name));
        if !is_flat(&now) {
            course.findings.push(format!("netdx {} has more than before the load: {now}, not {before}", self.name));
        }
    }

    /// How many stale entries are left in each map of what passes, once nothing goes on any more.
    pub(super) fn entries_after(&self) -> BTreeMap<String, usize> {
        let maps = kernel::maps_beside(&kernel::held_by(self.child.0.id()).0);
        let deadline = Instant::now() + patience(TIDY);
        loop {
            let entries: BTreeMap<String, usize> = maps
                .iter()
                .filter(|(name, _)| PASSING.contains(&name.as_str()))
                .map(|(name, id)| (name.clone(), kernel::keys(*id).iter().filter(|key| is_stale(key)).count()))
                .collect();
            assert_eq!(entries.len(), PASSING.len(), "netdx has other maps: {maps:?}");
            if entries.values().all(|n| *n == 0) || Instant::now() > deadline {
                return entries;
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends it; what it says in the end has to be what it has said before.
    pub(super) fn end(self, course: &mut Course) {
        let Watch { name, mut child, end, .. } = self;
        let missed = kernel::missed_runs(&kernel::held_by(child.0.id()).0);
        course.notes.push(format!("netdx {name}: runs of programs that were missed {missed:?}"));
        kill_process(Pid::from_child(&child.0), Signal::TERM).expect("netdx runs");
        let status = child.0.wait().expect("wait for netdx");
        let (summary, count) = end.join().expect("netdx writes JSON");
        course.notes.push(format!(
            "netdx {name}: {count} reports, {} lost, {} unreadable",
            summary["lost_events"], summary["malformed_events"]
        ));
        let mut found = |what: String| course.findings.push(format!("netdx {name}: {what}"));
        if !status.success() {
            found(format!("it ended with {status}"));
        }
        if summary["reports"] != count {
            found(format!("{count} reports came, and it counts {}", summary["reports"]));
        }
        match summary["lost_events"].as_u64() {
            Some(lost) => course.lost += lost,
            None => found(format!("it does not say what was lost: {summary}")),
        }
    }
}

/// Whether nothing can be going on any more that an entry is of. Keys are sockets or requests, which have all ended, or
/// threads and processes: routes are also looked up by other programs, and what interrupts them.
fn is_stale(key: &[u8]) -> bool {
    let thread = <[u8; 4]>::try_from(key).map(u32::from_ne_bytes);
    thread.map_or(true, |id| id != 0 && !std::path::Path::new(&format!("/proc/{id}")).exists())
}

/// A process that is ended when this is dropped.
#[derive(Debug)]
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn lock(reports: &Mutex<Reports>) -> MutexGuard<'_, Reports> {
    reports.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds the first fifth after the warm-up (a fifth of the time) against the last one: the medians of resident memory, KiB.
pub(super) fn memory(usage: &[Usage]) -> (u64, u64) {
    let fifth = (usage.len() / 5).max(1);
    let median = |part: &[Usage]| {
        let mut all: Vec<u64> = part.iter().map(|usage| usage.resident_kib).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or(0)
    };
    let (first, last) = (fifth.min(usage.len())..(2 * fifth).min(usage.len()), usage.len().saturating_sub(fifth)..);
    (median(&usage[first]), median(&usage[last]))
}
