//! What resolves names for a process. Owns: resolv.conf, nsswitch.conf and the hosts file of its mount namespace. Must not
//! know: DNS.
//!
//! They are read through /proc/PID/root, so a container's files are the container's. Lines that make no sense are passed over,
//! as the libc does.

use super::Error;
use crate::fact::{HostsEntry, ResolvConf, Resolver};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};
use std::{
    fs::File,
    io::Read,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Limits of glibc's resolver (`resolv/resolv.h`, `resolv/res_init.c`, glibc 2.36).
const MAX_NDOTS: u32 = 15;
const MAX_TIMEOUT: u32 = 30;
const MAX_ATTEMPTS: u32 = 5;
/// What is read of a file at most. Hosts files that block advertisements have a few megabytes.
const MAX_FILE: u64 = 16 << 20;
/// So many characters of a line that counts for nothing are kept.
const MAX_SHOWN: usize = 80;

/// What resolves names for a process.
///
/// # Errors
/// It has ended, or its files may not be seen. A file that is not there is an empty one, as for the libc.
pub fn resolver(pid: u32) -> Result<Resolver, Error> {
    let nsswitch = read(pid, "etc/nsswitch.conf")?;
    let (file, resolv) = resolv_conf(pid)?;
    Ok(Resolver {
        nsswitch: hosts_sources(&nsswitch.unwrap_or_default()),
        path: "/etc/resolv.conf".into(),
        file: Some(file),
        ..parse_resolv(&resolv)
    })
}

/// What is found as resolv.conf, and its text.
fn resolv_conf(pid: u32) -> Result<(ResolvConf, String), Error> {
    let Some((path, file)) = open(pid, "etc/resolv.conf")? else { return Ok((ResolvConf::Missing, String::new())) };
    let about = file.metadata().map_err(|e| Error::read(&path, e))?;
    if about.is_dir() {
        return Ok((ResolvConf::Directory, String::new()));
    }
    Ok((ResolvConf::File { owner: about.uid(), mode: about.mode() & 0o7777 }, text(&path, file)?))
}

/// The entries of the hosts file that have this name (case doesn't matter), or, for an address, that are of this address.
///
/// # Errors
/// As [`resolver`].
pub fn hosts(pid: u32, name: &str) -> Result<Vec<HostsEntry>, Error> {
    let text = read(pid, "etc/hosts")?.unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = parse_address(name).map(|a| a.to_canonical());
    let wanted = |entry: &HostsEntry| match address {
        Some(address) => entry.address.to_canonical() == address,
        None => entry.names.iter().any(|n| n.eq_ignore_ascii_case(name)),
    };
    Ok(parse_hosts(&text).filter(wanted).collect())
}

/// The text of a file as a process sees it; none: it is not there.
fn read(pid: u32, file: &str) -> Result<Option<String>, Error> {
    open(pid, file)?.map(|(path, file)| text(&path, file)).transpose()
}

/// A file as a process sees it, with its path here; none: it is not there. Symbolic links are followed inside the process's own
/// root, which may belong to somebody hostile: nothing there may lead outside, block, or fill the memory.
fn open(pid: u32, file: &str) -> Result<Option<(PathBuf, File)>, Error> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let path = root.join(file);
    let folder = match openat(CWD, &root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(folder) => folder,
        // It has ended, or waits for its parent and has no root any more.
        Err(Errno::NOENT | Errno::SRCH) => return Err(Error::Ended(pid)),
        Err(e) => return Err(Error::read(root, e.into())),
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat2(&folder, file, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) {
        Ok(fd) => Ok(Some((path, File::from(fd)))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(Error::read(path, e.into())),
    }
}

fn text(path: &Path, file: File) -> Result<String, Error> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|e| Error::read(path, e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// resolv.conf(5): the last of `domain` and `search` counts, options accumulate, numbers are cut to glibc's limits.
fn parse_resolv(text: &str) -> Resolver {
    let mut resolver = Resolver { ndots: 1, timeout: 5, attempts: 2, ..Resolver::default() };
    // A carriage return is part of a line for glibc, and makes an address that it ends unreadable.
    for line in text.split('\n').filter(|l| !l.starts_with(['#', ';'])) {
        let mut words = line.split([' ', '\t']).filter(|w| !w.is_empty());
        // The keyword begins the line: glibc passes over indented lines.
        match words.next().filter(|keyword| line.starts_with(keyword)) {
            Some("nameserver") => {
                let address = |w| parse_address(w).or_else(|| inet_aton(w).map(IpAddr::V4));
                let Some((address, word)) = words.next().and_then(|w| Some((address(w)?, w))) else {
                    resolver.passed_over.get_or_insert_with(|| line.chars().take(MAX_SHOWN).collect());
                    continue;
                };
                resolver.servers.push(address);
                if let Some((_, zone)) = word.split_once('%') {
                    resolver.zones.insert(address, zone.to_owned());
                }
            }
            Some("domain") => resolver.search = words.take(1).map(str::to_string).collect(),
            Some("search") => resolver.search = words.map(str::to_string).collect(),
            Some("options") => {
                for option in words {
                    resolver.use_vc |= option.trim_end_matches('\r') == "use-vc";
                    let Some((name, value)) = option.split_once(':') else { continue };
                    let digits = value.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                    let number = digits.parse().unwrap_or(if digits.is_empty() { 0 } else { u32::MAX });
                    match name {
                        "ndots" => resolver.ndots = number.min(MAX_NDOTS),
                        "timeout" => resolver.timeout = number.min(MAX_TIMEOUT),
                        "attempts" => resolver.attempts = number.min(MAX_ATTEMPTS),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    resolver
}

/// The sources of the `hosts:` line of nsswitch.conf(5), without the actions in brackets.
fn hosts_sources(text: &str) -> Vec<String> {
    let line = text.lines().find_map(|l| l.split('#').next()?.trim_start().strip_prefix("hosts:"));
    let mut sources = Vec::new();
    let mut inside = false;
    for word in line.unwrap_or_default().split_whitespace() {
        inside |= word.starts_with('[');
        if !inside {
            sources.push(word.to_string());
        }
        inside &= !word.ends_with(']');
    }
    sources
}

fn parse_hosts(text: &str) -> impl Iterator<Item = HostsEntry> {
    let parse = |(number, line): (usize, &str)| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = parse_address(words.next()?)?;
        let names: Vec<String> = words.map(str::to_string).collect();
        let line = u32::try_from(number + 1).ok()?;
        (!names.is_empty()).then(|| HostsEntry { address, names, line, path: "/etc/hosts".into() })
    };
    text.lines().enumerate().filter_map(parse)
}

/// An IPv4 address as inet_aton(3) reads it, and with it getaddrinfo(3) and resolv.conf(5): one to four numbers, octal after `0`,
/// hexadecimal after `0x`; the last one stands for all bytes that are left (`inet_aton_end`, resolv/inet_addr.c, glibc 2.36).
#[must_use]
pub fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| {
        let (digits, radix) = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (part, 8),
            None => (part, 10),
        };
        // A sign is none of the C library's digits.
        u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))
    };
    let numbers = text.split('.').map(number).collect::<Option<Vec<u32>>>()?;
    let (last, bytes) = numbers.split_last()?;
    let left = 32_u32.checked_sub(8 * u32::try_from(bytes.len()).ok()?)?;
    if bytes.iter().any(|byte| *byte > 0xff) || last.checked_shr(left).unwrap_or(0) != 0 || left == 0 {
        return None;
    }
    Some(Ipv4Addr::from_bits(bytes.iter().enumerate().fold(*last, |all, (place, byte)| all | byte << (24 - 8 * place))))
}

/// An address, perhaps with the scope of a link-local one.
fn parse_address(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn resolv_conf_as_the_libc_reads_it() {
        let text = "# comment\n; comment\nnameserver 10.0.0.53\nnameserver\tfe80::1%eth0\nnameserver not-an-address\n\
                    nameserver\n indented 1.2.3.4\ndomain old.example\nsearch a.example  b.example\n\
                    options ndots:3 timeout:99 rotate attempts:x\noptions attempts:9 ndots\nunknown x\n\u{fffd}";
        let expected = Resolver {
            servers: vec!["10.0.0.53".parse().unwrap(), "fe80::1".parse().unwrap()],
            zones: [("fe80::1".parse().unwrap(), "eth0".into())].into(),
            search: vec!["a.example".into(), "b.example".into()],
            ndots: 3,
            timeout: 30,
            attempts: 5,
            nsswitch: Vec::new(),
            path: String::new(),
            file: None,
            passed_over: Some("nameserver not-an-address".into()),
            use_vc: false,
        };
        assert_eq!(parse_resolv(text), expected);
        assert_eq!(expected.written(), ["10.0.0.53", "fe80::1%eth0"]);
        let defaults = parse_resolv("");
        assert_eq!((defaults.ndots, defaults.timeout, defaults.attempts), (1, 5, 2));
        assert_eq!(parse_resolv("search a\ndomain b c").search, ["b"]);
        let by_windows = parse_resolv("nameserver 10.0.0.53\r\noptions timeout:3\r\n");
        assert_eq!((by_windows.servers, by_windows.timeout), (vec![], 3));
        assert_eq!(by_windows.passed_over.as_deref(), Some("nameserver 10.0.0.53\r"));
        assert_eq!(parse_resolv("options ndots:99999999999999").ndots, MAX_NDOTS);
        assert!(
            parse_resolv("options edns0 use-vc\n").use_vc
                && parse_resolv("options use-vc\r\n").use_vc
                && !defaults.use_vc
        );
        assert_eq!(parse_resolv("nameserver 10.77.3").servers, ["10.77.0.3".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn numbers_are_addresses_as_for_the_libc() {
        for (text, address) in [
            ("10.77.0.2", "10.77.0.2"),
            ("10.77.2", "10.77.0.2"),
            ("127.1", "127.0.0.1"),
            ("0x0a4d0002", "10.77.0.2"),
            ("010.077.0.0x2", "8.63.0.2"),
            ("4294967295", "255.255.255.255"),
            ("0", "0.0.0.0"),
        ] {
            assert_eq!(inet_aton(text), Some(address.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.256",
            "1.2.65536",
            "08",
            "0x",
            "+1",
            "1.2.3.",
            ".1",
            "db",
            "4294967296",
        ] {
            assert_eq!(inet_aton(text), None, "{text}");
        }
    }

    #[test]
    fn nsswitch_sources_without_actions() {
        let text = "# hosts: no\npasswd: files\nhosts:  files mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return x=y] dns # c\n";
        assert_eq!(hosts_sources(text), ["files", "mdns4_minimal", "resolve", "dns"]);
        assert!(hosts_sources("passwd: files").is_empty());
    }

    #[test]
    fn hosts_lines_with_their_numbers() {
        let text = "127.0.0.1 localhost\n\n# 1.2.3.4 no\n10.0.0.5\tDB.internal db # the database\nbad line\n::1 ip6-localhost\n9.9.9.9\n";
        let entries: Vec<_> = parse_hosts(text).map(|e| (e.line, e.address.to_string(), e.names.join(","))).collect();
        let expected = [
            (1, "127.0.0.1".to_string(), "localhost".to_string()),
            (4, "10.0.0.5".into(), "DB.internal,db".into()),
            (6, "::1".into(), "ip6-localhost".into()),
        ];
        assert_eq!(entries, expected);
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "([a-z:#.0-9 \\t\\[\\]]|\\PC|\\n)*") {
            let resolver = parse_resolv(&text);
            assert!(resolver.ndots <= MAX_NDOTS && resolver.timeout <= MAX_TIMEOUT && resolver.attempts <= MAX_ATTEMPTS);
            assert!(hosts_sources(&text).iter().all(|s| !s.contains(char::is_whitespace)));
            assert!(parse_hosts(&text).all(|e| !e.names.is_empty()));
        }
    }

    #[test]
    fn reads_what_this_process_sees() {
        let pid = std::process::id();
        let own = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        assert_eq!(resolver(pid).unwrap().servers, parse_resolv(&own).servers);
        assert!(hosts(pid, "LOCALHOST.").unwrap().iter().any(|e| e.address.is_loopback()));
        assert!(hosts(pid, "127.0.0.1").unwrap().iter().any(|e| e.names.contains(&"localhost".to_string())));
        assert!(matches!(resolver(u32::MAX), Err(Error::Ended(_))));
    }
}
