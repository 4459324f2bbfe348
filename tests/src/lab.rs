//! A small network to break: client, router and server, each in a namespace of its own, nothing leads out.
//! Owns: the topology and running clients in it. Must not know: netdx.
//!
//! ```text
//! client eth0 ---- rcl router rsv ---- eth0 server
//! 10.1.1.2    10.1.1.1   10.1.2.1      10.1.2.2, 10.1.2.3
//! fd01:1::2   fd01:1::1  fd01:2::1     fd01:2::2
//! ```

use crate::island::{Island, beside_the_tests};
use crate::servers::listen;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

/// The kernel's name of the client program: what a report must call it.
pub const CLIENT: &str = "netdx-client";

/// The three namespaces.
#[derive(Debug)]
pub struct Lab {
    /// Where the program runs that fails.
    pub client: Island,
    /// Between them; forwards.
    pub router: Island,
    /// Where it wants to go.
    pub server: Island,
    programs: tempfile::TempDir,
}

impl Lab {
    /// The network, with everything in order.
    #[must_use]
    pub fn new() -> Lab {
        let lab = Lab {
            client: Island::new("cl"),
            router: Island::new("rt"),
            server: Island::new("sv"),
            programs: tempfile::Builder::new().prefix("netdx-lab-").tempdir().expect("make a folder"),
        };
        // Other users run it, too.
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(lab.programs.path(), everybody).expect("let everybody look into it");
        std::fs::copy(beside_the_tests(CLIENT), lab.programs.path().join(CLIENT)).expect("copy the client program");
        for island in [&lab.client, &lab.router, &lab.server] {
            // The kernel limits how many ICMP errors it sends; a test wants each.
            island.sysctl("net.ipv4.icmp_ratelimit=0, net.ipv6.icmp.ratelimit=0");
            // SYN, 1 s, 2 s: a connection that nobody answers ends after three seconds. Kernels from 6.5 repeat the
            // first second some times otherwise.
            island.sysctl("net.ipv4.tcp_syn_retries=1");
            if island
                .command("test")
                .args(["-e", "/proc/sys/net/ipv4/tcp_syn_linear_timeouts"])
                .status()
                .is_ok_and(|s| s.success())
            {
                island.sysctl("net.ipv4.tcp_syn_linear_timeouts=0");
            }
        }
        lab.client.link("eth0", &lab.router, "rcl", ["10.1.1.2/24 fd01:1::2/64", "10.1.1.1/24 fd01:1::1/64"]);
        lab.router.link(
            "rsv",
            &lab.server,
            "eth0",
            ["10.1.2.1/24 fd01:2::1/64", "10.1.2.2/24 10.1.2.3/24 fd01:2::2/64"],
        );
        lab.router.sysctl("net.ipv4.ip_forward=1, net.ipv6.conf.all.forwarding=1");
        for (island, gateways) in [(&lab.client, ["10.1.1.1", "fd01:1::1"]), (&lab.server, ["10.1.2.1", "fd01:2::1"])] {
            for gateway in gateways {
                island.ip(&format!("route add default via {gateway}"));
            }
        }
        lab
    }

    /// Makes the router's `br0` of what leads to the client, with its address, and puts the server beside it: 10.1.1.3 behind its
    /// port `by`.
    pub fn bridged(&self) {
        self.router.link("by", &self.server, "port", ["", "10.1.1.3/24"]);
        for line in [
            "link add br0 type bridge",
            "addr flush dev rcl",
            "link set rcl master br0",
            "link set by master br0",
            "addr add 10.1.1.1/24 dev br0",
            "link set br0 up",
        ] {
            self.router.ip(line);
        }
    }

    /// The namespaces' inodes, as reports give them.
    #[must_use]
    pub fn inodes(&self) -> Vec<u64> {
        [&self.client, &self.router, &self.server].map(Island::inode).to_vec()
    }

    /// The client program in the client's namespace: `HOW ADDRESS:PORT [FLAGS]`, see its source.
    #[must_use]
    pub fn command(&self, arguments: &str) -> Command {
        self.command_in(&self.client, arguments)
    }

    /// The client program in any of the namespaces.
    #[must_use]
    pub fn command_in(&self, island: &Island, arguments: &str) -> Command {
        let mut command = island.command(self.client_program());
        command.args(arguments.split_whitespace());
        command
    }

    /// Where the client program is.
    #[must_use]
    pub fn client_program(&self) -> PathBuf {
        self.programs.path().join(CLIENT)
    }

    /// Uses up the client's local ports (four, from 40000) with connections to 10.1.2.2:80, which live as long as what is
    /// given back.
    #[must_use]
    pub fn without_ports(&self) -> (TcpListener, Client) {
        let listener = listen(&self.server, "10.1.2.2:80");
        self.client.sysctl("net.ipv4.ip_local_port_range=40000 40003");
        let mut filler = self.start("blocking 10.1.2.2:80 --times 4 --hold 60000");
        for _ in 0..4 {
            assert_eq!(filler.attempt().errno, 0, "the connections work");
        }
        (listener, filler)
    }

    /// Runs the client to its end.
    #[must_use]
    pub fn connect(&self, arguments: &str) -> Attempt {
        self.start(arguments).attempt()
    }

    /// Starts the client.
    #[must_use]
    pub fn start(&self, arguments: &str) -> Client {
        Client::spawn(self.command(arguments))
    }
}

impl Default for Lab {
    fn default() -> Self {
        Lab::new()
    }
}

/// A client program that runs; it is ended when this is dropped.
#[derive(Debug)]
pub struct Client {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Client {
    /// Starts it.
    #[must_use]
    pub fn spawn(mut command: Command) -> Client {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Client { child, lines }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What came of its next attempt; waits for it.
    #[must_use]
    pub fn attempt(&mut self) -> Attempt {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the client's output can be read");
        let value: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("the client said {line:?}: {error}"));
        let number = |key: &str| value[key].as_i64().unwrap_or_else(|| panic!("no {key} in {line:?}"));
        Attempt {
            pid: u32::try_from(number("pid")).expect("a process id"),
            tid: u32::try_from(number("tid")).expect("a thread id"),
            local: value["local"].as_str().map(|local| local.parse().expect("an address and port")),
            errno: i32::try_from(number("errno")).expect("an errno"),
        }
    }

    /// Waits for its end; what it still says is not looked at.
    pub fn wait(&mut self) {
        std::io::copy(&mut self.lines, &mut std::io::sink()).expect("the client's output can be read");
        self.child.wait().expect("wait for the client");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What came of one attempt, as the client saw it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Its own address and port, where it had one at the end.
    pub local: Option<SocketAddr>,
    /// 0: it worked; -1: it gave up by itself.
    pub errno: i32,
}
