//! Who holds a socket, and where it is, in a person's terms. Owns: [`Who`], [`Where`], and looking each up once.
//! Must not know: sockets.

use super::{
    Ask,
    phrase::{Phrase, View},
    sheet::Sheet,
};
use crate::{
    event::Netns,
    fact::{Answer, Owner},
    host::process,
    render::ink::{PLAIN, WARN},
    want::Want,
};
use serde::Serialize;
use std::{collections::BTreeMap, fs};

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Who {
    /// Process id.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// systemd unit.
    pub unit: Option<String>,
    /// Container.
    pub container: Option<String>,
    /// Cgroup path.
    pub cgroup: Option<String>,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Where {
    /// Its inode.
    pub netns: u32,
    /// Name under /run/netns, or of a container, or a process in it.
    pub name: Option<String>,
    /// It is netdx's own.
    pub own: bool,
}

/// What has been looked up.
#[derive(Debug, Default)]
pub struct Directory {
    users: BTreeMap<u32, String>,
    processes: BTreeMap<u32, Who>,
    places: BTreeMap<Netns, Where>,
}

impl Directory {
    /// Knows the users of /etc/passwd, and nobody else yet.
    #[must_use]
    pub fn new() -> Directory {
        // Without it users are shown by number.
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        Directory { users: users(&passwd), ..Directory::default() }
    }

    /// A user's name, if /etc/passwd has one.
    #[must_use]
    pub fn user(&self, uid: u32) -> Option<String> {
        self.users.get(&uid).cloned()
    }

    /// A process by what holds the socket.
    pub fn who(&mut self, owner: &Owner) -> Who {
        let look = || {
            let place = process::place(owner.pid);
            Who {
                pid: owner.pid,
                comm: owner.comm.clone(),
                unit: place.unit,
                container: place.container,
                cgroup: place.cgroup,
            }
        };
        self.processes.entry(owner.pid).or_insert_with(look).clone()
    }

    /// A namespace in a person's terms.
    pub fn place(&mut self, netns: Netns, host: &mut impl Ask) -> Where {
        if let Some(known) = self.places.get(&netns) {
            return known.clone();
        }
        let place = match host.ask(&Want::Namespace { netns }) {
            Answer::Namespace(namespace) => Where {
                netns: netns.0,
                name: namespace
                    .name
                    .or(namespace.container)
                    .or_else(|| namespace.process.map(|p| format!("{}[{}]", p.comm, p.pid))),
                own: namespace.own,
            },
            _ => Where { netns: netns.0, name: None, own: false },
        };
        self.places.insert(netns, place.clone());
        place
    }
}

impl Where {
    /// `web`, or by inode; `-`: this one.
    #[must_use]
    pub fn short(&self) -> String {
        match &self.name {
            _ if self.own => "-".into(),
            Some(name) => name.clone(),
            None => self.netns.to_string(),
        }
    }

    /// `namespace web`, or by inode.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.name {
            _ if self.own => "this namespace".into(),
            Some(name) => format!("namespace {name}"),
            None => format!("namespace {}", self.netns),
        }
    }
}

/// `postgres[812]`, several as `nginx[10,11,12]`; nobody: who it belongs to as far as that can be seen.
#[must_use]
pub fn label(owners: &[Who], uid: Option<u32>, user: Option<&str>) -> String {
    if owners.is_empty() {
        return match (user, uid) {
            (Some(user), _) => format!("? (user {user})"),
            (None, Some(uid)) => format!("? (uid {uid})"),
            (None, None) => "?".into(),
        };
    }
    let mut by_name: Vec<(&str, Vec<String>)> = Vec::new();
    for owner in owners {
        match by_name.iter_mut().find(|(name, _)| *name == owner.comm) {
            Some((_, pids)) => pids.push(owner.pid.to_string()),
            None => by_name.push((&owner.comm, vec![owner.pid.to_string()])),
        }
    }
    let named: Vec<String> = by_name.iter().map(|(name, pids)| format!("{name}[{}]", pids.join(","))).collect();
    named.join(" ")
}

/// What could not be seen, a line each.
#[must_use]
pub fn unseen(sentences: &[String], view: View) -> String {
    let mut sheet = Sheet::new(view);
    for sentence in sentences {
        sheet.line(Phrase::of(WARN, "not seen:").and(PLAIN, format!(" {sentence}")));
    }
    sheet.finish()
}

/// Users by number (passwd(5)); the first line of a number counts.
fn users(passwd: &str) -> BTreeMap<u32, String> {
    let mut users = BTreeMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok())) {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let users = users("root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbroken\npg:x:105:1::/:/bin/sh\n");
        assert_eq!(users.into_iter().collect::<Vec<_>>(), [(0, "root".to_owned()), (105, "pg".to_owned())]);
    }

    #[test]
    fn processes_of_one_name_are_put_together() {
        let who = |pid, comm: &str| Who { pid, comm: comm.into(), unit: None, container: None, cgroup: None };
        assert_eq!(label(&[who(10, "nginx"), who(11, "nginx"), who(9, "sh")], Some(0), None), "nginx[10,11] sh[9]");
        assert_eq!(label(&[], Some(33), Some("www-data")), "? (user www-data)");
        assert_eq!(label(&[], Some(33), None), "? (uid 33)");
        assert_eq!(label(&[], None, None), "?");
    }
}
