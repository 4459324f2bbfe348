//! Recordings of real failures, replayed: the same verdicts, without root, on any kernel.
//!
//! `cargo xtask bless [NAME]` records them from the live scenarios and accepts what they say; look at it before you commit.

use jiff::tz::TimeZone;
use netdx::pipeline::{
    self, Reporter, Session,
    reporter::{Sheet, Style},
    session::Plan,
};
use netdx::recording::Reader;
use netdx::render::text::Layout;
use netdx_tests::recordings;
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

/// What is written to it can be looked at while its owner still has it.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reports of a recording as a person reads them.
fn replayed(recording: &[u8]) -> Result<String, netdx::recording::reader::Error> {
    let sheet = || Sheet { layout: Layout { width: 100, zone: TimeZone::UTC, color: false }, columns: || 100 };
    let mut reader = Reader::new(recording)?;
    let out = Shared::default();
    let reporter = Reporter::new(Box::new(out.clone()), "memory".into(), Style::Text(sheet()), sheet());
    let plan = Plan::default();
    let mut session = Session::new(reader.header().clone(), plan, reporter, None);
    pipeline::replay(&mut reader, &mut session).expect("memory can be written");
    drop(session);
    let bytes = out.0.borrow().clone();
    Ok(String::from_utf8(bytes).expect("reports are text"))
}

#[test]
fn recordings_give_the_same_reports_again() {
    let all = recordings::all();
    assert!(!all.is_empty(), "no recordings");
    for recording in all {
        let text = replayed(&recording.bytes).unwrap_or_else(|error| panic!("{}: {error}", recording.name));
        insta::assert_snapshot!(recording.name.as_str(), text);
    }
}

#[test]
fn a_cut_recording_is_replayed_as_far_as_it_goes() {
    for recording in recordings::all().iter().step_by(7) {
        let length = recording.bytes.len();
        for part in 1..23 {
            let cut = &recording.bytes[..length * part / 23];
            // Before the header is complete there is nothing to replay, and that is said; it never panics.
            _ = replayed(cut);
        }
    }
}
