//! The ladder as text. Owns: how a rung and the conclusion look. Must not know: how they came to be. Pure.

use super::{Conclusion, Rung, Status};
use crate::inspect::{dns::text::elapsed, sheet::Sheet};
use crate::report::Certainty;

/// One rung, with what proves its failure and what to do.
#[must_use]
pub fn rung(rung: &Rung, width: Option<usize>) -> String {
    let mut sheet = Sheet::new(width);
    let status = match rung.status {
        Status::Ok => "ok",
        Status::Failed => "FAILED",
        Status::Skipped => "skipped",
    };
    let mut text = match &rung.subject {
        // A sentence that names its object needs no label.
        Some(subject) if rung.status != Status::Failed || rung.verdict.is_none() => format!("{subject}: {}", rung.text),
        Some(_) | None => rung.text.clone(),
    };
    if let Some(nanoseconds) = rung.elapsed_ns.filter(|_| rung.status != Status::Skipped) {
        text += &format!("  [{}]", elapsed(nanoseconds));
    }
    // Both columns have the width of their longest word, so that rungs line up though each is written on its own.
    sheet.row(format!("{status:<7} {:<10}", rung.step.words()), text);
    if let Some(verdict) = &rung.verdict {
        sheet.row("", format!("  code   {} ({})", verdict.code, certainty(verdict.certainty)));
        for proof in &verdict.evidence {
            sheet.row("", format!("  proof  {}", proof.text));
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
                "  cert {index} {}{names}; {} to {}; issuer {}",
                certificate.subject, certificate.not_before, certificate.not_after, certificate.issuer
            );
            sheet.row("", line);
        }
    }
    sheet.finish()
}

/// The last lines.
#[must_use]
pub fn conclusion(conclusion: &Conclusion, width: Option<usize>) -> String {
    let mut sheet = Sheet::new(width);
    sheet.blank();
    sheet.title(&conclusion.text);
    for advice in &conclusion.advice {
        sheet.title(format!("Do: {advice}"));
    }
    if let Some(reason) = conclusion.untraced.as_ref().filter(|_| !conclusion.ok) {
        sheet.title(format!("Not traced, so without the kernel's proof: {reason}"));
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
