//! The filters that verbs share: `trace`, `record` and `replay` all of them, `conns` those of a connection. Owns: their
//! flags, and how names become numbers (users, network namespaces). Must not know: what a filter means (see `filter`).

use super::{Format, Usage, complete};
use crate::{
    explain,
    filter::{Code, Filter, HolderView, Host, Ports},
    host::process::{self, Place},
    live::features,
    pipeline::reporter::Style,
    render::escape::escape,
    report::Direction,
};
use anyhow::Context as _;
use clap_complete::ArgValueCandidates;
use jiff::SignedDuration;
use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

/// The file system of namespaces (include/uapi/linux/magic.h).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;
/// No process has a greater id (`PID_MAX_LIMIT` in include/linux/threads.h).
const MAX_PID: u32 = 4 << 20;

/// Which connections: what can be asked of one that is watched and of one that is there.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters (alternatives of one kind, all kinds must hold)")]
pub(super) struct Connections {
    /// Port of the service, the remote one of what this host opened, its own of what came in or could not be bound: one, a
    /// range, or several (80,443,8000-8010).
    #[arg(long, value_name = "PORTS", value_delimiter = ',', add = ArgValueCandidates::new(complete::ports))]
    port: Vec<Ports>,
    /// The other end: an address, ADDRESS/BITS, or a name.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    host: Vec<Host>,
    /// Process id.
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PID)), add = ArgValueCandidates::new(complete::pids))]
    pid: Vec<u32>,
    /// Name of the process or of its program.
    #[arg(long, value_name = "NAME", value_delimiter = ',', add = ArgValueCandidates::new(complete::comms))]
    comm: Vec<String>,
    /// User, by name or number.
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    uid: Vec<String>,
    /// Cgroup and those below it.
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// systemd unit.
    #[arg(long, value_name = "UNIT", value_delimiter = ',')]
    unit: Vec<String>,
    /// Container, by name or by the first characters of its id.
    #[arg(long, value_name = "CONTAINER", value_delimiter = ',')]
    container: Vec<String>,
    /// Network namespace: its name (ip netns), the pid of a process in it, or its inode (net:[4026531840]).
    #[arg(long, value_name = "NETNS", value_delimiter = ',', add = ArgValueCandidates::new(complete::namespaces))]
    netns: Vec<String>,
    /// Only what came in to a listener of this host.
    #[arg(long)]
    inbound: bool,
    /// Only what this host opened; with --inbound: both sides.
    #[arg(long)]
    outbound: bool,
}

impl Connections {
    /// The filter that these flags mean. A name after `--host` stays one.
    ///
    /// # Errors
    /// A name that stands for nothing.
    pub(super) fn resolve(&self) -> anyhow::Result<Filter> {
        let sides = [(self.inbound, Direction::Inbound), (self.outbound, Direction::Outbound)];
        Ok(Filter {
            ports: self.port.clone(),
            hosts: self.host.clone(),
            pids: self.pid.clone(),
            comms: self.comm.clone(),
            uids: self.uid.iter().map(|user| uid(user)).collect::<Result<_, _>>()?,
            cgroups: self.cgroup.iter().map(|path| cgroup(path)).collect(),
            units: self.unit.clone(),
            containers: self.container.clone(),
            netns: self.netns.iter().map(|netns| namespace(netns)).collect::<Result<_, _>>()?,
            directions: sides.into_iter().filter_map(|(on, side)| on.then_some(side)).collect(),
            ..Filter::default()
        })
    }

    fn words(&self) -> Vec<String> {
        let ports = self.port.iter().map(|Ports(ports)| match (ports.start(), ports.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        });
        let hosts = self.host.iter().map(|host| match host {
            Host::Net(address, bits) => format!("{address}/{bits}"),
            Host::Name(name) => name.clone(),
        });
        let mut words: Vec<String> = ports.map(|port| format!("--port {port}")).collect();
        words.extend(hosts.map(|host| format!("--host {host}")));
        words.extend(self.pid.iter().map(|pid| format!("--pid {pid}")));
        let named = [
            ("comm", &self.comm),
            ("uid", &self.uid),
            ("cgroup", &self.cgroup),
            ("unit", &self.unit),
            ("container", &self.container),
            ("netns", &self.netns),
        ];
        words.extend(named.into_iter().flat_map(|(flag, all)| all.iter().map(move |one| format!("--{flag} {one}"))));
        words.extend(self.inbound.then(|| "--inbound".to_owned()));
        words.extend(self.outbound.then(|| "--outbound".to_owned()));
        words
    }
}

/// Which reports to show.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filters {
    #[command(flatten)]
    connections: Connections,
    /// Only name lookups.
    #[arg(long, conflicts_with = "no_dns")]
    dns: bool,
    /// No name lookups. Without it those that failed are shown whatever --port says: they have no port yet.
    #[arg(long)]
    no_dns: bool,
    /// Verdict, or family of verdicts (refused, dns.nxdomain).
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = code, add = ArgValueCandidates::new(complete::codes))]
    code: Vec<Code>,
}

impl Filters {
    /// The filter that these flags mean.
    ///
    /// # Errors
    /// A name that stands for nothing.
    pub(super) fn resolve(&self) -> anyhow::Result<Filter> {
        Ok(Filter {
            lookups: if self.dns || self.no_dns { Some(self.dns) } else { None },
            codes: self.code.clone(),
            ..self.connections.resolve()?
        })
    }

    /// Whether lookups are asked for.
    #[must_use]
    pub(super) fn lookups(&self) -> bool {
        !self.no_dns
    }

    /// Whether the listener's side is asked for even where the other one tells the same.
    #[must_use]
    pub(super) fn inbound(&self) -> bool {
        self.connections.inbound
    }

    /// The flags as they could be typed again.
    #[must_use]
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = self.connections.words();
        words.extend(self.code.iter().map(|code| format!("--code {code}")));
        let switches = [(self.dns, "--dns"), (self.no_dns, "--no-dns")];
        words.extend(switches.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag.to_owned()));
        words
    }
}

/// Looks whether what a filter names is there now. That nobody is in a cgroup, unit or container is said; somebody may be later.
///
/// # Errors
/// There is no such process.
pub(super) fn here(filter: &Filter) -> anyhow::Result<()> {
    let gone = |pid: &&u32| Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{pid}")).exists();
    if let Some(pid) = filter.pids.iter().find(gone) {
        return Err(Usage(format!("there is no process {pid}")).into());
    }
    if filter.cgroups.is_empty() && filter.units.is_empty() && filter.containers.is_empty() {
        return Ok(());
    }
    let places: Vec<_> = process::pids().unwrap_or_default().into_iter().map(process::place).collect();
    let processes: Vec<HolderView<'_>> = places.iter().map(holder).collect();
    for absent in filter.absent(&processes) {
        super::say(&format!("netdx: no process that can be seen is in {} now\n", escape(&absent)));
    }
    Ok(())
}

/// A process as far as it is asked here.
fn holder(place: &Place) -> HolderView<'_> {
    HolderView {
        pid: 0,
        comm: "",
        cgroup: place.cgroup.as_deref(),
        unit: place.unit.as_deref(),
        container: place.container.as_deref(),
    }
}

/// The ids of the filter's cgroups, for the kernel to filter by: it knows them of processes that end before anybody looks,
/// too. What the kernel does is taken out of the filter, and given beside the ids. None where the v2 hierarchy lacks one of
/// them.
pub(super) fn take_cgroups(filter: &mut Filter) -> (Vec<u64>, Vec<String>) {
    let v2 = features::mounts().into_iter().rev().find(|mount| mount.file_system == "cgroup2");
    let id = |root: &Path, path: &str| fs::metadata(root.join(path.trim_start_matches('/'))).ok().map(|dir| dir.ino());
    let ids: Option<Vec<u64>> = v2.and_then(|root| filter.cgroups.iter().map(|path| id(&root.at, path)).collect());
    match ids {
        Some(ids) => (ids, std::mem::take(&mut filter.cgroups)),
        None => (Vec::new(), Vec::new()),
    }
}

/// Reads a code, or a family of codes, of the catalogue.
///
/// # Errors
/// There is none of that name; what was probably meant.
pub(super) fn code(text: &str) -> Result<Code, String> {
    let known: Vec<&str> = explain::registry().iter().map(|cause| cause.code).collect();
    Code::parse(text, &known)
}

/// Reads what `--fail-on` says: a code, or any.
///
/// # Errors
/// There is no such verdict.
pub(super) fn fail_on(text: &str) -> Result<Code, String> {
    if text == "any" { Ok(Code::Any) } else { code(text) }
}

/// How reports are written to stdout, or to a file.
pub(super) fn style(format: Format, to_stdout: bool) -> Style {
    match format {
        Format::Json => Style::Json,
        Format::Text if to_stdout => Style::Text(super::stdout_sheet()),
        Format::Text => Style::Text(super::file_sheet()),
    }
}

/// Reads a duration: `500ms`, `1.5s`, `2m`, `1h 30m`.
///
/// # Errors
/// It is none, or isn't longer than nothing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{}' is no duration such as 500ms, 10s or 2m", text.escape_debug());
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).ok().filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

pub(super) fn uid(user: &str) -> anyhow::Result<u32> {
    if let Ok(uid) = user.parse() {
        return Ok(uid);
    }
    let passwd = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    let no_user =
        || Usage(format!("there is no user '{}' in /etc/passwd: give the number (id -u USER)", user.escape_debug()));
    Ok(find_uid(&passwd, user).ok_or_else(no_user)?)
}

/// The third field of the line that begins with the user's name (passwd(5)).
fn find_uid(passwd: &str, user: &str) -> Option<u32> {
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == user)?
        .get(2)?
        .parse()
        .ok()
}

/// A cgroup as reports have it: its path below the root of the hierarchy.
fn cgroup(path: &str) -> String {
    let below =
        path.strip_prefix("/sys/fs/cgroup/unified").or_else(|| path.strip_prefix("/sys/fs/cgroup")).unwrap_or(path);
    format!("/{}", below.trim_matches('/'))
}

pub(super) fn namespace(text: &str) -> anyhow::Result<u32> {
    // As readlink /proc/PID/ns/net prints it.
    if let Some(inode) = text.strip_prefix("net:[").and_then(|rest| rest.strip_suffix(']')) {
        return Ok(inode.parse().map_err(|_| Usage(format!("'{}' is no inode", inode.escape_debug())))?);
    }
    let path = match text.parse::<u32>() {
        Ok(inode) if inode > MAX_PID => return Ok(inode),
        Ok(pid) => format!("/proc/{pid}/ns/net"),
        Err(_) if text.contains('/') => text.to_owned(),
        Err(_) => format!("/run/netns/{text}"),
    };
    let (text, shown) = (text.escape_debug(), path.escape_debug());
    let advice = "give a name of ip netns, an inode or a pid";
    let metadata = match fs::metadata(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Usage(format!("there is no network namespace '{text}' ({shown}): {advice}")).into());
        }
        other => other.with_context(|| format!("find network namespace '{text}' ({shown}): {advice}"))?,
    };
    // What `ip netns add` had mounted there may be gone, which leaves an empty file.
    let is_namespace = rustix::fs::statfs(&path).is_ok_and(|about| about.f_type == NSFS_MAGIC);
    let inode = u32::try_from(metadata.ino()).ok().filter(|_| is_namespace);
    Ok(inode.ok_or_else(|| Usage(format!("'{text}' ({shown}) is no network namespace: {advice}")))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        filters: Filters,
    }

    fn parse(line: &str) -> Result<Filters, clap::Error> {
        Line::try_parse_from(std::iter::once("netdx").chain(line.split_whitespace())).map(|line| line.filters)
    }

    #[test]
    fn flags_become_a_filter() {
        let filters = parse("--port 80,443 --port 8000-8010 --host 10.0.0.0/8,db --uid 0 --cgroup /sys/fs/cgroup/a/ --no-dns --outbound")
            .expect("good flags");
        let filter = filters.resolve().expect("what they name exists");
        assert_eq!(filter.ports, [Ports(80..=80), Ports(443..=443), Ports(8000..=8010)]);
        assert_eq!(filter.uids, [0]);
        assert_eq!(filter.cgroups, ["/a"]);
        assert_eq!(filter.lookups, Some(false));
        assert_eq!(filter.directions, [Direction::Outbound]);
        assert!(!filters.lookups() && !filters.inbound());
        assert_eq!(
            filters.words().join(" "),
            "--port 80 --port 443 --port 8000-8010 --host 10.0.0.0/8 --host db --uid 0 --cgroup /sys/fs/cgroup/a/ --outbound --no-dns"
        );
    }

    #[test]
    fn wrong_flags_are_told() {
        assert!(parse("--port http").is_err());
        assert!(parse("--pid 99999999").is_err(), "no process ever has that id");
        assert!(parse("--dns --no-dns").is_err());
        let error = parse("--uid nobody-of-that-name").expect("a name").resolve().expect_err("no such user");
        assert!(error.to_string().contains("no user 'nobody-of-that-name'"), "{error}");
        let error = parse("--netns nowhere-at-all").expect("a name").resolve().expect_err("no such namespace");
        assert!(format!("{error:#}").contains("/run/netns/nowhere-at-all"), "{error:#}");
        for file in ["/etc/passwd", "/"] {
            let error = namespace(file).expect_err("a file of another kind");
            assert!(error.is::<Usage>() && error.to_string().contains("is no network namespace"), "{error:#}");
        }
        let error = parse("--code refused.nolistener").expect_err("no such code");
        assert!(error.to_string().contains("Did you mean refused.no-listener?"), "{error}");
    }

    #[test]
    fn users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\npostgres:x:105:112::/var/lib:/bin/sh\n";
        assert_eq!(find_uid(passwd, "postgres"), Some(105));
        assert_eq!(find_uid(passwd, "broken"), None);
        assert_eq!(find_uid(passwd, "postgre"), None);
    }

    #[test]
    fn a_namespace_by_pid_and_by_inode() {
        let own = namespace(&std::process::id().to_string()).expect("this process has one");
        let link = fs::read_link("/proc/self/ns/net").expect("this process has one");
        assert_eq!(link.to_string_lossy(), format!("net:[{own}]"));
        assert_eq!(namespace(&link.to_string_lossy()).expect("an inode"), own);
        assert_eq!(namespace("4026531840").expect("greater than any pid"), 4_026_531_840);
    }

    #[test]
    fn the_kernel_takes_only_cgroups_that_it_knows() {
        let mut filter = Filter { cgroups: vec!["/no-such-cgroup-of-netdx".into()], ..Filter::default() };
        assert_eq!(take_cgroups(&mut filter), (vec![], vec![]));
        assert_eq!(filter.cgroups.len(), 1, "still to be filtered by");
    }

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "0s", "-1s", "fast", "5", "\u{1b}"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
