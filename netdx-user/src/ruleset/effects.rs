//! What a rule does to a packet besides deciding. Owns: which statements do what, in nft's JSON. Must not know: chains, packets.

use serde_json::Value;

/// Whether a statement changes the packet's mark: what it says, or may be told to (`SET --map-mark`, `socket --restore-skmark`).
pub(super) fn sets_mark(expression: &Value) -> bool {
    expression["mangle"]["key"]["meta"]["key"] == "mark"
        || is_target(expression, &["MARK", "CONNMARK", "HMARK", "SET", "TPROXY"])
        || expression["xt"]["name"] == "socket"
        || says(expression, &["mark set"])
}

/// Whether a statement writes another address or port into the packet, as it is (stateless translation).
pub(super) fn rewrites(expression: &Value) -> bool {
    const FIELDS: [&str; 4] = ["saddr", "daddr", "sport", "dport"];
    let payload = &expression["mangle"]["key"]["payload"];
    let is_link = ["ether", "arp"].iter().any(|protocol| payload["protocol"] == *protocol);
    // By offset it may be any field.
    let is_field = |name: &Value| name.as_str().is_none_or(|name| FIELDS.contains(&name));
    payload.is_object() && !is_link && is_field(&payload["field"])
        || is_target(expression, &["SNPT", "DNPT"])
        || says(expression, &FIELDS.map(|field| format!("{field} set")))
}

/// Whether it is one of these targets of iptables, or one without a name.
fn is_target(expression: &Value, names: &[&str]) -> bool {
    let Some(xt) = expression.get("xt") else { return false };
    let name = xt["name"].as_str();
    xt["type"] != "match" && name.is_none_or(|name| names.iter().any(|n| name.eq_ignore_ascii_case(n)))
}

/// Whether what nft writes as text (a chain without a name) has one of these words.
fn says(expression: &Value, words: &[impl AsRef<str>]) -> bool {
    expression.as_str().is_some_and(|text| words.iter().any(|word| text.contains(word.as_ref())))
}

/// Whether a statement can keep the packet from connection tracking.
pub(super) fn untracks(expression: &Value) -> bool {
    expression.get("notrack").is_some() || is_target(expression, &["CT", "NOTRACK"]) || says(expression, &["notrack"])
}

/// Whether a statement sends a copy of the packet elsewhere.
pub(super) fn copies(expression: &Value) -> bool {
    expression.get("dup").is_some() || is_target(expression, &["TEE"]) || says(expression, &["dup to"])
}

/// Whether a statement translates addresses or ports.
pub(super) fn translates(expression: &Value) -> bool {
    const STATEMENTS: [&str; 5] = ["dnat", "snat", "masquerade", "netmap", "redirect"];
    STATEMENTS.iter().any(|s| expression.get(s).is_some())
        || is_target(expression, &STATEMENTS)
        || says(expression, &STATEMENTS)
}
