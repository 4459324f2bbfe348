//! Records of the ring buffer, whatever is in them.
//!
//! Each begins with a byte for its kind and one for the bytes that follow; what is missing to a whole record is zero. The
//! upper bit of the kind: no record is made of the bytes, they stand for one as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netdx::{decode::decode, input::Stamped};
use netdx_common::record::{self as wire, Header, Kind};
use zerocopy::IntoBytes as _;

/// Sizes of the records by kind.
const SIZES: [usize; 20] = [
    0,
    size_of::<wire::Attempt>(),
    size_of::<wire::State>(),
    size_of::<wire::SocketError>(),
    size_of::<wire::ResetReceived>(),
    size_of::<wire::ResetSent>(),
    size_of::<wire::Retransmit>(),
    size_of::<wire::SynAckRetransmit>(),
    size_of::<wire::Drop>(),
    size_of::<wire::IcmpReceived>(),
    size_of::<wire::IcmpSent>(),
    size_of::<wire::NeighborFailed>(),
    size_of::<wire::CallFailed>(),
    size_of::<wire::Dns>(),
    size_of::<wire::ListenOverflow>(),
    size_of::<wire::Process>(),
    size_of::<wire::ProcessExit>(),
    size_of::<wire::GetAddrInfo>(),
    size_of::<wire::ResetAnswer>(),
    size_of::<wire::ResetEnd>(),
];

fn records(mut data: &[u8]) -> Vec<Stamped> {
    let mut events = Vec::new();
    let mut time = 1_000_000_u64;
    while let Some(([kind, length, step], rest)) = data.split_first_chunk() {
        let (content, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        data = rest;
        // Some steps take longer than what is waited for, most of them none of it.
        time += 1 << (step % 40);
        let bytes = if kind & 0x80 != 0 {
            content.to_vec()
        } else {
            let number = usize::from(*kind) % SIZES.len();
            let size = SIZES[number].max(size_of::<Header>());
            let header = Header { kind: Kind(number as u16), size: size as u16, cpu: 0, time };
            let mut bytes = header.as_bytes().to_vec();
            bytes.extend(content);
            bytes.resize(size, 0);
            bytes
        };
        // What is refused has to be told in words.
        if let Err(error) = decode(&bytes, &netdx_fuzz::Names, &mut events) {
            netdx_fuzz::plain(&error.to_string());
        }
    }
    events
}

fuzz_target!(|data: &[u8]| {
    let events = records(data);
    let header = netdx_fuzz::header();
    netdx_fuzz::round_trip(&header, &events, false);
    netdx_fuzz::run(&header, &events);
});
