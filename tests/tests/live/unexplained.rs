//! Nothing proves a cause, and netdx says so.

use netdx_tests::lab::Lab;
use netdx_tests::tracer::{Expected, Tracer};

#[test]
fn what_the_application_got_is_not_watched() {
    let lab = Lab::new();
    let _taken = lab.without_ports();
    // The socket goes to SYN_SENT and back; which error connect returned is seen on the system call only.
    let trace = Tracer::with(&lab, &["--no-syscalls"]);
    let attempt = lab.connect("blocking 10.1.2.2:80");
    assert_eq!(attempt.errno, libc::EADDRNOTAVAIL);
    let expected = Expected {
        code: "unexplained",
        outcome: "failed",
        errno: None,
        remote: Some("10.1.2.2:80"),
        names: &["--no-syscalls"],
        certainty: Some("possible"),
    };
    let report = trace.explains(&attempt, &expected);
    assert!(report["errno"].is_null(), "{report:#}");
    trace.only(&["unexplained"]);
}
