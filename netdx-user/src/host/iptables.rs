//! What iptables-save prints, in the form of nft's JSON. Owns: that translation (iptables-extensions(8)). Must not know: where
//! the text comes from.
//!
//! An option that isn't understood becomes an opaque match, never a wrong one.

use crate::fact::{Chain, Rule};
use serde_json::{Value, json};

/// The chains of a listing; family `iptables` or `ip6tables`, a rule's handle is its number in its chain.
#[must_use]
pub fn parse(text: &str, v6: bool) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim().to_string();
        } else if let Some(declared) = line.strip_prefix(':') {
            let mut words = declared.split(' ');
            let (name, policy) = (words.next().unwrap_or_default(), words.next().unwrap_or("-"));
            chains.push(chain(&table, name, policy, v6));
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let words = words(rest);
            let Some((name, options)) = words.split_first() else { continue };
            let expr = translate(options, v6);
            if let Some(chain) = chains.iter_mut().find(|c| c.table == table && c.name == name.text) {
                let handle = chain.rules.len() as u64 + 1;
                chain.rules.push(Rule { text: line.to_string(), handle, expr });
            }
        }
    }
    chains
}

/// Priorities are the kernel's (`include/uapi/linux/netfilter_ipv4.h`, the same for IPv6).
fn chain(table: &str, name: &str, policy: &str, v6: bool) -> Chain {
    let hook = match name {
        "PREROUTING" => Some("prerouting"),
        "INPUT" => Some("input"),
        "FORWARD" => Some("forward"),
        "OUTPUT" => Some("output"),
        "POSTROUTING" => Some("postrouting"),
        _ => None,
    }
    .filter(|_| policy != "-");
    let priority = match (table, hook) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", Some("prerouting" | "output")) => -100,
        ("nat", _) => 100,
        ("security", _) => 50,
        _ => 0,
    };
    Chain {
        family: if v6 { "ip6tables" } else { "iptables" }.to_string(),
        table: table.to_string(),
        name: name.to_string(),
        hook: hook.map(str::to_string),
        priority,
        device: None,
        kind: if table == "nat" { "nat" } else { "filter" }.to_string(),
        policy: hook.map(|_| policy.to_lowercase()),
        rules: Vec::new(),
    }
}

/// A word of a line, and whether it was quoted: then it is no option, whatever it begins with.
#[derive(Clone, Debug, Default)]
struct Word {
    text: String,
    quoted: bool,
}

impl Word {
    fn is_value(&self) -> bool {
        self.quoted || !(self.text.starts_with('-') || self.text == "!")
    }
}

/// Splits a line as iptables-save quotes it: in double quotes, with backslashes before quotes and backslashes.
fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default().quoted = true;
            }
            '\\' if quoted => word.get_or_insert_default().text.extend(characters.next()),
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().text.push(c),
        }
    }
    words.extend(word);
    words
}

fn translate(options: &[Word], v6: bool) -> Vec<Value> {
    let mut expressions = Vec::new();
    let mut module = String::new();
    let mut protocol = String::from("th");
    let mut rest = options;
    let mut negated = false;
    while let Some((option, after)) = rest.split_first() {
        let (values, next) = after.split_at(after.iter().take_while(|w| w.is_value()).count());
        let value = values.first().map(|w| w.text.as_str()).unwrap_or_default();
        let side = if v6 { "ip6" } else { "ip" };
        let translated = match (module.as_str(), option.text.as_str()) {
            (_, "!") => {
                negated = true;
                rest = after;
                continue;
            }
            (_, "-m" | "--match") => {
                module = value.to_string();
                Some(Vec::new())
            }
            (_, "-p" | "--protocol") => {
                if matches!(value, "tcp" | "udp") && !negated {
                    protocol = value.to_string();
                }
                Some(vec![compare(negated, json!({ "meta": { "key": "l4proto" } }), number_or_text(value))])
            }
            (_, "-s") => Some(vec![compare(negated, payload(side, "saddr"), address(value))]),
            (_, "-d") => Some(vec![compare(negated, payload(side, "daddr"), address(value))]),
            (_, "-i") => Some(vec![compare(negated, json!({ "meta": { "key": "iifname" } }), device(value))]),
            (_, "-o") => Some(vec![compare(negated, json!({ "meta": { "key": "oifname" } }), device(value))]),
            (_, "-j" | "-g") => {
                expressions.extend(target(option.text == "-g", value, next));
                break;
            }
            ("comment", "--comment") => Some(Vec::new()),
            ("tcp" | "udp", "--sport") => span(value).map(|p| vec![compare(negated, payload(&protocol, "sport"), p)]),
            ("tcp" | "udp", "--dport") => span(value).map(|p| vec![compare(negated, payload(&protocol, "dport"), p)]),
            ("multiport", "--sports") => set(value).map(|p| vec![compare(negated, payload(&protocol, "sport"), p)]),
            ("multiport", "--dports") => set(value).map(|p| vec![compare(negated, payload(&protocol, "dport"), p)]),
            ("tcp", "--tcp-flags") => flags(values).map(|(left, right)| vec![compare(negated, left, right)]),
            ("conntrack", "--ctstate") | ("state", "--state") => {
                let states: Vec<String> = value.split(',').map(str::to_lowercase).collect();
                // DNAT and SNAT are no states of nftables.
                let known = ["new", "established", "related", "invalid", "untracked"];
                states
                    .iter()
                    .all(|s| known.contains(&s.as_str()))
                    .then(|| vec![compare(negated, json!({ "ct": { "key": "state" } }), json!({ "set": states }))])
            }
            ("addrtype", "--dst-type") => Some(vec![compare(negated, address_type("daddr"), types(value))]),
            ("addrtype", "--src-type") => Some(vec![compare(negated, address_type("saddr"), types(value))]),
            ("mark", "--mark") => masked(value).map(|(number, mask)| {
                let left = json!({ "&": [{ "meta": { "key": "mark" } }, mask] });
                vec![compare(negated, left, json!(number))]
            }),
            ("owner", "--uid-owner") => span(&value.replace('-', ":"))
                .map(|uids| vec![compare(negated, json!({ "meta": { "key": "skuid" } }), uids)]),
            _ => None,
        };
        expressions.extend(translated.unwrap_or_else(|| vec![json!({ "xt": { "type": "match", "name": module } })]));
        negated = false;
        rest = next;
    }
    expressions
}

fn compare(negated: bool, left: Value, right: Value) -> Value {
    json!({ "match": { "op": if negated { "!=" } else { "==" }, "left": left, "right": right } })
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

fn address_type(side: &str) -> Value {
    json!({ "fib": { "result": "type", "flags": [side] } })
}

/// `LOCAL,BROADCAST`
fn types(text: &str) -> Value {
    json!({ "set": text.split(',').map(str::to_lowercase).collect::<Vec<_>>() })
}

fn number_or_text(text: &str) -> Value {
    text.parse::<u32>().map_or_else(|_| json!(text), |n| json!(n))
}

/// `10.0.0.0/8`, or, as older versions print it, `10.0.0.0/255.0.0.0`.
fn address(text: &str) -> Value {
    let Some((address, length)) = text.split_once('/') else { return json!(text) };
    let mask = length.parse::<std::net::Ipv4Addr>().ok().map(|m| m.to_bits());
    let length = match mask {
        Some(mask) if mask.leading_ones() + mask.trailing_zeros() >= 32 => Some(mask.leading_ones()),
        Some(_) => None,
        None => length.parse().ok(),
    };
    // A mask with holes is no prefix: a text that no address equals is "unknown" to the matcher.
    length.map_or_else(|| json!({ "mask": text }), |length| json!({ "prefix": { "addr": address, "len": length } }))
}

fn device(name: &str) -> Value {
    json!(name.strip_suffix('+').map_or_else(|| name.to_string(), |start| format!("{start}*")))
}

/// A number or a range, `80` or `1:1024`, either end of which may be left out.
fn span(text: &str) -> Option<Value> {
    let Some((low, high)) = text.split_once(':') else { return Some(json!(text.parse::<u32>().ok()?)) };
    let end = |text: &str, default: u32| if text.is_empty() { Some(default) } else { text.parse().ok() };
    Some(json!({ "range": [end(low, 0)?, end(high, u32::MAX)?] }))
}

fn set(text: &str) -> Option<Value> {
    let elements: Option<Vec<Value>> = text.split(',').map(span).collect();
    Some(json!({ "set": elements? }))
}

/// `FIN,SYN,RST,ACK SYN`: of the first, exactly the second are set.
fn flags(values: &[Word]) -> Option<(Value, Value)> {
    let names = |text: &str| -> Option<Vec<String>> {
        const ALL: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];
        match text {
            "ALL" => Some(ALL.map(str::to_string).to_vec()),
            "NONE" => Some(Vec::new()),
            text => text.to_lowercase().split(',').map(|n| ALL.contains(&n).then(|| n.to_string())).collect(),
        }
    };
    let [mask, wanted] = values else { return None };
    let left = json!({ "&": [payload("tcp", "flags"), names(&mask.text)?] });
    Some((left, json!(names(&wanted.text)?)))
}

/// `0x1/0xff`
fn masked(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    Some((number(value)?, number(mask)?))
}

/// What the rule does: a verdict, a jump to a chain of its own, or an extension.
fn target(goto: bool, name: &str, options: &[Word]) -> Option<Value> {
    Some(match name {
        "" => return None,
        _ if goto => json!({ "goto": { "target": name } }),
        "ACCEPT" => json!({ "accept": null }),
        "DROP" => json!({ "drop": null }),
        "RETURN" => json!({ "return": null }),
        "REJECT" => {
            let with = options.iter().skip_while(|o| o.text != "--reject-with").nth(1);
            reject(with.map(|w| w.text.as_str()).unwrap_or_default())
        }
        "DNAT" => dnat(options),
        // Targets are written in capitals by custom only; a chain of that name would be told from them by its declaration.
        name if EXTENSIONS.contains(&name) => json!({ "xt": { "type": "target", "name": name } }),
        name => json!({ "jump": { "target": name } }),
    })
}

/// `--to-destination 10.0.0.5:80`, `[fd00::5]:80`, or either without a port; of a range it isn't known which.
fn dnat(options: &[Word]) -> Value {
    let to = options.iter().skip_while(|o| o.text != "--to-destination").nth(1).map(|o| o.text.as_str());
    let to = to.unwrap_or_default();
    if let Ok(end) = to.parse::<std::net::SocketAddr>() {
        return json!({ "dnat": { "addr": end.ip().to_string(), "port": end.port() } });
    }
    json!({ "dnat": { "addr": to.trim_start_matches('[').trim_end_matches(']') } })
}

fn reject(with: &str) -> Value {
    let (kind, name) = match with.split_once('-') {
        Some(("tcp", "reset")) => return json!({ "reject": { "type": "tcp reset" } }),
        Some(("icmp", "proto-unreachable")) => ("icmp", "prot-unreachable"),
        Some(("icmp6", "adm-prohibited")) => ("icmpv6", "admin-prohibited"),
        Some(("icmp6", name)) => ("icmpv6", name),
        Some(("icmp", name)) => ("icmp", name),
        _ => ("icmpx", "port-unreachable"),
    };
    json!({ "reject": { "type": kind, "expr": name } })
}

/// Targets of iptables-extensions(8).
const EXTENSIONS: [&str; 40] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CLUSTERIP",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DNAT",
    "DNPT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "LOG",
    "MARK",
    "MASQUERADE",
    "NETMAP",
    "NFLOG",
    "NFQUEUE",
    "NOTRACK",
    "RATEEST",
    "REDIRECT",
    "SECMARK",
    "SET",
    "SNAT",
    "SNPT",
    "SYNPROXY",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TPROXY",
    "TRACE",
    "TTL",
    "ULOG",
    "QUEUE",
    "MIRROR",
    "TARPIT",
];

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = r#"# Generated by iptables-save v1.8.9 on Mon Nov 23 07:40:54 2026
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:foo - [0:0]
-A INPUT -p tcp -m tcp --dport 5 -j DROP
-A INPUT -s 10.0.0.0/8 ! -d 10.1.1.1/32 -i eth+ -p udp -m udp --sport 1:5 -m conntrack --ctstate INVALID,NEW -j REJECT --reject-with icmp-host-prohibited
-A INPUT -m comment --comment "a \"b\" -j ACCEPT" -m string --string "x" --algo bm -j foo
-A foo -m addrtype ! --dst-type LOCAL,BROADCAST --limit-iface-in -j DROP
-A foo -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m multiport ! --dports 1,2:5 -m mark --mark 0x1/0xff -j LOG --log-prefix "x "
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
COMMIT
"#;

    #[test]
    fn rules_become_nft_expressions() {
        let chains = parse(SAVED, false);
        let names: Vec<_> =
            chains.iter().map(|c| (c.table.as_str(), c.name.as_str(), c.hook.as_deref(), c.priority)).collect();
        let expected = [
            ("filter", "INPUT", Some("input"), 0),
            ("filter", "FORWARD", Some("forward"), 0),
            ("filter", "foo", None, 0),
            ("nat", "PREROUTING", Some("prerouting"), -100),
        ];
        assert_eq!(names, expected);
        assert_eq!((chains[0].policy.as_deref(), chains[2].policy.as_deref()), (Some("drop"), None));
        let tcp = json!({ "match": { "op": "==", "left": { "meta": { "key": "l4proto" } }, "right": "tcp" } });
        let dport =
            |op: &str, right: Value| json!({ "match": { "op": op, "left": payload("tcp", "dport"), "right": right } });
        assert_eq!(chains[0].rules[0].expr, [tcp.clone(), dport("==", json!(5)), json!({ "drop": null })]);
        let second = &chains[0].rules[1].expr;
        assert_eq!(second[0]["match"]["right"], json!({ "prefix": { "addr": "10.0.0.0", "len": 8 } }));
        assert_eq!(
            (&second[1]["match"]["op"], &second[1]["match"]["right"]["prefix"]["len"]),
            (&json!("!="), &json!(32))
        );
        assert_eq!(second[2]["match"]["right"], "eth*");
        assert_eq!(second[4]["match"]["right"], json!({ "range": [1, 5] }));
        assert_eq!(second[5]["match"]["right"], json!({ "set": ["invalid", "new"] }));
        assert_eq!(second[6], json!({ "reject": { "type": "icmp", "expr": "host-prohibited" } }));
        let opaque = json!({ "xt": { "type": "match", "name": "string" } });
        assert_eq!(chains[0].rules[2].expr, [opaque.clone(), opaque, json!({ "jump": { "target": "foo" } })]);
        let of_type = &chains[2].rules[0].expr;
        let left = json!({ "fib": { "result": "type", "flags": ["daddr"] } });
        let right = json!({ "set": ["local", "broadcast"] });
        assert_eq!(of_type[0], json!({ "match": { "op": "!=", "left": left, "right": right } }));
        assert_eq!(of_type[1], json!({ "xt": { "type": "match", "name": "addrtype" } }));
        let log = &chains[2].rules[1].expr;
        assert_eq!(log[1]["match"]["left"]["&"][1], json!(["fin", "syn", "rst", "ack"]));
        assert_eq!(log[2], dport("!=", json!({ "set": [1, { "range": [2, 5] }] })));
        assert_eq!(log[4], json!({ "xt": { "type": "target", "name": "LOG" } }));
        assert_eq!(chains[0].rules[0].text, "-A INPUT -p tcp -m tcp --dport 5 -j DROP");
    }

    #[test]
    fn odd_listings_do_no_harm() {
        for text in [
            "",
            "-A INPUT -j DROP",
            "*filter\n:INPUT\n-A INPUT\n-A INPUT -p\n-A INPUT -m tcp --dport x -j",
            "*\n:\n-A \"",
            "-A  ",
        ] {
            for chain in parse(text, true) {
                assert!(chain.rules.iter().all(|r| r.expr.iter().all(|e| e.get("drop").is_none())), "{chain:?}");
            }
        }
        assert_eq!(address("10.0.0.0/255.0.255.0"), json!({ "mask": "10.0.0.0/255.0.255.0" }));
        assert_eq!(address("10.0.0.0/255.255.0.0"), json!({ "prefix": { "addr": "10.0.0.0", "len": 16 } }));
    }
}
