//! What is near a port that nobody listens on. Owns: what counts as near. Must not know: how sockets are listed. Pure.

use super::Listening;
use crate::inspect::who;
use std::{collections::BTreeSet, net::SocketAddr};

/// At most so many sentences of each kind.
const MOST: usize = 5;
/// Ports at most this far away are near.
const DISTANCE: u16 = 10;

/// In sentences, the likeliest first.
#[must_use]
pub fn find(port: u16, everything: &[Listening]) -> Vec<String> {
    let mut said = BTreeSet::new();
    let mut sentences = Vec::new();
    type Near = fn(u16, u16) -> bool;
    let kinds: [(&str, Near); 3] = [
        ("the same port", |a, b| a == b),
        ("nearly the same digits", alike),
        ("a port close by", |a, b| a.abs_diff(b) <= DISTANCE),
    ];
    for (why, near) in kinds {
        let mut count = 0;
        for row in everything {
            let (Some(address), Some(other)) = (row.addr, row.port) else { continue };
            let sentence = format!(
                "{} waits on {} {} in {}",
                who::label(&row.owners, row.uid, row.user.as_deref()),
                row.protocol,
                SocketAddr::new(address, other),
                row.place.label()
            );
            if near(port, other) && said.insert(sentence.clone()) && count < MOST {
                count += 1;
                sentences.push(format!("{why}: {sentence}"));
            }
        }
    }
    sentences
}

/// Two neighbouring digits swapped, or a digit more, less or different.
fn alike(a: u16, b: u16) -> bool {
    if a == b {
        return false;
    }
    let (a, b) = (a.to_string(), b.to_string());
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() == b.len() {
        let different: Vec<usize> = (0..a.len()).filter(|&i| a[i] != b[i]).collect();
        return match different[..] {
            // A single digit says little for short ports: 22 and 25 are two services.
            [_] => a.len() >= 4,
            [i, j] => j == i + 1 && a[i] == b[j] && a[j] == b[i],
            _ => false,
        };
    }
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long.len() == short.len() + 1
        && short.len() >= 3
        && (0..long.len()).any(|skip| long[..skip] == short[..skip] && long[skip + 1..] == short[skip..])
}

#[cfg(test)]
mod tests {
    use super::alike;

    #[test]
    fn digits_that_are_easily_mistaken() {
        for (a, b) in [(5432, 5423), (8080, 8081), (8080, 808), (5432, 54320), (443, 4443), (80, 8)] {
            assert_eq!(alike(a, b), !(a == 80 && b == 8), "{a} {b}");
            assert_eq!(alike(a, b), alike(b, a));
        }
        for (a, b) in [(22, 25), (80, 443), (5432, 3306), (5432, 5432), (8080, 9090)] {
            assert!(!alike(a, b), "{a} {b}");
        }
    }
}
