//! What worked is nobody's business, and costs nothing.

use netdx_tests::lab::Lab;
use netdx_tests::servers::listen;
use netdx_tests::tracer::Tracer;

#[test]
fn thousands_of_connections_that_work_are_silent() {
    let lab = Lab::new();
    let listener = listen(&lab.client, "127.0.0.1:80");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            drop(stream);
        }
    });
    let trace = Tracer::with(&lab, &["--no-dns"]);
    for _ in 0..5 {
        // Some hundreds at a time: the client keeps what works open until it ends.
        lab.start("blocking 127.0.0.1:80 --times 900").wait();
    }
    let (reports, summary) = trace.end();
    assert!(reports.is_empty(), "{reports:#?}");
    assert_eq!(summary["lost_events"], 0);
}
