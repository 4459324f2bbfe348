//! How much slower a load runs while somebody watches. Owns: the pairs of runs, and the links they run over.

use super::{
    load::Done,
    page::{Section, machine, median},
    tracers::{HOOKS, LEAST, NETDX, PEERS, Running, Tracer, counted},
};
use netdx_tests::island::Island;
use std::{
    io::{self, BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A load to measure under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    title: &'static str,
    about: &'static str,
    kind: &'static str,
    /// One run.
    time: Duration,
    rounds: usize,
    peers: bool,
    /// Over a veth pair rather than loopback.
    veth: bool,
    goal: f64,
}

const SHORT: Duration = Duration::from_millis(700);

/// So long after a tracer has ended nothing of it is left in the kernel.
const DETACHED: Duration = Duration::from_millis(700);

/// Loads by the name of their measurement.
pub(crate) const LOADS: &[(&str, Load)] = &[
    (
        "success",
        Load {
            title: "Connections that succeed",
            about: "TCP connect and close on loopback, one after the other, as fast as they go.",
            kind: "success",
            time: SHORT,
            rounds: 11,
            peers: true,
            veth: false,
            goal: 0.97,
        },
    ),
    (
        "refused",
        Load {
            title: "Connections that are refused",
            about: "TCP connects on loopback where nobody listens, as fast as they go; netdx reports each.",
            kind: "refused",
            time: SHORT,
            rounds: 11,
            peers: true,
            veth: false,
            goal: 0.90,
        },
    ),
    (
        "dns",
        Load {
            title: "Name lookups",
            about: "DNS query and answer over UDP on loopback, a socket for each, as fast as they go, client and server on one processor.",
            kind: "dns",
            time: SHORT,
            rounds: 11,
            peers: false,
            veth: false,
            goal: 0.97,
        },
    ),
    (
        "bulk",
        Load {
            title: "Bulk transfer on loopback",
            about: "One TCP connection that sends as fast as it can, on loopback.",
            kind: "bulk",
            time: Duration::from_millis(1000),
            rounds: 11,
            peers: false,
            veth: false,
            goal: 0.98,
        },
    ),
    (
        "bulk",
        Load {
            title: "Bulk transfer through veth",
            about: "One TCP connection that sends as fast as it can, from one network namespace to another.",
            kind: "bulk",
            time: Duration::from_millis(1000),
            rounds: 11,
            peers: false,
            veth: true,
            goal: 0.98,
        },
    ),
];

/// Where a load runs.
struct Place {
    island: Island,
    words: Vec<String>,
    /// The other end of the veth pair; dropped with its server.
    _there: Option<(Island, Server)>,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// What one tracer came to.
#[derive(Default)]
struct Result {
    ratios: Vec<f64>,
    /// Of the tracer's own processor time, for an operation, in µs.
    cpu: Vec<f64>,
    done: u64,
    reported: u64,
    lost: u64,
}

pub(crate) fn measure(load: &Load) -> io::Result<Section> {
    let place = Place::new(load)?;
    let (mut tracers, mut notes) = (vec![NETDX], Vec::new());
    // Bulk transfer makes few calls.
    let least: &[Tracer] = if load.kind == "bulk" { &[] } else { &[LEAST, HOOKS] };
    for peer in least.iter().chain(if load.peers { PEERS } else { &[] }) {
        match peer.missing(&place.island) {
            None => tracers.push(*peer),
            Some(why) => notes.push(format!("Skipped: {} ({why}).", peer.name)),
        }
    }
    let mut results: Vec<Result> = tracers.iter().map(|_| Result::default()).collect();
    let mut alone = Vec::new();
    place.run()?;
    for round in 0..load.rounds {
        let mut before = place.run()?.rate();
        for (tracer, result) in tracers.iter().zip(&mut results) {
            // netdx in each round, the others in three.
            if tracer.name != NETDX.name && round % (load.rounds / 3).max(1) != 0 {
                continue;
            }
            let with = watched(tracer, &place, result)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", tracer.name)))?;
            let after = place.run()?.rate();
            result.ratios.push(2.0 * with / (before + after));
            alone.push(before);
            before = after;
        }
    }
    let unit = if load.kind == "bulk" { "MB/s" } else { "a second" };
    let rate = median(&alone) / if load.kind == "bulk" { 1e6 } else { 1.0 };
    notes.insert(0, format!("Without a tracer: {rate:.0} {unit}. Goal: at least {:.2}.", load.goal));
    let mut head = vec!["tracer".to_owned(), "ratio".into(), "lowest".into(), "highest".into(), "its CPU time".into()];
    let refused = load.kind == "refused";
    if refused {
        head.extend(["reported".into(), "events lost".into()]);
    }
    let mut rows = vec![head];
    for (tracer, result) in tracers.iter().zip(&results) {
        let extreme = |pick: fn(f64, f64) -> f64| result.ratios.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        let mut row = vec![tracer.name.to_owned()];
        row.extend([median(&result.ratios), extreme(f64::min), extreme(f64::max)].map(|ratio| format!("{ratio:.3}")));
        row.push(match (load.kind, result.cpu.is_empty()) {
            ("bulk", _) | (_, true) => "-".to_owned(),
            _ => format!("{:.2} µs each", median(&result.cpu)),
        });
        if refused {
            row.extend(if tracer.name == NETDX.name {
                [format!("{} of {}", result.reported, result.done), result.lost.to_string()]
            } else {
                ["-".to_owned(), "-".to_owned()]
            });
        }
        rows.push(row);
    }
    Ok(Section { title: load.title, about: format!("{} {}", load.about, machine()), rows, notes })
}

/// One run with the tracer; its rate.
fn watched(tracer: &Tracer, place: &Place, result: &mut Result) -> io::Result<f64> {
    if let Some(command) = tracer.around(&place.island, &place.words) {
        return Ok(finish(command)?.rate());
    }
    let running = tracer.start(&place.island)?;
    // netdx still reads the kernel's symbols when its probes are attached: that is its start, which is measured elsewhere.
    let cpu = running.rest()?;
    let done = place.run()?;
    // What it does later with what it kept belongs to it, too.
    let cpu = running.rest()?.saturating_sub(cpu);
    result.cpu.push(cpu.as_secs_f64() * 1e6 / done.operations.max(1) as f64);
    let (said, _) = running.end()?;
    // Programs are detached still when netdx has ended, which would slow the next run.
    std::thread::sleep(DETACHED);
    if tracer.name == NETDX.name {
        let (failures, lost) = counted(&said).ok_or_else(|| io::Error::other(format!("netdx said: {said}")))?;
        result.done += done.operations;
        result.reported += failures;
        result.lost += lost;
    }
    Ok(done.rate())
}

impl Done {
    /// Operations a second; of bulk transfer, bytes.
    fn rate(self) -> f64 {
        let amount = if self.bytes > 0 { self.bytes } else { self.operations };
        amount as f64 / self.elapsed.as_secs_f64()
    }
}

impl Place {
    fn new(load: &Load) -> io::Result<Place> {
        let island = Island::new("bench");
        island.ip("link set lo up");
        let mut words = words(load.kind, &format!("{}ms", load.time.as_millis()))?;
        let mut other = None;
        if load.veth {
            let there = Island::new("bench");
            island.link("eth0", &there, "eth0", ["10.2.0.1/24", "10.2.0.2/24"]);
            let serve = self::words("serve", "200000ms")?;
            let child = there.command(&serve[0]).args(&serve[1..]).stdout(Stdio::null()).spawn()?;
            other = Some((there, Server(child)));
            // It listens within this.
            std::thread::sleep(Duration::from_millis(300));
            words.push("10.2.0.2".to_owned());
        }
        Ok(Place { island, words, _there: other })
    }

    fn run(&self) -> io::Result<Done> {
        let mut command = self.island.command(&self.words[0]);
        command.args(&self.words[1..]);
        finish(command)
    }
}

/// The words of a load's command.
pub(crate) fn words(kind: &str, amount: &str) -> io::Result<Vec<String>> {
    let own = std::env::current_exe()?.to_string_lossy().into_owned();
    Ok(vec![own, "load".to_owned(), kind.to_owned(), amount.to_owned()])
}

/// Runs a load to its end.
pub(crate) fn finish(mut command: Command) -> io::Result<Done> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    let status = child.wait()?;
    Done::parse(&line)
        .filter(|_| status.success())
        .ok_or_else(|| io::Error::other(format!("{command:?}: {status}, {line:?}")))
}

/// netdx over a load in an island of its own: while it runs, `look` is called with what was done.
pub(crate) fn once<T>(kind: &str, amount: &str, look: impl FnOnce(&Running, Done) -> io::Result<T>) -> io::Result<T> {
    let island = Island::new("bench");
    island.ip("link set lo up");
    let running = NETDX.start(&island)?;
    let words = words(kind, amount)?;
    let mut command = island.command(&words[0]);
    command.args(&words[1..]);
    let done = finish(command)?;
    look(&running, done)
}
