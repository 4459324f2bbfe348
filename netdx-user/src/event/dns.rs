//! DNS messages as events. Owns: what is kept of one, and what an answer says. Must not know: bytes (see `decode`), who asked.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A DNS message as far as it was carried and could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsMessage {
    /// Its id.
    pub id: u16,
    /// It is an answer (QR).
    pub answer: bool,
    /// Cut by the server (TC).
    pub truncated: bool,
    /// RCODE, EDNS extension included when it was carried.
    pub rcode: u16,
    /// The first question.
    pub question: Option<DnsQuestion>,
    /// Number of answer records (ANCOUNT).
    pub answers: u16,
    /// Addresses in the answer (A, AAAA).
    pub addresses: Vec<IpAddr>,
    /// What the name that was asked for is an alias of, by the answer's CNAME records, in order. Where they go round in circles
    /// the last one has been there before. Names as in [`DnsQuestion`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Whose word an answer is; none: it was not carried that far, it is a query, or the recording is older than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
    /// Length of the whole message in bytes.
    pub length: u16,
    /// It could not be read: why. Everything read before that stands.
    pub malformed: Option<String>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DnsQuestion {
    /// The name in presentation form, without the last dot, lower case. Comes from outside: escape before showing.
    pub name: String,
    /// TYPE by number (1 A, 28 AAAA).
    pub kind: u16,
}

/// Whose word an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The server's own: the name that was asked for is of a zone of its own (AA).
    pub authoritative: bool,
    /// The server asks others what it does not know itself (RA).
    pub recursion: bool,
    /// The authority section has the zone's SOA record.
    pub soa: bool,
    /// It has NS records.
    pub servers: bool,
}

/// What an answer says that has neither an error nor the records asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// The zone's own word: there are no such records.
    NoData,
    /// The same, by the word of a server that only passes it on: nothing shows where it has it from.
    Unvouched,
    /// The server does not know: it names others to ask, or nobody, and asks nobody itself.
    Referral,
}

impl DnsMessage {
    /// What it says if it has neither an error nor the records asked for (RFC 2308 §2.2).
    #[must_use]
    pub fn empty(&self) -> Empty {
        let Some(authority) = self.authority else { return Empty::NoData };
        // What an alias stands for may be of somebody else's zone.
        let own = authority.authoritative && self.aliases.is_empty();
        if authority.soa || own {
            Empty::NoData
        } else if authority.servers || !authority.recursion {
            Empty::Referral
        } else {
            Empty::Unvouched
        }
    }

    /// Its aliases go round in circles.
    #[must_use]
    pub fn is_alias_loop(&self) -> bool {
        let Some((last, before)) = self.aliases.split_last() else { return false };
        before.contains(last) || self.question.as_ref().is_some_and(|q| q.name == *last)
    }
}
