//! DNS messages, as far as they were carried and can be read.
//!
//! Owns: the way from bytes to a [`DnsMessage`]. Must not know: who sent them. A malformed message is data: what was read
//! before stands, and `malformed` says why no more was.

use crate::event::{DnsMessage, DnsQuestion};
use hickory_proto::{
    op::{Header, MessageType, Query},
    rr::{Name, RData, Record, RecordType},
    serialize::binary::{BinDecodable, BinDecoder, DecodeError},
};

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
        length,
        malformed: None,
    };
    let whole = carried.len() >= usize::from(length);
    if let Err(error) = read(carried, &mut message) {
        // The end of what was carried is no fault of the message.
        message.malformed = whole.then(|| error.to_string());
    }
    message
}

fn read(bytes: &[u8], message: &mut DnsMessage) -> Result<(), DecodeError> {
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
        match Record::<RData>::read(&mut decoder)?.data {
            RData::A(address) => message.addresses.push(address.0.into()),
            RData::AAAA(address) => message.addresses.push(address.0.into()),
            _ => {}
        }
    }
    for _ in 0..header.counts.authorities {
        Record::<RData>::read(&mut decoder)?;
    }
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
