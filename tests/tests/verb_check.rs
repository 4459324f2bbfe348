//! `netdx check` against servers of the tests' own: each failure is named at its rung. Needs root (namespaces).

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

#[test]
fn everything_works() {
    let (client, server) = pair("works", zone().address("db.example", "fd63::2"));
    let _v4 = servers::listen(&server, "10.63.0.2:5432");
    let _v6 = servers::listen(&server, "[fd63::2]:5432");
    let checked = check(&client, &["db.example:5432"]);
    assert_eq!(checked.status, 0, "{:?}", checked.failed());
    assert_eq!(checked.status_of("port"), ["ok", "ok"]);
    assert_eq!(checked.status_of("gateway"), ["ok", "ok"], "both next hops answer");
    assert_eq!(checked.status_of("server"), ["ok"]);
    assert_eq!(checked.status_of("internet"), ["skipped"], "nothing goes to a public address unasked");
    assert!(checked.text().contains("db.example port 5432 works"), "{}", checked.text());
}

#[test]
fn no_interface_is_up() {
    let (client, _server) = pair("down", zone());
    client.ip("link set e0 down");
    let checked = check(&client, &["10.63.0.2:5432"]);
    assert_eq!(checked.failed(), ["interfaces route.interface-down", "route route.interface-down"]);
    assert_eq!(checked.conclusion["step"], "interfaces");
    assert_eq!(checked.conclusion["code"], "route.interface-down");
}

#[test]
fn the_gateway_is_silent() {
    let (client, _server) = pair("gateway", zone());
    client.ip("route add default via 10.63.0.77");
    let checked = check(&client, &["10.99.0.1:5432"]);
    assert_eq!(checked.failed(), ["gateway route.neighbor-silent"]);
    assert_eq!(checked.conclusion["code"], "route.neighbor-silent");
    assert!(checked.text().contains("10.63.0.77"), "{}", checked.text());
    client.ip("-6 route add default via fd63::77");
    let checked = check(&client, &["[2001:db8::1]:5432"]);
    assert_eq!(checked.failed(), ["gateway route.neighbor-silent"]);
}

#[test]
fn there_is_no_route() {
    let (client, _server) = pair("noroute", zone());
    for target in ["10.99.0.1:5432", "[2001:db8::1]:5432"] {
        let checked = check(&client, &[target]);
        assert_eq!(checked.failed(), ["route route.none"]);
        assert_eq!(checked.status_of("port"), ["skipped"], "a cause hides its consequences");
        assert_eq!(checked.conclusion["code"], "route.none");
    }
    client.ip("route add unreachable 10.98.0.0/16");
    assert_eq!(check(&client, &["10.98.0.1:80"]).failed(), ["route route.rejects"]);
}

#[test]
fn the_dns_server_is_dead() {
    let (client, _server) = pair("dead", Zone { dead: true, ..zone() });
    let checked = check(&client, &["db.example:5432"]);
    assert_eq!(checked.failed(), ["system dns.timeout", "server dns.timeout"]);
    assert_eq!((&checked.conclusion["step"], &checked.conclusion["code"]), (&"server".into(), &"dns.timeout".into()));
    assert!(checked.text().contains("10.63.0.2"), "{}", checked.text());
}

#[test]
fn nobody_serves_dns_there() {
    let (client, _server) = pair("nodns", zone());
    let client = client.with_file("/etc/resolv.conf", "nameserver 10.63.0.1\noptions timeout:1 attempts:1\n");
    let checked = check(&client, &["db.example:5432"]);
    assert_eq!(checked.conclusion["code"], "dns.server-unreachable", "{:?}", checked.failed());
    let client = client.with_file("/etc/resolv.conf", "");
    let checked = check(&client, &["db.example:5432"]);
    assert_eq!(checked.conclusion["code"], "dns.no-server", "{:?}", checked.failed());
}

#[test]
fn the_name_does_not_exist() {
    let (client, _server) = pair("nx", zone());
    let checked = check(&client, &["bd.example:5432"]);
    assert_eq!(checked.failed(), ["system dns.nxdomain", "server dns.nxdomain"]);
    assert_eq!(checked.conclusion["code"], "dns.nxdomain");
    assert_eq!(checked.status_of("port"), ["skipped"]);
}

#[test]
fn one_of_two_servers_is_dead() {
    let (client, server) = pair("half", zone());
    let client = client
        .with_file("/etc/resolv.conf", "nameserver 10.63.0.77\nnameserver 10.63.0.2\noptions timeout:1 attempts:1\n");
    let _listener = servers::listen(&server, "10.63.0.2:5432");
    let checked = check(&client, &["db.example:5432"]);
    assert_eq!(checked.conclusion["works"], true, "{}", checked.text());
    assert_eq!(checked.status_of("server"), ["failed", "ok"]);
}

#[test]
fn the_hosts_file_is_wrong() {
    let (client, server) = pair("hosts", zone());
    let client = client.with_file("/etc/hosts", "127.0.0.1 localhost\n10.63.0.77 db.example db\n");
    let _listener = servers::listen(&server, "10.63.0.2:5432");
    let checked = check(&client, &["db.example:5432"]);
    assert_eq!(checked.failed(), ["hosts dns.hosts-override", "gateway route.neighbor-silent"]);
    assert_eq!(checked.conclusion["step"], "hosts", "{}", checked.text());
    assert_eq!(checked.conclusion["certainty"], "proven");
    assert!(
        checked.text().contains("/etc/hosts line 2") && checked.text().contains("10.63.0.2 works"),
        "{}",
        checked.text()
    );
}

#[test]
fn the_hosts_file_alone_has_the_name() {
    let (client, server) = pair("files", zone());
    let client = client.with_file("/etc/hosts", "10.63.0.2 only.here\n");
    let _listener = servers::listen(&server, "10.63.0.2:5432");
    let checked = check(&client, &["only.here:5432"]);
    assert_eq!((checked.status, checked.status_of("server")), (0, vec!["skipped"]), "{:?}", checked.failed());
}

#[test]
fn the_port_is_refused() {
    let (client, server) = pair_in(64, "refused", zone_of(64));
    let checked = check(&client, &["db.example:5464"]);
    assert_eq!(checked.failed(), ["port refused.no-listener"]);
    assert!(checked.text().starts_with("The name resolves, the route works; but"), "{}", checked.text());
    let _listener = servers::listen(&server, "127.0.0.1:5467");
    let checked = check(&client, &["[fd64::2]:5467"]);
    assert_eq!(checked.failed(), ["port refused.bound-elsewhere"]);
    assert!(checked.text().contains("127.0.0.1:5467"), "{}", checked.text());
}

#[test]
fn the_same_address_on_two_links() {
    let (client, server) = (Island::new("zone"), Island::new("zone"));
    client.link("near", &server, "near", ["fe80::71/64", "fe80::72/64"]);
    client.link("far", &server, "far", ["fe80::71/64", "fe80::73/64"]);
    servers::http(&server, "[::]:5471", "200 OK");
    let checked = check(&client, &["--http", "[fe80::72%near]:5471"]);
    assert_eq!(checked.failed(), [""; 0], "{:#?}", checked.rungs);
    assert_eq!(checked.status_of("http"), ["ok"]);
    let checked = check(&client, &["[fe80::72%far]:5471"]);
    assert_eq!(checked.failed(), ["gateway route.neighbor-silent"], "nobody has it on that link");
    for (link, hop) in [("near", "fe80::72"), ("far", "fe80::73")] {
        let (path, _) = json_lines(&mut client.netdx(&["routes", "--format", "json", &format!("{hop}%{link}")]));
        assert_eq!(path[0]["interface"]["name"], link, "{path:#?}");
    }
    let checked = check(&client, &["http://[fe80::72%25near]:5471/"]);
    assert_eq!((checked.status, checked.status_of("http")), (0, vec!["ok"]), "{:#?}", checked.rungs);
    for arguments in [["check", "fe80::72"], ["routes", "fe80::72"]] {
        let said = output(&mut client.netdx(&arguments));
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.code() == Some(1) && text.contains("fe80::72%eth0"), "{text}");
    }
}

#[test]
fn a_name_server_on_the_link() {
    let (client, server) = (Island::new("zoned"), Island::new("zoned"));
    let client = client
        .with_file("/etc/resolv.conf", "nameserver fe80::72%near\noptions timeout:1 attempts:1\n")
        .with_file("/etc/nsswitch.conf", "hosts: files dns\n");
    client.link("far", &server, "far", ["fe80::71/64", "fe80::73/64"]);
    client.link("near", &server, "near", ["fe80::71/64 fd72::1/64", "fe80::72/64 fd72::2/64"]);
    let zone = Zone::default().address("db.example", "fd72::2").address("link.example", "fe80::72");
    servers::dns(&server, "::", zone);
    let _listener = servers::listen(&server, "[::]:5472");
    let checked = check(&client, &["db.example:5472"]);
    assert_eq!(checked.failed(), [""; 0], "{:#?}", checked.rungs);
    let asked = checked.rungs.iter().find(|r| r["step"] == "server").unwrap();
    assert_eq!(asked["subject"], "fe80::72%near");
    for server in ["@fe80::72%near", "@fe80::72%near#53"] {
        let (answer, status) = json_lines(&mut client.netdx(&["dns", "db.example.", server, "--format", "json"]));
        assert_eq!((status, &answer[0]["servers"][0]["zone"]), (Some(0), &"near".into()), "{answer:#?}");
    }
    let said = output(&mut client.netdx(&["dns", "db.example."]));
    assert!(String::from_utf8_lossy(&said.stdout).contains("fe80::72%near"), "{said:?}");
    // DNS can't say on which link an address is: an application can't connect to it.
    let checked = check(&client, &["link.example:5472"]);
    assert_eq!(
        checked.failed(),
        ["route local.bad-target"],
        "{:#?} {:?}",
        checked.rungs,
        run(client.command("getent").args(["ahosts", "link.example"]))
    );
    let (path, status) = json_lines(&mut client.netdx(&["routes", "link.example", "--format", "json"]));
    assert_eq!((status, &path[0]["fails"]["errno"]), (Some(3), &"EINVAL".into()), "{path:#?}");
    // Neither can resolv.conf without the link.
    let client = client.with_file("/etc/resolv.conf", "nameserver fe80::72\noptions timeout:1 attempts:1\n");
    let (answer, status) = json_lines(&mut client.netdx(&["dns", "db.example.", "--format", "json"]));
    let note = answer[0]["notes"][0].as_str().unwrap();
    assert!(status == Some(3) && note.contains("which link is meant"), "{answer:#?}");
}

#[test]
fn the_port_is_filtered() {
    let (client, server) = pair("filtered", zone());
    let _listener = servers::listen(&server, "10.63.0.2:5432");
    let drop = |hook: &str, port: u16| {
        format!(
            "add table ip t; add chain ip t c {{ type filter hook {hook} priority 0; }}; add rule ip t c tcp dport {port} drop"
        )
    };
    run(server.command("nft").arg(drop("input", 5432)));
    run(client.command("nft").arg(drop("output", 5433)));
    for (target, place) in [("db.example:5432", server.name()), ("10.63.0.2:5433", "this network namespace")] {
        let traced = check(&client, &[target]);
        assert!(traced.conclusion["untraced"].is_null(), "{}", traced.conclusion["untraced"]);
        assert_eq!(
            (traced.failed(), &traced.conclusion["certainty"]),
            (vec!["port firewall.dropped".into()], &"proven".into())
        );
        assert!(traced.text().contains("drop") && traced.text().contains(place), "{}", traced.text());
        let alone = check(&client, &["--no-trace", target]);
        assert_eq!(
            (alone.failed(), &alone.conclusion["certainty"]),
            (vec!["port timeout.silent".into()], &"possible".into())
        );
    }
    run(server.command("nft").arg("insert rule ip t c tcp dport 5434 reject with tcp reset"));
    assert_eq!(check(&client, &["10.63.0.2:5434"]).failed(), ["port firewall.rejected"]);
    let alone = check(&client, &["--no-trace", "10.63.0.2:5434"]);
    assert_eq!(alone.conclusion["certainty"], "possible", "{}", alone.text());
}

#[test]
fn only_ipv6_is_broken() {
    let (client, server) = pair_in(65, "v6", zone_of(65).address("db.example", "fd65::2"));
    let _v4 = servers::listen(&server, "10.65.0.2:5465");
    let checked = check(&client, &["db.example:5465"]);
    assert_eq!(checked.failed(), ["port refused.bound-elsewhere"]);
    assert_eq!(checked.conclusion["works"], true);
    assert_eq!(checked.conclusion["also"][0], "dualstack.fallback");
    assert!(checked.text().contains("works over IPv4 (10.65.0.2), but not over IPv6"), "{}", checked.text());
    assert_eq!(check(&client, &["-4", "db.example:5465"]).status, 0);
    assert_eq!(check(&client, &["-6", "db.example:5465"]).status, 3);
}

#[test]
fn a_good_certificate() {
    let (client, server) = pair("good", zone());
    let authority = Authority::default();
    servers::https(&server, "10.63.0.2:443", "200 OK", authority.server(&["db.example"], (2020, 2100)));
    let checked = check_with(&client, &["https://db.example/health"], Some(&authority));
    assert_eq!(checked.status, 0, "{:?} {}", checked.failed(), checked.text());
    let tls = checked.rungs.iter().find(|r| r["step"] == "tls").unwrap();
    assert_eq!(tls["tls"]["certificates"][0]["names"][0], "db.example");
    assert_eq!(tls["tls"]["version"], "TLSv1.3");
    let http = checked.rungs.iter().find(|r| r["step"] == "http").unwrap();
    assert_eq!(http["http"]["status"], 200);
    assert!(http["http"]["headers"].as_array().unwrap().contains(&serde_json::json!(["server", "netdx-tests"])));
}

#[test]
fn each_bad_certificate_is_told_and_shown() {
    let (client, server) = pair("bad", zone());
    let authority = Authority::default();
    servers::https(&server, "10.63.0.2:443", "200 OK", authority.server(&["db.example"], (2020, 2021)));
    servers::https(&server, "10.63.0.2:8443", "200 OK", authority.server(&["other.example", "10.0.0.9"], (2020, 2100)));
    servers::https(&server, "10.63.0.2:636", "200 OK", authority.server(&["db.example"], (2090, 2100)));
    for (target, problem, word) in [
        ("https://db.example", "certificate-expired", "expired on 2021-01-01T00:00:00Z"),
        ("db.example:8443", "certificate-name", "it is for other.example, 10.0.0.9"),
        ("db.example:636", "certificate-not-yet-valid", "2090-01-01"),
    ] {
        let checked = check_with(&client, &[target], Some(&authority));
        assert_eq!(checked.failed(), [format!("tls {problem}")], "{}", checked.text());
        assert!(checked.text().contains(word), "{}", checked.text());
        let tls = checked.rungs.iter().find(|r| r["step"] == "tls").unwrap();
        assert_eq!(tls["tls"]["certificates"].as_array().unwrap().len(), 1, "shown though it is not good");
    }
    let stranger = Authority::default();
    let checked = check_with(&client, &["https://db.example"], Some(&stranger));
    assert_eq!(checked.failed(), ["tls certificate-expired+certificate-untrusted"], "each on its own");
    assert_eq!(checked.status_of("http"), ["skipped"], "nothing is sent through it");
}

#[test]
fn plain_http_on_the_tls_port() {
    let (client, server) = pair("plain", zone());
    servers::http(&server, "10.63.0.2:443", "200 OK");
    let checked = check(&client, &["https://db.example"]);
    assert_eq!(checked.failed(), ["tls plain-http"]);
    assert!(checked.text().contains("speaks plain HTTP, not TLS"), "{}", checked.text());
}

#[test]
fn http_says_that_it_does_not_work() {
    let (client, server) = pair("http", zone());
    servers::http(&server, "10.63.0.2:80", "503 Service Unavailable\r\nRetry-After: 30");
    let checked = check(&client, &["http://db.example/"]);
    assert_eq!(checked.failed(), ["http http-status"]);
    assert!(
        checked.text().contains("503 Service Unavailable") && checked.text().contains("retry-after: 30"),
        "{}",
        checked.text()
    );
    servers::http(&server, "10.63.0.2:8080", "404 Not Found");
    assert_eq!(check(&client, &["db.example:8080"]).status, 0, "a server that answers works");
    let silent = servers::listen(&server, "10.63.0.2:8000");
    let checked = check(&client, &["db.example:8000"]);
    assert_eq!(checked.failed(), ["http http-silent"]);
    drop(silent);
}

#[test]
fn a_public_address_only_when_asked() {
    let (client, _server) = pair("internet", zone());
    let checked = check(&client, &["10.63.0.2", "--internet", "10.63.0.2"]);
    assert_eq!((checked.status, checked.status_of("internet")), (0, vec!["ok"]), "{:?}", checked.failed());
    assert_eq!(checked.status_of("ping"), ["ok"]);
    let named = output(&mut client.netdx(&["check", "10.63.0.2", "--internet", "db.example"]));
    assert!(String::from_utf8_lossy(&named.stderr).contains("it has to be an address"));
}

#[test]
fn an_ordinary_user_is_told_what_was_skipped() {
    let (client, server) = pair("user", zone());
    let _listener = servers::listen(&server, "10.63.0.2:5432");
    let mut setpriv = client.command("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(netdx_tests::island::netdx());
    let (lines, status) = json_lines(setpriv.args(["check", "db.example:5432", "--format", "json"]));
    assert_eq!(status, Some(0), "{lines:?}");
    let gateway = lines.iter().find(|r| r["step"] == "gateway").unwrap();
    assert!(["ok", "skipped"].contains(&gateway["status"].as_str().unwrap()), "{gateway}");
}

#[test]
fn the_text_says_it_in_one_line() {
    let (client, _server) = pair_in(66, "text", zone_of(66));
    let said = output(&mut client.netdx(&["check", "db.example:5466"]));
    let text = String::from_utf8(said.stdout).unwrap();
    let last = text.lines().rev().find(|line| !line.starts_with("Do:")).unwrap();
    assert!(last.contains("port 5466") && last.ends_with("See: netdx explain refused.no-listener"), "{text}");
    assert!(!fs::read_to_string("/etc/hosts").unwrap().contains("db.example"), "the machine's files are untouched");
}
