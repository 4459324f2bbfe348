//! The live loop. Owns: what is waited for (events, answers, deadlines, signals, the traced command) and in which order it
//! is taken. Must not know: what an input means, how a report looks.

use super::{Command, Error, Session, command};
use crate::{
    fact::Fact,
    host::Host,
    input::{Input, Stamped},
    live::{self, Live},
    time::Time,
    want::Want,
};
use std::{
    process::ExitStatus,
    sync::mpsc::{self, Sender},
    thread,
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, sleep_until},
};

/// What ends a live run by itself.
#[derive(Debug, Default)]
pub struct Until {
    /// The traced command, held until the probes are attached.
    pub command: Option<Command>,
    /// So much time has passed.
    pub duration: Option<Duration>,
}

/// Watches until something ends it; gives the status of the traced command, if there was one.
///
/// # Errors
/// See [`Error`].
pub async fn watch(mut live: Live, session: &mut Session, until: Until) -> Result<Option<ExitStatus>, Error> {
    let mut host = HostThread::start()?;
    let mut signals = Signals::watch()?;
    session.start(true)?;
    let mut command = until.command;
    if let Some(command) = &command {
        live.add_to_tree(command.pid()).map_err(|source| command::Error::Follow { source })?;
        command.release()?;
    }
    let end = until.duration.map(|duration| Instant::now() + duration);
    let mut batch = Vec::new();
    let mut status = None;
    let mut asked_to_stop = false;
    while !session.is_full() {
        let deadline = session.deadline();
        tokio::select! {
            biased;
            signal = signals.next() => match &command {
                // It gets what it would have got without netdx; its end is ours. Asked twice, netdx goes first.
                Some(command) if !asked_to_stop => {
                    asked_to_stop = true;
                    command.pass_on(signal);
                }
                _ => break,
            },
            ended = wait_for(&mut command) => {
                status = Some(ended?);
                break;
            }
            () = at(end) => break,
            answer = host.answers.recv() => {
                let Some(fact) = answer else { break };
                // The kernel's side of the story comes first.
                live.drain(&mut batch);
                batch.push(Stamped { t: live::now(), input: Input::Fact(fact) });
            }
            ready = live.readable() => {
                ready.map_err(Error::Wait)?;
                live.drain(&mut batch);
            }
            () = at(deadline.map(instant_of)) => {
                // What happened before the deadline must be known when it is judged.
                let now = live::now();
                live.drain(&mut batch);
                batch.push(Stamped { t: now, input: Input::Tick });
            }
        }
        feed(&mut batch, session, &host)?;
    }
    live.drain(&mut batch);
    batch.push(Stamped { t: live::now(), input: Input::End });
    feed(&mut batch, session, &host)?;
    // Stopped by a count: what is still open isn't shown any more.
    while !session.is_idle() && !session.is_full() {
        let Some(deadline) = session.deadline() else { break };
        let input = tokio::select! {
            biased;
            answer = host.answers.recv() => match answer {
                Some(fact) => Input::Fact(fact),
                None => break,
            },
            _ = signals.next() => break,
            () = at(Some(instant_of(deadline))) => Input::Tick,
        };
        batch.push(Stamped { t: live::now(), input });
        feed(&mut batch, session, &host)?;
    }
    session.clock(live::utc_offset());
    session.finish()?;
    Ok(status)
}

fn feed(batch: &mut Vec<Stamped>, session: &mut Session, host: &HostThread) -> Result<(), Error> {
    for stamped in batch.drain(..) {
        session.input(stamped)?.into_iter().for_each(|want| host.ask(want));
    }
    session.flush()
}

async fn wait_for(command: &mut Option<Command>) -> Result<ExitStatus, Error> {
    match command {
        Some(command) => Ok(command.wait().await?),
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// A moment of the events' clock on the runtime's clock: close enough to wait for, and checked again afterwards.
fn instant_of(time: Time) -> Instant {
    Instant::now() + time.since(live::now())
}

/// Answers questions about this host on a thread of its own: some of them read a lot of files.
struct HostThread {
    wants: Sender<Want>,
    answers: UnboundedReceiver<Fact>,
}

impl HostThread {
    fn start() -> Result<HostThread, Error> {
        let (wants, questions) = mpsc::channel::<Want>();
        let (facts, answers) = unbounded_channel();
        let answer = move || {
            let mut host = Host::new();
            for want in questions {
                let answer = host.answer(&want);
                if facts.send(Fact { want, answer }).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("host".into()).spawn(answer);
        thread
            .map_err(|source| Error::System { operation: "start the thread that reads this host's state", source })?;
        Ok(HostThread { wants, answers })
    }

    fn ask(&self, want: Want) {
        // Without the thread no answer comes, and the core says what it could not find out.
        _ = self.wants.send(want);
    }
}

/// The signals that end a run.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn watch() -> Result<Signals, Error> {
        let watch = |kind| {
            signal(kind).map_err(|source| Error::System { operation: "watch for signals that end the run", source })
        };
        Ok(Signals {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        }
    }
}
