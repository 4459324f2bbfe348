//! What this process may do, what netdx needs, and giving up the rest.
//!
//! Owns: capabilities(7) of this process. Must not know: what probes there are or how facts are found.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::fmt;

/// A capability that netdx uses.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The capability.
    pub capability: CapabilitySet,
    /// As capabilities(7) and setcap(8) write it.
    pub name: &'static str,
    /// What for.
    pub gives: &'static str,
    /// Without it nothing is traced.
    pub essential: bool,
}

/// What netdx uses, most important first.
pub const NEEDS: &[Need] = &[
    Need { capability: CapabilitySet::BPF, name: "cap_bpf", gives: "loading eBPF programs", essential: true },
    Need {
        capability: CapabilitySet::PERFMON,
        name: "cap_perfmon",
        gives: "attaching them to tracepoints",
        essential: true,
    },
    Need {
        capability: CapabilitySet::NET_ADMIN,
        name: "cap_net_admin",
        gives: "programs on cgroups (DNS, full accept queues) and firewall rules",
        essential: false,
    },
    Need {
        capability: CapabilitySet::SYS_PTRACE,
        name: "cap_sys_ptrace",
        gives: "who owns a socket, and other processes' namespaces",
        essential: false,
    },
    Need {
        capability: CapabilitySet::DAC_READ_SEARCH,
        name: "cap_dac_read_search",
        gives: "tracefs (what syscalls answered) and other users' files in /proc",
        essential: false,
    },
    Need {
        capability: CapabilitySet::SYS_ADMIN,
        name: "cap_sys_admin",
        gives: "looking into other network namespaces",
        essential: false,
    },
    Need {
        capability: CapabilitySet::SYSLOG,
        name: "cap_syslog",
        gives: "names of kernel functions",
        essential: false,
    },
];

/// What this process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    effective: CapabilitySet,
    /// It is in a user namespace of its own, where capabilities don't count for the kernel's programs.
    contained: bool,
}

impl Privileges {
    /// Of this thread.
    #[must_use]
    pub fn current() -> Privileges {
        let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let numbers: Vec<&str> = map.split_whitespace().collect();
        Privileges { effective, contained: !map.is_empty() && numbers != ["0", "0", "4294967295"] }
    }

    /// Whether a capability is there. CAP_SYS_ADMIN stands for those that were once part of it (Linux 5.8, 5.9).
    #[must_use]
    pub fn has(self, capability: CapabilitySet) -> bool {
        let once_admin = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYSLOG;
        self.effective.contains(capability)
            || (once_admin.contains(capability) && self.effective.contains(CapabilitySet::SYS_ADMIN))
    }

    /// Whether it is in a user namespace of its own.
    #[must_use]
    pub fn contained(self) -> bool {
        self.contained
    }

    /// What is not there.
    pub fn missing(self) -> impl Iterator<Item = &'static Need> {
        NEEDS.iter().filter(move |need| !self.has(need.capability))
    }

    /// That tracing can begin.
    ///
    /// # Errors
    /// What is missing and how to get it, in two lines.
    pub fn check(self) -> Result<(), Insufficient> {
        let missing: Vec<&str> = self.missing().filter(|n| n.essential).map(|n| n.name).collect();
        if missing.is_empty() && !self.contained {
            return Ok(());
        }
        Err(Insufficient { missing, contained: self.contained })
    }
}

/// Too few rights to trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Insufficient {
    missing: Vec<&'static str>,
    contained: bool,
}

impl fmt::Display for Insufficient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.contained {
            writeln!(
                f,
                "tracing needs the rights of the host, and this process is in a user namespace of its own (a rootless container?)"
            )?;
            return write!(f, "run netdx outside of it, as root: sudo netdx trace");
        }
        writeln!(f, "tracing needs rights that this process lacks: {}", self.missing.join(", "))?;
        write!(f, "run it as root (sudo netdx trace), or once: sudo {}", setcap())
    }
}

/// The command that gives this program all that netdx uses.
#[must_use]
pub fn setcap() -> String {
    let program = std::env::current_exe().map_or_else(|_| "netdx".to_owned(), |p| p.display().to_string());
    let names: Vec<&str> = NEEDS.iter().map(|n| n.name).collect();
    format!("setcap {}+ep {program}", names.join(","))
}

/// Gives up, for this thread and those it starts from now on, every capability but those of [`NEEDS`] and `also`.
/// A command started later is not limited by it beyond what exec(2) does by itself: root stays root.
///
/// # Errors
/// When the kernel refuses.
pub fn reduce(also: CapabilitySet) -> rustix::io::Result<()> {
    let keep = NEEDS.iter().fold(also, |all, need| all | need.capability);
    let mut sets = capabilities(None)?;
    sets.effective &= keep;
    sets.permitted &= keep;
    set_capabilities(None, sets)
}

/// The same for a thread that was started before the rest of netdx gives its rights up. What it can't give up it keeps.
pub fn reduce_thread(also: CapabilitySet) {
    if let Err(error) = reduce(also) {
        tracing::warn!("rights that are not needed could not be given up: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(effective: CapabilitySet) -> Privileges {
        Privileges { effective, contained: false }
    }

    #[test]
    fn an_ordinary_user_is_told_in_two_lines() {
        let text = with(CapabilitySet::empty()).check().expect_err("too few").to_string();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("cap_bpf, cap_perfmon") && text.contains("sudo netdx trace") && text.contains("setcap"));
    }

    #[test]
    fn the_two_essential_ones_suffice_and_admin_stands_for_them() {
        assert_eq!(with(CapabilitySet::BPF | CapabilitySet::PERFMON).check(), Ok(()));
        assert_eq!(with(CapabilitySet::SYS_ADMIN).check(), Ok(()));
        let half = with(CapabilitySet::BPF).check().expect_err("half").to_string();
        assert!(
            half.contains("cap_perfmon") && !half.starts_with("tracing needs rights that this process lacks: cap_bpf"),
            "{half}"
        );
    }

    #[test]
    fn root_of_a_user_namespace_is_no_root() {
        let text =
            Privileges { effective: CapabilitySet::all(), contained: true }.check().expect_err("contained").to_string();
        assert!(text.contains("user namespace") && text.lines().count() == 2);
    }

    #[test]
    fn reducing_keeps_what_is_needed() {
        let before = Privileges::current();
        std::thread::spawn(move || {
            reduce(CapabilitySet::empty()).expect("giving up is always allowed");
            let after = Privileges::current();
            assert!(NEEDS.iter().all(|n| before.has(n.capability) == after.has(n.capability)));
            assert!(!after.has(CapabilitySet::SYS_TIME));
        })
        .join()
        .expect("the thread ends well");
    }
}
