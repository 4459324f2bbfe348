//! A guest that runs the scenarios on one kernel. Owns: QEMU's command line and the time it gets. Must not know: any
//! scenario, what its output means.

use super::archive::Kernel;
use super::guest::{ARCHIVE, SCENARIOS};
use super::modules;
use crate::test::LIVE;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a guest may take, in seconds: many times what one took on an idle machine.
const LIMIT: &str = "14400";

/// How many times as long tests wait: the guest's processors are slower than a developer's.
const PATIENCE: &str = "4";

/// Scenarios at a time: waiting for the kernel's own timers costs nothing (see [`CLOCK`]), and what netdx attaches for one
/// scenario slows the others.
const THREADS: &str = "1";

/// The guest's clock goes by its instructions, a nanosecond each, and leaps to the next timer when there is nothing to do.
/// What comes of a scenario doesn't depend on how much of this machine's time the guest gets.
const CLOCK: &str = "shift=0,sleep=off";

/// How often the guest's output is looked at.
const POLL: Duration = Duration::from_secs(2);

/// Before each test program's output stands a line with this and its name; after the last one this alone.
pub(super) const MARK: &str = "== netdx:";

/// Boots the kernel and runs the scenarios; what they wrote.
///
/// `files`: the folder with the archive that [`super::guest::Guest::prepare`] made.
pub(super) fn run(kernel: &Kernel, files: &Path) -> Result<String> {
    let folder = tempfile::Builder::new().prefix("netdx-vm-").tempdir().context("cannot make a folder")?;
    let initrd = folder.path().join("initrd");
    fs::copy(files.join(ARCHIVE), &initrd).context("cannot copy the guest's archive")?;
    // A kernel takes several archives one after the other.
    let mut archive = File::options().append(true).open(&initrd).context("cannot open the guest's archive")?;
    let modules = modules::of(kernel)?;
    archive.write_all(&fs::read(&modules).with_context(|| format!("cannot read {}", modules.display()))?)?;
    drop(archive);
    let (console, output) = (folder.path().join("console"), folder.path().join("output"));
    let mut qemu = Command::new("timeout");
    qemu.args(["--kill-after=5", LIMIT, "nice", "qemu-system-x86_64"]);
    // QEMU 7.2's interpreter corrupts flags in cmpxchg16b now and then: a processor without it.
    // One processor: kernels before 6.5 start the second one in a loop that never ends by such a clock.
    qemu.args(["-accel", "tcg,thread=single", "-cpu", "Nehalem,-cx16", "-M", "pc", "-m", "3072", "-smp", "1"]);
    qemu.args(["-icount", CLOCK]);
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&initrd);
    let append = "console=ttyS0 panic=-1 mitigations=off tsc=reliable no_timer_check cryptomgr.notests quiet";
    qemu.args(["-append", append]);
    for file in [&console, &output] {
        qemu.arg("-serial").arg(format!("file:{}", file.display()));
    }
    qemu.args(["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]);
    let mut guest = qemu.stdin(Stdio::null()).spawn().context("cannot run qemu-system-x86_64")?;
    let mut told = 0;
    let status = loop {
        let status = guest.try_wait().context("cannot wait for the guest")?;
        told += tell(&kernel.release, &fs::read(&output).unwrap_or_default()[told..]);
        match status {
            Some(status) => break status,
            None => std::thread::sleep(POLL),
        }
    };
    let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', "")).unwrap_or_default();
    let (console, output) = (read(&console), read(&output));
    let kept = kernel.folder.join("output");
    fs::write(&kept, &output).with_context(|| format!("cannot write {}", kept.display()))?;
    if !output.trim_end().ends_with(MARK) {
        let lines: Vec<&str> = console.lines().collect();
        let last = lines[lines.len().saturating_sub(60)..].join("\n");
        bail!(
            "the guest did not come to its end ({status}); its console said:\n{last}\n\nand the scenarios:\n{output}"
        );
    }
    Ok(output)
}

/// Shows the whole lines that say what came of a scenario; how many bytes are done with.
fn tell(release: &str, output: &[u8]) -> usize {
    let Some(end) = output.iter().rposition(|byte| *byte == b'\n') else { return 0 };
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        if let Some((scenario, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            eprintln!("  {release:24} {:6} {scenario}", outcome.trim_end());
        }
    }
    end + 1
}

/// What the guest does, as a shell script.
pub(super) fn commands(filters: &[String]) -> String {
    let quote = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    let filters = filters.iter().map(quote).collect::<Vec<_>>().join(" ");
    // Nobody else goes by the guest's clock: the scenario that sets it may.
    let mut script = format!("export NETDX_TEST_PATIENCE={PATIENCE} NETDX_TEST_OWN_CLOCK=1 RUST_BACKTRACE=0\n");
    for test in LIVE {
        script += &format!("echo '{MARK} {test}'\n{SCENARIOS}/{test} --test-threads {THREADS} {filters}\n");
    }
    script + &format!("echo '{MARK}'\n")
}
