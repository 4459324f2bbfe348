//! Which kernel function an address lies in, for the functions that verdicts tell apart.
//!
//! Owns: reading /proc/kallsyms, once, in one pass. Must not know: what a function's name proves.
//! Only the functions of [`FUNCTIONS`] are kept: some kilobytes, not the 20 MB of the whole table.

use std::{
    borrow::Cow,
    io::{self, BufRead as _, BufReader, Read},
};

/// The functions that verdicts ask for, sorted. A compiler's clones (`name.isra.0`, `name.part.0`, `name.cold`) count
/// as the function. Which of them prove what: KERNEL facts cited in `explain/causes`.
pub const FUNCTIONS: &[&str] = &[
    "__br_forward",
    "__dev_queue_xmit",
    "__icmp_send",
    "__inet_hash_connect",
    "__ip6_local_out",
    "__ip_local_out",
    "__ip_queue_xmit",
    "__netif_receive_skb_core",
    "__nf_conntrack_confirm",
    "__tcp_close",
    "__tcp_retransmit_skb",
    "__udp4_lib_rcv",
    "__udp6_lib_rcv",
    "arp_error_report",
    "arp_process",
    "arp_rcv",
    "arp_send_dst",
    "arp_xmit",
    "arpt_do_table",
    "br_forward",
    "br_forward_finish",
    "br_handle_frame",
    "br_handle_frame_finish",
    "br_nf_forward",
    "br_nf_forward_ip",
    "br_nf_hook_thresh",
    "br_nf_local_in",
    "br_nf_post_routing",
    "br_nf_pre_routing",
    "br_nf_pre_routing_ipv6",
    "br_pass_frame_up",
    "cookie_v4_check",
    "cookie_v6_check",
    "dev_hard_start_xmit",
    "do_xdp_generic",
    "dst_discard_out",
    "icmp6_send",
    "icmp_rcv",
    "icmpv6_rcv",
    "inet6_csk_xmit",
    "inet_csk_listen_stop",
    "inet_rtm_getroute",
    "inet_shutdown",
    "ip6_finish_output",
    "ip6_forward",
    "ip6_input",
    "ip6_local_out",
    "ip6_mc_input",
    "ip6_output",
    "ip6_pkt_discard",
    "ip6_pkt_discard_out",
    "ip6_pkt_drop",
    "ip6_pkt_prohibit",
    "ip6_pkt_prohibit_out",
    "ip6_rcv_finish",
    "ip6_sublist_rcv",
    "ip6_xmit",
    "ip6t_do_table",
    "ip_error",
    "ip_finish_output",
    "ip_finish_output2",
    "ip_forward",
    "ip_list_rcv",
    "ip_local_deliver",
    "ip_local_deliver_finish",
    "ip_local_out",
    "ip_mc_output",
    "ip_output",
    "ip_rcv",
    "ip_rcv_finish_core",
    "ip_sublist_rcv",
    "ipt_do_table",
    "ipv6_list_rcv",
    "ipv6_rcv",
    "ndisc_error_report",
    "ndisc_rcv",
    "ndisc_send_skb",
    "neigh_invalidate",
    "neigh_timer_handler",
    "netif_receive_skb_list_internal",
    "nf_conntrack_in",
    "nf_hook_slow",
    "nf_hook_slow_list",
    "nf_queue",
    "nf_reinject",
    "nf_send_reset",
    "nf_send_reset6",
    "nf_send_unreach",
    "nf_send_unreach6",
    "nfqnl_reinject",
    "nft_do_chain",
    "nft_do_chain_bridge",
    "ping_rcv",
    "raw6_local_deliver",
    "raw_local_deliver",
    "raw_rcv",
    "raw_sendmsg",
    "rawv6_rcv",
    "rawv6_sendmsg",
    "sch_handle_egress",
    "sch_handle_ingress",
    "sk_filter_trim_cap",
    "sk_stream_kill_queues",
    "tc_run",
    "tcf_action_exec",
    "tcf_classify",
    "tcp_abort",
    "tcp_close",
    "tcp_conn_request",
    "tcp_disconnect",
    "tcp_keepalive_timer",
    "tcp_rcv_established",
    "tcp_rcv_state_process",
    "tcp_reset",
    "tcp_retransmit_timer",
    "tcp_send_active_reset",
    "tcp_send_probe0",
    "tcp_sendmsg_fastopen",
    "tcp_v4_connect",
    "tcp_v4_do_rcv",
    "tcp_v4_rcv",
    "tcp_v4_send_reset",
    "tcp_v6_connect",
    "tcp_v6_do_rcv",
    "tcp_v6_rcv",
    "tcp_v6_send_reset",
    "tcp_write_err",
    "tcp_write_timer_handler",
    "udp_queue_rcv_one_skb",
    "udpv6_queue_rcv_one_skb",
    "veth_xdp_rcv_skb",
    "veth_xmit",
];

/// Where symbols are read from.
pub const KALLSYMS: &str = "/proc/kallsyms";

/// Why addresses can't be named.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file couldn't be read.
    #[error("cannot read {KALLSYMS}: {0}")]
    Read(#[from] io::Error),
    /// The kernel shows zeros in place of addresses.
    #[error("{KALLSYMS} shows no addresses (kernel.kptr_restrict, or CAP_SYSLOG is missing)")]
    Hidden,
}

/// Why the running kernel's symbols can't be read, told by the first function; none: they can.
#[must_use]
pub fn hidden() -> Option<Error> {
    let file = match std::fs::File::open(KALLSYMS) {
        Ok(file) => file,
        Err(error) => return Some(error.into()),
    };
    for line in BufReader::new(file).split(b'\n') {
        match line {
            Err(error) => return Some(error.into()),
            Ok(line) => match text_symbol(&line) {
                Some((0, _)) => break,
                Some(_) => return None,
                // Before the functions come per-CPU variables, at small addresses.
                None => {}
            },
        }
    }
    Some(Error::Hidden)
}

/// Addresses of the functions of [`FUNCTIONS`] in the running kernel.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Start, end (the next symbol's start) and name; sorted by start.
    functions: Vec<(u64, u64, &'static str)>,
}

impl Symbols {
    /// Reads the running kernel's symbols.
    ///
    /// # Errors
    /// When they can't be read or are hidden.
    pub fn read() -> Result<Symbols, Error> {
        Symbols::from_reader(std::fs::File::open(KALLSYMS)?)
    }

    /// Reads a table in the format of /proc/kallsyms: address, type, name, and a module in brackets.
    ///
    /// # Errors
    /// When it can't be read or has no addresses but zero. Lines that aren't understood are skipped.
    pub fn from_reader(mut reader: impl Read) -> Result<Symbols, Error> {
        let mut starts: Vec<u64> = Vec::with_capacity(1 << 17);
        let mut wanted: Vec<(u64, &'static str)> = Vec::with_capacity(FUNCTIONS.len() + 16);
        let mut buffer = vec![0; 1 << 16];
        let mut filled = 0;
        loop {
            let read = match reader.read(&mut buffer[filled..]) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            filled += read;
            let complete = match buffer[..filled].iter().rposition(|b| *b == b'\n') {
                Some(newline) => newline + 1,
                None if read == 0 || filled == buffer.len() => filled,
                None => continue,
            };
            for line in buffer[..complete].split(|b| *b == b'\n') {
                let Some((address, name)) = text_symbol(line) else { continue };
                starts.push(address);
                if let Some(name) = wanted_function(name) {
                    wanted.push((address, name));
                }
            }
            buffer.copy_within(complete..filled, 0);
            filled -= complete;
            if read == 0 {
                break;
            }
        }
        if starts.iter().all(|a| *a == 0) {
            return Err(Error::Hidden);
        }
        starts.sort_unstable();
        wanted.sort_unstable();
        let functions = wanted
            .into_iter()
            .map(|(start, name)| {
                let next = starts.partition_point(|a| *a <= start);
                (start, starts.get(next).copied().unwrap_or(u64::MAX), name)
            })
            .collect();
        Ok(Symbols { functions })
    }

    /// The function that holds this address, which may be a return address: the instruction after a call that was its
    /// last.
    #[must_use]
    pub fn function(&self, address: u64) -> Option<Cow<'static, str>> {
        let before = address.checked_sub(1)?;
        let index = self.functions.partition_point(|(start, ..)| *start <= address);
        self.functions[..index]
            .iter()
            .rev()
            .take(2)
            .find(|(start, end, _)| (*start == address || *start <= before) && before < *end && address <= *end)
            .map(|(.., name)| Cow::Borrowed(*name))
    }

    /// How many functions were found.
    #[must_use]
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// None was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }
}

/// Address and name of a line, if it is of a function (types t, T, w, W).
fn text_symbol(line: &[u8]) -> Option<(u64, &[u8])> {
    let (address, rest) = line.split_at_checked(16)?;
    let [b' ', kind, b' ', name @ ..] = rest else { return None };
    if !matches!(kind, b't' | b'T' | b'w' | b'W') {
        return None;
    }
    let mut value = 0u64;
    for digit in address {
        value = value << 4 | u64::from(char::from(*digit).to_digit(16)?);
    }
    let end = name.iter().position(|b| *b == b'\t' || *b == b' ').unwrap_or(name.len());
    Some((value, &name[..end]))
}

/// The entry of [`FUNCTIONS`] that a symbol belongs to.
fn wanted_function(symbol: &[u8]) -> Option<&'static str> {
    let base = symbol.split(|b| *b == b'.').next().unwrap_or(symbol);
    FUNCTIONS.binary_search_by(|f| f.as_bytes().cmp(base)).ok().map(|i| FUNCTIONS[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
ffffffff81000000 T _text
ffffffff81001000 T tcp_v4_rcv
ffffffff81001800 t tcp_v4_rcv.cold
ffffffff81001900 T next_function
ffffffff82000000 D some_data
ffffffffc0000100 t nft_do_chain\t[nf_tables]
ffffffffc0000050 t unsorted_module_symbol\t[nf_tables]
ffffffffc0000900 t nft_after\t[nf_tables]
not a line
";

    fn name(symbols: &Symbols, address: u64) -> Option<String> {
        symbols.function(address).map(Cow::into_owned)
    }

    #[test]
    fn addresses_resolve_inside_functions_only() {
        let s = Symbols::from_reader(TABLE.as_bytes()).expect("reads");
        assert_eq!(name(&s, 0xffff_ffff_8100_1000).as_deref(), Some("tcp_v4_rcv"));
        assert_eq!(name(&s, 0xffff_ffff_8100_1234).as_deref(), Some("tcp_v4_rcv"));
        assert_eq!(name(&s, 0xffff_ffff_8100_1850).as_deref(), Some("tcp_v4_rcv"), "a compiler's clone");
        assert_eq!(name(&s, 0xffff_ffff_8100_1900).as_deref(), Some("tcp_v4_rcv"), "returns behind a last call");
        assert_eq!(name(&s, 0xffff_ffff_8100_1901), None);
        assert_eq!(name(&s, 0xffff_ffff_8100_0fff), None);
        assert_eq!(name(&s, 0xffff_ffff_c000_0200).as_deref(), Some("nft_do_chain"));
        assert_eq!(name(&s, 0xffff_ffff_c000_0950), None);
        assert_eq!(name(&s, 0), None);
        assert_eq!(name(&s, u64::MAX), None);
    }

    #[test]
    fn functions_are_sorted_and_distinct() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn hidden_addresses_are_an_error() {
        let table = "0000000000000000 T tcp_v4_rcv\n0000000000000000 T ip_rcv\n";
        assert!(matches!(Symbols::from_reader(table.as_bytes()), Err(Error::Hidden)));
        assert!(matches!(Symbols::from_reader(&b""[..]), Err(Error::Hidden)));
    }

    #[test]
    fn lines_across_reads_and_lines_without_end_are_read() {
        struct ByteByByte<'a>(&'a [u8]);
        impl Read for ByteByByte<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = self.0.len().min(1).min(buffer.len());
                buffer[..n].copy_from_slice(&self.0[..n]);
                self.0 = &self.0[n..];
                Ok(n)
            }
        }
        let s = Symbols::from_reader(ByteByByte(TABLE.trim_end().as_bytes())).expect("reads");
        assert_eq!(s.len(), 3);
        let endless = vec![b'x'; 1 << 18];
        assert!(matches!(Symbols::from_reader(endless.as_slice()), Err(Error::Hidden)));
    }

    #[test]
    fn the_running_kernel_is_read() {
        match Symbols::read() {
            Ok(s) => assert!(s.len() > 30, "{}", s.len()),
            Err(Error::Hidden) => assert_ne!(rustix::process::geteuid().as_raw(), 0, "root sees addresses"),
            Err(Error::Read(e)) => assert_eq!(e.kind(), io::ErrorKind::NotFound, "{e}"),
        }
    }
}
