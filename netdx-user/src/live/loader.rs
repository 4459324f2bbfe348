//! Puts the programs' object into the kernel: its maps, its configuration, and programs one by one.
//!
//! Owns: the embedded object and its maps. Must not know: what programs are for (see `probes`) or where they are
//! attached (see `attach`).

use super::sys::{self, ProgramType};
use aya::maps::{Map, MapData, MapError};
use aya_obj::{EbpfSectionKind, Object, ParseError, relocation::EbpfRelocationError};
use netdx_common::config::Config;
use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};
use zerocopy::IntoBytes;

#[cfg(target_arch = "x86_64")]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/netdx-x86_64.o");
#[cfg(target_arch = "aarch64")]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/netdx-aarch64.o");

/// Why the object can't be put into the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedded object isn't what this netdx was made for.
    #[error("the embedded eBPF object can't be read: {0}")]
    Object(ParseError),
    /// As above.
    #[error("the embedded eBPF object can't be linked: {0}")]
    Link(EbpfRelocationError),
    /// A map could not be made.
    #[error("the kernel refused the map {name} ({bytes} bytes): {error}{advice}", advice = map_advice(error))]
    Map {
        /// Its name.
        name: String,
        /// How much it was to hold.
        bytes: u64,
        /// Why.
        error: io::Error,
    },
    /// A map could not be filled.
    #[error("map {name} could not be filled: {error}")]
    Fill {
        /// Its name.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A map that this netdx relies on is not in the object.
    #[error("the embedded eBPF object has no map {0}")]
    NoMap(&'static str),
    /// A map can't be opened once more.
    #[error("map {name} can't be opened once more: {error}{advice}", advice = map_advice(error))]
    Descriptor {
        /// Its name.
        name: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A map is of another kind than this netdx relies on.
    #[error("map {name}: {error}")]
    MapKind {
        /// Its name.
        name: &'static str,
        /// In what.
        error: MapError,
    },
}

/// What to do when the kernel refuses a map.
fn map_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        // Without the right to bpf(2) netdx does not get this far.
        Some(libc::EPERM | libc::EACCES) => {
            "\na sandbox around netdx forbids bpf(2) (seccomp, as in containers: run netdx outside of it), or, before Linux \
             5.11, too little memory may be locked (ulimit -l unlimited; LimitMEMLOCK=infinity in a systemd unit)"
        }
        Some(libc::ENOMEM) => {
            "\nthere is too little memory, or the memory limit of netdx's control group is too low: raise it (MemoryMax= in a \
             systemd unit), or give netdx a smaller --buffer"
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "\nraise the limit of open files (ulimit -n; LimitNOFILE= in a systemd unit)"
        }
        _ => "",
    }
}

/// The object with its maps made and its programs ready to be loaded.
pub(super) struct Loader {
    object: Object,
    maps: HashMap<String, OwnedFd>,
}

/// Why a program was not loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The object doesn't have it.
    #[error("the eBPF object has no such program")]
    NoProgram,
    /// The kernel refused it before looking at its code, or says nothing.
    #[error("{0}")]
    Kernel(io::Error),
    /// The verifier refused its code.
    #[error("the kernel's verifier refused it: {line}")]
    Verifier {
        /// The line of its log that says why.
        line: String,
        /// The log.
        log: String,
    },
}

impl Loader {
    /// Reads the object, configures it and makes its maps. `sizes`: how many entries maps have, where it isn't what the
    /// object says; for `EVENTS` bytes, made a power of two and at least a page.
    ///
    /// # Errors
    /// When the object is not usable or the kernel refuses a map.
    pub(super) fn new(config: &Config, sizes: &[(&str, usize)]) -> Result<Loader, Error> {
        let mut object = Object::parse(OBJECT).map_err(Error::Object)?;
        object.patch_map_data([("CONFIG", (config.as_bytes(), true))].into_iter().collect()).map_err(Error::Object)?;
        // Type information of the programs themselves is for tools that print them.
        (object.btf, object.btf_ext) = (None, None);
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
        let mut maps = HashMap::new();
        for (name, map) in &mut object.maps {
            if let Some((_, size)) = sizes.iter().find(|(known, _)| known == name) {
                let size = u32::try_from(*size).unwrap_or(u32::MAX);
                let ring = name == "EVENTS";
                map.set_max_entries(if ring { size.clamp(page, 1 << 30).next_power_of_two() } else { size.max(1) });
            }
            maps.insert(name.clone(), make_map(name, map)?);
        }
        let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let made: Vec<(String, i32, aya_obj::Map)> =
            object.maps.drain().map(|(name, map)| (name.clone(), maps[&name].as_raw_fd(), map)).collect();
        object
            .relocate_maps(made.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)), &sections)
            .map_err(Error::Link)?;
        object.relocate_calls(&sections).map_err(Error::Link)?;
        Ok(Loader { object, maps })
    }

    /// Puts a key with the one-byte value 1 into a set.
    ///
    /// # Errors
    /// When there is no such map or it is full.
    pub(super) fn insert(&self, map: &'static str, key: &[u8]) -> Result<(), Error> {
        insert(self.map(map)?, map, key)
    }

    /// A map.
    ///
    /// # Errors
    /// When there is no such map.
    pub(super) fn map(&self, name: &'static str) -> Result<BorrowedFd<'_>, Error> {
        self.maps.get(name).map(AsFd::as_fd).ok_or(Error::NoMap(name))
    }

    /// A map, for reading it from user space.
    ///
    /// # Errors
    /// When there is no such map, it isn't what aya takes it for, or no more files may be open.
    pub(super) fn read_map(&self, name: &'static str) -> Result<Map, Error> {
        let fd = self.map_fd(name)?;
        MapData::from_fd(fd).and_then(Map::from_map_data).map_err(|error| Error::MapKind { name, error })
    }

    /// A descriptor of a map of its own.
    ///
    /// # Errors
    /// When there is no such map, or no more files may be open.
    pub(super) fn map_fd(&self, name: &'static str) -> Result<OwnedFd, Error> {
        self.map(name)?.try_clone_to_owned().map_err(|error| Error::Descriptor { name, error })
    }

    /// How many instructions a program has; 0: there is none.
    pub(super) fn instructions(&self, name: &str) -> usize {
        let program = self.object.programs.get(name);
        program.and_then(|p| self.object.functions.get(&p.function_key())).map_or(0, |f| f.instructions.len())
    }

    /// Loads a program.
    ///
    /// # Errors
    /// When the object doesn't have it or the kernel refuses it.
    pub(super) fn load(
        &self,
        name: &str,
        program_type: ProgramType,
        attach_type: Option<sys::AttachType>,
        btf_id: u32,
    ) -> Result<OwnedFd, Refusal> {
        let program = self.object.programs.get(name).ok_or(Refusal::NoProgram)?;
        let function = self.object.functions.get(&program.function_key()).ok_or(Refusal::NoProgram)?;
        let program = sys::Program {
            name,
            program_type,
            attach_type,
            btf_id,
            instructions: &function.instructions,
            license: &program.license,
        };
        let error = match sys::load_program(&program, None) {
            Ok(fd) => return Ok(fd),
            Err(error) => error,
        };
        // Once more for the verifier's words.
        let mut log = vec![0; 1 << 20];
        if let Ok(fd) = sys::load_program(&program, Some(&mut log)) {
            return Ok(fd);
        }
        let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]).into_owned();
        match verdict_line(&log) {
            Some(line) => Err(Refusal::Verifier { line: line.to_owned(), log }),
            None => Err(Refusal::Kernel(error)),
        }
    }
}

/// Puts a key with the one-byte value 1 into a set.
pub(super) fn insert(map: BorrowedFd<'_>, name: &str, key: &[u8]) -> Result<(), Error> {
    sys::update_map(map, key, &[1]).map_err(|error| Error::Fill { name: name.to_owned(), error })
}

/// The line of a verifier's log that says why: the last one before its statistics.
fn verdict_line(log: &str) -> Option<&str> {
    let statistics = |l: &&str| {
        ["processed ", "verification time", "stack depth", "peak_states"].iter().any(|s| l.starts_with(s))
            || l.is_empty()
    };
    log.lines().map(str::trim).rev().find(|l| !statistics(l))
}

/// Makes a map; where memory limits refuse it (before 5.11 maps count as locked memory), lifts the limit first.
fn make_map(name: &str, map: &aya_obj::Map) -> Result<OwnedFd, Error> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let refused = |error| Error::Map {
        name: name.to_owned(),
        bytes: u64::from(map.max_entries()) * u64::from(map.key_size() + map.value_size()).max(1),
        error,
    };
    let fd = match sys::create_map(name, map) {
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            // Without the right to lift it the second try says the same as the first.
            let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
            sys::create_map(name, map)
        }
        other => other,
    }
    .map_err(refused)?;
    if !map.data().is_empty() && map.section_kind() != EbpfSectionKind::Bss {
        let fill = |error| Error::Fill { name: name.to_owned(), error };
        sys::update_map(fd.as_fd(), &0u32.to_ne_bytes(), map.data()).map_err(fill)?;
        if map.section_kind() == EbpfSectionKind::Rodata {
            sys::freeze_map(fd.as_fd()).map_err(fill)?;
        }
    }
    Ok(fd)
}

/// A name of the kernel for a call.
pub(super) fn c_name(name: &str) -> CString {
    CString::new(name.replace('\0', "")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_reason_is_found() {
        let log =
            "0: R1=ctx()\n12: (85) call unknown#99\ninvalid func unknown#99\nprocessed 12 insns (limit 1000000)\n";
        assert_eq!(verdict_line(log), Some("invalid func unknown#99"));
        assert_eq!(verdict_line("processed 2 insns\n"), None);
        assert_eq!(verdict_line(""), None);
    }
}
