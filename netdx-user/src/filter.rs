//! Which reports are shown. Owns: [`Filter`], what each of its parts means. Must not know: how a name became a number
//! (see `cli/filters`), or what the kernel was asked to leave out already.
//!
//! Parts of one kind are alternatives (`--port 80 --port 443`), different kinds must all hold.

use crate::report::{Direction, Endpoint, Kind, Outcome, Process, Report};
use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

/// Names of processes are cut by the kernel (`TASK_COMM_LEN`, terminator not counted).
const COMM_LEN: usize = 15;
/// A container's id may be given by its first characters, as container tools allow.
const MIN_CONTAINER_PREFIX: usize = 4;

/// What to show; empty parts ask nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Port of the service: the remote one of what this host opens, the local one of what comes in or could not be bound.
    pub ports: Vec<Ports>,
    /// The other end, or the address that could not be bound.
    pub hosts: Vec<Host>,
    /// Process ids.
    pub pids: Vec<u32>,
    /// Names of processes or of their programs.
    pub comms: Vec<String>,
    /// User ids.
    pub uids: Vec<u32>,
    /// Paths of cgroups, those below included.
    pub cgroups: Vec<String>,
    /// systemd units.
    pub units: Vec<String>,
    /// Containers, by name or id.
    pub containers: Vec<String>,
    /// Network namespaces, by inode.
    pub netns: Vec<u32>,
    /// Only lookups, or no lookups.
    pub lookups: Option<bool>,
    /// Which side opened it; a socket that could not be set up might have done either.
    pub directions: Vec<Direction>,
    /// Codes of verdicts.
    pub codes: Vec<Code>,
}

/// Ports from one to another, or one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub RangeInclusive<u16>);

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address, or all that share its first bits.
    Net(IpAddr, u8),
    /// A name, as it was looked up.
    Name(String),
}

/// A code of the catalogue, or a whole family of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// Whatever went wrong.
    Any,
    /// Every code of that family (`dns`).
    Family(String),
    /// That one (`dns.nxdomain`, `unexplained`).
    One(String),
}

impl Filter {
    /// Whether to show it.
    #[must_use]
    pub fn wants(&self, report: &Report) -> bool {
        let process = report.process.as_ref();
        one_of(&self.ports, |ports| ports.holds(report))
            && one_of(&self.hosts, |host| host.holds(report))
            && one_of(&self.pids, |pid| process.is_some_and(|p| p.pid == *pid))
            && one_of(&self.comms, |comm| process.is_some_and(|p| is_named(&p.comm, runs(p), comm)))
            && one_of(&self.uids, |uid| process.is_some_and(|p| p.uid == *uid))
            && one_of(&self.cgroups, |path| {
                process.is_some_and(|p| p.cgroup.as_deref().is_some_and(|c| is_below(c, path)))
            })
            && one_of(&self.units, |unit| process.is_some_and(|p| p.unit.as_deref().is_some_and(|u| is_unit(u, unit))))
            && one_of(&self.containers, |id| {
                process.is_some_and(|p| p.container.as_deref().is_some_and(|c| is_container(c, id)))
            })
            && one_of(&self.netns, |netns| {
                report.netns == Some(*netns) || process.is_some_and(|p| p.netns == Some(*netns))
            })
            && self.lookups.is_none_or(|only| only == (report.kind == Kind::Lookup))
            && one_of(&self.directions, |direction| report.call.is_some() || report.direction == *direction)
            && one_of(&self.codes, |code| code.holds(report))
    }
}

/// A socket of this host, as far as a filter asks.
#[derive(Clone, Copy, Debug)]
pub struct SocketView<'a> {
    /// Which side opened it.
    pub direction: Direction,
    /// This side's port.
    pub local_port: u16,
    /// The other end.
    pub remote: Endpoint,
    /// Owner's user id, where the kernel still knows it.
    pub uid: Option<u32>,
    /// Inode of its network namespace.
    pub netns: u32,
    /// Processes that hold it.
    pub holders: &'a [HolderView<'a>],
}

/// A process that holds a socket.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as in `Process`")]
pub struct HolderView<'a> {
    pub pid: u32,
    pub comm: &'a str,
    pub cgroup: Option<&'a str>,
    pub unit: Option<&'a str>,
    pub container: Option<&'a str>,
}

impl Filter {
    /// Whether to show a socket; names of hosts have to be addresses by now.
    #[must_use]
    pub fn wants_socket(&self, socket: &SocketView<'_>) -> bool {
        let service = match socket.direction {
            Direction::Outbound => socket.remote.port,
            Direction::Inbound => socket.local_port,
        };
        let at = |host: &Host| matches!(host, Host::Net(net, bits) if is_in(socket.remote.addr, *net, *bits));
        one_of(&self.ports, |ports| ports.0.contains(&service))
            && one_of(&self.hosts, at)
            && one_of(&self.uids, |uid| Some(*uid) == socket.uid)
            && one_of(&self.netns, |netns| *netns == socket.netns)
            && one_of(&self.directions, |direction| *direction == socket.direction)
            && (!self.asks_for_holders() || socket.holders.iter().any(|holder| self.wants_holder(holder)))
    }

    /// Whether it takes the processes that hold a socket to know whether to show it.
    #[must_use]
    pub fn asks_for_holders(&self) -> bool {
        !(self.pids.is_empty()
            && self.comms.is_empty()
            && self.cgroups.is_empty()
            && self.units.is_empty()
            && self.containers.is_empty())
    }

    /// The cgroups, units and containers that none of these processes is in, as they were asked for.
    #[must_use]
    pub fn absent(&self, processes: &[HolderView<'_>]) -> Vec<String> {
        let none = |is: &dyn Fn(&HolderView<'_>) -> bool| !processes.iter().any(is);
        let cgroups = self.cgroups.iter().filter(|path| none(&|p| p.cgroup.is_some_and(|c| is_below(c, path))));
        let units = self.units.iter().filter(|unit| none(&|p| p.unit.is_some_and(|u| is_unit(u, unit))));
        let containers =
            self.containers.iter().filter(|id| none(&|p| p.container.is_some_and(|c| is_container(c, id))));
        let named = cgroups.map(|path| format!("--cgroup {path}")).chain(units.map(|unit| format!("--unit {unit}")));
        named.chain(containers.map(|id| format!("--container {id}"))).collect()
    }

    fn wants_holder(&self, holder: &HolderView<'_>) -> bool {
        one_of(&self.pids, |pid| *pid == holder.pid)
            && one_of(&self.comms, |comm| is_named(holder.comm, [], comm))
            && one_of(&self.cgroups, |path| holder.cgroup.is_some_and(|c| is_below(c, path)))
            && one_of(&self.units, |unit| holder.unit.is_some_and(|u| is_unit(u, unit)))
            && one_of(&self.containers, |id| holder.container.is_some_and(|c| is_container(c, id)))
    }
}

fn one_of<T>(alternatives: &[T], holds: impl Fn(&T) -> bool) -> bool {
    alternatives.is_empty() || alternatives.iter().any(holds)
}

impl Ports {
    /// A lookup that failed has no port yet: it may be the one that this port waits for, unless another one was asked for
    /// with it.
    fn holds(&self, report: &Report) -> bool {
        let end = match report.direction {
            Direction::Outbound if report.call.is_none() => report.remote,
            _ => report.local,
        };
        if report.kind == Kind::Lookup {
            let service = report.query.as_ref().and_then(|query| query.service.as_deref());
            return service.and_then(|service| service.parse().ok()).is_none_or(|port| self.0.contains(&port));
        }
        end.is_some_and(|end| self.0.contains(&end.port))
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Ports, String> {
        let port = |text: &str| match text.trim().parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("'{text}' is no port: 1 to 65535, or a range such as 8000-8010")),
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if first > last { Err(format!("the range {text} is empty: {last}-{first}?")) } else { Ok(Ports(first..=last)) }
    }
}

impl Host {
    fn holds(&self, report: &Report) -> bool {
        match self {
            Host::Net(net, bits) => {
                let end = if report.call.is_some() { report.local } else { report.remote };
                end.is_some_and(|end| is_in(end.addr, *net, *bits))
            }
            Host::Name(name) => {
                let query = report.query.iter().map(|query| &query.name);
                let attempts = report.attempts.iter().flatten().map(|attempt| &attempt.name);
                report.name.iter().chain(query).chain(attempts).any(|n| n.eq_ignore_ascii_case(name))
            }
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Host, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let address = address.to_canonical();
            return Ok(Host::Net(address, width(address)));
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| format!("'{address}' is no IP address"))?;
            let most = width(address);
            return match bits.parse() {
                Ok(bits) if bits <= most => Ok(Host::Net(address, bits)),
                _ => Err(format!("'/{bits}' is no prefix length of {address}: 0 to {most}")),
            };
        }
        if let Some((address, _)) = text.split_once('%')
            && address.parse::<IpAddr>().is_ok()
        {
            return Err(format!("connections are not told apart by their link: '{address}' takes it on every link"));
        }
        let name = text.trim_end_matches('.');
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == ':';
        if name.is_empty() || name.contains(bad) {
            return Err(format!("'{}' is no address, no ADDRESS/BITS and no name", text.escape_debug()));
        }
        Ok(Host::Name(name.to_owned()))
    }
}

impl Code {
    /// Reads a code or a family, of those that there are.
    ///
    /// # Errors
    /// What is wrong with it, and what was probably meant.
    pub fn parse(text: &str, known: &[&str]) -> Result<Code, String> {
        if known.contains(&text) {
            return Ok(Code::One(text.to_owned()));
        }
        if known.iter().any(|code| code.split_once('.').is_some_and(|(family, _)| family == text)) {
            return Ok(Code::Family(text.to_owned()));
        }
        let meant = suggest(text, known).map_or_else(String::new, |code| format!(" Did you mean {code}?"));
        Err(format!("there is no verdict '{}'.{meant} All: netdx explain --list", text.escape_debug()))
    }

    /// Whether a report carries it, as its verdict or beside it.
    #[must_use]
    pub fn holds(&self, report: &Report) -> bool {
        let also = report.also.iter().map(|also| also.code);
        let mut codes = report.verdict.iter().map(|verdict| verdict.code).chain(also);
        match self {
            Code::Any => {
                report.verdict.is_some() && !matches!(report.outcome, Outcome::Established | Outcome::Answered)
            }
            _ => codes.any(|code| self.covers(code)),
        }
    }

    /// Whether it stands for this code.
    #[must_use]
    pub fn covers(&self, code: &str) -> bool {
        match self {
            Code::Any => true,
            Code::Family(family) => code.split_once('.').is_some_and(|(f, _)| f == family),
            Code::One(one) => code == one,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::Any => f.write_str("any"),
            Code::Family(text) | Code::One(text) => f.write_str(text),
        }
    }
}

/// The candidate that somebody who typed `text` probably meant.
#[must_use]
pub fn suggest<'a>(text: &str, candidates: &[&'a str]) -> Option<&'a str> {
    /// Below this the two have little in common; the value is the one that clap uses.
    const ALIKE: f64 = 0.7;
    let scored = candidates.iter().map(|candidate| {
        let cause = candidate.split_once('.').map_or(*candidate, |(_, cause)| cause);
        let score = strsim::jaro_winkler(text, candidate).max(strsim::jaro_winkler(text, cause));
        (score, *candidate)
    });
    scored.filter(|(score, _)| *score > ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_in(address: IpAddr, net: IpAddr, bits: u8) -> bool {
    /// The first `bits` of a number of `width` bits.
    fn head(number: u128, width: u8, bits: u8) -> u128 {
        number.checked_shr(u32::from(width - bits)).unwrap_or(0)
    }
    match (address.to_canonical(), net) {
        (IpAddr::V4(address), IpAddr::V4(net)) => {
            head(u32::from(address).into(), 32, bits) == head(u32::from(net).into(), 32, bits)
        }
        (IpAddr::V6(address), IpAddr::V6(net)) => head(address.into(), 128, bits) == head(net.into(), 128, bits),
        _ => false,
    }
}

/// What a process is called, whatever its thread is: by its program's path, its own name, and its command line.
fn runs(process: &Process) -> impl Iterator<Item = &str> {
    [&process.exe, &process.name].into_iter().flatten().chain(process.argv.first()).map(String::as_str)
}

/// `comm`: the thread's name, which need not be the process's.
fn is_named<'a>(comm: &str, runs: impl IntoIterator<Item = &'a str>, wanted: &str) -> bool {
    let cut = wanted.len() > COMM_LEN && wanted.as_bytes()[..COMM_LEN] == *comm.as_bytes();
    let is_it = |program: &str| program == wanted || program.rsplit('/').next() == Some(wanted);
    comm == wanted || cut || runs.into_iter().any(is_it)
}

/// Whether a cgroup's path is that one, or below it.
pub(crate) fn is_below(path: &str, wanted: &str) -> bool {
    path.strip_prefix(wanted.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_unit(unit: &str, wanted: &str) -> bool {
    unit == wanted || unit.strip_suffix(".service") == Some(wanted)
}

fn is_container(container: &str, wanted: &str) -> bool {
    container == wanted || (wanted.len() >= MIN_CONTAINER_PREFIX && container.starts_with(wanted))
}

#[cfg(test)]
mod tests;
