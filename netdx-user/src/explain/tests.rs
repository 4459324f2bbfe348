//! The registry holds together.

use super::{Rule, cause, registry};
use std::collections::BTreeSet;

#[test]
fn codes_are_unique_and_well_formed() {
    let mut seen = BTreeSet::new();
    for c in registry() {
        assert!(seen.insert(c.code), "{} stands twice", c.code);
        let name = c.code.strip_prefix("unexplained").unwrap_or(c.code);
        assert!(name.is_empty() || c.code.split('.').count() == 2, "{}: family.cause", c.code);
        assert!(c.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'-'), "{}", c.code);
    }
}

#[test]
fn every_page_has_its_headings_in_order() {
    for c in registry() {
        let headings: Vec<&str> = c.page.lines().filter_map(|l| l.strip_prefix("# ")).collect();
        assert_eq!(headings, ["What happened", "How netdx knows", "What to do", "Easily confused with"], "{}", c.code);
        let first = c.page.lines().next().unwrap_or_default();
        assert!(first.ends_with('.') && first.len() < 100, "{}: begins with one sentence: {first:?}", c.code);
        for line in c.page.lines() {
            assert!(line.chars().count() <= 125, "{}: a line of the page is too long: {line}", c.code);
        }
    }
}

#[test]
fn pages_refer_to_codes_that_exist() {
    let families: BTreeSet<&str> = registry().iter().filter_map(|c| c.code.split_once('.')).map(|(f, _)| f).collect();
    for c in registry() {
        let confused = c.page.split("# Easily confused with").nth(1).unwrap_or_default();
        for word in confused.split(|ch: char| ch.is_whitespace() || ",:;()".contains(ch)) {
            let word = word.trim_end_matches('.');
            if let Some((family, name)) = word.split_once('.')
                && families.contains(family)
                && name != "*"
            {
                assert!(cause(word).is_some(), "{} refers to {word}", c.code);
            }
        }
    }
}

#[test]
fn hiding_names_causes_and_has_no_cycle() {
    for c in registry() {
        for hidden in c.hides {
            assert!(cause(hidden).is_some(), "{} hides {hidden}", c.code);
            let mut path = vec![*hidden];
            let mut next = vec![*hidden];
            while let Some(code) = next.pop() {
                assert_ne!(code, c.code, "{} hides itself by way of {path:?}", c.code);
                for further in cause(code).map_or(&[][..], |c| c.hides) {
                    if !path.contains(further) {
                        path.push(further);
                        next.push(further);
                    }
                }
            }
        }
    }
}

#[test]
fn only_one_cause_is_what_is_left() {
    assert_eq!(registry().iter().filter(|c| matches!(c.rule, Rule::Rest)).count(), 1);
}
