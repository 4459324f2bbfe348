//! Connections as text. Owns: the table and its words. Must not know: how they were found. Pure.

use super::{Conn, Counters, Summary};
use crate::{
    inspect::{
        phrase::{Phrase, View},
        sheet::Sheet,
        table::Table,
        who,
    },
    quantity::{count, duration},
    render::ink::{BAD, BOLD, DIM, GOOD, PLAIN, WARN},
    report::Direction,
};
use anstyle::Style;
use std::net::SocketAddr;

/// Rows that are laid out together: a long list is written as it comes, not kept.
pub const BATCH: usize = 1000;
/// Remotes shown in a summary.
const MOST: usize = 20;

/// Some rows: with headings where a line is wide enough for each, else two lines for each.
#[must_use]
pub fn rows(conns: &[Conn], view: View) -> String {
    table(conns).within(view).unwrap_or_else(|| stacked(conns, view))
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
            Phrase::from(conn.protocol),
            Phrase::of(tone(conn), conn.state),
            local(conn).into(),
            Phrase::of(DIM, arrow(conn)),
            Phrase::of(BOLD, remote(conn)),
            owner(conn).into(),
            queues(conn).into(),
            number(conn.tcp.as_ref().and_then(|t| t.rtt_us), |us| duration(u64::from(us) * 1000).into()),
            number(conn.tcp.as_ref(), retransmits),
            number(conn.tcp.as_ref().and_then(|t| t.age_at_least_ms), |ms| format!("> {}", age(ms)).into()),
        ];
        if several {
            cells.push(conn.place.short().into());
        }
        table.row(cells);
    }
    table
}

/// The ends on one line, what else there is to say under it.
fn stacked(conns: &[Conn], view: View) -> String {
    let mut sheet = Sheet::new(view);
    for conn in conns {
        sheet.line(
            Phrase::from(format!("{} ", conn.protocol))
                .and(tone(conn), conn.state)
                .and(PLAIN, format!(" {} {} ", local(conn), arrow(conn)))
                .and(BOLD, remote(conn)),
        );
        let mut more = Phrase::from(owner(conn));
        let mut also = |text: Phrase| {
            more.add(PLAIN, ", ");
            more.join(text);
        };
        if conn.receive_queue != 0 || conn.send_queue != 0 {
            also(queues(conn).into());
        }
        if let Some(counters) = &conn.tcp {
            if let Some(us) = counters.rtt_us {
                also(format!("rtt {}", duration(u64::from(us) * 1000)).into());
            }
            if counters.total_retransmits > 0 || counters.retransmits > 0 {
                let mut text = Phrase::from("retransmitted ");
                text.join(retransmits(counters));
                also(text);
            }
            if let Some(ms) = counters.age_at_least_ms {
                also(format!("older than {}", age(ms)).into());
            }
        }
        if let Some(timer) = &conn.timer {
            also(timer.into());
        }
        if !conn.place.own {
            also(conn.place.label().into());
        }
        sheet.row("", more);
    }
    sheet.finish()
}

/// Open and well; on its way to be open, or ended by one side only; or over.
fn tone(conn: &Conn) -> Style {
    match conn.state {
        "established" => GOOD,
        "syn-sent" | "syn-recv" | "close-wait" => WARN,
        _ => DIM,
    }
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
        Some(_) => who::label(&conn.owners, conn.uid, conn.user.as_deref()),
        // A socket of the kernel's alone: the application has not taken it yet, or has let go of it.
        None if conn.state == "established" || conn.state == "close-wait" => "not accepted yet".into(),
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

fn retransmits(counters: &Counters) -> Phrase {
    match (counters.retransmits, counters.total_retransmits) {
        (0, 0) => "-".into(),
        (0, total) => total.to_string().into(),
        (now, total) => Phrase::of(BAD, format!("{total} ({now} now)")),
    }
}

fn number<T>(value: Option<T>, show: impl Fn(T) -> Phrase) -> Phrase {
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
pub fn summary(summary: &Summary, view: View) -> String {
    let total: u64 = summary.states.values().sum();
    let places = summary.places.len();
    let places = if places > 1 { format!(" in {places} namespaces") } else { String::new() };
    let mut sheet = Sheet::new(view);
    sheet.title(format!("{}{places}", count(total, "connection")));
    let mut text = sheet.finish();
    if total == 0 {
        return text;
    }
    let mut states = Table::new(&["COUNT", "PROTO", "STATE"]);
    for ((protocol, state), count) in by_count(&summary.states) {
        states.row(vec![count.to_string().into(), (*protocol).into(), (*state).into()]);
    }
    let mut remotes = Table::new(&["COUNT", "REMOTE"]);
    let most = by_count(&summary.remotes);
    for (remote, count) in most.iter().take(MOST) {
        remotes.row(vec![count.to_string().into(), remote.to_string().into()]);
    }
    text += &format!("\n{}\n{}", states.finish(view), remotes.finish(view));
    if most.len() > MOST {
        text += &format!("and {} more remotes (--format json has them all)\n", most.len() - MOST);
    }
    text
}

/// The most first.
fn by_count<K: Ord>(counts: &std::collections::BTreeMap<K, u64>) -> Vec<(&K, u64)> {
    let mut sorted: Vec<(&K, u64)> = counts.iter().map(|(key, &count)| (key, count)).collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    sorted
}
