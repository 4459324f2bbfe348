//! Answers against the system's own tools, in namespaces made for the test. They need root; an ordinary user can't make a
//! namespace, and what it can see is tested beside each file.
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod agreement;
mod places;
mod routes;
mod rules;
mod sockets;

use super::*;
use crate::{
    event::{Protocol, Tuple},
    fact::{Listener, ResolvConf, Route},
};
use std::{
    net::{IpAddr, TcpListener},
    os::{fd::AsFd, unix::fs::MetadataExt},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Namespaces joined by a veth pair: 10.99.0.1/24 and fd99::1/64 on `va` in the first, .2 on `vb` in the second.
pub(super) struct Lab {
    names: [String; 2],
}

static NEXT: AtomicU32 = AtomicU32::new(0);

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether it becomes true within some seconds, for what the kernel does in its own time.
fn eventually(mut is_true: impl FnMut() -> bool) -> bool {
    (0..150).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        is_true()
    })
}

impl Lab {
    /// None: not root.
    pub(super) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!(
                "skipped: making network namespaces needs root, this is uid {}",
                rustix::process::geteuid().as_raw()
            );
            return None;
        }
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let names = ["a", "b"].map(|side| format!("host-{}-{n}{side}", std::process::id()));
        let [a, b] = &names;
        let lab = Self { names: names.clone() };
        run(&format!("ip netns add {a} && ip netns add {b}"));
        run(&format!("ip -n {a} link add va type veth peer name vb netns {b}"));
        for (name, dev, host) in [(a, "va", 1), (b, "vb", 2)] {
            run(&format!(
                "ip -n {name} link set lo up && ip -n {name} link set {dev} up && ip -n {name} addr add 10.99.0.{host}/24 dev {dev} \
                 && ip -n {name} addr add fd99::{host}/64 dev {dev} nodad"
            ));
        }
        // The kernel makes an IPv6 address the host's a moment later, also where nobody else is asked whether he has it.
        let is_local = |(name, host): (&String, u8)| {
            !run(&format!("ip -n {name} -6 route show table local fd99::{host}")).is_empty()
        };
        assert!(eventually(|| [(a, 1), (b, 2)].into_iter().all(is_local)));
        Some(lab)
    }

    pub(super) fn netns(&self, side: usize) -> Netns {
        Netns(std::fs::metadata(format!("/run/netns/{}", self.names[side])).unwrap().ino() as u32)
    }

    fn ip(&self, side: usize, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.names[side]))
    }

    /// Does something inside a namespace, as a test does that opens sockets there.
    pub(super) fn within<T: Send>(&self, side: usize, work: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/run/netns/{}", self.names[side])).unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                rustix::thread::move_into_link_name_space(file.as_fd(), None).unwrap();
                work()
            })
            .join()
            .unwrap()
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn listeners(host: &mut Host, protocol: Protocol, port: u16) -> Vec<Listener> {
    match host.answer(&Want::Listeners { protocol, port }) {
        Answer::Listeners(list) => list,
        other => panic!("{other:?}"),
    }
}

fn route(host: &mut Host, netns: Netns, to: &str) -> Route {
    match host.answer(&Want::Route { netns, to: ip(to), from: None, device: 0, mark: 0, uid: 0, flow: None }) {
        Answer::Route(route) => route,
        other => panic!("{other:?}"),
    }
}

/// Anybody can ask about the namespace that netdx runs in. What only root is told is said to be so.
#[test]
fn every_question_about_the_own_namespace_is_answered() {
    let mut host = Host::new();
    let netns = host.namespaces().unwrap().own();
    let (pid, protocol) = (std::process::id(), Protocol::Tcp);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, port) = (ip("127.0.0.1"), listener.local_addr().unwrap().port());
    let tuple = Tuple { protocol, local: address, local_port: port, remote: ip("0.0.0.0"), remote_port: 0 };
    let own = host.answer(&Want::Process { pid });
    assert!(matches!(&own, Answer::Process(Some(p)) if p.pid == pid && p.netns == Some(netns)), "{own:?}");
    let found = listeners(&mut host, protocol, port);
    assert!(found.iter().any(|l| l.netns == netns && l.owners.iter().any(|o| o.pid == pid)), "{found:?}");
    for want in [
        Want::Owners { address, from: netns },
        Want::Route { netns, to: address, from: None, device: 0, mark: 0, uid: 0, flow: None },
        Want::Neighbor { netns, address, device: 0 },
        Want::Interfaces { netns },
        Want::Resolver { pid, root: None },
        Want::Hosts { pid, root: None, name: "localhost".into() },
        Want::Sysctl { netns, key: "ipv4/ip_forward".into() },
        Want::PortUse { netns, protocol, remote: address, remote_port: port },
        Want::Holders { netns, protocol, address, port },
        Want::Owner { netns, tuple },
        Want::Namespace { netns },
        Want::Counters { netns },
    ] {
        let answer = host.answer(&want);
        assert!(!matches!(answer, Answer::Unavailable(_)), "{want:?}: {answer:?}");
    }
    for want in [Want::Ruleset { netns }, Want::Conntrack { netns }, Want::BpfPrograms { netns, cgroup: 1 }] {
        if let Answer::Unavailable(why) = host.answer(&want) {
            eprintln!("{want:?}: {why}");
            let told = ["root", "installed", "permitted", "not loaded", "CAP_"].iter().any(|word| why.contains(word));
            assert!(told, "{want:?}: {why:?} does not say what would help");
        }
    }
    let elsewhere = host.answer(&Want::Interfaces { netns: Netns(1) });
    assert!(matches!(&elsewhere, Answer::Unavailable(why) if why.contains("namespace 1 ")), "{elsewhere:?}");
}
