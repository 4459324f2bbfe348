//! The lowest rungs: this host's interfaces, packets to itself, and a public address when asked for.
//! Owns: those rungs. Must not know: names and services.

use super::{Ladder, Rung, Status, Step, judge, ping, port, verdict};
use crate::{
    fact::{Answer, Interface},
    inspect::{Ask, nanoseconds},
    quantity::duration,
    report::Certainty,
    want::Want,
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};
use tokio::{net::UdpSocket, time::timeout};

/// How long a packet to oneself may take.
const SELF: Duration = Duration::from_secs(1);

impl<H: Ask> Ladder<'_, H> {
    /// Interfaces, then loopback.
    pub(super) async fn this_host(&mut self) {
        let began = Instant::now();
        let answer = self.host.ask(&Want::Interfaces { netns: self.request.netns });
        let rung = match answer {
            Answer::Interfaces(interfaces) => {
                self.interfaces = interfaces;
                self.judge_interfaces()
            }
            Answer::Unavailable(reason) => Rung::skipped(Step::Interfaces, format!("can't be listed: {reason}")),
            _ => Rung::skipped(Step::Interfaces, "can't be listed"),
        };
        if rung.status == Status::Failed {
            self.hold(rung.took(began));
        } else {
            self.push(rung.took(began));
        }
        let began = Instant::now();
        let rung = self.loopback().await;
        self.push(rung.took(began));
    }

    /// Whether an address is one of this namespace's own.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.interfaces.iter().any(|i| i.has(address))
    }

    /// With the addresses of the target known: whether it matters that no interface is up.
    pub(super) fn settle_interfaces(&mut self, addresses: &[IpAddr]) {
        let failed = |r: &Rung| r.step == Step::Interfaces && r.status == Status::Failed;
        let Some(index) = self.rungs.iter().position(failed) else { return };
        if addresses.iter().any(|address| self.is_own(*address)) {
            self.forgive(index, "the target is this host");
        }
        self.settle(index);
    }

    fn judge_interfaces(&self) -> Rung {
        let others: Vec<&Interface> = self.interfaces.iter().filter(|i| !i.loopback).collect();
        let usable = |i: &&&Interface| i.up && i.carrier && i.addresses.iter().any(|(a, _)| !is_link_local(*a));
        let good: Vec<&&Interface> = others.iter().filter(usable).collect();
        if !good.is_empty() {
            let bad = others.iter().filter(|i| !(i.addresses.is_empty() || i.up && i.carrier));
            let list: Vec<String> = good.into_iter().chain(bad).map(|i| describe(i)).collect();
            return Rung::ok(Step::Interfaces, list.join("; "));
        }
        let states: Vec<String> = others.iter().map(|i| describe(i)).collect();
        let states = if states.is_empty() { "there is none but loopback".to_owned() } else { states.join("; ") };
        if others.iter().any(|i| i.up && i.carrier) {
            // Up, and no address: there is no code for that below the route, which fails on its own rung.
            return Rung::skipped(Step::Interfaces, format!("no interface has an address beyond its link: {states}"));
        }
        let summary = format!("no interface is up but loopback: {states}");
        let mut failed = verdict("route.interface-down", Certainty::Proven, summary, &[("interfaces", states)]);
        failed.advice = others.iter().map(|i| judge::bring_up(i)).collect();
        Rung::failed(Step::Interfaces, failed)
    }

    async fn loopback(&self) -> Rung {
        let mut works = Vec::new();
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            match to_itself(address).await {
                Ok(()) => works.push(address.to_string()),
                // A host without IPv6 has no ::1, and nothing is wrong with that.
                Err(error) if address.is_ipv6() && error.kind() == io::ErrorKind::AddrNotAvailable => {}
                Err(error) if address.is_ipv6() && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                Err(error) => {
                    let down = self.interfaces.iter().find(|i| i.loopback && !i.up);
                    return match down {
                        Some(lo) => {
                            let summary = format!("{} is down: {address} can't be reached ({error})", lo.name);
                            let proof = [("interfaces", describe(lo))];
                            let mut failed = verdict("route.interface-down", Certainty::Proven, summary, &proof);
                            failed.advice.push(format!("bring it up: ip link set {} up", lo.name));
                            Rung::failed(Step::Loopback, failed)
                        }
                        None => {
                            let summary = format!("a datagram to {address} does not arrive ({error})");
                            let proof = [("socket", error.to_string())];
                            Rung::failed(Step::Loopback, verdict("unexplained", Certainty::Possible, summary, &proof))
                        }
                    };
                }
            }
        }
        Rung::ok(Step::Loopback, format!("packets from {} to itself arrive", works.join(" and from ")))
    }

    /// A public address, only when asked for.
    pub(super) async fn internet(&mut self) {
        let Some((address, tcp)) = self.request.internet else {
            self.push(Rung::skipped(Step::Internet, "not asked for (--internet ADDRESS)"));
            return;
        };
        self.way_to(address).await;
        let began = Instant::now();
        let rung = match tcp {
            Some(number) => {
                let endpoint = self.endpoint(address, number);
                let attempt = port::connect(endpoint, self.request.patience).await;
                match attempt.error {
                    None => Rung::ok(Step::Internet, "accepts connections"),
                    Some(_) => Rung::failed(Step::Internet, self.judge(&attempt)),
                }
                .at(endpoint)
            }
            None => self.pinged(Step::Internet, address).await,
        };
        self.settle_ways((rung.status == Status::Ok).then_some(address));
        self.push(rung.took(began));
    }

    /// A rung that is one ping.
    pub(super) async fn pinged(&mut self, step: Step, address: IpAddr) -> Rung {
        let began = Instant::now();
        match ping::ping(address, self.link(address), self.request.patience).await {
            Ok(took) => Rung::ok(step, format!("answers ping in {}", duration(nanoseconds(took)))),
            Err(ping::Error::NotAllowed) => Rung::skipped(step, ping::Error::NotAllowed.to_string()),
            Err(ping::Error::Silence) => {
                let summary = format!(
                    "{address} did not answer a ping within {} s: it may be down, or pings may be filtered",
                    self.request.patience.as_secs_f32()
                );
                let proof = [("ping", "echo requests sent, nothing came back".to_owned())];
                Rung::failed(step, verdict("timeout.silent", Certainty::Possible, summary, &proof))
            }
            Err(ping::Error::Io(error)) => {
                let attempt = port::Attempt::failed(self.endpoint(address, 0), began.elapsed(), error);
                Rung::failed(step, self.judge(&attempt))
            }
        }
        .about(address)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// `eth0 up 10.0.0.2/24`
fn describe(interface: &Interface) -> String {
    let state = match (interface.up, interface.carrier) {
        (false, _) => "down",
        (true, false) => "up, no carrier",
        (true, true) => "up",
    };
    let addresses: Vec<String> = interface
        .addresses
        .iter()
        .filter(|(a, _)| !is_link_local(*a))
        .map(|(a, length)| format!("{a}/{length}"))
        .collect();
    let addresses = if addresses.is_empty() { "no address".into() } else { addresses.join(" ") };
    format!("{} {state} {addresses}", interface.name)
}

/// Sends a datagram from an address to itself and waits for it.
async fn to_itself(address: IpAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((address, 0)).await?;
    let here = socket.local_addr()?;
    let sent = *b"netdx";
    socket.send_to(&sent, here).await?;
    let mut buffer = [0; 16];
    loop {
        let (length, from) = timeout(SELF, socket.recv_from(&mut buffer)).await.map_err(io::Error::from)??;
        if from == here && buffer[..length] == sent {
            return Ok(());
        }
    }
}
