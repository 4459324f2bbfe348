//! The ladder as text. Owns: how a rung and the conclusion look. Must not know: how they came to be. Pure.

use super::{Conclusion, Rung, Status};
use crate::{
    inspect::{
        phrase::{Phrase, View},
        sheet::Sheet,
    },
    quantity::duration,
    render::ink::{BAD, BOLD, CODE, DIM, GOOD, PLAIN, WARN},
    report::Certainty,
};

/// What is checked.
#[must_use]
pub fn title(target: &str, view: View) -> String {
    let mut sheet = Sheet::new(view);
    sheet.title(format!("check {target}"));
    sheet.finish()
}

/// One rung, with what proves its failure and what to do.
#[must_use]
pub fn rung(rung: &Rung, view: View) -> String {
    let mut sheet = Sheet::new(view);
    let (style, status) = match rung.status {
        Status::Ok => (GOOD, "ok"),
        Status::Failed => (BAD, "FAILED"),
        Status::Skipped => (DIM, "skipped"),
    };
    let mut text = match &rung.subject {
        // A sentence that names its object needs no label.
        Some(subject) if rung.status != Status::Failed || rung.verdict.is_none() => {
            Phrase::from(format!("{subject}: {}", rung.text))
        }
        Some(_) | None => Phrase::from(&rung.text),
    };
    if let Some(nanoseconds) = rung.elapsed_ns.filter(|_| rung.status != Status::Skipped) {
        text.add(DIM, format!("  [{}]", duration(nanoseconds)));
    }
    // Both columns have the width of their longest word, so that rungs line up though each is written on its own.
    let label = Phrase::of(style, format!("{status:<7}")).and(BOLD, format!(" {:<10}", rung.step.words()));
    sheet.row(label, text);
    if let Some(verdict) = &rung.verdict {
        let code = Phrase::of(DIM, "  code   ").and(CODE, verdict.code);
        sheet.row("", code.and(PLAIN, format!(" ({})", certainty(verdict.certainty))));
        for proof in &verdict.evidence {
            sheet.row("", Phrase::of(DIM, "  proof  ").and(PLAIN, &proof.text));
        }
    }
    if let Some(session) = &rung.tls {
        for (index, certificate) in session.certificates.iter().enumerate() {
            let names = if certificate.names.is_empty() {
                String::new()
            } else {
                format!(", for {}", certificate.names.join(", "))
            };
            let line = format!(
                "{}{names}; {} to {}; issuer {}",
                certificate.subject, certificate.not_before, certificate.not_after, certificate.issuer
            );
            sheet.row("", Phrase::of(DIM, format!("  cert {index} ")).and(PLAIN, line));
        }
    }
    sheet.finish()
}

/// The last lines.
#[must_use]
pub fn conclusion(conclusion: &Conclusion, view: View) -> String {
    let mut sheet = Sheet::new(view);
    sheet.blank();
    let style = if conclusion.ok { GOOD } else { BOLD };
    sheet.line(Phrase::of(style, &conclusion.text));
    for advice in &conclusion.advice {
        sheet.line(Phrase::of(BOLD, "Do:").and(PLAIN, format!(" {advice}")));
    }
    if let Some(reason) = conclusion.untraced.as_ref().filter(|_| !conclusion.ok) {
        sheet.line(Phrase::of(WARN, "Not traced, so without the kernel's proof:").and(PLAIN, format!(" {reason}")));
    }
    sheet.finish()
}

fn certainty(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Proven => "proven",
        Certainty::Likely => "likely",
        Certainty::Possible => "possible",
    }
}
