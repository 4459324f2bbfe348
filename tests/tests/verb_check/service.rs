//! What is spoken on the port: certificates, plain HTTP where TLS should be, HTTP that says no.

use super::*;

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
fn a_certificate_signed_by_itself() {
    let (client, server) = pair("itself", zone());
    let (authority, config) = Authority::itself("db.example");
    servers::https(&server, "10.63.0.2:443", "200 OK", config);
    let checked = check_with(&client, &["https://db.example"], Some(&Authority::default()));
    assert_eq!(checked.failed(), ["tls certificate-untrusted"]);
    let words = "the certificate is signed by itself, and is not among those this system trusts.";
    assert!(checked.text().ends_with(words), "{}", checked.text());
    let checked = check_with(&client, &["https://db.example"], Some(&authority));
    assert_eq!(checked.status, 0, "trusted as OpenSSL trusts it: {}", checked.text());
}

#[test]
fn a_server_wants_something_of_the_client() {
    let (client, server) = pair("wants", zone());
    server.ip("addr add 10.63.0.3/24 dev e0");
    // An alert: handshake_failure (RFC 8446, section 6).
    servers::raw_dns_over_tcp(&server, "10.63.0.3", |_| vec![vec![21, 3, 3, 0, 2, 2, 40]]);
    let checked = check(&client, &["--tls", "10.63.0.3:53"]);
    assert_eq!(checked.failed(), ["tls handshake"]);
    assert!(checked.text().contains("netdx offers TLS 1.2 and 1.3"), "{}", checked.text());
}

#[test]
fn http_that_is_unusual() {
    let (client, server) = pair("unusual", zone());
    let headers: String = (0..150).map(|number| format!("\r\nX-{number}: y")).collect();
    servers::http(&server, "10.63.0.2:80", &format!("200 All Good\r\nX : y\r\nX-Control: a\x01b{headers}"));
    let checked = check(&client, &["http://db.example/"]);
    assert_eq!(checked.status, 0, "{}", checked.text());
    let http = checked.rungs.iter().find(|r| r["step"] == "http").unwrap();
    assert_eq!(http["http"]["reason"], "All Good");
    server.ip("addr add 10.63.0.3/24 dev e0");
    // A SETTINGS frame without any (RFC 9113, section 6.5).
    servers::raw_dns_over_tcp(&server, "10.63.0.3", |_| vec![vec![0, 0, 0, 4, 0, 0, 0, 0, 0]]);
    let checked = check(&client, &["--http", "10.63.0.3:53"]);
    assert_eq!((checked.status, checked.status_of("http")), (0, vec!["skipped"]), "{:#?}", checked.rungs);
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
fn the_same_over_ipv6() {
    let (client, server) = pair("six", Zone::default().address("db.example", "fd63::2"));
    let authority = Authority::default();
    servers::https(&server, "[fd63::2]:443", "200 OK", authority.server(&["db.example"], (2020, 2021)));
    servers::https(&server, "[fd63::2]:8443", "200 OK", authority.server(&["other.example"], (2020, 2100)));
    servers::https(&server, "[fd63::2]:636", "200 OK", authority.server(&["fd63::2"], (2020, 2100)));
    servers::http(&server, "[fd63::2]:853", "200 OK");
    servers::http(&server, "[fd63::2]:80", "503 Service Unavailable");
    for (target, failed) in [
        ("https://db.example", "tls certificate-expired"),
        ("db.example:8443", "tls certificate-name"),
        ("db.example:853", "tls plain-http"),
        ("http://[fd63::2]/", "http http-status"),
    ] {
        let checked = check_with(&client, &[target], Some(&authority));
        assert_eq!(checked.failed(), [failed], "{target}: {}", checked.text());
    }
    let checked = check_with(&client, &["[fd63::2]:636"], Some(&authority));
    assert_eq!(checked.failed(), [""; 0], "a certificate may be for an address: {}", checked.text());
}
