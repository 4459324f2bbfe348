//! What a system call was given, out of the user's registers: the destination of a send under way, and the arguments of a
//! call whose entry nobody saw, because seccomp answered it.
//!
//! Owns: where they are and which call has what in them. Read only when a call has failed, it costs working ones nothing.
//! They lie at the end of the kernel stack (`task_pt_regs`), and only what proves to be them is believed: a user's code
//! segment and the number of the call. Elsewhere than on x86_64 these stay unknown.

use crate::maps::Call;

/// Notes the destination of a send under way; leaves `call` as it is when it can't be told.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(super) fn destination(call: &mut Call) {
    x86_64::destination(call);
}

/// Not known here.
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn destination(_: &mut Call) {}

/// Notes what a call that returns now was given, by its system call's number; leaves `call` as it is when it can't be told.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(super) fn arguments(number: i32, call: &mut Call) {
    x86_64::arguments(number, call);
}

/// Not known here.
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn arguments(_: i32, _: &mut Call) {}

#[cfg(bpf_target_arch = "x86_64")]
mod x86_64 {
    use netdx_common::config::ABSENT;
    use netdx_common::record::call;

    use super::super::{bind::SOCKET_TYPE, connect::address};
    use crate::{
        maps::Call,
        read::{Kernel, Place, User, current, offset},
    };

    /// THREAD_SIZE, without KASAN.
    const STACK: u32 = 16384;
    /// Size of `struct pt_regs`.
    const SIZE: u32 = 168;
    /// TOP_OF_KERNEL_STACK_PADDING: without and with CONFIG_X86_FRED (6.9).
    const PADDINGS: [u32; 2] = [0, 16];

    /// Offsets in `struct pt_regs`.
    const R9: u32 = 64;
    const R8: u32 = 72;
    const DX: u32 = 96;
    const SI: u32 = 104;
    const DI: u32 = 112;
    const ORIG_AX: u32 = 120;
    const CS: u32 = 136;

    /// __USER_CS: 64-bit code.
    const USER_CS: u16 = 0x33;

    /// sendto(fd, buffer, length, flags, address, length)
    const SENDTO: u64 = 44;
    /// sendmsg(fd, message, flags)
    const SENDMSG: u64 = 46;
    /// sendmmsg(fd, messages, count, flags)
    const SENDMMSG: u64 = 307;

    #[inline(always)]
    pub(super) fn arguments(number: i32, call: &mut Call) {
        let stack = current().pointer(offset!(task_stack));
        if offset!(task_stack) == ABSENT || stack.is_null() {
            return;
        }
        for padding in PADDINGS {
            let registers = stack.field(STACK - padding - SIZE);
            if registers.read::<u16>(CS) != USER_CS || registers.read::<u64>(ORIG_AX) != number as u64 {
                continue;
            }
            let first: u64 = registers.read(DI);
            match call.which {
                call::SOCKET => {
                    call.family = first as u16;
                    call.socket_type = (registers.read::<u64>(SI) & SOCKET_TYPE) as u16;
                    call.protocol = registers.read::<u64>(DX) as u32;
                }
                call::CONNECT | call::BIND => {
                    call.fd = first as i32;
                    address(User(registers.read(SI)), registers.read(DX), call);
                }
                _ => call.fd = first as i32,
            }
            return;
        }
    }

    #[inline(always)]
    pub(super) fn destination(call: &mut Call) {
        let stack = current().pointer(offset!(task_stack));
        if offset!(task_stack) == ABSENT || stack.is_null() {
            return;
        }
        for padding in PADDINGS {
            let registers = stack.field(STACK - padding - SIZE);
            if registers.read::<u16>(CS) == USER_CS && given(registers, call) {
                return;
            }
        }
    }

    /// Notes the address among the arguments of a call that sends. False: it isn't one.
    #[inline(always)]
    fn given(registers: Kernel, call: &mut Call) -> bool {
        match registers.read::<u64>(ORIG_AX) {
            SENDTO => address(User(registers.read(R8)), registers.read(R9), call),
            SENDMSG => message(User(registers.read(SI)), call),
            // Of several messages it isn't known which one failed.
            SENDMMSG if registers.read::<u64>(DX) == 1 => message(User(registers.read(SI)), call),
            SENDMMSG => {}
            _ => return false,
        }
        true
    }

    /// `msg_name` and `msg_namelen`, the first members of `struct msghdr`.
    #[inline(always)]
    fn message(header: User, call: &mut Call) {
        address(User(header.read(0)), header.read::<u32>(8) as u64, call);
    }
}
