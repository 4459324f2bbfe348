//! The tracer beside the ladder: what the kernel saw of the connections that it tried. Owns: [`Witness`].
//! Must not know: how a connection is tried, how a verdict is found.

use crate::{
    diagnosis::{self, Diagnosis},
    event::Protocol,
    fact::Fact,
    input::{Input, Stamped},
    inspect::Ask,
    live::{self, KernelFilter, Live},
    report::{Direction, Report, Verdict},
};
use std::{collections::VecDeque, net::SocketAddr, time::Duration};
use tokio::time::{Instant, timeout};

/// How long the kernel's records and the host's answers may take after a connection has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often deadlines are looked at while nothing comes.
const PAUSE: Duration = Duration::from_millis(20);

/// The tracer, for this process alone.
pub(super) struct Witness {
    live: Live,
    diagnosis: Diagnosis,
    reports: Vec<Report>,
}

impl Witness {
    /// Attaches the probes.
    pub(super) fn start() -> Result<Witness, live::Error> {
        let filter = KernelFilter { pids: vec![std::process::id()], ..KernelFilter::default() };
        // Names are asked for by the ladder itself, of every server: there is nothing to learn from watching that.
        let live = Live::start(&live::Settings { filter, own: true, dns: false, ..live::Settings::default() })?;
        let diagnosis = Diagnosis::new(live.coverage().clone(), diagnosis::Settings::default());
        Ok(Witness { live, diagnosis, reports: Vec::new() })
    }

    /// The verdict on the connection to `endpoint` that has just failed; none: the kernel showed nothing that explains it.
    pub(super) async fn verdict(&mut self, endpoint: SocketAddr, host: &mut impl Ask) -> Option<Verdict> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.listen(host);
            if let Some(index) = self.reports.iter().position(|report| is_about(report, endpoint)) {
                return self.reports.swap_remove(index).verdict.filter(|verdict| verdict.code != "unexplained");
            }
            if Instant::now() >= end {
                return None;
            }
            // Whether records wait or the time is up: both are looked at next.
            _ = timeout(PAUSE, self.live.readable()).await;
        }
    }

    /// Takes what has been recorded, and answers what the core asks about it.
    fn listen(&mut self, host: &mut impl Ask) {
        let mut batch = Vec::new();
        let now = live::now();
        self.live.drain(&mut batch);
        while self.live.is_behind() {
            self.live.drain(&mut batch);
        }
        let mut inputs = VecDeque::from(batch);
        if self.diagnosis.deadline().is_some_and(|deadline| deadline < now) {
            inputs.push_back(Stamped { t: now, input: Input::Tick });
        }
        while let Some(input) = inputs.pop_front() {
            let step = self.diagnosis.apply(input);
            self.reports.extend(step.reports);
            inputs.extend(step.wants.into_iter().map(|want| {
                let answer = host.ask(&want);
                Stamped { t: live::now(), input: Input::Fact(Fact { want, answer }) }
            }));
        }
    }
}

fn is_about(report: &Report, endpoint: SocketAddr) -> bool {
    report.direction == Direction::Outbound
        && report.protocol == Protocol::Tcp
        && report.verdict.is_some()
        && report.remote.is_some_and(|remote| remote.addr == endpoint.ip() && remote.port == endpoint.port())
}
