//! Answers what the core wants to know about this host. Owns: [`Host`], [`Error`]. Must not know: stories and verdicts.
//!
//! Everything here is synchronous and is asked from one thread. Nothing is kept that can go stale without being seen to:
//! what is cached is checked before it is believed.

pub mod beneath;
pub mod bpf;
pub mod cgroup;
pub mod conntrack;
pub mod counters;
pub mod decision;
pub mod fdb;
pub mod fib;
pub mod firewall;
pub mod interface;
pub mod ipsec;
pub mod iptables;
pub mod ipvs;
mod legacy;
pub mod namespace;
pub mod neigh;
pub mod netlink;
pub mod ports;
pub mod process;
pub mod queue;
pub mod resolver;
pub mod root;
pub mod route;
pub mod rule;
mod rulesets;
pub mod sockets;
pub mod sysctl;
#[cfg(test)]
mod tests;
pub mod translation;
pub mod unix;
pub mod wireguard;

use crate::{
    event::{Netns, Protocol},
    fact::Answer,
    live::{Tasks, features},
    want::Want,
};
use namespace::Namespaces;
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// What could not be found out about this host, and what would help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}: {source}{hint}", path = path.display(), hint = hint(source, "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A namespace is not there, or not visible.
    #[error("network namespace {} is gone, or nothing that netdx may see leads to it{}", netns.0, unseen(*hidden))]
    NoNamespace {
        /// The namespace.
        netns: Netns,
        /// Number of processes whose namespace may not be seen.
        hidden: usize,
    },
    /// A namespace may not be entered.
    #[error("cannot enter network namespace {}: {source}{hint}", netns.0, hint = hint(source, "CAP_SYS_ADMIN"))]
    Enter {
        /// The namespace.
        netns: Netns,
        /// Why.
        source: io::Error,
    },
    /// No thread could be started to enter a namespace with.
    #[error("cannot start a thread to look into another namespace: {0}")]
    Thread(io::Error),
    /// The kernel did not answer a question.
    #[error("the kernel did not tell {what} in network namespace {}: {source}{hint}", netns.0, hint = hint(source, "CAP_NET_ADMIN"))]
    Kernel {
        /// What was asked.
        what: &'static str,
        /// Where.
        netns: Netns,
        /// Why.
        source: io::Error,
    },
    /// bpf(2) failed.
    #[error("bpf(2) did not tell {what}: {source}{hint}", hint = hint(source, "CAP_NET_ADMIN and CAP_SYS_ADMIN"))]
    Bpf {
        /// What was asked.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What came is not what was expected.
    #[error("cannot make sense of {what}: {why}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel does not track connections.
    #[error("connections are not tracked: nf_conntrack is not loaded")]
    NoTracking,
    /// A tool said no.
    #[error("`{command}` failed: {why}{}", if why.contains("not permitted") { " (root or CAP_NET_ADMIN is needed)" } else { "" })]
    Tool {
        /// What was run.
        command: String,
        /// What it said.
        why: String,
    },
    /// A tool is not installed.
    #[error(
        "{0} is not installed: firewall rules can't be listed (install the package nftables or iptables that has it)"
    )]
    NoTool(String),
    /// Process ids are others than the kernel's.
    #[error("{}", features::OTHER_PROCESS_IDS)]
    ProcessIds,
    /// A process has ended.
    #[error("process {0} has ended")]
    Ended(u32),
}

impl Error {
    fn read(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Read { path: path.as_ref().to_path_buf(), source }
    }
}

fn hint(source: &io::Error, capability: &str) -> String {
    match source.kind() {
        io::ErrorKind::PermissionDenied => format!(" (root or {capability} is needed)"),
        _ => String::new(),
    }
}

fn unseen(hidden: usize) -> String {
    match hidden {
        0 => String::new(),
        n => format!(" ({n} processes hide theirs: root or CAP_SYS_PTRACE is needed)"),
    }
}

/// Questions with something in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Routes(Netns),
    Owners,
    Listeners(Protocol),
}

impl Group {
    fn of(want: &Want) -> Option<Group> {
        match want {
            Want::Route { netns, .. } => Some(Group::Routes(*netns)),
            Want::Owners { .. } => Some(Group::Owners),
            Want::Listeners { protocol, .. } => Some(Group::Listeners(*protocol)),
            _ => None,
        }
    }
}

fn query(want: &Want) -> Option<route::Query> {
    let Want::Route { netns: _, to, from, device, mark, uid, flow } = want else { return None };
    Some(route::Query { to: *to, from: *from, device: *device, mark: *mark, uid: *uid, flow: *flow })
}

fn unavailable(error: Error) -> Answer {
    Answer::Unavailable(error.to_string())
}

/// Answers questions about this host.
#[derive(Debug, Default)]
pub struct Host {
    tasks: Option<Tasks>,
    namespaces: Option<Namespaces>,
    holders: process::Holders,
    cgroups: Option<cgroup::Cgroups>,
    rulesets: rulesets::Rulesets,
}

impl Host {
    /// A host about which nothing is known yet. Its own namespace is that of the thread that asks first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, which finds namespaces by a walk in the kernel.
    #[must_use]
    pub fn with(tasks: Option<Tasks>) -> Self {
        Self { tasks, ..Self::default() }
    }

    /// Finds an answer now. Blocks for milliseconds.
    pub fn answer(&mut self, want: &Want) -> Answer {
        self.find(want).unwrap_or_else(unavailable)
    }

    /// Finds answers to several questions now, in their order. What they have in common is looked up once: the way into a
    /// namespace, its routing tables, the search for namespaces and through every one of them.
    pub fn answer_together(&mut self, wants: &[&Want]) -> Vec<Answer> {
        self.search_once(true);
        let answers = self.of_all(wants);
        self.search_once(false);
        answers
    }

    /// Whether one search for namespaces serves all questions.
    fn search_once(&mut self, once: bool) {
        // Where there are none to be seen each question says why.
        if let Ok(namespaces) = self.namespaces() {
            namespaces.together(once);
        }
    }

    fn of_all(&mut self, wants: &[&Want]) -> Vec<Answer> {
        let mut found: BTreeMap<&Want, Answer> = BTreeMap::new();
        let mut groups: BTreeMap<Group, Vec<&Want>> = BTreeMap::new();
        for want in wants {
            if let Some(group) = Group::of(want) {
                groups.entry(group).or_default().push(want);
            }
        }
        for (group, wants) in groups {
            // What can't be answered together may be answered one by one.
            found.extend(wants.iter().copied().zip(self.of_group(group, &wants).unwrap_or_default()));
        }
        wants.iter().map(|want| found.remove(*want).unwrap_or_else(|| self.answer(want))).collect()
    }

    /// The answers to questions of one group.
    fn of_group(&mut self, group: Group, wants: &[&Want]) -> Result<Vec<Answer>, Error> {
        match group {
            Group::Routes(netns) => {
                let queries: Vec<route::Query> = wants.iter().filter_map(|want| query(want)).collect();
                let routes = self.kernel(netns, "the route", || route::lookup_all(&queries))?;
                Ok(routes.into_iter().map(Answer::Route).collect())
            }
            Group::Owners => {
                let asked = |want: &&Want| match want {
                    Want::Owners { address, from } => Some((*address, *from)),
                    _ => None,
                };
                let asked: Vec<(IpAddr, Netns)> = wants.iter().filter_map(asked).collect();
                Ok(self.owners(&asked)?.into_iter().map(Answer::Owners).collect())
            }
            Group::Listeners(protocol) => {
                let port = |want: &&Want| if let Want::Listeners { port, .. } = want { Some(*port) } else { None };
                let ports: Vec<u16> = wants.iter().filter_map(port).collect();
                let all = self.listeners(protocol, &ports)?;
                let on = |port: &u16| all.iter().filter(|l| l.port == *port).cloned().collect();
                Ok(ports.iter().map(|port| Answer::Listeners(on(port))).collect())
            }
        }
    }

    /// The namespaces of this host.
    ///
    /// # Errors
    /// /proc can't be read.
    pub fn namespaces(&mut self) -> Result<&mut Namespaces, Error> {
        match &mut self.namespaces {
            Some(namespaces) => Ok(namespaces),
            unseen @ None => Ok(unseen.insert(Namespaces::new(self.tasks.take())?)),
        }
    }

    fn find(&mut self, want: &Want) -> Result<Answer, Error> {
        Ok(match want {
            Want::Listeners { .. } | Want::Owners { .. } | Want::Route { .. } => return self.find_alone(want),
            Want::Neighbor { netns, address, device } => {
                Answer::Neighbor(self.kernel(*netns, "its neighbours", || neigh::find(*address, *device))?)
            }
            Want::NeighborTable { netns, v6 } => {
                Answer::NeighborTable(self.kernel(*netns, "the table of its neighbours", || neigh::table(*v6))?)
            }
            Want::Interfaces { netns } => Answer::Interfaces(self.kernel(*netns, "its interfaces", interface::list)?),
            Want::Beneath { netns, device } => {
                Answer::Beneath(self.kernel(*netns, "what is beneath an interface", || beneath::of(*device))?)
            }
            // Of what the kernel named. By another namespace's number another process would be found.
            Want::Process { .. } | Want::Resolver { root: None, .. } | Want::Hosts { root: None, .. }
                if !features::proc_counts_processes_alike() =>
            {
                return Err(Error::ProcessIds);
            }
            Want::Process { pid } => Answer::Process(process::describe(*pid)?.map(Box::new)),
            Want::Resolver { pid, root } => Answer::Resolver(root::through(*pid, *root, resolver::resolver)?),
            Want::Hosts { pid, root, name } => {
                Answer::Hosts(root::through(*pid, *root, |by| resolver::hosts(by, name))?)
            }
            Want::Sysctl { netns, key } => Answer::Sysctl(self.namespaces()?.within(*netns, || sysctl::read(key))??),
            Want::Namespace { netns } => Answer::Namespace(self.namespaces()?.describe(*netns)?),
            Want::Holders { netns, protocol, address, port } => {
                let sockets = self.kernel(*netns, "its sockets", || sockets::holders(*protocol, *address, *port))?;
                Answer::Sockets(self.entries(sockets))
            }
            Want::Owner { netns, tuple } => {
                let sockets = self.kernel(*netns, "its sockets", || sockets::exact(tuple))?;
                Answer::Sockets(self.entries(sockets))
            }
            Want::PortUse { netns, protocol, remote, remote_port } => {
                Answer::PortUse(self.port_use(*netns, *protocol, *remote, *remote_port)?)
            }
            Want::HalfOpen { netns, port } => {
                Answer::HalfOpen(self.kernel(*netns, "its sockets", || sockets::half_open(*port))?)
            }
            Want::IpsecPolicies { netns } => {
                Answer::IpsecPolicies(self.kernel(*netns, "its IPsec policies", ipsec::policies)?)
            }
            Want::IpsecStates { netns } => {
                Answer::IpsecStates(self.kernel(*netns, "its IPsec security associations", ipsec::states)?)
            }
            Want::IpvsServices { netns } => Answer::IpvsServices(self.namespaces()?.within(*netns, ipvs::services)??),
            Want::QueueDrops { netns, device } => {
                Answer::QueueDrops(self.kernel(*netns, "what its queues dropped", || queue::drops(*device))?)
            }
            Want::WireguardPeers { netns, device } => {
                Answer::WireguardPeers(self.kernel(*netns, "its WireGuard peers", || wireguard::peers(*device))?)
            }
            Want::TunnelEnds { netns, address, device } => {
                Answer::TunnelEnds(self.kernel(*netns, "the ends of a tunnel", || fdb::ends(*address, *device))?)
            }
            Want::Conntrack { netns } => Answer::Conntrack(self.namespaces()?.within(*netns, conntrack::read)??),
            Want::Counters { netns } => Answer::Counters(self.namespaces()?.within(*netns, counters::read)??),
            Want::Ruleset { netns } => {
                let mut rulesets = std::mem::take(&mut self.rulesets);
                let rules = self.namespaces()?.within(*netns, || rulesets.read());
                self.rulesets = rulesets;
                Answer::Ruleset(rules??)
            }
            Want::RulesetGeneration { netns, dropped: _ } => {
                Answer::RulesetGeneration(self.namespaces()?.within(*netns, rulesets::generation)?)
            }
            Want::Translations { packet } => Answer::Translations(self.translations(*packet)?),
            Want::Origin { packet } => Answer::Origin(self.origin(*packet)?),
            Want::BpfPrograms { netns, cgroup } => Answer::BpfPrograms(self.bpf_programs(*netns, *cgroup)?),
            Want::BpfProgramsOf { netns, pid } => Answer::BpfPrograms(self.bpf_programs_of(*netns, *pid)?),
        })
    }

    /// The answer to a question that could have been asked together with others.
    fn find_alone(&mut self, want: &Want) -> Result<Answer, Error> {
        let mut answers = match Group::of(want) {
            Some(group) => self.of_group(group, &[want])?,
            None => Vec::new(),
        };
        answers
            .pop()
            .ok_or_else(|| Error::Malformed { what: "the kernel's answer".into(), why: "there is none".into() })
    }

    /// Asks the kernel something inside a namespace.
    fn kernel<T: Send>(
        &mut self,
        netns: Netns,
        what: &'static str,
        ask: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, Error> {
        self.namespaces()?.within(netns, ask)?.map_err(|source| Error::Kernel { what, netns, source })
    }
}
