//! `fib_table_lookup(u32 tb_id, const struct flowi4 *flp, const struct fib_nh_common *nhc, int err)`, 4.4 (nhc: 5.2), and
//! `fib6_table_lookup(const struct net *net, const struct fib6_result *res, struct fib6_table *table, const struct
//! flowi6 *flp)`, 4.10 (res: 5.2): what the routing tables answered to a call under way.
//!
//! They come for every forwarded packet too, under the pid of whoever was interrupted: a lookup belongs to a call only
//! when it is for its address. Outside of calls that are kept (sendto, TCP Fast Open) only failures are.

use netdx_common::config::ABSENT;
use netdx_common::record::RouteLookups;
use zerocopy::transmute;

use super::{Arguments, connect, tracepoint};
use crate::{
    maps::{FAILED_LOOKUPS, FailedLookup, find},
    read::{Place, current, now, offset},
    socket::{AF_INET, AF_INET6},
    task,
};

tracepoint!("fib_table_lookup", fib_table_lookup, fib_table_lookup_raw, looked_up);
tracepoint!("fib6_table_lookup", fib6_table_lookup, fib6_table_lookup_raw, looked_up6);

/// RT_TABLE_MAIN
const MAIN: u32 = 254;
/// RT_TABLE_LOCAL
const LOCAL: u32 = 255;

/// -EAGAIN: nothing in this table, the next one is asked.
const NOTHING_HERE: i32 = -11;

/// Route types that are errors (`RTN_*` of linux/rtnetlink.h) and what they give (ip6_rt_type_to_error, 6.18).
#[inline(always)]
fn error_of(kind: u8) -> i32 {
    match kind {
        6 => -22,          // RTN_BLACKHOLE: EINVAL
        7 => -113,         // RTN_UNREACHABLE: EHOSTUNREACH
        8 => -13,          // RTN_PROHIBIT: EACCES
        9 => NOTHING_HERE, // RTN_THROW
        _ => 0,
    }
}

#[inline(always)]
fn looked_up<A: Arguments>(arguments: &A) {
    let flow = arguments.pointer(1);
    let address = transmute!([flow.read::<u32>(offset!(flow4_daddr)), 0, 0, 0]);
    let device = flow.read(offset!(flow4_oif));
    answered(AF_INET, &address, arguments.number(0) as u32, arguments.number(3) as i32, 0, device);
}

#[inline(always)]
fn looked_up6<A: Arguments>(arguments: &A) {
    let (net, result, table, flow) =
        (arguments.pointer(0).address(), arguments.pointer(1), arguments.pointer(2), arguments.pointer(3));
    let mut address = [0; 16];
    flow.copy::<16>(offset!(flow6_daddr), &mut address);
    let kind: u8 = result.read(offset!(fib6_type));
    // Nothing found gives a route of its own, of type "unreachable".
    let found = result.address();
    let nothing = offset!(net_fib6_null) != ABSENT
        && !found.pointer(offset!(fib6_info)).is_null()
        && found.pointer(offset!(fib6_info)) == net.pointer(offset!(net_fib6_null));
    let error = if nothing { NOTHING_HERE } else { error_of(kind) };
    let id: u32 = table.read(offset!(fib6_table));
    answered(AF_INET6, &address, id, error, kind as u32, flow.read(offset!(flow6_oif)));
}

#[inline(always)]
fn answered(family: u16, address: &[u8; 16], table: u32, error: i32, kind: u32, device: u32) {
    let tid = task::tid();
    if tid == 0 {
        return;
    }
    if let Some(call) = connect::under_way(tid) {
        if is_for(call.family, &call.address, family, address) {
            note(&mut call.route, table, error, kind, device);
        }
    } else if error != 0 {
        fail(tid, family, address, table, error, kind, device);
    }
}

/// Whether a lookup of `address` is for a call to `given`: the same, or the IPv4 address mapped in it.
#[inline(always)]
fn is_for(given_family: u16, given: &[u8; 16], family: u16, address: &[u8; 16]) -> bool {
    let [given, address] = [u128::from_be_bytes(*given), u128::from_be_bytes(*address)];
    if given_family == family { given == address } else { family == AF_INET && given as u32 == (address >> 96) as u32 }
}

/// Adds a lookup to what a call's lookups said.
#[inline(always)]
fn note(route: &mut RouteLookups, table: u32, error: i32, kind: u32, device: u32) {
    route.tables |= match table {
        MAIN => 1,
        LOCAL => 2,
        _ => 4,
    };
    // A table without an answer says less than one with.
    if route.count == 0 || error != NOTHING_HERE || route.error == NOTHING_HERE {
        route.table = table;
        route.error = error;
        route.kind = kind;
        route.device = device;
    }
    route.count += 1;
}

/// Keeps a lookup that failed for the call that may fail of it. A task without memory makes no calls: it is the kernel's, or
/// ends (exit_mm in do_exit, 5.10 to 6.18), and closes its sockets when what it had under way is forgotten already.
#[inline(always)]
fn fail(tid: u32, family: u16, address: &[u8; 16], table: u32, error: i32, kind: u32, device: u32) {
    if current().pointer(offset!(task_mm)).is_null() {
        return;
    }
    let time = now();
    if let Some(last) = find!(FAILED_LOOKUPS, tid)
        && last.family == family as u32
        && u128::from_be_bytes(last.address) == u128::from_be_bytes(*address)
        && time.wrapping_sub(last.time) < SAME_CALL
    {
        last.time = time;
        note(&mut last.route, table, error, kind, device);
        return;
    }
    let mut lookup = FailedLookup {
        time,
        address: *address,
        route: RouteLookups { count: 0, tables: 0, table: 0, error: 0, kind: 0, device: 0 },
        family: family as u32,
        _pad: 0,
    };
    note(&mut lookup.route, table, error, kind, device);
    // What can't be kept is not told: the call's error still is.
    let _ = FAILED_LOOKUPS.insert(tid, &lookup, 0);
}

/// Lookups of one address by one thread no further apart than this belong to one call (ns).
const SAME_CALL: u64 = 1_000_000;

/// The lookup that the current thread's call has just failed of.
#[inline(always)]
pub(super) fn failed(tid: u32) -> Option<&'static FailedLookup> {
    let lookup = find!(FAILED_LOOKUPS, tid)?;
    (now().wrapping_sub(lookup.time) < SAME_CALL).then_some(&*lookup)
}
