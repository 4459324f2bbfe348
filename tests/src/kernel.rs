//! What is loaded in the kernel, by bpf(2). Owns: asking for ids. Must not know: whose programs they are.

use aya::maps::loaded_maps;
use aya::programs::loaded_programs;
use std::collections::BTreeSet;
use std::fs;

/// The ids of the maps and links that a process holds open (`map_id` and `link_id` in its fdinfo, proc(5)).
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn held_by(pid: u32) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let (mut maps, mut links) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process is there") {
        // It may have been closed meanwhile.
        let text = fs::read_to_string(entry.expect("a descriptor").path()).unwrap_or_default();
        let id = |label: &str| text.lines().find_map(|line| line.strip_prefix(label)?.trim().parse::<u32>().ok());
        maps.extend(id("map_id:"));
        links.extend(id("link_id:"));
    }
    (maps, links)
}

/// The ids of all loaded programs.
#[must_use]
pub fn programs() -> BTreeSet<u32> {
    // One that ended between its id and its description is gone.
    loaded_programs().filter_map(Result::ok).map(|program| program.id()).collect()
}

/// The ids of loaded programs that use one of these maps.
#[must_use]
pub fn programs_with(maps: &BTreeSet<u32>) -> BTreeSet<u32> {
    let uses = |program: &aya::programs::ProgramInfo| {
        program.map_ids().ok().flatten().is_some_and(|ids| ids.iter().any(|id| maps.contains(id)))
    };
    loaded_programs().filter_map(Result::ok).filter(uses).map(|program| program.id()).collect()
}

/// Whether there is a map of this id.
#[must_use]
pub fn map_exists(id: u32) -> bool {
    loaded_maps().filter_map(Result::ok).any(|map| map.id() == id)
}
