//! What the host answered. Owns: [`Facts`]. Must not know: who asks, or what for.

use crate::{fact::Answer, want::Want};
use std::sync::Arc;

/// What the host answered, by question: a few answers, which stories share.
#[derive(Clone, Debug, Default)]
pub struct Facts(Vec<(Want, Arc<Answer>)>);

impl Facts {
    /// Adds an answer.
    pub fn insert(&mut self, want: Want, answer: impl Into<Arc<Answer>>) {
        match self.find(&want) {
            Ok(at) => self.0[at].1 = answer.into(),
            Err(at) => self.0.insert(at, (want, answer.into())),
        }
    }

    /// The answer to a question; none: it was not asked, or not answered yet.
    #[must_use]
    pub fn get(&self, want: &Want) -> Option<&Answer> {
        self.find(want).ok().map(|at| &*self.0[at].1)
    }

    /// All of them, in the order of the questions.
    pub fn iter(&self) -> impl Iterator<Item = (&Want, &Answer)> {
        self.0.iter().map(|(want, answer)| (want, &**answer))
    }

    fn find(&self, want: &Want) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(want))
    }
}
