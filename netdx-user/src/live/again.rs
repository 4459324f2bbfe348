//! The programs for what others miss (`netdx-ebpf/src/probes/again.rs`).
//!
//! Owns: their links. Must not know: what they tell. They are loaded when all else is attached, beside what follows: until
//! then, and where they are refused, what is missed is lost, and counted as that.

use super::{
    attach::{Attacher, Places},
    loader::Loader,
    probes::Hook,
};
use crate::privilege;
use rustix::thread::CapabilitySet;
use std::{
    io,
    os::fd::OwnedFd,
    thread::{self, JoinHandle},
};

/// The programs, on their way into the kernel or there.
pub(super) struct Again(JoinHandle<Vec<OwnedFd>>);

impl Again {
    /// Begins to attach them to these hooks.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(loader: Loader, places: Places, hooks: Vec<Hook>) -> io::Result<Again> {
        let attach = move || {
            // Started before the rest of netdx gives its rights up. CAP_SYS_ADMIN stands for the others where they are missing.
            if let Err(error) = privilege::reduce(CapabilitySet::SYS_ADMIN) {
                tracing::warn!("rights that are not needed could not be given up: {error}");
            }
            let mut attacher = Attacher::new(&loader, &places, &[]);
            for hook in hooks {
                if let Err(why) = attacher.attach_again(hook) {
                    tracing::debug!("{hook}: {why}");
                }
            }
            attacher.finish().links
        };
        thread::Builder::new().name("again".into()).spawn(attach).map(Again)
    }

    /// Their links, when all are attached.
    pub(super) fn links(self) -> Vec<OwnedFd> {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
