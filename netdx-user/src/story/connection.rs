//! The story of one connection. Owns: [`Connection`]. Must not know: causes, wording, what its
//! events say (see `events`).

use super::Facts;
use crate::{
    event::{Event, Netns, Opened, Protocol, Root, Sock, SockId, Task, Tuple, Via},
    fact::{Answer, Listener, Route, Translation},
    report::Outcome,
    time::Time,
    want::{Flow, Want},
};
use netdx_common::record::ARGV_LEN;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// How many events a story keeps. The first ones and the last ones tell it; `omitted` counts the rest.
const LIMIT: usize = 160;

/// What the kernel told of a process's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Command line.
    pub argv: Vec<String>,
    /// Parent's process id.
    pub parent: u32,
    /// When the process started.
    pub started: Time,
    /// Where it sees its files.
    pub root: Option<Root>,
}

impl Program {
    /// Whether this is its command line, of which the kernel's side keeps the first bytes.
    #[must_use]
    pub fn has(&self, argv: &[String]) -> bool {
        let Some((last, before)) = self.argv.split_last() else { return argv.is_empty() };
        let is_cut = self.argv.iter().map(|word| word.len() + 1).sum::<usize>() >= ARGV_LEN;
        // Cut within a character, it ends in another one.
        let last = last.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let begins = || argv.starts_with(before) && argv.get(before.len()).is_some_and(|word| word.starts_with(last));
        argv == self.argv || is_cut && begins()
    }
}

/// One attempt to connect and what became of it; for UDP one conversation that failed.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Number of the report.
    pub serial: u64,
    /// The kernel side's id; none: no socket got as far as sending.
    pub id: Option<SockId>,
    /// When the attempt began.
    pub began: Time,
    /// It was under way before netdx saw anything of it: `began` is when that was.
    pub under_way: bool,
    /// When it was established.
    pub established: Option<Time>,
    /// When it ended, as far as the application goes.
    pub ended: Option<Time>,
    /// Who; none: not known (the socket is older than netdx, or a peer opened it).
    pub task: Option<Task>,
    /// What the process runs.
    pub program: Option<Arc<Program>>,
    /// When the process ended, and its wait status; [`Connection::closed_by_end`] tells whether that closed it.
    pub died: Option<(Time, u32)>,
    /// The same of the process, on this host, whose end made its TCP reset this connection.
    pub peer_died: Option<(Time, u32)>,
    /// Endpoints.
    pub tuple: Tuple,
    /// AF_INET6 socket.
    pub v6_socket: bool,
    /// The socket's namespace.
    pub netns: Netns,
    /// Which side opened it.
    pub opened: Opened,
    /// How it was begun.
    pub via: Via,
    /// What the call asked for, if a BPF program of a control group sent it elsewhere (`cgroup/connect4`, `connect6`).
    pub redirected: Option<SocketAddr>,
    /// Interface the socket is bound to, 0 none.
    pub bound_device: u32,
    /// SO_MARK.
    pub mark: u32,
    /// The user who made the socket, if known ([`Connection::user`]).
    pub maker: Option<u32>,
    /// The name that was looked up for the address.
    pub name: Option<String>,
    /// The name was answered with 0.0.0.0 or :: ([`Connection::any_address`]).
    pub unspecified: bool,
    /// Names the process had resolved before, the latest first, if no answer that was seen gave it the address: the
    /// address may be one of theirs.
    pub looked_up: Vec<String>,
    /// The threshold it exceeded, if it was slow.
    pub slow: Option<Duration>,
    /// What the application got (positive errno).
    pub errno: Option<i32>,
    /// How it ended.
    pub outcome: Outcome,
    /// What happened, in order.
    pub events: Vec<(Time, Arc<Event>)>,
    /// Events that were not kept.
    pub omitted: u32,
    /// Records that were lost while this went on.
    pub lost: u64,
    /// Of those: what happened to packets, and was forgotten, for there was too much of it. It may well be this connection's.
    pub forgotten: u64,
    /// Told from the packets of a peer that was not let in: the endpoints are as the peer sees them.
    pub mirrored: bool,
    /// Told from a datagram that was dropped after it came in from somewhere: whose it was is not known yet, and `netns` is
    /// where it was dropped.
    pub wayside: bool,
    /// The endpoints are those from before network address translation: it was told from what was seen behind that.
    pub traced_back: bool,
    /// What network address translation made of its packets: the namespace that did it, or in which one was seen so.
    pub translated: Vec<Translation>,
    /// The other end, which opened it, is on this host and tells the same story.
    pub folded: bool,
    /// An IPv6 attempt of the same application that came to nothing before this one, by IPv4, worked.
    pub fallback_from: Option<Box<Fallback>>,
    /// What the application went on to by IPv4, and that worked, as this IPv6 attempt came to nothing: the address, and
    /// how much later it was tried.
    pub fell_back_to: Option<(IpAddr, Duration)>,
    /// What the host answered.
    pub facts: Facts,
}

/// What was tried before, in vain.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// The story of that attempt, without facts.
    pub attempt: Connection,
    /// How much later the one that worked was tried.
    pub delay: Duration,
}

impl Connection {
    /// A story that begins with a socket.
    #[must_use]
    pub fn new(serial: u64, began: Time, sock: &Sock) -> Self {
        Connection {
            serial,
            id: sock.id,
            began,
            under_way: false,
            established: None,
            ended: None,
            task: None,
            program: None,
            died: None,
            peer_died: None,
            tuple: sock.tuple,
            v6_socket: sock.v6,
            netns: sock.netns,
            opened: sock.opened,
            via: Via::Unknown,
            redirected: None,
            bound_device: sock.bound_device,
            mark: sock.mark,
            maker: sock.uid,
            name: None,
            unspecified: false,
            looked_up: Vec::new(),
            slow: None,
            errno: None,
            outcome: Outcome::Failed,
            events: Vec::new(),
            omitted: 0,
            lost: 0,
            forgotten: 0,
            mirrored: false,
            wayside: false,
            traced_back: false,
            translated: Vec::new(),
            folded: false,
            fallback_from: None,
            fell_back_to: None,
            facts: Facts::default(),
        }
    }

    /// Adds an event, in order of time.
    pub fn push(&mut self, time: Time, event: Arc<Event>) {
        if self.events.len() >= LIMIT {
            // What began it stays; of what repeats, the latest.
            self.events.remove(LIMIT / 2);
            self.omitted += 1;
        }
        let at = self.events.partition_point(|(t, _)| *t <= time);
        self.events.insert(at, (time, event));
    }

    /// Takes over what a later snapshot of the socket knows better: the local end is known only once it is bound.
    pub fn learn(&mut self, sock: &Sock) {
        if sock.tuple.local_port != 0 {
            self.tuple.local_port = sock.tuple.local_port;
        }
        if !sock.tuple.local.is_unspecified() {
            self.tuple.local = sock.tuple.local;
        }
        if sock.tuple.remote_port != 0 && !sock.tuple.remote.is_unspecified() {
            self.tuple.remote_port = sock.tuple.remote_port;
            self.tuple.remote = sock.tuple.remote;
        }
    }

    /// Takes in what the host answered.
    pub fn answered(&mut self, want: &Want, answer: &Arc<Answer>) {
        match (want, &**answer) {
            (Want::Owners { address, .. }, Answer::Owners(owners)) if self.wayside && *address == self.tuple.local => {
                match owners[..] {
                    [] => (self.mirrored, self.opened, self.wayside) = (true, Opened::ByPeer, false),
                    [one] => (self.netns, self.wayside) = (one, false),
                    // Several namespaces have that address: the one that was told so sent it, or the one that has the socket.
                    _ => {
                        let mut told = owners.iter().filter(|netns| self.is_told_in(**netns));
                        if let (Some(one), None) = (told.next(), told.next()) {
                            (self.netns, self.wayside) = (*one, false);
                        }
                    }
                }
            }
            (Want::Owner { netns, tuple }, Answer::Sockets(sockets))
                if self.wayside && *tuple == self.tuple && !sockets.is_empty() =>
            {
                (self.netns, self.wayside) = (*netns, false);
            }
            (Want::Translations { packet }, Answer::Translations(hops)) if *packet == self.tuple => {
                self.translated.clone_from(hops);
            }
            (Want::Origin { packet }, Answer::Origin(Some(origin)))
                if *packet == self.tuple && self.task.is_none() && !self.mirrored =>
            {
                self.translated.clone_from(&origin.translations);
                // Whose it was has to be found out anew, and where its own namespace is.
                self.wayside |= self.tuple.local != origin.sent.local;
                self.traced_back = true;
                self.tuple = origin.sent;
            }
            // Where somebody listens on its own port, the other side opened it.
            (Want::Listeners { protocol, port }, Answer::Listeners(all))
                if self.opened == Opened::Unseen
                    && (*protocol, *port) == (self.tuple.protocol, self.tuple.local_port) =>
            {
                let listens = |l: &Listener| l.netns == self.netns && l.takes(self.tuple.local);
                if all.iter().any(listens) {
                    self.opened = Opened::ByPeer;
                }
            }
            _ => {}
        }
        self.facts.insert(want.clone(), Arc::clone(answer));
    }

    /// An ICMP error about it came in there.
    fn is_told_in(&self, netns: Netns) -> bool {
        self.events
            .iter()
            .any(|(_, e)| matches!(&**e, Event::IcmpReceived { packet, .. } if packet.netns == Some(netns)))
    }

    /// What the application asked for.
    #[must_use]
    pub fn dialled(&self) -> SocketAddr {
        self.redirected.unwrap_or(SocketAddr::new(self.tuple.remote, self.tuple.remote_port))
    }

    /// The address that the program may have asked for where it reached the loopback address: the kernel makes that of 0.0.0.0
    /// and of :: (`ip_route_output_key_hash_rcu`, `tcp_v6_connect`, Linux 6.18).
    #[must_use]
    pub fn any_address(&self) -> Option<IpAddr> {
        match self.dialled().ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => Some(Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => Some(Ipv6Addr::UNSPECIFIED.into()),
            _ => None,
        }
    }

    /// The endpoints that its packets arrive with: those it was given, unless this host translates them on their way.
    #[must_use]
    pub fn reached(&self) -> Tuple {
        self.translated.last().map_or(self.tuple, |hop| hop.to)
    }

    /// A packet with these endpoints is one of this side's, wherever on its way it was seen.
    pub(super) fn sent_by_us(&self, packet: Tuple) -> bool {
        let own = |tuple: Tuple| packet == tuple || packet.is_of_fragment() && packet == tuple.of_fragment();
        own(self.tuple) || self.translated.iter().any(|hop| own(hop.to))
    }

    /// When the process ended whose end closed the socket, and its wait status: the kernel tells of the end before it closes
    /// what the process had open (`do_exit`). One that ends later closed the socket by itself.
    #[must_use]
    pub fn closed_by_end(&self) -> Option<(Time, u32)> {
        self.died.filter(|(died, _)| self.ending().is_none_or(|end| *died <= end.time))
    }

    /// How old it was in the end; none: it was under way before netdx saw anything of it.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        (!self.under_way).then(|| self.elapsed())
    }

    /// How long it took, as far as it was seen.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.ended.or(self.established).unwrap_or(self.began).since(self.began)
    }

    /// It is TCP (or MPTCP).
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        matches!(self.tuple.protocol, Protocol::Tcp | Protocol::Mptcp)
    }

    /// Seen from a listener's side.
    #[must_use]
    pub fn inbound(&self) -> bool {
        self.opened == Opened::ByPeer
    }

    /// The user whose it is for firewall and routing rules: who made the socket, whoever the process runs as by now; if that is
    /// not known, as whom it runs.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        self.maker.or(self.task.as_ref().map(|t| t.uid))
    }

    /// The same, root's when nobody is known (what routing rules by user see for a kernel socket).
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.user().unwrap_or(0)
    }

    /// SYNs went out (or would have): the socket reached SYN_SENT.
    #[must_use]
    pub fn tried(&self) -> bool {
        self.is_tcp() && self.id.is_some()
    }

    /// The route the host would take now, once that is known.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        match self.facts.get(&self.route_want()) {
            Some(Answer::Route(route)) => Some(route),
            _ => None,
        }
    }

    /// The next hop from its own namespace, and the interface to it, unless it is one of several and can't be told which.
    #[must_use]
    pub fn next_hop(&self) -> Option<(IpAddr, u32)> {
        let route = self.route().filter(|route| route.kind == "unicast" && !route.by_flow)?;
        Some((route.gateway.unwrap_or(self.tuple.remote), route.device))
    }

    /// The question for the route this connection takes: with its ports where they can make a difference.
    #[must_use]
    pub fn route_want(&self) -> Want {
        let (netns, to, device, mark, uid) = (self.netns, self.tuple.remote, self.bound_device, self.mark, self.uid());
        let from = (!self.tuple.local.is_unspecified()).then_some(self.tuple.local);
        let ask = |flow| Want::Route { netns, to, from, device, mark, uid, flow };
        match self.facts.get(&ask(None)) {
            Some(Answer::Route(route)) if route.by_flow => ask(Some(Flow::of(self.tuple, 0))),
            _ => ask(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_of_which_only_the_beginning_is_kept() {
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
        let program = |argv: &[&str]| Program { argv: words(argv), parent: 1, started: Time(0), root: None };
        let long = "x".repeat(ARGV_LEN - "java".len() - 1);
        let cut = program(&["java", &long]);
        assert!(cut.has(&words(&["java", &long])) && cut.has(&words(&["java", &format!("{long}y"), "-jar"])));
        assert!(!cut.has(&words(&["java"])) && !cut.has(&words(&["java", "x"])) && !cut.has(&words(&["ruby", &long])));
        let within_a_character = format!("{}\u{fffd}", &long[..long.len() - 1]);
        assert!(program(&["java", &within_a_character]).has(&words(&["java", &format!("{}ä", &long[1..])])));
        let whole = program(&["java", "-ja"]);
        assert!(whole.has(&words(&["java", "-ja"])) && !whole.has(&words(&["java", "-jar"])));
        assert!(program(&[]).has(&[]) && !program(&[]).has(&words(&["java"])));
    }
}
