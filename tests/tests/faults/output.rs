//! Where reports go: nobody reads them, there is no room, a terminal is resized, and a name tries to steer it.

use crate::{kill, lines, next};
use netdx_tests::island::{netdx, run};
use netdx_tests::lab::Lab;
use std::fs;
use std::io::Read as _;
use std::os::fd::FromRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

#[test]
fn without_a_reader_it_ends_quietly() {
    let lab = Lab::new();
    let mut child = Command::new(netdx())
        .args(["trace", "--format", "json", "--netns", lab.client.name()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut reports = lines(&mut child);
    assert_eq!(next(&mut reports)["kind"], "start");
    drop(reports);
    _ = lab.connect("blocking 127.0.0.1:9");
    let output = child.wait_with_output().expect("it ends by itself");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn reports_that_find_no_room_are_told() {
    let lab = Lab::new();
    let mut child = Command::new(netdx())
        .args(["trace", "--format", "json", "--netns", lab.client.name(), "--output", "/dev/full"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("it ends by itself").code(), Some(1), "{said}");
    assert!(said.contains("/dev/full") && said.contains("No space left on device"), "{said}");
}

/// A terminal: the end that a person looks at, and the one that a program writes to.
fn terminal() -> (fs::File, fs::File) {
    let (mut master, mut slave) = (-1, -1);
    // SAFETY: both numbers are written before the call returns; the other arguments may be null (openpty(3)).
    let result = unsafe {
        libc::openpty(&raw mut master, &raw mut slave, std::ptr::null_mut(), std::ptr::null(), std::ptr::null())
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: two new descriptors that nobody else has.
    unsafe { (fs::File::from_raw_fd(master), fs::File::from_raw_fd(slave)) }
}

#[test]
fn a_terminal_that_is_resized_gets_reports_of_its_width() {
    let lab = Lab::new();
    let (mut seen, terminal) = terminal();
    let resize = |columns| {
        let size = rustix::termios::Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&terminal, size).expect("a terminal");
    };
    resize(200);
    let mut child = Command::new(netdx())
        .args(["trace", "--netns", lab.client.name()])
        .env("NO_COLOR", "1")
        .stdout(terminal.try_clone().expect("a descriptor"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    // It says so when every probe is attached.
    let mut said = [0; 512];
    assert_ne!(child.stderr.as_mut().expect("a pipe").read(&mut said).expect("text"), 0);
    let mut longest = || {
        _ = lab.connect("blocking 127.0.0.1:9");
        let (mut text, mut part) = (String::new(), [0; 4096]);
        while !text.contains("netdx explain refused.no-listener\r\n") {
            let length = seen.read(&mut part).expect("netdx writes");
            text.push_str(std::str::from_utf8(&part[..length]).expect("ASCII"));
        }
        text.lines().map(|line| line.chars().count()).max().expect("lines")
    };
    let wide = longest();
    resize(60);
    let narrow = longest();
    assert!(wide > 60 && wide <= 200 && narrow <= 60, "{wide} and {narrow} columns");
    kill(&child);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_name_cannot_steer_a_terminal() {
    let evil = "a\u{1b}[2J\u{202e}b";
    let lab = Lab::new();
    let folder = lab.client_program().parent().expect("a folder").to_path_buf();
    fs::copy(lab.client_program(), folder.join(evil)).expect("a copy of the client");
    let recording = folder.join("evil.netdx.jsonl");
    let mut child = Command::new(netdx())
        .args(["record", "--format", "json", "--netns", lab.client.name(), "--count", "1", "--output"])
        .arg(&recording)
        .stdout(Stdio::piped())
        .spawn()
        .expect("netdx runs");
    let mut reports = lines(&mut child);
    assert_eq!(next(&mut reports)["kind"], "start");
    run(lab.client.command(folder.join(evil)).args(["blocking", "127.0.0.1:9"]));
    let mut live = String::new();
    reports.read_to_string(&mut live).expect("text");
    assert!(child.wait().expect("it ends").success());
    let holds = |bytes: &[u8], what: &str| bytes.windows(what.len()).any(|part| part == what.as_bytes());
    let is_safe = |bytes: &[u8]| !holds(bytes, "\u{1b}") && !holds(bytes, "\u{202e}");
    assert!(live.contains("refused.no-listener") && is_safe(live.as_bytes()), "{}", live.escape_debug());
    let replay = |format| run(Command::new(netdx()).args(["replay", "--format", format]).arg(&recording));
    for format in ["text", "json", "html"] {
        let output = replay(format);
        assert!(!output.stdout.is_empty() && is_safe(&output.stdout) && is_safe(&output.stderr), "{format}");
    }
    // A file of packets has any byte somewhere.
    let packets = replay("pcapng").stdout;
    assert!(!packets.is_empty() && !holds(&packets, "\u{1b}[2J") && !holds(&packets, "\u{202e}"));
    assert_eq!(fs::metadata(&recording).expect("the recording").mode() & 0o777, 0o600);
}
