//! Many failures at once, each with its own cause.

use netdx_tests::lab::{Client, Lab};
use netdx_tests::remote::{self, Answer};
use netdx_tests::servers;
use netdx_tests::tracer::Tracer;
use std::collections::BTreeMap;

/// How many labs fail side by side, and how many connections of each kind in each.
const LABS: usize = 10;
const EACH: usize = 10;

/// What the client is told to do, and why it comes to nothing.
const REASONS: [(&str, &str); 10] = [
    ("blocking 10.1.2.2:81", "refused.no-listener"),
    ("blocking 10.1.2.2:82", "refused.bound-elsewhere"),
    ("blocking 10.1.2.2:83", "firewall.dropped"),
    ("blocking 10.1.2.2:84", "firewall.rejected"),
    ("blocking 10.1.2.2:85", "timeout.queue-full"),
    ("blocking 10.1.2.2:86", "timeout.dropped"),
    ("blocking 10.7.0.1:87", "refused.remote"),
    ("blocking 10.3.0.1:88", "route.rejects"),
    ("blocking 10.1.1.77:89", "route.neighbor-silent"),
    ("blocking [fd01:2::2]:90", "route.none"),
];

#[test]
fn a_thousand_fail_at_once_for_ten_reasons() {
    let labs: Vec<Lab> = (0..LABS).map(|_| Lab::new()).collect();
    let mut kept = Vec::new();
    for lab in &labs {
        kept.push(servers::deferring(&lab.server, "10.1.2.2:85"));
        kept.push(servers::signing(&lab.server, "10.1.2.2:86", "10.1.1.2"));
        kept.push(servers::listen(&lab.server, "127.0.0.1:82").into());
        lab.router.guard("forward", "tcp dport 83 drop");
        lab.server.guard("input", "tcp dport 84 reject with tcp reset");
        lab.client.ip("route add prohibit 10.3.0.0/16");
        lab.client.ip("-6 route del default");
        remote::attach(&lab.client, Answer::Reset);
    }
    let fillers: Vec<Client> = labs
        .iter()
        .map(|lab| {
            let mut filler = lab.start("blocking 10.1.2.2:85 --times 4 --send 10 --hold 120000");
            (0..4).for_each(|_| assert_eq!(filler.attempt().errno, 0));
            filler
        })
        .collect();
    // Nothing is optimized here: room for what waits meanwhile.
    let trace = Tracer::over(&labs, &["--buffer", "67108864"]);
    let mut clients: Vec<(Client, &str)> = Vec::new();
    for lab in &labs {
        for (command, code) in REASONS {
            clients.push((lab.start(&format!("{command} --at-once {EACH}")), code));
        }
    }
    let mut expected = BTreeMap::new();
    for (client, code) in &mut clients {
        for _ in 0..EACH {
            let attempt = client.attempt();
            assert_ne!(attempt.errno, 0, "{code}");
            expected.insert((u64::from(attempt.pid), u64::from(attempt.tid)), *code);
        }
        client.wait();
    }
    assert_eq!(expected.len(), LABS * EACH * REASONS.len());
    drop(fillers);
    let (reports, _) = trace.end();
    let mut told = BTreeMap::new();
    for report in &reports {
        let number = |key: &str| report["process"][key].as_u64().expect("a number");
        let code = report["verdict"]["code"].as_str().expect("a code");
        let twice = told.insert((number("pid"), number("tid")), code);
        assert!(twice.is_none(), "told twice: {report:#}");
        let wanted = expected.get(&(number("pid"), number("tid")));
        assert_eq!(wanted.copied(), Some(code), "{report:#}");
    }
    assert_eq!(told.len(), expected.len());
}
