//! Debian's kernels, by this machine's apt. Owns: finding, checking (apt does) and unpacking them. Must not know: what
//! they are for.
//!
//! apt runs with lists and a cache of its own for each suite, so the machine's own configuration is read and never
//! changed. Signatures and checksums are apt's business.

use crate::command;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long the list of a suite is used before it is fetched again.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// Where Debian installs its own keys.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A Debian archive.
pub(super) struct Archive {
    site: String,
    folder: PathBuf,
}

/// A kernel, unpacked.
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// The compressed image.
    pub(super) image: PathBuf,
    /// The folder that has `kernel/`, `modules.builtin` and so on.
    pub(super) modules: PathBuf,
    /// The folder that all of it is in; what is made of it may go there, too.
    pub(super) folder: PathBuf,
}

impl Archive {
    /// The first Debian archive of apt's configuration. `folder`: for what is downloaded.
    pub(super) fn find(folder: &Path) -> Result<Archive> {
        let mut apt = Command::new("apt-get");
        apt.args(["indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(RELEASE) $(SITE)", "Created-By: Packages"]);
        let targets = command::output(&mut apt)?;
        let site = targets.lines().find_map(|line| {
            let mut words = line.split(' ');
            let is_main = words.next() == Some("Debian") && words.next() == Some("main");
            let is_archive = is_main && words.next().is_some_and(|release| !release.contains("security"));
            words.next().filter(|_| is_archive)
        });
        let site = site.context(
            "this machine's apt has no Debian archive (`apt-get update` first; the kernels are Debian's, of any suite)",
        )?;
        Ok(Archive { site: site.to_owned(), folder: folder.to_owned() })
    }

    /// The newest kernel of a suite whose version begins so.
    pub(super) fn kernel(&self, suite: &str, version: &str) -> Result<Kernel> {
        let suite = Suite::open(self, suite)?;
        let release = suite.newest(version)?;
        let folder = self.folder.join("kernels").join(&release);
        let whole = folder.join("unpacked");
        if !whole.exists() {
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            }
            make(&folder)?;
            for package in suite.parts(&release)? {
                let file = suite.download(&package)?;
                command::run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&folder))?;
                fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            }
            fs::write(&whole, "").with_context(|| format!("cannot write {}", whole.display()))?;
        }
        let found = |places: [String; 2]| places.iter().map(|place| folder.join(place)).find(|path| path.exists());
        let image = found([format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")]);
        let modules = found([format!("usr/lib/modules/{release}"), format!("lib/modules/{release}")]);
        Ok(Kernel {
            image: image.with_context(|| format!("no kernel image in the packages of {release}"))?,
            modules: modules.with_context(|| format!("no modules in the packages of {release}"))?,
            release,
            folder,
        })
    }
}

/// A suite of the archive, as apt sees it.
struct Suite {
    name: String,
    folder: PathBuf,
}

impl Suite {
    fn open(archive: &Archive, name: &str) -> Result<Suite> {
        let suite = Suite { name: name.to_owned(), folder: archive.folder.join("apt").join(name) };
        make(&suite.folder.join("lists/partial"))?;
        make(&suite.folder.join("cache/archives/partial"))?;
        let keys = if Path::new(KEYS).exists() { format!("[signed-by={KEYS}] ") } else { String::new() };
        let source = format!("deb {keys}{} {name} main\n", archive.site);
        for (file, content) in [("status", ""), ("sources.list", source.as_str())] {
            let path = suite.folder.join(file);
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let stamp = suite.folder.join("updated");
        let age = stamp.metadata().and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_none_or(|age| age > FRESH) {
            command::run(suite.apt("apt-get").args(["--quiet", "--error-on=any", "update"]))?;
            fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))?;
        }
        Ok(suite)
    }

    /// A program of apt's, with this suite and nothing of the machine's.
    fn apt(&self, program: &str) -> Command {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut apt = Command::new(program);
        for option in [
            format!("Dir::State={}", self.folder.display()),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            format!("Dir::Etc::sourcelist={}", path("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // apt's own user may not write into this folder.
            "APT::Sandbox::User=".to_owned(),
        ] {
            apt.args(["-o", &option]);
        }
        apt.current_dir(&self.folder);
        apt
    }

    /// The newest release with this beginning, of the flavour for virtual machines.
    fn newest(&self, version: &str) -> Result<String> {
        let names = command::output(self.apt("apt-cache").args(["pkgnames", "linux-image-"]))?;
        let releases = names
            .lines()
            .filter_map(|name| name.strip_prefix("linux-image-"))
            .filter(|release| is_version(release, version))
            .filter(|release| release.ends_with("-cloud-amd64"));
        releases
            .max_by_key(|release| numbers(release))
            .map(str::to_owned)
            .with_context(|| format!("Debian {} has no cloud kernel {version}", self.name))
    }

    /// The packages of a release: up to 6.18 one; later an empty one that depends on its parts.
    fn parts(&self, release: &str) -> Result<Vec<String>> {
        let image = format!("linux-image-{release}");
        let shown = command::output(self.apt("apt-cache").args(["show", "--no-all-versions", &image]))?;
        let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
        let parts = ["linux-binary-", "linux-modules-", "linux-base-"].map(|kind| format!("{kind}{release}"));
        let named = depends.split([',', '|']).filter_map(|word| word.split_whitespace().next());
        let mut all = vec![image.clone()];
        for part in named.filter(|name| parts.iter().any(|part| part == name)) {
            // The archive may have dropped one that its index still names (linux-base of 6.18.15): the image and the
            // modules are looked for afterwards.
            let there = command::output(self.apt("apt-cache").args(["pkgnames", part]))?;
            if there.lines().any(|name| name == part) {
                all.push(part.to_owned());
            }
        }
        Ok(all)
    }

    fn download(&self, package: &str) -> Result<PathBuf> {
        let folder = tempfile::Builder::new().prefix("download-").tempdir_in(&self.folder);
        let folder = folder.context("cannot make a folder")?.keep();
        command::run(self.apt("apt-get").args(["--quiet", "download", package]).current_dir(&folder))?;
        let mut files = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        let Some(file) = files.next() else { bail!("apt-get download {package} gave no file") };
        let file = file.context("cannot list what was downloaded")?.path();
        let kept = self.folder.join("cache/archives").join(file.file_name().context("a file without a name")?);
        fs::rename(&file, &kept).with_context(|| format!("cannot move {}", file.display()))?;
        fs::remove_dir(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        Ok(kept)
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Whether a release is of a version: 6.1.176 is of 6.1, 6.12.107 is not.
pub(super) fn is_version(release: &str, version: &str) -> bool {
    release.strip_prefix(version).is_some_and(|rest| rest.starts_with('.'))
}

/// The numbers in a release, for comparing: 6.12.9 is before 6.12.107.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert!(numbers("6.12.107+deb13-cloud-amd64") > numbers("6.12.9+deb13-cloud-amd64"));
        assert!(numbers("5.10.0-32-cloud-amd64") > numbers("5.10.0-30-cloud-amd64"));
    }
}
