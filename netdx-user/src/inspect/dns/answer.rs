//! What one server said to one question. Owns: [`Server`], [`Asked`], [`Data`], and the code of an answer or of none.
//! Must not know: who is asked what, how it is shown.

use super::{
    PORT,
    exchange::{Exchange, Failure},
};
use crate::{
    inspect::{nanoseconds, zone},
    report::Certainty,
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use serde::Serialize;
use std::net::IpAddr;

/// What one server says.
#[derive(Debug, Serialize)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// The link of a link-local address, by the interface's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its port.
    pub port: u16,
    /// The C library does not ask it: it takes the first three of resolv.conf.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub spare: bool,
    /// One entry for each name and type asked, in order.
    pub queries: Vec<Asked>,
}

/// One question to one server and what came of it.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// Full name, search list applied.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// RCODE by name; null: no answer.
    pub rcode: Option<String>,
    /// What is wrong, by a code of the catalogue; null: it was answered with data.
    pub code: Option<&'static str>,
    /// How sure the code is; null where it is null.
    pub certainty: Option<Certainty>,
    /// Why there is no answer, or none that says anything of the name, in words.
    pub error: Option<String>,
    /// The name that the answer's aliases (CNAME) lead to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
    /// The errno of the socket call that failed.
    #[serde(skip)]
    pub errno: Option<i32>,
    /// How long it took.
    pub elapsed_ns: u64,
    /// UDP packets sent.
    pub tries: u32,
    /// What the answer came over: `udp` or `tcp`.
    pub protocol: &'static str,
    /// The UDP answer was cut (TC), so TCP was asked.
    pub truncated: bool,
    /// The server can't read EDNS.
    pub without_edns: bool,
    /// AA: it answers from its own zone.
    pub authoritative: bool,
    /// AD: it says it validated the answer with DNSSEC.
    pub authentic: bool,
    /// RA: it resolves for its clients.
    pub recursion: bool,
    /// The answer, CNAME chain included, signatures left out (`signed` says that there were).
    pub records: Vec<Data>,
    /// The answer carried signatures (RRSIG).
    pub signed: bool,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Data {
    /// Owner name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds it may be kept.
    pub ttl: u32,
    /// In zone-file form.
    pub data: String,
}

impl Server {
    /// Its address with its link, and its port where that isn't 53.
    #[must_use]
    pub fn label(&self) -> String {
        let address = zone::text(self.address, self.zone.as_deref());
        if self.port == PORT { address } else { format!("{address}#{}", self.port) }
    }
}

impl Asked {
    /// It was answered with data.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.code.is_none()
    }

    /// Addresses in the answer.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.records.iter().filter(|r| r.kind == "A" || r.kind == "AAAA").filter_map(|r| r.data.parse().ok())
    }

    pub(super) fn from_exchange(name: &Name, kind: RecordType, tcp: bool, exchange: Exchange) -> Asked {
        let mut asked = Asked {
            name: name.to_ascii(),
            kind: kind.to_string(),
            rcode: None,
            code: None,
            certainty: None,
            error: None,
            alias_of: None,
            errno: None,
            elapsed_ns: nanoseconds(exchange.elapsed),
            tries: exchange.tries,
            protocol: if exchange.truncated || tcp { "tcp" } else { "udp" },
            truncated: exchange.truncated,
            without_edns: exchange.without_edns,
            authoritative: false,
            authentic: false,
            recursion: false,
            records: Vec::new(),
            signed: false,
        };
        match exchange.result {
            Ok(message) => asked.fill(&message, name, kind),
            Err(failure) => {
                let (code, certainty) = judge(&failure);
                asked.code = Some(code);
                asked.certainty = Some(certainty);
                asked.errno = failure.errno();
                asked.error = Some(failure.to_string());
            }
        }
        asked
    }

    fn fill(&mut self, message: &Message, name: &Name, kind: RecordType) {
        let meta = &message.metadata;
        self.rcode = Some(rcode(meta.response_code));
        self.authoritative = meta.authoritative;
        self.authentic = meta.authentic_data;
        self.recursion = meta.recursion_available;
        self.signed = message.answers.iter().any(|r| r.record_type() == RecordType::RRSIG);
        let keep =
            |r: &&Record| r.record_type() != RecordType::RRSIG || matches!(kind, RecordType::RRSIG | RecordType::ANY);
        self.records = message.answers.iter().filter(keep).map(Data::from).collect();
        let found = kind == RecordType::ANY && !message.answers.is_empty()
            || message.answers.iter().any(|r| r.record_type() == kind);
        self.alias_of = end_of_aliases(name, &message.answers).map(|name| name.to_ascii());
        self.error = if meta.response_code == ResponseCode::NoError && !found { says_nothing(message) } else { None };
        self.code = match meta.response_code {
            ResponseCode::NoError if found => None,
            ResponseCode::NoError if self.error.is_some() => Some("dns.refused"),
            ResponseCode::NoError => Some("dns.nodata"),
            ResponseCode::NXDomain => Some("dns.nxdomain"),
            ResponseCode::ServFail => Some("dns.servfail"),
            ResponseCode::Refused => Some("dns.refused"),
            _ => Some("dns.error"),
        };
        self.certainty = self.code.map(|_| Certainty::Proven);
    }
}

/// Where the aliases of an answer lead from a name; none: it is no alias. Aliases in a circle end where they come back.
fn end_of_aliases(name: &Name, answers: &[Record]) -> Option<Name> {
    let mut ends = vec![name];
    while let Some(RData::CNAME(next)) = answers
        .iter()
        .find(|r| r.record_type() == RecordType::CNAME && r.name.eq_ignore_root(ends[ends.len() - 1]))
        .map(|r| &r.data)
    {
        let back = ends.iter().any(|end| next.0.eq_ignore_root(end));
        ends.push(&next.0);
        if back {
            break;
        }
    }
    (ends.len() > 1).then(|| ends[ends.len() - 1].clone())
}

/// Why an answer without data does not mean that there is none: a server that looks nothing up for its clients knows its own
/// zones, and refers to others for the rest (RFC 1034, section 4.3.1). That there is no data it says with its zone's SOA (RFC
/// 2308, section 2.2), or at least with AA.
fn says_nothing(message: &Message) -> Option<String> {
    let meta = &message.metadata;
    let has = |records: &[Record], kind| records.iter().any(|r| r.record_type() == kind);
    let alias = has(&message.answers, RecordType::CNAME);
    if meta.recursion_available || meta.authoritative && !alias || has(&message.authorities, RecordType::SOA) {
        return None;
    }
    let what = match (alias, has(&message.authorities, RecordType::NS)) {
        (true, _) => "it says where the alias leads, and nothing of what is there",
        (false, true) => "it only refers to other servers",
        (false, false) => "it says nothing of the name",
    };
    Some(format!("{what}: it does not look names up for its clients (no recursion)"))
}

/// The code of a question without an answer. An errno of the socket is the kernel's own word.
fn judge(failure: &Failure) -> (&'static str, Certainty) {
    match failure {
        Failure::Silence => ("dns.timeout", Certainty::Proven),
        Failure::Tcp(_) => ("dns.truncated", Certainty::Proven),
        Failure::Io { .. } => ("dns.server-unreachable", Certainty::Proven),
        Failure::Malformed(_) => ("dns.error", Certainty::Proven),
    }
}

/// RCODE as registered with IANA.
fn rcode(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".into(),
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NXDomain => "NXDOMAIN".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        ResponseCode::YXDomain => "YXDOMAIN".into(),
        ResponseCode::YXRRSet => "YXRRSET".into(),
        ResponseCode::NXRRSet => "NXRRSET".into(),
        ResponseCode::NotAuth => "NOTAUTH".into(),
        ResponseCode::NotZone => "NOTZONE".into(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

impl From<&Record> for Data {
    fn from(record: &Record) -> Data {
        Data {
            name: record.name.to_ascii(),
            kind: match record.record_type() {
                RecordType::Unknown(number) => format!("TYPE{number}"),
                known => known.to_string(),
            },
            ttl: record.ttl,
            data: match &record.data {
                RData::TXT(text) => text
                    .txt_data
                    .iter()
                    .map(|part| format!("{:?}", String::from_utf8_lossy(part)))
                    .collect::<Vec<_>>()
                    .join(" "),
                // RFC 3597: the generic form of a type this version can't read.
                RData::Unknown { rdata, .. } => {
                    let hex: String = rdata.anything.iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("\\# {} {hex}", rdata.anything.len())
                }
                // Each of their lists ends in a comma that the zone-file form (RFC 9460, section 2.1) has not.
                RData::HTTPS(_) | RData::SVCB(_) => {
                    let text = record.data.to_string();
                    text.split(' ').map(|word| word.trim_end_matches(',')).collect::<Vec<_>>().join(" ")
                }
                other => other.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::rdata::{CNAME, NS, SOA};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    fn alias(from: &str, to: &str) -> Record {
        Record::from_rdata(name(from), 60, RData::CNAME(CNAME(name(to))))
    }

    fn asked(answers: Vec<Record>, authorities: Vec<Record>, change: impl FnOnce(&mut Message)) -> Asked {
        let mut message = Message::query();
        (message.answers, message.authorities) = (answers, authorities);
        change(&mut message);
        let result = Ok(message);
        let exchange =
            Exchange { elapsed: Default::default(), tries: 1, truncated: false, without_edns: false, result };
        Asked::from_exchange(&name("a.lab."), RecordType::A, false, exchange)
    }

    #[test]
    fn aliases_lead_to_another_name() {
        let chain = vec![alias("A.lab.", "b.lab."), alias("b.lab.", "gone.lab.")];
        let missing = asked(chain, vec![], |m| m.metadata.response_code = ResponseCode::NXDomain);
        assert_eq!((missing.code, missing.alias_of.as_deref()), (Some("dns.nxdomain"), Some("gone.lab.")));
        let circle = vec![alias("a.lab.", "b.lab."), alias("b.lab.", "a.lab.")];
        assert_eq!(asked(circle, vec![], |_| {}).alias_of.as_deref(), Some("a.lab."));
        assert_eq!(asked(vec![], vec![], |_| {}).alias_of, None);
    }

    #[test]
    fn only_a_server_that_knows_says_that_there_is_no_data() {
        let ns = || Record::from_rdata(name("lab."), 60, RData::NS(NS(name("ns.lab."))));
        let soa = || {
            let soa = SOA::new(name("ns.lab."), name("root.lab."), 1, 1, 1, 1, 1);
            Record::from_rdata(name("lab."), 60, RData::SOA(soa))
        };
        assert_eq!(asked(vec![], vec![soa()], |_| {}).code, Some("dns.nodata"));
        assert_eq!(asked(vec![], vec![], |m| m.metadata.authoritative = true).code, Some("dns.nodata"));
        assert_eq!(asked(vec![], vec![ns()], |m| m.metadata.recursion_available = true).code, Some("dns.nodata"));
        let refers = asked(vec![], vec![ns()], |_| {});
        assert_eq!(refers.code, Some("dns.refused"));
        assert!(refers.error.expect("words").starts_with("it only refers to other servers"));
        let half = asked(vec![alias("a.lab.", "b.other.")], vec![], |m| m.metadata.authoritative = true);
        assert_eq!((half.code, half.alias_of.as_deref()), (Some("dns.refused"), Some("b.other.")));
    }
}
