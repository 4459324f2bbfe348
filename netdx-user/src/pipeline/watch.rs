//! The live loop. Owns: what is waited for (events, answers, deadlines, signals, the traced command) and in which order it
//! is taken. Must not know: what an input means, how a report looks.

use super::{Command, Error, Session, answers::Answers, command};
use crate::{
    input::{Input, Stamped},
    live::{self, Live},
    time::Time,
};
use std::{process::ExitStatus, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
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

/// How many stories may wait for answers. Under a flood of failures what comes next waits as bytes, which are much
/// smaller; enough for the thread that answers to be busy all the time.
const WAITING: usize = 1024;

/// Watches until something ends it; gives the status of the traced command, if there was one.
///
/// # Errors
/// See [`Error`].
pub async fn watch(mut live: Live, session: &mut Session, until: Until) -> Result<Option<ExitStatus>, Error> {
    let mut answers = Answers::start(live.take_tasks())?;
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
    // What was recorded before the end is told, however long that takes. Asked once more, netdx ends at once.
    let mut ending = false;
    let mut hurry = false;
    while !session.is_full() && !hurry && (!ending || live.is_behind()) {
        let has_room = session.waiting() < WAITING;
        let deadline = session.deadline().filter(|_| !ending && !live.is_behind());
        tokio::select! {
            biased;
            signal = signals.next() => match &command {
                _ if ending => hurry = true,
                // It gets what it would have got without netdx; its end is ours. Asked twice, netdx goes first.
                Some(command) if !asked_to_stop => {
                    asked_to_stop = true;
                    command.pass_on(signal);
                }
                _ => {
                    command = None;
                    ending = true;
                }
            },
            ended = wait_for(&mut command), if !ending => {
                status = Some(ended?);
                command = None;
                ending = true;
            }
            () = at(end), if !ending => ending = true,
            facts = answers.next() => {
                // The kernel's side of the story comes first. Where there is more of that than is good to take at once,
                // the answers are as old as what was taken.
                let now = live::now();
                if has_room {
                    live.drain(&mut batch);
                }
                let t = if live.is_behind() { live.told() } else { now };
                batch.extend(facts.into_iter().map(|fact| Stamped { t, input: Input::Fact(fact) }));
            }
            () = live.readable(), if has_room => live.drain(&mut batch),
            () = at(deadline.map(instant_of)) => {
                // What happened before the deadline must be known when it is judged.
                let now = live::now();
                live.drain(&mut batch);
                if !live.is_behind() {
                    batch.push(Stamped { t: now, input: Input::Tick });
                }
            }
        }
        if ending {
            live.stop();
        }
        feed(&mut batch, session, &mut answers)?;
        // Under a flood something is always ready: signals are looked for nevertheless.
        tokio::task::yield_now().await;
    }
    if hurry && live.waiting() > 0 {
        batch.push(Stamped { t: live::now(), input: Input::Lost(live.waiting()) });
    }
    batch.push(Stamped { t: live::now(), input: Input::End });
    feed(&mut batch, session, &mut answers)?;
    // Stopped by a count: what is still open isn't shown any more.
    while !session.is_idle() && !session.is_full() && !hurry {
        let Some(deadline) = session.deadline() else { break };
        tokio::select! {
            biased;
            facts = answers.next() => {
                let t = live::now();
                batch.extend(facts.into_iter().map(|fact| Stamped { t, input: Input::Fact(fact) }));
            }
            _ = signals.next() => break,
            () = at(Some(instant_of(deadline))) => batch.push(Stamped { t: live::now(), input: Input::Tick }),
        };
        feed(&mut batch, session, &mut answers)?;
    }
    session.clock(live::utc_offset());
    session.finish()?;
    // What ended the run by itself leaves the command as it is. Its end is ours nevertheless, though nothing is watched any more.
    drop((live, answers));
    match command {
        Some(command) if !hurry => outlived_by(command, &mut signals, asked_to_stop).await,
        _ => Ok(status),
    }
}

/// The end of a command that goes on, and gets the signals meanwhile. None: asked twice to stop, netdx went first.
async fn outlived_by(
    mut command: Command,
    signals: &mut Signals,
    mut asked_to_stop: bool,
) -> Result<Option<ExitStatus>, Error> {
    loop {
        tokio::select! {
            biased;
            ended = command.wait() => return Ok(Some(ended?)),
            signal = signals.next() => {
                if asked_to_stop {
                    return Ok(None);
                }
                asked_to_stop = true;
                command.pass_on(signal);
            }
        }
    }
}

/// Takes inputs in, and passes the questions on that they raise.
fn feed(batch: &mut Vec<Stamped>, session: &mut Session, answers: &mut Answers) -> Result<(), Error> {
    let mut wants = Vec::new();
    for stamped in batch.drain(..) {
        wants.extend(session.input(stamped)?);
    }
    answers.ask(&wants);
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
