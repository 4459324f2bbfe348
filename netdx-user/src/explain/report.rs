//! The report of a story. Owns: which finding becomes the verdict, the summary sentence, the timeline. Must not know:
//! single causes.

use super::{Cause, Finding, Opinions, context, errno, fact, phrase, relay};
use crate::{
    coverage::Coverage,
    event::{Event, Netns, Opened, Protocol, Task, TcpState},
    fact::Answer,
    report::{
        Also, Certainty, Direction, Endpoint, Evidence, Kind, LookupAttempt, Moment, Outcome, Process, Query, Report,
        Route, SCHEMA, Verdict,
    },
    story::{Connection, Facts, Lookup, Program},
    time::Time,
    want::Want,
};

/// What every report of a lookup needs.
pub(super) fn lookup_wants(l: &Lookup) -> Vec<Want> {
    let mut wants: Vec<Want> = l.task.iter().map(|t| Want::Process { pid: t.pid }).chain(l.resolver_want()).collect();
    if !l.relays.is_empty() || !l.clients.is_empty() {
        wants.push(relay::want());
    }
    wants
}

/// Explains a connection that failed, was given up, or broke. None: nothing went wrong after all.
#[must_use]
pub fn connection_report(c: &Connection, coverage: &Coverage) -> Option<Report> {
    let netns = c.netns;
    let nowhere;
    let c = if c.wayside {
        // Whose datagram it was was not found out: where it was dropped is not its own namespace.
        nowhere = Connection { netns: Netns(0), ..c.clone() };
        &nowhere
    } else {
        c
    };
    let opinions = Opinions::of_connection(c, coverage);
    let own = if c.mirrored { c.tuple.reversed() } else { c.tuple };
    let verdict_needed = c.outcome != Outcome::Established;
    if opinions.verdict.is_none() && c.outcome == Outcome::Broken && (c.errno.is_none() || c.is_tried_out()) {
        // It had trouble, and got over it; or nobody wanted anything of it.
        return None;
    }
    let also = also(&opinions.beside);
    let listeners = opinions.verdict.as_ref().map(|(_, f)| f.listeners.clone()).unwrap_or_default();
    let verdict = match opinions.verdict {
        Some((cause, finding)) => {
            let finding = finding.and_all(context::translations(c));
            Some(verdict(cause.code, finding, c.lost, &context::translation(c), |because| sentence(c, because)))
        }
        None if verdict_needed => {
            Some(unexplained(opinions.missing, c.lost, connection_seen(c), |because| sentence(c, because)))
        }
        None => None,
    };
    Some(Report {
        schema: SCHEMA,
        kind: Kind::Connection,
        id: c.serial,
        began: c.began,
        duration_ns: c.age().map(super::nanos),
        process: process(c.task.as_ref(), c.program.as_deref(), &c.facts, Some(c.netns.0))
            .or_else(|| context::holder(c).map(|(socket, owner)| context::holding(c, socket, owner))),
        netns: Some(netns.0).filter(|n| *n != 0),
        protocol: if c.tuple.protocol == Protocol::Mptcp { Protocol::Tcp } else { c.tuple.protocol },
        call: c.failed_setup().map(phrase::call),
        direction: if c.opened == Opened::ByPeer { Direction::Inbound } else { Direction::Outbound },
        local: phrase::end(own.local, own.local_port),
        remote: match c.redirected {
            Some(dialled) => phrase::end(dialled.ip(), dialled.port()),
            None => phrase::end(own.remote, own.remote_port),
        },
        reached: (c.redirected.is_some() || !c.translated.is_empty())
            .then(|| c.reached())
            .and_then(|reached| phrase::end(reached.remote, reached.remote_port)),
        name: phrase::name(c).map(str::to_owned),
        outcome: c.outcome,
        errno: c.errno.map(errno::name),
        verdict,
        also,
        route: route(&c.facts, &c.route_want()),
        listeners,
        query: None,
        attempts: None,
        timeline: connection_timeline(c),
    })
}

/// Explains a lookup. None: it was made for another one, which tells it.
#[must_use]
pub fn lookup_report(l: &Lookup, coverage: &Coverage) -> Option<Report> {
    if relay::is_for_another(l) {
        return None;
    }
    let failed = !l.succeeded();
    let daemon = relay::in_place_of(l);
    // Whose queries they were.
    let by = daemon.as_ref().unwrap_or(l);
    let opinions = Opinions::of_lookup(l, coverage);
    let mut also = also(&opinions.beside);
    let decisive = by.decisive();
    let explained = daemon.as_ref().and_then(|d| relay::of_daemon(l, d, coverage)).or_else(|| {
        let (cause, finding) = opinions.verdict?;
        let (finding, upstream) = relay::explain(l, finding, coverage);
        also.extend(upstream);
        Some((cause, finding))
    });
    let verdict = match explained {
        Some((cause, finding)) => Some(verdict(cause.code, finding, l.lost, "", |because| lookup_sentence(l, because))),
        None if failed => {
            Some(unexplained(opinions.missing, l.lost, lookup_seen(l), |because| lookup_sentence(l, because)))
        }
        None => None,
    };
    let asked = decisive.or(by.queries.last());
    let server = asked.map(|q| Endpoint { addr: q.tuple.remote, port: q.tuple.remote_port });
    Some(Report {
        schema: SCHEMA,
        kind: Kind::Lookup,
        id: l.serial,
        began: l.began,
        duration_ns: Some(super::nanos(l.elapsed())),
        process: process(l.task.as_ref(), l.program.as_deref(), &l.facts, l.netns.map(|n| n.0)),
        netns: l.netns.map(|n| n.0),
        protocol: asked.map_or(Protocol::Udp, |q| q.tuple.protocol),
        call: None,
        direction: Direction::Outbound,
        local: asked.and_then(|q| phrase::end(q.tuple.local, q.tuple.local_port)),
        remote: server,
        reached: None,
        name: Some(l.name().to_owned()),
        outcome: if failed { Outcome::Failed } else { Outcome::Answered },
        errno: lookup_errno(l),
        verdict,
        also,
        route: l.paths.first().and_then(|p| route(&l.facts, &p.route_want())),
        listeners: Vec::new(),
        query: Some(Query {
            name: l.name().to_owned(),
            kind: kinds(by),
            server: asked.map(|q| q.tuple.remote),
            rcode: decisive.and_then(|q| q.rcode()).map(phrase::rcode),
            service: l.resolved.as_ref().map(|r| r.service.clone()).filter(|s| !s.is_empty()),
        }),
        attempts: Some(
            by.queries
                .iter()
                .map(|q| LookupAttempt {
                    t_ns: super::nanos(q.sent.since(l.began)),
                    name: q.name.clone(),
                    kind: phrase::dns_type(q.kind),
                    server: q.tuple.remote,
                    rcode: q.rcode().map(phrase::rcode),
                    elapsed_ns: q.answer.as_ref().or(q.late.as_ref()).map(|(t, _)| super::nanos(t.since(q.sent))),
                    protocol: q.tuple.protocol,
                    addresses: q.answer.as_ref().map(|(_, m)| m.addresses.clone()).unwrap_or_default(),
                    flaw: match &q.answer {
                        Some((_, m)) if m.truncated => Some("cut"),
                        Some((_, m)) if m.malformed.is_some() => Some("unreadable"),
                        None if q.late.is_some() => Some("late"),
                        _ => None,
                    },
                })
                .collect(),
        ),
        timeline: lookup_timeline(l),
    })
}

/// What the application was told: getaddrinfo's code, else the errno of the way to the server.
fn lookup_errno(l: &Lookup) -> Option<String> {
    match &l.resolved {
        Some(r) if r.result != 0 => Some(errno::eai(r.result)),
        Some(_) => None,
        None => l.paths.iter().find_map(|p| p.errno).map(errno::name),
    }
}

/// The types asked for, `A` and `AAAA` together as `A+AAAA`.
fn kinds(l: &Lookup) -> String {
    let mut kinds: Vec<u16> = l.queries.iter().map(|q| q.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() {
        return "A+AAAA".into();
    }
    kinds.into_iter().map(phrase::dns_type).collect::<Vec<_>>().join("+")
}

/// `before`: what the sentence says already, and the reason by itself must.
fn verdict(code: &'static str, finding: Finding, lost: u64, before: &str, summary: impl Fn(&str) -> String) -> Verdict {
    let mut certainty = finding.certainty;
    let mut evidence = finding.evidence;
    if lost > 0 {
        certainty = certainty.min(Certainty::Likely);
        evidence.push(fact("lost", format!("{lost} records were lost meanwhile, so something may be missing here")));
    }
    Verdict {
        code,
        certainty,
        summary: summary(&finding.because),
        because: format!("{before}{}", finding.because),
        evidence,
        advice: finding.advice,
    }
}

/// The honest answer when nothing proves a cause.
fn unexplained(
    missing: Vec<(&'static str, String)>,
    lost: u64,
    mut evidence: Vec<Evidence>,
    summary: impl Fn(&str) -> String,
) -> Verdict {
    if lost > 0 {
        evidence.push(fact("lost", format!("{lost} records were lost meanwhile")));
    }
    let because = match missing.as_slice() {
        [] => "nothing that was observed proves a cause".to_owned(),
        [(code, why), ..] => format!("nothing that was observed proves a cause ({code} could not be told: {why})"),
    };
    evidence.extend(missing.iter().map(|(code, why)| fact("not-observed", format!("{code}: {why}"))));
    Verdict {
        code: "unexplained",
        certainty: Certainty::Possible,
        summary: summary(&because),
        because,
        evidence,
        advice: vec!["run `netdx doctor` to see what this kernel and these privileges let netdx observe".into()],
    }
}

/// What else holds.
fn also(holds: &[(&'static Cause, Finding)]) -> Vec<Also> {
    holds
        .iter()
        .map(|(cause, f)| Also { code: cause.code, certainty: f.certainty, summary: f.because.clone() })
        .collect()
}

/// Who, target, what came of it, elapsed: because.
fn sentence(c: &Connection, because: &str) -> String {
    let who = match (&c.task, context::holder(c)) {
        (Some(task), _) => phrase::task(task),
        (None, Some((_, owner))) => phrase::owners(std::slice::from_ref(owner)),
        (None, None) => "a process that wasn't seen".to_owned(),
    };
    let age = c.age().map(phrase::duration);
    let after = age.as_ref().map(|age| format!(" after {age}")).unwrap_or_default();
    let took = age.map(|age| format!(" ({age})")).unwrap_or_default();
    let target = phrase::target(c);
    let udp = c.tuple.protocol == Protocol::Udp;
    let tuple = c.tuple;
    let what = match c.outcome {
        _ if c.mirrored => format!("{} was not let in to {target}", phrase::endpoint(tuple.local, tuple.local_port)),
        Outcome::Established | Outcome::Answered => format!("{who} connected to {target}{after}"),
        Outcome::Abandoned => format!("{who} gave up on {target}{after}"),
        Outcome::Broken => format!("the connection of {who} to {target} broke{after}"),
        Outcome::Failed if c.failed_setup().is_some() || tuple.remote.is_unspecified() && !udp => {
            format!("{who} could not set up its socket")
        }
        Outcome::Failed if udp && c.elapsed().is_zero() => format!("{who} could not reach {target} by UDP"),
        Outcome::Failed if udp => format!("{who} could not reach {target} by UDP{took}"),
        Outcome::Failed => format!("{who} could not connect to {target}{took}"),
    };
    format!("{what}: {because}")
}

fn lookup_sentence(l: &Lookup, because: &str) -> String {
    let who = l.task.as_ref().map_or_else(|| "a process that wasn't seen".to_owned(), phrase::task);
    let name = l.name();
    let elapsed = phrase::duration(l.elapsed());
    if l.succeeded() {
        format!("{who} looked up {name} in {elapsed}: {because}")
    } else {
        format!("{who} could not look up {name} ({elapsed}): {because}")
    }
}

fn process(
    task: Option<&Task>,
    program: Option<&Program>,
    facts: &Facts,
    socket_netns: Option<u32>,
) -> Option<Process> {
    let task = task?;
    let known = match facts.get(&Want::Process { pid: task.pid }) {
        // A pid that was given to another program meanwhile is not this process.
        Some(Answer::Process(Some(p))) if p.comm == task.comm || program.is_some_and(|own| own.has(&p.argv)) => Some(p),
        _ => None,
    };
    Some(Process {
        pid: task.pid,
        tid: task.tid,
        comm: task.comm.clone(),
        name: other_name(task, known.map(|p| p.comm.as_str()), program),
        exe: known.and_then(|p| p.exe.clone()),
        argv: match (known, program) {
            (Some(p), _) if !p.argv.is_empty() => p.argv.clone(),
            (_, Some(own)) => own.argv.clone(),
            _ => Vec::new(),
        },
        uid: task.uid,
        cgroup: known.and_then(|p| p.cgroup.clone()),
        unit: known.and_then(|p| p.unit.clone()),
        container: known.and_then(|p| p.container.clone()),
        netns: task.netns.map(|n| n.0).or(socket_netns),
        acted: true,
    })
}

/// The name of a process whose thread has another one: its main thread's, or, if it had ended, what it was called by.
fn other_name(task: &Task, main: Option<&str>, program: Option<&Program>) -> Option<String> {
    let called = || program?.argv.first()?.rsplit('/').next().filter(|name| !name.starts_with(&task.comm));
    let name = main.or_else(called).filter(|name| *name != task.comm && !name.is_empty());
    name.filter(|_| task.tid != task.pid).map(str::to_owned)
}

fn route(facts: &Facts, want: &Want) -> Option<Route> {
    let Some(Answer::Route(r)) = facts.get(want) else { return None };
    let text = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    Some(Route {
        kind: text(&r.kind),
        table: text(&r.table),
        dev: text(&r.device_name),
        gateway: r.gateway,
        source: r.source,
        text: r.text.clone(),
    })
}

/// What was seen of a connection that nothing explains.
fn connection_seen(c: &Connection) -> Vec<Evidence> {
    connection_timeline(c).into_iter().map(|m| Evidence { t_ns: Some(m.t_ns), what: m.event, text: m.text }).collect()
}

fn lookup_seen(l: &Lookup) -> Vec<Evidence> {
    lookup_timeline(l).into_iter().map(|m| Evidence { t_ns: Some(m.t_ns), what: m.event, text: m.text }).collect()
}

/// What happened to a connection, in order.
fn connection_timeline(c: &Connection) -> Vec<Moment> {
    let mut moments = Vec::with_capacity(c.events.len() + 1);
    if c.tried() && c.opened == Opened::Here {
        moments.push(Moment { t_ns: 0, event: "syn-sent", text: format!("SYN to {}", phrase::target(c)) });
    }
    for (time, event) in &c.events {
        let Some((event, text)) = moment(c, *time, event) else { continue };
        moments.push(Moment { t_ns: super::nanos(time.since(c.began)), event, text });
    }
    moments.sort_by_key(|m| m.t_ns);
    moments
}

fn place(c: &Connection, netns: Option<crate::event::Netns>) -> String {
    match netns {
        Some(n) if n != c.netns => format!(" in {}", phrase::namespace(&c.facts, n, c.netns)),
        _ => String::new(),
    }
}

fn moment(c: &Connection, time: Time, event: &Event) -> Option<(&'static str, String)> {
    Some(match event {
        Event::Attempt { .. } | Event::Process { .. } | Event::Dns { .. } | Event::GetAddrInfo { .. } => return None,
        Event::State { new: TcpState::Established, .. } => ("established", "handshake completed".into()),
        Event::State { sock, old, new, .. } => {
            let why = if sock.error > 0 { format!(", error {}", errno::name(sock.error)) } else { String::new() };
            ("state", format!("{} to {}{why}", state(*old), state(*new)))
        }
        Event::SocketError { sock, icmp, .. } => match icmp {
            Some(i) => ("socket-error", format!("{} from {}", phrase::icmp(i.v6, i.kind, i.code), i.from)),
            None if sock.error > 0 => {
                ("socket-error", format!("error {} reported to the socket", errno::name(sock.error)))
            }
            None => return None,
        },
        Event::ResetReceived { .. } => ("reset-received", "RST came back".into()),
        Event::ResetSent { packet, sock, reason, .. } => {
            let why =
                reason.as_deref().map(|r| format!(" ({})", r.to_lowercase().replace('_', " "))).unwrap_or_default();
            let netns = packet.as_ref().and_then(|p| p.netns).or(sock.as_ref().map(|s| s.netns));
            ("reset-sent", format!("RST sent by this host's TCP{}{why}", place(c, netns)))
        }
        Event::Retransmit { sock, result, length, .. } => {
            let what = if sock.state == TcpState::SynSent { "SYN".into() } else { format!("{length} bytes") };
            let how = match result {
                Some(r) if *r < 0 => format!(", not sent: {}", errno::name(-r)),
                Some(r) if *r > 0 => ", dropped by this host's own queue".into(),
                _ => String::new(),
            };
            ("retransmit", format!("{what} sent again{how}"))
        }
        Event::SynAckRetransmit { listener, .. } => {
            ("synack-retransmit", format!("SYN-ACK sent again by the listener{}", place(c, Some(listener.netns))))
        }
        Event::Drop { packet, inner, discovery, reason, at, .. } => {
            let why = reason.as_deref().or(at.as_deref()).unwrap_or("no reason given");
            let what = phrase::event(packet, inner.as_deref(), discovery.as_ref());
            ("drop", format!("{what} dropped{}: {why}", place(c, packet.netns)))
        }
        Event::IcmpReceived { packet, .. } => {
            let outer = packet.tuple?;
            let v6 = outer.protocol == Protocol::Icmpv6;
            ("icmp-received", format!("{} from {}", phrase::icmp(v6, packet.icmp_type, packet.icmp_code), outer.local))
        }
        Event::IcmpSent { packet, .. } => (
            "icmp-sent",
            format!("{} sent{}", phrase::icmp(false, packet.icmp_type, packet.icmp_code), place(c, packet.netns)),
        ),
        Event::NeighborFailed { netns, address, .. } if !c.may_wait_for(time, *netns, *address) => return None,
        Event::NeighborFailed { address, device_name, .. } => {
            ("neighbor-failed", format!("{address} did not answer on {device_name}"))
        }
        Event::CallFailed { call, result, .. } => {
            ("call-failed", format!("{} returned {}", phrase::call(*call), errno::name(-result)))
        }
        Event::ListenOverflow { listener, .. } => (
            "listen-overflow",
            format!("SYN found the accept queue full ({}/{})", listener.backlog, listener.max_backlog),
        ),
        Event::ProcessExit { status, .. } => ("process-exit", exit_status(*status)),
    })
}

/// A wait status in words.
pub(super) fn exit_status(status: u32) -> String {
    match (status & 0x7f, (status >> 8) & 0xff) {
        (0, 0) => "the process ended".into(),
        (0, code) => format!("the process ended with exit status {code}"),
        (signal, _) => format!("the process was killed by signal {signal}"),
    }
}

fn state(s: TcpState) -> String {
    match s {
        TcpState::Unknown(n) => format!("state {n}"),
        other => format!("{other:?}").to_uppercase(),
    }
}

/// What happened in a lookup, in order.
fn lookup_timeline(l: &Lookup) -> Vec<Moment> {
    let mut moments = Vec::new();
    for q in &l.queries {
        let what = format!("{} {}", phrase::dns_type(q.kind), q.name);
        let over = if q.tuple.protocol == Protocol::Tcp { " over TCP" } else { "" };
        let again = if q.tries > 1 { format!(", {} times", q.tries) } else { String::new() };
        moments.push(Moment {
            t_ns: super::nanos(q.sent.since(l.began)),
            event: "query",
            text: format!("{what} asked of {}{over}{again}", q.tuple.remote),
        });
        if let Some((t, m)) = q.answer.as_ref().or(q.late.as_ref()) {
            let cut = if m.truncated { ", cut" } else { "" };
            let late = if q.late.is_some() { ", too late" } else { "" };
            moments.push(Moment {
                t_ns: super::nanos(t.since(l.began)),
                event: "answer",
                text: format!(
                    "{what}: {} with {} records from {}{cut}{late}",
                    phrase::rcode(m.rcode),
                    m.answers,
                    q.tuple.remote
                ),
            });
        }
    }
    for path in &l.paths {
        for (time, event) in &path.events {
            if let Some((event, text)) = moment(path, *time, event) {
                moments.push(Moment { t_ns: super::nanos(time.since(l.began)), event, text });
            }
        }
    }
    if let Some(r) = &l.resolved {
        let text = if r.result == 0 {
            "getaddrinfo gave addresses".into()
        } else {
            format!("getaddrinfo returned {}", errno::eai(r.result))
        };
        moments.push(Moment { t_ns: super::nanos(r.time.since(l.began)), event: "getaddrinfo", text });
    }
    moments.sort_by_key(|m| m.t_ns);
    moments
}
