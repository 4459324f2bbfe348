//! What this machine allows netdx to observe, found out by trying.
//!
//! Owns: `netdx doctor`'s findings. Must not know: how they are shown. Everything tried is undone when it returns.

use super::{
    Error, Live, Settings,
    btf::{self, Blob, Btf},
    features,
    offsets::Kernel,
    probes::{self, FACTS, Fact, Hook},
    symbols, unhooked,
};
use crate::{
    coverage,
    fact::Ruleset,
    host::{self, firewall},
    privilege::{self, Privileges},
};
use serde::Serialize;
use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

/// The first kernel with a ring buffer for programs.
const OLDEST: (u32, u32) = (5, 8);

/// Verdicts that name a firewall's rule.
const OF_RULES: [&str; 2] = ["firewall.dropped", "firewall.rejected"];

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As netdx wants it.
    Good,
    /// Something is lost by it.
    Limited,
    /// Nothing can be traced because of it.
    Missing,
}

/// One thing about this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which.
    pub name: &'static str,
    /// How good it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// How to make it better.
    pub advice: Option<String>,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What became of it, as in every report's coverage.
    #[serde(flatten)]
    pub coverage: coverage::Probe,
    /// The hook that is expected to work with more rights, where it could not be tried.
    pub expected: Option<String>,
    /// Verdicts that are weaker or impossible without it.
    pub verdicts: Vec<&'static str>,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Layout of this object.
    pub schema: u32,
    /// What this object is.
    pub kind: &'static str,
    /// netdx's version.
    pub version: &'static str,
    /// About the machine.
    pub checks: Vec<Check>,
    /// Whether tracing works, and if not, why.
    pub error: Option<String>,
    /// The probes, in the order of the table.
    pub probes: Vec<Probe>,
    /// Verdicts that are weaker or impossible here.
    pub weakened: Vec<&'static str>,
    /// The one thing that would help most.
    pub advice: Option<String>,
}

/// Looks at this machine and tries every probe. `file`: BTF to use in place of the kernel's own.
#[must_use]
pub fn survey(file: Option<PathBuf>) -> Survey {
    let privileges = Privileges::current();
    let (types, kernel) = types(file.as_deref());
    let mut checks = vec![release(&features::kernel_release()), types, lockdown(features::lockdown().as_deref())];
    checks.push(rights(privileges));
    checks.extend(places());
    checks.push(function_names());
    checks.push(process_ids());
    checks.extend(kernel.as_ref().map(drop_reasons));
    let firewall = firewall_rules(firewall::read());
    let knows_rules = firewall.state == State::Good;
    checks.push(firewall);

    let attempt = Live::start(&Settings { btf: file, ..Settings::default() });
    let probes: Vec<Probe> = FACTS
        .iter()
        .filter(|fact| fact.when != probes::When::Tree)
        .map(|fact| {
            let tried =
                attempt.as_ref().ok().and_then(|live| live.coverage().probes.iter().find(|p| p.name == fact.name));
            Probe {
                coverage: tried.cloned().unwrap_or_else(|| untried(fact)),
                expected: tried.is_none().then(|| expected(fact, kernel.as_ref())).flatten(),
                verdicts: fact.verdicts.to_vec(),
            }
        })
        .collect();
    let mut weakened: BTreeSet<&str> =
        probes.iter().filter(|p| p.coverage.hook.is_none()).flat_map(|p| p.verdicts.iter().copied()).collect();
    if kernel.as_ref().is_some_and(|kernel| kernel.arguments.kfree_skb_reason == 0) {
        weakened.extend(unhooked::OF_REASONS);
    }
    if !knows_rules {
        weakened.extend(OF_RULES);
    }
    let advice = [State::Missing, State::Limited]
        .iter()
        .find_map(|state| checks.iter().find(|c| c.state == *state && c.advice.is_some()))
        .and_then(|c| c.advice.clone());
    Survey {
        schema: 1,
        kind: "doctor",
        version: env!("CARGO_PKG_VERSION"),
        error: attempt.err().map(|e| message(&e)),
        checks,
        probes,
        weakened: weakened.into_iter().collect(),
        advice,
    }
}

/// The first line of an error: what it advises is said elsewhere.
fn message(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn untried(fact: &Fact) -> coverage::Probe {
    coverage::Probe {
        name: fact.name.to_owned(),
        hook: None,
        reason: Some("not tried".to_owned()),
        gives: fact.gives.to_owned(),
    }
}

/// The hooks that a fact would get, as far as the kernel's BTF tells.
fn expected(fact: &Fact, kernel: Option<&Kernel>) -> Option<String> {
    let kernel = kernel?;
    let known: HashSet<&str> = kernel.tracepoints.keys().copied().collect();
    let hooks: Option<Vec<String>> = fact
        .parts
        .iter()
        .map(|part| {
            let exists = |hook: &&Hook| match hook {
                Hook::BtfTracepoint(name) | Hook::RawTracepoint(name) => known.contains(name),
                Hook::FunctionEntry(_, function) | Hook::FunctionReturn(_, function) | Hook::Kprobe(_, function) => {
                    kernel.functions.contains_key(function.name)
                }
                _ => true,
            };
            part.iter().find(exists).map(ToString::to_string)
        })
        .collect();
    let mut hooks = hooks?;
    // One hook may take several programs.
    hooks.dedup();
    Some(hooks.join(" + "))
}

fn release(release: &str) -> Check {
    let old = features::version(release) < OLDEST;
    Check {
        name: "kernel",
        state: if old { State::Missing } else { State::Good },
        found: release.to_owned(),
        advice: old.then(|| format!("run Linux {}.{} or newer (tested from 5.10)", OLDEST.0, OLDEST.1)),
    }
}

/// The kernel's type information, and what it says.
fn types(file: Option<&Path>) -> (Check, Option<Kernel>) {
    let path = file.unwrap_or(Path::new(btf::KERNEL));
    let bad = |why: String| Check {
        name: "type information",
        state: State::Missing,
        found: why,
        advice: Some(super::btf_advice()),
    };
    let blob = match Blob::open(path) {
        Ok(blob) => blob,
        Err(error) => return (bad(format!("{}: {error}", path.display())), None),
    };
    let read = Btf::parse(blob.bytes()).map_err(|e| e.to_string()).and_then(|btf| {
        let kernel = Kernel::read(&btf, &probes::tracepoints(), &probes::FUNCTIONS).map_err(|e| e.to_string())?;
        Ok((btf.len(), kernel))
    });
    match read {
        Err(error) => (bad(format!("{}: {error}", path.display())), None),
        Ok((count, kernel)) => {
            let mut found = format!("{} ({count} types)", path.display());
            if !kernel.absent.is_empty() {
                found += &format!(", without {}", kernel.absent.join(", "));
            }
            (Check { name: "type information", state: State::Good, found, advice: None }, Some(kernel))
        }
    }
}

fn lockdown(level: Option<&str>) -> Check {
    /// The file is missing from a kernel without lockdown, and wherever nobody has mounted securityfs.
    const UNKNOWN: &str = "not known: there is no /sys/kernel/security/lockdown";
    let confidential = level == Some("confidentiality");
    Check {
        name: "lockdown",
        state: if confidential { State::Missing } else { State::Good },
        found: level.unwrap_or(UNKNOWN).to_owned(),
        advice: confidential
            .then(|| "boot without lockdown=confidentiality: it forbids reading the kernel's memory".into()),
    }
}

fn rights(privileges: Privileges) -> Check {
    let missing: Vec<_> = privileges.missing().collect();
    let essential = privileges.check().is_err();
    let found = if privileges.contained() {
        "in a user namespace of its own: the host's rights are needed".to_owned()
    } else if missing.is_empty() {
        "all".to_owned()
    } else {
        let list: Vec<String> = missing.iter().map(|n| format!("{} ({})", n.name, n.gives)).collect();
        format!("missing: {}", list.join(", "))
    };
    Check {
        name: "rights",
        state: match (essential, missing.is_empty()) {
            (true, _) => State::Missing,
            (false, true) => State::Good,
            (false, false) => State::Limited,
        },
        found,
        advice: (essential || !missing.is_empty())
            .then(|| format!("sudo netdx doctor, or once: sudo {}", privilege::setcap())),
    }
}

/// Where tracepoints' ids and cgroups are.
fn places() -> [Check; 2] {
    let mounts = features::mounts();
    let check = |name, found: std::io::Result<features::Directory>, costs: &str| match found {
        Ok(directory) => Check {
            name,
            state: State::Good,
            found: directory.mounted_at.map_or_else(
                || "mounted nowhere here: opened for netdx alone".to_owned(),
                |path| path.display().to_string(),
            ),
            advice: None,
        },
        Err(error) => Check { name, state: State::Limited, found: format!("{error}: {costs}"), advice: None },
    };
    [
        check("tracefs", features::tracefs(&mounts), "what syscalls answered is not seen"),
        check("cgroup v2", features::cgroup_root(&mounts), "DNS and full accept queues are not seen"),
    ]
}

fn drop_reasons(kernel: &Kernel) -> Check {
    let has_reasons = kernel.arguments.kfree_skb_reason != 0;
    Check {
        name: "drop reasons",
        state: if has_reasons { State::Good } else { State::Limited },
        found: if has_reasons {
            format!("{} in this kernel", kernel.drop_reasons.len())
        } else {
            format!("{}: the function that dropped it has to do", unhooked::NO_REASONS)
        },
        advice: None,
    }
}

/// Whether the rules of firewalls can be listed, to name the one that did it.
fn firewall_rules(read: Result<Ruleset, host::Error>) -> Check {
    let found = match &read {
        Ok(ruleset) if ruleset.missing.is_empty() => "can be listed".to_owned(),
        Ok(ruleset) => ruleset.missing.join("; "),
        Err(error) => error.to_string(),
    };
    let good = read.as_ref().is_ok_and(|ruleset| ruleset.missing.is_empty());
    let advice = matches!(read, Err(host::Error::NoTool(_))).then(|| "install nftables".to_owned());
    Check { name: "firewall rules", state: if good { State::Good } else { State::Limited }, found, advice }
}

fn function_names() -> Check {
    let hidden = symbols::hidden();
    let restricted = features::sysctl("kernel/kptr_restrict").is_some_and(|v| v == "2");
    Check {
        name: "function names",
        state: if hidden.is_some() { State::Limited } else { State::Good },
        found: hidden.map_or_else(|| symbols::KALLSYMS.to_owned(), |e| e.to_string()),
        advice: restricted.then(|| "sudo sysctl kernel.kptr_restrict=1".to_owned()),
    }
}

fn process_ids() -> Check {
    let alike = features::counts_processes_alike() && features::proc_counts_processes_alike();
    Check {
        name: "process ids",
        state: if alike { State::Good } else { State::Limited },
        found: if alike { "the machine's".to_owned() } else { features::OTHER_PROCESS_IDS.to_owned() },
        advice: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_told() {
        assert_eq!(release("5.4.0-150-generic").state, State::Missing);
        assert_eq!(release("5.10.223").state, State::Good);
        assert_eq!(release("7.3").state, State::Good);
        assert!(release("4.18.0-553.el8").advice.expect("advice").contains("5.8"));
    }

    #[test]
    fn rules_that_can_not_be_listed_are_told() {
        assert_eq!(firewall_rules(Ok(Ruleset::default())).state, State::Good);
        let legacy =
            Ruleset { missing: vec!["the rules of legacy iptables: it is not there".into()], ..Ruleset::default() };
        assert_eq!(firewall_rules(Ok(legacy)).state, State::Limited);
        let none = firewall_rules(Err(host::Error::NoTool("nft".into())));
        assert!(none.found.starts_with("nft is not installed") && none.advice.is_some(), "{none:?}");
    }

    #[test]
    fn only_confidentiality_hurts() {
        assert!(lockdown(None).found.starts_with("not known"));
        assert_eq!(lockdown(None).state, State::Good);
        assert_eq!(lockdown(Some("integrity")).state, State::Good);
        assert_eq!(lockdown(Some("confidentiality")).state, State::Missing);
    }

    #[test]
    fn hooks_are_expected_only_where_the_kernel_has_them() {
        let (_, kernel) = types(None);
        let Some(mut kernel) = kernel else { return };
        let fact = FACTS.iter().find(|f| f.name == "drop").expect("in the table");
        assert_eq!(expected(fact, Some(&kernel)).as_deref(), Some("tp_btf/kfree_skb"));
        kernel.tracepoints.remove("kfree_skb");
        assert_eq!(expected(fact, Some(&kernel)), None);
    }

    #[test]
    fn a_file_that_is_no_btf_is_named() {
        let (check, kernel) = types(Some(Path::new("/proc/self/status")));
        assert!(kernel.is_none() && check.state == State::Missing && check.found.contains("/proc/self/status"));
    }
}
