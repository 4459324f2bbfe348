//! The story of one lookup of a name. Owns: [`Lookup`]: which queries belong together, whether they were answered.
//! Must not know: causes, wording.

use super::{Connection, Facts, Program};
use crate::{
    event::{Cookie, DnsMessage, Netns, Protocol, Task, Tuple},
    time::Time,
};
use std::net::IpAddr;

/// RCODEs (RFC 1035 §4.1.1).
pub mod rcode {
    #![allow(missing_docs, reason = "the RFC's own names")]
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const REFUSED: u16 = 5;
}

/// One question on its way to one server.
#[derive(Clone, Debug)]
pub struct Query {
    /// When it left first.
    pub sent: Time,
    /// How often it was sent on this socket.
    pub tries: u32,
    /// When it was sent last.
    pub last: Time,
    /// Name asked for, the search list applied.
    pub name: String,
    /// Type by number.
    pub kind: u16,
    /// Message id.
    pub id: u16,
    /// The socket.
    pub cookie: Option<Cookie>,
    /// Endpoints: remote is the server.
    pub tuple: Tuple,
    /// When the answer came, and it.
    pub answer: Option<(Time, DnsMessage)>,
}

impl Query {
    /// An answer of use came: not cut.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.answer.as_ref().is_some_and(|(_, m)| !m.truncated)
    }
    /// RCODE of the answer.
    #[must_use]
    pub fn rcode(&self) -> Option<u16> {
        self.answer.as_ref().map(|(_, m)| m.rcode)
    }
    /// It was answered with records of its type.
    #[must_use]
    pub fn useful(&self) -> bool {
        self.answer.as_ref().is_some_and(|(_, m)| !m.truncated && m.rcode == rcode::NOERROR && m.answers > 0)
    }
}

/// What the C library's resolver said in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// When getaddrinfo returned.
    pub time: Time,
    /// 0, or EAI_* (negative).
    pub result: i32,
    /// The name the application gave.
    pub name: String,
    /// The service it gave (a port, or a name of one).
    pub service: String,
}

/// One lookup: every query that one thread sent for one name, with the search list applied, over all servers.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Number of the report.
    pub serial: u64,
    /// When it began.
    pub began: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// Who asked.
    pub task: Option<Task>,
    /// What the process runs.
    pub program: Option<Program>,
    /// Namespace of the socket.
    pub netns: Option<Netns>,
    /// The queries, in order.
    pub queries: Vec<Query>,
    /// What getaddrinfo returned.
    pub resolved: Option<Resolved>,
    /// The threshold it exceeded, if it was slow.
    pub slow: Option<std::time::Duration>,
    /// The ways to its servers that failed, each as the story of a connection.
    pub paths: Vec<Connection>,
    /// Records the kernel lost while this went on.
    pub lost: u64,
    /// What the host answered.
    pub facts: Facts,
}

impl Lookup {
    /// The name as the application gave it, as far as it is known: getaddrinfo's, else the shortest one asked for that
    /// begins all others (the search list appends to it).
    #[must_use]
    pub fn name(&self) -> &str {
        if let Some(r) = &self.resolved
            && !r.name.is_empty()
        {
            return r.name.trim_end_matches('.');
        }
        let Some(first) = self.queries.first() else { return "" };
        if self.queries.iter().all(|q| q.name == first.name) {
            return &first.name;
        }
        self.common_labels().unwrap_or(&first.name)
    }

    /// The labels with which every name asked for begins.
    fn common_labels(&self) -> Option<&str> {
        let first = &self.queries.first()?.name;
        let end = first
            .match_indices('.')
            .map(|(i, _)| i)
            .chain([first.len()])
            .filter(|&end| {
                let prefix = &first[..end];
                self.queries
                    .iter()
                    .all(|q| q.name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
            })
            .max()?;
        Some(&first[..end])
    }

    /// The different names asked for, in order.
    #[must_use]
    pub fn candidates(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for q in &self.queries {
            if !names.contains(&q.name.as_str()) {
                names.push(&q.name);
            }
        }
        names
    }

    /// The servers asked, in order.
    #[must_use]
    pub fn servers(&self) -> Vec<IpAddr> {
        let mut servers: Vec<IpAddr> = Vec::new();
        for q in &self.queries {
            if !servers.contains(&q.tuple.remote) {
                servers.push(q.tuple.remote);
            }
        }
        servers
    }

    /// Queries that wait for an answer: nobody has answered the same question since.
    pub fn open(&self) -> impl Iterator<Item = &Query> {
        self.queries.iter().filter(|q| {
            !q.answered() && !self.queries.iter().any(|o| o.answered() && o.name == q.name && o.kind == q.kind)
        })
    }

    /// It came to something: getaddrinfo gave addresses, or, where that isn't seen, a query was answered with records.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        match &self.resolved {
            Some(r) => r.result == 0,
            None => self.queries.iter().any(Query::useful),
        }
    }

    /// The answer that decided: of the last name asked for, the last answer.
    #[must_use]
    pub fn last_answer(&self) -> Option<&Query> {
        self.queries.iter().filter(|q| q.answered()).max_by_key(|q| q.answer.as_ref().map(|(t, _)| *t))
    }

    /// Some query went by TCP.
    #[must_use]
    pub fn used_tcp(&self) -> bool {
        self.queries.iter().any(|q| q.tuple.protocol == Protocol::Tcp)
    }

    /// How long it took.
    #[must_use]
    pub fn elapsed(&self) -> std::time::Duration {
        self.ended.unwrap_or(self.began).since(self.began)
    }
}
