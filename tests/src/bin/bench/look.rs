//! How long `listeners` and `conns --summary` take beside `ss` for the same.
//!
//! In an island of its own: 5,000 listeners and 100,000 sockets in time-wait. Each command runs several times, in turn with the
//! other; the median counts. Memory is the peak of the process (`ru_maxrss`).

use super::page::{Section, machine};
use netdx_tests::island::Island;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const LISTENERS: u32 = 5_000;
const TIME_WAIT: u32 = 100_000;
const RUNS: usize = 7;

pub(crate) fn measure() -> io::Result<Section> {
    allow_files()?;
    let island = Island::new("bench");
    for (key, value) in [("net.ipv4.ip_local_port_range", "1024 65535"), ("net.ipv4.tcp_max_tw_buckets", "300000")] {
        let set = island.command("sysctl").args(["-qw", &format!("{key}={value}")]).status()?;
        assert!(set.success(), "set {key}");
    }
    let _listeners = island.inside(fill)?;
    let pairs: [(&str, &[&str], &[&str]); 3] = [
        ("listeners", &["-Htlnp"], &["listeners", "--tcp", "--format", "json"]),
        ("conns --summary", &["-Htan"], &["conns", "--tcp", "--summary"]),
        ("conns --all", &["-Htanpi"], &["conns", "--tcp", "--all", "--format", "json"]),
    ];
    let mut rows = vec![["", "ss", "netdx", "ratio", "netdx's peak memory"].map(str::to_owned).to_vec()];
    for (name, ss, netdx) in pairs {
        let (mut theirs, mut ours, mut peak) = (Vec::new(), Vec::new(), 0);
        for _ in 0..RUNS {
            theirs.push(timed(island.command("ss").args(ss))?.0);
            let (elapsed, memory) = timed(&mut island.netdx(netdx))?;
            ours.push(elapsed);
            peak = peak.max(memory);
        }
        let (theirs, ours) = (median(theirs), median(ours));
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        rows.push(vec![
            name.to_owned(),
            format!("{:.0} ms", millis(theirs)),
            format!("{:.0} ms", millis(ours)),
            format!("{ratio:.2}"),
            format!("{:.1} MiB", peak as f64 / 1024.0),
        ]);
    }
    Ok(Section {
        title: "Looking at sockets",
        about: format!(
            "{TIME_WAIT} sockets in TIME_WAIT and {LISTENERS} listeners; the median of {RUNS} runs, in turn with `ss` for \
             the same. {}",
            machine()
        ),
        rows,
        notes: vec![],
    })
}

/// Listeners, and connections that this side closed first.
fn fill() -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for index in 0..LISTENERS {
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + index);
        listeners.push(TcpListener::bind(SocketAddr::from((address, 80)))?);
    }
    for index in 0..TIME_WAIT {
        let listener = &listeners[(index % 16) as usize];
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        drop(client);
        drop(server);
    }
    Ok(listeners)
}

/// Room for a listener each.
fn allow_files() -> io::Result<()> {
    let wanted = u64::from(LISTENERS) + 1000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let maximum = limit.maximum.map_or(wanted, |maximum| maximum.max(wanted));
    let limit = rustix::process::Rlimit { current: Some(wanted), maximum: Some(maximum) };
    Ok(rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?)
}

/// Elapsed time, and peak memory in KiB.
fn timed(command: &mut Command) -> io::Result<(Duration, i64)> {
    let began = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: rusage is valid as all zero bytes, and wait4 fills it in.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let mut status = 0;
    // SAFETY: both pointers are valid for writing; the child is this process's own and nobody else waits for it.
    if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } != pid {
        return Err(io::Error::last_os_error());
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{command:?} failed");
    Ok((began.elapsed(), usage.ru_maxrss))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
