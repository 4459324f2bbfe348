//! The core as one thing: inputs go in, questions and reports come out.
//!
//! Owns: the way of a story from its end over the host's answers to its report. Must not know: clocks, the host, the
//! screen. The same inputs give the same reports, live and replayed.

use crate::{
    coverage::Coverage,
    event::Opened,
    explain,
    fact::{Answer, Fact},
    input::{Input, Stamped},
    report::{Outcome, Report},
    story::{Connection, Lookup, Story, Tracker},
    time::Time,
    want::Want,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

/// How long a story waits for the host's answers. A live source says in time what it could not find out; this is for a
/// recording that lacks answers. Much longer than a source takes to answer, because under a flood time passes in leaps.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many answers are kept that nobody has asked for.
const UNASKED: usize = 1024;

/// What changes reports. Written into recordings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Connections and lookups that worked are reported, too.
    pub all: bool,
    /// What took longer than this is reported as slow.
    pub slow: Option<Duration>,
    /// Lookups are reported.
    pub dns: bool,
    /// The listener's side is reported even where the other side is on this host.
    pub inbound: bool,
}

/// What comes of one input.
#[derive(Debug, Default)]
pub struct Step {
    /// Questions for the host: to be answered with `Input::Fact`.
    pub wants: Vec<Want>,
    /// Reports that have become certain.
    pub reports: Vec<Report>,
    /// Stories that were given up untold, for too many were open at once.
    pub given_up: u64,
}

/// A story that has ended and waits for answers.
#[derive(Debug)]
struct Inquiry {
    story: Story,
    /// What it still wants.
    open: Vec<Want>,
    /// The story's end: an answer to a question asked before that is too old.
    since: Time,
    deadline: Time,
}

/// A question on its way to the host.
#[derive(Debug)]
struct Question {
    asked: Time,
    /// The inquiries that wait for the answer, by number.
    waiting: BTreeSet<u64>,
}

/// The core.
#[derive(Debug)]
pub struct Diagnosis {
    coverage: Coverage,
    settings: Settings,
    tracker: Tracker,
    /// By number: in the order in which they began, which is that of their deadlines. Under a flood of failures thousands
    /// wait at once, so none is looked for in a row of all.
    inquiries: BTreeMap<u64, Inquiry>,
    /// How many inquiries there have been.
    begun: u64,
    questions: HashMap<Want, Question>,
    /// Answers to what nobody has asked yet, and when they came: a recording has those to the questions of the netdx that
    /// made it, which may have asked in another order.
    unasked: HashMap<Want, (Time, Arc<Answer>)>,
    now: Time,
    ended: bool,
}

impl Diagnosis {
    /// A core that knows nothing yet.
    #[must_use]
    pub fn new(coverage: Coverage, settings: Settings) -> Self {
        let tracker = Tracker::new(crate::story::Settings {
            all: settings.all,
            slow: settings.slow,
            inbound: settings.inbound,
            getaddrinfo: coverage.has("getaddrinfo"),
        });
        Diagnosis {
            coverage,
            settings,
            tracker,
            inquiries: BTreeMap::new(),
            begun: 0,
            questions: HashMap::new(),
            unasked: HashMap::new(),
            now: Time::default(),
            ended: false,
        }
    }

    /// Takes one input.
    pub fn apply(&mut self, input: Stamped) -> Step {
        self.now = self.now.max(input.t);
        let mut step = Step::default();
        match input.input {
            Input::Fact(fact) => self.answered(fact, &mut step),
            Input::Event(event) => self.tracker.event(input.t, event),
            Input::Lost(n) => self.tracker.lost(input.t, n),
            Input::Malformed(_) => self.tracker.lost(input.t, 1),
            Input::Tick => self.tracker.tick(input.t),
            Input::End => {
                self.ended = true;
                self.tracker.end();
            }
        }
        step.given_up = self.tracker.take_given_up();
        for want in self.tracker.take_wants() {
            self.ask(want, None, &mut step);
        }
        while let Some(story) = self.tracker.take_ended() {
            self.open(story, &mut step);
        }
        while let Some(first) = self.inquiries.first_entry()
            && first.get().deadline <= self.now
        {
            let (number, mut inquiry) = first.remove_entry();
            let none = Arc::new(Answer::Unavailable("no answer came".into()));
            for want in std::mem::take(&mut inquiry.open) {
                if let Some(question) = self.questions.get_mut(&want) {
                    question.waiting.remove(&number);
                }
                tell(&self.tracker, &mut inquiry.story, &want, &none);
            }
            // What was to be asked after that may well be known.
            self.begun += 1;
            inquiry.deadline = self.now.after(PATIENCE);
            self.inquire(self.begun, inquiry, &mut step);
        }
        step
    }

    /// When the source must send a tick, if nothing else comes before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let inquiries = self.inquiries.first_key_value().map(|(_, i)| i.deadline);
        [self.tracker.deadline(), inquiries].into_iter().flatten().min()
    }

    /// Nothing waits any more: after `Input::End` the source may stop once this is true.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.inquiries.is_empty() && self.tracker.deadline().is_none()
    }

    /// How many stories wait for answers.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inquiries.len()
    }

    /// Asks for an inquiry, or for the tracker.
    fn ask(&mut self, want: Want, inquiry: Option<u64>, step: &mut Step) {
        let question = self.questions.entry(want).or_insert_with_key(|want| {
            step.wants.push(want.clone());
            Question { asked: self.now, waiting: BTreeSet::new() }
        });
        question.waiting.extend(inquiry);
    }

    fn open(&mut self, story: Story, step: &mut Step) {
        if !self.worth_telling(&story) {
            return;
        }
        let since = match &story {
            Story::Connection(c) => c.ended.or(c.established).unwrap_or(c.began),
            Story::Lookup(l) => l.ended.unwrap_or(l.began),
        };
        self.begun += 1;
        let inquiry = Inquiry { story, open: Vec::new(), since, deadline: self.now.after(PATIENCE) };
        self.inquire(self.begun, inquiry, step);
    }

    /// Asks what is not known yet of a story; once nothing is left to ask, it is reported.
    fn inquire(&mut self, number: u64, mut inquiry: Inquiry, step: &mut Step) {
        loop {
            inquiry.open = wants(&inquiry.story);
            let came = |want: &Want| self.unasked.get(want).filter(|(time, _)| *time >= inquiry.since);
            let known: Vec<_> =
                inquiry.open.iter().filter_map(|w| Some((w.clone(), Arc::clone(&came(w)?.1)))).collect();
            if known.is_empty() {
                break;
            }
            known.iter().for_each(|(want, answer)| tell(&self.tracker, &mut inquiry.story, want, answer));
        }
        if inquiry.open.is_empty() {
            return self.close(&inquiry.story, step);
        }
        for want in &inquiry.open {
            self.ask(want.clone(), Some(number), step);
        }
        self.inquiries.insert(number, inquiry);
    }

    fn answered(&mut self, fact: Fact, step: &mut Step) {
        let Some(question) = self.questions.remove(&fact.want) else {
            // Whoever asks later than this wants to know what is so by then.
            self.unasked.retain(|_, (came, _)| came.after(PATIENCE) > self.now);
            if self.unasked.len() >= UNASKED {
                self.unasked.clear();
            }
            self.unasked.insert(fact.want, (self.now, Arc::new(fact.answer)));
            return;
        };
        self.tracker.fact(&fact);
        let (want, answer) = (fact.want, Arc::new(fact.answer));
        let mut ready = Vec::new();
        for number in question.waiting {
            let Some(inquiry) = self.inquiries.get_mut(&number) else { continue };
            if question.asked < inquiry.since {
                // The host may have looked before this story ended: ask again.
                self.ask(want.clone(), Some(number), step);
                continue;
            }
            inquiry.open.retain(|open| *open != want);
            tell(&self.tracker, &mut inquiry.story, &want, &answer);
            if inquiry.open.is_empty() {
                ready.extend(self.inquiries.remove_entry(&number));
            }
        }
        ready.sort_by_key(|(_, inquiry)| inquiry.since);
        for (number, inquiry) in ready {
            // What is known now may raise further questions.
            self.inquire(number, inquiry, step);
        }
    }

    fn close(&self, story: &Story, step: &mut Step) {
        let report = match story {
            Story::Connection(c) => self.connection(c),
            Story::Lookup(l) => self.lookup(l),
        };
        step.reports.extend(report);
    }

    fn worth_telling(&self, story: &Story) -> bool {
        match story {
            Story::Connection(c) => {
                c.outcome != Outcome::Established
                    || self.settings.all
                    || self.settings.slow.is_some_and(|slow| c.elapsed() >= slow)
            }
            Story::Lookup(l) => {
                self.settings.dns
                    && (!l.succeeded()
                        || self.settings.all
                        || self.settings.slow.is_some_and(|slow| l.elapsed() >= slow))
            }
        }
    }

    fn connection(&self, c: &Connection) -> Option<Report> {
        let other_tells = c.folded || c.errno.is_none() && explain::peer_is_here(c);
        if c.opened != Opened::Here && other_tells && !self.settings.inbound {
            return None;
        }
        if c.mirrored && !explain::peer_is_here(c) {
            // It was for somebody else: passing through.
            return None;
        }
        if c.traced_back && self.tracker.tells_of(c.tuple) {
            return None;
        }
        let report = explain::connection_report(c, &self.coverage)?;
        (report.verdict.is_some() || self.settings.all).then_some(report)
    }

    fn lookup(&self, l: &Lookup) -> Option<Report> {
        let report = explain::lookup_report(l, &self.coverage)?;
        (report.verdict.is_some() || self.settings.all).then_some(report)
    }
}

/// Tells a story an answer.
fn tell(tracker: &Tracker, story: &mut Story, want: &Want, answer: &Arc<Answer>) {
    match story {
        Story::Connection(c) => {
            let known = c.translated.len();
            c.answered(want, answer);
            if c.translated.len() > known {
                tracker.follow(c);
            }
        }
        Story::Lookup(l) => l.answered(want, answer).into_iter().for_each(|way| tracker.follow(way)),
    }
}

fn wants(story: &Story) -> Vec<Want> {
    match story {
        Story::Connection(c) if c.outcome == Outcome::Established => explain::established_wants(c),
        Story::Connection(c) => explain::connection_wants(c),
        Story::Lookup(l) => explain::lookup_wants(l),
    }
}
