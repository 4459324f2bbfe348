//! What is said in a row or a cell: text from anywhere, made safe for a terminal, with its parts painted.
//! Owns: [`Phrase`], [`View`]. Must not know: what is said, where it goes. Pure.

use crate::render::{
    escape::escape,
    ink::{self, PLAIN},
};
use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

/// What a text is laid out for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Columns of the terminal; none: a pipe, where nothing is wrapped.
    pub width: Option<usize>,
    /// Whether to use colours.
    pub color: bool,
}

impl View {
    /// Whether text so wide stays on one line.
    #[must_use]
    pub fn holds(self, columns: usize) -> bool {
        self.width.is_none_or(|width| columns <= width)
    }
}

/// Text in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phrase(Vec<(Style, String)>);

/// Plain text is a phrase.
impl<T: AsRef<str>> From<T> for Phrase {
    fn from(text: T) -> Phrase {
        Phrase::default().and(PLAIN, text)
    }
}

impl Phrase {
    /// Text in one style.
    #[must_use]
    pub(crate) fn of(style: Style, text: impl AsRef<str>) -> Phrase {
        Phrase::default().and(style, text)
    }

    /// The same with more text after it.
    #[must_use]
    pub(crate) fn and(mut self, style: Style, text: impl AsRef<str>) -> Phrase {
        self.add(style, text);
        self
    }

    /// Adds text.
    pub(crate) fn add(&mut self, style: Style, text: impl AsRef<str>) {
        let text = text.as_ref();
        if !text.is_empty() {
            self.0.push((style, escape(text).into_owned()));
        }
    }

    /// Adds a phrase after so many spaces, which have the style of what they stand between.
    pub(super) fn space(&mut self, spaces: usize, other: Phrase) {
        let (before, after) = (self.0.last().map(|last| last.0), other.0.first().map(|first| first.0));
        let style = if before == after { before.unwrap_or(PLAIN) } else { PLAIN };
        if spaces > 0 {
            self.0.push((style, " ".repeat(spaces)));
        }
        self.join(other);
    }

    /// Adds a phrase.
    pub fn join(&mut self, other: Phrase) {
        self.0.extend(other.0);
    }

    /// The same, with what has no style of its own in this one.
    #[must_use]
    pub(crate) fn or(mut self, style: Style) -> Phrase {
        for (own, _) in &mut self.0 {
            if *own == PLAIN {
                *own = style;
            }
        }
        self
    }

    /// Columns that it takes.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.0.iter().map(|(_, text)| text.width()).sum()
    }

    /// Nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text, painted.
    #[must_use]
    pub fn painted(&self, color: bool) -> String {
        let runs = self.0.chunk_by(|a, b| a.0 == b.0);
        let text = |run: &[(Style, String)]| run.iter().map(|(_, text)| text.as_str()).collect::<String>();
        runs.map(|run| ink::paint(run[0].0, &text(run), color).into_owned()).collect()
    }

    /// Its words, as they stand between single spaces. Parts without a space between them are one word.
    #[must_use]
    pub fn words(&self) -> Vec<Phrase> {
        let mut words = vec![Phrase::default()];
        for (style, text) in &self.0 {
            for (index, part) in text.split(' ').enumerate() {
                if index > 0 {
                    words.push(Phrase::default());
                }
                if let (Some(word), false) = (words.last_mut(), part.is_empty()) {
                    word.0.push((*style, part.to_owned()));
                }
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::ink::{BAD, BOLD};

    #[test]
    fn words_keep_their_style_and_spaces_their_number() {
        let phrase = Phrase::of(BOLD, "db one").and(BAD, " two").and(PLAIN, ",  three");
        let words: Vec<String> = phrase.words().iter().map(|word| word.painted(false)).collect();
        assert_eq!(words, ["db", "one", "two,", "", "three"]);
        assert_eq!(phrase.words()[2].painted(true), format!("{BAD}two{BAD:#},"));
    }

    #[test]
    fn nothing_from_outside_steers_a_terminal() {
        let phrase = Phrase::of(BAD, "a\u{1b}[2J");
        assert_eq!(phrase.painted(false), "a\\x1b[2J");
        assert_eq!(phrase.columns(), 8);
        assert_eq!(Phrase::from("日本").columns(), 4);
    }
}
