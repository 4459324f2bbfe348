//! Attaches the programs of the probe table, each to the best hook that works, and says what became of each.
//!
//! Owns: links (descriptors: closed with the process, nothing is pinned) and the coverage. Must not know: how the
//! object was made, or what facts mean.

use super::{
    btf::TypeId,
    features::Directory,
    libraries::{self, Library},
    loader::{Loader, Refusal, c_name},
    probes::{Fact, Hook},
    sys::{self, AttachType, PerfEvent, ProgramType},
};
use crate::coverage::Probe;
use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

/// Why a hook could not be used.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Load(#[from] Refusal),
    #[error("the kernel has no BTF of its own")]
    NoBtf,
    #[error("this kernel has no tracepoint {0}")]
    NoTracepoint(&'static str),
    #[error("tracefs can't be opened: {0}")]
    NoTracefs(String),
    #[error("cannot read {path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("the v2 cgroup hierarchy can't be opened: {0}")]
    NoCgroup(String),
    #[error("no C library with `{0}` found")]
    NoLibrary(&'static str),
    #[error("{what} refused: {error}{hint}")]
    Attach { what: &'static str, error: io::Error, hint: &'static str },
}

fn refused(what: &'static str) -> impl FnOnce(io::Error) -> Refused {
    move |error| {
        let hint = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => " (privilege or lockdown)",
            _ => "",
        };
        Refused::Attach { what, error, hint }
    }
}

/// Where hooks are on this system.
pub(super) struct Places {
    /// BTF ids of tracepoints; none: the kernel has no BTF of its own.
    pub tracepoints: Option<HashMap<&'static str, TypeId>>,
    /// Where tracefs is.
    pub tracefs: io::Result<Directory>,
    /// The root of the v2 cgroups.
    pub cgroup: io::Result<Directory>,
    /// C libraries to begin with.
    pub libraries: Vec<Library>,
}

/// Attaches programs and keeps them attached.
pub(super) struct Attacher<'a> {
    loader: &'a Loader,
    places: &'a Places,
    /// Programs by name that are attached, and why those that aren't are not.
    tried: HashMap<String, Result<(), String>>,
    links: Vec<OwnedFd>,
    /// Programs that may be attached to more places later, by the function's name.
    library_programs: Vec<LibraryProgram>,
}

/// A program for C libraries that are found later.
#[derive(Clone)]
pub(super) struct LibraryProgram {
    /// The function it belongs to.
    function: &'static str,
    at_return: bool,
    program: Arc<OwnedFd>,
}

impl<'a> Attacher<'a> {
    /// Nothing attached yet.
    #[must_use]
    pub(super) fn new(loader: &'a Loader, places: &'a Places) -> Attacher<'a> {
        Attacher { loader, places, tried: HashMap::new(), links: Vec::new(), library_programs: Vec::new() }
    }

    /// Attaches what a fact needs, each part by the first of its hooks that works.
    pub(super) fn attach(&mut self, fact: &Fact) -> Probe {
        let mut used: Vec<String> = Vec::new();
        let mut reasons: Vec<String> = Vec::new();
        for part in fact.parts {
            let mut attached = false;
            for hook in *part {
                match self.attach_once(*hook) {
                    Ok(()) => {
                        used.push(hook.to_string());
                        attached = true;
                        break;
                    }
                    Err(why) => reasons.push(format!("{hook}: {why}")),
                }
            }
            if !attached {
                used.clear();
                break;
            }
        }
        Probe {
            name: fact.name.to_owned(),
            hook: (!used.is_empty()).then(|| used.join(" + ")),
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            gives: fact.gives.to_owned(),
        }
    }

    /// The links, and the programs that later libraries get.
    #[must_use]
    pub(super) fn finish(self) -> (Vec<OwnedFd>, Vec<LibraryProgram>) {
        (self.links, self.library_programs)
    }

    /// Attaches a hook, if another fact hasn't yet.
    fn attach_once(&mut self, hook: Hook) -> Result<(), String> {
        let program = hook.program();
        if let Some(known) = self.tried.get(&program) {
            return known.clone();
        }
        let began = Instant::now();
        let result = self.try_hook(hook, &program).map_err(|refused| {
            if let Refused::Load(Refusal::Verifier { log, .. }) = &refused {
                tracing::debug!(%program, %hook, "{log}");
            }
            refused.to_string()
        });
        tracing::trace!(%hook, ms = began.elapsed().as_secs_f64() * 1e3, "tried");
        self.tried.insert(program, result.clone());
        result
    }

    fn try_hook(&mut self, hook: Hook, program: &str) -> Result<(), Refused> {
        let link = match hook {
            Hook::BtfTracepoint(name) => {
                let ids = self.places.tracepoints.as_ref().ok_or(Refused::NoBtf)?;
                let id = ids.get(name).ok_or(Refused::NoTracepoint(name))?;
                let fd = self.loader.load(program, ProgramType::Tracing, Some(AttachType::TraceRawTp), id.0)?;
                sys::attach_raw(fd.as_fd(), None).map_err(refused("attaching"))?
            }
            Hook::RawTracepoint(name) => {
                let fd = self.loader.load(program, ProgramType::RawTracepoint, None, 0)?;
                match sys::attach_raw(fd.as_fd(), Some(&c_name(name))) {
                    Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Err(Refused::NoTracepoint(name)),
                    other => other.map_err(refused("attaching"))?,
                }
            }
            Hook::SyscallTracepoint(name) => {
                let tracefs = self.places.tracefs.as_ref().map_err(|e| Refused::NoTracefs(e.to_string()))?;
                let path = format!("events/syscalls/{name}/id");
                let id = match tracefs.read(&path) {
                    Ok(text) => text.trim().parse().map_err(io::Error::other),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Refused::NoTracepoint(name)),
                    Err(error) => Err(error),
                }
                .map_err(|error| Refused::Read { path: path.into(), error })?;
                let fd = self.loader.load(program, ProgramType::Tracepoint, None, 0)?;
                sys::attach_perf(fd.as_fd(), &PerfEvent::Tracepoint(id)).map_err(refused("perf_event_open"))?
            }
            Hook::Cgroup(_, attach_type) => {
                let cgroup = self.places.cgroup.as_ref().map_err(|e| Refused::NoCgroup(e.to_string()))?;
                let program_type = match attach_type {
                    AttachType::Connect4 | AttachType::Connect6 => ProgramType::CgroupSockAddr,
                    _ => ProgramType::CgroupSkb,
                };
                let fd = self.loader.load(program, program_type, Some(attach_type), 0)?;
                sys::attach_cgroup(fd.as_fd(), cgroup.as_fd(), attach_type)
                    .map_err(refused("attaching to the cgroup"))?
            }
            Hook::LibcEntry(_, function) | Hook::LibcReturn(_, function) => {
                let fd = self.loader.load(program, ProgramType::KProbe, None, 0)?;
                let later =
                    LibraryProgram { function, at_return: matches!(hook, Hook::LibcReturn(..)), program: Arc::new(fd) };
                let (links, error) = attach_libraries(&later, &self.places.libraries);
                self.library_programs.push(later);
                return match (links.is_empty(), error) {
                    (true, Some(error)) => Err(error),
                    (true, None) => Err(Refused::NoLibrary(function)),
                    (false, _) => {
                        self.links.extend(links);
                        Ok(())
                    }
                };
            }
        };
        self.links.push(link);
        Ok(())
    }
}

/// Attaches a program to every library that has its function; the links, and the last thing that went wrong.
fn attach_libraries(program: &LibraryProgram, libraries: &[Library]) -> (Vec<OwnedFd>, Option<Refused>) {
    let mut links = Vec::new();
    let mut error = None;
    for library in libraries {
        match attach_library(program, library) {
            Ok(link) => links.push(link),
            Err(e) => error = Some(e),
        }
    }
    (links, error)
}

fn attach_library(program: &LibraryProgram, library: &Library) -> Result<OwnedFd, Refused> {
    let read = |error| Refused::Read { path: library.path.clone(), error };
    let offset = libraries::function_offset(&library.path, program.function)
        .map_err(read)?
        .ok_or(Refused::NoLibrary(program.function))?;
    let (pmu, return_bit) = libraries::uprobe_pmu().map_err(|(path, error)| Refused::Read { path, error })?;
    let path = c_name(&library.path.to_string_lossy());
    let event = PerfEvent::Uprobe { pmu, return_bit: program.at_return.then_some(return_bit), path: &path, offset };
    sys::attach_perf(program.program.as_fd(), &event).map_err(refused("attaching a uprobe"))
}

/// Attaches the programs to libraries that were found after the start.
#[must_use]
pub(super) fn attach_later(programs: &[LibraryProgram], libraries: &[Library]) -> Vec<OwnedFd> {
    programs
        .iter()
        .flat_map(|program| {
            let (links, error) = attach_libraries(program, libraries);
            if let Some(error) = error {
                tracing::debug!("a C library is left out: {error}");
            }
            links
        })
        .collect()
}
