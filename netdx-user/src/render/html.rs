//! Reports as one self-contained page: no script, nothing loaded from elsewhere. Owns: what stands in it (how it looks is
//! in templates/). Must not know: where the page goes.
//!
//! Text from outside is escaped twice: for a reader's eyes (`escape`) and for HTML (the templates).

use super::{Summary, escape::escape, words};
use crate::{
    quantity::{count, duration, offset},
    recording::Header,
    report::{Process, Report},
};
use askama::Template;

/// One report.
#[derive(Template)]
#[template(path = "report.html")]
struct Article<'r> {
    time: String,
    subject: String,
    outcome: String,
    bad: bool,
    why: String,
    proof: Vec<String>,
    asked: Vec<String>,
    route: String,
    also: Vec<(&'static str, String)>,
    fix: Vec<String>,
    process: String,
    timeline: Vec<(String, String)>,
    code: &'r str,
}

/// The page around them.
#[derive(Template)]
#[template(path = "page.html")]
struct Page<'r> {
    failures: String,
    began: String,
    lasted: String,
    kernel: String,
    version: String,
    redacted: bool,
    filters: String,
    notes: Vec<String>,
    counts: Vec<(&'r str, u64)>,
    reports: &'r [String],
    probes: Vec<Observed>,
}

/// A line of the coverage.
struct Observed {
    name: String,
    attached: bool,
    gives: String,
    reason: String,
}

/// A report's part of the page.
#[must_use]
pub fn report(report: &Report, header: &Header) -> String {
    let verdict = report.verdict.as_ref();
    let (outcome, bad) = words::outcome(report);
    let article = Article {
        time: header
            .start
            .utc_of(report.began)
            .map(|utc| utc.strftime("%H:%M:%S%.3f UTC").to_string())
            .unwrap_or_default(),
        subject: words::subject(report),
        outcome,
        bad,
        why: verdict.map(|v| format!("{}{}", words::hedge(v.certainty), escape(&v.because))).unwrap_or_default(),
        proof: if verdict.is_some() { words::proof(report) } else { Vec::new() },
        asked: report.attempts.as_deref().map(words::asked).unwrap_or_default(),
        route: report.route.as_ref().map(|route| escape(&route.text).into_owned()).unwrap_or_default(),
        also: words::also(report),
        fix: verdict.iter().flat_map(|v| &v.advice).map(|advice| escape(advice).into_owned()).collect(),
        process: report.process.as_ref().map(process).unwrap_or_default(),
        timeline: report.timeline.iter().map(|m| (offset(m.t_ns), escape(&m.text).into_owned())).collect(),
        code: verdict.map_or("", |v| v.code),
    };
    // The templates are checked when they are compiled; a String takes everything.
    article.render().expect("a report can be written as HTML")
}

/// The page, of the parts that [`report`] made.
#[must_use]
pub fn page(reports: &[String], summary: &Summary, header: &Header) -> String {
    let ended = summary.ended.map_or(0, |ended| ended.0.saturating_sub(header.start.boot_ns));
    let mut notes: Vec<String> = summary.notes.iter().map(|note| escape(note).into_owned()).collect();
    if summary.lost() > 0 {
        notes.push(format!("{} lost: some failures may be missing", count(summary.lost(), "event")));
    }
    if summary.inputs.malformed > 0 {
        notes.push(format!("{} could not be read", count(summary.inputs.malformed, "event")));
    }
    let mut counts: Vec<(&str, u64)> = summary.by_code.iter().map(|(code, n)| (*code, *n)).collect();
    counts.sort_by_key(|(code, n)| (u64::MAX - n, *code));
    let page = Page {
        failures: count(summary.failures, "failure"),
        began: header.start.utc.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        lasted: duration(ended),
        kernel: escape(&header.kernel).into_owned(),
        version: escape(&header.netdx).into_owned(),
        redacted: header.redacted,
        filters: escape(&header.filters.join(" ")).into_owned(),
        notes,
        counts,
        reports,
        probes: header
            .coverage
            .probes
            .iter()
            .map(|probe| Observed {
                name: escape(&probe.name).into_owned(),
                attached: probe.hook.is_some(),
                gives: escape(&probe.gives).into_owned(),
                reason: escape(probe.reason.as_deref().unwrap_or_default()).into_owned(),
            })
            .collect(),
    };
    // As above.
    page.render().expect("a page can be written as HTML")
}

fn process(process: &Process) -> String {
    let argv: Vec<_> = process.argv.iter().map(|argument| escape(argument)).collect();
    let mut text = format!("pid {}, uid {}", process.pid, process.uid);
    if !argv.is_empty() {
        text += &format!(": {}", argv.join(" "));
    }
    let places = [("unit", &process.unit), ("container", &process.container), ("cgroup", &process.cgroup)];
    for (what, place) in places {
        if let Some(place) = place {
            text += &format!("; {what} {}", escape(place));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::{escape::is_unsafe, samples},
        *,
    };

    #[test]
    fn one_page() {
        let header = samples::header();
        let reports: Vec<String> = samples::all().iter().map(|sample| report(sample, &header)).collect();
        insta::assert_snapshot!(page(&reports, &samples::summary(), &header));
    }

    #[test]
    fn no_reports() {
        assert!(page(&[], &Summary::default(), &samples::header()).contains("Nothing to report."));
    }

    #[test]
    fn outside_text_is_no_html() {
        let hostile = "<script>alert(1)</script>\"'&\u{202e}";
        let mut sample = samples::connection();
        sample.name = Some(hostile.into());
        if let Some(process) = &mut sample.process {
            process.comm = hostile.into();
            process.argv = vec![hostile.into()];
        }
        let mut header = samples::header();
        header.kernel = hostile.into();
        header.filters = vec![hostile.into()];
        let html =
            page(&[report(&sample, &header), report(&samples::hostile(), &header)], &samples::summary(), &header);
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.replace('\n', "").contains(is_unsafe), "{html:?}");
        assert!(html.contains("&#60;script&#62;"), "{html}");
    }
}
