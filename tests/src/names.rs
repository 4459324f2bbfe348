//! Labs whose client looks names up, and the programs that do. Owns: resolv.conf and its like. Must not know: what is
//! tested.

use crate::island::{beside_the_tests, run};
use crate::lab::Lab;
use crate::tracer::Tracer;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// One server, and little patience.
pub const RESOLVER: &str = "nameserver 10.1.2.2\noptions timeout:1 attempts:2\n";

/// How long a report may take to come: a lookup that times out takes a few seconds by itself.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A lab whose client resolves names with this resolv.conf.
#[must_use]
pub fn lab(resolver: &str) -> Lab {
    let mut lab = Lab::new();
    lab.client =
        lab.client.with_file("/etc/resolv.conf", resolver).with_file("/etc/nsswitch.conf", "hosts: files dns\n");
    lab
}

/// A program in the client's namespace, its arguments separated by spaces. It has to end by itself; whether it succeeded.
pub fn client(lab: &Lab, command: &str) -> bool {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    lab.client.command(program).args(words).output().expect("it runs").status.success()
}

/// A Python script in the client's namespace; it has to succeed.
pub fn python(lab: &Lab, script: &str) {
    run(lab.client.command("/usr/bin/python3").args(["-c", script]));
}

/// The verdict on a lookup that a program of this name made.
#[must_use]
pub fn verdict(trace: &Tracer, comm: &str) -> Value {
    trace.wait_for(PATIENCE, |report| {
        report["kind"] == "lookup" && report["process"]["comm"] == comm && !report["verdict"].is_null()
    })
}

/// The names that a report says were asked for, with their types, in order, each once.
#[must_use]
pub fn asked(report: &Value) -> Vec<String> {
    let mut asked: Vec<String> = Vec::new();
    for attempt in report["attempts"].as_array().into_iter().flatten() {
        let text = |key: &str| attempt[key].as_str().unwrap_or_default();
        let query = format!("{} {}", text("name"), text("type"));
        if !asked.contains(&query) {
            asked.push(query);
        }
    }
    asked
}

/// The codes that stand beside a verdict.
#[must_use]
pub fn also(report: &Value) -> Vec<&str> {
    report["also"].as_array().into_iter().flatten().filter_map(|also| also["code"].as_str()).collect()
}

/// A program that looks a name up with musl's getaddrinfo, NAME [PORT], and connects to the first address if it has a port
/// (look_up.c); linked statically, or to the machine's own musl. xtask compiles both beside netdx.
#[must_use]
pub fn musl_client(is_static: bool) -> PathBuf {
    beside_the_tests(if is_static { "look-up-static" } else { "look-up-musl" })
}
