//! One lab, from its beginning to its end: programs in it fail, work, and are killed. Owns: what is done, and what has to be
//! said of it. Must not know: how netdx is run.

use super::{Course, watch::Watch};
use crate::bpf::Cgroup;
use crate::lab::{Client, Lab};
use crate::patience::patience;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    net::{SocketAddr, TcpListener, UdpSocket},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What fails, and why. No other test uses these ports: who listens on one elsewhere on this host is told.
const FAILING: [(&str, &str); 12] = [
    ("blocking 10.1.2.2:7181 --times 3", "refused.no-listener"),
    ("poll 10.1.2.2:7181", "refused.no-listener"),
    ("epoll 10.1.2.2:7181 --times 2", "refused.no-listener"),
    ("thread 10.1.2.2:7181", "refused.no-listener"),
    ("exit 10.1.2.2:7181", "refused.no-listener"),
    ("io-uring 10.1.2.2:7181", "refused.no-listener"),
    ("mapped 10.1.2.2:7181", "refused.no-listener"),
    ("blocking 10.1.2.2:7182", "refused.bound-elsewhere"),
    ("epoll 10.1.2.2:7183 --give-up 200", "firewall.dropped"),
    ("blocking 10.1.2.2:7184 --times 2", "firewall.rejected"),
    ("blocking 10.3.0.1:7188", "route.rejects"),
    ("blocking [fd01:2::2]:7190", "route.none"),
];
/// What works.
const WORKING: &str = "blocking 10.1.2.2:7180 --times 10 --send 100";
/// How many connections that is.
const WORKING_TIMES: u64 = 10;
/// A connection that nobody answers; its program is killed meanwhile.
const DROPPED: &str = "blocking 10.1.2.2:7183";
/// A name whose lookup gets no answer; its program is killed meanwhile.
const LATE: &str = "late.test";
/// How long programs live that are killed, once they wait.
const LIFE: Duration = Duration::from_millis(150);
/// How long reports may take once everything has failed.
const REPORTS: Duration = Duration::from_secs(10);
/// How long it is waited for reports that should not come.
const MORE: Duration = Duration::from_millis(700);

/// The port of an attempt that nobody tells.
const ANY: u16 = u16::MAX;

/// What has to be said of each process: the ports of its attempts, in order, with their codes.
type Expected = BTreeMap<u32, Vec<(u16, &'static str)>>;

pub(super) struct Round {
    lab: Lab,
    servers: Servers,
}

impl Round {
    pub(super) fn new() -> Round {
        let mut lab = Lab::new();
        lab.client = lab
            .client
            // As a container has one: each lab's is a new one to netdx.
            .with_copy_of(&libc())
            .with_file("/etc/resolv.conf", "nameserver 10.1.2.2\noptions timeout:5 attempts:1\n")
            .with_file("/etc/nsswitch.conf", "hosts: files dns\n");
        lab.client.ip("route add prohibit 10.3.0.0/16");
        lab.client.ip("-6 route del default");
        lab.router.guard("forward", "tcp dport 7183 drop");
        lab.server.guard("input", "tcp dport 7184 reject with tcp reset");
        let servers = Servers::start(&lab);
        Round { lab, servers }
    }

    /// Does everything once, and looks at what was said about it.
    pub(super) fn run(self, cgroup: &Cgroup, watches: &[&Watch], course: &mut Course) {
        let netns = self.lab.client.inode();
        // The number may have been another namespace's, of another test of this process.
        watches.iter().for_each(|watch| drop(watch.take(netns)));
        let mut expected = Expected::new();
        let start = |arguments: &str| {
            let mut command = self.lab.command(arguments);
            cgroup.holds(&mut command);
            Client::spawn(command)
        };
        let mut working = start(WORKING);
        let mut clients: Vec<(Client, &str, &'static str)> =
            FAILING.iter().map(|(command, code)| (start(command), *command, *code)).collect();
        for (client, command, code) in &mut clients {
            for _ in 0..times(command) {
                let attempt = client.attempt();
                assert_ne!(attempt.errno, 0, "{command} works");
                let port = attempt.local.map_or(0, |local| local.port());
                expected.entry(attempt.pid).or_default().push((port, *code));
                course.failures += 1;
            }
            client.wait();
        }
        for (name, code) in [("nowhere.test", "dns.nxdomain"), (LATE, "dns.timeout")] {
            let mut lookup = self.lab.client.command("getent");
            lookup.args(["ahosts", name]).stdout(Stdio::null());
            cgroup.holds(&mut lookup);
            let mut lookup = lookup.spawn().expect("getent runs");
            expected.entry(lookup.id()).or_default().push((ANY, code));
            if name == LATE {
                until("the server is asked", || self.servers.left_open.load(Ordering::Relaxed));
                thread::sleep(LIFE);
                lookup.kill().expect("it waits for an answer");
                course.killed += 1;
            } else {
                course.failures += 1;
            }
            lookup.wait().expect("wait for getent");
        }
        let killed = start(DROPPED);
        until("the connection is begun", || is_connecting(killed.pid()));
        thread::sleep(LIFE);
        expected.entry(killed.pid()).or_default().push((ANY, "firewall.dropped"));
        course.killed += 1;
        drop(killed);
        for _ in 0..WORKING_TIMES {
            assert_eq!(working.attempt().errno, 0, "{WORKING}");
            course.successes += 1;
        }
        working.wait();
        let deadline = Instant::now() + patience(REPORTS);
        let waits = |watch: &&Watch| !compare(&expected, &watch.reports(netns)).untold.is_empty();
        while Instant::now() < deadline && watches.iter().any(waits) {
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(patience(MORE));
        for watch in watches {
            let (name, reports) = (watch.name(), watch.take(netns));
            let Difference { untold, surplus } = compare(&expected, &reports);
            course.findings.extend(untold.iter().map(|what| format!("netdx {name}: {what} was not told")));
            course.findings.extend(
                surplus
                    .iter()
                    .map(|report| format!("netdx {name}: no such attempt (any more), or for another reason: {report}")),
            );
        }
        course.rounds += 1;
        self.servers.end();
    }
}

/// What should have been told otherwise.
struct Difference<'a> {
    /// Attempts that were not told, or for another reason.
    untold: Vec<String>,
    /// What else was told.
    surplus: Vec<&'a Value>,
}

/// Each attempt is told once with its code, and nothing else is.
fn compare<'a>(expected: &Expected, reports: &'a [Value]) -> Difference<'a> {
    let mut left = expected.clone();
    let mut surplus = Vec::new();
    for report in reports {
        let process = report["process"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        let port = report["local"]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let code = report["verdict"]["code"].as_str().unwrap_or("none");
        let attempts = left.get_mut(&process);
        let told = attempts.and_then(|attempts| {
            let at =
                attempts.iter().position(|(known, wanted)| (*known == port || *known == ANY) && *wanted == code)?;
            Some(attempts.remove(at))
        });
        if told.is_none() {
            surplus.push(report);
        }
    }
    let untold = left.into_iter().flat_map(|(process, attempts)| {
        attempts.into_iter().map(move |(port, code)| format!("process {process}, port {port}: {code}"))
    });
    Difference { untold: untold.collect(), surplus }
}

/// Waits until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + patience(REPORTS);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {REPORTS:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process has sent a SYN that nobody answers: its namespace has a socket to 10.1.2.2:7183 in TCP_SYN_SENT (proc(5)).
fn is_connecting(process: u32) -> bool {
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap_or_default();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2..4) == Some(&["0202010A:1C0F", "02"])
    })
}

/// How often a command of the client tries.
fn times(command: &str) -> u32 {
    command.rsplit_once("--times ").map_or(1, |(_, times)| times.parse().expect("a number"))
}

/// This system's C library.
fn libc() -> String {
    let places = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"];
    let found = places.into_iter().find(|path| std::path::Path::new(path).exists());
    found.expect("a C library").to_owned()
}

/// What listens in a lab. Ends with it, unlike the servers of single scenarios: a socket keeps its namespace.
struct Servers {
    over: Arc<AtomicBool>,
    /// The name server was asked for [`LATE`].
    left_open: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _elsewhere: TcpListener,
}

impl Servers {
    fn start(lab: &Lab) -> Servers {
        let (tcp, udp, elsewhere) = lab.server.inside(|| {
            let at = |text: &str| text.parse::<SocketAddr>().expect("an address and port");
            let tcp = TcpListener::bind(at("10.1.2.2:7180")).expect("a listener");
            let udp = UdpSocket::bind(at("10.1.2.2:53")).expect("a server");
            (tcp, udp, TcpListener::bind(at("127.0.0.1:7182")).expect("a listener"))
        });
        tcp.set_nonblocking(true).expect("a listener");
        udp.set_read_timeout(Some(Duration::from_millis(50))).expect("a server");
        let over = Arc::new(AtomicBool::new(false));
        let again = |mut step: Box<dyn FnMut() + Send>| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    step();
                }
            })
        };
        let left_open = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&left_open);
        let threads = vec![again(Box::new(move || accept(&tcp))), again(Box::new(move || answer(&udp, &asked)))];
        Servers { over, left_open, threads, _elsewhere: elsewhere }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the server ends well");
        }
    }
}

/// Takes a connection and reads it to its end.
fn accept(listener: &TcpListener) {
    match listener.accept() {
        Ok((mut stream, _)) => {
            stream.set_nonblocking(false).expect("a connection");
            // The client may have gone: all the same to the server.
            _ = stream.read_to_end(&mut Vec::new());
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(10)),
        Err(error) => panic!("accept: {error}"),
    }
}

/// Says of every name but [`LATE`] that there is none (RFC 1035 §4.1.1).
fn answer(server: &UdpSocket, left_open: &AtomicBool) {
    let mut message = [0; 512];
    let Ok((length, from)) = server.recv_from(&mut message) else { return };
    if length < 12 {
        return;
    }
    if message[..length].windows(5).any(|part| part == b"\x04late") {
        left_open.store(true, Ordering::Relaxed);
        return;
    }
    message[2] |= 0x80;
    message[3] = 3;
    // A client that has gone away needs no answer.
    _ = server.send_to(&message[..length], from);
}
