//! DNS messages, asked and answered by one socket: two bytes for how much of the message was carried, then the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netdx::decode::decode;
use netdx_common::record::{DNS_HEAD, DNS_LEN, Dns, Header, Kind, Tuple};
use zerocopy::{FromZeros as _, IntoBytes as _};

fn record(message: &[u8], length: u16, leaving: bool, time: u64) -> Vec<u8> {
    let carried = &message[..message.len().min(DNS_LEN)];
    let size = DNS_HEAD + carried.len();
    let mut record = Dns::new_zeroed();
    record.header = Header { kind: Kind::DNS, size: size as u16, cpu: 0, time };
    record.cookie = 7;
    record.netns = 3;
    (record.current.tgid, record.current.tid) = (5, 5);
    let mut local = [0; 16];
    local[..4].copy_from_slice(&[127, 0, 0, 1]);
    record.tuple = Tuple { family: 2, protocol: 17, local_port: 4000, remote_port: 53, local, remote: local };
    record.flow = if leaving { 1 } else { 2 };
    record.length = length;
    record.data[..carried.len()].copy_from_slice(carried);
    record.as_bytes()[..size].to_vec()
}

fuzz_target!(|data: &[u8]| {
    let Some(([low, high], message)) = data.split_first_chunk() else { return };
    let length = u16::from_le_bytes([*low, *high]);
    // The question is the same message with the bit of an answer (RFC 1035 §4.1.1) off.
    let mut question = message.to_vec();
    if let Some(flags) = question.get_mut(2) {
        *flags &= 0x7f;
    }
    let records = [record(&question, length, true, 1_000_000), record(message, length, false, 2_000_000)];
    let mut events = Vec::new();
    for bytes in &records {
        decode(bytes, &netdx_fuzz::Names, &mut events).expect("a message is never refused");
    }
    let header = netdx_fuzz::header();
    netdx_fuzz::round_trip(&header, &events, false);
    netdx_fuzz::run(&header, &events);
});
