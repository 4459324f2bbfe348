//! Rules of namespaces, kept while it is known that they are still the same: to list tens of thousands takes nft a second.
//!
//! Owns: how that is known. Must not know: rules, and how they are listed.

use super::{
    Error, firewall, legacy,
    netlink::{self, Body},
};
use crate::fact::Ruleset;
use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::net::{AddressFamily, SocketType, socket};
use std::{
    ops::ControlFlow,
    os::fd::AsRawFd,
    sync::Arc,
    time::{Duration, Instant},
};

/// For how long. The name of an interface, which rules are listed with, can change without them.
const KEPT: Duration = Duration::from_secs(10);
/// Of how many namespaces.
const LIMIT: usize = 16;

/// What rules a namespace has: another number for each change of them, and for each namespace there ever was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edition {
    /// SO_NETNS_COOKIE
    namespace: u64,
    /// [`generation`]
    generation: u32,
}

/// Rules that were listed lately.
#[derive(Debug, Default)]
pub(super) struct Rulesets(Vec<(Edition, Instant, Arc<Ruleset>)>);

impl Rulesets {
    /// The rules of the calling thread's namespace.
    ///
    /// # Errors
    /// Those of [`firewall::read`].
    pub(super) fn read(&mut self) -> Result<Arc<Ruleset>, Error> {
        self.0.retain(|(_, listed, _)| listed.elapsed() < KEPT);
        let edition = Edition::now();
        if let Some((.., rules)) = self.0.iter().find(|(known, ..)| Some(*known) == edition) {
            return Ok(Arc::clone(rules));
        }
        let listed = Instant::now();
        let mut rules = firewall::read()?;
        rules.generation = generation();
        let rules = Arc::new(rules);
        // They may have changed while they were listed.
        if let Some(edition) = edition.filter(|edition| Edition::now() == Some(*edition)) {
            if self.0.len() >= LIMIT {
                self.0.remove(0);
            }
            self.0.push((edition, listed, Arc::clone(&rules)));
        }
        Ok(rules)
    }
}

impl Edition {
    /// That of the calling thread's namespace; none: it can't be known, for the namespace has no cookie (before 5.14), or what
    /// [`generation`] says.
    fn now() -> Option<Edition> {
        Some(Edition { namespace: cookie()?, generation: generation()? })
    }
}

/// What identifies a network namespace for as long as the kernel runs (include/uapi/asm-generic/socket.h, 5.14).
pub(super) fn cookie() -> Option<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None).ok()?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: it writes no more than `length` bytes, which are there.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    (result == 0 && length as usize == size_of::<u64>()).then_some(cookie)
}

/// A number that is another one whenever rules of the calling thread's namespace have changed: how often those of nftables
/// have, and where the old iptables has tables, one for what is in them, too. None: nftables is not there, nor are such
/// tables, or they can't be read.
pub(super) fn generation() -> Option<u32> {
    match (changes(), legacy::fingerprint().ok()?) {
        (changes, None) => changes,
        (changes, Some(old)) => Some(old ^ changes.unwrap_or(0)),
    }
}

/// How often the rules of nftables have changed (include/uapi/linux/netfilter/nf_tables.h).
fn changes() -> Option<u32> {
    /// `NFNL_SUBSYS_NFTABLES`, NFT_MSG_GETGEN.
    const GET: u16 = 10 << 8 | 16;
    const NFTA_GEN_ID: u16 = 1;
    /// `struct nfgenmsg`, of no family.
    const HEADER: usize = 4;
    let mut found = None;
    let answer = |_: u16, payload: &[u8]| {
        let id = netlink::attributes(payload, HEADER).find(|attribute| attribute.kind() == NFTA_GEN_ID);
        found = id.and_then(|id| id.value().try_into().ok()).map(u32::from_be_bytes);
        ControlFlow::Break(())
    };
    netlink::request(NETLINK_NETFILTER, GET, 0, &Body(vec![0; HEADER]), answer).ok()?;
    found
}
