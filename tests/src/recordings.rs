//! The recordings of the live scenarios. Owns: where they are. Must not know: what is in them.

use std::fs;
use std::path::{Path, PathBuf};

/// One recording.
#[derive(Debug)]
pub struct Recording {
    /// `FAMILY.SCENARIO`: the file of tests/live and the function in it that made it.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Their folder.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings")
}

/// All of them, by name.
///
/// # Panics
/// When they can't be read.
#[must_use]
pub fn all() -> Vec<Recording> {
    let entries = fs::read_dir(folder()).unwrap_or_else(|error| panic!("{}: {error}", folder().display()));
    let mut all: Vec<Recording> = entries
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".netdx.jsonl")?.to_owned();
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            Some(Recording { name, bytes })
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
