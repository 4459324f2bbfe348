//! Follows C libraries: attaches to those of processes that run already, and of those that are met later.
//!
//! Owns: a thread, and the links it makes. Must not know: what the programs tell.
//!
//! It is beside everything else: with many processes looking at all of them takes long, and a lookup that is missed by
//! it is still seen by its packets.

use super::{
    attach::{self, LibraryProgram},
    libraries::{self, Library},
};
use crate::privilege;
use rustix::thread::CapabilitySet;
use std::{
    io,
    os::fd::OwnedFd,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

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
            // Started before the rest of netdx gives its rights up.
            if let Err(error) = privilege::reduce(CapabilitySet::empty()) {
                tracing::warn!("rights that are not needed could not be given up: {error}");
            }
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

fn watch(programs: &[LibraryProgram], mut known: Vec<Library>, processes: &Receiver<u32>) {
    let running = libraries::in_use(&known);
    let mut links: Vec<OwnedFd> = attach::attach_later(programs, &running);
    known.extend(running);
    while let Ok(pid) = processes.recv() {
        if let Some(library) = libraries::of_pid(pid, &known) {
            links.extend(attach::attach_later(programs, std::slice::from_ref(&library)));
            known.push(library);
        }
    }
}
