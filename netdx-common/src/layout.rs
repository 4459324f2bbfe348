//! The layout of every record, as numbers: what a change of the wire must change too.

use super::record::*;
use core::mem::{offset_of, size_of};

macro_rules! layout {
    ($($record:ident $size:literal: $($field:ident $offset:literal),+;)*) => {$(
        assert_eq!(size_of::<$record>(), $size, stringify!($record));
        $(assert_eq!(offset_of!($record, $field), $offset, concat!(stringify!($record), ".", stringify!($field)));)+
    )*};
}

#[test]
fn records_are_laid_out_so() {
    layout! {
        Header 16: kind 0, size 2, cpu 4, time 8;
        Task 40: tgid 0, tid 4, uid 8, netns 12, cgroup 16, comm 24;
        Walked 12: tgid 0, tid 4, netns 8;
        Tuple 40: family 0, protocol 2, local_port 4, remote_port 6, local 8, remote 24;
        Sock 96: id 0, cookie 8, tuple 16, netns 56, error 60, soft_error 64, mark 68, bound_device 72, backlog 76, max_backlog 80, uid 84, state 88, retransmits 89, direction 90, left 91, _pad 92;
        IcmpError 24: from 0, info 16, origin 20, kind 21, code 22, _pad 23;
        TcpCounters 48: bytes_acked 0, bytes_received 8, rtt_us 16, retransmitted 20, send_window 24, unacknowledged 28, idle_ms 32, user_timeout_ms 36, probes 40, _pad 41;
        Packet 88: tuple 0, sequence 40, acknowledgement 44, length 48, netns 52, in_device 56, device 60, device_name 64, tcp_flags 80, icmp_type 81, icmp_code 82, ttl 83, mark 84;
        Stack 96: frames 0;
        RouteLookups 24: count 0, tables 4, table 8, error 12, kind 16, device 20;
        Dialled 20: family 0, port 2, address 4;
        Attempt 184: header 0, started 16, task 24, sock 64, via 160, dialled 164;
        State 328: header 0, sock 16, old 112, new 116, current 120, icmp 160, tcp 184, stack 232;
        SocketError 176: header 0, sock 16, icmp 112, current 136;
        ResetReceived 160: header 0, sock 16, tcp 112;
        ResetSent 344: header 0, packet 16, sock 104, current 200, reason 240, _pad 244, stack 248;
        ResetAnswer 112: header 0, packet 16, reason 104, _pad 108;
        ResetEnd 272: header 0, sock 16, tcp 112, icmp 160, received 184, started 192, task 200, via 240, old 244, first 246, dialled 248, _pad 268;
        Retransmit 176: header 0, sock 16, tcp 112, result 160, length 164, sequence 168, _pad 172;
        SynAckRetransmit 160: header 0, listener 16, tuple 112, retransmits 152, _pad 156;
        Drop 472: header 0, packet 16, inner 104, sock 192, reason 288, socket_role 292, location 296, route_input 304, discovery_target 312, discovery_link 328, current 336, stack 376;
        IcmpReceived 152: header 0, packet 16, quoted 104, info 144, _pad 148;
        IcmpSent 200: header 0, packet 16, stack 104;
        NeighborFailed 64: header 0, address 16, family 32, _pad 34, netns 36, device 40, _pad2 44, device_name 48;
        CallFailed 224: header 0, started 16, task 24, sock 64, address 160, family 176, port 178, call 180, socket_type 182, result 184, cgroup_hook 188, scope 192, protocol 196, route 200;
        Dns 1144: header 0, current 16, cookie 56, tuple 64, netns 104, flow 108, length 110, resolving 112, data 120;
        ListenOverflow 200: header 0, listener 16, packet 112;
        Process 352: header 0, task 16, started 56, parent 64, argv_len 68, root 72, mounts 80, _pad 84, mounts_id 88, argv 96;
        ProcessExit 64: header 0, task 16, status 56, _pad 60;
        GetAddrInfo 360: header 0, task 16, started 56, result 64, family 68, name 72, service 328;
    }
}

#[test]
fn a_dns_record_may_be_cut_anywhere_in_its_data() {
    assert_eq!(DNS_HEAD + DNS_LEN, size_of::<Dns>());
}
