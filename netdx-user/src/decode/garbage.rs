//! Nonsense on port 53: whatever stands in a message, it is read or said to be unreadable, and it steers no terminal.

use super::dns::message;
use crate::render::escape::escape;
use proptest::prelude::*;

/// A name on the wire, or what pretends to be one.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let label = prop_oneof![
        "[a-z0-9-]{1,20}".prop_map(String::into_bytes),
        // Escape sequences, line ends, zeroes, dots; right-to-left overrides and isolates.
        prop::collection::vec(prop_oneof![Just(0x1b), Just(b'['), Just(b'\n'), Just(0), Just(b'.'), Just(b'\\')], 1..9),
        "[\u{202a}-\u{202e}\u{2066}-\u{2069}\u{7f}-\u{9f}]{1,5}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 1..63),
    ]
    .prop_map(|bytes| {
        let mut label = vec![u8::try_from(bytes.len().min(63)).unwrap_or(63)];
        label.extend(bytes.iter().take(63));
        label
    });
    let end = prop_oneof![
        4 => Just(vec![0]),
        // A pointer: to itself, forward, back, anywhere.
        1 => any::<[u8; 2]>().prop_map(|[a, b]| vec![a | 0xc0, b]),
        1 => Just(vec![0xc0, 12]),
        // A label of a kind that there isn't, and one that is cut.
        1 => Just(vec![0x80]),
        1 => Just(vec![0x3f, b'x']),
        1 => Just(vec![]),
    ];
    (prop::collection::vec(label, 0..6), end).prop_map(|(labels, end)| [labels.concat(), end].concat())
}

/// A message with a header that lies as it likes, and records that do.
fn nonsense() -> impl Strategy<Value = Vec<u8>> {
    let count = prop_oneof![0_u16..3, any::<u16>(), Just(u16::MAX)];
    let record = (
        name(),
        any::<[u8; 8]>(),
        any::<u16>(),
        prop::collection::vec(any::<u8>(), 0..40),
        prop::sample::select(vec![1_u16, 5, 16, 28, 41, 65]),
    )
        .prop_map(|(name, fixed, length, data, kind)| {
            let length = if fixed[0] & 1 == 0 { u16::try_from(data.len()).unwrap_or(length) } else { length };
            [name, kind.to_be_bytes().to_vec(), fixed[2..].to_vec(), length.to_be_bytes().to_vec(), data].concat()
        });
    let head = (any::<[u8; 4]>(), prop::array::uniform4(count));
    (head, name(), any::<[u8; 4]>(), prop::collection::vec(record, 0..5)).prop_map(
        |((head, counts), name, question, records)| {
            let counts: Vec<u8> = counts.iter().flat_map(|n| n.to_be_bytes()).collect();
            [head.to_vec(), counts, name, question.to_vec(), records.concat()].concat()
        },
    )
}

fn is_text(text: &str) -> bool {
    !escape(text).contains(|c: char| {
        c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
    })
}

proptest! {
    #[test]
    fn nonsense_is_read_as_far_as_it_goes(bytes in nonsense(), cut: prop::sample::Index, length: u16) {
        for (carried, length) in [
            (bytes.as_slice(), u16::try_from(bytes.len()).unwrap_or(u16::MAX)),
            (&bytes[..cut.index(bytes.len())], u16::try_from(bytes.len()).unwrap_or(u16::MAX)),
            (bytes.as_slice(), length),
        ] {
            let message = message(carried, length);
            prop_assert!(message.addresses.len() <= carried.len());
            if let Some(question) = &message.question {
                prop_assert!(!question.name.is_empty());
                prop_assert!(is_text(&question.name), "{:?}", question.name);
            }
            if let Some(why) = &message.malformed {
                prop_assert!(!why.is_empty() && is_text(why), "{why:?}");
            }
        }
    }

    #[test]
    fn what_ends_too_soon_is_said_to(bytes in nonsense(), cut: prop::sample::Index) {
        // All counted records are there, or the message says why not.
        let carried = &bytes[..cut.index(12)];
        let message = message(carried, u16::try_from(carried.len()).unwrap_or(u16::MAX));
        prop_assert!(message.malformed.is_some());
    }
}
