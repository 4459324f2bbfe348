//! Those who watch: netdx and its peers. Owns: how each is started, when it is ready, how it ends.
//! Must not know: what is measured.

use netdx_tests::island::{Island, netdx};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A program that watches connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tracer {
    /// As tables name it.
    pub(crate) name: &'static str,
    /// Its words. The first is the program; `NETDX` is the one under test, `SELF` this one.
    words: &'static [&'static str],
    /// It sees its own network namespace only.
    inside: bool,
    /// What it has written when it is ready; none: it runs the load by itself (strace).
    ready: Option<&'static str>,
}

/// netdx, failures only.
pub(crate) const NETDX: Tracer = Tracer {
    name: "netdx trace",
    words: &["NETDX", "trace", "--comm", "bench", "--output", "/dev/null"],
    inside: false,
    ready: Some("attached"),
};

/// As little as a tracer can do that sees what calls return: a program that does nothing, where connect(2) does. The kernel then
/// takes the slower way out of every call of every process (SYSCALL_WORK_SYSCALL_TRACEPOINT).
pub(crate) const LEAST: Tracer = Tracer {
    name: "a program that does nothing, where connect(2) returns",
    words: &["SELF", "idle", "sys_exit_connect"],
    inside: false,
    ready: Some(super::idle::READY),
};

/// What remains of netdx's cost if its programs took no time: programs that do nothing at its hooks (see [`super::idle`]).
pub(crate) const HOOKS: Tracer = Tracer {
    name: "programs that do nothing, at each hook of netdx",
    words: &["SELF", "idle"],
    inside: false,
    ready: Some(super::idle::READY),
};

/// What others use for the same question, as their manuals show it.
pub(crate) const PEERS: &[Tracer] = &[
    Tracer {
        name: "tcpdump, SYN and RST, to a file",
        words: &["tcpdump", "-i", "lo", "-w", "/dev/null", "tcp[tcpflags] & (tcp-syn|tcp-rst) != 0"],
        inside: true,
        ready: Some("listening on"),
    },
    Tracer {
        name: "tcpdump, SYN and RST, as text",
        words: &["tcpdump", "-n", "-l", "-i", "lo", "tcp[tcpflags] & (tcp-syn|tcp-rst) != 0"],
        inside: true,
        ready: Some("listening on"),
    },
    Tracer {
        name: "bpftrace on connect(2)",
        words: &[
            "bpftrace",
            "-e",
            "BEGIN { printf(\"%s ready\\n\", \"is\"); } \
             tracepoint:syscalls:sys_exit_connect { printf(\"%s %d %d\\n\", comm, pid, args->ret); }",
        ],
        inside: false,
        ready: Some("is ready"),
    },
    Tracer { name: "bcc tcplife", words: &["tcplife-bpfcc"], inside: false, ready: Some("PID") },
    Tracer { name: "bcc tcpstates", words: &["tcpstates-bpfcc"], inside: false, ready: Some("SKADDR") },
    Tracer {
        name: "strace -f -e connect",
        words: &["strace", "-f", "-e", "trace=connect", "-o", "/dev/null"],
        inside: true,
        ready: None,
    },
];

/// A tracer that takes less than this of a tenth of a second has nothing to do.
const IDLE: Duration = Duration::from_millis(1);

/// How long a tracer may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

impl Tracer {
    /// Why it can't be used here, if it can't: found out by starting it.
    pub(crate) fn missing(&self, island: &Island) -> Option<String> {
        let name = self.words[0];
        if name == "SELF" {
            return None;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join(name).is_file()) {
            return Some(format!("{name} is not installed"));
        }
        self.ready?;
        self.start(island).and_then(Running::end).err().map(|error| format!("{name} says: {error}"))
    }

    /// The load's command under it, for one that runs it by itself.
    pub(crate) fn around(&self, island: &Island, load: &[String]) -> Option<Command> {
        if self.ready.is_some() {
            return None;
        }
        let mut command = island.command(self.words[0]);
        command.args(&self.words[1..]).args(load);
        Some(command)
    }

    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(&self, island: &Island) -> io::Result<Running> {
        let program = match self.words[0] {
            "NETDX" => netdx(),
            "SELF" => std::env::current_exe()?,
            name => PathBuf::from(name),
        };
        let mut command = if self.inside { island.command(program) } else { Command::new(program) };
        command.args(&self.words[1..]).env("PYTHONUNBUFFERED", "1");
        Running::start(command, self.ready.unwrap_or_default())
    }
}

/// A tracer at work; ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    said: tempfile::NamedTempFile,
}

impl Running {
    /// Starts a command and waits until it has written `ready`, to stdout or stderr.
    pub(crate) fn start(mut command: Command, ready: &str) -> io::Result<Running> {
        let said = tempfile::NamedTempFile::new()?;
        let (out, err) = (said.reopen()?, said.reopen()?);
        // Both write at the file's end.
        let append = |file: &fs::File| rustix::fs::fcntl_setfl(file, rustix::fs::OFlags::APPEND);
        append(&out)?;
        append(&err)?;
        // A group of its own: an interrupt at the keyboard is for the bench, which ends it.
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn()?;
        let mut running = Running { child, said };
        let began = Instant::now();
        loop {
            let ended = running.child.try_wait()?;
            if running.said()?.contains(ready) {
                return Ok(running);
            }
            if ended.is_some() || began.elapsed() > PATIENCE {
                let said = running.said()?;
                let why = said.lines().find(|line| line.contains("ERROR")).or_else(|| said.lines().last());
                return Err(io::Error::other(why.unwrap_or_default().trim().to_owned()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The beginning and the end of what it wrote, which may be long.
    fn said(&self) -> io::Result<String> {
        use std::os::unix::fs::FileExt as _;
        const PART: usize = 4096;
        let file = self.said.as_file();
        let length = file.metadata()?.len();
        let mut all = Vec::new();
        for start in if length > PART as u64 { vec![0, length - PART as u64] } else { vec![0] } {
            let mut part = [0; PART];
            let read = file.read_at(&mut part, start)?;
            all.extend(&part[..read]);
        }
        Ok(String::from_utf8_lossy(&all).into_owned())
    }

    /// User and system time so far, to the nanosecond, of threads that have ended too.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let pid = i32::try_from(self.pid()).map_err(io::Error::other)?;
        let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: writes one number.
        let error = unsafe { libc::clock_getcpuclockid(pid, &mut clock) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: writes one `timespec`.
        if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let part = |number: i64| u64::try_from(number).map_err(io::Error::other);
        Ok(Duration::from_secs(part(time.tv_sec)?) + Duration::from_nanos(part(time.tv_nsec)?))
    }

    /// Waits until it has nothing to do; user and system time until then.
    pub(crate) fn rest(&self) -> io::Result<Duration> {
        let began = Instant::now();
        let mut before = self.cpu()?;
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = self.cpu()?;
            if now.saturating_sub(before) < IDLE || began.elapsed() > PATIENCE {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Peak of the resident memory, in KiB.
    pub(crate) fn peak(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).ok_or(io::Error::other("no VmHWM"))
    }

    /// Interrupts it; what it wrote, and how long it took to end.
    pub(crate) fn end(mut self) -> io::Result<(String, Duration)> {
        let began = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("a tracer does not end"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok((self.said()?, began.elapsed()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// How many failures netdx counted, and how many events it lost, by the last lines it wrote.
pub(crate) fn counted(said: &str) -> Option<(u64, u64)> {
    let last = said.lines().rfind(|line| line.contains(" failure"))?;
    let words: Vec<&str> = said[said.rfind(last)?..].split_whitespace().collect();
    let failures = words.first()?.parse().ok()?;
    let lost = words.iter().position(|word| word.starts_with("event"))?;
    let lost = words.get(lost.checked_sub(1)?)?;
    Some((failures, if *lost == "no" { 0 } else { lost.parse().ok()? }))
}
