//! netdx at work beside a lab: started, listened to, ended. Owns: reading its reports. Must not know: how the failure was made.
//!
//! With `NETDX_BLESS=FOLDER` in the environment it records as well, into `FOLDER/SCENARIO.netdx.jsonl`: that is how the
//! recordings for the replay tests are made (`cargo xtask bless`).

use crate::island::{Island, netdx};
use crate::lab::{Attempt, Lab};
use crate::patience::patience;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long netdx may take to be ready. It parses the kernel's types and loads its programs; many start at once here.
const START: Duration = Duration::from_secs(60);

/// A netdx that traces; ended when this is dropped.
#[derive(Debug)]
pub struct Tracer {
    child: Child,
    lines: Receiver<Value>,
    seen: RefCell<Vec<Value>>,
    inodes: Vec<u64>,
    start: Value,
}

/// What a report has to say; what is none is not looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// Verdict.
    pub code: &'a str,
    /// `failed`, `abandoned`, `broken`, ...
    pub outcome: &'a str,
    /// What the application got, by name.
    pub errno: Option<&'a str>,
    /// Where it wanted to go, `ADDRESS:PORT`.
    pub remote: Option<&'a str>,
    /// What the summary must name.
    pub names: &'a [&'a str],
    /// Least certainty: `proven`, unless it says otherwise.
    pub certainty: Option<&'a str>,
}

/// What is said of a connection to 127.0.0.1:9, where nobody listens.
pub const REFUSED: Expected<'static> = Expected {
    code: "refused.no-listener",
    outcome: "failed",
    errno: Some("ECONNREFUSED"),
    remote: Some("127.0.0.1:9"),
    names: &["127.0.0.1:9"],
    certainty: None,
};

impl Tracer {
    /// Starts netdx and waits until every probe is attached.
    #[must_use]
    pub fn start(lab: &Lab) -> Tracer {
        Tracer::with(lab, &["--all"])
    }

    /// The same with flags of the test's own.
    #[must_use]
    pub fn with(lab: &Lab, flags: &[&str]) -> Tracer {
        Tracer::over(std::slice::from_ref(lab), flags)
    }

    /// The same for several labs at once.
    #[must_use]
    pub fn over(labs: &[Lab], flags: &[&str]) -> Tracer {
        Tracer::run(Command::new(netdx()), labs, flags)
    }

    /// The same with a netdx that the test has prepared something for.
    #[must_use]
    pub fn run(mut command: Command, labs: &[Lab], flags: &[&str]) -> Tracer {
        match std::env::var_os("NETDX_BLESS") {
            None => {
                command.arg("trace");
                Tracer::begin(command, labs, flags)
            }
            Some(folder) => {
                let scenario = std::thread::current().name().expect("a test has a name").replace("::", ".");
                Tracer::record(command, labs, flags, &Path::new(&folder).join(format!("{scenario}.netdx.jsonl")))
            }
        }
    }

    /// The same, and what it sees is recorded in a file.
    #[must_use]
    pub fn recording(lab: &Lab, flags: &[&str], file: &Path) -> Tracer {
        Tracer::record(Command::new(netdx()), std::slice::from_ref(lab), flags, file)
    }

    fn record(mut command: Command, labs: &[Lab], flags: &[&str], file: &Path) -> Tracer {
        command.args(["record", "--force", "--output"]).arg(file);
        Tracer::begin(command, labs, flags)
    }

    fn begin(mut command: Command, labs: &[Lab], flags: &[&str]) -> Tracer {
        // Other labs fail at the same time; each netdx looks at its own.
        let islands = labs.iter().flat_map(|lab| [&lab.client, &lab.router, &lab.server]);
        let names: Vec<&str> = islands.map(Island::name).collect();
        let mut child = command
            .args(["--format", "json", "--netns", &names.join(",")])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let line = line.expect("netdx writes text");
                let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                if sender.send(value).is_err() {
                    break;
                }
            }
        });
        let start: Value = lines.recv_timeout(patience(START)).expect("netdx starts");
        assert_eq!(start["kind"], "start", "{start}");
        wait_until_complete(child.id());
        let inodes = labs.iter().flat_map(Lab::inodes).collect();
        Tracer { child, lines, seen: RefCell::default(), inodes, start }
    }

    /// The process id of netdx.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said when it was ready: version, filters, coverage.
    #[must_use]
    pub fn first_line(&self) -> &Value {
        &self.start
    }

    /// Waits for the report of this attempt.
    #[must_use]
    pub fn report_of(&self, attempt: &Attempt) -> Value {
        self.wait_for(Duration::from_secs(10), |report| {
            let is_same = attempt.local.is_none_or(|local| {
                report["local"].is_null() || report["local"]["port"] == local.port() || local.port() == 0
            });
            report["process"]["pid"] == attempt.pid && is_same && !report["verdict"].is_null()
        })
    }

    /// Waits for the report of this attempt and holds it against what is expected.
    pub fn explains(&self, attempt: &Attempt, expected: &Expected<'_>) -> Value {
        let report = self.report_of(attempt);
        check(&report, expected);
        assert_eq!(report["process"]["comm"], crate::lab::CLIENT, "{report:#}");
        assert_eq!(report["process"]["tid"], attempt.tid, "{report:#}");
        if let (Some(local), false) = (attempt.local, report["local"].is_null())
            && local.port() != 0
        {
            assert_eq!(report["local"]["port"], local.port(), "{report:#}");
        }
        report
    }

    /// Waits for the first report that fits, for this time, or longer where everything takes longer.
    ///
    /// # Panics
    /// When none came in time; says what came instead.
    pub fn wait_for(&self, time: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + patience(time);
        loop {
            if let Some(report) = self.seen.borrow().iter().find(|report| fits(report)) {
                return report.clone();
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(report) => self.seen.borrow_mut().push(report),
                Err(RecvTimeoutError::Timeout) => {
                    let said = self.summaries();
                    // What it only says when it must tells a report that was held back from an event that never came.
                    kill_process(Pid::from_child(&self.child), Signal::TERM).expect("netdx runs");
                    let end: Vec<Value> = self.lines.iter().collect();
                    panic!("no such report within {:?}, but: {said}\nand in the end: {end:#?}", patience(time))
                }
                Err(RecvTimeoutError::Disconnected) => panic!("netdx ended, having said: {}", self.summaries()),
            }
        }
    }

    /// Ends netdx, which must have lost nothing; every verdict about the lab that it gave, and the summary line.
    pub fn end(mut self) -> (Vec<Value>, Value) {
        let (mut seen, summary) = self.finish();
        assert_eq!(summary["lost_events"], 0, "{summary}");
        seen.retain(|report| !report["verdict"].is_null() && self.is_of_the_lab(report));
        (seen, summary)
    }

    /// Ends netdx, which may have lost events; the summary line.
    pub fn end_with_losses(mut self) -> Value {
        self.finish().1
    }

    fn finish(&mut self) -> (Vec<Value>, Value) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("netdx runs");
        let mut seen = self.seen.take();
        while let Ok(report) = self.lines.recv_timeout(patience(Duration::from_secs(10))) {
            seen.push(report);
        }
        let status = self.child.wait().expect("wait for netdx");
        assert!(status.success(), "netdx ended with {status}");
        let summary = seen.pop().expect("netdx writes a summary");
        assert_eq!(summary["kind"], "summary", "{summary}");
        (seen, summary)
    }

    /// Ends netdx; it must have given no verdict about the lab but these.
    pub fn only(self, codes: &[&str]) {
        let (reports, _) = self.end();
        for report in reports {
            let code = report["verdict"]["code"].as_str().expect("a code");
            assert!(codes.contains(&code), "{code} was not expected: {report:#}");
        }
    }

    fn is_of_the_lab(&self, report: &Value) -> bool {
        let of = |netns: &Value| netns.as_u64().is_some_and(|inode| self.inodes.contains(&inode));
        of(&report["netns"]) || of(&report["process"]["netns"])
    }

    fn summaries(&self) -> String {
        let seen = self.seen.borrow();
        let lines: Vec<String> = seen
            .iter()
            .filter(|report| self.is_of_the_lab(report))
            .map(|report| {
                format!(
                    "\n  {} {} {} {}",
                    report["outcome"], report["errno"], report["process"]["pid"], report["verdict"]["summary"]
                )
            })
            .collect();
        let probes = self.start["coverage"]["probes"].as_array().into_iter().flatten();
        let missing: Vec<String> = probes
            .filter(|probe| probe["hook"].is_null())
            .map(|probe| format!("\n  {}: {}", probe["name"], probe["reason"]))
            .collect();
        format!("{} reports, of the lab:{}\nprobes missing:{}", seen.len(), lines.concat(), missing.concat())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Waits for the programs that netdx still attaches when it is ready, for what others miss: emulated, a kernel takes seconds
/// for what takes another one a tenth of a second.
fn wait_until_complete(netdx: u32) {
    let deadline = Instant::now() + patience(START);
    let attaches =
        |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name == "again\n");
    let tasks = format!("/proc/{netdx}/task");
    while fs::read_dir(&tasks).into_iter().flatten().flatten().any(attaches) {
        assert!(Instant::now() < deadline, "netdx attaches programs without end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Holds a report against what is expected.
pub fn check(report: &Value, expected: &Expected<'_>) {
    let verdict = &report["verdict"];
    assert_eq!(verdict["code"], expected.code, "{report:#}");
    assert_eq!(verdict["certainty"], expected.certainty.unwrap_or("proven"), "{report:#}");
    assert_eq!(report["outcome"], expected.outcome, "{report:#}");
    if let Some(errno) = expected.errno {
        assert_eq!(report["errno"], errno, "{report:#}");
    }
    if let Some(remote) = expected.remote {
        let remote: std::net::SocketAddr = remote.parse().expect("an address and port");
        assert_eq!(report["remote"]["addr"], remote.ip().to_string(), "{report:#}");
        assert_eq!(report["remote"]["port"], remote.port(), "{report:#}");
    }
    let summary = verdict["summary"].as_str().expect("a summary");
    for name in expected.names {
        assert!(summary.contains(name), "{name:?} is not in {summary:?}");
    }
    assert!(verdict["evidence"].as_array().is_some_and(|evidence| !evidence.is_empty()), "no evidence: {report:#}");
}
