//! The story of one lookup of a name. Owns: [`Lookup`]: which queries belong together, whether they were answered.
//! Must not know: causes, wording.

use super::{Connection, Facts, Program};
use crate::{
    event::{Cookie, DnsMessage, Netns, Protocol, Sock, Task, Tuple},
    fact::{Answer, Resolver},
    time::Time,
    want::Want,
};
use std::{net::IpAddr, sync::Arc};

/// Types of address records (RFC 1035 §3.2.2, RFC 3596).
const A: u16 = 1;
const AAAA: u16 = 28;
/// Types of which most names have none, and that are asked for beside the addresses or on the way to them: for the keys of
/// zones (RFC 4035), which few have, and how to connect to a service (RFC 9460).
const DS: u16 = 43;
const DNSKEY: u16 = 48;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
/// With names of this type validators tell the root which keys they trust (RFC 8145 §5): nobody has them.
const NULL: u16 = 10;
/// What getaddrinfo returns when it could not find out.
const EAI_AGAIN: i32 = -3;
/// EAI_NONAME and EAI_NODATA: the library says that the name has no address, not that it could not find out.
const NEGATIVE: [i32; 2] = [-2, -5];
/// A message of at most this many bytes was carried whole (`DNS_LEN` of the kernel side): if it has addresses, they are
/// known.
const CARRIED: u16 = 1024;

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
    /// The same, where it came when the resolver had gone on to another server and did not read this socket any more.
    pub late: Option<(Time, DnsMessage)>,
    /// The thread that asked: those of one program may share a lookup.
    pub task: Option<Task>,
}

/// Why a message that came back answers nothing that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Its id is that of no question.
    Id,
    /// It repeats another question, or none.
    Question,
    /// It is shorter than a message's header.
    Short,
    /// It says that it is a query.
    Query,
    /// It comes from somebody who was not asked.
    Server,
    /// It comes from the server, and from another port than was asked.
    Port,
}

/// A message that reached the resolver's socket and answers nothing that was asked: resolvers pass it over.
#[derive(Clone, Debug)]
pub struct Stray {
    /// When it came.
    pub time: Time,
    /// From where.
    pub from: IpAddr,
    /// Why it is none.
    pub misfit: Misfit,
}

/// Somebody else's lookup that this one may have been for: a forwarder on this host (a stub resolver, dnsmasq) asks
/// others what it is asked, and so does a daemon that the C library asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The process that asked first.
    pub pid: u32,
    /// The server it asked: a forwarder is behind it if it has this address. None: the C library asked a daemon, which
    /// this one was made by.
    pub servers: Vec<IpAddr>,
    /// That process's namespace.
    pub netns: Option<Netns>,
}

impl Query {
    /// An answer of use came: not cut.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.answer.as_ref().is_some_and(|(_, m)| !m.truncated)
    }
    /// Its server answered something of use, be it too late.
    #[must_use]
    pub fn heard(&self) -> bool {
        self.answered() || self.late.is_some()
    }
    /// The answer could not be read: why.
    #[must_use]
    pub fn unreadable(&self) -> Option<&str> {
        self.answer.as_ref().and_then(|(_, m)| m.malformed.as_deref())
    }
    /// RCODE of the answer.
    #[must_use]
    pub fn rcode(&self) -> Option<u16> {
        self.answer.as_ref().filter(|(_, m)| m.malformed.is_none()).map(|(_, m)| m.rcode)
    }
    /// It was answered with an RCODE that says the server could not or would not do its work.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.rcode().is_some_and(|code| code != rcode::NOERROR && code != rcode::NXDOMAIN)
    }
    /// It was answered that there are no records of its type, as is to be expected of that type.
    #[must_use]
    pub fn rightly_empty(&self) -> bool {
        match self.rcode() {
            Some(rcode::NOERROR) => matches!(self.kind, DS | DNSKEY | SVCB | HTTPS | NULL),
            Some(rcode::NXDOMAIN) => self.kind == NULL,
            _ => false,
        }
    }
    /// It was answered with records of its type.
    #[must_use]
    pub fn useful(&self) -> bool {
        let Some((_, m)) = &self.answer else { return false };
        let records =
            if matches!(self.kind, A | AAAA) && m.length <= CARRIED { !m.addresses.is_empty() } else { m.answers > 0 };
        !m.truncated && m.malformed.is_none() && m.rcode == rcode::NOERROR && records
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
    /// The address family it asked for (AF_*); 0: any.
    pub family: u32,
}

impl Resolved {
    /// It says that the name has no address, not that it could not find out.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        NEGATIVE.contains(&self.result)
    }
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
    pub program: Option<Arc<Program>>,
    /// Namespace of the socket.
    pub netns: Option<Netns>,
    /// The queries, in order.
    pub queries: Vec<Query>,
    /// Messages that came back and answer nothing that was asked.
    pub strays: Vec<Stray>,
    /// When the call of getaddrinfo began that it belongs to, as far as its queries tell.
    pub call: Option<Time>,
    /// What getaddrinfo returned.
    pub resolved: Option<Resolved>,
    /// When its process ended, if it did before the lookup.
    pub left: Option<Time>,
    /// Its resolver gave it up, as far as its pace tells, though it had got addresses: it waited for those of the other family.
    pub given_up: bool,
    /// Lookups of the same name that other processes of this host made meanwhile: a forwarder's, perhaps.
    pub relays: Vec<Lookup>,
    /// Processes that were looking up the same name when this one began: it may be for one of them.
    pub clients: Vec<Client>,
    /// The threshold it exceeded, if it was slow.
    pub slow: Option<std::time::Duration>,
    /// The ways to its servers that failed, each as the story of a connection.
    pub paths: Vec<Connection>,
    /// Records that were lost while this went on.
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
            // The last dot says that the search list is not for it; with two of them it is no name.
            return r.name.strip_suffix('.').filter(|name| !name.is_empty() && !name.ends_with('.')).unwrap_or(&r.name);
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

    /// It came to something: getaddrinfo gave addresses, or, where that isn't seen, a query was answered with records, or
    /// none was about what a name should have. A process that ended while getaddrinfo still waited for an answer got none.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        let queries = &self.queries;
        match &self.resolved {
            Some(r) => r.result == 0,
            // The application got nothing of what was answered.
            None if self.call.is_some() && self.left.is_some() && self.open().next().is_some() => false,
            None if self.given_up => false,
            None => {
                queries.iter().any(Query::useful) || !queries.is_empty() && queries.iter().all(Query::rightly_empty)
            }
        }
    }

    /// The last answer.
    #[must_use]
    pub fn last_answer(&self) -> Option<&Query> {
        latest(self.queries.iter())
    }

    /// The answer that decided. Of several names it is about one that fits what getaddrinfo said: the name as it was given,
    /// if that was asked for first, else one about which a server failed, else one that exists, else the last one
    /// (`__res_context_search`, glibc 2.36; others stop at the name that decides).
    #[must_use]
    pub fn decisive(&self) -> Option<&Query> {
        let all: Vec<&Query> = self.candidates().into_iter().filter_map(|name| self.decisive_of(name)).collect();
        let fits = |q: &Query| match &self.resolved {
            Some(r) if r.result == EAI_AGAIN => q.failed(),
            Some(r) if r.is_negative() => !q.failed(),
            _ => true,
        };
        let fitting: Vec<&Query> = all.iter().copied().filter(|q| fits(q)).collect();
        let names = if fitting.is_empty() { all } else { fitting };
        let last = |is_so: fn(&Query) -> bool| names.iter().rev().copied().find(|q| is_so(q));
        let first = self.queries.first().map(|q| q.name.as_str()).filter(|name| name.eq_ignore_ascii_case(self.name()));
        last(Query::useful)
            .or_else(|| names.iter().copied().find(|q| Some(q.name.as_str()) == first))
            .or_else(|| last(Query::failed))
            .or_else(|| last(|q| q.rcode() == Some(rcode::NOERROR)))
            .or_else(|| names.last().copied())
    }

    /// The answer that decided about one name: the last server's, for a resolver goes on to the next one when one fails. Of
    /// its answers, negative ones only if no failure stands beside them.
    fn decisive_of(&self, name: &str) -> Option<&Query> {
        let last = latest(self.queries.iter().filter(|q| q.name == name))?;
        let of_server = |q: &&Query| q.name == name && q.tuple.remote == last.tuple.remote && q.answered();
        let find = |is_so: fn(&Query) -> bool| self.queries.iter().rev().filter(of_server).find(|q| is_so(q));
        find(Query::failed)
            .or_else(|| find(|q| q.rcode() == Some(rcode::NXDOMAIN)))
            .or_else(|| find(|q| q.rcode().is_some()))
            .or(Some(last))
    }

    /// Some query went by TCP.
    #[must_use]
    pub fn used_tcp(&self) -> bool {
        self.queries.iter().any(|q| q.tuple.protocol == Protocol::Tcp)
    }

    /// Takes the answers for none that the resolver did not wait for. glibc reads only the socket of the server that it
    /// asked last (`send_dg`, glibc 2.36): when a time-out has made it go on, an answer of the one before stays unread. Only
    /// what it says in the end tells: other resolvers read all their sockets.
    pub(super) fn set_late_apart(&mut self) {
        if self.resolved.as_ref().is_none_or(|r| r.result != EAI_AGAIN) {
            return;
        }
        let asked: Vec<_> = self
            .queries
            .iter()
            .map(|q| (q.cookie, q.name.clone(), q.kind, q.last, q.answer.as_ref().map(|a| a.0)))
            .collect();
        for q in &mut self.queries {
            let Some(came) = q.answer.as_ref().map(|a| a.0) else { continue };
            let (sent, cookie) = (q.last, q.cookie);
            let went_on = asked.iter().any(|(socket, name, kind, last, _)| {
                let elsewhere = socket.is_some() && cookie.is_some() && *socket != cookie;
                // It was not an answer on this socket that made it go on.
                let silent = || !asked.iter().any(|(s, .., answer)| *s == cookie && answer.is_some_and(|a| a <= *last));
                elsewhere && *name == q.name && *kind == q.kind && *last > sent && *last < came && silent()
            });
            if went_on {
                q.late = q.answer.take();
            }
        }
    }

    /// Notes a message that answers nothing; of a flood, the first ones.
    pub(super) fn stray(&mut self, stray: Stray) {
        const LIMIT: usize = 64;
        if self.strays.len() < LIMIT {
            self.strays.push(stray);
        }
    }

    /// The question for what resolves names for the process.
    #[must_use]
    pub fn resolver_want(&self) -> Option<Want> {
        let root = self.program.as_ref().and_then(|p| p.root);
        self.task.as_ref().map(|t| Want::Resolver { pid: t.pid, root })
    }

    /// What resolves names for the process, if that is known.
    #[must_use]
    pub fn resolver(&self) -> Option<&Resolver> {
        match self.facts.get(&self.resolver_want()?)? {
            Answer::Resolver(r) => Some(r),
            _ => None,
        }
    }

    /// Takes in what the host answered. Gives the ways of which it is known now that their packets got other endpoints.
    pub fn answered(&mut self, want: &Want, answer: &Arc<Answer>) -> Vec<&mut Connection> {
        self.facts.insert(want.clone(), Arc::clone(answer));
        let (Want::Translations { packet }, Answer::Translations(hops)) = (want, &**answer) else { return Vec::new() };
        if hops.is_empty() {
            return Vec::new();
        }
        let sent = self.queries.iter().find(|q| q.tuple == *packet);
        if let Some(query) = sent.filter(|_| !self.paths.iter().any(|p| p.tuple == *packet)) {
            self.paths.push(self.way(query));
        }
        let mut ways: Vec<&mut Connection> = self.paths.iter_mut().filter(|p| p.tuple == *packet).collect();
        ways.iter_mut().for_each(|way| way.answered(want, answer));
        ways
    }

    /// The way of a query to its server, of which nothing is known but where it was to go.
    #[must_use]
    pub fn way(&self, query: &Query) -> Connection {
        let mut way =
            Connection::new(self.serial, query.sent, &Sock::unseen(query.tuple, self.netns.unwrap_or(Netns(0))));
        way.task = self.task.clone();
        way.ended = self.ended;
        way
    }

    /// How long it took.
    #[must_use]
    pub fn elapsed(&self) -> std::time::Duration {
        self.ended.unwrap_or(self.began).since(self.began)
    }
}

/// The one that was answered last.
fn latest<'a>(queries: impl Iterator<Item = &'a Query>) -> Option<&'a Query> {
    queries.filter(|q| q.answered()).max_by_key(|q| q.answer.as_ref().map(|(t, _)| *t))
}
