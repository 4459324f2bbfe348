//! What is near a port that nobody listens on. Owns: what counts as near. Must not know: how sockets are listed. Pure.

use super::Listening;
use crate::inspect::who;
use std::{collections::BTreeSet, net::SocketAddr};

/// At most so many sentences of each kind.
const MOST: usize = 5;
/// Ports at most this far away are near.
const DISTANCE: u16 = 10;

/// What is known of a port that nobody listens on.
#[derive(Clone, Debug, Default)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// What services(5) calls it, in lower case.
    pub names: BTreeSet<String>,
    /// Processes that have connections on it all the same: they listened there once.
    pub users: BTreeSet<u32>,
}

/// In sentences, the likeliest first.
#[must_use]
pub fn find(port: &Port, everything: &[Listening]) -> Vec<String> {
    let mut said = BTreeSet::new();
    let mut sentences = Vec::new();
    type Near = fn(&Port, u16, &Listening) -> bool;
    let kinds: [(&str, Near); 5] = [
        ("the same port", |port, other, _| port.number == other),
        ("a process that has connections on it", |port, _, row| row.owners.iter().any(|w| port.users.contains(&w.pid))),
        ("the port's service by its name", |port, _, row| row.owners.iter().any(|w| is_service(&w.comm, &port.names))),
        ("nearly the same digits", |port, other, _| alike(port.number, other)),
        ("a port close by", |port, other, _| port.number.abs_diff(other) <= DISTANCE),
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
            if near(port, other, row) && said.insert(sentence.clone()) && count < MOST {
                count += 1;
                sentences.push(format!("{why}: {sentence}"));
            }
        }
    }
    sentences
}

/// Whether a process is called as a service is: `postgres` for postgresql, `redis-server` for redis, `sshd` for ssh.
fn is_service(comm: &str, names: &BTreeSet<String>) -> bool {
    let comm = comm.to_ascii_lowercase();
    let long = |text: &str| text.len() >= 3;
    names.iter().any(|name| long(name) && long(&comm) && (name.starts_with(&comm) || comm.starts_with(name.as_str())))
}

/// The names of a port in services(5), aliases too.
#[must_use]
pub fn names(services: &str, port: u16) -> BTreeSet<String> {
    let of_line = |line: &str| -> Option<Vec<String>> {
        let mut words = line.split('#').next()?.split_whitespace();
        let (name, number) = (words.next()?, words.next()?.split('/').next()?);
        (number.parse() == Ok(port)).then(|| std::iter::once(name).chain(words).map(str::to_ascii_lowercase).collect())
    };
    services.lines().filter_map(of_line).flatten().collect()
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
    use super::*;

    #[test]
    fn a_service_and_the_process_that_gives_it() {
        let services = "# a comment\nssh 22/tcp # SSH\npostgresql 5432/tcp postgres\npostgresql 5432/udp\nbroken\n";
        let names_of = |port| names(services, port).into_iter().collect::<Vec<_>>();
        assert_eq!(
            (names_of(5432), names_of(22), names_of(23)),
            (vec!["postgres".into(), "postgresql".into()], vec!["ssh".into()], vec![])
        );
        for (comm, port, is) in
            [("postgres", 5432, true), ("sshd", 22, true), ("sh", 22, false), ("nginx", 5432, false)]
        {
            assert_eq!(is_service(comm, &names(services, port)), is, "{comm} {port}");
        }
    }

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
