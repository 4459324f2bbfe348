//! What could not be seen, in sentences: others' namespaces, others' processes. Owns: [`Unseen`]. Must not know: what was looked
//! for, how it is shown.

use crate::{event::Netns, host::Error, quantity::count};
use std::{collections::BTreeSet, io};

/// What has been found closed so far.
#[derive(Debug, Default)]
pub struct Unseen {
    closed: BTreeSet<Netns>,
    sentences: Vec<String>,
}

impl Unseen {
    /// A namespace that was not looked into; those that may not be entered are counted, for there may be hundreds.
    pub fn namespace(&mut self, netns: Netns, error: &Error) {
        match error {
            Error::Enter { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                self.closed.insert(netns);
            }
            _ => self.say(error.to_string()),
        }
    }

    /// A namespace in which the kernel did not answer.
    pub fn question(&mut self, netns: Netns, error: &io::Error) {
        self.say(format!("namespace {}: {error}", netns.0));
    }

    fn say(&mut self, sentence: String) {
        if !self.sentences.contains(&sentence) {
            self.sentences.push(sentence);
        }
    }

    /// All of it. `hidden`: processes that don't say their namespace; `unowned`: sockets whose processes are others'.
    #[must_use]
    pub fn sentences(self, hidden: usize, unowned: usize) -> Vec<String> {
        // Root lacks something only where it is not the root of this machine, which no sudo changes.
        let root = rustix::process::geteuid().is_root();
        let advice = if root { "" } else { ": root sees them" };
        let mut sentences = self.sentences;
        if !self.closed.is_empty() {
            let namespaces = count(self.closed.len() as u64, "network namespace");
            sentences.push(format!("{namespaces} may not be entered{advice}"));
        }
        if hidden > 0 {
            let processes = count(hidden as u64, "process");
            sentences.push(format!("the network namespace of {processes}{advice}"));
        }
        if unowned > 0 && !root {
            let sockets = count(unowned as u64, "socket");
            sentences.push(format!("the processes that hold {sockets} belong to others{advice}"));
        }
        sentences
    }
}
