//! Pseudonyms for what must not leave a site: addresses, names, users, command lines.
//!
//! Owns: what is replaced, and by what. Must not know: where its key comes from.
//! A pseudonym is the same wherever its original stands in one recording, and different in the next one.
//!
//! Verdicts stay what they are: an address keeps its class (loopback, private, link-local, ...), two addresses that share
//! a prefix share one of the same length afterwards (as in Xu, Fan, Ammar, Moon, "Prefix-preserving IP address
//! anonymization", 2002; less where a pseudonym had to be kept out of a special range), labels of names are
//! replaced one by one. Ports, interfaces, process ids, inodes and times stay.

mod address;
mod text;

use crate::{
    event::{Discovery, DnsMessage, Event, IcmpError, Packet, Sock, Task, Tuple},
    fact::{
        Answer, BpfProgram, Fact, HostsEntry, Interface, Listener, Owner, Process, ResolvConf, Resolver, Route, Rule,
    },
    input::{Input, Stamped},
    want::Want,
};
use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Users whose number means the same on every Linux: root, and nobody (the overflow uid).
const COMMON_USERS: [u32; 2] = [0, 65534];
/// Pseudonyms of users begin here, where no user is.
const FIRST_PSEUDONYM_USER: u32 = 0x4000_0000;
/// Names, and labels of names, that mean the same everywhere.
const COMMON_LABELS: [&str; 6] = ["localhost", "localdomain", "local", "in-addr", "ip6", "arpa"];
/// Parts of cgroup paths that mean the same everywhere.
const COMMON_GROUPS: [&str; 5] = ["", "init.scope", "system.slice", "user.slice", "machine.slice"];

/// Replaces what identifies.
#[derive(Clone, Debug)]
pub struct Redactor {
    /// A keyed hash (SipHash) whose key is kept nowhere else.
    key: RandomState,
}

impl Redactor {
    /// Pseudonyms by this key.
    #[must_use]
    pub fn new(key: RandomState) -> Redactor {
        Redactor { key }
    }

    /// The input with pseudonyms.
    #[must_use]
    pub fn input(&self, mut stamped: Stamped) -> Stamped {
        match &mut stamped.input {
            Input::Event(event) => self.event(event),
            Input::Fact(fact) => self.fact(fact),
            Input::Malformed(why) => *why = self.text(why),
            Input::Lost(_) | Input::Tick | Input::End => {}
        }
        stamped
    }

    /// Filters as they may be told: which, not whom they name.
    #[must_use]
    pub fn filters(&self, filters: &[String]) -> Vec<String> {
        let names = ["--", "--host", "--comm", "--uid", "--cgroup", "--unit", "--container", "--netns"];
        let tell = |filter: &String| match filter.split_once(' ') {
            Some((flag, _)) if names.contains(&flag) => format!("{flag} (redacted)"),
            _ => filter.clone(),
        };
        filters.iter().map(tell).collect()
    }

    fn event(&self, event: &mut Event) {
        match event {
            Event::Attempt { started: _, task, sock, via: _, dialled } => {
                self.tasks(task.as_mut());
                dialled.iter_mut().for_each(|end| self.end(end));
                self.sock(sock);
            }
            Event::State { sock, old: _, new: _, current, icmp, tcp: _, stack: _ } => {
                self.sock(sock);
                self.tasks(current.as_mut());
                self.icmp(icmp.as_mut());
            }
            Event::SocketError { sock, icmp, current } => {
                self.sock(sock);
                self.icmp(icmp.as_mut());
                self.tasks(current.as_mut());
            }
            Event::ResetReceived { sock, tcp: _ } | Event::Retransmit { sock, .. } => self.sock(sock),
            Event::ResetSent { packet, sock, reason: _, current, stack: _ } => {
                packet.iter_mut().for_each(|packet| self.packet(packet));
                sock.iter_mut().for_each(|sock| self.sock(sock));
                self.tasks(current.as_mut());
            }
            Event::SynAckRetransmit { listener, tuple, retransmits: _ } => {
                self.sock(listener);
                self.tuple(tuple);
            }
            Event::Drop {
                packet,
                inner,
                discovery,
                sock,
                current,
                receiver: _,
                reason: _,
                at: _,
                hook: _,
                stack: _,
            } => {
                self.packet(packet);
                inner.iter_mut().for_each(|packet| self.packet(packet));
                if let Some(Discovery { asks: _, asked, by, link }) = discovery {
                    self.address(asked);
                    self.address(by);
                    link.iter_mut().for_each(|link| *link = self.text(link));
                }
                sock.iter_mut().for_each(|sock| self.sock(sock));
                self.tasks(current.as_mut());
            }
            Event::IcmpReceived { packet, quoted, info: _ } => {
                self.packet(packet);
                quoted.iter_mut().for_each(|tuple| self.tuple(tuple));
            }
            Event::IcmpSent { packet, stack: _ } => self.packet(packet),
            Event::NeighborFailed { address, netns: _, device: _, device_name: _ } => self.address(address),
            Event::CallFailed { task, sock, address, .. } => {
                self.task(task);
                sock.iter_mut().for_each(|sock| self.sock(sock));
                address.iter_mut().for_each(|address| self.address(address));
            }
            Event::Dns { current, tuple, message, cookie: _, netns: _, leaving: _, resolving: _ } => {
                self.tasks(current.as_mut());
                self.tuple(tuple);
                self.message(message);
            }
            Event::ListenOverflow { listener, packet } => {
                self.sock(listener);
                self.packet(packet);
            }
            Event::Process { task, argv, started: _, parent: _, root: _ } => {
                self.task(task);
                self.argv(argv);
            }
            Event::ProcessExit { task, status: _ } => self.task(task),
            Event::GetAddrInfo { task, name, service: _, started: _, result: _, family: _ } => {
                self.task(task);
                self.name(name);
            }
        }
    }

    fn fact(&self, fact: &mut Fact) {
        self.want(&mut fact.want);
        match &mut fact.answer {
            Answer::Unavailable(why) => *why = self.text(why),
            Answer::Listeners(all) => all.iter_mut().for_each(|listener| self.listener(listener)),
            Answer::Route(route) => self.route(route),
            Answer::Neighbor(neighbor) => {
                if let Some(neighbor) = neighbor {
                    self.address(&mut neighbor.address);
                    neighbor.lladdr.iter_mut().for_each(|lladdr| *lladdr = self.text(lladdr));
                }
            }
            Answer::Interfaces(all) => all.iter_mut().for_each(|interface| self.interface(interface)),
            Answer::Beneath(all) => all.iter_mut().for_each(|beneath| self.interface(&mut beneath.interface)),
            Answer::Process(process) => process.iter_mut().for_each(|process| self.process(process)),
            Answer::Resolver(resolver) => self.resolver(resolver),
            Answer::Hosts(all) => all.iter_mut().for_each(|entry| self.hosts(entry)),
            Answer::Ruleset(rules) => {
                Arc::make_mut(rules)
                    .chains
                    .iter_mut()
                    .flat_map(|chain| &mut chain.rules)
                    .for_each(|rule| self.rule(rule));
            }
            Answer::IpsecPolicies(all) => {
                for policy in all {
                    self.address(&mut policy.source.0);
                    self.address(&mut policy.destination.0);
                    policy.protection.iter_mut().for_each(|end| self.address(&mut end.destination));
                }
            }
            Answer::IpvsServices(all) => {
                for service in all {
                    self.address(&mut service.address);
                    service.servers.iter_mut().for_each(|server| self.address(&mut server.address));
                }
            }
            Answer::WireguardPeers(all) => {
                for peer in all {
                    peer.allowed.iter_mut().for_each(|(address, _)| self.address(address));
                    peer.endpoint.iter_mut().for_each(|end| self.end(end));
                }
            }
            Answer::IpsecStates(all) => all.iter_mut().for_each(|end| self.address(&mut end.destination)),
            Answer::PortUse(ports) => ports.by.iter_mut().for_each(|(owner, _, _)| self.owners(owner)),
            Answer::Sockets(all) => {
                for socket in all {
                    self.tuple(&mut socket.tuple);
                    self.user(&mut socket.uid);
                    self.owners(&mut socket.owners);
                }
            }
            Answer::Namespace(namespace) => {
                self.owners(&mut namespace.process);
                self.words([&mut namespace.name, &mut namespace.container]);
            }
            Answer::BpfPrograms(all) => all.iter_mut().for_each(|program| self.program(program)),
            Answer::Translations(all) => all.iter_mut().for_each(|hop| self.tuple(&mut hop.to)),
            Answer::Origin(origin) => {
                if let Some(origin) = origin {
                    self.tuple(&mut origin.sent);
                    origin.translations.iter_mut().for_each(|hop| self.tuple(&mut hop.to));
                }
            }
            // Numbers, and settings of the kernel.
            Answer::Owners(_)
            | Answer::Sysctl(_)
            | Answer::Conntrack(_)
            | Answer::NeighborTable(_)
            | Answer::QueueDrops(_)
            | Answer::TunnelEnds(_)
            | Answer::HalfOpen(_)
            | Answer::RulesetGeneration(_)
            | Answer::Counters(_) => {}
        }
    }

    fn want(&self, want: &mut Want) {
        match want {
            Want::Owners { address, from: _ }
            | Want::Neighbor { address, .. }
            | Want::TunnelEnds { address, .. }
            | Want::Holders { address, .. } => {
                self.address(address);
            }
            Want::Route { to, from, uid, netns: _, device: _, mark: _, flow: _ } => {
                self.address(to);
                from.iter_mut().for_each(|from| self.address(from));
                self.user(uid);
            }
            Want::Hosts { name, pid: _, root: _ } => self.name(name),
            Want::PortUse { remote, .. } => self.address(remote),
            Want::Owner { tuple, netns: _ } | Want::Translations { packet: tuple } | Want::Origin { packet: tuple } => {
                self.tuple(tuple);
            }
            Want::Listeners { .. }
            | Want::Interfaces { .. }
            | Want::Beneath { .. }
            | Want::Process { .. }
            | Want::Resolver { .. }
            | Want::Ruleset { .. }
            | Want::RulesetGeneration { .. }
            | Want::Sysctl { .. }
            | Want::Namespace { .. }
            | Want::BpfPrograms { .. }
            | Want::BpfProgramsOf { .. }
            | Want::IpsecPolicies { .. }
            | Want::IpsecStates { .. }
            | Want::IpvsServices { .. }
            | Want::QueueDrops { .. }
            | Want::WireguardPeers { .. }
            | Want::Conntrack { .. }
            | Want::NeighborTable { .. }
            | Want::HalfOpen { .. }
            | Want::Counters { .. } => {}
        }
    }

    fn interface(&self, interface: &mut Interface) {
        interface.addresses.iter_mut().for_each(|(address, _)| self.address(address));
        interface.peers.iter_mut().flat_map(|(own, peer)| [own, peer]).for_each(|address| self.address(address));
        interface.unusable.iter_mut().for_each(|(address, _)| self.address(address));
        interface.lladdr.iter_mut().for_each(|lladdr| *lladdr = self.text(lladdr));
    }

    fn tasks<'t>(&self, tasks: impl IntoIterator<Item = &'t mut Task>) {
        tasks.into_iter().for_each(|task| self.task(task));
    }

    fn task(&self, task: &mut Task) {
        self.user(&mut task.uid);
        self.word(&mut task.comm);
    }

    fn owners<'o>(&self, owners: impl IntoIterator<Item = &'o mut Owner>) {
        owners.into_iter().for_each(|owner| self.word(&mut owner.comm));
    }

    fn sock(&self, sock: &mut Sock) {
        self.tuple(&mut sock.tuple);
        sock.uid.iter_mut().for_each(|uid| self.user(uid));
    }

    fn packet(&self, packet: &mut Packet) {
        packet.tuple.iter_mut().for_each(|tuple| self.tuple(tuple));
    }

    fn icmp<'i>(&self, icmp: impl IntoIterator<Item = &'i mut IcmpError>) {
        icmp.into_iter().for_each(|icmp| self.address(&mut icmp.from));
    }

    fn tuple(&self, tuple: &mut Tuple) {
        self.address(&mut tuple.local);
        self.address(&mut tuple.remote);
    }

    fn message(&self, message: &mut DnsMessage) {
        message.question.iter_mut().for_each(|question| self.name(&mut question.name));
        message.addresses.iter_mut().for_each(|address| self.address(address));
        message.aliases.iter_mut().for_each(|name| self.name(name));
        message.malformed.iter_mut().for_each(|why| *why = self.text(why));
    }

    fn listener(&self, listener: &mut Listener) {
        self.address(&mut listener.addr);
        self.user(&mut listener.uid);
        self.owners(&mut listener.owners);
    }

    fn route(&self, route: &mut Route) {
        route.gateway.iter_mut().chain(&mut route.source).for_each(|address| self.address(address));
        route
            .prefix
            .iter_mut()
            .chain(&mut route.rule)
            .chain(&mut route.unusable)
            .chain(&mut route.expired)
            .for_each(|text| *text = self.text(text));
        route.text = self.text(&route.text);
    }

    fn process(&self, process: &mut Process) {
        self.word(&mut process.comm);
        self.user(&mut process.uid);
        self.argv(&mut process.argv);
        self.words([&mut process.exe, &mut process.unit, &mut process.container, &mut process.label]);
        process.cgroup.iter_mut().for_each(|path| self.group(path));
    }

    fn resolver(&self, resolver: &mut Resolver) {
        resolver.servers.iter_mut().for_each(|server| self.address(server));
        let zones = std::mem::take(&mut resolver.zones);
        resolver.zones = zones
            .into_iter()
            .map(|(mut server, zone)| {
                self.address(&mut server);
                (server, zone)
            })
            .collect();
        resolver.search.iter_mut().for_each(|name| self.name(name));
        resolver.passed_over.iter_mut().for_each(|line| *line = self.server_line(line));
        if let Some(ResolvConf::File { owner, mode: _ }) = &mut resolver.file {
            self.user(owner);
        }
    }

    /// A `nameserver` line: what stands there instead of an address may be a name.
    fn server_line(&self, line: &str) -> String {
        let word = |piece: &str| {
            let mut word = piece.trim_end().to_owned();
            let space = &piece[word.len()..];
            if word != "nameserver" {
                self.name(&mut word);
            }
            word + space
        };
        line.split_inclusive(char::is_whitespace).map(word).collect()
    }

    fn hosts(&self, entry: &mut HostsEntry) {
        self.address(&mut entry.address);
        entry.names.iter_mut().for_each(|name| self.name(name));
    }

    fn rule(&self, rule: &mut Rule) {
        rule.text = self.text(&rule.text);
        rule.expr.iter_mut().for_each(|expression| self.json(expression));
    }

    fn program(&self, program: &mut BpfProgram) {
        if program.place.starts_with('/') {
            self.group(&mut program.place);
        }
    }

    fn end(&self, end: &mut SocketAddr) {
        let mut address = end.ip();
        self.address(&mut address);
        end.set_ip(address);
    }

    fn address(&self, address: &mut IpAddr) {
        *address = address::pseudonym(*address, |prefix| self.hash(prefix) & 1 == 1);
    }

    fn user(&self, uid: &mut u32) {
        if !COMMON_USERS.contains(uid) {
            // The highest bits of a hash are as good as any.
            *uid = FIRST_PSEUDONYM_USER | (self.hash(&("uid", *uid)) >> 34) as u32;
        }
    }

    /// Every label by itself: a name of the search list still ends in its domain.
    fn name(&self, name: &mut String) {
        if let Ok(mut address) = name.parse() {
            self.address(&mut address);
            *name = address.to_string();
            return;
        }
        let labels: Vec<String> = name.split('.').map(|label| self.label(label)).collect();
        *name = labels.join(".");
    }

    fn label(&self, label: &str) -> String {
        let lower = label.to_ascii_lowercase();
        if lower.is_empty() || COMMON_LABELS.contains(&lower.as_str()) {
            return label.to_owned();
        }
        format!("n{:08x}", self.short(&("label", lower)))
    }

    fn argv(&self, argv: &mut [String]) {
        argv.iter_mut().for_each(|argument| self.word(argument));
    }

    fn words<const N: usize>(&self, words: [&mut Option<String>; N]) {
        words.into_iter().flatten().for_each(|word| self.word(word));
    }

    fn word(&self, word: &mut String) {
        if !word.is_empty() {
            *word = format!("x{:08x}", self.short(&("word", word.as_str())));
        }
    }

    /// Every part by itself: a group below another one still is.
    fn group(&self, path: &mut String) {
        let part = |part: &str| {
            if COMMON_GROUPS.contains(&part) {
                part.to_owned()
            } else {
                format!("g{:08x}", self.short(&("group", part)))
            }
        };
        *path = path.split('/').map(part).collect::<Vec<_>>().join("/");
    }

    fn short(&self, what: &impl Hash) -> u32 {
        (self.hash(what) >> 32) as u32
    }

    fn hash(&self, what: &impl Hash) -> u64 {
        self.key.hash_one(what)
    }
}

#[cfg(test)]
mod tests;
