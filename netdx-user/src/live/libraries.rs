//! The C libraries that processes use, and where a function is in one.
//!
//! Owns: finding them (mapped in running processes, containers' included) and reading their symbols.
//! Must not know: what is attached to them.

use object::{
    Object, ObjectSegment, ObjectSymbol,
    read::{File as ElfFile, ReadCache},
};
use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A file, by its device and inode: containers that share it have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
}

/// A C library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Library {
    /// A path that leads to it from here: through /proc/PID/root for one in another mount namespace.
    pub path: PathBuf,
    id: FileId,
}

impl Library {
    /// Whether it is the same file, by whatever path.
    #[must_use]
    pub(super) fn is(&self, other: &Library) -> bool {
        self.id == other.id
    }

    /// Whether its path still leads to it: the process through whose root it was found may have ended.
    #[must_use]
    pub(super) fn is_there(&self) -> bool {
        at(&self.path).is_some_and(|found| found.is(self))
    }
}

/// The file of this path, whatever is in it.
fn at(path: &Path) -> Option<Library> {
    let metadata = fs::metadata(path).ok()?;
    Some(Library { path: path.into(), id: FileId { device: metadata.dev(), inode: metadata.ino() } })
}

/// File names of C libraries: glibc's, musl's.
fn is_libc(name: &str) -> bool {
    name == "libc.so.6" || (name.starts_with("ld-musl-") && name.ends_with(".so.1")) || {
        // glibc before 2.34 installed libc-2.31.so behind the link.
        name.strip_prefix("libc-").and_then(|n| n.strip_suffix(".so")).is_some_and(|v| v.starts_with("2."))
    }
}

/// The libc of a process, from its memory map.
fn of_process(process: &Path) -> Option<Library> {
    let maps = fs::read(process.join("maps")).ok()?;
    let maps = String::from_utf8_lossy(&maps);
    // address perms offset dev inode path
    let path = maps
        .lines()
        .filter_map(|l| l.split_once('/').map(|(_, p)| p))
        .find(|p| is_libc(p.rsplit('/').next().unwrap_or(p)))?;
    at(&process.join("root").join(path))
}

/// The C library that this system's own programs use: that of process 1, of this process, or of a well-known place.
#[must_use]
pub(super) fn own() -> Vec<Library> {
    let fixed = [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/aarch64-linux-gnu/libc.so.6",
        "/lib64/libc.so.6",
        "/usr/lib/libc.so.6",
        "/lib/ld-musl-x86_64.so.1",
        "/lib/ld-musl-aarch64.so.1",
    ];
    let mut found: Vec<Library> = Vec::new();
    for library in fixed.into_iter().filter_map(|path| at(Path::new(path))).chain(of_process(Path::new("/proc/self"))) {
        if found.iter().all(|l| l.id != library.id) {
            found.push(library);
        }
    }
    found
}

/// Every C library mapped in a running process but those known, each once. Takes a while with many processes.
#[must_use]
pub(super) fn in_use(known: &[Library]) -> Vec<Library> {
    let mut seen: HashSet<FileId> = known.iter().map(|l| l.id).collect();
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir("/proc") else { return found };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        if let Some(library) = of_process(&entry.path())
            && seen.insert(library.id)
        {
            found.push(library);
        }
    }
    found
}

/// The C library of a process.
#[must_use]
pub(super) fn of_pid(pid: u32) -> Option<Library> {
    of_process(&Path::new("/proc").join(pid.to_string()))
}

/// Where a function begins in an ELF file, as an offset in the file; none: it has no such function.
///
/// # Errors
/// When the file can't be read or isn't ELF.
pub(super) fn function_offset(path: &Path, function: &str) -> io::Result<Option<u64>> {
    let cache = ReadCache::new(File::open(path)?);
    let elf = ElfFile::parse(&cache).map_err(io::Error::other)?;
    let Some(symbol) = elf.dynamic_symbols().find(|s| s.is_definition() && s.name() == Ok(function)) else {
        return Ok(None);
    };
    let address = symbol.address();
    let segment = elf.segments().find(|s| (s.address()..s.address().saturating_add(s.size())).contains(&address));
    Ok(segment.and_then(|s| (address - s.address()).checked_add(s.file_range().0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_c_libraries() {
        for name in ["libc.so.6", "libc-2.31.so", "ld-musl-x86_64.so.1"] {
            assert!(is_libc(name), "{name}");
        }
        for name in ["libcap.so.2", "libc.so", "libc++.so.1", "libc-client.so"] {
            assert!(!is_libc(name), "{name}");
        }
    }

    #[test]
    fn the_own_library_has_getaddrinfo() {
        let libraries = own();
        let offset = libraries.iter().find_map(|l| function_offset(&l.path, "getaddrinfo").expect("ELF"));
        assert!(offset.is_some_and(|o| o > 0), "{libraries:?}");
        assert!(in_use(&libraries).iter().all(|l| libraries.iter().all(|k| k.id != l.id)));
    }

    #[test]
    fn a_file_that_was_replaced_is_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libc.so.6");
        fs::write(&path, "one").expect("write");
        let library = at(&path).expect("it is there");
        assert!(library.is_there() && !at(Path::new("/proc/self/status")).is_some_and(|other| other.is(&library)));
        let kept = File::open(&path).expect("it is there");
        fs::remove_file(&path).expect("remove");
        assert!(!library.is_there());
        fs::write(&path, "two").expect("write");
        // The first one's number isn't given out again while it is open.
        assert!(!library.is_there());
        drop(kept);
    }

    #[test]
    fn what_is_no_library_is_an_error_or_nothing() {
        assert!(function_offset(Path::new("/proc/self/status"), "getaddrinfo").is_err());
        let own = own().remove(0).path;
        assert_eq!(function_offset(&own, "there_is_no_such_function").expect("reads"), None);
    }
}
