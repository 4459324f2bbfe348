//! DNS messages, as far as they were carried and can be read.
//!
//! Owns: the way from bytes to a [`DnsMessage`]. Must not know: who sent them. A malformed message is data: what was read
//! before stands, and `malformed` says why no more was.

use crate::event::{Authority, DnsMessage, DnsQuestion};
use hickory_proto::{
    op::{Header, MessageType, Query},
    rr::{Name, RData, Record, RecordType},
    serialize::binary::{BinDecodable, BinDecoder, DecodeError},
};
use std::collections::HashMap;

/// Reads a message of `length` bytes of which `carried` are there.
pub(super) fn message(carried: &[u8], length: u16) -> DnsMessage {
    let mut message = DnsMessage {
        id: 0,
        answer: false,
        truncated: false,
        rcode: 0,
        question: None,
        answers: 0,
        addresses: Vec::new(),
        aliases: Vec::new(),
        authority: None,
        length,
        malformed: None,
    };
    let mut aliases = HashMap::new();
    let whole = carried.len() >= usize::from(length);
    if let Err(error) = read(carried, &mut message, &mut aliases) {
        // The end of what was carried is no fault of the message.
        message.malformed = whole.then(|| error.to_string());
    }
    message.aliases = chain(message.question.as_ref(), aliases);
    message
}

/// What a name is an alias of, in order, as far as these aliases lead.
fn chain(question: Option<&DnsQuestion>, mut aliases: HashMap<String, String>) -> Vec<String> {
    // Each leads on once: in a circle the last one leads to a name that has been there.
    let mut target = question.and_then(|q| aliases.remove(&q.name));
    let mut chain = Vec::new();
    while let Some(name) = target {
        target = aliases.remove(&name);
        chain.push(name);
    }
    chain
}

/// `aliases`: where the owner of each CNAME record of the answer leads.
fn read(bytes: &[u8], message: &mut DnsMessage, aliases: &mut HashMap<String, String>) -> Result<(), DecodeError> {
    let mut decoder = BinDecoder::new(bytes);
    let header = Header::read(&mut decoder)?;
    message.id = header.metadata.id;
    message.answer = header.metadata.message_type == MessageType::Response;
    message.truncated = header.metadata.truncation;
    message.rcode = header.metadata.response_code.into();
    message.answers = header.counts.answers;
    for _ in 0..header.counts.queries {
        let query = Query::read(&mut decoder)?;
        if message.question.is_none() {
            message.question = Some(DnsQuestion { name: presented(query.name()), kind: query.query_type().into() });
        }
    }
    for _ in 0..header.counts.answers {
        let record = Record::<RData>::read(&mut decoder)?;
        match record.data {
            RData::A(address) => message.addresses.push(address.0.into()),
            RData::AAAA(address) => message.addresses.push(address.0.into()),
            RData::CNAME(target) => _ = aliases.insert(presented(&record.name), presented(&target.0)),
            _ => {}
        }
    }
    let mut authority = Authority {
        authoritative: header.metadata.authoritative,
        recursion: header.metadata.recursion_available,
        ..Authority::default()
    };
    for _ in 0..header.counts.authorities {
        match Record::<RData>::read(&mut decoder)?.record_type() {
            RecordType::SOA => authority.soa = true,
            RecordType::NS => authority.servers = true,
            _ => {}
        }
    }
    message.authority = message.answer.then_some(authority);
    for _ in 0..header.counts.additionals {
        // The upper bits of an extended code stand in the OPT record's TTL (RFC 6891 §6.1.3).
        let record = Record::<RData>::read(&mut decoder)?;
        if record.record_type() == RecordType::OPT {
            message.rcode |= u16::try_from(record.ttl >> 24).unwrap_or_default() << 4;
        }
    }
    Ok(())
}

/// A name in presentation form (RFC 1035 §5.1), lower case, without the last dot; the root is ".".
fn presented(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(relative) => relative.to_owned(),
    }
}
