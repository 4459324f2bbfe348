//! `sys_enter_connect(int fd, struct sockaddr *uservaddr, int addrlen)` and `sys_exit_connect(long ret)`: what an
//! application asked for, and what it got when that is a failure.
//!
//! An exit whose entry wasn't seen was answered by a seccomp filter before the call began (the entry's tracepoint comes after
//! it), with whatever error the filter gives; or it began before netdx did. The first needs a filter, and leaves a socket as
//! it was: one of TCP has no sequence number yet.

use aya_ebpf::programs::TracePointContext;
use netdx_common::config::flag;
use netdx_common::record::{CallFailed, Dialled, Task, Tuple, call};

use super::{Watched, registers, request, syscall, syscall_field, syscall_number};
use crate::{
    emit::{self, Wake},
    filter,
    maps::{CALLS, Call, Conn, NO_CALL, find},
    read::{Kernel, Place, User, clear, current, now, offset},
    socket::{self, AF_INET, AF_INET6, TCP, state},
    task,
};

/// EPERM
const EPERM: i32 = 1;
/// EACCES
const EACCES: i32 = 13;
/// ENOSYS
const ENOSYS: i32 = 38;
/// EISCONN
const EISCONN: i32 = 106;
/// EALREADY
const EALREADY: i32 = 114;
/// EINPROGRESS
const EINPROGRESS: i32 = 115;

/// `Attempt::via`
mod via {
    pub(super) const UNKNOWN: u32 = 0;
    pub(super) const CONNECT: u32 = 1;
    pub(super) const IO_URING: u32 = 2;
    pub(super) const FAST_OPEN: u32 = 3;
}

/// `CallFailed::cgroup_hook` where netdx has no program that would tell.
const NO_HOOK: u32 = 2;

syscall!("sys_enter_connect", sys_enter_connect, sys_enter_connect_again, Watched::Connect, connect);
// Also of `sys_exit_{bind,socket,listen}`: one for all of them, for the verifier's time is most of netdx's start.
syscall!("sys_exit_connect", sys_exit, sys_exit_again, Watched::Return, returned);

/// The call that a system call's number stands for. Calls of 32-bit programs have no such tracepoints.
#[inline(always)]
fn which(number: i32) -> Option<u16> {
    Some(match number {
        number::CONNECT => call::CONNECT,
        number::BIND => call::BIND,
        number::SOCKET => call::SOCKET,
        number::LISTEN => call::LISTEN,
        _ => return None,
    })
}

/// arch/x86/entry/syscalls/syscall_64.tbl
#[cfg(bpf_target_arch = "x86_64")]
mod number {
    pub(super) const CONNECT: i32 = 42;
    pub(super) const BIND: i32 = 49;
    pub(super) const SOCKET: i32 = 41;
    pub(super) const LISTEN: i32 = 50;
}

/// include/uapi/asm-generic/unistd.h
#[cfg(not(bpf_target_arch = "x86_64"))]
mod number {
    pub(super) const CONNECT: i32 = 203;
    pub(super) const BIND: i32 = 200;
    pub(super) const SOCKET: i32 = 198;
    pub(super) const LISTEN: i32 = 201;
}

/// Reads an internet address as an application gives it. `call`: zeroed so far.
#[inline(always)]
pub(super) fn address(from: User, length: u64, call: &mut Call) {
    /// Family, port, IPv4 address (struct sockaddr_in).
    const V4: u64 = 8;
    if length < V4 {
        call.family = from.read(0);
        return;
    }
    let [f0, f1, p0, p1, a, b, c, d]: [u8; 8] = from.read(0);
    call.family = u16::from_ne_bytes([f0, f1]);
    if call.family == AF_INET {
        call.port = u16::from_be_bytes([p0, p1]);
        call.address[..4].copy_from_slice(&[a, b, c, d]);
    } else if call.family == AF_INET6 && length >= 24 {
        call.port = u16::from_be_bytes([p0, p1]);
        call.address = from.read(8);
        if length >= 28 {
            call.scope = from.read(24);
        }
    }
}

/// Whether a call of the current task to this address is wanted.
#[inline(always)]
pub(super) fn is_wanted(call: &Call) -> bool {
    (call.family == AF_INET || call.family == AF_INET6) && filter::port(call.port) && filter::current_task()
}

#[inline(always)]
fn connect(context: &TracePointContext) {
    begin_with_address(context, call::CONNECT);
}

/// Room for the current thread's call.
#[inline(always)]
fn kept(which: u16) -> Option<&'static mut Call> {
    let tid = task::tid();
    let call = match find!(CALLS, tid) {
        Some(call) => call,
        None => {
            // Without room the arguments of this one are lost.
            let _ = CALLS.insert(tid, &NO_CALL, 0);
            find!(CALLS, tid)?
        }
    };
    clear(call);
    call.fd = -1;
    call.which = which;
    Some(call)
}

/// Keeps a call until it returns. `read` notes what it was given and says whether it is wanted; else it is kept only as seen.
#[inline(always)]
pub(super) fn begin(which: u16, read: impl FnOnce(&mut Call) -> bool) {
    let Some(call) = kept(which) else {
        return;
    };
    call.started = now();
    if !read(call) {
        call.family = Call::FOREIGN;
    }
}

/// The same for a call that is given a descriptor, an address and its length.
#[inline(always)]
pub(super) fn begin_with_address(context: &TracePointContext, which: u16) {
    begin(which, |call| {
        call.fd = syscall_field(context, 0) as i32;
        address(User(syscall_field(context, 1)), syscall_field(context, 2), call);
        is_wanted(call)
    });
}

/// A call returns. Which it is, is read of what is kept of it, for the verifier goes through all ways that a value can have,
/// if it knows them.
#[inline(always)]
fn returned(context: &TracePointContext) {
    let result = syscall_field(context, 0) as i32;
    let begun = find!(CALLS, task::tid()).filter(|call| call.family != Call::NONE);
    let Some(call) = (match begun {
        Some(call) => Some(call),
        None => unseen(syscall_number(context), result),
    }) else {
        return;
    };
    let of_connect = call.which == call::CONNECT;
    let fine = result >= 0 || of_connect && matches!(-result, EISCONN | EALREADY | EINPROGRESS);
    if !fine && call.family != Call::FOREIGN && !(of_connect && told(result, call)) {
        write(result, &task::read_current(), socket_of(call.fd), call);
    }
    call.family = Call::NONE;
}

/// What can be said of a call that failed and whose entry nobody saw, if it is wanted and can't have begun.
#[inline(always)]
fn unseen(number: i32, result: i32) -> Option<&'static mut Call> {
    if result >= 0 || !task::is_filtered() || !filter::current_task() {
        return None;
    }
    let call = kept(which(number)?)?;
    registers::arguments(number, call);
    // Without its arguments it can't pass a filter by port.
    if filter::port(call.port) && is_unbegun(result, call) {
        return Some(call);
    }
    call.family = Call::NONE;
    None
}

/// Writes a connect that failed because its attempt did, which was written as it ended: the same task, and nothing is new
/// on the socket but that its error was taken. False: that isn't so.
#[inline(always)]
fn told(result: i32, call: &Call) -> bool {
    const SOCK_STREAM: u16 = 1;
    if call.sock == 0 {
        return false;
    }
    let Some(conn) = find!(CONNS, call.sock) else {
        return false;
    };
    if conn.last.id != call.id || conn.flags & Conn::ENDED == 0 {
        return false;
    }
    record(result, &conn.task, call, |record| {
        record.sock = conn.last;
        record.sock.state = state::CLOSE as u8;
        record.sock.error = 0;
        record.sock.soft_error = 0;
        record.sock.retransmits = 0;
        record.socket_type = SOCK_STREAM;
    });
    true
}

/// Whether a call that nobody saw begin can't have begun before netdx did either. Where its arguments are not known the
/// usual answers of filters are taken for such.
#[inline(always)]
fn is_unbegun(result: i32, call: &Call) -> bool {
    if call.which == call::SOCKET {
        // It returns at once.
        return true;
    }
    if call.fd < 0 {
        return matches!(-result, EPERM | EACCES | ENOSYS);
    }
    let sk = socket_of(call.fd).pointer(offset!(socket_sk));
    !sk.is_null()
        && socket::is_internet(sk)
        && (sk.read::<u16>(offset!(sk_protocol)) != TCP || sk.read::<u32>(offset!(tcp_write_seq)) == 0)
}

/// Writes a call that failed. `socket`: the kernel's `struct socket`, if there is one.
#[inline(always)]
pub(super) fn write(result: i32, task: &Task, socket: Kernel, call: &mut Call) {
    let sk = socket.pointer(offset!(socket_sk));
    let is_socket = !sk.is_null() && socket::is_internet(sk);
    if call.which == call::LISTEN {
        // Its socket is all that is known of the address.
        if !is_socket || !filter::port(sk.read(offset!(skc_num))) {
            return;
        }
        call.family = sk.read(offset!(skc_family));
    }
    let mut conn = if is_socket { socket::followed(sk) } else { None };
    if let Some(conn) = &mut conn {
        socket::introduce(sk, conn);
    }
    task::remember(task);
    task::announce(task.tgid);
    record(result, task, call, |record| {
        if is_socket {
            socket::describe(sk, conn, &mut record.sock);
            record.socket_type = socket.read(offset!(socket_type));
        }
    });
}

/// The record of a call that failed; `describe` notes its socket.
#[inline(always)]
fn record(result: i32, task: &Task, call: &Call, describe: impl FnOnce(&mut CallFailed)) {
    emit::record::<CallFailed>(Wake::Now, |record| {
        record.started = call.started;
        record.task = *task;
        describe(record);
        if record.sock.id == 0 {
            record.sock.id = call.id;
        }
        record.address = call.address;
        record.family = call.family;
        record.port = call.port;
        record.call = call.which;
        if call.socket_type != 0 {
            record.socket_type = call.socket_type;
        }
        record.result = result;
        record.cgroup_hook = if filter::on(flag::CONNECT_HOOK) { call.cgroup_hook } else { NO_HOOK };
        record.scope = call.scope;
        record.protocol = call.protocol;
        record.route = call.route;
    });
}

/// The `struct socket` behind a descriptor of the current process; null: none, or not a socket.
#[inline(always)]
fn socket_of(fd: i32) -> Kernel {
    let table = current().pointer(offset!(task_files)).pointer(offset!(files_fdt));
    if fd < 0 || fd as u32 >= table.read::<u32>(offset!(fdt_max_fds)) {
        return Kernel::NULL;
    }
    socket_of_file(table.pointer(offset!(fdt_fd)).pointer(fd as u32 * 8))
}

/// The `struct socket` behind a `struct file`; null: it isn't one of a socket.
#[inline(always)]
pub(super) fn socket_of_file(file: Kernel) -> Kernel {
    /// S_IFMT
    const KIND: u16 = 0o170_000;
    /// S_IFSOCK
    const SOCKET: u16 = 0o140_000;
    if file.is_null() || file.pointer(offset!(file_inode)).read::<u16>(offset!(inode_mode)) & KIND != SOCKET {
        return Kernel::NULL;
    }
    file.pointer(offset!(file_private))
}

/// An attempt to connect `sk`, to the remote end of `tuple`, begins in the current thread. `begin` is told how it came to that,
/// and gives the attempt's id, which the call or request under way is told.
#[inline(always)]
pub(super) fn attempt<P: Place>(sk: P, tid: u32, tuple: &Tuple, begin: impl FnOnce(u32) -> u64) {
    let call = under_way(tid);
    let way = match &call {
        Some(call) if call.which == call::IO_URING_CONNECT => via::IO_URING,
        Some(_) => via::CONNECT,
        None => via::UNKNOWN,
    };
    let fast_open = socket::tcp(sk).is_some_and(|tcp| tcp.read::<u64>(offset!(tcp_fastopen_req)) != 0);
    let id = begin(if fast_open { via::FAST_OPEN } else { way });
    if let Some(call) = call {
        call.sock = if call.id == 0 { sk.address().0 } else { 0 };
        call.id = id;
        if is_elsewhere(call, tuple)
            && let Some(conn) = socket::followed(sk)
        {
            conn.dialled = Dialled { family: call.family, port: call.port, address: call.address };
        }
    }
}

/// Whether a call asked for another end than the socket's. No address is the own host's; a multipath socket has none yet.
#[inline(always)]
fn is_elsewhere(call: &Call, tuple: &Tuple) -> bool {
    let asked = u128::from_ne_bytes(call.address);
    tuple.remote_port != 0
        && (call.port != tuple.remote_port || asked != 0 && asked != u128::from_ne_bytes(tuple.remote))
}

/// The call under way in the current thread, or what io_uring was asked for in its place, if it is wanted.
#[inline(always)]
pub(super) fn under_way(tid: u32) -> Option<&'static mut Call> {
    if filter::on(flag::CONNECT_CALLS)
        && let Some(call) = find!(CALLS, tid)
        && call.family != Call::FOREIGN
        && call.family != Call::NONE
    {
        return Some(call);
    }
    request::under_way(tid).map(|request| &mut request.call)
}
