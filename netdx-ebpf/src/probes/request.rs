//! `io_uring_submit_req(struct io_kiocb *req)`, 6.4, and `io_uring_complete(...)`: `(struct io_ring_ctx *ctx, void *req,
//! struct io_uring_cqe *cqe)` since 6.14, `(void *ctx, void *req, u64 user_data, int res, unsigned cflags, ...)` before;
//! without the request before 5.18. No system call tracepoint tells of what io_uring does.

use core::mem::MaybeUninit;

use netdx_common::config::flag;
use netdx_common::record::call;

use super::{
    Arguments,
    connect::{self, address, is_wanted},
    tracepoint,
};
use crate::{
    filter,
    maps::{REQUESTS, Request, SUBMITTED, find},
    read::{Kernel, Place, User, config, now, offset, zeroed},
    task,
};

tracepoint!("io_uring_submit_req", io_uring_submit_req, io_uring_submit_req_raw, submitted);
tracepoint!("io_uring_complete", io_uring_complete, io_uring_complete_raw, completed);

/// IORING_OP_CONNECT
const CONNECT: u8 = 16;
/// EINPROGRESS
const EINPROGRESS: i32 = -115;
/// EISCONN
const EISCONN: i32 = -106;

#[inline(always)]
fn submitted<A: Arguments>(arguments: &A) {
    let kernel = arguments.pointer(0);
    if kernel.read::<u8>(offset!(io_opcode)) != CONNECT {
        return;
    }
    let kernel = kernel.address();
    let mut room = MaybeUninit::uninit();
    let request: &mut Request = zeroed(&mut room);
    request.call.which = call::IO_URING_CONNECT;
    request.task = task::read_current();
    let arguments = kernel.field(offset!(io_cmd));
    address(
        User(arguments.read(offset!(io_connect_addr))),
        arguments.read::<u32>(offset!(io_connect_len)) as u64,
        &mut request.call,
    );
    if !is_wanted(&request.call) {
        return;
    }
    request.call.started = now();
    // Without room its failure is not told here; the socket's own still is.
    if REQUESTS.insert(kernel.0, &*request, 0).is_ok() {
        let _ = SUBMITTED.insert(request.task.tid, kernel.0, 0);
    }
}

/// The request that the current thread submitted and that isn't complete.
#[inline(always)]
pub(super) fn under_way(tid: u32) -> Option<&'static mut Request> {
    if !filter::on(flag::IO_URING) {
        return None;
    }
    find!(REQUESTS, *find!(SUBMITTED, tid)?)
}

#[inline(always)]
fn completed<A: Arguments>(arguments: &A) {
    let result = if config!(arguments.io_uring_complete_cqe) != 0 {
        arguments.pointer(2).address().read(offset!(cqe_res))
    } else if config!(arguments.io_uring_complete_res) != 0 {
        arguments.number(3) as i32
    } else {
        return;
    };
    let key = arguments.number(1);
    let Some(request) = find!(REQUESTS, key) else {
        return;
    };
    if result < 0 && result != EINPROGRESS && result != EISCONN {
        let socket = connect::socket_of_file(Kernel(key).pointer(offset!(io_file)));
        connect::write(result, &request.task, socket, &mut request.call);
    }
    // The submitting thread may have submitted another since.
    let _ = REQUESTS.remove(key);
}
