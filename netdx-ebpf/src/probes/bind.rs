//! The other calls that can fail before there is anything to see on a socket: `sys_{enter,exit}_bind(int fd, struct
//! sockaddr *umyaddr, int addrlen)`, `sys_{enter,exit}_socket(int family, int type, int protocol)` and
//! `sys_{enter,exit}_listen(int fd, int backlog)`.

use aya_ebpf::programs::TracePointContext;
use netdx_common::record::call;

use super::{
    Watched,
    connect::{begin, begin_with_address, is_wanted},
    syscall, syscall_field,
};
use crate::{
    filter,
    socket::{MPTCP, TCP, UDP},
};

/// SOCK_NONBLOCK and SOCK_CLOEXEC come in the upper bits of the type (SOCK_TYPE_MASK).
pub(super) const SOCKET_TYPE: u64 = 0xf;

syscall!("sys_enter_bind", sys_enter_bind, sys_enter_bind_again, Watched::Bind, bind);
syscall!("sys_enter_socket", sys_enter_socket, sys_enter_socket_again, Watched::Socket, socket);
syscall!("sys_enter_listen", sys_enter_listen, sys_enter_listen_again, Watched::Listen, listen);

#[inline(always)]
fn bind(context: &TracePointContext) {
    begin_with_address(context, call::BIND);
}

#[inline(always)]
fn socket(context: &TracePointContext) {
    begin(call::SOCKET, |call| {
        call.family = syscall_field(context, 0) as u16;
        call.socket_type = (syscall_field(context, 1) & SOCKET_TYPE) as u16;
        call.protocol = syscall_field(context, 2) as u32;
        // Not those of ping and its kin, which try one kind of socket after another.
        matches!(call.protocol as u16, 0 | TCP | UDP | MPTCP) && is_wanted(call)
    });
}

#[inline(always)]
fn listen(context: &TracePointContext) {
    begin(call::LISTEN, |call| {
        call.fd = syscall_field(context, 0) as i32;
        filter::current_task()
    });
}
