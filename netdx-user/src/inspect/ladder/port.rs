//! TCP connections to every address, side by side. Owns: [`Attempt`], and the rungs of ports. Must not know: what is spoken there.

use super::{Ladder, Rung, Status, Step, names::Names};
use crate::{
    inspect::{Ask, all, nanoseconds},
    report::Verdict,
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, time::timeout};

/// One connection that was tried.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Where to.
    pub(super) endpoint: SocketAddr,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// Why it failed; none: it was established.
    pub(super) error: Option<Failure>,
}

/// Why there was no connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing happened within this time.
    Silence(Duration),
    /// The kernel said so.
    Io(io::Error),
}

impl Attempt {
    /// One that failed outside of [`connect`].
    pub(super) fn failed(endpoint: SocketAddr, elapsed: Duration, error: io::Error) -> Attempt {
        Attempt { endpoint, elapsed, error: Some(Failure::Io(error)) }
    }

    /// Somebody answered, with a yes or a no.
    fn answered(&self) -> bool {
        let refused = [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset];
        match &self.error {
            None => true,
            Some(Failure::Io(error)) => refused.contains(&error.kind()),
            Some(Failure::Silence(_)) => false,
        }
    }
}

/// Connects and closes again.
pub(super) async fn connect(endpoint: SocketAddr, patience: Duration) -> Attempt {
    let began = Instant::now();
    let error = match timeout(patience, TcpStream::connect(endpoint)).await {
        Ok(Ok(_stream)) => None,
        Ok(Err(error)) => Some(Failure::Io(error)),
        Err(_) => Some(Failure::Silence(patience)),
    };
    Attempt { endpoint, elapsed: began.elapsed(), error }
}

impl<H: Ask> Ladder<'_, H> {
    /// Connects to every address there is a way to; returns the endpoints that accepted.
    pub(super) async fn ports(&mut self, names: &Names) -> Vec<SocketAddr> {
        let Some(port) = self.request.target.port else {
            self.push(Rung::skipped(Step::Port, "no port was given"));
            let mut rungs = Vec::new();
            for &address in &names.addresses {
                let began = Instant::now();
                rungs.push(match self.no_way(address) {
                    Some(why) => Rung::skipped(Step::Ping, why).about(address),
                    None => self.pinged(Step::Ping, address).await.took(began),
                });
            }
            self.settle_ways(rungs.iter().filter(|r| r.status == Status::Ok).filter_map(|r| r.address));
            for (rung, &address) in rungs.into_iter().zip(&names.addresses) {
                let told = self.behind(address).map(|why| Rung::skipped(Step::Ping, why).about(address));
                self.push(told.unwrap_or(rung));
            }
            return Vec::new();
        };
        if names.addresses.is_empty() {
            self.push(Rung::skipped(Step::Port, format!("port {port}: there is no address to connect to")));
            return Vec::new();
        }
        let tried: Vec<SocketAddr> = names
            .addresses
            .iter()
            .filter(|&&a| self.no_way(a).is_none())
            .map(|&address| self.endpoint(address, port))
            .collect();
        let patience = self.request.patience;
        let mut attempts = all(tried.into_iter().map(|endpoint| connect(endpoint, patience))).await;
        self.settle_ways(attempts.iter().filter(|a| a.answered()).map(|a| a.endpoint.ip()));
        let mut reached = Vec::new();
        for &address in &names.addresses {
            let endpoint = self.endpoint(address, port);
            let Some(index) = attempts.iter().position(|a| a.endpoint == endpoint) else {
                let why = self.no_way(address).unwrap_or_default();
                self.push(Rung::skipped(Step::Port, why).at(endpoint));
                continue;
            };
            let attempt = attempts.swap_remove(index);
            let mut rung = match (&attempt.error, self.behind(address)) {
                (_, Some(why)) => Rung::skipped(Step::Port, why),
                (None, None) => {
                    reached.push(endpoint);
                    Rung::ok(Step::Port, "accepts connections")
                }
                (Some(_), None) => Rung::failed(Step::Port, self.proven(&attempt).await),
            }
            .at(endpoint);
            rung.elapsed_ns = Some(nanoseconds(attempt.elapsed));
            self.push(rung);
        }
        reached
    }

    /// The verdict of a connection that failed: the kernel's word where the tracer has it, else what the errno and the facts say.
    async fn proven(&mut self, attempt: &Attempt) -> Verdict {
        if let Some(witness) = &mut self.witness
            && let Some(mut verdict) = witness.verdict(attempt.endpoint, self.host).await
        {
            // Who failed is netdx itself: what is responsible is what is asked for.
            if !verdict.because.is_empty() {
                verdict.summary.clone_from(&verdict.because);
            }
            return verdict;
        }
        self.judge(attempt)
    }

    /// Why it makes no sense to try an address; none: there is a way to it.
    fn no_way(&self, address: IpAddr) -> Option<String> {
        (self.routes.get(&address) == Some(&false)).then(|| "there is no route to it".into())
    }
}
