//! Follows C libraries: attaches to those of processes that run already, and of those that are met later.
//!
//! Owns: a thread, and the links it makes. Must not know: what the programs tell.
//!
//! It is beside everything else: with many processes looking at all of them takes long, and a lookup that is missed by
//! it is still seen by its packets. What is attached keeps a library's file, and the file system that it is on: it is let
//! go soon after the last process that uses it has ended, as a container's has.

use super::{
    attach::{self, LibraryProgram},
    libraries::{self, Library},
};
use crate::privilege;
use rustix::thread::CapabilitySet;
use std::{
    io,
    os::fd::OwnedFd,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

/// How often it is looked which libraries are still used, while there are others than this system's own.
const LOOK: Duration = Duration::from_secs(10);

/// The thread's end of life: it stops, and detaches what it attached, when this is gone.
pub(super) struct LibraryWatch {
    met: Sender<u32>,
}

impl LibraryWatch {
    /// Begins with all running processes. `known`: libraries that have the programs.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(programs: Vec<LibraryProgram>, known: Vec<Library>) -> io::Result<LibraryWatch> {
        let (met, processes) = channel();
        let work = move || {
            privilege::reduce_thread(CapabilitySet::empty());
            watch(&programs, known, &processes);
        };
        thread::Builder::new().name("libraries".into()).spawn(work)?;
        Ok(LibraryWatch { met })
    }

    /// A process was met: its library may be a new one.
    pub(super) fn meet(&self, pid: u32) {
        // The thread ends before this only by a panic, which was shown.
        _ = self.met.send(pid);
    }
}

/// A library that isn't the system's own.
struct Met {
    library: Library,
    /// Closing them detaches the programs.
    _links: Vec<OwnedFd>,
}

fn watch(programs: &[LibraryProgram], own: Vec<Library>, processes: &Receiver<u32>) {
    let attach =
        |library: Library| Met { _links: attach::attach_later(programs, std::slice::from_ref(&library)), library };
    let mut met: Vec<Met> = libraries::in_use(&own).into_iter().map(attach).collect();
    let mut looked = Instant::now();
    loop {
        let process = if met.is_empty() {
            processes.recv().map_err(RecvTimeoutError::from)
        } else {
            processes.recv_timeout(LOOK.saturating_sub(looked.elapsed()))
        };
        let known = |found: &Library| own.iter().chain(met.iter().map(|met| &met.library)).any(|known| known.is(found));
        match process {
            Ok(pid) => met.extend(libraries::of_pid(pid).filter(|found| !known(found)).map(attach)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if looked.elapsed() >= LOOK {
            let_go(&own, &mut met);
            looked = Instant::now();
        }
    }
}

/// Lets go of the libraries that no process uses any more. All processes are looked at only if one has ended by which a
/// library was found.
fn let_go(own: &[Library], met: &mut Vec<Met>) {
    if met.iter().all(|met| met.library.is_there()) {
        return;
    }
    let running = libraries::in_use(own);
    let before = met.len();
    met.retain_mut(|met| {
        let same = running.iter().find(|library| library.is(&met.library));
        if let Some(same) = same {
            met.library.clone_from(same);
        }
        same.is_some()
    });
    tracing::debug!(before, left = met.len(), "C libraries that are used");
}
