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
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// The programs, on their way into the kernel or there.
pub(super) struct Again {
    thread: JoinHandle<Vec<OwnedFd>>,
    /// What is not attached yet is not needed any more.
    is_over: Arc<AtomicBool>,
}

impl Again {
    /// Begins to attach them to these hooks.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(loader: Loader, places: Places, hooks: Vec<Hook>) -> io::Result<Again> {
        let is_over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&is_over);
        let attach = move || {
            // It stands for the others where they are missing.
            privilege::reduce_thread(CapabilitySet::SYS_ADMIN);
            let mut attacher = Attacher::new(&loader, &places, &[]);
            for hook in hooks {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                if let Err(why) = attacher.attach_again(hook) {
                    tracing::debug!("{hook}: {why}");
                }
            }
            attacher.finish().links
        };
        let thread = thread::Builder::new().name("again".into()).spawn(attach)?;
        Ok(Again { thread, is_over })
    }

    /// Ends it: the links of what is attached.
    pub(super) fn links(self) -> Vec<OwnedFd> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
