//! Pseudonyms within text and within firewall expressions. Owns: how addresses and comments are found there.
//! Must not know: what pseudonyms look like.

use super::Redactor;
use serde_json::Value;
use std::net::IpAddr;

/// Words before a quoted string that somebody wrote freely (nft(8)).
const FREE: [&str; 2] = ["comment", "prefix"];

impl Redactor {
    /// Text with the addresses, prefixes, link-layer addresses and free comments in it replaced.
    pub(super) fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut last_word = "";
        while !rest.is_empty() {
            if let Some(quoted) = rest.strip_prefix('"') {
                let end = quoted.find('"').unwrap_or(quoted.len());
                let free = FREE.contains(&last_word);
                out += &format!("\"{}\"", if free { self.hidden(&quoted[..end]) } else { quoted[..end].to_owned() });
                rest = quoted.get(end + 1..).unwrap_or_default();
                continue;
            }
            let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '/' | '_' | '-' | '%');
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if end == 0 {
                let next = rest.chars().next().map_or(1, char::len_utf8);
                out += &rest[..next];
                rest = &rest[next..];
            } else {
                last_word = &rest[..end];
                out += &self.token(last_word);
                rest = &rest[end..];
            }
        }
        out
    }

    /// An address, a prefix, a range, an address and port, or whatever else: then it stays.
    fn token(&self, token: &str) -> String {
        if let Some(address) = self.parsed(token) {
            return address;
        }
        if let Some((address, bits)) = token.split_once('/')
            && let (Some(address), Ok(bits)) = (self.parsed(address), bits.parse::<u32>())
        {
            return format!("{}/{bits}", network(&address, bits));
        }
        if let Some((first, last)) = token.split_once('-')
            && let (Some(first), Some(last)) = (self.parsed(first), self.parsed(last))
        {
            return format!("{first}-{last}");
        }
        // `10.0.0.1:80`, `10.0.0.1.` at the end of a sentence, `::1%eth0`.
        for separator in [':', '%', '.'] {
            if let Some((address, after)) = token.rsplit_once(separator)
                && let Some(address) = self.parsed(address)
            {
                return format!("{address}{separator}{after}");
            }
        }
        if is_link_layer(token) {
            let hash = self.hash(&("link-layer", token)).to_be_bytes();
            // Locally administered, not a group (IEEE 802).
            return format!("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", hash[0], hash[1], hash[2], hash[3], hash[4]);
        }
        token.to_owned()
    }

    fn parsed(&self, text: &str) -> Option<String> {
        let mut address: IpAddr = text.parse().ok()?;
        self.address(&mut address);
        Some(address.to_string())
    }

    fn hidden(&self, text: &str) -> String {
        let mut text = text.to_owned();
        self.word(&mut text);
        text
    }

    /// An expression of `nft -j`: strings that are addresses, prefixes, and what somebody wrote freely.
    pub(super) fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(all) => all.iter_mut().for_each(|value| self.json(value)),
            Value::Object(map) => {
                if let (Some(Value::String(address)), Some(bits)) =
                    (map.get("addr"), map.get("len").and_then(Value::as_u64))
                {
                    let address = self.parsed(address).unwrap_or_else(|| address.clone());
                    let network = network(&address, u32::try_from(bits).unwrap_or(u32::MAX));
                    map.insert("addr".into(), Value::String(network));
                    return;
                }
                for (key, value) in map {
                    match value {
                        Value::String(text) if FREE.contains(&key.as_str()) => *text = self.hidden(text),
                        value => self.json(value),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// The address with the bits after the prefix zero, as a prefix is written.
fn network(address: &str, bits: u32) -> String {
    match address.parse() {
        Ok(IpAddr::V4(v4)) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(bits)).unwrap_or(0);
            std::net::Ipv4Addr::from(u32::from(v4) & mask).to_string()
        }
        Ok(IpAddr::V6(v6)) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(bits)).unwrap_or(0);
            std::net::Ipv6Addr::from(u128::from(v6) & mask).to_string()
        }
        Err(_) => address.to_owned(),
    }
}

fn is_link_layer(token: &str) -> bool {
    let parts: Vec<&str> = token.split(':').collect();
    parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}
