//! A network namespace of a test's own, and programs run inside it with files of its own. Owns: making and removing it.
//! Must not know: what is tested.
//!
//! Nothing leaves it: it has loopback and what the test adds, and no link to the machine's own network.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::AsFd as _,
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What the names of all islands begin with; then come a word, the process and a number.
const PREFIX: &str = "netdx-";

/// A namespace, with loopback up. Removed when dropped.
#[derive(Debug)]
pub struct Island {
    name: String,
    files: Vec<(PathBuf, tempfile::NamedTempFile)>,
}

impl Island {
    /// A new one. `what`: a short word that tells it from others in `ip netns`.
    #[must_use]
    pub fn new(what: &str) -> Island {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        sweep();
        let name = format!("{PREFIX}{what}-{}-{number}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]));
        let island = Island { name, files: Vec::new() };
        island.ip("link set lo up");
        // Addresses can be used at once, without duplicate address detection.
        run(island.command("sysctl").args([
            "-qw",
            "net.ipv6.conf.all.accept_dad=0",
            "net.ipv6.conf.default.accept_dad=0",
        ]));
        // A test that resolves names says with what.
        island.with_file("/etc/resolv.conf", "").with_file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    }

    /// Its name in `ip netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Programs run inside see this content at this path of the machine, which has to exist.
    #[must_use]
    pub fn with_file(mut self, path: &str, content: &str) -> Island {
        let file = tempfile::NamedTempFile::new().expect("make a file");
        fs::write(file.path(), content).expect("write it");
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(file.path(), everybody).expect("let everybody read it");
        self.files.retain(|(known, _)| known != Path::new(path));
        self.files.push((path.into(), file));
        self
    }

    /// Programs run inside see a copy of this file of the machine in its place, as a container has files of its own.
    #[must_use]
    pub fn with_copy_of(mut self, path: &str) -> Island {
        let file = tempfile::NamedTempFile::new().expect("make a file");
        fs::copy(path, file.path()).expect("copy the file");
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(file.path(), everybody).expect("let everybody read it");
        self.files.push((path.into(), file));
        self
    }

    /// `ip` inside, arguments separated by spaces; it has to succeed.
    pub fn ip(&self, arguments: &str) {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()));
    }

    /// `tc` inside, arguments separated by spaces; it has to succeed.
    pub fn tc(&self, arguments: &str) {
        run(Command::new("tc").args(["-n", &self.name]).args(arguments.split_whitespace()));
    }

    /// The inode of the namespace, as reports give it.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.open().metadata().expect("look at the island's namespace").ino()
    }

    /// Sets sysctls, `key=value` separated by commas.
    pub fn sysctl(&self, settings: &str) {
        run(self.command("sysctl").arg("-qw").args(settings.split(',').map(str::trim)));
    }

    /// Adds an nftables chain `guard` at a hook, with one rule.
    pub fn guard(&self, hook: &str, rule: &str) {
        let chain = format!("chain guard {{\n type filter hook {hook} priority 0;\n {rule}\n}}");
        self.nft(&format!("table inet lab {{\n{chain}\n}}"));
    }

    /// Loads an nftables script.
    pub fn nft(&self, script: &str) {
        run(self.command("nft").arg(script));
    }

    /// A veth pair between two islands; both ends up, with these addresses.
    pub fn link(&self, here: &str, other: &Island, there: &str, addresses: [&str; 2]) {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.name));
        for (island, device, address) in [(self, here, addresses[0]), (other, there, addresses[1])] {
            island.ip(&format!("link set {device} up"));
            for address in address.split_whitespace() {
                let nodad = if address.contains(':') { "nodad" } else { "" };
                island.ip(&format!("addr add {address} dev {device} {nodad}"));
            }
        }
    }

    /// A program that will run inside, and see the island's files.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let netns = self.open();
        let binds: Vec<(CString, CString)> =
            self.files.iter().map(|(path, file)| (c_path(file.path()), c_path(path))).collect();
        let mut command = Command::new(program);
        let prepare = move || {
            rustix::thread::move_into_link_name_space(netns.as_fd(), None)?;
            // SAFETY: called in a forked child with one thread; CLONE_NEWNS gives it mounts of its own and shares no memory.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS)? };
            rustix::mount::mount_change(
                c"/",
                rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
            )?;
            for (from, to) in &binds {
                rustix::mount::mount_bind(from, to)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made; everything allocated was allocated before.
        unsafe { command.pre_exec(prepare) };
        command
    }

    /// netdx, run inside.
    #[must_use]
    pub fn netdx(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(netdx());
        command.args(arguments).env_remove("NO_COLOR").env_remove("COLUMNS");
        command
    }

    /// Runs `work` on a thread inside.
    pub fn thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let netns = self.open();
        std::thread::spawn(move || {
            rustix::thread::move_into_link_name_space(netns.as_fd(), None).expect("enter the island");
            work()
        })
    }

    /// Runs `work` inside, and waits for it. Sockets that it makes stay inside wherever they are used later.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.thread(work).join().expect("the work inside went well")
    }

    fn open(&self) -> File {
        File::open(Path::new("/run/netns").join(&self.name)).expect("open the island's namespace")
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        // A namespace that can't be removed is no reason to panic while panicking.
        _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Removes the islands of test processes that were killed before they could.
fn sweep() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.rsplit('-').nth(1)).map(str::to_owned);
        if owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            // Another test process may have swept it a moment ago.
            _ = Command::new("ip").args(["netns", "del", &name]).stderr(std::process::Stdio::null()).status();
        }
    }
}

/// The program under test: what `cargo xtask` names in NETDX, or what stands beside the tests.
#[must_use]
pub fn netdx() -> PathBuf {
    if let Some(path) = std::env::var_os("NETDX") {
        return path.into();
    }
    beside_the_tests("netdx")
}

/// A program of this workspace, built into the folder of the tests.
pub(crate) fn beside_the_tests(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("the test's own path");
    // A test is in target/PROFILE/deps, a program in target/PROFILE.
    let mut places = this.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let found = places.find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not beside {}: `cargo xtask live` builds it", this.display()))
}

/// Runs it; it has to succeed.
pub fn run(command: &mut Command) -> Output {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs it, however it ends.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error: io::Error| panic!("{command:?}: {error}"))
}

/// What it writes, one JSON object a line.
pub fn json_lines(command: &mut Command) -> (Vec<serde_json::Value>, Option<i32>) {
    let output = output(command);
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let lines =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (lines, output.status.code())
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
}
