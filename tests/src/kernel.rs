//! What is loaded in the kernel, by bpf(2). Owns: asking for ids. Must not know: whose programs they are.

use crate::bpf::Attributes;
use aya::maps::{MapInfo, loaded_maps};
use aya::programs::{loaded_links, loaded_programs};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

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

/// The ids of all links.
#[must_use]
pub fn links() -> BTreeSet<u32> {
    loaded_links().filter_map(Result::ok).map(|link| link.id()).collect()
}

/// The ids of loaded programs that use one of these maps.
#[must_use]
pub fn programs_with(maps: &BTreeSet<u32>) -> BTreeSet<u32> {
    let uses = |program: &aya::programs::ProgramInfo| {
        program.map_ids().ok().flatten().is_some_and(|ids| ids.iter().any(|id| maps.contains(id)))
    };
    loaded_programs().filter_map(Result::ok).filter(uses).map(|program| program.id()).collect()
}

/// How often programs that use one of these maps were not run because they were at work on the same CPU
/// (`recursion_misses` in their fdinfo, from 5.12), by their names, which the kernel cuts after 15 bytes. Only those with any.
///
/// # Panics
/// When a program can't be opened.
#[must_use]
pub fn missed_runs(maps: &BTreeSet<u32>) -> BTreeMap<String, u64> {
    let ids = programs_with(maps);
    let mut missed = BTreeMap::new();
    for program in loaded_programs().filter_map(Result::ok).filter(|program| ids.contains(&program.id())) {
        let fd = program.fd().expect("open a program that is held");
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).expect("it is open");
        let number = text.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok());
        if let Some(number) = number.filter(|number| *number > 0) {
            *missed.entry(program.name_as_str().unwrap_or_default().to_owned()).or_default() += number;
        }
    }
    missed
}

/// Whether there is a map of this id.
#[must_use]
pub fn map_exists(id: u32) -> bool {
    loaded_maps().filter_map(Result::ok).any(|map| map.id() == id)
}

/// The maps of the programs that use one of these maps: their ids by name.
#[must_use]
pub fn maps_beside(maps: &BTreeSet<u32>) -> BTreeMap<String, u32> {
    let programs = loaded_programs().filter_map(Result::ok);
    let ids = programs.filter_map(|program| program.map_ids().ok().flatten());
    let all: BTreeSet<u32> = ids.filter(|ids| ids.iter().any(|id| maps.contains(id))).flatten().collect();
    let name = |id: u32| MapInfo::from_id(id).ok()?.name_as_str().map(|name| (name.to_owned(), id));
    all.into_iter().filter_map(name).collect()
}

/// The keys of a hash.
///
/// # Panics
/// When it can't be listed.
#[must_use]
pub fn keys(id: u32) -> BTreeSet<Vec<u8>> {
    const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
    let map = MapInfo::from_id(id).unwrap_or_else(|error| panic!("map {id}: {error}"));
    let fd = map.fd().unwrap_or_else(|error| panic!("open map {id}: {error}"));
    let size = usize::try_from(map.key_size()).expect("a small key");
    let (mut key, mut next) = (None::<Vec<u8>>, vec![0_u8; size]);
    let mut seen = BTreeSet::new();
    loop {
        let first = key.as_ref().map_or(std::ptr::null(), |key| key.as_ptr());
        let attributes = Attributes::new()
            .number(0, fd.as_fd().as_raw_fd().cast_unsigned())
            .pointer(8, first)
            .pointer(16, next.as_mut_ptr().cast_const());
        match attributes.call(BPF_MAP_GET_NEXT_KEY) {
            // Where the last key has gone meanwhile, the kernel begins again.
            Ok(_) if !seen.insert(next.clone()) => return seen,
            Ok(_) => key = Some(next.clone()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return seen,
            Err(error) => panic!("list map {id}: {error}"),
        }
    }
}
