//! Recordings, plain and compressed: read, replayed, shown, and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netdx::{input::Stamped, recording::Reader};

fuzz_target!(|data: &[u8]| {
    let mut reader = match Reader::new(data) {
        Ok(reader) => reader,
        Err(error) => return netdx_fuzz::plain(&error.to_string()),
    };
    let header = reader.header().clone();
    let inputs: Vec<Stamped> = reader.by_ref().take(1000).collect();
    reader.damage().sentences().iter().for_each(|sentence| netdx_fuzz::plain(sentence));
    netdx_fuzz::round_trip(&header, &inputs, false);
    netdx_fuzz::run(&header, &inputs);
});
