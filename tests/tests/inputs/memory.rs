//! However much has come and gone, the core remembers no more than what may still matter.

use crate::driven::{RECORDED, Recorded, Run};
use netdx::event::{Event, Sock, TcpCounters, TcpState};
use netdx::input::{Input, Stamped};
use netdx::time::Time;
use serde_json::Value;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What was left of so many times everything, after which tables have the room they need ...
const BEFORE: u64 = 16;
/// ... is held against what is left after so many times more.
const MORE: u64 = 8;
/// Longer than anything matters that has ended.
const PAUSE: Duration = Duration::from_secs(3600);
/// Growth that is none, bytes: of the tables that hold nothing any more, and whose room depends on chance.
const SLACK: i64 = 96 << 10;

/// Counts what each thread holds, for tests run side by side.
struct Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: usize, sign: i64) {
    // No thread holds so much that it has another sign; one that ends isn't counted any more.
    _ = HELD.try_with(|held| held.set(held.get() + sign * bytes as i64));
}

// SAFETY: the system's allocator, asked as this is; counting allocates nothing (a constant without a destructor).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(start, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Makes an input one of other processes, sockets and ports, of the same course, so much later (ns).
fn another(value: &mut Value, round: u64, later: i64) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), &*value) {
                    ("pid" | "tid" | "parent", Value::Number(n)) => {
                        *value = (n.as_u64().expect("an id") + round * 100_000).into();
                    }
                    ("started" | "resolving", Value::Number(n)) => {
                        *value = (n.as_i64().expect("a time") + later).into();
                    }
                    ("sequence" | "acknowledgement", Value::Number(n)) => {
                        let moved = n.as_u64().expect("a number") + round * 0x0101_0101;
                        *value = (moved & u64::from(u32::MAX)).into();
                    }
                    ("local_port" | "remote_port", Value::Number(n)) => {
                        let port = n.as_u64().expect("a port");
                        if port >= 32_768 {
                            *value = (32_768 + (port - 32_768 + round * 997) % 28_232).into();
                        }
                    }
                    ("id" | "cookie", Value::String(id)) => {
                        let id = u64::from_str_radix(id, 16).expect("a number");
                        *value = format!("{:x}", id ^ (round << 48)).into();
                    }
                    _ => another(value, round, later),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| another(value, round, later)),
        _ => {}
    }
}

/// All that happened in a recording, by others and later. In the end its sockets are closed and its processes end, where it
/// was over before they did.
fn course(of: &Recorded, round: u64, from: Time) -> Vec<Stamped> {
    let start = Time(of.header.start.boot_ns);
    let later = i64::try_from(from.0).expect("a time") - i64::try_from(start.0).expect("a time");
    let (mut tasks, mut sockets) = (BTreeMap::new(), BTreeMap::new());
    let mut events: Vec<Stamped> = Vec::new();
    for stamped in &of.events {
        let mut value = serde_json::to_value(&stamped.input).expect("an input can be written");
        another(&mut value, round, later);
        let sock: Option<Sock> = serde_json::from_value(value["event"]["sock"].clone()).unwrap_or_default();
        let input = serde_json::from_value(value).expect("and read");
        match &input {
            Input::Event(Event::Process { task, .. }) => _ = tasks.insert(task.pid, task.clone()),
            Input::Event(Event::State { sock, new: TcpState::Close, .. }) => {
                sockets.remove(&sock.id);
            }
            _ => {
                if let Some(sock) = sock.filter(|sock| sock.id.is_some()) {
                    sockets.insert(sock.id, sock);
                }
            }
        }
        events.push(Stamped { t: from.after(stamped.t.since(start)), input });
    }
    let end = from.after(of.end.since(start));
    let left = sockets.into_values().map(|sock| Event::State {
        sock: Sock { state: TcpState::Close, ..sock },
        old: TcpState::LastAck,
        new: TcpState::Close,
        current: None,
        icmp: None,
        tcp: TcpCounters::default(),
        stack: Arc::default(),
    });
    let exits = tasks.into_values().map(|task| Event::ProcessExit { task, status: 0 });
    events.extend(left.chain(exits).map(|event| Stamped { t: end, input: Input::Event(event) }));
    events
}

/// Everything that was ever recorded happens again; then nothing does for a while. Gives the number of reports.
fn everything(run: &mut Run<'_>, round: u64) -> usize {
    for of in RECORDED.iter() {
        for stamped in course(of, round, run.now) {
            run.until(stamped.t);
            run.feed(stamped);
        }
    }
    run.until(run.now.after(PAUSE));
    run.feed(Stamped { t: run.now.after(PAUSE), input: Input::Tick });
    std::mem::take(&mut run.reports).len()
}

#[test]
fn what_came_and_went_is_forgotten() {
    let of = RECORDED.iter().find(|of| of.header.settings.all).expect("a recording of everything");
    let mut run = Run::new(of);
    let told = everything(&mut run, 1);
    assert!(told > RECORDED.len(), "{told} reports");
    for round in 2..=BEFORE {
        everything(&mut run, round);
    }
    let before = HELD.get();
    for round in BEFORE + 1..=BEFORE + MORE {
        assert_eq!(everything(&mut run, round), told, "reports in round {round}");
    }
    let grown = HELD.get() - before;
    assert!(grown < SLACK, "{grown} bytes more are held after {} reports more", told as u64 * MORE);
}
