//! Which processes are asked for, where the kernel could not tell.
//!
//! Owns: whether the process that holds a socket is one of those. Must not know: what happened to the socket.
//!
//! The kernel leaves out what processes do that aren't asked for. An error that reaches a datagram socket is nobody's doing:
//! whose socket it is, the host was asked afterwards.

use crate::{host::process, live::Tree, report::Process};

/// The processes that the kernel leaves in.
#[derive(Debug, Default)]
pub struct Asked {
    /// Cgroups by their paths, those below included; none: all.
    pub cgroups: Vec<String>,
    /// Only those of a process tree.
    pub tree: Option<Tree>,
}

impl Asked {
    /// Whether a report is about one of them. Of what is known to be nobody's, nobody can tell.
    pub(super) fn holds(&self, process: Option<&Process>) -> bool {
        let everybody = self.cgroups.is_empty() && self.tree.is_none();
        everybody || process.is_some_and(|process| process.acted || self.is_one(process.pid))
    }

    fn is_one(&self, pid: u32) -> bool {
        let in_group = |path: &str| self.cgroups.iter().any(|group| crate::filter::is_below(path, group));
        (self.cgroups.is_empty() || process::place(pid).cgroup.is_some_and(|path| in_group(&path)))
            && self.tree.as_ref().is_none_or(|tree| tree.holds(pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::connection;

    #[test]
    fn what_nobody_did_is_its_who_holds_the_socket() {
        let own = process::place(std::process::id()).cgroup.expect("a cgroup");
        let asked = |path: &str| Asked { cgroups: vec![path.into()], tree: None };
        let acted = connection().process.expect("a process");
        let holds = Process { pid: std::process::id(), acted: false, ..acted.clone() };
        assert!(asked("/no-such-cgroup").holds(Some(&acted)), "the kernel has left it in");
        assert!(asked(&own).holds(Some(&holds)) && asked("/").holds(Some(&holds)));
        assert!(!asked("/no-such-cgroup").holds(Some(&holds)));
        assert!(!asked(&own).holds(Some(&Process { pid: u32::MAX, ..holds.clone() })), "it has ended");
        assert!(!asked(&own).holds(None) && Asked::default().holds(None));
    }
}
