//! BPF programs that say no or nothing, loaded and attached by bpf(2), and a control group to attach them to.
//! Owns: the attributes of bpf(2) (include/uapi/linux/bpf.h), the life of a control group. Must not know: netdx.

use crate::island::Island;
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Where a program is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// connect(2) of an IPv4 address.
    Connect4,
    /// connect(2) of an IPv6 address.
    Connect6,
    /// sendto(2) of a datagram socket to an IPv4 address.
    Sendmsg4,
    /// socket(2).
    SockCreate,
    /// A packet that a socket of the control group sends.
    Egress,
    /// A packet that a socket of the control group gets.
    Ingress,
    /// A packet that an interface sends (tcx).
    TcEgress,
    /// A packet that an interface gets (tcx).
    TcIngress,
    /// The same before the kernel makes a packet of it, by the interface's driver (XDP).
    XdpNative,
    /// The same for any interface, by the kernel's own code (XDP).
    XdpGeneric,
}

impl Hook {
    /// `enum bpf_prog_type`
    fn program_type(self) -> u32 {
        match self {
            Hook::TcEgress | Hook::TcIngress => 3,
            Hook::XdpNative | Hook::XdpGeneric => 6,
            Hook::Egress | Hook::Ingress => 8,
            Hook::SockCreate => 9,
            Hook::Connect4 | Hook::Connect6 | Hook::Sendmsg4 => 18,
        }
    }

    /// `enum bpf_attach_type`
    fn attach_type(self) -> u32 {
        match self {
            Hook::Ingress => 0,
            Hook::Egress => 1,
            Hook::SockCreate => 2,
            Hook::Connect4 => 10,
            Hook::Connect6 => 11,
            Hook::Sendmsg4 => 14,
            Hook::XdpNative | Hook::XdpGeneric => 37,
            Hook::TcIngress => 46,
            Hook::TcEgress => 47,
        }
    }

    /// `link_create.flags` of bpf(2): `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`.
    fn flags(self) -> u32 {
        match self {
            Hook::XdpGeneric => 2,
            Hook::XdpNative => 4,
            _ => 0,
        }
    }

    /// The instructions that say no. Of an interface's packets only to those of IPv4 (tc) or TCP (XDP), so that ARP and
    /// neighbour discovery go on. `errno`: of a call, what it is to fail with; none: EPERM.
    fn instructions(self, errno: Option<i32>) -> Vec<u64> {
        let exit = step(EXIT, 0, 0, 0, 0);
        let result = |number| step(0xb7, 0, 0, 0, number);
        match self {
            Hook::TcEgress | Hook::TcIngress => {
                const PROTOCOL: i16 = 16;
                const TC_ACT_SHOT: i32 = 2;
                vec![
                    step(LOAD_WORD, 2, 1, PROTOCOL, 0),
                    result(0),
                    step(IF_EQUAL, 2, 0, 1, network_order(0x0800)),
                    exit,
                    result(TC_ACT_SHOT),
                    exit,
                ]
            }
            Hook::XdpNative | Hook::XdpGeneric => {
                const TCP: i32 = 6;
                const XDP_DROP: i32 = 1;
                const XDP_PASS: i32 = 2;
                const ETHERTYPE: i16 = 12;
                // Of the protocol in an IPv4 header, of the next header in one of IPv6, behind that of Ethernet.
                const PROTOCOLS: [(u16, i16); 2] = [(0x0800, 14 + 9), (0x86dd, 14 + 6)];
                /// Ethernet, IPv4, TCP: no smaller packet is asked for.
                const SMALLEST: i32 = 54;
                let mut steps = vec![
                    result(XDP_PASS),
                    // `xdp_md.data_end`, `xdp_md.data`
                    step(LOAD_WORD, 2, 1, 4, 0),
                    step(LOAD_WORD, 1, 1, 0, 0),
                    step(COPY, 3, 1, 0, 0),
                    step(ADD, 3, 0, 0, SMALLEST),
                    step(IF_GREATER, 3, 2, 7, 0),
                    step(LOAD_HALF, 4, 1, ETHERTYPE, 0),
                ];
                for (left, (ethertype, protocol)) in [(4, PROTOCOLS[0]), (1, PROTOCOLS[1])] {
                    steps.extend([
                        step(IF_NOT_EQUAL, 4, 0, 2, network_order(ethertype)),
                        step(LOAD_BYTE, 5, 1, protocol, 0),
                        step(IF_EQUAL, 5, 0, left, TCP),
                    ]);
                }
                steps.extend([exit, result(XDP_DROP), exit]);
                steps
            }
            _ => {
                const BPF_FUNC_SET_RETVAL: i32 = 187;
                let mut steps = Vec::new();
                if let Some(errno) = errno {
                    steps.extend([step(0xb7, 1, 0, 0, -errno), step(CALL, 0, 0, 0, BPF_FUNC_SET_RETVAL)]);
                }
                steps.extend([result(0), exit]);
                steps
            }
        }
    }
}

// Opcodes of include/uapi/linux/bpf.h and bpf_common.h, with a number (K) or a register (X) as the other operand.
const LOAD_WORD: u8 = 0x61;
const LOAD_HALF: u8 = 0x69;
const LOAD_BYTE: u8 = 0x71;
const COPY: u8 = 0xbf;
const ADD: u8 = 0x07;
const IF_EQUAL: u8 = 0x15;
const IF_NOT_EQUAL: u8 = 0x55;
const IF_GREATER: u8 = 0x2d;
const CALL: u8 = 0x85;
const SET_WORD: u8 = 0xb4;
const STORE_WORD: u8 = 0x63;
const IF_OTHER: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// `struct bpf_insn` on a little-endian machine.
fn step(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    u64::from(code)
        | u64::from(to) << 8
        | u64::from(from) << 12
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(number.cast_unsigned()) << 32
}

/// A 16-bit number of a packet as a little-endian machine loads it.
fn network_order(number: u16) -> i32 {
    number.to_be().into()
}

/// A program that is asked, as long as this lives and its place is there.
#[derive(Debug)]
pub struct Program {
    _attached: Vec<OwnedFd>,
}

/// The attributes of bpf(2): its first 128 bytes, the rest is optional.
#[repr(C, align(8))]
pub(crate) struct Attributes([u8; 128]);

impl Attributes {
    pub(crate) fn new() -> Attributes {
        Attributes([0; 128])
    }

    pub(crate) fn number(mut self, at: usize, value: u32) -> Attributes {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    pub(crate) fn pointer<T>(mut self, at: usize, to: *const T) -> Attributes {
        self.0[at..at + 8].copy_from_slice(&(to.addr() as u64).to_ne_bytes());
        self
    }

    fn descriptor(self, at: usize, fd: RawFd) -> Attributes {
        self.number(at, fd.cast_unsigned())
    }

    pub(crate) fn call(&self, command: libc::c_int) -> io::Result<RawFd> {
        // SAFETY: what the attributes point to lives in the callers, and is large enough for what the kernel puts there.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_ptr(), self.0.len()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(RawFd::try_from(result).expect("a descriptor")) }
    }
}

/// Loads a program called `name` that says no.
fn load(hook: Hook, name: &str, errno: Option<i32>) -> OwnedFd {
    load_program(hook, name, &hook.instructions(errno))
}

fn load_program(hook: Hook, name: &str, instructions: &[u64]) -> OwnedFd {
    let kind = Attributes::new().number(0, hook.program_type()).number(68, hook.attach_type());
    load_as(kind, name, instructions).unwrap_or_else(|error| panic!("load {hook:?}: {error}"))
}

/// `kind`: the attributes that say what for.
fn load_as(kind: Attributes, name: &str, instructions: &[u64]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const LICENCE: &CStr = c"Dual MIT/GPL";
    let mut attributes = kind
        .number(4, u32::try_from(instructions.len()).expect("a short program"))
        .pointer(8, instructions.as_ptr())
        .pointer(16, LICENCE.as_ptr());
    attributes.0[48..48 + name.len()].copy_from_slice(name.as_bytes());
    let fd = attributes.call(BPF_PROG_LOAD)?;
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A program that does nothing, as long as this lives.
#[derive(Debug)]
pub struct Idle {
    program: OwnedFd,
    _attached: OwnedFd,
}

impl Idle {
    /// At a raw tracepoint.
    ///
    /// # Errors
    /// When the kernel has no such tracepoint, or does not load the program.
    pub fn at(tracepoint: &CStr) -> io::Result<Idle> {
        const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
        const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
        let program = Idle::program(Attributes::new().number(0, BPF_PROG_TYPE_RAW_TRACEPOINT), 0)?;
        let place = Attributes::new().pointer(0, tracepoint.as_ptr()).descriptor(8, program.as_raw_fd());
        Idle::attached(program, place.call(BPF_RAW_TRACEPOINT_OPEN)?)
    }

    /// At the tracepoint of a system call's entry or return: `sys_enter_connect`.
    ///
    /// # Errors
    /// When the kernel has no such tracepoint, or does not load the program.
    pub fn at_call(tracepoint: &str) -> io::Result<Idle> {
        const BPF_PROG_TYPE_TRACEPOINT: u32 = 5;
        const BPF_PERF_EVENT: u32 = 41;
        const PERF_TYPE_TRACEPOINT: u32 = 2;
        const PERF_ATTR_SIZE_VER0: u32 = 64;
        // Of a mount of its own: the system may have none.
        let tracefs = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&tracefs)?;
        let root = fsmount(&tracefs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        let id = openat(root, format!("events/syscalls/{tracepoint}/id"), OFlags::CLOEXEC, Mode::empty())?;
        let id: u32 = io::read_to_string(File::from(id))?.trim().parse().map_err(io::Error::other)?;
        let event = Attributes::new().number(0, PERF_TYPE_TRACEPOINT).number(4, PERF_ATTR_SIZE_VER0).number(8, id);
        // SAFETY: the attributes are as long as they say. All processes, on the first CPU: the program runs on all of them.
        let event = unsafe { libc::syscall(libc::SYS_perf_event_open, event.0.as_ptr(), -1, 0, -1, 0) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else has; the link keeps the event.
        let event = unsafe { OwnedFd::from_raw_fd(RawFd::try_from(event).expect("a descriptor")) };
        let program = Idle::program(Attributes::new().number(0, BPF_PROG_TYPE_TRACEPOINT), 0)?;
        let attached = link(&program, event.as_raw_fd().cast_unsigned(), BPF_PERF_EVENT, 0)?;
        Idle::attached(program, attached)
    }

    /// At the root of the control groups.
    ///
    /// # Errors
    /// When they are not mounted, or the program is not loaded.
    pub fn at_root(hook: Hook) -> io::Result<Idle> {
        const LET_IT_PASS: i32 = 1;
        let kind = Attributes::new().number(0, hook.program_type()).number(68, hook.attach_type());
        let program = Idle::program(kind, LET_IT_PASS)?;
        let root = File::open(cgroup_root())?;
        let attached = link(&program, root.as_raw_fd().cast_unsigned(), hook.attach_type(), 0)?;
        Idle::attached(program, attached)
    }

    fn program(kind: Attributes, result: i32) -> io::Result<OwnedFd> {
        load_as(kind, "idle", &[step(SET_WORD, 0, 0, 0, result), step(EXIT, 0, 0, 0, 0)])
    }

    fn attached(program: OwnedFd, by: RawFd) -> io::Result<Idle> {
        // SAFETY: a new descriptor that nobody else has.
        Ok(Idle { program, _attached: unsafe { OwnedFd::from_raw_fd(by) } })
    }

    /// How often it has run, while the kernel counts that (`BPF_ENABLE_STATS`).
    pub(crate) fn runs(&self) -> io::Result<u64> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.program.as_raw_fd()))?;
        let count = info.lines().find_map(|line| line.strip_prefix("run_cnt:")?.trim().parse().ok());
        count.ok_or_else(|| io::Error::other("the kernel tells no run_cnt of a program (it does from 5.1 on)"))
    }
}

/// Where the control groups of the second version are mounted.
fn cgroup_root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("read the mounts");
    let root = mounts.lines().find_map(|line| match *line.split(' ').collect::<Vec<_>>() {
        [_, at, "cgroup2", ..] => Some(PathBuf::from(at)),
        _ => None,
    });
    root.expect("control groups, version 2, are mounted")
}

/// Attaches a program to a descriptor's or an interface's place, as long as what this gives is open.
fn link(program: &OwnedFd, place: u32, attach_type: u32, flags: u32) -> io::Result<RawFd> {
    const BPF_LINK_CREATE: libc::c_int = 28;
    Attributes::new()
        .descriptor(0, program.as_raw_fd())
        .number(4, place)
        .number(8, attach_type)
        .number(12, flags)
        .call(BPF_LINK_CREATE)
}

/// A control group of a test's own, in the second version's hierarchy. Removed when dropped; its processes must have ended.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A new one below the root.
    #[must_use]
    pub fn new(what: &str) -> Cgroup {
        Cgroup::called(what, "")
    }

    /// The same called as those of systemd's services are.
    #[must_use]
    pub fn service(what: &str) -> Cgroup {
        Cgroup::called(what, ".service")
    }

    fn called(what: &str, suffix: &str) -> Cgroup {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = cgroup_root().join(format!("netdx-{what}-{}-{number}{suffix}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
        Cgroup { path }
    }

    /// Its folder.
    ///
    /// # Panics
    /// When that is no text.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.to_str().expect("a path of text")
    }

    /// Has this program say no to everything at this hook.
    #[must_use]
    pub fn forbid(&self, hook: Hook, name: &str) -> Program {
        self.attach(hook, load(hook, name, None))
    }

    /// Has this program make a call fail with this error.
    #[must_use]
    pub fn fail(&self, hook: Hook, name: &str, errno: i32) -> Program {
        self.attach(hook, load(hook, name, Some(errno)))
    }

    /// Has this program send whoever connects to one IPv4 address to another endpoint, as load balancers of container networks do.
    #[must_use]
    pub fn redirect(&self, name: &str, dialled: Ipv4Addr, to: SocketAddrV4) -> Program {
        // Offsets in `struct bpf_sock_addr`; both in network order.
        const ADDRESS: i16 = 4;
        const PORT: i16 = 24;
        let network_order = |address: Ipv4Addr| i32::from_ne_bytes(address.octets());
        let instructions = [
            step(LOAD_WORD, 2, 1, ADDRESS, 0),
            step(SET_WORD, 3, 0, 0, network_order(dialled)),
            step(IF_OTHER, 2, 3, 4, 0),
            step(SET_WORD, 2, 0, 0, network_order(*to.ip())),
            step(STORE_WORD, 1, 2, ADDRESS, 0),
            step(SET_WORD, 2, 0, 0, self::network_order(to.port())),
            step(STORE_WORD, 1, 2, PORT, 0),
            // Go on.
            step(SET_WORD, 0, 0, 0, 1),
            step(EXIT, 0, 0, 0, 0),
        ];
        self.attach(Hook::Connect4, load_program(Hook::Connect4, name, &instructions))
    }

    fn attach(&self, hook: Hook, program: OwnedFd) -> Program {
        const BPF_PROG_ATTACH: libc::c_int = 8;
        const BPF_F_ALLOW_MULTI: u32 = 2;
        let group = File::open(&self.path).expect("open the control group");
        Attributes::new()
            .descriptor(0, group.as_raw_fd())
            .descriptor(4, program.as_raw_fd())
            .number(8, hook.attach_type())
            .number(12, BPF_F_ALLOW_MULTI)
            .call(BPF_PROG_ATTACH)
            .unwrap_or_else(|error| panic!("attach {hook:?}: {error}"));
        Program { _attached: vec![program] }
    }

    /// Has the program that this command runs be in the group.
    pub fn holds(&self, command: &mut Command) {
        let processes = File::options().write(true).open(self.path.join("cgroup.procs")).expect("open cgroup.procs");
        let enter = move || rustix::io::write(&processes, b"0").map(drop).map_err(io::Error::from);
        // SAFETY: between fork and exec only one system call is made.
        unsafe { command.pre_exec(enter) };
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has ended leaves it a moment later.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Has a program say no to packets of an interface: IPv4 (tc), TCP (XDP).
#[must_use]
pub fn forbid_at(island: &Island, device: &str, hook: Hook, name: &str) -> Program {
    let program = load(hook, name, None);
    let device = device.to_owned();
    island.inside(move || {
        let name = std::ffi::CString::new(device.as_str()).expect("a name");
        // SAFETY: the name ends with NUL.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        assert_ne!(index, 0, "no interface {device}");
        let link = link(&program, index, hook.attach_type(), hook.flags());
        let link = link.unwrap_or_else(|error| panic!("attach {hook:?}: {error}"));
        // SAFETY: a new descriptor that nobody else has.
        Program { _attached: vec![program, unsafe { OwnedFd::from_raw_fd(link) }] }
    })
}
