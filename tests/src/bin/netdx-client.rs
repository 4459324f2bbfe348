//! A program that fails to connect, in the ways programs do. Owns: the interfaces to the kernel that applications use.
//! Must not know: what is tested.
//!
//!     netdx-client HOW ADDRESS:PORT [--bind ADDRESS:PORT] [--device NAME] [--give-up MS] [--send BYTES] [--receive]
//!         [--hold MS] [--times N] [--user-timeout MS] [--keepalive SECONDS] [--pause MS] [--linger-0] [--whole]
//!         [--burst N] [--at-once N] [--told] [--half] [--options] [--become UID]
//!
//! `--pause`: waits so long between connecting and sending. `--whole`: its datagrams may not be fragmented. `--burst`: sends
//! so many times. `--told`: it is told errors that datagram sockets don't tell by themselves (IP_RECVERR). `--half`: it says
//! that it sends no more before it receives. `--options`: its packets have IPv6 destination options. `--become`: it runs as that user once it has its socket.
//!
//! It writes one line for each attempt: `{"pid":..,"tid":..,"local":"ADDRESS:PORT"|null,"errno":N}`; errno 0: it worked;
//! -1: it gave up by itself.
#![expect(clippy::print_stdout, reason = "its result goes to its standard output")]

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::{Errno, read};
use rustix::net::{
    self, AddressFamily, SendFlags, SocketFlags, SocketType, bind, getsockname, sendto, socket_with, sockopt,
};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Debug)]
struct Plan {
    how: How,
    to: SocketAddr,
    bind: Option<SocketAddr>,
    give_up: Duration,
    send: usize,
    receive: bool,
    hold: Duration,
    times: u32,
    device: Option<String>,
    user_timeout: Option<u32>,
    keepalive: Option<u32>,
    pause: Duration,
    burst: u32,
    at_once: u32,
    linger_0: bool,
    whole: bool,
    told: bool,
    half: bool,
    options: bool,
    become_user: Option<u32>,
}

/// Ways to connect.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// connect(2) that waits.
    Blocking,
    /// Non-blocking connect, poll, SO_ERROR: what most event loops do.
    Poll,
    /// Non-blocking connect and epoll; closes the socket in SYN_SENT when its time is over, as Go and asyncio do.
    Epoll,
    /// A thread of its own connects.
    Thread,
    /// The process ends the moment it knows.
    Exit,
    /// IORING_OP_CONNECT.
    IoUring,
    /// An IPv6 socket to an IPv4-mapped address.
    Mapped,
    /// A socket of the IP family that the address is not of.
    OtherFamily,
    /// Data in the SYN.
    FastOpen,
    /// IPPROTO_MPTCP.
    Mptcp,
    /// A connected UDP socket: send, then wait for an answer.
    Udp,
    /// An unconnected UDP socket.
    UdpUnconnected,
    /// No connection: binds to the address (SO_REUSEADDR), and listens after `--pause`.
    Listen,
}

/// Why there is no connection.
enum Failure {
    /// The kernel said so.
    System(Errno),
    /// This program had waited long enough.
    GaveUp,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::System(errno)
    }
}

fn main() {
    let plan = match parse(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(problem) => {
            println!("netdx-client: {problem}");
            std::process::exit(2);
        }
    };
    let others: Vec<_> = (1..plan.at_once)
        .map(|_| {
            let plan = plan.clone();
            std::thread::spawn(move || attempt(&plan))
        })
        .collect();
    let mut kept = Vec::new();
    for _ in 0..plan.times {
        let plan = plan.clone();
        kept.push(match plan.how {
            How::Thread => std::thread::spawn(move || attempt(&plan)).join().expect("the thread ends by itself"),
            _ => attempt(&plan),
        });
    }
    kept.extend(others.into_iter().map(|other| other.join().expect("the thread ends by itself")));
    std::thread::sleep(plan.hold);
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Plan, String> {
    let how = match words.next().as_deref() {
        Some("blocking") => How::Blocking,
        Some("poll") => How::Poll,
        Some("epoll") => How::Epoll,
        Some("thread") => How::Thread,
        Some("exit") => How::Exit,
        Some("io-uring") => How::IoUring,
        Some("mapped") => How::Mapped,
        Some("other-family") => How::OtherFamily,
        Some("fast-open") => How::FastOpen,
        Some("mptcp") => How::Mptcp,
        Some("udp") => How::Udp,
        Some("listen") => How::Listen,
        Some("udp-unconnected") => How::UdpUnconnected,
        other => return Err(format!("no such way to connect: {other:?}")),
    };
    let to = words.next().and_then(|word| word.parse().ok()).ok_or("ADDRESS:PORT is missing")?;
    let mut plan = Plan {
        how,
        to,
        bind: None,
        give_up: Duration::from_secs(20),
        send: 0,
        receive: false,
        hold: Duration::ZERO,
        times: 1,
        device: None,
        user_timeout: None,
        keepalive: None,
        pause: Duration::ZERO,
        burst: 1,
        at_once: 1,
        linger_0: false,
        whole: false,
        told: false,
        half: false,
        options: false,
        become_user: None,
    };
    while let Some(flag) = words.next() {
        let switch = match flag.as_str() {
            "--receive" => Some(&mut plan.receive),
            "--linger-0" => Some(&mut plan.linger_0),
            "--whole" => Some(&mut plan.whole),
            "--told" => Some(&mut plan.told),
            "--half" => Some(&mut plan.half),
            "--options" => Some(&mut plan.options),
            _ => None,
        };
        if let Some(switch) = switch {
            *switch = true;
            continue;
        }
        let value = words.next().ok_or(format!("{flag} needs a value"))?;
        let number = || value.parse::<u32>().map_err(|error| format!("{flag} {value}: {error}"));
        match flag.as_str() {
            "--bind" => plan.bind = Some(value.parse().map_err(|error| format!("{flag} {value}: {error}"))?),
            "--give-up" => plan.give_up = Duration::from_millis(number()?.into()),
            "--send" => plan.send = usize::try_from(number()?).map_err(|error| error.to_string())?,
            // Until others have done their part, which takes longer where everything does.
            "--hold" => plan.hold = netdx_tests::patience::patience(Duration::from_millis(number()?.into())),
            "--times" => plan.times = number()?,
            "--device" => plan.device = Some(value),
            "--user-timeout" => plan.user_timeout = Some(number()?),
            "--keepalive" => plan.keepalive = Some(number()?),
            "--at-once" => plan.at_once = number()?,
            "--burst" => plan.burst = number()?,
            "--become" => plan.become_user = Some(number()?),
            "--pause" => plan.pause = Duration::from_millis(number()?.into()),
            _ => return Err(format!("no such flag: {flag}")),
        }
    }
    Ok(plan)
}

/// One attempt; the socket, where it worked.
fn attempt(plan: &Plan) -> Option<OwnedFd> {
    let mut socket = None;
    let errno = match connect_and_talk(plan, &mut socket) {
        Ok(()) => 0,
        Err(Failure::System(errno)) => errno.raw_os_error(),
        Err(Failure::GaveUp) => -1,
    };
    let local = socket.as_ref().and_then(local_of).map_or("null".to_owned(), |local| format!("\"{local}\""));
    let tid = rustix::thread::gettid().as_raw_nonzero();
    println!("{{\"pid\":{},\"tid\":{tid},\"local\":{local},\"errno\":{errno}}}", std::process::id());
    if plan.how == How::Exit {
        std::process::exit(0);
    }
    socket.filter(|_| errno == 0)
}

fn connect_and_talk(plan: &Plan, kept: &mut Option<OwnedFd>) -> Result<(), Failure> {
    let (family, to) = match (plan.how, plan.to.ip()) {
        (How::Mapped, IpAddr::V4(v4)) => {
            (AddressFamily::INET6, SocketAddr::new(v4.to_ipv6_mapped().into(), plan.to.port()))
        }
        (How::OtherFamily, IpAddr::V4(_)) => (AddressFamily::INET6, plan.to),
        (How::OtherFamily, IpAddr::V6(_)) => (AddressFamily::INET, plan.to),
        (_, IpAddr::V4(_)) => (AddressFamily::INET, plan.to),
        (_, IpAddr::V6(_)) => (AddressFamily::INET6, plan.to),
    };
    let (kind, protocol) = match plan.how {
        How::Udp | How::UdpUnconnected => (SocketType::DGRAM, None),
        How::Mptcp => (SocketType::STREAM, Some(net::ipproto::MPTCP)),
        _ => (SocketType::STREAM, None),
    };
    let waits = !matches!(plan.how, How::Poll | How::Epoll);
    let flags = if waits { SocketFlags::CLOEXEC } else { SocketFlags::CLOEXEC | SocketFlags::NONBLOCK };
    let socket = kept.insert(socket_with(family, kind, flags, protocol)?);
    set_options(plan, socket)?;
    if let Some(user) = plan.become_user {
        rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(user))?;
    }
    if let Some(source) = plan.bind {
        bind(&*socket, &source)?;
    }
    match plan.how {
        How::Poll => wait_by_poll(plan, socket, &to)?,
        How::Epoll => wait_by_epoll(plan, socket, &to)?,
        How::IoUring => connect_by_io_uring(socket, &to)?,
        How::FastOpen => {
            // rustix has no name for this flag.
            let fast_open = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.cast_unsigned());
            sendto(&*socket, b"hello", fast_open, &to)?;
        }
        How::UdpUnconnected => {
            sendto(&*socket, b"hello", SendFlags::empty(), &to)?;
        }
        How::Listen => {
            sockopt::set_socket_reuseaddr(&*socket, true)?;
            bind(&*socket, &to)?;
            std::thread::sleep(plan.pause);
            net::listen(&*socket, 8)?;
            return Ok(());
        }
        How::Blocking | How::Thread | How::Exit | How::Mapped | How::OtherFamily | How::Mptcp | How::Udp => {
            net::connect(&*socket, &to)?;
        }
    }
    talk(plan, socket)
}

fn set_options(plan: &Plan, socket: &OwnedFd) -> Result<(), Failure> {
    if let Some(device) = &plan.device {
        set_device(socket, device)?;
    }
    if let Some(ms) = plan.user_timeout {
        sockopt::set_tcp_user_timeout(socket, ms)?;
    }
    if let Some(seconds) = plan.keepalive {
        sockopt::set_socket_keepalive(socket, true)?;
        sockopt::set_tcp_keepidle(socket, Duration::from_secs(seconds.into()))?;
        sockopt::set_tcp_keepintvl(socket, Duration::from_secs(1))?;
        sockopt::set_tcp_keepcnt(socket, 2)?;
    }
    if plan.linger_0 {
        sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
    }
    if plan.whole {
        set_whole(socket)?;
    }
    if plan.options {
        // IPV6_DSTOPTS; one option that only fills (PadN, RFC 8200 §4.2).
        const DESTINATION_OPTIONS: i32 = 59;
        set(socket, libc::IPPROTO_IPV6, DESTINATION_OPTIONS, &[0, 0, 1, 4, 0, 0, 0, 0])?;
    }
    if plan.told {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, &1_i32.to_ne_bytes())?;
    }
    Ok(())
}

/// SO_BINDTODEVICE, for which rustix has no name.
fn set_device(socket: &OwnedFd, device: &str) -> Result<(), Failure> {
    set(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device.as_bytes())
}

/// IP_MTU_DISCOVER, for which rustix has no name.
fn set_whole(socket: &OwnedFd) -> Result<(), Failure> {
    set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_DO.to_ne_bytes())
}

fn set(socket: &OwnedFd, level: i32, option: i32, value: &[u8]) -> Result<(), Failure> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel reads `length` bytes of the value, which lives until the call returns.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), length) };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Failure::System(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
}

fn start(socket: &OwnedFd, to: &SocketAddr) -> Result<(), Failure> {
    match net::connect(socket, to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn wait_by_poll(plan: &Plan, socket: &OwnedFd, to: &SocketAddr) -> Result<(), Failure> {
    start(socket, to)?;
    if poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&timespec(plan.give_up)))? == 0 {
        return Err(Failure::GaveUp);
    }
    Ok(sockopt::socket_error(socket)??)
}

fn wait_by_epoll(plan: &Plan, socket: &OwnedFd, to: &SocketAddr) -> Result<(), Failure> {
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    start(socket, to)?;
    let edge = epoll::EventFlags::OUT | epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&queue, socket, epoll::EventData::new_u64(1), edge)?;
    let mut events = [epoll::Event { flags: edge, data: epoll::EventData::new_u64(0) }; 1];
    if epoll::wait(&queue, &mut events[..], Some(&timespec(plan.give_up)))? == 0 {
        return Err(Failure::GaveUp);
    }
    Ok(sockopt::socket_error(socket)??)
}

fn connect_by_io_uring(socket: &OwnedFd, to: &SocketAddr) -> Result<(), Failure> {
    use rustix::net::addr::SocketAddrArg;
    let failed = |error: std::io::Error| Failure::System(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let mut ring = io_uring::IoUring::new(2).map_err(failed)?;
    // SAFETY: the address lives until the closure ends, and the closure waits for the completion of the only entry, which
    // points to it.
    unsafe {
        to.with_sockaddr(|address, length| {
            let fd = io_uring::types::Fd(socket.as_raw_fd());
            let entry = io_uring::opcode::Connect::new(fd, address.cast(), length).build();
            ring.submission().push(&entry).map_err(|_| Failure::System(Errno::NOSPC))?;
            ring.submit_and_wait(1).map_err(failed)?;
            match ring.completion().next().map(|completion| completion.result()) {
                Some(0) => Ok(()),
                Some(result) => Err(Failure::System(Errno::from_raw_os_error(-result))),
                None => Err(Failure::System(Errno::IO)),
            }
        })
    }
}

/// Sends and receives what was asked for.
fn talk(plan: &Plan, socket: &OwnedFd) -> Result<(), Failure> {
    let is_datagram = matches!(plan.how, How::Udp | How::UdpUnconnected);
    std::thread::sleep(plan.pause);
    for _ in 0..plan.burst {
        if plan.send == 0 || plan.how == How::UdpUnconnected {
            break;
        }
        let data = vec![b'z'; plan.send];
        let mut sent = 0;
        while sent < data.len() {
            sent += net::send(socket, &data[sent..], SendFlags::NOSIGNAL)?;
            if is_datagram {
                break;
            }
        }
    }
    if plan.half {
        net::shutdown(socket, net::Shutdown::Write)?;
    }
    if plan.receive {
        if poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timespec(plan.give_up)))? == 0 {
            return Err(Failure::GaveUp);
        }
        read(socket, &mut [0_u8; 4096])?;
    }
    Ok(())
}

fn local_of(socket: &OwnedFd) -> Option<SocketAddr> {
    let name: SocketAddr = getsockname(socket).ok()?.try_into().ok()?;
    Some(SocketAddr::new(name.ip().to_canonical(), name.port()))
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() }
}
