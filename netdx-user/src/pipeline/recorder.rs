//! Recordings as files. Owns: how a file is created (never over another one, never through a symbolic link, for its
//! owner's eyes only), which file an incident goes to. Must not know: what is recorded.

use crate::{
    input::Stamped,
    recording::{Header, Window, Writer, redact::Redactor, window},
    time::Time,
};
use std::{
    fs::{self, File, OpenOptions},
    hash::RandomState,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How often compressed data is handed to the system: each time costs compression.
const FLUSH_COMPRESSED: Duration = Duration::from_secs(1);

/// Why there is no (whole) recording.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something has that name.
    #[error("{path} exists: choose another name, or say --force to replace it", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It can't be replaced, because it isn't an ordinary file.
    #[error("{path} is no ordinary file: netdx does not replace it", path = path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// It could not be made.
    #[error("create the recording {path}", path = path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be written.
    #[error("write the recording {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why: a full disk, most likely.
        source: io::Error,
    },
}

/// What to record, and where.
#[derive(Clone, Debug)]
pub struct Target {
    /// The file; `.zst` at its end: compressed.
    pub path: PathBuf,
    /// Replace what is there.
    pub force: bool,
    /// Only a window around what fails.
    pub window: Option<Duration>,
    /// Write pseudonyms.
    pub redact: bool,
}

/// Writes a recording while a run goes on.
pub struct Recorder {
    target: Target,
    header: Header,
    file: Option<Open>,
    window: Option<Window>,
    redactor: Option<Redactor>,
    files: u32,
    inputs: u64,
}

struct Open {
    path: PathBuf,
    writer: Writer<File>,
    flushed: Instant,
}

impl Recorder {
    /// Begins; without a window the file is there from now on.
    ///
    /// # Errors
    /// The file can't be made.
    pub fn new(target: Target, mut header: Header) -> Result<Recorder, Error> {
        let window = target.window.map(Window::new);
        // The key is random, and lives as long as this recorder does.
        let redactor = target.redact.then(|| Redactor::new(RandomState::new()));
        if let Some(redactor) = &redactor {
            header.redacted = true;
            header.filters = redactor.filters(&header.filters);
        }
        let mut recorder = Recorder { target, header, file: None, window, redactor, files: 0, inputs: 0 };
        if recorder.window.is_none() {
            recorder.open()?;
        } else {
            // To be told now, rather than at the first failure.
            check(&recorder.target.path, recorder.target.force)?;
        }
        Ok(recorder)
    }

    pub(super) fn input(&mut self, stamped: &Stamped) -> Result<(), Error> {
        match &mut self.window {
            None => self.write(stamped),
            Some(window) => window.input(stamped.clone()).into_iter().try_for_each(|step| self.step(step)),
        }
    }

    /// A failure was reported at `now`: the window is written out.
    pub(super) fn failure(&mut self, now: Time) -> Result<(), Error> {
        match self.window.as_mut().and_then(|window| window.failure(now)) {
            Some(step) => self.step(step),
            None => Ok(()),
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let Some(open) = &mut self.file else { return Ok(()) };
        if is_compressed(&open.path) && open.flushed.elapsed() < FLUSH_COMPRESSED {
            return Ok(());
        }
        open.flushed = Instant::now();
        open.writer.flush().map_err(|source| Error::Write { path: open.path.clone(), source })
    }

    /// Ends the recording; says what was written.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Error> {
        self.close()?;
        let path = self.target.path.display();
        Ok(vec![match (self.window.is_some(), self.files) {
            (true, 0) => "nothing failed: no recording was written".to_owned(),
            (true, 1) => format!("recorded the window around what failed: {path}"),
            (true, n) => format!("recorded {n} windows around what failed: {path} and those numbered after it"),
            (false, _) => format!("recorded {} inputs: {path}", self.inputs),
        }])
    }

    fn step(&mut self, step: window::Step) -> Result<(), Error> {
        match step {
            window::Step::Begin(before) => {
                self.open()?;
                before.iter().try_for_each(|stamped| self.write(stamped))
            }
            window::Step::Write(stamped) => self.write(&stamped),
            window::Step::End => self.close(),
        }
    }

    fn open(&mut self) -> Result<(), Error> {
        self.files += 1;
        let path = numbered(&self.target.path, self.files);
        let file = create(&path, self.target.force)?;
        let writer = Writer::new(file, &self.header, is_compressed(&path));
        let writer = writer.map_err(|source| Error::Write { path: path.clone(), source })?;
        self.file = Some(Open { path, writer, flushed: Instant::now() });
        Ok(())
    }

    fn write(&mut self, stamped: &Stamped) -> Result<(), Error> {
        let Some(open) = &mut self.file else { return Ok(()) };
        self.inputs += 1;
        let stamped = stamped.clone();
        let stamped = match &self.redactor {
            Some(redactor) => redactor.input(stamped),
            None => stamped,
        };
        open.writer.write(stamped).map_err(|source| Error::Write { path: open.path.clone(), source })
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(open) = self.file.take() else { return Ok(()) };
        open.writer.finish().map(drop).map_err(|source| Error::Write { path: open.path, source })
    }
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

/// The name of the n-th file: `db.netdx.jsonl`, `db.2.netdx.jsonl`, ...
fn numbered(path: &Path, n: u32) -> PathBuf {
    let Some(name) = path.file_name().filter(|_| n > 1).map(|name| name.to_string_lossy()) else {
        return path.to_owned();
    };
    // A dot at its beginning hides a file, it begins no extension.
    let name = match name.char_indices().skip(1).find(|(_, c)| *c == '.') {
        Some((dot, _)) => format!("{}.{n}{}", &name[..dot], &name[dot..]),
        None => format!("{name}.{n}"),
    };
    path.with_file_name(name)
}

fn check(path: &Path, force: bool) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Create { path: path.to_owned(), source }),
        Ok(_) if !force => Err(Error::Exists { path: path.to_owned() }),
        Ok(metadata) if !metadata.is_file() => Err(Error::NotAFile { path: path.to_owned() }),
        Ok(_) => Ok(()),
    }
}

fn create(path: &Path, force: bool) -> Result<File, Error> {
    check(path, force)?;
    if force && let Err(source) = fs::remove_file(path) {
        // Not there is what it should be.
        if source.kind() != io::ErrorKind::NotFound {
            return Err(Error::Create { path: path.to_owned(), source });
        }
    }
    // O_CREAT | O_EXCL: whatever came to be there in the meantime, a link above all, is not followed (open(2)).
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => Error::Create { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Reader, tests::header, tests::inputs};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn target(folder: &tempfile::TempDir, name: &str) -> Target {
        Target { path: folder.path().join(name), force: false, window: None, redact: false }
    }

    fn read(path: &Path) -> Vec<Stamped> {
        Reader::new(File::open(path).expect("the file is there")).expect("a recording").collect()
    }

    #[test]
    fn a_recording_is_for_its_owner_only_and_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a.netdx.jsonl", "a.netdx.jsonl.zst"] {
            let target = target(&folder, name);
            let path = target.path.clone();
            let mut recorder = Recorder::new(target, header()).expect("a new file");
            inputs().iter().for_each(|input| recorder.input(input).expect("room"));
            recorder.flush().expect("room");
            recorder.finish().expect("room");
            assert_eq!(fs::metadata(&path).expect("the file is there").permissions().mode() & 0o777, 0o600);
            assert_eq!(read(&path), inputs());
        }
    }

    #[test]
    fn a_redacted_recording_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = Target { redact: true, ..target(&folder, "r.netdx.jsonl") };
        let path = target.path.clone();
        let mut recorder = Recorder::new(target, header()).expect("a new file");
        inputs().iter().for_each(|input| recorder.input(input).expect("room"));
        recorder.finish().expect("room");
        let text = fs::read_to_string(&path).expect("the file is there");
        assert!(text.contains(r#""redacted":true"#) && !text.contains("10.0.0.5"), "{text}");
        assert_eq!(read(&path).len(), inputs().len());
    }

    #[test]
    fn nothing_is_overwritten_and_no_link_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").expect("room");
        let mut taken = target(&folder, "victim");
        assert!(matches!(Recorder::new(taken.clone(), header()), Err(Error::Exists { .. })));
        let mut link = target(&folder, "link");
        symlink(&victim, &link.path).expect("a link");
        let mut dangling = target(&folder, "dangling");
        symlink(folder.path().join("nowhere"), &dangling.path).expect("a link");
        for link in [&mut link, &mut dangling] {
            assert!(matches!(Recorder::new(link.clone(), header()), Err(Error::Exists { .. })));
            link.force = true;
            assert!(matches!(Recorder::new(link.clone(), header()), Err(Error::NotAFile { .. })));
        }
        assert_eq!(fs::read_to_string(&victim).expect("still there"), "precious");
        assert!(!folder.path().join("nowhere").exists());
        taken.force = true;
        Recorder::new(taken, header()).expect("forced").finish().expect("room");
        assert_eq!(read(&victim), []);
    }

    #[test]
    fn a_full_disk_is_told() {
        let full = Path::new("/dev/full");
        let file = OpenOptions::new().write(true).open(full).expect("every Linux has it");
        let writer = Writer::new(file, &header(), false).expect("nothing is written yet");
        let target = Target { path: full.into(), force: false, window: None, redact: false };
        let file = Some(Open { path: full.into(), writer, flushed: Instant::now() });
        let mut recorder =
            Recorder { target, header: header(), file, window: None, redactor: None, files: 1, inputs: 0 };
        recorder.input(&inputs()[0]).expect("still in memory");
        let error = recorder.flush().expect_err("no room");
        assert_eq!(error.to_string(), "write the recording /dev/full");
    }

    #[test]
    fn each_incident_has_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = Target { window: Some(Duration::from_secs(1)), ..target(&folder, "w.netdx.jsonl") };
        let path = target.path.clone();
        let mut recorder = Recorder::new(target, header()).expect("a new file");
        let tick = |second: u64| Stamped { t: Time(second * 1_000_000_000), input: crate::input::Input::Tick };
        for second in 0..10 {
            recorder.input(&tick(second)).expect("room");
            if second == 2 || second == 8 {
                recorder.failure(Time(second * 1_000_000_000)).expect("room");
            }
        }
        assert_eq!(recorder.finish().expect("room").len(), 1);
        assert_eq!(read(&path), [tick(1), tick(2), tick(3)]);
        assert_eq!(read(&folder.path().join("w.2.netdx.jsonl")), [tick(7), tick(8), tick(9)]);
    }

    #[test]
    fn numbers_stand_before_the_extensions() {
        let numbered = |path, n| super::numbered(Path::new(path), n).display().to_string();
        assert_eq!(numbered("/x/db.netdx.jsonl.zst", 1), "/x/db.netdx.jsonl.zst");
        assert_eq!(numbered("/x/db.netdx.jsonl.zst", 2), "/x/db.2.netdx.jsonl.zst");
        assert_eq!(numbered("/x.y/db", 3), "/x.y/db.3");
        assert_eq!(numbered(".hidden", 2), ".hidden.2");
        assert_eq!(numbered("é.a", 2), "é.2.a");
    }
}
