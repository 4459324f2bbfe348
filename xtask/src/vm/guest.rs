//! What a guest has for a file system: programs of this machine with their libraries, the scenarios, and the script that
//! runs first. Owns: making that archive. Must not know: the kernel, how it is booted.

use crate::command;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the scenarios are in the guest; netdx and its client program are in the folder above.
pub(super) const SCENARIOS: &str = "/netdx/deps";

/// The name of the archive with a guest's files.
pub(super) const ARCHIVE: &str = "guest.cpio";

/// Programs that scenarios and the first script use, and the Debian packages they are in.
const PROGRAMS: [(&str, &str); 37] = [
    ("sh", "dash"),
    ("cat", "coreutils"),
    ("chmod", "coreutils"),
    ("cp", "coreutils"),
    ("echo", "coreutils"),
    ("env", "coreutils"),
    ("false", "coreutils"),
    ("id", "coreutils"),
    ("ln", "coreutils"),
    ("ls", "coreutils"),
    ("mkdir", "coreutils"),
    ("mkfifo", "coreutils"),
    ("rm", "coreutils"),
    ("sleep", "coreutils"),
    ("stat", "coreutils"),
    ("stty", "coreutils"),
    ("sync", "coreutils"),
    ("test", "coreutils"),
    ("timeout", "coreutils"),
    ("true", "coreutils"),
    ("uname", "coreutils"),
    ("dig", "bind9-dnsutils"),
    ("getent", "libc-bin"),
    ("host", "bind9-host"),
    ("modprobe", "kmod"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("prlimit", "util-linux"),
    ("script", "bsdutils"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("bridge", "iproute2"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("sysctl", "procps"),
    ("python3", "python3"),
];

/// The same, without which the guest still is of use: a scenario that needs one says so.
const FURTHER: [&str; 17] = [
    "ss",
    "wg",
    "ipvsadm",
    "tc",
    "bpftool",
    "conntrack",
    "dnsmasq",
    "iptables-legacy",
    "iptables-nft",
    "iptables",
    "ip6tables-legacy",
    "ip6tables-nft",
    "ip6tables",
    "iptables-legacy-save",
    "iptables-nft-save",
    "ip6tables-legacy-save",
    "ip6tables-nft-save",
];

/// Files and folders of this machine that programs read at run time.
const FILES: [&str; 10] = [
    // The musl programs' interpreter and C library in one.
    "/lib/ld-musl-x86_64.so.1",
    "/etc/passwd",
    "/etc/group",
    "/etc/services",
    "/etc/protocols",
    "/etc/gai.conf",
    "/etc/iproute2",
    "/usr/share/iproute2",
    "/usr/lib/x86_64-linux-gnu/xtables",
    "/usr/lib/locale/C.utf8",
];

/// Libraries that glibc opens by itself (name service switch, thread cancellation), by the beginning of their names.
const OPENED_BY_GLIBC: [&str; 4] = ["libnss_files", "libnss_dns", "libresolv", "libgcc_s"];

/// The folder of this machine's libraries.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// A guest's files.
pub(super) struct Guest {
    stage: tempfile::TempDir,
}

impl Guest {
    /// Gathers them. `programs`: further ones, and where they go; `folders`: what scenarios read, in the same place.
    pub(super) fn make(programs: &[(PathBuf, String)], folders: &[PathBuf]) -> Result<Guest> {
        let guest =
            Guest { stage: tempfile::Builder::new().prefix("netdx-vm-").tempdir().context("cannot make a folder")? };
        guest.lay_out()?;
        let mut missing = BTreeSet::new();
        for (name, package) in PROGRAMS {
            match system_program(name) {
                Some(path) => guest.add(&path, &format!("/usr/bin/{name}"))?,
                None => _ = missing.insert(package),
            }
        }
        if !missing.is_empty() {
            let packages = missing.into_iter().collect::<Vec<_>>().join(" ");
            bail!(
                "scenarios need programs of packages that are missing: {packages}\n       apt-get install {packages}"
            );
        }
        for path in FURTHER.iter().filter_map(|name| Some((name, system_program(name)?))) {
            guest.add(&path.1, &format!("/usr/bin/{}", path.0))?;
        }
        for (path, place) in programs {
            guest.add(path, place)?;
        }
        for folder in folders {
            copy_all(folder, &guest.inside(folder))?;
        }
        for path in FILES.iter().map(Path::new).filter(|path| path.exists()) {
            copy_all(path, &guest.inside(path))?;
        }
        let libraries = fs::read_dir(LIBRARIES).with_context(|| format!("cannot list {LIBRARIES}"))?;
        for library in libraries.flatten() {
            let name = library.file_name();
            if OPENED_BY_GLIBC.iter().any(|known| name.to_string_lossy().starts_with(known)) {
                copy(&library.path(), &guest.inside(&library.path()))?;
            }
        }
        let python = command::output(
            Command::new("/usr/bin/python3").args(["-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]),
        )?;
        copy_all(Path::new(&python), &guest.inside(Path::new(&python)))?;
        Ok(guest)
    }

    /// Writes [`ARCHIVE`] into a folder: every guest's files, and a script that runs these scenarios first of all.
    pub(super) fn prepare(&self, folder: &Path, filters: &[String]) -> Result<()> {
        let commands = super::machine::commands(filters);
        let init = self.stage.path().join("init");
        fs::write(&init, format!("{INIT}{commands}{END}")).context("cannot write the guest's first script")?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&init, executable).context("cannot make it executable")?;
        archive(self.stage.path(), &folder.join(ARCHIVE))
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.stage.path().join(path.strip_prefix("/").unwrap_or(path))
    }

    fn lay_out(&self) -> Result<()> {
        let root = self.stage.path();
        for folder in
            ["usr/bin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "tmp", "run", "root", "var", "etc", "mnt"]
        {
            fs::create_dir_all(root.join(folder)).context("cannot make the guest's folders")?;
        }
        for (link, to) in
            [("bin", "usr/bin"), ("sbin", "usr/bin"), ("usr/sbin", "bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
        {
            symlink(to, root.join(link)).context("cannot make the guest's links")?;
        }
        // What scenarios lay files of their own over has to exist.
        for (file, content) in [
            ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
            ("etc/resolv.conf", ""),
            ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n"),
            ("etc/hostname", "guest\n"),
        ] {
            fs::write(root.join(file), content).context("cannot write the guest's files")?;
        }
        Ok(())
    }

    /// A program and the libraries that it is linked with.
    fn add(&self, program: &Path, place: &str) -> Result<()> {
        copy(program, &self.inside(Path::new(place)))?;
        let listed = Command::new("ldd").arg(program).stderr(Stdio::null()).output().context("cannot run ldd")?;
        // ldd fails for what glibc's loader does not load: a script, a static program, one of musl's.
        if !listed.status.success() {
            return Ok(());
        }
        for word in String::from_utf8_lossy(&listed.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            let library = fs::canonicalize(Path::new(word).parent().unwrap_or(Path::new("/")));
            let library = library.with_context(|| format!("cannot find {word}"))?;
            let library = library.join(Path::new(word).file_name().unwrap_or_default());
            let to = self.inside(&library);
            if !to.exists() {
                copy(Path::new(word), &to)?;
            }
        }
        Ok(())
    }
}

/// A program of the system's own folders, whatever `PATH` says: its interpreter and libraries are the system's, too.
pub(super) fn system_program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

/// Copies a file, through links, and makes the folders above it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().context("a file in no folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Copies a file, or a folder with everything in it that exists.
fn copy_all(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return copy(from, to);
    }
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", from.display()))?.path();
        if path.exists() {
            copy_all(&path, &to.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// Makes an archive of a folder that a kernel takes for its first file system (Documentation/driver-api/early-userspace).
pub(super) fn archive(folder: &Path, to: &Path) -> Result<()> {
    let part = to.with_extension("part");
    let file = fs::File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
    let mut find = Command::new("find")
        .args([".", "-mindepth", "1", "-print0"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run find")?;
    let names = find.stdout.take().context("find's output")?;
    let mut cpio = Command::new("cpio");
    cpio.args(["--quiet", "--null", "--create", "--format=newc", "--owner=+0:+0"]).current_dir(folder);
    command::run(cpio.stdin(names).stdout(file))?;
    if !find.wait().context("cannot wait for find")?.success() {
        bail!("find failed in {}", folder.display());
    }
    fs::rename(&part, to).with_context(|| format!("cannot write {}", to.display()))
}

/// The guest's first process: what a distribution has mounted when somebody logs in. Standard output is the second
/// serial line, the rest goes to the console.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/bin HOME=/root TERM=dumb LANG=C.UTF-8
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
exec </dev/null >/dev/ttyS1 2>/dev/ttyS0
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/netns
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t securityfs securityfs /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo +memory > /sys/fs/cgroup/cgroup.subtree_control
ip link set lo up
ulimit -l unlimited
modprobe tun
cd /root
"#;

/// The end of the guest; `panic=-1` and `-no-reboot` end QEMU when the first process does.
const END: &str = "
echo o > /proc/sysrq-trigger
sleep 10
";
