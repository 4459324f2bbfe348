//! What is painted how, on every page of netdx alike. Owns: the styles. Must not know: what is painted, whether it may be
//! (that comes in: by the terminal, `--color` and NO_COLOR).

use anstyle::{AnsiColor, Style};
use std::borrow::Cow;

/// As the terminal has it.
pub(crate) const PLAIN: Style = Style::new();
/// What a paragraph is about.
pub(crate) const BOLD: Style = Style::new().bold();
/// What did not work.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What works.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What deserves a look, or could not be seen.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// A code of the catalogue.
pub(crate) const CODE: Style = AnsiColor::Cyan.on_default();
/// Labels and headings, which only lead to what is said.
pub(crate) const DIM: Style = Style::new().dimmed();

/// The text in that style, if colours are wanted.
pub(crate) fn paint(style: Style, text: &str, color: bool) -> Cow<'_, str> {
    if color && style != PLAIN && !text.is_empty() {
        Cow::Owned(format!("{style}{text}{style:#}"))
    } else {
        Cow::Borrowed(text)
    }
}
