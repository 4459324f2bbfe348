//! Answers questions about this host on a thread of its own: some of them read a lot of files.
//!
//! Owns: that thread, and the promise that every question is answered: one that takes too long is said to be. Must not know:
//! what is asked.

use super::Error;
use crate::{
    fact::{Answer, Fact},
    host::Host,
    live::Tasks,
    want::Want,
};
use std::{
    collections::VecDeque,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until},
};

/// How long an answer may take: on an overloaded host a late verdict is better than a weaker one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that are answered together, at most. What they ask for in common is looked up once, which under a flood is
/// what counts: a search through every process and namespace takes milliseconds.
const TOGETHER: usize = 4096;

/// The asking end.
pub(super) struct Answers {
    wants: Sender<Asked>,
    facts: UnboundedReceiver<(u64, Vec<Fact>)>,
    /// What is asked and not answered yet, the oldest first.
    open: VecDeque<Open>,
    asked: u64,
    patience: Duration,
}

/// Questions on their way to the thread.
struct Asked {
    number: u64,
    wants: Vec<Want>,
}

/// Questions on their way.
struct Open {
    number: u64,
    until: Instant,
    /// None: they were given up.
    wants: Option<Vec<Want>>,
}

impl Answers {
    pub(super) fn start(tasks: Option<Tasks>) -> Result<Answers, Error> {
        let (wants, questions) = mpsc::channel();
        let (answers, facts) = unbounded_channel();
        let thread = thread::Builder::new().name("host".into()).spawn(move || answer_all(tasks, &questions, &answers));
        thread
            .map_err(|source| Error::System { operation: "start the thread that reads this host's state", source })?;
        Ok(Answers { wants, facts, open: VecDeque::new(), asked: 0, patience: PATIENCE })
    }

    /// Asks. A long list is answered in parts.
    pub(super) fn ask(&mut self, wants: &[Want]) {
        for wants in wants.chunks(TOGETHER) {
            self.asked += 1;
            let open = Open { number: self.asked, until: Instant::now() + self.patience, wants: Some(wants.to_vec()) };
            self.open.push_back(open);
            // Without the thread no answer comes, and that is said in time.
            _ = self.wants.send(Asked { number: self.asked, wants: wants.to_vec() });
        }
    }

    /// Waits for answers. Cancel safe.
    pub(super) async fn next(&mut self) -> Vec<Fact> {
        loop {
            let late = self.open.iter().find(|open| open.wants.is_some()).map(|open| open.until);
            tokio::select! {
                biased;
                Some((number, facts)) = self.facts.recv() => {
                    // The thread answers in the order in which it was asked.
                    while let Some(open) = self.open.pop_front() {
                        if open.number == number {
                            // An answer to what was given up may be too old for whoever asked again.
                            if open.wants.is_some() {
                                return facts;
                            }
                            break;
                        }
                    }
                }
                () = until(late) => {
                    if let Some(wants) = self.open.iter_mut().find_map(|open| open.wants.take()) {
                        let patience = self.patience;
                        return wants.into_iter().map(|want| unanswered(want, patience)).collect();
                    }
                }
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn unanswered(want: Want, patience: Duration) -> Fact {
    let why = format!("this host did not tell within {} s", patience.as_secs());
    Fact { want, answer: Answer::Unavailable(why) }
}

/// The thread.
fn answer_all(tasks: Option<Tasks>, questions: &Receiver<Asked>, answers: &UnboundedSender<(u64, Vec<Fact>)>) {
    let mut host = Host::with(tasks);
    while let Ok(first) = questions.recv() {
        // What was asked meanwhile is answered with it.
        let mut together = vec![first];
        let mut count = together[0].wants.len();
        while count < TOGETHER
            && let Ok(more) = questions.try_recv()
        {
            count += more.wants.len();
            together.push(more);
        }
        let wants: Vec<&Want> = together.iter().flat_map(|asked| &asked.wants).collect();
        let mut found = host.answer_together(&wants).into_iter();
        for Asked { number, wants } in together {
            let facts = wants.into_iter().zip(&mut found).map(|(want, answer)| Fact { want, answer }).collect();
            if answers.send((number, facts)).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_answered_is_said_to_be() {
        let (wants, _questions) = mpsc::channel();
        let (thread, facts) = unbounded_channel();
        let patience = Duration::from_secs(1);
        let mut answers = Answers { wants, facts, open: VecDeque::new(), asked: 0, patience };
        let want = Want::Process { pid: 7 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            answers.ask(std::slice::from_ref(&want));
            let began = Instant::now();
            let facts = answers.next().await;
            assert!(began.elapsed() >= patience);
            let [Fact { want: of, answer: Answer::Unavailable(why) }] = &facts[..] else { panic!("{facts:?}") };
            assert_eq!((of, why.as_str()), (&want, "this host did not tell within 1 s"));

            // Asked again, the answer to the first question is not taken for one to the second.
            answers.ask(std::slice::from_ref(&want));
            let fact = |answer| vec![Fact { want: want.clone(), answer }];
            thread.send((1, fact(Answer::Unavailable("old".into())))).expect("it is read");
            thread.send((2, fact(Answer::Process(None)))).expect("it is read");
            assert_eq!(answers.next().await, fact(Answer::Process(None)));
        });
    }
}
