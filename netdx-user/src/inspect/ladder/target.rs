//! What a person wants to reach. Owns: [`Target`], and how `TARGET[:PORT]` and URLs are read. Must not know: how it is reached.

use crate::{
    host::resolver::inet_aton,
    inspect::{dns, getaddrinfo::a_labels, zone},
};
use std::{
    borrow::Cow,
    net::{IpAddr, Ipv6Addr},
};
use url::{Host, Url};

/// Where to, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name as typed, in A-labels, or an address without brackets and zone: what a server is asked for (RFC 6874, section 4).
    pub host: String,
    /// The link of a link-local address, as typed after `%`: an interface's name or index.
    pub zone: Option<String>,
    /// The host, when it is an address.
    pub address: Option<IpAddr>,
    /// TCP port; none: no port was given or known.
    pub port: Option<u16>,
    /// TLS is spoken from the first byte.
    pub tls: bool,
    /// HTTP is spoken: the path and query to ask for.
    pub path: Option<String>,
}

/// Schemes and their ports (IANA's registry of service names), and whether TLS comes first.
const SCHEMES: &[(&str, u16, bool)] = &[
    ("http", 80, false),
    ("https", 443, true),
    ("ws", 80, false),
    ("wss", 443, true),
    ("ftp", 21, false),
    ("ssh", 22, false),
    ("smtp", 25, false),
    ("smtps", 465, true),
    ("imap", 143, false),
    ("imaps", 993, true),
    ("ldap", 389, false),
    ("ldaps", 636, true),
    ("amqp", 5672, false),
    ("amqps", 5671, true),
    ("mqtt", 1883, false),
    ("mqtts", 8883, true),
    ("postgres", 5432, false),
    ("postgresql", 5432, false),
    ("mysql", 3306, false),
    ("redis", 6379, false),
    ("rediss", 6379, true),
    ("mongodb", 27017, false),
    ("nats", 4222, false),
];

/// Ports where TLS comes first (IANA's registry of service names, and 8443 and 6443 by habit).
const TLS_PORTS: &[u16] = &[443, 465, 563, 636, 853, 990, 993, 995, 5061, 5671, 6443, 8443, 8883];

/// Ports where HTTP is spoken (80, 443, 8008 and 8080 by IANA's registry, the others by habit).
const HTTP_PORTS: &[u16] = &[80, 443, 8000, 8008, 8080, 8443];

/// Why a text is no target.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not of a form that is understood.
    #[error("{text:?} is no target: {reason}; it is a name, an address, either with :PORT, or a URL")]
    Unreadable {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Target {
    /// Reads what was typed.
    ///
    /// # Errors
    /// It is neither a name, an address nor a URL.
    pub fn parse(text: &str) -> Result<Target, Error> {
        let bad = |reason: &str| Error::Unreadable { text: text.into(), reason: reason.into() };
        if text.contains("://") {
            return Target::from_url(text);
        }
        let (host, port) = split(text).map_err(|reason| bad(&reason))?;
        if host.is_empty() || host.contains(['/', ' ', '\t', '[', ']', '@']) {
            return Err(bad("that is no host name"));
        }
        let zoned = zone::split(host);
        // Numbers are no name, in whatever form the C library takes them.
        let numbers = inet_aton(host).map(|address| address.to_string());
        let host = numbers.as_deref().unwrap_or(host);
        let address = zoned.map(|(address, _)| address.into()).or_else(|| host.parse().ok());
        if address.is_none() {
            dns::check_name(host).map_err(|error| bad(&error.to_string()))?;
        }
        let http = port.is_some_and(|p| HTTP_PORTS.contains(&p));
        Ok(Target {
            host: a_labels(zoned.map_or(host, |_| host.split('%').next().unwrap_or(host))).into_owned(),
            zone: zoned.map(|(_, zone)| zone.into()),
            address,
            port,
            tls: port.is_some_and(|p| TLS_PORTS.contains(&p)),
            path: http.then(|| "/".into()),
        })
    }

    fn from_url(text: &str) -> Result<Target, Error> {
        let bad = |reason: String| Error::Unreadable { text: text.into(), reason };
        let (plain, zone) = without_zone(text);
        let url = Url::parse(&plain).map_err(|error| bad(error.to_string()))?;
        let known = SCHEMES.iter().find(|(scheme, ..)| *scheme == url.scheme());
        let (host, address) = match url.host() {
            None => return Err(bad("it names no host".into())),
            Some(Host::Ipv4(v4)) => (v4.to_string(), Some(IpAddr::from(v4))),
            Some(Host::Ipv6(v6)) => (v6.to_string(), Some(IpAddr::from(v6))),
            Some(Host::Domain(name)) => (name.to_owned(), name.parse().ok()),
        };
        let port = url.port().or_else(|| known.map(|&(_, port, _)| port));
        if port.is_none() {
            return Err(bad(format!("the port of {}:// is not known: give it", url.scheme())));
        }
        let http = matches!(url.scheme(), "http" | "https");
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Target {
            host,
            zone: zone.map(str::to_owned),
            address,
            port,
            tls: known.is_some_and(|&(.., tls)| tls),
            path: http.then(|| format!("{}{query}", url.path())),
        })
    }

    /// As a person would write it: `db.internal port 5432`.
    #[must_use]
    pub fn label(&self) -> String {
        let zone = self.zone.as_ref().map(|zone| format!("%{zone}")).unwrap_or_default();
        match self.port {
            Some(port) => format!("{}{zone} port {port}", self.host),
            None => format!("{}{zone}", self.host),
        }
    }
}

/// A URL without the zone of its address, and that zone: `http://[fe80::1%25eth0]/` (RFC 6874), or with a bare `%`.
fn without_zone(url: &str) -> (Cow<'_, str>, Option<&str>) {
    let zoned = || {
        let begin = url.find("://[")? + 4;
        let end = begin + url[begin..].find(']')?;
        let (address, zone) = zone::split(&url[begin..end])?;
        let zone = zone.strip_prefix("25").filter(|rest| !rest.is_empty()).unwrap_or(zone);
        Some((format!("{}{address}{}", &url[..begin], &url[end..]).into(), Some(zone)))
    };
    zoned().unwrap_or((url.into(), None))
}

/// Host and port of `HOST`, `HOST:PORT`, `ADDRESS`, `[ADDRESS]`, `[ADDRESS]:PORT`.
fn split(text: &str) -> Result<(&str, Option<u16>), String> {
    if is_v6(text) {
        return Ok((text, None));
    }
    let port = |port: &str| match port.parse::<u16>() {
        Ok(0) | Err(_) => Err(format!("{port:?} is no port (1 to 65535)")),
        Ok(number) => Ok(Some(number)),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        if !is_v6(host) {
            return Err(format!("{host:?} is no IPv6 address"));
        }
        return match after.strip_prefix(':') {
            Some(number) => Ok((host, port(number)?)),
            None if after.is_empty() => Ok((host, None)),
            None => Err(format!("{after:?} after the bracket is no :PORT")),
        };
    }
    match text.rsplit_once(':') {
        None => Ok((text, None)),
        Some((host, number)) if !host.contains(':') => Ok((host, port(number)?)),
        Some(_) => Err("that is no IPv6 address".into()),
    }
}

/// Whether it is an IPv6 address, with a zone or without.
fn is_v6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok() || zone::split(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (String, Option<u16>, bool, Option<String>) {
        let target = Target::parse(text).unwrap_or_else(|error| panic!("{error}"));
        (target.host, target.port, target.tls, target.path)
    }

    #[test]
    fn names_addresses_and_ports() {
        assert_eq!(read("db.internal"), ("db.internal".into(), None, false, None));
        assert_eq!(read("db.internal:5432"), ("db.internal".into(), Some(5432), false, None));
        assert_eq!(read("10.0.0.5:443"), ("10.0.0.5".into(), Some(443), true, Some("/".into())));
        assert_eq!(read("10.5:443"), ("10.0.0.5".into(), Some(443), true, Some("/".into())));
        assert_eq!(Target::parse("0x0a000005").unwrap().address, Some("10.0.0.5".parse().unwrap()));
        assert_eq!(read("::1"), ("::1".into(), None, false, None));
        assert_eq!(read("[::1]:80"), ("::1".into(), Some(80), false, Some("/".into())));
        assert_eq!(read("[2001:db8::1]"), ("2001:db8::1".into(), None, false, None));
        for (text, label) in [("fe80::1%eth0", "fe80::1%eth0"), ("[fe80::1%eth0]:80", "fe80::1%eth0 port 80")] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.host.as_str(), target.zone.as_deref()), ("fe80::1", Some("eth0")));
            assert_eq!((target.address, target.label().as_str()), (Some("fe80::1".parse().unwrap()), label));
        }
        assert_eq!(Target::parse("[::1]:80").unwrap().address, Some("::1".parse().unwrap()));
    }

    #[test]
    fn an_international_name_is_one_name_however_it_is_typed() {
        assert_eq!(Target::parse("bücher.test:5000").unwrap().host, "xn--bcher-kva.test");
        assert_eq!(Target::parse("http://bücher.test:5000").unwrap().host, "xn--bcher-kva.test");
    }

    #[test]
    fn urls_with_a_zone() {
        for (text, label) in [
            ("http://[fe80::1%25eth0]/x", "fe80::1%eth0 port 80"),
            ("https://[fe80::1%eth0]:8443", "fe80::1%eth0 port 8443"),
            ("http://[fe80::1%25]/", "fe80::1%25 port 80"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.host.as_str(), target.label().as_str()), ("fe80::1", label));
            assert_eq!(target.address, Some("fe80::1".parse().unwrap()));
        }
    }

    #[test]
    fn urls() {
        assert_eq!(read("https://a.example/x?y=1#z"), ("a.example".into(), Some(443), true, Some("/x?y=1".into())));
        assert_eq!(read("http://[::1]:8080"), ("::1".into(), Some(8080), false, Some("/".into())));
        assert_eq!(read("postgres://me:secret@db:6543/app"), ("db".into(), Some(6543), false, None));
        assert_eq!(read("rediss://cache"), ("cache".into(), Some(6379), true, None));
    }

    #[test]
    fn what_is_no_target_says_why() {
        for (text, word) in [
            ("", "host name"),
            ("db:0", "port"),
            ("db:99999", "port"),
            ("db:postgres", "port"),
            ("1:2:3", "IPv6"),
            ("[::1", "bracket"),
            ("[::1]5432", "bracket"),
            ("gopher://a.example", "port"),
            ("http://", "host"),
            ("a/b", "host name"),
            ("a..b:80", "between two of its dots"),
            (".a", "before the first"),
        ] {
            let error = Target::parse(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in any::<String>()) {
            _ = Target::parse(&text);
        }
    }
}
