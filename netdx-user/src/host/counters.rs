//! The network stack's counters. Owns: reading those that tell of lost connections. Must not know: what they prove.

use super::Error;
use std::fs;

/// The counters that count refused, dropped or unanswered connections, by file (`net/ipv4/proc.c`, Linux 5.10 to 6.18). A
/// kernel that lacks one leaves it out.
const WANTED: [&str; 36] = [
    "Ip.InAddrErrors",
    "Ip.InDiscards",
    "Ip.InHdrErrors",
    "Ip.OutDiscards",
    "Ip.OutNoRoutes",
    "IpExt.InNoRoutes",
    "Tcp.AttemptFails",
    "Tcp.EstabResets",
    "Tcp.InCsumErrors",
    "Tcp.InErrs",
    "Tcp.OutRsts",
    "Tcp.RetransSegs",
    "TcpExt.EmbryonicRsts",
    "TcpExt.IPReversePathFilter",
    "TcpExt.ListenDrops",
    "TcpExt.ListenOverflows",
    "TcpExt.LockDroppedIcmps",
    "TcpExt.PAWSActive",
    "TcpExt.PAWSEstab",
    "TcpExt.SyncookiesFailed",
    "TcpExt.SyncookiesRecv",
    "TcpExt.SyncookiesSent",
    "TcpExt.TCPAbortOnMemory",
    "TcpExt.TCPAbortOnTimeout",
    "TcpExt.TCPBacklogDrop",
    "TcpExt.TCPMD5Failure",
    "TcpExt.TCPMD5NotFound",
    "TcpExt.TCPMD5Unexpected",
    "TcpExt.TCPReqQFullDoCookies",
    "TcpExt.TCPReqQFullDrop",
    "TcpExt.TCPSynRetrans",
    "TcpExt.TCPTimeWaitOverflow",
    "Udp.InCsumErrors",
    "Udp.NoPorts",
    "Udp.RcvbufErrors",
    "Udp.SndbufErrors",
];

/// The counters of the calling thread's namespace, by name.
///
/// # Errors
/// /proc can't be read.
pub fn read() -> Result<Vec<(String, u64)>, Error> {
    let mut counters = Vec::new();
    // /proc/net is the main thread's; this thread may be in another namespace.
    for file in ["snmp", "netstat"] {
        let path = format!("/proc/thread-self/net/{file}");
        counters.extend(parse(&fs::read_to_string(&path).map_err(|e| Error::read(path, e))?));
    }
    counters.retain(|(name, _)| WANTED.contains(&name.as_str()));
    counters.sort();
    Ok(counters)
}

/// Lines come in pairs: `TcpExt: name name ...` and `TcpExt: value value ...`.
fn parse(text: &str) -> Vec<(String, u64)> {
    let mut lines = text.lines();
    let mut counters = Vec::new();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((group, names)), Some((_, values))) = (names.split_once(':'), values.split_once(':')) else {
            continue;
        };
        let pairs = names.split_whitespace().zip(values.split_whitespace());
        counters.extend(pairs.filter_map(|(name, value)| Some((format!("{group}.{name}"), value.parse().ok()?))));
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_paired() {
        let text = "TcpExt: ListenOverflows ListenDrops\nTcpExt: 3 4\nTcp: MaxConn\nTcp: -1\nIpExt: A B\nIpExt: 1\ncut";
        let expected =
            [("TcpExt.ListenOverflows".to_string(), 3), ("TcpExt.ListenDrops".into(), 4), ("IpExt.A".into(), 1)];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn the_wanted_names_are_the_kernels() {
        let read = read().unwrap();
        for name in ["TcpExt.ListenOverflows", "TcpExt.ListenDrops", "Udp.RcvbufErrors", "Tcp.OutRsts"] {
            assert!(read.iter().any(|(n, _)| n == name), "{name} is not among {read:?}");
        }
    }
}
