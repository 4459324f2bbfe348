//! Lines of a given width. Owns: where a line is broken. Must not know: what it says.
//! Text is broken at spaces only: a word that is longer than a line (a name, an address, a rule) stays whole, so that it
//! can be copied.

use super::escape::is_plain;
use unicode_width::UnicodeWidthStr as _;

/// Breaks a sentence into lines of at most `width` columns.
pub(super) fn sentence(text: &str, width: usize) -> Vec<String> {
    pieces(text.split_whitespace(), " ", width)
}

/// Puts items side by side, four spaces apart, as many as fit on a line; an item that fits on none is broken like a
/// sentence, and has its lines for itself.
pub(super) fn items(items: &[String], width: usize) -> Vec<String> {
    let fits = |item: &String| columns(item) <= width;
    let groups = items.chunk_by(|one, next| fits(one) && fits(next));
    groups
        .flat_map(|group| match group {
            [long] if !fits(long) => sentence(long, width),
            _ => pieces(group.iter().map(String::as_str), "    ", width),
        })
        .collect()
}

fn pieces<'a>(pieces: impl Iterator<Item = &'a str>, gap: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut used = 0;
    for piece in pieces {
        let columns = columns(piece);
        match lines.last_mut() {
            Some(line) if used + gap.len() + columns <= width => {
                line.push_str(gap);
                line.push_str(piece);
                used += gap.len() + columns;
            }
            _ => {
                let mut line = String::with_capacity(width.max(piece.len()));
                line.push_str(piece);
                lines.push(line);
                used = columns;
            }
        }
    }
    lines
}

/// How many columns of a terminal a text takes.
pub(super) fn columns(text: &str) -> usize {
    if text.bytes().all(is_plain) { text.len() } else { text.width() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sentences_break_at_spaces() {
        assert_eq!(sentence("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(sentence("a averyverylongword b", 5), ["a", "averyverylongword", "b"]);
        assert_eq!(sentence("日本 日本", 8), ["日本", "日本"]);
        assert!(sentence("", 5).is_empty());
    }

    #[test]
    fn items_stand_side_by_side() {
        let all = ["SYN left".to_owned(), "RST came".to_owned(), "errno X".to_owned()];
        assert_eq!(items(&all, 20), ["SYN left    RST came", "errno X"]);
        assert_eq!(items(&all, 6), ["SYN", "left", "RST", "came", "errno", "X"]);
        let all = ["a b".to_owned(), "one two three".to_owned(), "c".to_owned(), "d".to_owned()];
        assert_eq!(items(&all, 10), ["a b", "one two", "three", "c    d"]);
    }

    proptest! {
        #[test]
        fn no_word_is_lost(text in "[a-z ]{0,80}", width in 1usize..40) {
            let lines = sentence(&text, width);
            let words: Vec<&str> = text.split_whitespace().collect();
            prop_assert_eq!(lines.join(" "), words.join(" "));
            prop_assert!(lines.iter().all(|line| line.len() <= width || !line.contains(' ')));
        }
    }
}
