//! A climb as it could be, for the snapshots of its text.

use super::{Conclusion, Rung, Step, tls, verdict};
use crate::report::{Certainty, SCHEMA};

/// Rungs of every outcome, and what they come to.
pub(crate) fn ladder() -> (Vec<Rung>, Conclusion) {
    let address = "10.0.0.5".parse().expect("an address");
    let mut refused = verdict(
        "refused.bound-elsewhere",
        Certainty::Proven,
        "10.0.0.5 belongs to this host, but nothing listens on 10.0.0.5:5432: postgres[812] listens on 127.0.0.1:5432 only",
        &[("refused", "connect failed after 0.05 ms: Connection refused (ECONNREFUSED)".into())],
    );
    refused.advice.push("have postgres[812] listen on 10.0.0.5 (or 0.0.0.0), or connect to 127.0.0.1".into());
    let (code, summary, advice) = (refused.code, refused.summary.clone(), refused.advice.clone());
    let took = |rung: Rung| Rung { elapsed_ns: Some(52_000), ..rung };
    let mut shaken = Rung::new(Step::Tls, super::Status::Failed, "the certificate expired on 2021-01-01 (90 days ago)");
    shaken.tls = Some(tls::Session {
        certificates: vec![tls::Certificate {
            subject: "CN=db.internal".into(),
            issuer: "CN=Lab\u{1b}[2J".into(),
            names: vec!["db.internal".into(), "www.internal".into()],
            not_before: "2020-01-01T00:00:00Z".into(),
            not_after: "2021-01-01T00:00:00Z".into(),
            ..tls::Certificate::default()
        }],
        ..tls::Session::default()
    });
    let rungs = vec![
        took(Rung::ok(Step::Interfaces, "eth0 up 10.0.0.2/24; eth1 up 10.1.0.2/24 2001:db8:1234:5678::2/64")),
        Rung::skipped(Step::Internet, "not asked for (--internet ADDRESS)"),
        took(Rung::failed(Step::Port, refused).about(address)),
        took(shaken.about(address)),
    ];
    let conclusion = Conclusion {
        schema: SCHEMA,
        kind: "conclusion",
        target: "db.internal port 5432".into(),
        ok: false,
        works: false,
        step: Some(Step::Port),
        subject: Some("10.0.0.5 port 5432".into()),
        code: Some(code),
        certainty: Some(Certainty::Proven),
        also: Vec::new(),
        text: format!(
            "The name resolves, the route works; but db.internal port 5432 does not work: {summary}. See: netdx explain {code}"
        ),
        advice,
        untraced: Some("CAP_BPF is missing".into()),
    };
    (rungs, conclusion)
}
