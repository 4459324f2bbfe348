//! What the words of the pages mean, for a reader who meets them for the first time.
//!
//! Owns: the terms, each explained once, and which of them a page needs. Must not know: how a page is shown.

/// A term, the words by which a page speaks of it, and its meaning.
struct Term {
    name: &'static str,
    words: &'static [&'static str],
    meaning: &'static str,
}

const TERMS: &[Term] = &[
    Term {
        name: "port",
        words: &["port", "ports"],
        meaning: "a number from 1 to 65535 that says which program of a host is meant. A service waits on a known one \
                  (443 for HTTPS); a client gets a free one for each connection.",
    },
    Term {
        name: "listener",
        words: &["listener", "listeners", "listens", "listening"],
        meaning: "a program that waits for connections on an address and port of its host. On 127.0.0.1 only the same \
                  host can reach it, on 0.0.0.0 or :: everybody who can reach the host.",
    },
    Term {
        name: "SYN",
        words: &["SYN", "SYNs", "SYN-ACK", "handshake"],
        meaning: "the first packet of a TCP connection. The other side answers SYN-ACK, the client ACK: this is the \
                  handshake, and only after it data flows. Without an answer the SYN is sent again after a second, \
                  and then less and less often.",
    },
    Term {
        name: "reset (RST)",
        words: &["reset", "resets", "RST"],
        meaning: "a packet that ends a TCP connection at once, or says that there is none to begin with.",
    },
    Term {
        name: "accept queue",
        words: &["accept queue", "accept queues", "backlog"],
        meaning: "connections that the kernel has set up and the listening program has not taken yet. Its length is the \
                  second argument of listen(2), and net.core.somaxconn at most.",
    },
    Term {
        name: "route",
        words: &["route", "routes", "routing"],
        meaning: "a line of the kernel's table that says for a range of addresses through which interface packets leave, \
                  and to which gateway. The narrowest range that fits is taken; the default route is for all the rest.",
    },
    Term {
        name: "gateway",
        words: &["gateway", "router", "routers", "next hop"],
        meaning: "the host on the own link (a router) to which packets for other networks are handed.",
    },
    Term {
        name: "neighbour",
        words: &["neighbour", "neighbours", "ARP", "neighbour discovery"],
        meaning: "a host on the same link. Before a packet can go to it, its link-layer (MAC) address is asked for: with \
                  ARP for IPv4, with neighbour discovery for IPv6.",
    },
    Term {
        name: "ICMP",
        words: &["ICMP"],
        meaning: "messages about packets: a router or host says that one could not be delivered, and why.",
    },
    Term {
        name: "resolver",
        words: &["resolver", "name server", "name servers", "resolv.conf"],
        meaning: "what turns a name into addresses. The one in the program's C library reads /etc/hosts and asks the name \
                  servers of /etc/resolv.conf; those ask on until they have the answer.",
    },
    Term {
        name: "network namespace",
        words: &["namespace", "namespaces"],
        meaning: "a network stack of its own inside one kernel, with its own interfaces, routes, rules and ports. Each \
                  container usually has one, so 127.0.0.1 in a container is not the host's.",
    },
    Term {
        name: "connection tracking",
        words: &["conntrack", "connection tracking"],
        meaning: "the kernel's table of the connections that pass a firewall or an address translation.",
    },
];

/// The section that explains the terms of a page, in the pages' Markdown; empty where it uses none.
#[must_use]
pub fn of(page: &str) -> String {
    let text = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let needed = TERMS.iter().filter(|term| term.words.iter().any(|word| speaks_of(&text, word)));
    let items: String = needed.map(|term| format!("- {}: {}\n", term.name, term.meaning)).collect();
    if items.is_empty() { items } else { format!("\n# Words\n{items}") }
}

/// Whether the word stands in the text by itself, not as a part of another one or of a code (`refused.no-listener`).
fn speaks_of(text: &str, word: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '/'));
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), &text[at + word.len()..]);
        let mut next = after.chars();
        let follows = match next.next() {
            // A full stop ends a sentence; inside a word it joins.
            Some('.') => joins(next.next()),
            c => joins(c),
        };
        !joins(before) && before != Some('.') && !follows
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain;

    #[test]
    fn a_word_stands_by_itself() {
        assert!(speaks_of("Nothing listens on the port.", "port"));
        assert!(speaks_of("a port: none", "port"));
        for text in ["a report", "ports", "refused.no-port", "--port 1", "port.busy", "net/port"] {
            assert!(!speaks_of(text, "port"), "{text}");
        }
        assert_eq!(of("Nothing to explain."), "");
    }

    #[test]
    fn every_term_is_needed_by_some_page() {
        let pages: Vec<String> = explain::registry().iter().map(|cause| of(cause.page)).collect();
        for term in TERMS {
            let item = format!("- {}: ", term.name);
            assert!(pages.iter().any(|words| words.contains(&item)), "{} is in no page", term.name);
        }
        let all = pages.iter().filter(|words| !words.is_empty()).count();
        assert!(all * 2 > pages.len(), "most pages need some: {all}");
    }
}
