//! Which messages belong to which lookup. Owns: questions on their way, and what answers them. Must not know: causes, when
//! a lookup has ended (see `lookups`).
//!
//! A query inside a call of getaddrinfo is part of that call. Any other is recognized by its thread, or, as programs that
//! bring their own resolver use several threads at once (Go asks for A and AAAA side by side), by its process and name.

use super::{
    Lookup, Query,
    lookup::{Misfit, Stray},
    lookups::{Lookups, is_under_way},
    memory::Memory,
};
use crate::{
    event::{Cookie, DnsMessage, Event, Netns, Protocol, Task, Tuple},
    time::Time,
    want::Want,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// No resolver repeats a question sooner than this: two of the same are of two lookups.
const REPEAT: Duration = Duration::from_millis(400);

/// Among so many of a process's latest lookups one is sought that a question goes on with: a process that asks for thousands
/// of names at once is not compared with all of them each time.
const RECENT: usize = 128;

/// Length of a message's header (RFC 1035 §4.1.1): a shorter one has no id.
const HEADER: u16 = 12;

/// A query as it leaves.
struct Asked {
    time: Time,
    task: Option<Task>,
    cookie: Option<Cookie>,
    tuple: Tuple,
    netns: Option<Netns>,
    call: Option<Time>,
    message: DnsMessage,
}

impl Lookups {
    /// A DNS message passed by. Returns questions for the host.
    pub(super) fn message(&mut self, time: Time, event: &Arc<Event>, memory: &mut Memory) -> Vec<Want> {
        let Event::Dns { current, cookie, tuple, netns, leaving, resolving, message } = &**event else {
            return Vec::new();
        };
        let (cookie, tuple, message) = (*cookie, *tuple, message.clone());
        match (leaving, message.answer) {
            (true, false) => {
                let task = current.clone();
                self.query(Asked { time, task, cookie, tuple, netns: *netns, call: *resolving, message }, memory)
            }
            (false, _) => {
                self.answer(time, cookie, tuple, message, memory);
                Vec::new()
            }
            // What a server of this host answers is told by the one who asked.
            (true, true) => Vec::new(),
        }
    }

    fn query(&mut self, asked: Asked, memory: &mut Memory) -> Vec<Want> {
        let Asked { time, task, cookie, tuple, netns, call, message } = asked;
        let Some(question) = message.question else { return Vec::new() };
        let mut wants = Vec::new();
        let repeated = self.by_message.get(&(cookie, message.id, tuple.protocol)).copied().filter(|key| {
            let same = |q: &Query| q.cookie == cookie && q.id == message.id && q.name == question.name;
            self.open.get(key).is_some_and(|l| l.queries.iter().any(same))
        });
        let key = repeated.or_else(|| self.going_on(time, task.as_ref(), call, &question.name, question.kind));
        let key = match key {
            Some(key) => key,
            None => {
                let key = self.begin(call.unwrap_or(time), task.clone(), netns, memory);
                let resolver = self.open.get(&key).and_then(Lookup::resolver_want);
                wants.extend(task.as_ref().map(|t| Want::Process { pid: t.pid }));
                wants.extend(resolver);
                key
            }
        };
        if let Some(t) = &task {
            self.by_thread.insert(t.tid, key);
        }
        let query = Query {
            sent: time,
            tries: 1,
            last: time,
            name: question.name,
            kind: question.kind,
            id: message.id,
            cookie,
            tuple,
            answer: None,
            late: None,
            task,
        };
        self.belongs(&query, key);
        let Some(lookup) = self.open.get_mut(&key) else { return wants };
        lookup.call = lookup.call.or(call);
        let same = |q: &&mut Query| q.cookie == cookie && q.id == message.id && q.tuple.remote == tuple.remote;
        match lookup.queries.iter_mut().rev().find(same) {
            Some(q) if q.name == query.name && q.kind == query.kind && !q.failed() => {
                q.tries += 1;
                q.last = time;
            }
            _ => lookup.queries.push(query),
        }
        self.schedule(key);
        wants
    }

    /// The lookup that a question goes on with.
    fn going_on(&self, time: Time, task: Option<&Task>, call: Option<Time>, name: &str, kind: u16) -> Option<u64> {
        let task = task?;
        let of_thread = self.by_thread.get(&task.tid).copied();
        if call.is_some() {
            // Whatever the library asks in one call is one lookup.
            return of_thread.filter(|key| {
                let is_open = |l: &&Lookup| {
                    l.resolved.is_none() && (l.call == call || l.call.is_none() && l.began >= call.unwrap_or(time))
                };
                self.open.get(key).filter(is_open).is_some()
            });
        }
        let forms = self.forms(task.pid, name);
        if let Some(key) = of_thread.filter(|key| self.continues(*key, time, name, &forms)) {
            return Some(key);
        }
        // Each has a question that was given one of these forms.
        let mut others: Vec<u64> = forms.iter().filter_map(|form| self.by_name.get(form)).flatten().copied().collect();
        others.sort_unstable_by(|a, b| b.cmp(a));
        others.dedup();
        let own = |key: &u64| self.open.get(key).and_then(|l| l.task.as_ref()).is_some_and(|t| t.pid == task.pid);
        others.into_iter().filter(own).take(RECENT).find(|key| {
            let Some(lookup) = self.open.get(key).filter(|l| l.call.is_none()) else { return false };
            let fresh =
                |q: &Query| q.name == name && q.kind == kind && q.answer.is_none() && time.since(q.last) < REPEAT;
            let told = |q: &Query| q.kind == kind && q.name == name && q.useful();
            let another = lookup.queries.is_empty() || lookup.queries.iter().any(|q| fresh(q) || told(q));
            !another && self.continues(*key, time, name, &forms)
        })
    }

    /// The names that a process's resolver makes of the name that this one was made of, by its search list; itself among them.
    fn forms(&self, pid: u32, name: &str) -> BTreeSet<String> {
        let search = self.resolvers.get(&pid).map_or(&[][..], |habits| habits.search.as_slice());
        let stripped = search.iter().filter_map(|s| name.strip_suffix(s.as_str()).and_then(|b| b.strip_suffix('.')));
        let bases = std::iter::once(name).chain(stripped);
        let expanded = |base: &str| search.iter().map(|s| format!("{base}.{s}")).collect::<Vec<_>>();
        bases.flat_map(|base| std::iter::once(base.to_owned()).chain(expanded(base))).collect()
    }

    /// Whether a question for this name goes on with a lookup: the same name, or the next one of the search list after
    /// every question so far was answered in the negative.
    fn continues(&self, key: u64, time: Time, name: &str, forms: &BTreeSet<String>) -> bool {
        let Some(lookup) = self.open.get(&key).filter(|l| l.resolved.is_none()) else { return false };
        let queries = &lookup.queries;
        // The search list may not be known: what it makes of a name that was asked for as it was given begins with that.
        let is_form = |first: &Query| is_expanded(name, &first.name) || queries.iter().all(|q| forms.contains(&q.name));
        let goes_on = |first: &Query| {
            queries.iter().any(|q| q.name == name) || is_form(first) && !queries.iter().any(Query::useful)
        };
        queries.first().is_none_or(|first| is_under_way(lookup, time) && goes_on(first))
    }

    /// The search list of a process is known now: what one thread asked with it one after the other is one lookup.
    pub(super) fn join_forms(&mut self, pid: u32) {
        let mut whole: Vec<u64> = Vec::new();
        let latest = self.by_process.get(&pid).into_iter().flatten().rev().take(RECENT);
        for key in latest.copied().collect::<Vec<_>>().into_iter().rev() {
            let Some(lookup) = self.open.get(&key).filter(|l| l.call.is_none() && l.resolved.is_none()) else {
                continue;
            };
            let Some(first) = lookup.queries.first() else { continue };
            let forms = self.forms(pid, &first.name);
            let tid = |key: u64| self.open.get(&key).and_then(|l| Some(l.task.as_ref()?.tid));
            let goes_on = |of: &u64| tid(*of) == tid(key) && self.continues(*of, first.sent, &first.name, &forms);
            match whole.iter().copied().find(goes_on) {
                Some(of) => {
                    let thread = tid(key);
                    let Some(part) = self.remove(key) else { continue };
                    self.merge(of, part);
                    self.by_thread.extend(thread.map(|tid| (tid, of)));
                }
                None => whole.push(key),
            }
        }
    }

    fn answer(&mut self, time: Time, cookie: Option<Cookie>, tuple: Tuple, message: DnsMessage, memory: &mut Memory) {
        let by_message = self.by_message.get(&(cookie, message.id, tuple.protocol)).copied();
        let by_socket = || cookie.and_then(|c| self.by_socket.get(&c).copied());
        let Some(key) = by_message.or_else(by_socket) else { return };
        let Some(lookup) = self.open.get_mut(&key) else { return };
        let of_socket = |q: &&mut Query| q.cookie == cookie && q.tuple.protocol == tuple.protocol;
        // What can't be read doesn't repeat its question.
        let fits = |q: &&mut Query| {
            message
                .question
                .as_ref()
                .map_or(message.malformed.is_some() || message.rcode != 0, |m| m.name == q.name && m.kind == q.kind)
        };
        let asked = |q: &&mut Query| {
            message.answer
                && of_socket(q)
                && q.id == message.id
                && q.tuple.remote == tuple.remote
                && q.answer.is_none()
                && fits(q)
        };
        if let Some(query) = lookup.queries.iter_mut().find(asked) {
            let addresses = message.addresses.clone();
            query.answer = Some((time, message));
            if let Some(task) = &lookup.task {
                memory.named(time, task.pid, addresses, lookup.name());
            }
            self.schedule(key);
            return;
        }
        let late = |q: &Query| q.cookie == cookie && q.id == message.id && q.answer.is_some();
        // A long answer over TCP comes in several segments, of which the first has been read.
        if tuple.protocol != Protocol::Udp {
            return;
        }
        let mut of_this: Vec<&Query> = lookup.queries.iter().filter(|q| q.cookie == cookie).collect();
        of_this.retain(|q| q.answer.is_none());
        if of_this.is_empty() || lookup.queries.iter().any(late) {
            return;
        }
        let misfit = if of_this.iter().all(|q| q.tuple.remote != tuple.remote) {
            Misfit::Server
        } else if message.length < HEADER {
            Misfit::Short
        } else if of_this.iter().all(|q| q.id != message.id) {
            Misfit::Id
        } else if !message.answer {
            Misfit::Query
        } else {
            Misfit::Question
        };
        lookup.stray(Stray { time, from: tuple.remote, misfit });
    }
}

/// The search list may have made this name of the other.
pub(super) fn is_expanded(name: &str, of: &str) -> bool {
    name.strip_prefix(of).is_some_and(|suffix| suffix.starts_with('.'))
}
