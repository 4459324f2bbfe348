//! Connections as text. Owns: the table and its words. Must not know: how they were found. Pure.

use super::{Conn, Counters, Summary};
use crate::{
    inspect::{dns::text::elapsed, sheet::Sheet, table::Table, who},
    report::Direction,
};
use std::{fmt::Write as _, net::SocketAddr};

/// Rows that are laid out together: a long list is written as it comes, not kept.
pub const BATCH: usize = 1000;
/// Remotes shown in a summary.
const MOST: usize = 20;

/// Some rows: with headings where a line is wide enough for each, else two lines for each.
#[must_use]
pub fn rows(conns: &[Conn], width: Option<usize>) -> String {
    table(conns).within(width).unwrap_or_else(|| stacked(conns, width))
}

fn table(conns: &[Conn]) -> Table {
    let several = conns.iter().any(|c| !c.place.own);
    let mut header = vec!["PROTO", "STATE", "LOCAL", "", "REMOTE", "OWNER", "QUEUES", "RTT", "RETR", "AGE"];
    if several {
        header.push("NAMESPACE");
    }
    let mut table = Table::new(&header);
    for conn in conns {
        let mut cells = vec![
            conn.protocol.to_owned(),
            conn.state.to_owned(),
            local(conn),
            arrow(conn).to_owned(),
            remote(conn),
            owner(conn),
            queues(conn),
            number(conn.tcp.as_ref().and_then(|t| t.rtt_us), |us| elapsed(u64::from(us) * 1000)),
            number(conn.tcp.as_ref(), retransmits),
            number(conn.tcp.as_ref().and_then(|t| t.age_at_least_ms), |ms| format!("> {}", age(ms))),
        ];
        if several {
            cells.push(if conn.place.own {
                "-".into()
            } else {
                conn.place.name.clone().unwrap_or_else(|| conn.place.netns.to_string())
            });
        }
        table.row(cells);
    }
    table
}

/// The ends on one line, what else there is to say under it.
fn stacked(conns: &[Conn], width: Option<usize>) -> String {
    let mut sheet = Sheet::new(width);
    for conn in conns {
        sheet.title(format!("{} {} {} {} {}", conn.protocol, conn.state, local(conn), arrow(conn), remote(conn)));
        let mut more = vec![owner(conn)];
        if conn.receive_queue != 0 || conn.send_queue != 0 {
            more.push(queues(conn));
        }
        if let Some(counters) = &conn.tcp {
            more.extend(counters.rtt_us.map(|us| format!("rtt {}", elapsed(u64::from(us) * 1000))));
            if counters.total_retransmits > 0 || counters.retransmits > 0 {
                more.push(format!("retransmitted {}", retransmits(counters)));
            }
            more.extend(counters.age_at_least_ms.map(|ms| format!("older than {}", age(ms))));
        }
        more.extend(conn.timer.clone());
        if !conn.place.own {
            more.push(conn.place.label());
        }
        sheet.row("", more.join(", "));
    }
    sheet.finish()
}

fn local(conn: &Conn) -> String {
    SocketAddr::new(conn.local.addr, conn.local.port).to_string()
}

fn remote(conn: &Conn) -> String {
    SocketAddr::new(conn.remote.addr, conn.remote.port).to_string()
}

fn arrow(conn: &Conn) -> &'static str {
    match conn.direction {
        Direction::Outbound => "->",
        Direction::Inbound => "<-",
    }
}

fn owner(conn: &Conn) -> String {
    match conn.uid {
        Some(uid) => who::label(&conn.owners, uid, conn.user.as_deref()),
        None => "no process".into(),
    }
}

fn queues(conn: &Conn) -> String {
    match (conn.receive_queue, conn.send_queue) {
        (0, 0) => "-".into(),
        (receive, 0) => format!("{receive} unread"),
        (0, send) => format!("{send} unacked"),
        (receive, send) => format!("{receive} unread {send} unacked"),
    }
}

fn retransmits(counters: &Counters) -> String {
    match (counters.retransmits, counters.total_retransmits) {
        (0, 0) => "-".into(),
        (0, total) => total.to_string(),
        (now, total) => format!("{total} ({now} now)"),
    }
}

fn number<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".into(), show)
}

/// Milliseconds in the unit that reads best.
fn age(milliseconds: u32) -> String {
    match milliseconds / 1000 {
        0 => format!("{milliseconds} ms"),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// The summary.
#[must_use]
pub fn summary(summary: &Summary) -> String {
    let total: u64 = summary.states.values().sum();
    let places = summary.places.len();
    let mut text = String::new();
    // Writing to a String can't fail.
    _ = writeln!(
        text,
        "{total} connections{}",
        if places > 1 { format!(" in {places} namespaces") } else { String::new() }
    );
    if total == 0 {
        return text;
    }
    let mut states = Table::new(&["COUNT", "PROTO", "STATE"]);
    let mut by_count: Vec<_> = summary.states.iter().collect();
    by_count.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    for ((protocol, state), count) in by_count {
        states.row(vec![count.to_string(), (*protocol).to_owned(), (*state).to_owned()]);
    }
    let mut remotes = Table::new(&["COUNT", "REMOTE"]);
    let mut by_count: Vec<_> = summary.remotes.iter().collect();
    by_count.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    for (remote, count) in by_count.iter().take(MOST) {
        remotes.row(vec![count.to_string(), remote.to_string()]);
    }
    _ = write!(text, "\n{}\n{}", states.finish(), remotes.finish());
    if by_count.len() > MOST {
        _ = writeln!(text, "and {} more remotes (--format json has them all)", by_count.len() - MOST);
    }
    text
}
