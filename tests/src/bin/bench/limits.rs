//! What else netdx promises: time to start and to end, memory, size, the cost of each probe, how soon a report comes.

use super::{
    load,
    page::{Section, at, machine, median},
    rates::{finish, once, words},
    tracers::{NETDX, Running},
};
use netdx_tests::island::{Island, netdx};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

const STARTS: usize = 15;

fn cells(row: &[&str]) -> Vec<String> {
    row.iter().map(|cell| (*cell).to_owned()).collect()
}

fn spread(name: &str, times: &[f64], goal: &str) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    row.extend([at(times, 0.0), median(times), at(times, 0.9), at(times, 1.0)].map(|ms| format!("{ms:.0} ms")));
    row.push(goal.to_owned());
    row
}

/// From exec to all probes attached, to the first event that is reported, and from Ctrl-C to the end.
pub(crate) fn start() -> io::Result<Section> {
    let island = Island::new("bench");
    island.ip("link set lo up");
    let (mut attached, mut first, mut end) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let began = Instant::now();
        let running = NETDX.start(&island)?;
        attached.push(millis(began.elapsed()));
        thread::sleep(Duration::from_millis(200));
        end.push(millis(running.end()?.1));
        // The kernel still detaches what that one had (in a child process), and would keep the next one waiting.
        thread::sleep(Duration::from_secs(1));
        first.push(millis(first_event(&island)?));
        thread::sleep(Duration::from_secs(1));
    }
    Ok(Section {
        title: "Start and end",
        about: format!("{STARTS} times each. {}", machine()),
        rows: vec![
            cells(&["", "least", "median", "90 %", "most", "goal"]),
            spread("from exec until all probes are attached", &attached, ""),
            spread("from exec to the first event that is reported", &first, "100 ms"),
            spread("from Ctrl-C to the end of the process", &end, "150 ms"),
        ],
        notes: vec![
            "The programs are detached by a child process, which takes the kernel about 0.3 s more; each start waits for \
             the one before to be done."
                .to_owned(),
        ],
    })
}

/// Connects twice a millisecond while netdx starts; the first attempt that it reports.
fn first_event(island: &Island) -> io::Result<Duration> {
    let mut child = Command::new(netdx())
        .args(["trace", "--format", "json", "--count", "1", "--netns", island.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let began = Instant::now();
    let (stop, stopped) = channel::<()>();
    let attempts = island.thread(move || {
        let mut attempts = HashMap::new();
        for n in 0..20_000 {
            let to = load::destination(n);
            attempts.insert(to.to_string(), began.elapsed());
            if load::refused(to).is_err() || stopped.recv_timeout(Duration::from_micros(500)).is_ok() {
                break;
            }
        }
        attempts
    });
    let mut reported = None;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let report: Value = serde_json::from_str(&line?)?;
            if reported.is_none() && report["kind"] == "connection" {
                reported = report["remote"]["addr"].as_str().map(str::to_owned);
            }
        }
    }
    child.wait()?;
    // It may have stopped by itself.
    _ = stop.send(());
    let attempts = attempts.join().map_err(|_| io::Error::other("the attempts failed"))?;
    reported.and_then(|to| attempts.get(&to).copied()).ok_or_else(|| io::Error::other("netdx reported no attempt"))
}

/// From the moment the application has its answer to the moment the report can be read.
pub(crate) fn latency() -> io::Result<Section> {
    const ATTEMPTS: u64 = 300;
    let island = Island::new("bench");
    island.ip("link set lo up");
    let mut child = Command::new(netdx())
        .args(["trace", "--format", "json", "--netns", island.name(), "--count", &ATTEMPTS.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or(io::Error::other("no pipe"))?).lines();
    let began = Instant::now();
    lines.next().ok_or(io::Error::other("netdx did not start"))??;
    let answers = island.thread(move || {
        let mut answers = HashMap::new();
        for n in 0..ATTEMPTS {
            let to = load::destination(n);
            load::refused(to)?;
            answers.insert(to.to_string(), began.elapsed());
            // Neither in step with netdx's looks nor with its wake-ups.
            thread::sleep(Duration::from_micros(3_000 + n * 7_919 % 40_000));
        }
        io::Result::Ok(answers)
    });
    let mut read = Vec::new();
    for line in lines {
        let line = line?;
        let time = began.elapsed();
        let report: Value = serde_json::from_str(&line)?;
        if let Some(to) = report["remote"]["addr"].as_str() {
            read.push((to.to_owned(), time));
        }
    }
    child.wait()?;
    let answers = answers.join().map_err(|_| io::Error::other("the attempts failed"))??;
    let delays: Vec<f64> =
        read.iter().filter_map(|(to, time)| Some(millis(time.saturating_sub(*answers.get(to)?)))).collect();
    Ok(Section {
        title: "From failure to report",
        about: format!(
            "{} refused connections, some 20 ms apart: from the answer to the application until a reader of netdx's \
             output has the report. {}",
            delays.len(),
            machine()
        ),
        rows: vec![
            cells(&["", "least", "median", "90 %", "most", "goal"]),
            spread("answer to report", &delays, "100 ms"),
        ],
        notes: vec![],
    })
}

/// How busy netdx is while connections fail now and then.
pub(crate) fn busy() -> io::Result<Section> {
    const TIME: Duration = Duration::from_secs(10);
    let island = Island::new("bench");
    island.ip("link set lo up");
    let mut rows = vec![cells(&["failures a second", "share of a processor", "for each failure"])];
    for rate in [0, 1, 10, 100, 1000] {
        let running = NETDX.start(&island)?;
        let before = running.rest()?;
        let began = Instant::now();
        let failures = u64::from(rate) * TIME.as_secs();
        let connections = island.thread(move || {
            for n in 0..failures {
                thread::sleep((Duration::from_secs(n) / rate).saturating_sub(began.elapsed()));
                // One address, as of a server that is down.
                load::refused(load::destination(0))?;
            }
            thread::sleep(TIME.saturating_sub(began.elapsed()));
            io::Result::Ok(())
        });
        connections.join().map_err(|_| io::Error::other("the connections failed"))??;
        let time = running.rest()?.saturating_sub(before);
        end(running)?;
        rows.push(vec![
            rate.to_string(),
            format!("{:.1} %", 100.0 * time.as_secs_f64() / TIME.as_secs_f64()),
            if failures > 0 { format!("{:.2} ms", millis(time) / failures as f64) } else { "-".to_owned() },
        ]);
    }
    let processes =
        fs::read_dir("/proc")?.flatten().filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    Ok(Section {
        title: "Processor time",
        about: format!(
            "Of netdx, while connections to one address are refused, for {} s each. The host has {} processes, \
             whose tasks are walked in the kernel when a connection has failed. {}",
            TIME.as_secs(),
            processes.count(),
            machine()
        ),
        rows,
        notes: vec![],
    })
}

/// Peak memory after a million connections, and the binary.
pub(crate) fn memory() -> io::Result<Section> {
    const MILLION: u64 = 1_000_000;
    let mut rows = vec![cells(&["", "connections", "peak resident memory", "goal"])];
    for (kind, name) in [("success", "connections that succeed"), ("refused", "connections that are refused")] {
        let (done, peak) = once(kind, &MILLION.to_string(), |running, done| Ok((done.operations, running.peak()?)))?;
        rows.push(vec![name.to_owned(), done.to_string(), format!("{:.1} MiB", peak as f64 / 1024.0), "20 MiB".into()]);
    }
    Ok(Section {
        title: "Memory",
        about: format!("As fast as they go, one after the other. {}", machine()),
        rows,
        notes: vec![
            "Resident memory counts the event buffer, which is mapped twice in a row (4 MiB, seen as 8), and the pages of \
             the program file that were used."
                .to_owned(),
        ],
    })
}

/// The size of the binary.
pub(crate) fn size() -> io::Result<Section> {
    let bytes = fs::metadata(netdx())?.len();
    let stripped = tempfile::NamedTempFile::new()?;
    let strip = Command::new("strip").arg("-o").arg(stripped.path()).arg(netdx()).status();
    let mut rows =
        vec![cells(&["", "size"]), vec!["netdx, as built".to_owned(), format!("{:.1} MiB", bytes as f64 / 1048576.0)]];
    let mut notes = Vec::new();
    match strip {
        Ok(status) if status.success() => {
            let bytes = stripped.as_file().metadata()?.len().max(fs::metadata(stripped.path())?.len());
            rows.push(vec!["netdx, without symbols".to_owned(), format!("{:.1} MiB", bytes as f64 / 1048576.0)]);
        }
        _ => notes.push("Skipped, because strip is not installed: the size without symbols.".to_owned()),
    }
    Ok(Section { title: "Size", about: machine(), rows, notes })
}

/// What each program takes in the kernel, under all loads at once.
pub(crate) fn cost() -> io::Result<Section> {
    let known: HashSet<u32> = programs()?.keys().copied().collect();
    let _statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime).map_err(io::Error::other)?;
    let island = Island::new("bench");
    island.ip("link set lo up");
    let running = NETDX.start(&island)?;
    let mut operations = 0;
    for kind in ["success", "refused", "dns", "bulk"] {
        let words = words(kind, "1500ms")?;
        let mut command = island.command(&words[0]);
        command.args(&words[1..]);
        operations += finish(command)?.operations;
    }
    let mut own: Vec<Program> =
        programs()?.into_iter().filter(|(id, _)| !known.contains(id)).map(|(_, program)| program).collect();
    end(running)?;
    own.sort_by_key(|program| std::cmp::Reverse((program.runs, program.verified)));
    let mut rows = vec![cells(&["program", "runs", "ns a run", "instructions verified"])];
    rows.extend(own.iter().map(|program| {
        let each = program.time_ns.checked_div(program.runs).map_or("-".to_owned(), |ns| ns.to_string());
        vec![format!("`{}`", program.name), program.runs.to_string(), each, program.verified.to_string()]
    }));
    Ok(Section {
        title: "Cost of each probe",
        about: format!(
            "The kernel's own statistics of the programs (BPF_ENABLE_STATS, which adds some tens of ns to each run), over \
             {operations} operations of the loads above, 1.5 s each. Names as the kernel cuts them. {}",
            machine()
        ),
        rows,
        notes: vec![],
    })
}

fn end(running: Running) -> io::Result<()> {
    running.end().map(drop)
}

struct Program {
    name: String,
    runs: u64,
    time_ns: u64,
    verified: u32,
}

/// All programs of this machine, by id.
fn programs() -> io::Result<HashMap<u32, Program>> {
    let mut programs = HashMap::new();
    for program in aya::programs::loaded_programs() {
        // One that is gone by now is none of ours.
        let Ok(program) = program else { continue };
        let known = Program {
            name: program.name_as_str().unwrap_or_default().to_owned(),
            runs: program.run_count(),
            time_ns: u64::try_from(program.run_time().as_nanos()).map_err(io::Error::other)?,
            verified: program.verified_instruction_count().unwrap_or_default(),
        };
        programs.insert(program.id(), known);
    }
    Ok(programs)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
