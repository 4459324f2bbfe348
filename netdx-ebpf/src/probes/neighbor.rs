//! `neigh_timer_handler(struct neighbour *neigh, int err)`, 5.1: after the timer ran; NUD_FAILED when nobody answered.

use netdx_common::record::NeighborFailed;

use super::{Arguments, tracepoint};
use crate::{
    emit::{self, Wake},
    read::{Place, offset},
    socket::{AF_INET, AF_INET6},
};

tracepoint!("neigh_timer_handler", neigh_timer_handler, neigh_timer_handler_raw, ran);

/// NUD_FAILED
const FAILED: u8 = 0x20;

#[inline(always)]
fn ran<A: Arguments>(arguments: &A) {
    let neighbor = arguments.pointer(0).address();
    if neighbor.read::<u8>(offset!(neigh_state)) & FAILED == 0 {
        return;
    }
    emit::record::<NeighborFailed>(Wake::Later, |record| {
        record.family = neighbor.pointer(offset!(neigh_table)).read::<u32>(offset!(neigh_table_family)) as u16;
        if record.family == AF_INET {
            neighbor.copy::<4>(offset!(neigh_key), &mut record.address);
        } else if record.family == AF_INET6 {
            neighbor.copy::<16>(offset!(neigh_key), &mut record.address);
        }
        let device = neighbor.pointer(offset!(neigh_dev));
        record.device = device.read(offset!(dev_ifindex));
        record.netns = device.pointer(offset!(dev_net)).read(offset!(net_inum));
        device.copy::<16>(offset!(dev_name), &mut record.device_name);
    });
}
