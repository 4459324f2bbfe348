//! What a user is told: one object for each attempt or lookup (DESIGN.md §6, a contract).
//!
//! Owns: the shape of reports. Must not know: how a verdict was found, how a report is shown.
//! Fields may be added; none is renamed or removed without [`SCHEMA`] going up. Unknown values are null.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Version of the shape.
pub const SCHEMA: u32 = 1;

/// A report: one line of `--format json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`]
    pub schema: u32,
    /// connection or lookup
    pub kind: Kind,
    /// Number of this attempt within the run, from 1.
    pub id: u64,
    /// When it began: ns of CLOCK_BOOTTIME here; renderers show UTC (`time`) with the run's clock offset.
    #[serde(skip)]
    pub began: crate::time::Time,
    /// How long it took until it failed, was given up, or worked, in ns; null: its beginning was not seen.
    pub duration_ns: Option<u64>,
    /// Who.
    pub process: Option<Process>,
    /// Inode of the network namespace it was in.
    pub netns: Option<u32>,
    /// tcp or udp.
    pub protocol: crate::event::Protocol,
    /// The call that failed (`socket`, `bind`, `listen`), where no connection was asked for yet: `local` is what the socket
    /// should have been given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<&'static str>,
    /// Who opened it.
    pub direction: Direction,
    /// This side's end.
    pub local: Option<Endpoint>,
    /// The other end (for a lookup: the server asked last).
    pub remote: Option<Endpoint>,
    /// Where network address translation of this host sent it, if it did.
    pub reached: Option<Endpoint>,
    /// The name that was looked up for it.
    pub name: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// What the application got, by name (`ECONNREFUSED`, `EAI_NONAME`).
    pub errno: Option<String>,
    /// Why; null where nothing went wrong.
    pub verdict: Option<Verdict>,
    /// What else is true.
    pub also: Vec<Also>,
    /// The route it took or would have taken.
    pub route: Option<Route>,
    /// Listeners that matter.
    pub listeners: Vec<Listener>,
    /// For a lookup: the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// For a lookup: every query sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<LookupAttempt>>,
    /// What happened, in order.
    pub timeline: Vec<Moment>,
}

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words say it")]
pub enum Kind {
    Connection,
    Lookup,
}

/// Which side opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words say it")]
pub enum Direction {
    Outbound,
    Inbound,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It worked.
    Established,
    /// It never came to be.
    Failed,
    /// The application gave up first.
    Abandoned,
    /// It worked, then it did not.
    Broken,
    /// A lookup: answered.
    Answered,
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// More than one cause fits; the others are named.
    Possible,
    /// The only cause that fits what was seen, one link inferred.
    Likely,
    /// A kernel event or a fact read at that moment shows it.
    Proven,
}

/// The process that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Name of the thread.
    pub comm: String,
    /// Name of the process, where its thread has another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Program, null when it had ended before it could be read.
    pub exe: Option<String>,
    /// Command line.
    pub argv: Vec<String>,
    /// User id.
    pub uid: u32,
    /// Cgroup path.
    pub cgroup: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// Container.
    pub container: Option<String>,
    /// Network namespace inode.
    pub netns: Option<u32>,
    /// The kernel saw it do what failed. Else it is known only from whose socket it is now.
    #[serde(skip)]
    pub acted: bool,
}

/// An address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address; IPv4-mapped shown as IPv4.
    pub addr: IpAddr,
    /// Port.
    pub port: u16,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// A code of the catalogue.
    pub code: &'static str,
    /// How sure.
    pub certainty: Certainty,
    /// Why, as a clause: the part of the summary that names what is responsible.
    pub because: String,
    /// One sentence: who, what, because of what.
    pub summary: String,
    /// What proves it.
    pub evidence: Vec<Evidence>,
    /// What to do.
    pub advice: Vec<String>,
}

/// One proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// When, ns after the attempt began; null for a fact that has no moment.
    pub t_ns: Option<u64>,
    /// What kind of proof (`syn-sent`, `reset-received`, `drop`, `route`, `listeners`, ...).
    pub what: &'static str,
    /// In words.
    pub text: String,
}

/// Another code that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Also {
    /// The code.
    pub code: &'static str,
    /// How sure.
    pub certainty: Certainty,
    /// In words.
    pub summary: String,
}

/// The route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// unicast, local, unreachable, ...
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Table.
    pub table: Option<String>,
    /// Interface.
    pub dev: Option<String>,
    /// Gateway.
    pub gateway: Option<IpAddr>,
    /// Source address.
    pub source: Option<IpAddr>,
    /// As `ip route get` says it.
    pub text: String,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Address.
    pub addr: IpAddr,
    /// Port.
    pub port: u16,
    /// Owner.
    pub pid: Option<u32>,
    /// Owner's name.
    pub comm: Option<String>,
    /// Namespace inode.
    pub netns: u32,
}

/// A DNS question and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Query {
    /// Name asked for.
    pub name: String,
    /// Type (`A`, `AAAA`, `TYPE65280`).
    #[serde(rename = "type")]
    pub kind: String,
    /// Server that answered last, or was asked last.
    pub server: Option<IpAddr>,
    /// RCODE by name (`NXDOMAIN`).
    pub rcode: Option<String>,
    /// The service asked for beside the name: a port, or a name of one. Null: none, or it isn't known.
    pub service: Option<String>,
}

/// One query of a lookup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LookupAttempt {
    /// When it left, ns after the lookup began.
    pub t_ns: u64,
    /// Name asked for (search list applied).
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Server.
    pub server: IpAddr,
    /// RCODE by name; null: no answer came.
    pub rcode: Option<String>,
    /// How long the answer took, ns.
    pub elapsed_ns: Option<u64>,
    /// tcp or udp.
    pub protocol: crate::event::Protocol,
    /// Addresses in the answer.
    pub addresses: Vec<IpAddr>,
    /// What is wrong with the answer: `cut` (TC), `unreadable`, or `late` (the resolver had gone on to another
    /// server and did not read it); null: nothing, or none came.
    pub flaw: Option<&'static str>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// ns after the attempt began.
    pub t_ns: u64,
    /// What kind (`connect`, `syn-sent`, `retransmit`, ...).
    pub event: &'static str,
    /// In words.
    pub text: String,
}
