//! `cargo xtask demo`: netdx's main job, seen without having a broken database. Owns: the staged failures.
//! Must not know: how netdx explains them.
//!
//! Everything happens in a network namespace of its own, which ends with the demo. Neither `ip` nor a firewall is needed:
//! a few system calls make the namespace and its addresses.

use crate::command;
use crate::run;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use std::ffi::CString;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The address that the namespace has beside 127.0.0.1: the host, as others know it.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

/// Where the app looks for its database, and what is the matter there.
const STAGES: [(&str, SocketAddr); 3] = [
    (
        "The database runs, and the app uses the host's own address. It says:",
        SocketAddr::new(std::net::IpAddr::V4(HOST), 5432),
    ),
    ("Somebody mistyped the port. The app says:", SocketAddr::new(std::net::IpAddr::V4(HOST), 5433)),
    (
        "The database has moved to another network. The app says:",
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 99, 0, 5)), 5432),
    ),
];

/// How long the app waits after each failure, so that the explanation stands below it.
const PAUSE: Duration = Duration::from_millis(700);

/// The processes of the demo, started by it.
#[derive(Subcommand)]
pub(crate) enum Part {
    /// Makes the namespace and the database, and runs the app under netdx (root)
    Stage {
        /// The netdx to run
        netdx: std::path::PathBuf,
    },
    /// Listens on 127.0.0.1:5432 in a namespace of its own, until its standard input ends
    Database,
    /// Fails to connect, in the database's namespace
    App {
        /// Process id of the database
        database: u32,
    },
}

/// Builds netdx and shows what it does.
pub(crate) fn demo(workspace: &Workspace) -> Result<()> {
    run::build(workspace, true)?;
    let this = std::env::current_exe().context("this program's own path")?;
    let mut stage = run::privileged(this.into_os_string())?;
    command::run(stage.args(["part", "stage"]).arg(workspace.netdx(true)))
}

/// Plays one part of the demo.
pub(crate) fn play(part: Part) -> Result<()> {
    match part {
        Part::Stage { netdx } => stage(&netdx),
        Part::Database => database(),
        Part::App { database } => app(database),
    }
}

fn stage(netdx: &Path) -> Result<()> {
    let this = std::env::current_exe().context("this program's own path")?;
    let mut database = Command::new(&this)
        .args(["part", "database"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the database")?;
    let mut ready = String::new();
    if let Some(output) = database.stdout.take() {
        BufReader::new(output).read_line(&mut ready).context("cannot hear from the database")?;
    }
    if ready.trim() != "ready" {
        bail!("the database did not start (are network namespaces allowed here?)");
    }
    println!("A database listens on 127.0.0.1:5432, in a network namespace of its own,");
    println!("whose address is also {HOST}. netdx traces the app that wants to reach it:");
    println!("netdx trace -- app\n");
    let status = Command::new(netdx)
        .args(["trace", "--"])
        .arg(&this)
        .args(["part", "app", &database.id().to_string()])
        .status()
        .with_context(|| format!("cannot run {}", netdx.display()));
    // The database ends when its standard input does.
    drop(database.stdin.take());
    database.wait().context("cannot wait for the database")?;
    match status?.code() {
        Some(0) => {
            println!("\nNow your own: cargo xtask run -- trace --port 5432");
            Ok(())
        }
        _ => bail!("netdx could not trace here; `netdx doctor` says what is missing"),
    }
}

fn database() -> Result<()> {
    rustix::thread::set_name(c"database").context("cannot take a name")?;
    // SAFETY: this process has one thread; CLONE_NEWNET gives it another network and shares no memory or descriptor.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .context("cannot make a network namespace")?;
    let control = control_socket()?;
    raise_loopback(&control)?;
    add_address(&control, HOST)?;
    let listener = TcpListener::bind("127.0.0.1:5432").context("cannot listen on 127.0.0.1:5432")?;
    println!("ready");
    // Whoever started the demo has gone when standard input ends.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).context("standard input")?;
    drop(listener);
    Ok(())
}

fn app(database: u32) -> Result<()> {
    rustix::thread::set_name(c"app").context("cannot take a name")?;
    let path = format!("/proc/{database}/ns/net");
    let namespace = std::fs::File::open(&path).with_context(|| format!("cannot open {path}"))?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), None)
        .context("cannot enter the database's namespace")?;
    for (number, (story, target)) in STAGES.iter().enumerate() {
        println!("{}. {story}", number + 1);
        match TcpStream::connect(target) {
            Ok(_) => println!("     connected to {target}, which was not planned"),
            Err(error) => println!("     cannot connect to {target}: {error}"),
        }
        println!("   netdx says:\n");
        std::io::stdout().flush().context("standard output")?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn control_socket() -> Result<OwnedFd> {
    rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).context("socket")
}

/// An interface request (netdevice(7)) about a name, everything else zero.
fn request(name: &str) -> Result<libc::ifreq> {
    let name = CString::new(name).context("interface name")?;
    // SAFETY: all of `ifreq` is integers and bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn raise_loopback(control: &OwnedFd) -> Result<()> {
    let mut request = request("lo")?;
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).context("flags")?;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives here.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    outcome(result).context("cannot bring loopback up")
}

/// Gives loopback a further address, by the alias `lo:1`.
fn add_address(control: &OwnedFd, address: Ipv4Addr) -> Result<()> {
    let mut request = request("lo:1")?;
    // SAFETY: all of `sockaddr_in` is integers, for which zero is valid.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    name.sin_family = libc::AF_INET as libc::sa_family_t;
    name.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
    for (option, address) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, Ipv4Addr::BROADCAST)] {
        name.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
        // SAFETY: both are plain bytes, and a `sockaddr_in` has the size of the `sockaddr` that the request holds.
        request.ifr_ifru.ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(name) };
        // SAFETY: both requests read one `ifreq`, which lives here.
        let result = unsafe { libc::ioctl(control.as_raw_fd(), option, &raw const request) };
        outcome(result).with_context(|| format!("cannot give loopback the address {address}"))?;
    }
    Ok(())
}

fn outcome(result: libc::c_int) -> std::io::Result<()> {
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
