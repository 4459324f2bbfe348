//! Multipath TCP: the connection that an application sees, and the TCP connections it is made of (RFC 8684 calls them
//! subflows). Owns: whether the story of one is told by the other. Must not know: how a story goes.

use super::Connection;
use crate::{event::Protocol, time::Time};
use std::collections::VecDeque;

/// How many attempts are remembered: an MPTCP connection ends soon after its last subflow.
const LIMIT: usize = 1024;

/// TCP connections that began, by the thread that was at work in the kernel.
#[derive(Debug, Default)]
pub(super) struct Subflows(VecDeque<(u32, Time)>);

impl Subflows {
    /// A connection began.
    pub(super) fn began(&mut self, c: &Connection) {
        if let (Protocol::Tcp, Some(task)) = (c.tuple.protocol, &c.task) {
            if self.0.len() == LIMIT {
                self.0.pop_front();
            }
            self.0.push_back((task.tid, c.began));
        }
    }

    /// Whether an MPTCP connection had a subflow: the call that begins the one begins the other (mptcp_connect, 6.18). How
    /// long either of them takes to end tells nothing: the kernel ends the connection when its worker comes to it.
    pub(super) fn had(&self, c: &Connection) -> bool {
        let end = c.ended.unwrap_or(Time(u64::MAX));
        c.task
            .as_ref()
            .is_some_and(|task| self.0.iter().any(|(tid, began)| *tid == task.tid && (c.began..=end).contains(began)))
    }
}
