//! The way: interfaces, routes, next hops, ports that are refused, filtered or open; and what the text says.

use super::*;

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
    for target in ["10.63.0.2:5432", "[fd63::2]:5432"] {
        let checked = check(&client, &[target]);
        assert_eq!(checked.failed()[0], "interfaces route.interface-down");
        assert_eq!(checked.status_of("route"), ["failed"]);
        assert_eq!(checked.status_of("port"), ["skipped"], "a cause hides its consequences");
        assert_eq!(checked.conclusion["step"], "interfaces");
        assert_eq!(checked.conclusion["code"], "route.interface-down");
    }
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
fn the_next_hop_was_silent_once() {
    let (client, server) = pair("once", zone());
    let ping = output(client.command("ping").args(["-c", "1", "-W", "4", "10.63.0.77"]));
    assert!(!ping.status.success(), "its entry has failed");
    server.ip("addr add 10.63.0.77/24 dev e0");
    let _listener = servers::listen(&server, "10.63.0.77:5432");
    client.nft(
        "add table ip t; add chain ip t c { type filter hook output priority 0; }; add rule ip t c icmp type echo-request drop",
    );
    let checked = check(&client, &["10.63.0.77:5432"]);
    assert_eq!((checked.status, checked.status_of("gateway")), (0, vec!["skipped"]), "{:#?}", checked.rungs);
}

#[test]
fn this_host_sends_it_elsewhere() {
    let (client, server) = pair("dnat", zone());
    let _listener = servers::listen(&server, "10.63.0.2:5432");
    client.nft(
        "add table ip t; add chain ip t c { type nat hook output priority -100; }; \
         add rule ip t c ip daddr 10.63.0.88 tcp dport 5432 dnat to 10.63.0.2:5432",
    );
    let checked = check(&client, &["10.63.0.88:5432"]);
    assert_eq!((checked.status, checked.status_of("gateway")), (0, vec!["skipped"]), "{:#?}", checked.rungs);
    assert_eq!(checked.status_of("port"), ["ok"]);
}

#[test]
fn an_interface_has_no_carrier() {
    let (client, _server) = pair("carrier", zone());
    for command in ["link add q0 type veth peer name q1", "addr add 10.62.0.1/24 dev q0", "link set q0 up"] {
        client.ip(command);
    }
    let checked = check(&client, &["10.62.0.5:5432"]);
    assert_eq!(checked.failed(), ["route route.interface-down"]);
    assert_eq!(checked.status_of("port"), ["skipped"], "a cause hides its consequences");
    assert!(checked.text().contains("q0, which leads to 10.62.0.5, has no carrier"), "{}", checked.text());
    let interfaces = checked.rungs[0]["text"].as_str().unwrap();
    assert!(interfaces.contains("q0 up, no carrier 10.62.0.1/24"), "{interfaces}");
}

#[test]
fn this_host_by_name_with_nothing_but_loopback() {
    let host = Island::new("alone").with_file("/etc/hosts", "127.0.0.1 localhost\n");
    let _listener = servers::listen(&host, "127.0.0.1:5461");
    let checked = check(&host, &["-4", "localhost:5461"]);
    assert_eq!((checked.status, checked.status_of("interfaces")), (0, vec!["skipped"]), "{:#?}", checked.rungs);
    let checked = check(&host, &["-4", "localhost:5462"]);
    assert_eq!(checked.failed(), ["port refused.no-listener"], "{}", checked.text());
    host.sysctl("net.ipv6.conf.all.disable_ipv6=1");
    let checked = check(&host, &["[::1]:5461"]);
    assert_eq!(checked.failed(), ["route local.no-family"], "{}", checked.text());
    let path = json_lines(&mut host.netdx(&["routes", "::1", "--format", "json"])).0.remove(0);
    assert_eq!((&path["fails"]["errno"], &path["fails"]["code"]), (&"EADDRNOTAVAIL".into(), &"local.no-family".into()));
}

#[test]
fn no_address_of_one_host() {
    let (client, server) = pair_in(67, "target", zone_of(67));
    client.ip("route add default via 10.67.0.2");
    for target in ["10.67.0.255:5467", "224.0.0.1:5467"] {
        let checked = check(&client, &["--no-trace", target]);
        assert_eq!(checked.failed(), ["port local.bad-target"], "{}", checked.text());
    }
    let _listener = servers::listen(&server, "0.0.0.0:5468");
    for target in ["127.0.0.1:5468", "0.0.0.0:5468"] {
        let checked = check(&client, &["--no-trace", target]);
        assert_eq!(checked.failed(), ["port refused.bound-elsewhere"], "{}", checked.text());
        let elsewhere = format!("0.0.0.0:5468 in network namespace {}", server.name());
        assert!(checked.text().contains(&elsewhere), "{}", checked.text());
        let advice = checked.conclusion["advice"][0].as_str().unwrap();
        assert!(advice.contains("is in another network namespace"), "{advice}");
    }
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
    client.ip("route add default via 10.63.0.2");
    client.ip("rule del priority 32766");
    let checked = check(&client, &["10.99.0.1:5432"]);
    assert!(checked.text().contains("no rule has the kernel look into table main"), "{}", checked.text());
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
        assert!(said.status.code() == Some(2) && text.contains("fe80::72%eth0"), "{text}");
    }
}

#[test]
fn the_port_is_filtered() {
    let (client, server) = pair("filtered", zone());
    let _v4 = servers::listen(&server, "10.63.0.2:5432");
    let _v6 = servers::listen(&server, "[fd63::2]:5432");
    let drop = |hook: &str, port: u16| {
        format!(
            "add table inet t; add chain inet t c {{ type filter hook {hook} priority 0; }}; add rule inet t c tcp dport {port} drop"
        )
    };
    run(server.command("nft").arg(drop("input", 5432)));
    run(client.command("nft").arg(drop("output", 5433)));
    for (target, place) in [
        ("db.example:5432", server.name()),
        ("[fd63::2]:5432", server.name()),
        ("10.63.0.2:5433", "this network namespace"),
        ("[fd63::2]:5433", "this network namespace"),
    ] {
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
    run(server.command("nft").arg("insert rule inet t c tcp dport 5434 reject with tcp reset"));
    for target in ["10.63.0.2:5434", "[fd63::2]:5434"] {
        assert_eq!(check(&client, &[target]).failed(), ["port firewall.rejected"]);
    }
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
    let conf = "nameserver 10.65.0.1\nnameserver 10.65.0.2\noptions timeout:1 attempts:1\n";
    let client = client.with_file("/etc/resolv.conf", conf);
    let checked = check(&client, &["db.example:5465"]);
    assert_eq!(checked.failed(), ["server dns.server-unreachable", "port refused.bound-elsewhere"]);
    assert_eq!(checked.conclusion["code"], "refused.bound-elsewhere", "what failed over IPv6: {}", checked.text());
    let client = client.with_file("/etc/resolv.conf", "nameserver 10.65.0.2\noptions timeout:1 attempts:1\n");
    assert_eq!(check(&client, &["-6", "db.example:5465"]).status, 3);
}

#[test]
fn a_public_address_only_when_asked() {
    let (client, _server) = pair("internet", zone());
    let checked = check(&client, &["10.63.0.2", "--internet", "10.63.0.2"]);
    assert_eq!((checked.status, checked.status_of("internet")), (0, vec!["ok"]), "{:?}", checked.failed());
    assert_eq!(checked.status_of("ping"), ["ok"]);
    let named = output(&mut client.netdx(&["check", "10.63.0.2", "--internet", "db.example"]));
    assert!(String::from_utf8_lossy(&named.stderr).contains("it has to be an address"));
    assert_eq!(named.status.code(), Some(2), "wrong usage");
    for arguments in [["check", "-4", "::1"], ["check", "-6", "10.63.0.2"]] {
        assert_eq!(output(&mut client.netdx(&arguments)).status.code(), Some(2), "{arguments:?}");
    }
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
