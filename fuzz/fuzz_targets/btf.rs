//! Type information of a kernel: `--btf FILE` takes it from anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netdx::live::{btf::Btf, offsets::Kernel, probes};

fuzz_target!(|data: &[u8]| {
    let btf = match Btf::parse(data) {
        Ok(btf) => btf,
        Err(error) => return netdx_fuzz::plain(&error.to_string()),
    };
    if let Err(error) = Kernel::read(&btf, &probes::tracepoints(), &probes::FUNCTIONS) {
        netdx_fuzz::plain(&error.to_string());
    }
    for (id, _) in btf.named_enums() {
        _ = btf.constants(id);
    }
    // Ids that types refer to, and ids beyond: members, sizes, parameters and names of each.
    for number in (0..64).chain([u32::MAX]) {
        let id = netdx::live::btf::TypeId(number);
        _ = (btf.member(id, "a.b.c"), btf.size(id), btf.parameters(id), btf.type_name(id), btf.constants(id));
    }
});
