//! Nothing proves a cause, and netdx says so.

use netdx_tests::lab::Lab;
use netdx_tests::servers::listen;
use netdx_tests::tracer::{Expected, Tracer};

#[test]
fn what_the_application_got_is_not_watched() {
    let lab = Lab::new();
    let _listener = listen(&lab.server, "10.1.2.2:80");
    lab.client.sysctl("net.ipv4.ip_local_port_range=40000 40003");
    let mut filler = lab.start("blocking 10.1.2.2:80 --times 4 --hold 60000");
    for _ in 0..4 {
        assert_eq!(filler.attempt().errno, 0);
    }
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
