//! Attaches the programs of the probe table, each to the best hook that works, and says what became of each.
//!
//! Owns: links (descriptors: closed with the process, nothing is pinned) and the coverage. Must not know: how the
//! object was made, or what facts mean.

use super::{
    btf::TypeId,
    features::{self, Directory},
    libraries::{self, Library},
    loader::{Loader, Refusal, c_name},
    probes::{self, Fact, Function, Hook, Uprobe},
    sys::{self, AttachType, PerfEvent, ProgramType},
};
use crate::coverage::Probe;
use std::{
    cmp::Reverse,
    collections::HashMap,
    io,
    num::NonZero,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

/// Why a hook could not be used.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Load(String),
    #[error("the kernel has no BTF of its own")]
    NoBtf,
    #[error("this kernel has no tracepoint {0}")]
    NoTracepoint(&'static str),
    #[error("this kernel has no function {0}, or a different one")]
    NoFunction(&'static str),
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
    /// BTF ids; none: the kernel has no BTF of its own.
    pub ids: Option<Ids>,
    /// Where tracefs is.
    pub tracefs: io::Result<Directory>,
    /// The root of the v2 cgroups.
    pub cgroup: io::Result<Directory>,
    /// C libraries to begin with.
    pub libraries: Vec<Library>,
}

/// The numbers by which this kernel knows its tracepoints and functions.
pub(super) struct Ids {
    /// By the tracepoint's name.
    pub tracepoints: HashMap<&'static str, TypeId>,
    /// By the function's name.
    pub functions: HashMap<&'static str, TypeId>,
}

/// How a program for a hook is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Load {
    program_type: ProgramType,
    attach_type: Option<AttachType>,
    btf_id: u32,
}

/// A program that is in the kernel, or why it isn't.
type Loaded = Result<Arc<OwnedFd>, String>;

/// Attaches programs and keeps them attached.
pub(super) struct Attacher<'a> {
    loader: &'a Loader,
    places: &'a Places,
    /// Programs by name, and for what they were loaded.
    programs: HashMap<(String, Load), Loaded>,
    /// Hooks that are attached, and why those that aren't are not.
    tried: HashMap<Hook, Result<(), String>>,
    links: Vec<OwnedFd>,
    /// Programs that may be attached to more places later.
    library_programs: Vec<LibraryProgram>,
}

/// What is attached.
pub(super) struct Attached {
    /// Closing them detaches the programs.
    pub links: Vec<OwnedFd>,
    /// The programs whose missed runs count as lost.
    pub programs: Vec<Arc<OwnedFd>>,
    /// Those that later libraries get.
    pub library_programs: Vec<LibraryProgram>,
}

/// A program for C libraries that are found later.
#[derive(Clone)]
pub(super) struct LibraryProgram {
    /// The function it belongs to.
    function: &'static str,
    at_return: bool,
    how: Uprobe,
    program: Arc<OwnedFd>,
}

impl<'a> Attacher<'a> {
    /// Nothing attached yet, but the programs of the best hooks loaded: on all CPUs at once, for the verifier's time is
    /// nearly all of netdx's start.
    pub(super) fn new(loader: &'a Loader, places: &'a Places, facts: &[&Fact]) -> Attacher<'a> {
        let mut wanted: Vec<(String, Load)> = Vec::new();
        for hook in facts.iter().flat_map(|f| f.parts).filter_map(|part| part.first()) {
            let program = hook.program();
            if let Ok(load) = places.load(*hook)
                && wanted.iter().all(|known| *known != (program.clone(), load))
            {
                wanted.push((program, load));
            }
        }
        // The longest first: none is left over when the others are done.
        wanted.sort_by_key(|(name, _)| Reverse(loader.instructions(name)));
        let next = AtomicUsize::new(0);
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(wanted.len());
        let take = || {
            let mut done = Vec::new();
            while let Some((name, load)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push(((name.clone(), *load), load_program(loader, name, *load)));
            }
            done
        };
        let programs = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
            let mut programs: HashMap<(String, Load), Loaded> = take().into_iter().collect();
            for other in others {
                programs.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            programs
        });
        Attacher { loader, places, programs, tried: HashMap::new(), links: Vec::new(), library_programs: Vec::new() }
    }

    /// Attaches what a fact needs, each part by the first of its hooks that works.
    pub(super) fn attach(&mut self, fact: &Fact) -> Probe {
        let mut used: Vec<String> = Vec::new();
        let mut refusals: Vec<(String, Hook)> = Vec::new();
        for part in fact.parts {
            let mut attached = false;
            for hook in *part {
                match self.attach_once(*hook) {
                    Ok(()) => {
                        let hook = hook.to_string();
                        if !used.contains(&hook) {
                            used.push(hook);
                        }
                        attached = true;
                        break;
                    }
                    Err(why) if !refusals.contains(&(why.clone(), *hook)) => refusals.push((why, *hook)),
                    Err(_) => {}
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
            reason: (!refusals.is_empty()).then(|| reasons(&refusals)),
            gives: fact.gives.to_owned(),
        }
    }

    /// What it comes to.
    #[must_use]
    pub(super) fn finish(self) -> Attached {
        let counted = self.programs.into_iter().filter(|((name, _), _)| probes::matters(name));
        let programs = counted.filter_map(|(_, program)| program.ok()).collect();
        Attached { links: self.links, programs, library_programs: self.library_programs }
    }

    /// Attaches a hook, if another fact hasn't yet.
    fn attach_once(&mut self, hook: Hook) -> Result<(), String> {
        if let Some(known) = self.tried.get(&hook) {
            return known.clone();
        }
        let result = self.try_hook(hook, hook.program()).map_err(|refused| refused.to_string());
        self.tried.insert(hook, result.clone());
        result
    }

    /// Attaches the second program of a hook.
    pub(super) fn attach_again(&mut self, hook: Hook) -> Result<(), String> {
        self.try_hook(hook, hook.program() + "_again").map_err(|refused| refused.to_string())
    }

    fn try_hook(&mut self, hook: Hook, program: String) -> Result<(), Refused> {
        let load = self.places.load(hook)?;
        let loader = self.loader;
        let key = (program, load);
        let program = self.programs.entry(key).or_insert_with_key(|(name, load)| load_program(loader, name, *load));
        let program = Arc::clone(program.as_ref().map_err(|why| Refused::Load(why.clone()))?);
        let link = match hook {
            Hook::BtfTracepoint(_) | Hook::FunctionEntry(..) | Hook::FunctionReturn(..) => {
                sys::attach_raw(program.as_fd(), None).map_err(refused("attaching"))?
            }
            Hook::Kprobe(_, function) => {
                let pmu = features::kprobe_pmu().map_err(|(path, error)| Refused::Read { path, error })?;
                let event = PerfEvent::Kprobe { pmu, function: &c_name(function.name) };
                sys::attach_perf(program.as_fd(), &event).map_err(refused("attaching a kprobe"))?
            }
            Hook::RawTracepoint(name) => match sys::attach_raw(program.as_fd(), Some(&c_name(name))) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Err(Refused::NoTracepoint(name)),
                other => other.map_err(refused("attaching"))?,
            },
            Hook::SyscallEntry(name) | Hook::SyscallExit(name) => {
                let event = PerfEvent::Tracepoint(self.places.tracepoint_id(name)?);
                sys::attach_perf(program.as_fd(), &event).map_err(refused("perf_event_open"))?
            }
            Hook::Cgroup(_, attach_type) => {
                let cgroup = self.places.cgroup.as_ref().map_err(|e| Refused::NoCgroup(e.to_string()))?;
                sys::attach_cgroup(program.as_fd(), cgroup.as_fd(), attach_type)
                    .map_err(refused("attaching to the cgroup"))?
            }
            Hook::LibcEntry(_, function, how) | Hook::LibcReturn(_, function, how) => {
                let at_return = matches!(hook, Hook::LibcReturn(..));
                let later = LibraryProgram { function, at_return, how, program };
                let (links, error) = attach_libraries(&later, &self.places.libraries);
                // With the last hook of the table, later libraries may still have the function.
                if !links.is_empty() || how == Uprobe::Perf {
                    self.library_programs.push(later);
                }
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

impl Places {
    /// How a hook's program is loaded.
    fn load(&self, hook: Hook) -> Result<Load, Refused> {
        let (program_type, attach_type, btf_id) = match hook {
            Hook::BtfTracepoint(name) => {
                let ids = self.ids.as_ref().ok_or(Refused::NoBtf)?;
                let id = ids.tracepoints.get(name).ok_or(Refused::NoTracepoint(name))?;
                (ProgramType::Tracing, Some(AttachType::TraceRawTp), id.0)
            }
            Hook::FunctionEntry(_, function) => self.function(function, AttachType::TraceFentry)?,
            Hook::FunctionReturn(_, function) => self.function(function, AttachType::TraceFexit)?,
            Hook::Kprobe(..) => (ProgramType::KProbe, None, 0),
            Hook::RawTracepoint(_) => (ProgramType::RawTracepoint, None, 0),
            Hook::SyscallEntry(_) | Hook::SyscallExit(_) => (ProgramType::Tracepoint, None, 0),
            Hook::Cgroup(_, attach_type) => {
                let of_addresses = matches!(attach_type, AttachType::Connect4 | AttachType::Connect6);
                let program_type = if of_addresses { ProgramType::CgroupSockAddr } else { ProgramType::CgroupSkb };
                (program_type, Some(attach_type), 0)
            }
            Hook::LibcEntry(_, _, how) | Hook::LibcReturn(_, _, how) => {
                (ProgramType::KProbe, (how == Uprobe::Link).then_some(AttachType::UprobeMulti), 0)
            }
        };
        Ok(Load { program_type, attach_type, btf_id })
    }

    fn function(&self, function: &Function, at: AttachType) -> Result<(ProgramType, Option<AttachType>, u32), Refused> {
        let ids = self.ids.as_ref().ok_or(Refused::NoBtf)?;
        let id = ids.functions.get(function.name).ok_or(Refused::NoFunction(function.name))?;
        Ok((ProgramType::Tracing, Some(at), id.0))
    }

    /// The id of a tracepoint of a system call.
    fn tracepoint_id(&self, name: &'static str) -> Result<u64, Refused> {
        let tracefs = self.tracefs.as_ref().map_err(|e| Refused::NoTracefs(e.to_string()))?;
        let path = format!("events/syscalls/{name}/id");
        match tracefs.read(&path) {
            Ok(text) => text.trim().parse().map_err(io::Error::other),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Refused::NoTracepoint(name)),
            Err(error) => Err(error),
        }
        .map_err(|error| Refused::Read { path: path.into(), error })
    }
}

/// Why hooks were refused, each reason once.
fn reasons(refusals: &[(String, Hook)]) -> String {
    let mut told: Vec<(&str, Vec<String>)> = Vec::new();
    for (why, hook) in refusals {
        match told.iter_mut().find(|(known, _)| known == why) {
            Some((_, hooks)) => hooks.push(hook.to_string()),
            None => told.push((why, vec![hook.to_string()])),
        }
    }
    let lines: Vec<String> = told.iter().map(|(why, hooks)| format!("{}: {why}", hooks.join(", "))).collect();
    lines.join("; ")
}

fn load_program(loader: &Loader, name: &str, load: Load) -> Loaded {
    let began = Instant::now();
    let result = loader.load(name, load.program_type, load.attach_type, load.btf_id);
    tracing::trace!(name, ms = began.elapsed().as_secs_f64() * 1e3, "loaded");
    result.map(Arc::new).map_err(|refusal| {
        if let Refusal::Verifier { log, .. } = &refusal {
            tracing::debug!(name, "{log}");
        }
        refusal.to_string()
    })
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
    let path = c_name(&library.path.to_string_lossy());
    let fd = program.program.as_fd();
    match program.how {
        Uprobe::Link => sys::attach_uprobe(fd, &path, offset, program.at_return),
        Uprobe::Perf => {
            let (pmu, bit) = features::uprobe_pmu().map_err(|(path, error)| Refused::Read { path, error })?;
            let event = PerfEvent::Uprobe { pmu, return_bit: program.at_return.then_some(bit), path: &path, offset };
            sys::attach_perf(fd, &event)
        }
    }
    .map_err(refused("attaching a uprobe"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_for_all_hooks_that_have_it() {
        let none = || "this kernel has no tracepoint icmp_send".to_owned();
        let refusals = [
            (none(), Hook::BtfTracepoint("icmp_send")),
            (none(), Hook::RawTracepoint("icmp_send")),
            ("refused".to_owned(), Hook::SyscallEntry("sys_enter_bind")),
        ];
        assert_eq!(
            reasons(&refusals),
            "tp_btf/icmp_send, raw_tp/icmp_send: this kernel has no tracepoint icmp_send; \
             tracepoint/syscalls/sys_enter_bind: refused"
        );
    }
}
