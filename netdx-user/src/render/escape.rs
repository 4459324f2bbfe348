//! Text from outside, made safe for a terminal. Owns: which characters are escaped, and how. Must not know: reports.
//!
//! comm, names, command lines and firewall rules are whatever somebody wrote; a terminal obeys control sequences, and
//! bidirectional controls show a line in another order than it is in ("Trojan source").

use std::{borrow::Cow, fmt::Write as _};

/// Whether a character may not go to a terminal as it is.
///
/// Controls (C0, DEL, C1), bidirectional controls and marks, zero-width and other invisible format characters, line and
/// paragraph separators, the byte order mark, tags, and what is private or unassigned enough to hide something.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A byte of printable ASCII: a character that is safe, and one column wide.
pub(super) fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

/// The text with every unsafe character written as `\xNN` or `\u{NNNN}`, and a backslash doubled where that is needed
/// to tell an escape from what stood there.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    // Most text is plain, which is quickly seen.
    if text.bytes().all(is_plain) || !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\\' => safe.push_str("\\\\"),
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            // Writing to a String can't fail.
            c if is_unsafe(c) && u32::from(c) < 0x100 => _ = write!(safe, "\\x{:02x}", u32::from(c)),
            c if is_unsafe(c) => _ = write!(safe, "\\u{{{:x}}}", u32::from(c)),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_text_stays() {
        for text in ["curl", "größe.example", "日本", "a\\b", "it's \"x\"", ""] {
            assert_eq!(escape(text), text);
        }
    }

    #[test]
    fn controls_are_shown() {
        assert_eq!(escape("\x1b[2Jhi\x07"), "\\x1b[2Jhi\\x07");
        assert_eq!(escape("a\nb\tc\rd\0"), "a\\nb\\tc\\rd\\x00");
        assert_eq!(escape("\u{9b}31m\u{7f}"), "\\x9b31m\\x7f");
    }

    #[test]
    fn direction_and_invisible_characters_are_shown() {
        assert_eq!(escape("moc.\u{202e}live"), "moc.\\u{202e}live");
        assert_eq!(escape("a\u{200b}b\u{2066}c\u{feff}\u{e0041}"), "a\\u{200b}b\\u{2066}c\\u{feff}\\u{e0041}");
    }

    #[test]
    fn a_written_escape_is_not_a_real_one() {
        assert_eq!(escape("\\x1b and \x1b"), "\\\\x1b and \\x1b");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in any::<String>()) {
            prop_assert!(!escape(&text).contains(is_unsafe));
        }
    }
}
