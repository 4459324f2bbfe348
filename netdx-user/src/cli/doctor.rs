//! `netdx doctor`. Owns: its arguments and how its findings are shown. Must not know: how they are found (see
//! `live::survey`).

use super::{Format, Page};
use crate::{
    exit::Exit,
    inspect::{
        phrase::{Phrase, View},
        sheet::Sheet,
    },
    live::survey::{Probe, State, Survey, survey},
    render::ink::{BAD, BOLD, CODE, DIM, GOOD, PLAIN, WARN},
};
use anstyle::Style;
use std::path::PathBuf;

/// Which probes this kernel, these rights and this configuration allow, and what each missing one costs
///
/// Tries every probe for a moment and takes it away again. Works as any user, but only root can try.
/// Exit status 0: tracing works; 1: it does not.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Type information (BTF) made for exactly this kernel, where it has none of its own.
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Looks and shows.
///
/// # Errors
/// Standard output is closed.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let survey = survey(args.btf.clone());
    let mut page = Page::new(args.format);
    match args.format {
        Format::Text => page.text(&text(&survey, page.view()))?,
        Format::Json => page.json(&survey)?,
    }
    page.flush()?;
    Ok(if survey.error.is_some() { Exit::Failed } else { Exit::Done })
}

fn text(survey: &Survey, view: View) -> String {
    let mut sheet = Sheet::new(view);
    sheet.title("This machine");
    for check in &survey.checks {
        let (style, mark) = match check.state {
            State::Good => (GOOD, "ok"),
            State::Limited => (WARN, "limited"),
            State::Missing => (BAD, "missing"),
        };
        sheet.row(check.name, marked(style, mark, &check.found));
    }
    sheet.blank();
    sheet.title("Probes");
    for probe in &survey.probes {
        let coverage = &probe.coverage;
        match (&coverage.hook, &probe.expected) {
            (Some(hook), _) => sheet.row(&coverage.name, marked(GOOD, "ok", hook)),
            (None, Some(expected)) => sheet.row(&coverage.name, marked(DIM, "untried", expected)),
            (None, None) => missing(probe, &mut sheet),
        }
    }
    sheet.blank();
    match &survey.error {
        Some(error) => sheet.row("tracing", Phrase::of(BAD, error)),
        None if survey.weakened.is_empty() => {
            sheet.row("tracing", Phrase::of(GOOD, "works").and(PLAIN, "; no verdict is weakened"));
        }
        None => {
            let weaker = Phrase::of(GOOD, "works").and(PLAIN, "; weaker here: ");
            sheet.row("tracing", weaker.and(CODE, survey.weakened.join(", ")));
        }
    }
    if let Some(advice) = &survey.advice {
        sheet.row("to do", Phrase::of(BOLD, advice));
    }
    sheet.finish()
}

fn missing(probe: &Probe, sheet: &mut Sheet) {
    let coverage = &probe.coverage;
    let reason = coverage.reason.as_deref().unwrap_or("no reason is known");
    sheet.row(&coverage.name, marked(BAD, "missing", reason));
    sheet.row("", format!("         lost: {}", coverage.gives));
    if !probe.verdicts.is_empty() {
        sheet.row("", Phrase::from("         for: ").and(CODE, probe.verdicts.join(", ")));
    }
}

/// A mark in a column of its own, then what it is about.
fn marked(style: Style, mark: &str, said: &str) -> Phrase {
    Phrase::of(style, mark).and(PLAIN, format!("{:1$}{said}", "", 9 - mark.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{coverage, live::survey::Check};

    fn sample() -> Survey {
        let probe = |name: &str, hook: Option<&str>, reason: Option<&str>, expected: Option<&str>| Probe {
            coverage: coverage::Probe {
                name: name.into(),
                hook: hook.map(Into::into),
                reason: reason.map(Into::into),
                gives: format!("what {name} tells"),
            },
            expected: expected.map(Into::into),
            verdicts: vec!["firewall.dropped"],
        };
        Survey {
            schema: 1,
            kind: "doctor",
            version: "0.0.0",
            checks: vec![
                Check { name: "kernel", state: State::Good, found: "6.12.1".into(), advice: None },
                Check {
                    name: "rights",
                    state: State::Limited,
                    found: "missing: cap_syslog".into(),
                    advice: Some("sudo".into()),
                },
            ],
            error: None,
            probes: vec![
                probe("tcp-state", Some("tp_btf/inet_sock_set_state"), None, None),
                probe("drop", None, Some("tp_btf/kfree_skb: no such tracepoint"), None),
                probe("icmp", None, Some("not tried"), Some("tp_btf/netif_receive_skb")),
            ],
            weakened: vec!["firewall.dropped"],
            advice: Some("sudo netdx doctor".into()),
        }
    }

    #[test]
    fn every_finding_is_shown_in_a_pipe_and_on_a_terminal() {
        crate::inspect::samples::snapshots("doctor", |view| text(&sample(), view));
    }
}
