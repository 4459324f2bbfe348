//! The page of a cause. Owns: how its Markdown looks on a terminal and in a manual page. Must not know: what it says.
//!
//! A page is a sentence, then sections (`# Heading`) of paragraphs, lists (`- `) and blocks indented by four spaces.

use super::{
    ink::{BOLD, CODE},
    text::Layout,
    wrap,
};
use std::fmt::Write as _;

/// A piece of a page.
#[derive(Debug, PartialEq, Eq)]
enum Block<'p> {
    Heading(&'p str),
    Paragraph(String),
    Item(String),
    Verbatim(Vec<&'p str>),
}

/// The page as text.
#[must_use]
pub fn text(code: &str, page: &str, layout: &Layout) -> String {
    layout.paint(BOLD.fg_color(CODE.get_fg_color()), code) + "\n\n" + &section(page, layout)
}

/// A part of a page as text.
#[must_use]
pub fn section(page: &str, layout: &Layout) -> String {
    let mut out = String::new();
    let width = layout.width.saturating_sub(2).max(20);
    let blocks = blocks(page);
    let mut before: Option<&Block<'_>> = None;
    for block in &blocks {
        // Lists and headings stand close to what follows.
        if !matches!((before, block), (None | Some(Block::Heading(_)), _) | (Some(Block::Item(_)), Block::Item(_))) {
            out.push('\n');
        }
        // Writing to a String can't fail.
        match block {
            Block::Heading(heading) => _ = writeln!(out, "{}", layout.paint(BOLD, heading)),
            Block::Paragraph(paragraph) => lines(&mut out, "  ", "  ", &wrap::sentence(paragraph, width)),
            Block::Item(item) => lines(&mut out, "  - ", "    ", &wrap::sentence(item, width.saturating_sub(2))),
            Block::Verbatim(all) => all.iter().for_each(|line| _ = writeln!(out, "      {line}")),
        }
        before = Some(block);
    }
    code_spans(&out, layout)
}

/// One line for each code: the code and the first sentence of its page.
#[must_use]
pub fn list<'a>(pages: impl Iterator<Item = (&'a str, &'a str)>, layout: &Layout) -> String {
    let pages: Vec<_> = pages.collect();
    let column = pages.iter().map(|(code, _)| code.len()).max().unwrap_or(0) + 2;
    let mut out = String::new();
    for (code, page) in pages {
        let first = blocks(page).into_iter().find_map(|block| match block {
            Block::Paragraph(text) => Some(text),
            _ => None,
        });
        let room = layout.width.saturating_sub(column).max(20);
        let mut lines = wrap::sentence(&first.unwrap_or_default(), room).into_iter();
        let padded = format!("{code:<column$}");
        // Writing to a String can't fail.
        _ = writeln!(out, "{}{}", layout.paint(CODE, &padded), lines.next().unwrap_or_default());
        lines.for_each(|line| _ = writeln!(out, "{:column$}{line}", ""));
    }
    code_spans(&out, layout)
}

/// The page as a manual page (man(7)), for `man -l -`.
#[must_use]
pub fn man(code: &str, page: &str) -> String {
    let mut out = format!(".TH {} 7 \"\" netdx \"netdx verdicts\"\n.SH NAME\n", roff(code));
    for (n, block) in blocks(page).into_iter().enumerate() {
        // Writing to a String can't fail.
        _ = match block {
            Block::Paragraph(text) if n == 0 => writeln!(out, "{} \\- {}", roff(code), roff(&text)),
            Block::Heading(heading) => writeln!(out, ".SH {}", roff(&heading.to_uppercase())),
            Block::Paragraph(text) => writeln!(out, ".PP\n{}", roff(&text)),
            Block::Item(text) => writeln!(out, ".IP \\(bu 2\n{}", roff(&text)),
            Block::Verbatim(all) => {
                let lines: Vec<String> = all.into_iter().map(roff).collect();
                writeln!(out, ".PP\n.RS 4\n.nf\n{}\n.fi\n.RE", lines.join("\n"))
            }
        };
    }
    out
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open = false;
    for line in page.lines() {
        let text = line.trim();
        if text.is_empty() {
            open = false;
            continue;
        }
        if let Some(heading) = text.strip_prefix("# ") {
            blocks.push(Block::Heading(heading));
            open = false;
        } else if line.starts_with("    ") && !(open && matches!(blocks.last(), Some(Block::Item(_)))) {
            match blocks.last_mut() {
                Some(Block::Verbatim(lines)) if open => lines.push(&line[4..]),
                _ => blocks.push(Block::Verbatim(vec![&line[4..]])),
            }
            open = true;
        } else if let Some(item) = text.strip_prefix("- ") {
            blocks.push(Block::Item(item.to_owned()));
            open = true;
        } else {
            match blocks.last_mut() {
                Some(Block::Paragraph(whole) | Block::Item(whole)) if open => {
                    whole.push(' ');
                    whole.push_str(text);
                }
                _ => blocks.push(Block::Paragraph(text.to_owned())),
            }
            open = true;
        }
    }
    blocks
}

fn lines(out: &mut String, first: &str, then: &str, lines: &[String]) {
    for (n, line) in lines.iter().enumerate() {
        // Writing to a String can't fail.
        _ = writeln!(out, "{}{line}", if n == 0 { first } else { then });
    }
}

/// Colours what stands between backticks. Without colour the backticks stay, because they mark what to type.
fn code_spans(text: &str, layout: &Layout) -> String {
    let mut parts = text.split('`');
    let mut out = parts.next().unwrap_or_default().to_owned();
    while let Some(code) = parts.next() {
        match parts.next() {
            Some(after) if layout.color => out += &(layout.paint(CODE, code) + after),
            Some(after) => out += &format!("`{code}`{after}"),
            None => out += &format!("`{code}"),
        }
    }
    out
}

/// Text that roff shows as it is: backslashes and leading dots and quotes mean something to it.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    const PAGE: &str = "\
The name does not exist. Really.

# What happened
A program asked for `db` and the
server said no:
- first, with the search list, which is long enough to be wrapped somewhere
- second
    goes on

# What to do
    dig db
    .dig -x

Backslash \\ and - dash.
";

    fn layout(color: bool) -> Layout {
        Layout { width: 50, zone: TimeZone::UTC, color }
    }

    #[test]
    fn as_text() {
        insta::assert_snapshot!(text("dns.nxdomain", PAGE, &layout(false)));
    }

    #[test]
    fn in_colour() {
        insta::assert_snapshot!(text("dns.nxdomain", PAGE, &layout(true)).replace('\u{1b}', "<ESC>"));
    }

    #[test]
    fn as_a_list() {
        let pages =
            [("dns.nxdomain", PAGE), ("unexplained", "Nothing proves a cause, and what is missing is said here.\n")];
        insta::assert_snapshot!(list(pages.into_iter(), &layout(false)));
    }

    #[test]
    fn as_a_manual_page() {
        insta::assert_snapshot!(man("dns.nxdomain", PAGE));
    }

    #[test]
    fn odd_pages_do_no_harm() {
        for page in ["", "`", "# ", "#", "    x", "- ", "`a` `b"] {
            assert!(text("c", page, &layout(false)).contains('c'));
            assert!(man("c", page).contains(".TH c"));
        }
    }
}
