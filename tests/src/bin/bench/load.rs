//! The loads: connections as fast as they go, for a bounded time or number.
//!
//! Owns: what one operation is. Must not know: who watches. It runs as a process of its own (`bench load KIND AMOUNT [TO]`),
//! so that a tracer sees a program like any other, and prints one line: `OPERATIONS BYTES NANOSECONDS`.

use rustix::thread::{CpuSet, sched_setaffinity};
use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

/// Where the loads' servers listen; nobody listens on the port below.
const PORT: u16 = 9000;
/// netdx looks at DNS where it belongs.
const DNS_PORT: u16 = 53;
/// No load runs for longer, whatever it is asked for.
const LIMIT: Duration = Duration::from_secs(240);

/// How much of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// For so long.
    Time(Duration),
    /// So many operations.
    Count(u64),
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// Operations that went as they should. One that does not ends the load with an error.
    pub(crate) operations: u64,
    /// Bytes carried by `bulk`.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

/// The process: does what the words after `load` say.
pub(crate) fn main(words: &[String]) -> io::Result<()> {
    let [kind, amount, to @ ..] = words else { return Err(io::Error::other("load KIND AMOUNT [TO]")) };
    let amount = match amount.strip_suffix("ms") {
        Some(time) => Amount::Time(Duration::from_millis(time.parse().map_err(io::Error::other)?)),
        None => Amount::Count(amount.parse().map_err(io::Error::other)?),
    };
    let to = to.first().map(|to| to.parse::<Ipv4Addr>()).transpose().map_err(io::Error::other)?;
    let mut bytes = 0;
    let (operations, elapsed) = match kind.as_str() {
        "success" => {
            serve()?;
            repeat(amount, |n| success(destination(n)))?
        }
        "refused" => repeat(amount, |n| refused(destination(n)))?,
        "dns" => {
            serve_dns()?;
            repeat(amount, query)?
        }
        "bulk" => {
            if to.is_none() {
                serve()?;
            }
            let mut stream = TcpStream::connect((to.unwrap_or(Ipv4Addr::LOCALHOST), PORT))?;
            let block = vec![0x5a; 128 << 10];
            let done = repeat(amount, |_| stream.write_all(&block))?;
            bytes = done.0 * block.len() as u64;
            done
        }
        "serve" => {
            serve()?;
            repeat(amount, |_| {
                thread::sleep(Duration::from_millis(20));
                Ok(())
            })?
        }
        other => return Err(io::Error::other(format!("no load {other}"))),
    };
    writeln!(io::stdout(), "{operations} {bytes} {}", elapsed.as_nanos())
}

impl Done {
    /// From the line that the process printed.
    pub(crate) fn parse(line: &str) -> Option<Done> {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        Some(Done { operations: next()?, bytes: next()?, elapsed: Duration::from_nanos(next()?) })
    }
}

fn repeat(amount: Amount, mut operation: impl FnMut(u64) -> io::Result<()>) -> io::Result<(u64, Duration)> {
    let (time, count) = match amount {
        Amount::Time(time) => (time.min(LIMIT), u64::MAX),
        Amount::Count(count) => (LIMIT, count),
    };
    let began = Instant::now();
    let mut done = 0;
    while done < count && began.elapsed() < time {
        operation(done)?;
        done += 1;
    }
    Ok((done, began.elapsed()))
}

/// Addresses of 127.0.0.0/8 in turn: no port is used up, and each operation has its own.
pub(crate) fn destination(n: u64) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x7f00_0001 + (n % 0xff_fffe) as u32)
}

fn success(to: Ipv4Addr) -> io::Result<()> {
    let mut stream = TcpStream::connect((to, PORT))?;
    // Both ends have closed when this ends: nothing is left to do for later.
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

/// A connection that is refused; anything else is an error.
pub(crate) fn refused(to: Ipv4Addr) -> io::Result<()> {
    match TcpStream::connect((to, PORT - 1)) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("somebody listens")),
    }
}

/// An `A` query for `qN.bench.test`, and its answer, over a socket of its own.
fn query(n: u64) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.connect((Ipv4Addr::LOCALHOST, DNS_PORT))?;
    let label = format!("q{n}");
    let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message[..2].copy_from_slice(&(n as u16).to_be_bytes());
    for part in [label.as_str(), "bench", "test"] {
        message.push(part.len() as u8);
        message.extend(part.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    socket.send(&message)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    if length > message.len() { Ok(()) } else { Err(io::Error::other("no answer to the question")) }
}

/// Accepts, reads to the end, closes.
fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while let Ok((mut stream, _)) = listener.accept() {
            while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
        }
    });
    Ok(())
}

/// Answers every question with 127.0.0.1.
///
/// Client and server take turns: on one processor, so that a run does not measure how long the other one sleeps.
fn serve_dns() -> io::Result<()> {
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, DNS_PORT))?;
    thread::spawn(move || {
        let mut message = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut message) {
            let answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1];
            let end = length + answer.len();
            if length < 12 || end > message.len() {
                continue;
            }
            // A response, recursion desired and available; one answer.
            (message[2], message[3], message[7]) = (0x81, 0x80, 1);
            message[length..end].copy_from_slice(&answer);
            // A client that is gone misses nothing.
            _ = socket.send_to(&message[..end], client);
        }
    });
    Ok(())
}
