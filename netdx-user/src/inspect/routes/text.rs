//! Routes as text. Owns: the words of a path and the listing. Must not know: how they were found. Pure.

use super::{Path, Row, Tables};
use crate::inspect::sheet::Sheet;

/// The way of a packet, step by step.
#[must_use]
pub fn path(path: &Path, name: Option<&str>, width: Option<usize>) -> String {
    let mut sheet = Sheet::new(width);
    let to = match name {
        Some(name) => format!("{name} ({})", path.to),
        None => path.to.to_string(),
    };
    let verdict = if path.fails.is_some() { "can't be reached" } else { "would go this way" };
    sheet.title(format!("a packet to {to} {verdict}"));
    for (index, step) in path.steps.iter().enumerate() {
        let mark = if step.decided { ", and this decides" } else { "" };
        sheet.row(if index == 0 { "rules" } else { "" }, format!("{} => {}{mark}", step.rule, step.outcome));
    }
    let route = &path.route;
    if route.errno == 0 {
        sheet
            .row("route", format!("{} {} (table {})", route.kind, route.prefix.as_deref().unwrap_or("?"), route.table));
        sheet.row("kernel", &route.text);
        if let Some(source) = route.source {
            sheet.row("source", source.to_string());
        }
        match (path.next_hop, route.gateway) {
            (Some(_), Some(gateway)) => sheet.row("gateway", gateway.to_string()),
            (Some(_), None) => sheet.row("gateway", "none: the target is on the link itself"),
            (None, _) if route.kind == "local" => sheet.row("gateway", "none: the target is this host"),
            (None, _) => {}
        }
    }
    if let Some(interface) = &path.interface {
        let state = match (interface.up, interface.carrier) {
            (false, _) => "DOWN",
            (true, false) => "up, NO CARRIER",
            (true, true) => "up",
        };
        let kind = if interface.kind.is_empty() { String::new() } else { format!(", {}", interface.kind) };
        sheet.row("interface", format!("{} {state}{kind}", interface.name));
    }
    if let Some(hop) = path.next_hop {
        let state = match &path.neighbor {
            Some(n) => format!("{hop} {} {}", n.lladdr.as_deref().unwrap_or("no link address"), n.state),
            None => format!("{hop} not asked for yet"),
        };
        sheet.row("neighbour", state);
    }
    if let Some(mtu) = path.mtu {
        sheet.row("mtu", format!("{mtu} bytes"));
    }
    if let Some(failing) = &path.fails {
        let errno = match &failing.errno {
            Some(errno) => format!("connect gets {errno}"),
            None => "connect gets no answer".into(),
        };
        sheet.row("FAILS", format!("{}: {errno} ({})", failing.text, failing.code));
        for advice in &failing.advice {
            sheet.row("do", advice);
        }
    }
    sheet.finish()
}

/// The tables; the local table only with `all`.
#[must_use]
pub fn tables(tables: &Tables, all: bool, width: Option<usize>) -> String {
    let mut sheet = Sheet::new(width);
    for wanted in [4, 6] {
        let label = |what: &str| format!("IPv{wanted} {what}");
        let mut before = String::new();
        let mut row = |label: String, text: &str| {
            sheet.row(if label == before { "" } else { &label }, text);
            before = label;
        };
        for entry in &tables.rows {
            if let Row::Rule { family, text, .. } = entry
                && *family == wanted
            {
                row(label("rules"), text);
            }
        }
        for entry in &tables.rows {
            if let Row::Route { family, table, text, dead, .. } = entry
                && *family == wanted
                && (all || table != "local")
            {
                let dead = if *dead { "  (can't be used now)" } else { "" };
                row(label(&format!("table {table}")), &format!("{text}{dead}"));
            }
        }
        for entry in &tables.rows {
            if let Row::Neighbor { addr, device, lladdr, state, .. } = entry
                && addr.is_ipv4() == (wanted == 4)
                && (all || state != "noarp")
            {
                let lladdr = lladdr.as_deref().unwrap_or("no link address");
                row(label("neighbours"), &format!("{addr} dev {device} {lladdr} {state}"));
            }
        }
    }
    sheet.finish()
}
