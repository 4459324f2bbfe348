//! The system calls that put programs into the kernel: bpf(2) and perf_event_open(2).
//!
//! Owns: their argument layouts (include/uapi/linux/bpf.h, perf_event.h) and, with `memory`, every unsafe block of `live`.
//! Must not know: which programs there are (see `probes`) and what is in them.
//!
//! aya's own loader isn't used: it parses the whole kernel BTF into objects twice at every start (27 MiB, 50 ms), and
//! netdx promises less than 20 MiB and 100 ms. aya's ELF reader (aya-obj) and map types are.

mod memory;

use aya_obj::generated::{bpf_insn, bpf_prog_info};
pub(super) use memory::{Mapping, Shared, give_back, keep_heap_small};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Commands of bpf(2).
#[derive(Clone, Copy)]
#[repr(i32)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    ProgLoad = 5,
    ObjectInfo = 15,
    RawTracepointOpen = 17,
    MapFreeze = 22,
    LinkCreate = 28,
    IterCreate = 33,
}

/// Program types (`enum bpf_prog_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(super) enum ProgramType {
    /// kprobes and uprobes
    KProbe = 2,
    /// classic tracepoints
    Tracepoint = 5,
    /// packets of a cgroup's sockets
    CgroupSkb = 8,
    /// raw tracepoints
    RawTracepoint = 17,
    /// addresses given to connect(2)
    CgroupSockAddr = 18,
    /// BTF tracepoints, fentry, fexit, walks
    Tracing = 26,
}

/// Attach types (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum AttachType {
    /// BPF_CGROUP_INET_INGRESS
    CgroupIngress = 0,
    /// BPF_CGROUP_INET_EGRESS
    CgroupEgress = 1,
    /// BPF_CGROUP_INET4_CONNECT
    Connect4 = 10,
    /// BPF_CGROUP_INET6_CONNECT
    Connect6 = 11,
    /// BPF_TRACE_RAW_TP
    TraceRawTp = 23,
    /// BPF_TRACE_FENTRY
    TraceFentry = 24,
    /// BPF_TRACE_FEXIT
    TraceFexit = 25,
    /// BPF_TRACE_ITER
    TraceIter = 28,
    /// BPF_TRACE_UPROBE_MULTI
    UprobeMulti = 48,
}

/// Beginning of `union bpf_attr` for BPF_MAP_CREATE.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; NAME_LEN],
}

/// For BPF_MAP_UPDATE_ELEM.
#[repr(C)]
#[derive(Default)]
struct MapElement {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// For BPF_PROG_LOAD, up to `attach_btf_id`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    name: [u8; NAME_LEN],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// For BPF_RAW_TRACEPOINT_OPEN.
#[repr(C)]
#[derive(Default)]
struct RawTracepoint {
    name: u64,
    prog_fd: u32,
    _pad: u32,
}

/// For BPF_LINK_CREATE, without what only some attach types take.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

/// For BPF_LINK_CREATE of uprobes.
#[repr(C)]
#[derive(Default)]
struct LinkCreateUprobes {
    common: LinkCreate,
    path: u64,
    offsets: u64,
    reference_counters: u64,
    cookies: u64,
    count: u32,
    flags: u32,
    pid: u32,
    _pad: u32,
}

/// For BPF_ITER_CREATE.
#[repr(C)]
#[derive(Default)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// For BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
#[derive(Default)]
struct ObjectInfo {
    fd: u32,
    length: u32,
    info: u64,
}

/// BPF_OBJ_NAME_LEN, terminator included.
const NAME_LEN: usize = 16;

/// `name` cut to what the kernel takes; characters it refuses become underscores.
fn object_name(name: &str) -> [u8; NAME_LEN] {
    let mut out = [0; NAME_LEN];
    for (to, from) in out.iter_mut().zip(name.bytes().take(NAME_LEN - 1)) {
        *to = if from.is_ascii_alphanumeric() || from == b'.' { from } else { b'_' };
    }
    out
}

fn pointer<T: ?Sized>(p: &T) -> u64 {
    std::ptr::from_ref(p).cast::<()>() as u64
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// bpf(2) with an argument block.
fn bpf<T>(command: Command, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: the block is one of the layouts above, initialised, and lives through the call; the kernel takes any
    // length that is a prefix of its own `union bpf_attr`. Pointers in it are made from references that the callers
    // hold for longer than this call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size_of::<T>() as libc::c_long,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A call of bpf(2) that answers with a new descriptor.
fn bpf_fd<T>(command: Command, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = i32::try_from(bpf(command, attributes)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a map.
pub(super) fn create_map(name: &str, map: &aya_obj::Map) -> io::Result<OwnedFd> {
    bpf_fd(
        Command::MapCreate,
        &mut MapCreate {
            map_type: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            map_flags: map.map_flags(),
            name: object_name(name),
            ..MapCreate::default()
        },
    )
}

/// Sets an element; `key` and `value` must have the map's sizes.
pub(super) fn update_map(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attributes =
        MapElement { map_fd: number(map), key: pointer(key), value: pointer(value), ..MapElement::default() };
    bpf(Command::MapUpdate, &mut attributes).map(drop)
}

/// Reads an element into `value`, which must have the size of the map's. False: there is none.
pub(super) fn lookup_map(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attributes = MapElement {
        map_fd: number(map),
        key: pointer(key),
        value: value.as_mut_ptr() as u64,
        ..MapElement::default()
    };
    match bpf(Command::MapLookup, &mut attributes) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a map read-only for user space, so that the verifier takes its contents for constants.
pub(super) fn freeze_map(map: BorrowedFd<'_>) -> io::Result<()> {
    bpf(Command::MapFreeze, &mut MapElement { map_fd: number(map), ..MapElement::default() }).map(drop)
}

/// A program to load.
pub(super) struct Program<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub program_type: ProgramType,
    /// What it will be attached to, for the program types that tell.
    pub attach_type: Option<AttachType>,
    /// For `Tracing`: BTF id of what it attaches to, else 0.
    pub btf_id: u32,
    /// Its code.
    pub instructions: &'a [bpf_insn],
    /// Its licence.
    pub license: &'a CStr,
}

/// Loads a program. With `log` the verifier's words are put there.
pub(super) fn load_program(program: &Program<'_>, log: Option<&mut [u8]>) -> io::Result<OwnedFd> {
    let mut attributes = ProgLoad {
        prog_type: program.program_type as u32,
        insn_cnt: u32::try_from(program.instructions.len()).map_err(io::Error::other)?,
        insns: pointer(program.instructions),
        license: pointer(program.license),
        name: object_name(program.name),
        expected_attach_type: program.attach_type.map_or(0, |t| t as u32),
        attach_btf_id: program.btf_id,
        ..ProgLoad::default()
    };
    if let Some(log) = log {
        attributes.log_level = 1;
        attributes.log_size = u32::try_from(log.len()).map_err(io::Error::other)?;
        attributes.log_buf = log.as_mut_ptr() as u64;
    }
    bpf_fd(Command::ProgLoad, &mut attributes)
}

/// How often a program was not run because it was at work on the same CPU already, interrupted by a softirq or (7.2) another
/// task (`bpf_prog_inc_misses_counter`, 5.12; where the kernel has no such count, it always runs).
pub(super) fn misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: plain numbers, of which all may be zero.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let length = size_of::<bpf_prog_info>() as u32;
    let mut attributes = ObjectInfo { fd: number(program), length, info: std::ptr::from_mut(&mut info) as u64 };
    bpf(Command::ObjectInfo, &mut attributes)?;
    Ok(info.recursion_misses)
}

/// Attaches to a raw tracepoint by name; without one, a `Tracing` program to what it was loaded for. The descriptor is
/// the attachment: closed, it ends.
pub(super) fn attach_raw(program: BorrowedFd<'_>, tracepoint: Option<&CStr>) -> io::Result<OwnedFd> {
    let mut attributes = RawTracepoint { name: tracepoint.map_or(0, pointer), prog_fd: number(program), _pad: 0 };
    bpf_fd(Command::RawTracepointOpen, &mut attributes)
}

/// Attaches to a cgroup beside the programs of others. The descriptor is the attachment.
pub(super) fn attach_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    let mut attributes =
        LinkCreate { prog_fd: number(program), target_fd: number(cgroup), attach_type: attach_type as u32, flags: 0 };
    bpf_fd(Command::LinkCreate, &mut attributes)
}

/// Makes a walk of a program that was loaded for one. From 5.8.
pub(super) fn attach_walk(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attributes =
        LinkCreate { prog_fd: number(program), attach_type: AttachType::TraceIter as u32, ..LinkCreate::default() };
    bpf_fd(Command::LinkCreate, &mut attributes)
}

/// Begins a walk: a file that gives, once, what the program writes at each step.
pub(super) fn begin_walk(walk: BorrowedFd<'_>) -> io::Result<std::fs::File> {
    bpf_fd(Command::IterCreate, &mut IterCreate { link_fd: number(walk), flags: 0 }).map(std::fs::File::from)
}

/// Attaches to an instruction of a file, or to the return of the function that begins there, in every process. The
/// descriptor is the attachment. From 6.6; closing takes a third of the time that a perf event takes.
pub(super) fn attach_uprobe(program: BorrowedFd<'_>, path: &CStr, offset: u64, at_return: bool) -> io::Result<OwnedFd> {
    /// `BPF_F_UPROBE_MULTI_RETURN`
    const RETURN: u32 = 1;
    let offsets = [offset];
    let common =
        LinkCreate { prog_fd: number(program), attach_type: AttachType::UprobeMulti as u32, ..LinkCreate::default() };
    let mut attributes = LinkCreateUprobes {
        common,
        path: pointer(path),
        offsets: pointer(&offsets),
        count: 1,
        flags: if at_return { RETURN } else { 0 },
        ..LinkCreateUprobes::default()
    };
    bpf_fd(Command::LinkCreate, &mut attributes)
}

/// What a perf event is opened on.
pub(super) enum PerfEvent<'a> {
    /// A classic tracepoint by its id.
    Tracepoint(u64),
    /// Entry of a kernel function.
    Kprobe {
        /// Type number of the kprobe PMU.
        pmu: u32,
        /// Its name.
        function: &'a CStr,
    },
    /// An instruction of a file.
    Uprobe {
        /// Type number of the uprobe PMU.
        pmu: u32,
        /// The bit of `config` that asks for the return, if the return is meant.
        return_bit: Option<u32>,
        /// The file.
        path: &'a CStr,
        /// Offset in the file.
        offset: u64,
    },
}

/// `struct perf_event_attr` up to `config2` (PERF_ATTR_SIZE_VER1).
#[repr(C)]
#[derive(Default)]
struct PerfAttributes {
    event_type: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
}

/// Attaches a program by a perf event. The descriptor is the attachment.
pub(super) fn attach_perf(program: BorrowedFd<'_>, event: &PerfEvent<'_>) -> io::Result<OwnedFd> {
    const PERF_TYPE_TRACEPOINT: u32 = 2;
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    const PERF_EVENT_IOC_ENABLE: libc::Ioctl = 0x2400;
    const PERF_EVENT_IOC_SET_BPF: libc::Ioctl = 0x4004_2408;
    let mut attributes = PerfAttributes { size: size_of::<PerfAttributes>() as u32, ..PerfAttributes::default() };
    match event {
        PerfEvent::Tracepoint(id) => {
            attributes.event_type = PERF_TYPE_TRACEPOINT;
            attributes.config = *id;
            attributes.wakeup_events = 1;
        }
        PerfEvent::Kprobe { pmu, function } => {
            attributes.event_type = *pmu;
            attributes.config1 = pointer(*function);
        }
        PerfEvent::Uprobe { pmu, return_bit, path, offset } => {
            attributes.event_type = *pmu;
            attributes.config = return_bit.map_or(0, |bit| 1u64.checked_shl(bit).unwrap_or(0));
            attributes.config1 = pointer(*path);
            attributes.config2 = *offset;
        }
    }
    // Every process, on the first CPU: the program runs on all CPUs, whatever CPU the event is opened on.
    let (pid, cpu, group) = (-1, 0, -1);
    // SAFETY: the attributes are initialised, of the size they give, and live through the call, as does the path.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_mut(&mut attributes),
            pid,
            cpu,
            group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    for (request, argument) in [(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()), (PERF_EVENT_IOC_ENABLE, 0)] {
        // SAFETY: both requests take an integer and touch no memory of ours.
        if unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(fd)
}

/// Closes descriptors without waiting for it. Closing a perf event waits until every CPU and task is done with its program,
/// one event after the other (`perf_trace_event_unreg`, 6.18: 35 ms each); a child process that ends waits in our place.
pub(super) fn close_beside(mut links: Vec<OwnedFd>) {
    links.sort_unstable_by_key(AsRawFd::as_raw_fd);
    let close = |first: u32, last: u32| {
        // SAFETY: takes integers only. What it closes is open in the child alone, which uses none of it.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    };
    // SAFETY: the child allocates nothing and takes no lock, which another thread could have held: it makes system calls
    // until it ends.
    if unsafe { libc::fork() } == 0 {
        // All but the links at once: whoever reads our output waits for its end.
        let mut next = 0;
        for link in &links {
            let number = number(link.as_fd());
            if number > next {
                close(next, number - 1);
            }
            next = number + 1;
        }
        close(next, u32::MAX);
        // SAFETY: ends the child without running anything of ours.
        unsafe { libc::_exit(0) };
    }
    // With a child these are not the last; without one (no process may be made) this waits.
    drop(links);
}
