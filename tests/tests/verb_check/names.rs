//! Names: servers that are dead or say no, the hosts file.

use super::*;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, rdata::CNAME},
};

#[test]
fn the_dns_server_is_dead() {
    let (client, server) = pair("dead", Zone { dead: true, ..zone() });
    let checked = check(&client, &["db.example:5432"]);
    assert_eq!(checked.failed(), ["system dns.timeout", "server dns.timeout"]);
    assert_eq!((&checked.conclusion["step"], &checked.conclusion["code"]), (&"server".into(), &"dns.timeout".into()));
    assert!(checked.text().contains("10.63.0.2"), "{}", checked.text());
    servers::dns(&server, "fd63::2", Zone { dead: true, ..zone() });
    let client = client.with_file("/etc/resolv.conf", "nameserver fd63::2\noptions timeout:1 attempts:1\n");
    let checked = check(&client, &["db.example:5432"]);
    assert_eq!((&checked.conclusion["step"], &checked.conclusion["code"]), (&"server".into(), &"dns.timeout".into()));
    assert!(checked.text().contains("fd63::2"), "{}", checked.text());
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
fn the_name_server_that_the_c_library_asks_by_itself() {
    let (client, _server) = pair("itself", zone());
    let client = client.with_file("/etc/resolv.conf", "options timeout:1 attempts:1\n");
    servers::dns(&client, "127.0.0.1", Zone { otherwise: Some(ResponseCode::ServFail), ..zone() });
    let checked = check(&client, &["db.example"]);
    assert_eq!(checked.status, 0, "{:#?}", checked.rungs);
    assert_eq!(check(&client, &["bd.example"]).conclusion["code"], "dns.servfail");
}

#[test]
fn an_international_name() {
    let (client, server) = pair("idn", zone().address("xn--bcher-kva.example", "10.63.0.2"));
    let _listener = servers::listen(&server, "10.63.0.2:5432");
    let checked = check(&client, &["bücher.example:5432"]);
    assert_eq!(checked.status, 0, "{:#?}", checked.rungs);
}

#[test]
fn the_name_is_an_alias() {
    let alias = RData::CNAME(CNAME(Name::from_ascii("gone.example.").expect("a name")));
    let (client, _server) = pair("alias", zone().with("www.example", 60, alias));
    let checked = check(&client, &["www.example:5432"]);
    let words = "www.example. is an alias of gone.example., which exists, without A or AAAA";
    assert!(checked.text().contains(words), "{}", checked.text());
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
    let (client, server) = pair("hosts", zone().address("six.example", "fd63::2"));
    let client = client.with_file("/etc/hosts", "127.0.0.1 localhost\nfd63::77 six.example\n");
    let _listener = servers::listen(&server, "[fd63::2]:5432");
    let checked = check(&client, &["six.example:5432"]);
    assert_eq!(checked.failed(), ["hosts dns.hosts-override", "gateway route.neighbor-silent"]);
    assert!(checked.text().contains("fd63::2 works"), "{}", checked.text());
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
