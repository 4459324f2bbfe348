//! Firewall rules of a namespace. Owns: asking nft and the old iptables for them. Must not know: packets (see `ruleset`).
//!
//! The tools are run on a thread inside the namespace, which a child inherits. They only list.

use super::{Error, iptables, legacy, namespace::on_own_thread};
use crate::fact::{Chain, Rule, Ruleset};
use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    process::{Command, Stdio},
};

/// Elements of a named set that are written into the rules that ask it; a larger set stays a name.
const MAX_SET: usize = 1024;
/// Where administrators' tools are, whatever PATH says.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// The rules of the calling thread's namespace.
///
/// # Errors
/// nft is not installed or may not list. What only the old iptables knows and can't be listed is told in the answer.
pub fn read() -> Result<Ruleset, Error> {
    on_own_thread(|| {
        lend_capabilities();
        list()
    })?
}

/// Lets the tools that this thread runs have the capabilities to list rules. Without this they would have none where netdx
/// isn't run by root but has capabilities of its own (setcap(8)). What is refused, the tools will say.
fn lend_capabilities() {
    let lent = CapabilitySet::NET_ADMIN | CapabilitySet::DAC_READ_SEARCH;
    if let Ok(mut sets) = capabilities(None) {
        let lent = sets.permitted & lent;
        sets.inheritable |= lent;
        if set_capabilities(None, sets).is_ok() {
            for capability in lent.iter() {
                let _ = configure_capability_in_ambient_set(capability, true);
            }
        }
    }
}

fn list() -> Result<Ruleset, Error> {
    let json = run(&["nft"], &["-s", "-j", "list", "ruleset"])?;
    let texts = run(&["nft"], &["-s", "-a", "list", "ruleset"])?;
    let mut ruleset = parse(&json, &texts)?;
    for (v6, save) in [(false, "iptables-nft-save"), (true, "ip6tables-nft-save")] {
        let family = if v6 { "ip6" } else { "ip" };
        let extended = |c: &Chain| c.family == family && c.rules.iter().any(has_extension);
        if ruleset.chains.iter().any(extended) {
            // Without it extensions stay opaque, which is understood.
            if let Ok(text) = run(&[save, save.replace("-nft", "").as_str()], &[]) {
                translate_extensions(&mut ruleset, iptables::parse(&text, v6), family);
            }
        }
    }
    for (v6, save) in [(false, "iptables-legacy-save"), (true, "ip6tables-legacy-save")] {
        if !legacy::tables(v6).is_empty() {
            match run(&[save, save.replace("-legacy", "").as_str()], &[]) {
                Ok(text) => ruleset.chains.extend(iptables::parse(&text, v6)),
                Err(e) => {
                    ruleset.missing.push(format!("the rules of legacy {}: {e}", save.trim_end_matches("-legacy-save")))
                }
            }
        }
    }
    Ok(ruleset)
}

/// Runs the first of these tools that is installed and gives what it prints.
fn run(tools: &[&str], arguments: &[&str]) -> Result<String, Error> {
    let places =
        tools.iter().flat_map(|tool| FOLDERS.iter().map(move |f| format!("{f}/{tool}")).chain([(*tool).to_string()]));
    for program in places {
        let mut command = Command::new(&program);
        command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null());
        match command.output() {
            Ok(output) if output.status.success() => return Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                return Err(Error::Tool {
                    command: format!("{program} {}", arguments.join(" ")),
                    why: why.split_whitespace().collect::<Vec<_>>().join(" "),
                });
            }
            // Folders of PATH that this user may not enter say no in their own way.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
            Err(e) => return Err(Error::read(program, e)),
        }
    }
    Err(Error::NoTool(tools.first().map_or_else(String::new, |t| (*t).to_string())))
}

/// What is in nft's text listing and not in its JSON.
#[derive(Debug, Default, PartialEq, Eq)]
struct Texts {
    /// Text of a rule by family, table and handle.
    rules: BTreeMap<(String, String, u64), String>,
    /// Devices of a chain by family, table and name (nft 1.0.6 leaves them out of its JSON).
    devices: BTreeMap<(String, String, String), String>,
    /// Tables by family and name whose chains are attached to no hook (nft 1.0.6 writes rubbish for that into its JSON).
    dormant: BTreeSet<(String, String)>,
}

fn texts(listing: &str) -> Texts {
    let mut texts = Texts::default();
    let (mut family, mut table, mut chain) = (String::new(), String::new(), String::new());
    // The lines of a rule with a chain of its own in it.
    let mut begun = String::new();
    for line in listing.lines() {
        let depth = line.bytes().take_while(|b| *b == b'\t').count();
        let line = line.trim();
        let mut words = line.split(' ');
        match (depth, words.next(), words.next(), words.next()) {
            (0, Some("table"), Some(a), Some(b)) => (family, table) = (a.to_string(), b.to_string()),
            (1, Some("chain"), Some(name), _) => chain = name.to_string(),
            (1, Some("flags"), ..) if line.contains("dormant") => {
                texts.dormant.insert((family.clone(), table.clone()));
            }
            (2, Some("type"), ..) if line.contains(" hook ") => {
                if let Some(devices) = devices(line) {
                    texts.devices.insert((family.clone(), table.clone(), chain.clone()), devices);
                }
            }
            (2, ..) if line.ends_with("jump {") || line.ends_with("goto {") => begun = line.to_string(),
            (2, ..) => {
                if let Some((text, handle)) = line.rsplit_once(" # handle ")
                    && let Ok(handle) = handle.parse()
                {
                    let text = format!("{} {text}", std::mem::take(&mut begun));
                    texts.rules.insert(
                        (family.clone(), table.clone(), handle),
                        text.split_whitespace().collect::<Vec<_>>().join(" "),
                    );
                }
            }
            (3.., ..) if !begun.is_empty() => begun.extend([" ", line, ";"]),
            _ => {}
        }
    }
    texts
}

/// `type filter hook ingress device "lo" priority ...` or `... devices = { lo, "eth0" } priority ...`, as a comma list.
fn devices(line: &str) -> Option<String> {
    let (_, after) = line.split_once(" device ").or_else(|| line.split_once(" devices = { "))?;
    let (names, _) = after.split_once(" }").or_else(|| after.split_once(" priority"))?;
    Some(names.split(',').map(|n| n.trim().trim_matches('"')).collect::<Vec<_>>().join(","))
}

/// nft's listing. Tens of thousands of rules are usual where containers are: only the parts that matter are read, one by one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listing<'a> {
    #[serde(borrow)]
    nftables: Vec<Object<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object<'a> {
    chain: Option<Value>,
    #[serde(borrow)]
    rule: Option<ListedRule<'a>>,
    #[serde(alias = "map")]
    set: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListedRule<'a> {
    family: String,
    table: String,
    chain: String,
    handle: u64,
    #[serde(borrow)]
    expr: Option<&'a RawValue>,
}

/// Puts together nft's two listings: `nft -j list ruleset` and `nft -a list ruleset`.
///
/// # Errors
/// The first is no JSON, or not of this form.
pub fn parse(json: &str, listing: &str) -> Result<Ruleset, Error> {
    let malformed = |e: serde_json::Error| Error::Malformed { what: "what nft lists".into(), why: e.to_string() };
    // Without any rule nft prints nothing, or only its own version.
    let listed: Listing<'_> =
        if json.trim().is_empty() { Listing::default() } else { serde_json::from_str(json).map_err(malformed)? };
    let mut texts = texts(listing);
    let sets = sets(&listed.nftables);
    let mut chains: Vec<Chain> =
        listed.nftables.iter().filter_map(|o| o.chain.as_ref()).map(|c| chain(c, &texts)).collect();
    chains.retain(|c| !texts.dormant.contains(&(c.family.clone(), c.table.clone())));
    let places: HashMap<(String, String, String), usize> =
        chains.iter().enumerate().map(|(at, c)| ((c.family.clone(), c.table.clone(), c.name.clone()), at)).collect();
    for ListedRule { family, table, chain, handle, expr } in listed.nftables.into_iter().filter_map(|o| o.rule) {
        let json = expr.map_or("[]", RawValue::get);
        let mut expr: Vec<Value> = serde_json::from_str(json).map_err(malformed)?;
        expr.iter_mut().for_each(|e| write_sets(e, &sets, &family, &table));
        let key = (family, table, handle);
        let text = texts.rules.remove(&key).unwrap_or_else(|| json.to_owned());
        let (family, table, _) = key;
        if let Some(chain) = places.get(&(family, table, chain)).and_then(|at| chains.get_mut(*at)) {
            chain.rules.push(Rule { text, handle, expr });
        }
    }
    Ok(Ruleset { chains, ..Ruleset::default() })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn chain(value: &Value, texts: &Texts) -> Chain {
    let (family, table, name) = (text(&value["family"]), text(&value["table"]), text(&value["name"]));
    let device = match &value["dev"] {
        Value::String(device) => Some(device.clone()),
        Value::Array(devices) => Some(devices.iter().map(text).collect::<Vec<_>>().join(",")),
        _ => texts.devices.get(&(family.clone(), table.clone(), name.clone())).cloned(),
    };
    Chain {
        device,
        hook: value["hook"].as_str().map(str::to_string),
        priority: value["prio"].as_i64().and_then(|p| i32::try_from(p).ok()).unwrap_or(0),
        kind: text(&value["type"]),
        policy: value["policy"].as_str().map(str::to_string),
        rules: Vec::new(),
        family,
        table,
        name,
    }
}

/// Family, table and name of a set or map, and its elements.
type Sets = BTreeMap<(String, String, String), Value>;

/// The named sets and maps whose elements are few and are not changed by packets or by time.
fn sets(objects: &[Object<'_>]) -> Sets {
    let of = |object: &Object<'_>| {
        let set = object.set.as_ref()?;
        // One flag alone stands without a list from nft 1.1.4 on.
        let flags = set["flags"].as_array().map_or(std::slice::from_ref(&set["flags"]), Vec::as_slice);
        let changing = flags.iter().any(|f| f == "dynamic" || f == "timeout");
        let elements = set["elem"].as_array().cloned().unwrap_or_default();
        let key = (text(&set["family"]), text(&set["table"]), text(&set["name"]));
        (!changing && elements.len() <= MAX_SET).then(|| (key, serde_json::json!({ "set": elements })))
    };
    objects.iter().filter_map(of).collect()
}

/// Writes the elements of named sets into an expression, in place of `@name`.
fn write_sets(value: &mut Value, sets: &Sets, family: &str, table: &str) {
    match value {
        Value::String(name) => {
            let set = name.strip_prefix('@').and_then(|n| sets.get(&(family.into(), table.into(), n.into())));
            if let Some(set) = set {
                *value = set.clone();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|v| write_sets(v, sets, family, table)),
        Value::Object(members) => members.values_mut().for_each(|v| write_sets(v, sets, family, table)),
        _ => {}
    }
}

fn has_extension(rule: &Rule) -> bool {
    rule.expr.iter().any(|e| e.get("xt").is_some())
}

/// Gives rules with iptables extensions, which nft can't show, the text and the meaning that iptables-save tells: both list
/// the same rules of a chain in the same order.
fn translate_extensions(ruleset: &mut Ruleset, saved: Vec<Chain>, family: &str) {
    for saved in saved {
        let same = |c: &&mut Chain| c.family == family && c.table == saved.table && c.name == saved.name;
        let Some(chain) = ruleset.chains.iter_mut().find(same) else { continue };
        if chain.rules.len() == saved.rules.len() {
            for (rule, saved) in chain.rules.iter_mut().zip(saved.rules) {
                (rule.text, rule.expr) = (saved.text, saved.expr);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "f", "handle": 1}},
        {"set": {"family": "inet", "name": "ports", "table": "f", "type": "inet_service", "handle": 2, "elem": [80, {"range": [443, 445]}]}},
        {"set": {"family": "inet", "name": "dyn", "table": "f", "type": "ipv4_addr", "handle": 3, "flags": ["timeout"]}},
        {"chain": {"family": "inet", "table": "f", "name": "in", "handle": 4, "type": "filter", "hook": "input", "prio": -5, "policy": "drop"}},
        {"chain": {"family": "netdev", "table": "n", "name": "ig", "handle": 1, "type": "filter", "hook": "ingress", "prio": 0, "policy": "accept"}},
        {"rule": {"family": "inet", "table": "f", "chain": "in", "handle": 9, "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": "@ports"}}, {"drop": null}]}},
        {"rule": {"family": "inet", "table": "f", "chain": "in", "handle": 10, "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@dyn"}}, {"drop": null}]}}]}"#;
    const TEXT: &str = "table inet f { # handle 1\n\tset ports { # handle 2\n\t\ttype inet_service\n\t}\n\tchain in { # handle 4\n\
        \t\ttype filter hook input priority -5; policy drop;\n\t\ttcp dport @ports  drop # handle 9\n\t}\n}\n\
        table netdev n { # handle 2\n\tchain ig { # handle 1\n\t\ttype filter hook ingress devices = { \"lo\", eth0 } priority 0; policy accept;\n\t}\n}\n";

    #[test]
    fn two_listings_make_one() {
        let ruleset = parse(JSON, TEXT).unwrap();
        let [input, ingress] = &ruleset.chains[..] else { panic!("{ruleset:?}") };
        assert_eq!((input.hook.as_deref(), input.priority, input.policy.as_deref()), (Some("input"), -5, Some("drop")));
        assert_eq!(input.rules[0].text, "tcp dport @ports drop");
        assert_eq!(
            input.rules[0].expr[0]["match"]["right"],
            serde_json::json!({ "set": [80, { "range": [443, 445] }] })
        );
        // A set that changes by itself stays a name: what it holds now is not what it held then.
        assert_eq!(input.rules[1].expr[0]["match"]["right"], "@dyn");
        assert!(input.rules[1].text.contains("@dyn"));
        assert_eq!(ingress.device.as_deref(), Some("lo,eth0"));
        let one_flag = JSON.replace(r#"["timeout"]"#, r#""timeout""#);
        assert_eq!(parse(&one_flag, TEXT).unwrap(), ruleset);
        let inner = "\t\tjump {\n\t\t\ttcp dport 80 drop\n\t\t\taccept\n\t\t} # handle 9\n";
        let nameless = TEXT.replace("\t\ttcp dport @ports  drop # handle 9\n", inner);
        assert_eq!(parse(JSON, &nameless).unwrap().chains[0].rules[0].text, "jump { tcp dport 80 drop; accept; }");
        let dormant = TEXT.replace("table netdev n { # handle 2\n", "table netdev n { # handle 2\n\tflags dormant\n\n");
        assert_eq!(parse(JSON, &dormant).unwrap().chains, [ruleset.chains[0].clone()]);
        assert_eq!(parse("", "").unwrap(), Ruleset::default());
        assert!(parse("{cut", "").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_listing_makes_it_panic(cut in 0..JSON.len(), text in "(\\PC|[\t\n])*") {
            if JSON.is_char_boundary(cut) {
                assert!(parse(&JSON[..cut], &text).is_err() || JSON[..cut].trim().is_empty());
            }
            assert_eq!(parse(JSON, &text).unwrap().chains.len(), 2);
            let _ = iptables::parse(&text, true);
            let _ = iptables::parse(&format!("*filter\n:INPUT ACCEPT\n-A INPUT {text}"), false);
        }
    }

    #[test]
    fn a_tool_that_is_not_there_is_named() {
        let error = run(&["no-such-tool-at-all"], &[]).unwrap_err().to_string();
        assert!(error.contains("no-such-tool-at-all") && error.contains("install"), "{error}");
    }
}
