//! The live source of events: loads netdx's programs into the running kernel and reads what they write.
//!
//! Owns: everything between the kernel and `decode`. Must not know: what events mean. Changes nothing on the system:
//! programs and maps live as long as this process does.

mod again;
mod attach;
mod backlog;
pub mod btf;
mod clock;
pub mod features;
mod libraries;
mod loader;
mod lost;
mod manners;
mod names;
pub mod offsets;
pub mod probes;
mod ring;
pub mod survey;
pub mod symbols;
mod sys;
mod tasks;
mod unhooked;
mod watch;

pub use clock::{now, utc_offset};
pub use tasks::{Tasks, Whereabouts};

use crate::{
    coverage::{Coverage, Probe},
    event::Event,
    input::{Input, Stamped},
    privilege::{Insufficient, Privileges},
    time::Time,
};
use again::Again;
use attach::{Attached, Attacher, Ids, Places};
use aya::util::nr_cpus;
use btf::{Blob, Btf};
use loader::Loader;
use lost::Lost;
use names::{Names, Reading};
use netdx_common::config::{Config, MAX_PORTS, flag};
use offsets::Kernel;
use probes::{FACTS, Fact, Hook, When};
use ring::Ring;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use watch::LibraryWatch;

/// What the kernel is asked to leave out. Empty lists leave nothing out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelFilter {
    /// Remote ports (a listener's own). More than the kernel side can hold: none is left out, the rest of netdx filters.
    pub ports: Vec<u16>,
    /// Process ids.
    pub pids: Vec<u32>,
    /// User ids.
    pub uids: Vec<u32>,
    /// Network namespaces, by inode.
    pub netns: Vec<u32>,
    /// Cgroups (v2 ids) and all below them.
    pub cgroups: Vec<u64>,
    /// Only processes given to [`Live::add_to_tree`], and their descendants.
    pub tree: bool,
}

/// What to trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the kernel leaves out.
    pub filter: KernelFilter,
    /// Connections that work, too.
    pub all: bool,
    /// Connections that took at least this long, too.
    pub slow: Option<Duration>,
    /// Follow what listeners accept, too.
    pub inbound: bool,
    /// Attach to syscall tracepoints.
    pub syscalls: bool,
    /// Observe name lookups.
    pub dns: bool,
    /// What netdx itself does, too: `check` asks about its own connections.
    pub own: bool,
    /// Size of the event buffer.
    pub buffer_bytes: u32,
    /// BTF of the running kernel, where it has none of its own.
    pub btf: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            filter: KernelFilter::default(),
            all: false,
            slow: None,
            inbound: false,
            syscalls: true,
            dns: true,
            own: false,
            buffer_bytes: 4 << 20,
            btf: None,
        }
    }
}

/// Why tracing can't begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too few rights.
    #[error(transparent)]
    Privileges(#[from] Insufficient),
    /// Processes are asked for by ids that aren't the kernel's.
    #[error("--pid and -- CMD can't be followed: {}", features::OTHER_PROCESS_IDS)]
    ProcessIds,
    /// No type information.
    #[error("cannot read the kernel's type information {path}: {error}\n{advice}", advice = btf_advice())]
    NoBtf {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Type information that isn't usable.
    #[error("{path} is not usable: {error}")]
    Btf {
        /// The file.
        path: PathBuf,
        /// Why.
        error: btf::Error,
    },
    /// Type information that lacks something.
    #[error("{path} does not describe this kernel as netdx needs it: {error}")]
    Offsets {
        /// The file.
        path: PathBuf,
        /// What is missing.
        error: offsets::Error,
    },
    /// The object or its maps.
    #[error("{0}{lockdown}", lockdown = lockdown_hint())]
    Load(loader::Error),
    /// The buffer can't be read.
    #[error("the event buffer can't be mapped: {0}")]
    Buffer(aya::maps::MapError),
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The size of what each processor counts in.
    #[error("cannot find out how many processors this host may have: {0}")]
    Processors(io::Error),
    /// The counts can't be read.
    #[error("the counts of lost events can't be mapped: {0}")]
    Counts(io::Error),
    /// No probe could be attached that tells of connections or lookups.
    #[error("no probe that tells of connections could be attached{lockdown}; see netdx doctor\n{reasons}", lockdown = lockdown_hint())]
    NothingAttached {
        /// Why, a line for each.
        reasons: String,
    },
}

impl From<loader::Error> for Error {
    // By hand, as below: what is in the message already is no further cause of it.
    fn from(error: loader::Error) -> Error {
        Error::Load(error)
    }
}

impl From<aya::maps::MapError> for Error {
    fn from(error: aya::maps::MapError) -> Error {
        Error::Buffer(error)
    }
}

/// How to get type information for the running kernel.
fn btf_advice() -> String {
    if !Path::new("/sys/kernel").is_dir() {
        return "the kernel has it below /sys, which is not mounted here: mount -t sysfs sysfs /sys".into();
    }
    let release = features::kernel_release();
    format!(
        "netdx needs it to find its way in kernel memory. Run a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions build \
         theirs; or make it for this one out of its debugging symbols: install these (Debian: linux-image-{release}-dbg, \
         Ubuntu: linux-image-{release}-dbgsym, Fedora: kernel-debuginfo) and pahole, then \
         `pahole --btf_encode_detached=kernel.btf VMLINUX`, with VMLINUX the file vmlinux* of {release} below \
         /usr/lib/debug, and give netdx --btf kernel.btf"
    )
}

fn lockdown_hint() -> &'static str {
    match features::lockdown().as_deref() {
        Some("confidentiality") => " (the kernel is locked down: lockdown=confidentiality forbids reading its memory)",
        _ => "",
    }
}

/// A process and its descendants, as the kernel follows them.
#[derive(Clone, Debug)]
pub struct Tree(Arc<OwnedFd>);

impl Tree {
    /// Whether a process is one of them, and has not ended.
    #[must_use]
    pub fn holds(&self, pid: u32) -> bool {
        // What can't be read is not known to be one.
        sys::lookup_map(self.0.as_fd(), &pid.to_ne_bytes(), &mut [0]).unwrap_or(false)
    }
}

/// Programs in the kernel, and their records.
pub struct Live {
    ring: Ring,
    names: Names,
    reading: Option<Reading>,
    coverage: Coverage,
    tree: Tree,
    /// Closing them detaches the programs.
    links: Vec<OwnedFd>,
    again: Option<Again>,
    libraries: Option<LibraryWatch>,
    tasks: Option<Tasks>,
    told: Time,
}

impl Live {
    /// Loads and attaches all that `settings` ask for.
    ///
    /// # Errors
    /// When nothing can be traced; what can't be observed while the rest can is coverage.
    pub fn start(settings: &Settings) -> Result<Live, Error> {
        sys::keep_heap_small();
        let began = Instant::now();
        let step = |what: &str| tracing::debug!("{what}: {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
        Privileges::current().check()?;
        if (settings.filter.tree || !settings.filter.pids.is_empty()) && !features::counts_processes_alike() {
            return Err(Error::ProcessIds);
        }
        let kernel = read_kernel(settings.btf.as_deref())?;
        step("kernel types read");
        let mut places = places(&kernel, settings);
        let cpus = nr_cpus().map_err(|(_, error)| Error::Processors(error))?;
        let mut config = configure(&kernel, settings, &places);
        let (loader, mut coverage, attached) = loop {
            let loader = Loader::new(&config, &map_sizes(settings, cpus))?;
            fill_filters(&loader, &settings.filter)?;
            step("maps made");
            let (coverage, attached) = attach_all(&loader, &places, settings, &step);
            // What programs take for granted has to be true: where a hook they were told of could not be had, again
            // without it.
            let wrong = claims(&coverage, config.flags);
            if wrong == 0 {
                break (loader, coverage, attached);
            }
            config.flags &= !wrong;
        };
        let Attached { links, programs, library_programs } = attached;
        if !probes::STORIES.iter().any(|name| coverage.has(name)) {
            let mut reasons: Vec<&str> = probes::STORIES.iter().filter_map(|name| coverage.reason(name)).collect();
            reasons.dedup();
            return Err(Error::NothingAttached { reasons: reasons.join("\n") });
        }
        coverage.probes.push(unhooked::function_names());
        coverage.probes.push(unhooked::drop_reasons(&kernel));
        coverage.probes.extend(unhooked::processes());
        step("programs attached");
        let tasks = Tasks::load(&loader, places.ids.as_ref());
        let lost = Lost::new(loader.map("COUNTS")?, cpus, programs).map_err(Error::Counts)?;
        let ring = Ring::new(loader.read_map("EVENTS")?, lost)?;
        let tree = Tree(Arc::new(loader.map_fd("TREE")?));
        // Beside what follows, not beside the verifier: it takes a CPU for as long as all the rest.
        let reading = Reading::start().map_err(Error::Thread)?;

        let libraries = (!library_programs.is_empty())
            .then(|| LibraryWatch::start(library_programs, std::mem::take(&mut places.libraries)))
            .transpose()
            .map_err(Error::Thread)?;
        let hooks = missed(settings, config.flags);
        let again = Again::start(loader, places, hooks).map_err(Error::Thread)?;
        Ok(Live {
            ring,
            names: Names::new(kernel.drop_reasons, kernel.reset_reasons),
            reading: Some(reading),
            coverage,
            tree,
            links,
            again: Some(again),
            libraries,
            tasks,
            told: Time::default(),
        })
    }

    /// What is observed and what not.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Follows a process and its future descendants. To lose nothing, before it runs.
    ///
    /// # Errors
    /// When the kernel can't hold more.
    pub fn add_to_tree(&self, pid: u32) -> Result<(), Error> {
        Ok(loader::insert(self.tree.0.as_fd(), "TREE", &pid.to_ne_bytes())?)
    }

    /// The processes that are followed.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.tree.clone()
    }

    /// The walk over this host's tasks, if the kernel has it; for whoever asks first.
    pub fn take_tasks(&mut self) -> Option<Tasks> {
        self.tasks.take()
    }

    /// Waits until there is something to drain.
    pub async fn readable(&self) {
        self.ring.readable().await;
    }

    /// Some of what was collected has not been drained yet.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.ring.is_behind()
    }

    /// How many records were collected and not drained yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.ring.waiting()
    }

    /// The time up to which records have been drained, as far as they are in order.
    #[must_use]
    pub fn told(&self) -> Time {
        self.told
    }

    /// Collects, and puts some of what was recorded into `out` in order, and what was lost or could not be read. Under a
    /// flood it takes many of these until [`is_behind`](Self::is_behind) is false.
    pub fn drain(&mut self, out: &mut Vec<Stamped>) {
        if let Some(reading) = self.reading.take() {
            self.names.complete(reading);
        }
        let before = out.len();
        self.ring.drain(&self.names, out);
        for stamped in &out[before..] {
            self.told = self.told.max(stamped.t);
            if let (Some(libraries), Input::Event(Event::Process { task, .. })) = (&self.libraries, &stamped.input) {
                libraries.meet(task.pid);
            }
        }
    }

    /// Ends the recording: what has been recorded until now can still be drained. Once is enough.
    pub fn stop(&mut self) {
        self.ring.stop();
        self.detach();
    }

    /// Nobody has to wait for it: with tracepoints of system calls it takes the kernel some 300 ms.
    ///
    /// But in a container, which may end with this process: the kernel ends the container's other processes then, and waits for
    /// them where `synchronize_rcu_tasks` waits for it in turn (zap_pid_ns_processes in do_exit). A process that detaches
    /// programs from functions is in that: Linux 6.1 hangs, and neither process ever ends.
    fn detach(&mut self) {
        let mut links = std::mem::take(&mut self.links);
        links.extend(self.again.take().into_iter().flat_map(Again::links));
        if !links.is_empty() && features::counts_processes_alike() {
            sys::close_beside(links);
        }
    }
}

/// Attaches the whole table, as far as `settings` want it.
fn attach_all(loader: &Loader, places: &Places, settings: &Settings, step: &impl Fn(&str)) -> (Coverage, Attached) {
    let left_out = |fact: &Fact| match fact.when {
        When::Always | When::Tree => None,
        When::Syscalls => (!settings.syscalls).then_some("left out by --no-syscalls"),
        When::Dns => (!settings.dns).then_some("left out by --no-dns"),
    };
    let facts = || FACTS.iter().filter(|fact| fact.when != When::Tree || settings.filter.tree);
    let wanted: Vec<&Fact> = facts().filter(|fact| left_out(fact).is_none()).collect();
    let mut attacher = Attacher::new(loader, places, &wanted);
    step("programs loaded");
    let mut coverage = Coverage::default();
    for fact in facts() {
        let probe = match left_out(fact) {
            None => attacher.attach(fact),
            Some(why) => Probe {
                name: fact.name.to_owned(),
                hook: None,
                reason: Some(why.to_owned()),
                gives: fact.gives.to_owned(),
            },
        };
        tracing::debug!(name = probe.name, hook = probe.hook, reason = probe.reason, "probe");
        coverage.probes.push(probe);
    }
    (coverage, attacher.finish())
}

/// The hooks whose programs miss what happens while they are interrupted.
fn missed(settings: &Settings, flags: u32) -> Vec<Hook> {
    let in_tasks = flags & flag::PREEMPTED != 0;
    let more: [(bool, &[Hook]); 3] = [
        (true, probes::AGAIN),
        (in_tasks, probes::AGAIN_IN_TASKS),
        (in_tasks && settings.syscalls, probes::AGAIN_IN_CALLS),
    ];
    more.iter().filter(|(wanted, _)| *wanted).flat_map(|(_, hooks)| hooks.iter().copied()).collect()
}

/// The flags that tell programs of hooks which are not attached.
fn claims(coverage: &Coverage, flags: u32) -> u32 {
    [("cgroup-connect", flag::CONNECT_HOOK), ("connect-call", flag::CONNECT_CALLS), ("io-uring", flag::IO_URING)]
        .iter()
        .filter(|(name, flag)| flags & flag != 0 && !coverage.has(name))
        .fold(0, |all, (_, flag)| all | flag)
}

impl Drop for Live {
    fn drop(&mut self) {
        self.detach();
    }
}

/// What the running kernel looks like, by its own BTF or a file's.
fn read_kernel(file: Option<&Path>) -> Result<Kernel, Error> {
    let path = file.unwrap_or(Path::new(btf::KERNEL));
    let blob = Blob::open(path).map_err(|error| Error::NoBtf { path: path.into(), error })?;
    let parsed = Btf::parse(blob.bytes()).map_err(|error| Error::Btf { path: path.into(), error })?;
    Kernel::read(&parsed, &probes::tracepoints(), &probes::FUNCTIONS)
        .map_err(|error| Error::Offsets { path: path.into(), error })
}

fn places(kernel: &Kernel, settings: &Settings) -> Places {
    let mounts = features::mounts();
    Places {
        // A BTF file has no ids that the kernel knows.
        ids: settings
            .btf
            .is_none()
            .then(|| Ids { tracepoints: kernel.tracepoints.clone(), functions: kernel.functions.clone() }),
        tracefs: features::tracefs(&mounts),
        cgroup: features::cgroup_root(&mounts),
        libraries: if settings.dns { libraries::own() } else { Vec::new() },
    }
}

/// What the programs are told.
fn configure(kernel: &Kernel, settings: &Settings, places: &Places) -> Config {
    let filter = &settings.filter;
    let mut config = kernel.config();
    let flags = [
        (!filter.pids.is_empty(), flag::PIDS),
        (!filter.uids.is_empty(), flag::UIDS),
        (!filter.netns.is_empty(), flag::NETNS),
        (!filter.cgroups.is_empty(), flag::CGROUPS),
        (filter.tree, flag::TREE),
        (settings.all, flag::ALL),
        (settings.dns, flag::DNS),
        (settings.inbound, flag::INBOUND),
        (places.cgroup.is_ok(), flag::CONNECT_HOOK),
        (settings.syscalls && places.tracefs.is_ok(), flag::CONNECT_CALLS),
        (kernel.tracepoints.contains_key("io_uring_submit_req"), flag::IO_URING),
        (kernel.functions.contains_key(probes::FAULTABLE.name), flag::PREEMPTED),
    ];
    config.flags = flags.iter().filter(|(on, _)| *on).fold(0, |all, (_, flag)| all | flag);
    if filter.ports.len() <= MAX_PORTS {
        config.ports[..filter.ports.len()].copy_from_slice(&filter.ports);
        config.port_count = filter.ports.len() as u32;
    }
    config.slow_us = settings.slow.map_or(0, |d| u32::try_from(d.as_micros()).unwrap_or(u32::MAX).max(1));
    config.hz = clock::ticks_per_second();
    // By another namespace's number another process would be left out.
    let leave_out = !settings.own && features::counts_processes_alike();
    config.own_tgid = if leave_out { std::process::id() } else { 0 };
    // 6.16 (bpf_base_func_proto); nothing but the version tells.
    config.task_helpers = (features::version(&features::kernel_release()) >= (6, 16)).into();
    config
}

/// As much room as the filters need, and none for those that aren't used.
fn map_sizes(settings: &Settings, cpus: usize) -> Vec<(&'static str, usize)> {
    let filter = &settings.filter;
    let mut sizes = vec![
        ("EVENTS", settings.buffer_bytes as usize),
        ("COUNTS", cpus),
        ("PIDS", filter.pids.len()),
        ("UIDS", filter.uids.len()),
        ("NETNS", filter.netns.len()),
        ("CGROUPS", filter.cgroups.len()),
    ];
    if !filter.tree {
        sizes.push(("TREE", 0));
    }
    sizes
}

fn fill_filters(loader: &Loader, filter: &KernelFilter) -> Result<(), loader::Error> {
    for (map, keys) in [("PIDS", &filter.pids), ("UIDS", &filter.uids), ("NETNS", &filter.netns)] {
        keys.iter().try_for_each(|key| loader.insert(map, &key.to_ne_bytes()))?;
    }
    filter.cgroups.iter().try_for_each(|key| loader.insert("CGROUPS", &key.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_of_no_hook_that_is_not_there() {
        let probe = |name: &str, hook: Option<&str>| Probe {
            name: name.into(),
            hook: hook.map(Into::into),
            reason: None,
            gives: String::new(),
        };
        let coverage =
            Coverage { probes: vec![probe("cgroup-connect", None), probe("connect-call", Some("tracepoint"))] };
        let told = flag::CONNECT_HOOK | flag::CONNECT_CALLS | flag::DNS;
        assert_eq!(claims(&coverage, told), flag::CONNECT_HOOK);
        assert_eq!(claims(&coverage, told & !flag::CONNECT_HOOK), 0);
    }
}
