//! The walk through rules against the kernel's own: rulesets that chance makes, a SYN, and the counters that say which rule
//! dropped it. What is said to be exact must be so, and what it was must be among what is possible.

use super::*;
use crate::{
    event::Hook,
    fact::Interface,
    ruleset::{Action, Culprits, PacketView, RuleRef, culprits},
};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};

/// How many rulesets; `NETDX_RULESETS` asks for another number, `NETDX_RULESETS_SEED` for others.
const RULESETS: u64 = 60;

/// Questions about the packet. None is for a moment or a number that chance gives anew.
const MATCHES: [&str; 47] = [
    "tcp dport 80",
    "tcp dport != 80",
    "tcp dport { 22, 80 }",
    "tcp dport 1-79",
    "tcp sport >= 1024",
    "udp dport 80",
    "th dport 80",
    "ip saddr 10.99.0.0/24",
    "ip saddr != 10.99.0.1",
    "ip daddr 10.99.0.2",
    "ip daddr { 10.99.0.3, 10.98.0.0/16 }",
    "ip protocol tcp",
    "ip6 saddr ::/0",
    "ip saddr . tcp dport { 10.99.0.1 . 80 }",
    "iifname \"vb\"",
    "iifname \"v*\"",
    "iifname != \"vb\"",
    "iif != \"lo\"",
    "oifname \"vb\"",
    "oifname != \"vb\"",
    "oifname \"va\"",
    "oif != \"lo\"",
    "ct state new",
    "ct state != new",
    "ct state established,related",
    "ct state invalid",
    "ct state untracked",
    "ct state { new, untracked }",
    "ct status dnat",
    "ct mark 0",
    "meta l4proto tcp",
    "meta l4proto != { tcp, udp }",
    "meta nfproto ipv6",
    "meta protocol ip",
    "meta mark 0",
    "meta mark & 0x1 == 0x1",
    "tcp flags syn",
    "tcp flags & (syn | ack) == syn",
    "tcp flags & (fin | syn | rst | ack) == ack",
    "fib daddr type local",
    "fib daddr type != local",
    "fib saddr type { local, broadcast }",
    "ip ttl 64",
    "ip dscp cs0",
    "meta length < 1000",
    "limit rate 1000/second",
    "limit rate over 1000/second",
];

/// What is done on the way.
const STATEMENTS: [&str; 4] = ["counter", "meta mark set 0x1", "ct mark set 0x1", "notrack"];

/// The same in the language of iptables, of both kinds.
const OPTIONS: [&str; 32] = [
    "-p tcp",
    "! -p udp",
    "-p tcp -m tcp --dport 80",
    "-p tcp -m tcp ! --dport 80",
    "-p tcp -m tcp --sport 1024:",
    "-p tcp -m multiport --dports 22,80",
    "-p tcp -m multiport ! --dports 22,80:90",
    "-p udp -m udp --dport 80",
    "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
    "-p tcp -m tcp ! --tcp-flags SYN,ACK SYN",
    "-s 10.99.0.0/24",
    "! -s 10.99.0.1/32",
    "-d 10.99.0.2/32",
    "-d 10.99.0.0/255.0.255.0",
    "-i vb",
    "-i v+",
    "! -i vb",
    "! -i lo",
    "-o va",
    "! -o v+",
    "-m conntrack --ctstate NEW",
    "-m conntrack ! --ctstate NEW",
    "-m conntrack --ctstate RELATED,ESTABLISHED",
    "-m state --state INVALID",
    "-m mark --mark 0x0",
    "-m mark ! --mark 0x0/0x1",
    "-m addrtype --dst-type LOCAL",
    "-m addrtype ! --dst-type LOCAL,BROADCAST",
    "-m addrtype --src-type LOCAL --limit-iface-in",
    "-m comment --comment \"a -j DROP\"",
    "-m ttl --ttl-eq 64",
    "-m limit --limit 1000/sec",
];

/// Who reads a ruleset.
#[derive(Clone, Copy)]
enum Tool {
    Nft,
    /// `iptables-nft`, `iptables-legacy`
    Iptables(&'static str),
}

/// Numbers by xorshift64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// Up to two questions, and seldom something that is done.
    fn words(&mut self, questions: &[&str], statements: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = (0..self.below(3)).map(|_| self.one_of(questions).to_owned()).collect();
        if !statements.is_empty() && self.below(6) == 0 {
            words.push(self.one_of(statements).to_owned());
        }
        words
    }

    /// A chain that a chain can jump to: only those of higher numbers.
    fn deeper(&mut self, chain: usize, chains: usize) -> Option<usize> {
        (chain + 1 < chains).then(|| chain + 1 + self.below(chains - chain - 1))
    }

    fn rule(&mut self, chain: usize, chains: usize) -> String {
        let mut words = self.words(&MATCHES, &STATEMENTS);
        words.push(match (self.below(9), self.deeper(chain, chains)) {
            (0..=2, _) => "counter drop".to_owned(),
            (3, _) => "accept".to_owned(),
            (4, _) => "return".to_owned(),
            (5, Some(to)) => format!("goto c{to}"),
            (6, Some(to)) => format!("jump c{to}"),
            (7, Some(to)) => format!("tcp dport vmap {{ 22 : drop, 80 : jump c{to} }}"),
            (8, Some(to)) => format!("ct state vmap {{ established : accept, new : goto c{to} }}"),
            _ => "continue".to_owned(),
        });
        words.join(" ")
    }

    /// Three base chains at one hook, and three that they lead to.
    fn ruleset(&mut self, hook: Hook) -> String {
        const BASES: usize = 3;
        let mut text = format!("table {} f {{\n", self.one_of(&["inet", "ip"]));
        let chains = BASES + 3;
        for chain in (0..chains).rev() {
            text += &format!("chain c{chain} {{\n");
            if chain < BASES {
                let priority = self.one_of(&["-300", "-250", "-150", "-10", "0", "20"]);
                let policy = self.one_of(&["accept", "accept", "drop"]);
                let name = crate::ruleset::hook_name(hook);
                text += &format!("type filter hook {name} priority {priority}; policy {policy};\n");
            }
            for _ in 0..self.below(5) {
                // Base chains don't jump to one another.
                text += &self.rule(chain.max(BASES - 1), chains);
                text += "\n";
            }
            text += "}\n";
        }
        text + "}\n"
    }

    fn option_rule(&mut self, chain: usize, chains: usize, table: &str) -> String {
        let mut words = self.words(&OPTIONS, &[]);
        words.extend(match (self.below(9), self.deeper(chain, chains)) {
            (0..=2, _) => Some("-j DROP".to_owned()),
            (3, _) => Some("-j ACCEPT".to_owned()),
            (4, _) => Some("-j RETURN".to_owned()),
            (5, Some(to)) => Some(format!("-g c{to}")),
            (6 | 7, Some(to)) => Some(format!("-j c{to}")),
            (8, _) if table == "mangle" => Some("-j MARK --set-xmark 0x1/0xffffffff".to_owned()),
            (8, _) if table == "raw" => Some("-j CT --notrack".to_owned()),
            _ => None,
        });
        words.join(" ")
    }

    /// The chains of two tables at one hook, and three in each that they lead to.
    fn tables(&mut self, hook: Hook) -> String {
        let (base, tables): (_, &[_]) = match hook {
            Hook::Prerouting => ("PREROUTING", &["raw", "mangle"]),
            Hook::Output => ("OUTPUT", &["raw", "filter"]),
            Hook::Postrouting => ("POSTROUTING", &["mangle"]),
            _ => ("INPUT", &["mangle", "filter"]),
        };
        let mut text = String::new();
        for table in tables {
            let policy = self.one_of(&["ACCEPT", "ACCEPT", "DROP"]);
            text += &format!("*{table}\n:{base} {policy} [0:0]\n:c1 - [0:0]\n:c2 - [0:0]\n:c3 - [0:0]\n");
            for chain in 0..4 {
                let name = if chain == 0 { base.to_owned() } else { format!("c{chain}") };
                for _ in 0..self.below(5) {
                    text += &format!("-A {name} {}\n", self.option_rule(chain, 4, table));
                }
            }
            text += "COMMIT\n";
        }
        text
    }
}

impl Tool {
    /// The script after which there are no rules.
    fn empty(self) -> &'static str {
        match self {
            Tool::Nft => "flush ruleset\n",
            Tool::Iptables(_) => EMPTY,
        }
    }

    fn script(self, chance: &mut Chance, hook: Hook) -> String {
        match self {
            Tool::Nft => chance.ruleset(hook),
            Tool::Iptables(_) => chance.tables(hook),
        }
    }

    /// Loads it into a namespace; whether the tool has taken it: it refuses what can never match together.
    fn load(self, name: &str, script: &str) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        let program = match self {
            Tool::Nft => "nft -f".to_owned(),
            Tool::Iptables(kind) => format!("{kind}-restore"),
        };
        let line = format!("ip netns exec {name} {program} {}", file.path().display());
        Command::new("sh").args(["-c", &line]).output().unwrap().status.success()
    }

    /// The rules that dropped something: what tells each in its chain.
    fn dropped(self, name: &str) -> Vec<(String, String)> {
        match self {
            Tool::Nft => {
                let listing = run(&format!("ip netns exec {name} nft -j list ruleset"));
                let listing: Value = serde_json::from_str(&listing).unwrap();
                let rules = listing["nftables"].as_array().unwrap().iter().filter_map(|object| object.get("rule"));
                let has = |rule: &&Value| {
                    let steps = rule["expr"].as_array().unwrap();
                    let last = steps.len().checked_sub(2).map(|at| &steps[at..]);
                    matches!(last, Some([count, drop])
                        if drop.get("drop").is_some() && count["counter"]["packets"].as_u64() > Some(0))
                };
                rules.filter(has).map(|r| (r["chain"].as_str().unwrap().into(), r["handle"].to_string())).collect()
            }
            Tool::Iptables(kind) => {
                let listing = run(&format!("ip netns exec {name} {kind}-save -c"));
                let counted = listing.lines().filter_map(|line| line.strip_prefix('[')?.split_once("] "));
                let has = |(count, rule): &(&str, &str)| rule.ends_with("-j DROP") && !count.starts_with("0:");
                counted.filter(has).map(|(_, rule)| (rule.split(' ').nth(1).unwrap().into(), rule.into())).collect()
            }
        }
    }

    /// What tells a rule in its chain, as [`dropped`](Self::dropped) gives it; none: it is a policy.
    fn name(self, rule: &RuleRef) -> Option<String> {
        let handle = rule.handle?;
        Some(match self {
            Tool::Nft => handle.to_string(),
            Tool::Iptables(_) if rule.text.starts_with("-A ") => rule.text.clone(),
            // A rule without extensions is listed by nft, in its own language: its line is found by its number.
            Tool::Iptables(_) => String::new(),
        })
    }
}

/// Sends one SYN to port 80, where nobody listens; its source port, and whether it was answered.
fn send(lab: &Lab) -> (u16, bool) {
    lab.within(0, || {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        let to: SocketAddr = "10.99.0.2:80".parse().unwrap();
        let _ = rustix::net::connect(&socket, &to);
        let stream = TcpStream::from(socket);
        let port = stream.local_addr().unwrap().port();
        let mut ready = [rustix::event::PollFd::new(&stream, rustix::event::PollFlags::OUT)];
        let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 30_000_000 };
        (port, rustix::event::poll(&mut ready, Some(&wait)).unwrap() > 0)
    })
}

fn agree(tool: Tool) {
    let Some(lab) = Lab::new() else { return };
    let number = |name: &str, default| std::env::var(name).map_or(default, |n| n.parse().expect("a number"));
    let mut chance = Chance(number("NETDX_RULESETS_SEED", 0x9e37_79b9_7f4a_7c15));
    let mut host = Host::new();
    let interfaces = [0, 1].map(|side| match host.answer(&Want::Interfaces { netns: lab.netns(side) }) {
        Answer::Interfaces(interfaces) => interfaces,
        other => panic!("{other:?}"),
    });
    // Nothing else is sent: IPv6 has its own questions for neighbours and groups.
    for name in &lab.names {
        run(&format!("ip netns exec {name} sysctl -qw net.ipv6.conf.all.disable_ipv6=1"));
    }
    // The link addresses are known from here on.
    assert!(send(&lab).1 || send(&lab).1);
    let (mut drops, mut exact) = (0, 0);
    for _ in 0..number("NETDX_RULESETS", RULESETS) {
        // Where it is sent, and where it comes in.
        let (side, hook) =
            [(0, Hook::Output), (0, Hook::Postrouting), (1, Hook::Prerouting), (1, Hook::Input)][chance.below(4)];
        let script = tool.script(&mut chance, hook);
        for name in &lab.names {
            assert!(tool.load(name, tool.empty()), "{}", tool.empty());
        }
        if !tool.load(&lab.names[side], &script) {
            continue;
        }
        let Answer::Ruleset(rules) = host.answer(&Want::Ruleset { netns: lab.netns(side) }) else { panic!("{script}") };
        let (port, answered) = send(&lab);
        if answered {
            continue;
        }
        drops += 1;
        let found = culprits(&rules, hook, &syn(port, side, &script, &interfaces[side]), Action::Drop);
        let by_rule = tool.dropped(&lab.names[side]);
        let it_was = |rule: &RuleRef| match tool.name(rule) {
            Some(name) if name.is_empty() => by_rule.iter().any(|(chain, _)| *chain == rule.chain),
            Some(name) => by_rule.contains(&(rule.chain.clone(), name)) || rule.text.contains("vmap"),
            None => by_rule.is_empty(),
        };
        let agrees = match &found {
            Culprits::Exact(rule) => it_was(rule),
            Culprits::Possible(rules) => rules.iter().any(it_was),
            Culprits::None => false,
        };
        assert!(agrees, "{by_rule:?} dropped it, not {found:#?} of\n{script}");
        exact += usize::from(matches!(found, Culprits::Exact(_)));
    }
    // Most of those that chance drops are dropped by a rule that can be told.
    eprintln!("{exact} of {drops} exact");
    assert!(drops >= 10 && exact * 2 >= drops, "{exact} of {drops} exact");
}

/// No rules in any table of iptables.
const EMPTY: &str = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n*mangle\n:PREROUTING ACCEPT [0:0]\n\
    :INPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";

#[test]
fn the_same_rule_as_nftables_finds() {
    agree(Tool::Nft);
}

#[test]
fn the_same_rule_as_iptables_over_nftables_finds() {
    agree(Tool::Iptables("iptables-nft"));
}

#[test]
fn the_same_rule_as_the_old_iptables_finds() {
    agree(Tool::Iptables("iptables-legacy"));
}

fn syn<'a>(port: u16, side: usize, script: &str, interfaces: &'a [Interface]) -> PacketView<'a> {
    let (in_device, out_device) = [("", "va"), ("vb", "")][side];
    PacketView {
        tuple: Tuple {
            protocol: Protocol::Tcp,
            local: ip("10.99.0.1"),
            local_port: port,
            remote: ip("10.99.0.2"),
            remote_port: 80,
        },
        tcp_flags: Some(2),
        icmp: None,
        arp: None,
        // The one in the end, which is known of a packet that was dropped, is not known here.
        mark: (!["meta mark set", "MARK"].iter().any(|word| script.contains(word))).then_some(0),
        in_device: Some(in_device),
        out_device: Some(out_device),
        uid: None,
        interfaces,
        bridged: false,
        engine: None,
    }
}
