//! Routes as text. Owns: the words of a path and the listing. Must not know: how they were found. Pure.

use super::{Path, Row, Tables};
use crate::{
    inspect::{
        phrase::{Phrase, View},
        sheet::Sheet,
    },
    render::ink::{BAD, BOLD, CODE, GOOD, PLAIN, WARN},
};

/// The way of a packet, step by step.
#[must_use]
pub fn path(path: &Path, name: Option<&str>, view: View) -> String {
    let mut sheet = Sheet::new(view);
    let to = match name {
        Some(name) => format!("{name} ({})", path.to),
        None => path.to.to_string(),
    };
    let verdict = match &path.fails {
        Some(failing) if failing.step == "neighbor" => Phrase::of(WARN, "may not get there"),
        Some(_) => Phrase::of(BAD, "would not get there"),
        None => Phrase::of(BOLD, "would go this way"),
    };
    let mut title = Phrase::of(BOLD, format!("a packet to {to} "));
    title.join(verdict);
    sheet.line(title);
    for (index, step) in path.steps.iter().enumerate() {
        let said = format!("{} => {}", step.rule, step.outcome);
        let said = if step.decided { Phrase::of(BOLD, said).and(PLAIN, ", and this decides") } else { said.into() };
        sheet.row(if index == 0 { "rules" } else { "" }, said);
    }
    let route = &path.route;
    if route.errno == 0 {
        // A lookup that no entry of a table answers has neither.
        let prefix = route.prefix.as_ref().map(|prefix| format!(" {prefix} (table {})", route.table));
        sheet.row("route", format!("{}{}", route.kind, prefix.unwrap_or_default()));
        sheet.row("kernel", &route.text);
        if path.ways > 1 {
            sheet.row(
                "",
                format!("one of {} ways: a hash of the packet says which, so that others go elsewhere", path.ways),
            );
        }
        if let Some(source) = route.source {
            sheet.row("source", source.to_string());
        }
        match (path.next_hop, route.gateway) {
            (Some(_), Some(gateway)) => sheet.row("gateway", gateway.to_string()),
            (Some(_), None) => sheet.row("gateway", "none: the target is on the link itself"),
            (None, _) if route.encap.is_some() => {
                let kind = route.encap.as_deref().unwrap_or_default();
                sheet.row("gateway", format!("not known: what the packet is put into ({kind}) has a way of its own"));
            }
            (None, _) if route.kind == "local" => sheet.row("gateway", "none: the target is this host"),
            (None, _) => {}
        }
    }
    if let Some(interface) = &path.interface {
        let (style, state) = match (interface.up, interface.carrier) {
            (false, _) => (BAD, "DOWN"),
            (true, false) => (BAD, "up, NO CARRIER"),
            (true, true) => (GOOD, "up"),
        };
        let kind = if interface.kind.is_empty() { String::new() } else { format!(", {}", interface.kind) };
        sheet.row("interface", Phrase::from(format!("{} ", interface.name)).and(style, state).and(PLAIN, kind));
    }
    if let Some(hop) = path.next_hop {
        let said = match &path.neighbor {
            Some(n) => Phrase::from(format!("{hop} {} ", n.lladdr.as_deref().unwrap_or("no link address")))
                .and(neighbor(&n.state), &n.state),
            None => format!("{hop} not asked for yet").into(),
        };
        sheet.row("neighbour", said);
    }
    if let Some(mtu) = path.mtu {
        sheet.row("mtu", format!("{mtu} bytes"));
    }
    if let Some(failing) = &path.fails {
        let errno = format!("{} gets {}", failing.call, failing.errno.as_deref().unwrap_or("no answer"));
        let said = Phrase::of(BAD, &failing.text).and(PLAIN, format!(": {errno} (")).and(CODE, failing.code);
        sheet.row(Phrase::of(BAD, "FAILS"), said.and(PLAIN, ")"));
        for advice in &failing.advice {
            sheet.row("do", advice);
        }
    }
    sheet.finish()
}

fn neighbor(state: &str) -> anstyle::Style {
    match state {
        "reachable" | "permanent" => GOOD,
        "failed" => BAD,
        "incomplete" | "probe" => WARN,
        _ => PLAIN,
    }
}

/// The tables; the local table only with `all`.
#[must_use]
pub fn tables(tables: &Tables, all: bool, view: View) -> String {
    let mut sheet = Sheet::new(view);
    for wanted in [4, 6] {
        let label = |what: &str| format!("IPv{wanted} {what}");
        let mut before = String::new();
        let mut row = |label: String, text: Phrase| {
            sheet.row(if label == before { "" } else { &label }, text);
            before = label;
        };
        for entry in &tables.rows {
            if let Row::Rule { family, text, .. } = entry
                && *family == wanted
            {
                row(label("rules"), text.into());
            }
        }
        for entry in &tables.rows {
            if let Row::Route { family, table, text, dead, .. } = entry
                && *family == wanted
                && (all || table != "local")
            {
                let dead = if *dead { "  (can't be used now)" } else { "" };
                row(label(&format!("table {table}")), Phrase::from(text).and(BAD, dead));
            }
        }
        for entry in &tables.rows {
            if let Row::Neighbor { addr, device, lladdr, state, .. } = entry
                && addr.is_ipv4() == (wanted == 4)
                && (all || state != "noarp")
            {
                let lladdr = lladdr.as_deref().unwrap_or("no link address");
                let said = Phrase::from(format!("{addr} dev {device} {lladdr} "));
                row(label("neighbours"), said.and(neighbor(state), state));
            }
        }
    }
    sheet.finish()
}
