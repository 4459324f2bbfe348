//! Listeners as text. Owns: the table and its words. Must not know: how they were found. Pure.

use super::{Listeners, Listening};
use crate::{
    inspect::{
        phrase::{Phrase, View},
        sheet::Sheet,
        table::Table,
        who,
    },
    render::ink::{BAD, BOLD, DIM, PLAIN},
};
use std::net::SocketAddr;

/// The whole answer.
#[must_use]
pub fn write(listeners: &Listeners, port: Option<u16>, view: View) -> String {
    let mut text = match port {
        Some(port) => one_port(listeners, port, view),
        None => table(listeners, view),
    };
    text += &who::unseen(&listeners.unseen, view);
    text
}

/// Sockets that differ in nothing but their inode are one row (SO_REUSEPORT).
struct Group {
    /// The first, with the owners and queues of all.
    row: Listening,
    /// How many there are.
    count: usize,
    /// How many of them have a full queue: each has its own, and a connection comes to one of them whatever the others hold.
    full: usize,
}

fn grouped(rows: &[Listening]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in rows {
        let same = |l: &Listening| {
            (l.protocol, l.addr, l.port, &l.path, l.v6only, &l.device, l.place.netns)
                == (row.protocol, row.addr, row.port, &row.path, row.v6only, &row.device, row.place.netns)
        };
        // Sorted: what is the same stands together.
        let is_full = row.backlog.zip(row.max_backlog).is_some_and(|(backlog, max)| backlog > max);
        match groups.last_mut().filter(|group| same(&group.row)) {
            Some(Group { row: last, count, full }) => {
                *count += 1;
                *full += usize::from(is_full);
                last.backlog = last.backlog.zip(row.backlog).map(|(a, b)| a.saturating_add(b));
                last.max_backlog = last.max_backlog.zip(row.max_backlog).map(|(a, b)| a.saturating_add(b));
                for owner in &row.owners {
                    if !last.owners.contains(owner) {
                        last.owners.push(owner.clone());
                    }
                }
            }
            None => groups.push(Group { row: row.clone(), count: 1, full: usize::from(is_full) }),
        }
    }
    groups
}

fn table(listeners: &Listeners, view: View) -> String {
    let several = listeners.rows.iter().any(|row| !row.place.own);
    let mut header = vec!["PROTO", "ADDRESS", "QUEUE", "OWNER", "REACHED BY"];
    if several {
        header.push("NAMESPACE");
    }
    let mut table = Table::new(&header);
    for group in grouped(&listeners.rows) {
        let row = &group.row;
        let mut cells = vec![
            Phrase::from(row.protocol),
            Phrase::of(BOLD, address(row)),
            queue(&group),
            owner(row),
            row.reach.as_str().into(),
        ];
        if several {
            cells.push(row.place.short().into());
        }
        table.row(cells);
    }
    if listeners.rows.is_empty() {
        return "nothing listens\n".into();
    }
    table.within(view).unwrap_or_else(|| stacked(listeners, view))
}

/// The same with two lines for each, where a line is too long for the terminal.
fn stacked(listeners: &Listeners, view: View) -> String {
    let mut sheet = Sheet::new(view);
    for group in grouped(&listeners.rows) {
        let row = &group.row;
        sheet.line(head(row));
        let mut more = Phrase::from(&row.reach);
        if row.backlog.is_some() || group.count > 1 {
            more.add(PLAIN, ", queue ");
            more.join(queue(&group));
        }
        if !row.place.own {
            more.add(PLAIN, format!(", {}", row.place.label()));
        }
        sheet.row("", more);
    }
    sheet.finish()
}

fn one_port(listeners: &Listeners, port: u16, view: View) -> String {
    let mut sheet = Sheet::new(view);
    if listeners.rows.is_empty() {
        sheet.line(Phrase::of(BAD, format!("nobody listens on port {port}, in any namespace that can be seen")));
    }
    for Group { row, count, full } in grouped(&listeners.rows) {
        let times = if count > 1 { format!(", {count} sockets") } else { String::new() };
        sheet.line(head(&row).and(PLAIN, times));
        sheet.row("reached by", &row.reach);
        if let (Some(backlog), Some(max)) = (row.backlog, row.max_backlog) {
            let full = match (full, count) {
                (0, _) => String::new(),
                (_, 1) => ": FULL, further connections are dropped".to_owned(),
                _ => format!(": {full} of {count} sockets FULL, further connections that come to them are dropped"),
            };
            let said = Phrase::from(format!("{backlog} of {max} connections wait to be accepted"));
            sheet.row("queue", said.and(BAD, full));
        }
        for who in &row.owners {
            // A unit's or container's cgroup says nothing more than its name.
            let cgroup = who.cgroup.clone().filter(|c| c != "/" && who.unit.is_none() && who.container.is_none());
            let parts = [("unit", &who.unit), ("container", &who.container), ("cgroup", &cgroup)];
            let known: Vec<String> =
                parts.iter().filter_map(|(name, value)| value.as_ref().map(|v| format!("{name} {v}"))).collect();
            if !known.is_empty() {
                sheet.row(format!("{}[{}]", who.comm, who.pid), known.join(", "));
            }
        }
        if !row.place.own {
            sheet.row("where", row.place.label());
        }
    }
    if listeners.rows.len() > 1 {
        let holders = grouped(&listeners.rows);
        if holders.len() > 1 {
            sheet.row(
                "together",
                format!("{} hold port {port} side by side: different address, protocol or namespace", holders.len()),
            );
        }
    }
    if !listeners.others.is_empty() {
        let counts: Vec<String> = listeners.others.iter().map(|(state, count)| format!("{count} {state}")).collect();
        sheet.row("sockets", format!("also on local port {port}: {}", counts.join(", ")));
    }
    for (index, sentence) in listeners.near.iter().enumerate() {
        sheet.row(if index == 0 { "near" } else { "" }, sentence);
    }
    sheet.finish()
}

/// Protocol, address and owner.
fn head(row: &Listening) -> Phrase {
    let mut head = Phrase::from(format!("{} ", row.protocol)).and(BOLD, address(row)).and(PLAIN, "  ");
    head.join(owner(row));
    head
}

fn address(row: &Listening) -> String {
    let mut text = match (row.addr, row.port) {
        (Some(address), Some(port)) if address.is_unspecified() && address.is_ipv4() => format!("0.0.0.0:{port}"),
        (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        _ => row.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "(no name)".into()),
    };
    if let Some(device) = &row.device {
        text += &format!("%{device}");
    }
    text
}

fn queue(&Group { ref row, count, full }: &Group) -> Phrase {
    let times = if count > 1 { format!(" x{count}") } else { String::new() };
    match (row.backlog, row.max_backlog) {
        (Some(backlog), Some(max)) if full > 0 && full < count => {
            Phrase::of(BAD, format!("{backlog}/{max}{times}, {full} FULL"))
        }
        (Some(backlog), Some(max)) if full > 0 => Phrase::of(BAD, format!("{backlog}/{max} FULL{times}")),
        (Some(backlog), Some(max)) => format!("{backlog}/{max}{times}").into(),
        _ => format!("-{times}").into(),
    }
}

fn owner(row: &Listening) -> Phrase {
    let mut text = Phrase::from(who::label(&row.owners, row.uid, row.user.as_deref()));
    if let Some(user) = row.user.as_ref().filter(|_| !row.owners.is_empty()) {
        text.add(DIM, format!(" {user}"));
    }
    let containers: Vec<&str> = row.owners.iter().filter_map(|w| w.container.as_deref()).collect();
    if let Some(container) = containers.first() {
        text.add(DIM, format!(" in {}", container.get(..12).unwrap_or(container)));
    } else if let Some(service) = row.owners.iter().filter_map(|w| w.unit.as_deref()).find(|u| u.ends_with(".service"))
    {
        text.add(DIM, format!(" in {service}"));
    }
    text
}
