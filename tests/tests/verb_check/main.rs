//! `netdx check` against servers of the tests' own: each failure is named at its rung. Needs root (namespaces).

mod names;
mod service;
mod way;

use netdx_tests::{
    island::{Island, json_lines, output, run},
    servers::{self, Authority, Zone},
};
use serde_json::Value;
use std::{fs, io::Write as _};

/// What `check` said.
struct Checked {
    rungs: Vec<Value>,
    conclusion: Value,
    status: i32,
}

impl Checked {
    /// Failed rungs as `step code-or-problem`.
    fn failed(&self) -> Vec<String> {
        let failed = self.rungs.iter().filter(|rung| rung["status"] == "failed");
        failed
            .map(|rung| {
                let problems =
                    || rung["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect::<Vec<_>>();
                let what = rung["verdict"]["code"].as_str().map_or_else(|| problems().join("+"), str::to_owned);
                format!("{} {what}", rung["step"].as_str().unwrap())
            })
            .collect()
    }

    fn status_of(&self, step: &str) -> Vec<&str> {
        self.rungs.iter().filter(|r| r["step"] == step).map(|r| r["status"].as_str().unwrap()).collect()
    }

    fn text(&self) -> &str {
        self.conclusion["text"].as_str().unwrap()
    }
}

fn check(island: &Island, arguments: &[&str]) -> Checked {
    check_with(island, arguments, None)
}

fn check_with(island: &Island, arguments: &[&str], authority: Option<&Authority>) -> Checked {
    let mut command = island.netdx(&["check", "--format", "json", "--timeout", "2"]);
    command.args(arguments);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    if let Some(authority) = authority {
        file.write_all(authority.pem.as_bytes()).unwrap();
        command.env("SSL_CERT_FILE", file.path()).env_remove("SSL_CERT_DIR");
    }
    let (mut rungs, status) = json_lines(&mut command);
    let conclusion = rungs.pop().expect("a conclusion");
    assert_eq!(conclusion["kind"], "conclusion");
    let checked = Checked { rungs, conclusion, status: status.expect("it was not killed") };
    // Exit status 0 all rungs ok, 3 a rung failed.
    assert_eq!(checked.status, if checked.failed().is_empty() { 0 } else { 3 }, "{:?}", checked.failed());
    checked
}

/// A client and a server with a link between them, IPv4 and IPv6; DNS on the server.
fn pair(what: &str, zone: Zone) -> (Island, Island) {
    pair_in(63, what, zone)
}

/// The same with addresses of its own: 10.NET.0.1 and .2, fdNET::1 and ::2. Who listens on a port is looked up in every
/// namespace, those of tests that run at the same time included: a test about refusals has addresses and ports of its own.
fn pair_in(net: u8, what: &str, zone: Zone) -> (Island, Island) {
    let client = Island::new(what)
        .with_file("/etc/resolv.conf", &format!("nameserver 10.{net}.0.2\noptions timeout:1 attempts:1\n"))
        .with_file("/etc/nsswitch.conf", "hosts: files dns\n");
    let server = Island::new(what);
    let end = |host: u8| format!("10.{net}.0.{host}/24 fd{net}::{host}/64");
    client.link("e0", &server, "e0", [&end(1), &end(2)]);
    servers::dns(&server, &format!("10.{net}.0.2"), zone);
    (client, server)
}

fn zone() -> Zone {
    zone_of(63)
}

fn zone_of(net: u8) -> Zone {
    Zone::default().address("db.example", &format!("10.{net}.0.2"))
}
