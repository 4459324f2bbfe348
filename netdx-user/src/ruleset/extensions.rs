//! Matches and targets of iptables, and what both kinds of rules have in an own way. Owns: what they do to the packet.
//! Must not know: chains.

use super::{
    Scene,
    matching::{Truth, Verdict, done},
};
use crate::event::Protocol;
use serde_json::Value;

/// A SYN proxy answers a SYN, takes the ACK that comes of its answer and drops every other one; what is neither it lets pass
/// (nft_synproxy_eval_v4, synproxy_tg4; 5.10 to 6.18). `takes`: by its flags.
pub(super) fn handshake<'a>(truth: Truth, scene: &Scene<'_>, takes: impl Fn(u8) -> bool) -> Vec<(Truth, Verdict<'a>)> {
    match scene.packet.tcp_flags {
        _ if scene.packet.tuple.protocol != Protocol::Tcp => Vec::new(),
        Some(flags) if takes(flags) => done(truth, Verdict::Handshake),
        Some(_) => done(truth, Verdict::Continue),
        None => done(truth.min(Truth::Unknown), Verdict::Handshake),
    }
}

/// An extension of iptables inside a rule of nftables.
pub(super) enum Extension {
    /// It changes nothing about who is asked next.
    Nothing,
    /// A match that isn't understood here.
    Match,
    Verdict(Verdict<'static>),
    /// Older versions of nft don't even give its name: it may be a match or a target.
    Nameless,
}

pub(super) fn extension(body: &Value) -> Extension {
    const NEXT: [&str; 27] = [
        "AUDIT",
        "CHECKSUM",
        "CLASSIFY",
        "CONNMARK",
        "CONNSECMARK",
        "CT",
        "DNPT",
        "DSCP",
        "ECN",
        "HL",
        "HMARK",
        "IDLETIMER",
        "LED",
        "LOG",
        "MARK",
        "NFLOG",
        "NOTRACK",
        "RATEEST",
        "SECMARK",
        "SET",
        "SNPT",
        "TCPMSS",
        "TCPOPTSTRIP",
        "TEE",
        "TOS",
        "TRACE",
        "TTL",
    ];
    const TRANSLATION: [&str; 4] = ["SNAT", "MASQUERADE", "REDIRECT", "NETMAP"];
    match (body["type"].as_str(), body["name"].as_str()) {
        (Some("match"), Some("comment")) => Extension::Nothing,
        (Some("match"), _) => Extension::Match,
        (Some("target"), Some(name)) if NEXT.contains(&name) => Extension::Nothing,
        // Its destination was not listed.
        (Some("target"), Some("DNAT")) => Extension::Verdict(Verdict::Destination(&Value::Null)),
        (Some("target"), Some(name)) if TRANSLATION.contains(&name) => Extension::Verdict(Verdict::Accept),
        (Some("target"), Some("NFQUEUE" | "QUEUE")) => Extension::Verdict(Verdict::Queue),
        (Some("target"), _) => Extension::Verdict(Verdict::Opaque),
        _ => Extension::Nameless,
    }
}
