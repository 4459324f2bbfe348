//! Which network namespaces the tasks of this host are in, by a walk in the kernel: /proc has a file for each of them, and
//! to open a thousand takes longer.
//!
//! Owns: that walk. Must not know: what namespaces are for.

use super::{
    attach::Ids,
    features,
    loader::Loader,
    probes::WALK,
    sys::{self, AttachType, ProgramType},
};
use crate::event::Netns;
use netdx_common::record::Walked;
use std::{
    io::{self, Read as _},
    os::fd::{AsFd, OwnedFd},
};
use zerocopy::FromBytes as _;

/// The walk, in the kernel as long as this is.
#[derive(Debug)]
pub struct Tasks(OwnedFd);

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its process.
    pub pid: u32,
    /// The thread, where it is in another namespace than its process; none: the process.
    pub thread: Option<u32>,
    /// The namespace.
    pub netns: Netns,
}

impl Tasks {
    /// Puts the walk into the kernel. None: this kernel has none, it isn't allowed, or its process ids are not those of /proc.
    /// Whoever reads /proc instead takes longer, and doesn't see where only a thread is.
    pub(super) fn load(loader: &Loader, ids: Option<&Ids>) -> Option<Tasks> {
        if !features::proc_counts_processes_alike() {
            return None;
        }
        let id = ids?.functions.get(WALK.name)?;
        let loaded = loader.load("walk", ProgramType::Tracing, Some(AttachType::TraceIter), id.0);
        let walk = loaded.map_err(|refusal| refusal.to_string());
        let walk = walk.and_then(|program| sys::attach_walk(program.as_fd()).map_err(|error| error.to_string()));
        walk.inspect_err(|why| tracing::debug!("no walk over tasks: {why}")).ok().map(Tasks)
    }

    /// Where every task is that has a namespace, processes by their ids.
    ///
    /// # Errors
    /// The walk can't be begun or read.
    pub fn walk(&self) -> io::Result<Vec<Whereabouts>> {
        let mut bytes = Vec::new();
        sys::begin_walk(self.0.as_fd())?.read_to_end(&mut bytes)?;
        let steps = bytes.chunks_exact(size_of::<Walked>()).filter_map(|step| Walked::read_from_bytes(step).ok());
        Ok(steps.map(Whereabouts::from).collect())
    }
}

impl From<Walked> for Whereabouts {
    fn from(Walked { tgid, tid, netns }: Walked) -> Whereabouts {
        Whereabouts { pid: tgid, thread: (tid != tgid).then_some(tid), netns: Netns(netns) }
    }
}
