//! Completion in a shell. Owns: answering it, and what can stand where a process, port, code or namespace is asked for.
//! Must not know: what a verb does with it.
//!
//! The shell's script (`source <(COMPLETE=bash netdx)`, or what `cargo xtask docs` writes) calls netdx itself, so that it offers
//! what is there now. What can't be read is not offered.

use crate::{
    event::Protocol,
    explain,
    host::{Host, process},
    render::escape::escape,
};
use clap_complete::{CompleteEnv, engine::CompletionCandidate};
use std::{collections::BTreeMap, fs};

/// Answers when a shell asks (environment variable COMPLETE), and ends the process; otherwise does nothing.
pub(super) fn answer() {
    CompleteEnv::with_factory(super::command).bin("netdx").complete();
}

/// Processes, with their names.
pub(super) fn pids() -> Vec<CompletionCandidate> {
    let pids = process::pids().unwrap_or_default();
    pids.into_iter().map(|pid| candidate(pid.to_string(), process::comm(pid))).collect()
}

/// Names of processes.
pub(super) fn comms() -> Vec<CompletionCandidate> {
    let pids = process::pids().unwrap_or_default();
    let names: std::collections::BTreeSet<String> = pids.into_iter().filter_map(process::comm).collect();
    names.into_iter().map(|name| candidate(escape(&name).into_owned(), None)).collect()
}

/// Ports that are listened on, with who listens.
pub(super) fn ports() -> Vec<CompletionCandidate> {
    let mut host = Host::new();
    let mut ports: BTreeMap<u16, Option<String>> = BTreeMap::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for listener in host.listeners(protocol, &[]).unwrap_or_default() {
            let owner = listener.owners.into_iter().next().map(|owner| owner.comm);
            ports.entry(listener.port).or_default().get_or_insert_with(|| owner.unwrap_or_default());
        }
    }
    ports.into_iter().map(|(port, owner)| candidate(port.to_string(), owner)).collect()
}

/// Codes of verdicts, with what they are.
pub(super) fn codes() -> Vec<CompletionCandidate> {
    let causes = explain::registry().iter();
    causes.map(|cause| candidate(cause.code.to_owned(), cause.page.lines().next().map(str::to_owned))).collect()
}

/// Network namespaces that have a name.
pub(super) fn namespaces() -> Vec<CompletionCandidate> {
    let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().into_string().ok()).map(|name| candidate(name, None)).collect()
}

fn candidate(value: String, help: Option<String>) -> CompletionCandidate {
    let help = help.filter(|text| !text.is_empty()).map(|text| escape(&text).into_owned().into());
    CompletionCandidate::new(value).help(help)
}
