//! Names for the kernel's numbers: functions by address, reasons by value.
//!
//! Owns: the tables of this run. Must not know: records. Reading symbols takes 50 to 200 ms of a kernel's time, so it
//! runs beside the loading of programs and is waited for when the first record needs it.

use super::symbols::{Error, Symbols};
use crate::{decode, event::Name, privilege};
use netdx_common::record::STACK_DEPTH;
use rustix::thread::CapabilitySet;
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::{self, JoinHandle},
};

/// What `decode` asks for names.
pub(super) struct Names {
    symbols: OnceLock<Symbols>,
    drop_reasons: HashMap<i32, &'static str>,
    reset_reasons: HashMap<i32, &'static str>,
    /// The few that come again and again, each kept once: of a flood of packets thousands are remembered.
    stacks: Mutex<HashMap<[u64; STACK_DEPTH], Arc<[Name]>>>,
}

/// How many stacks are kept.
const STACKS: usize = 1024;

/// Symbols being read.
pub(super) struct Reading(JoinHandle<Result<Symbols, Error>>);

impl Reading {
    /// Begins.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start() -> std::io::Result<Reading> {
        let read = || {
            privilege::reduce_thread(CapabilitySet::empty());
            Symbols::read()
        };
        thread::Builder::new().name("symbols".into()).spawn(read).map(Reading)
    }

    /// The symbols, or none where they can't be read (coverage has said why).
    fn wait(self) -> Symbols {
        match self.0.join() {
            Ok(Ok(symbols)) => symbols,
            Ok(Err(error)) => {
                tracing::debug!("{error}");
                Symbols::default()
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Names {
    /// Reasons by value; functions follow.
    #[must_use]
    pub(super) fn new(drop_reasons: HashMap<i32, String>, reset_reasons: HashMap<i32, String>) -> Names {
        // Each record that has one names it: kept for as long as netdx runs, it need not be copied.
        let kept = |reasons: HashMap<i32, String>| -> HashMap<i32, &'static str> {
            reasons.into_iter().map(|(value, name)| (value, &*name.leak())).collect()
        };
        Names {
            symbols: OnceLock::new(),
            drop_reasons: kept(drop_reasons),
            reset_reasons: kept(reset_reasons),
            stacks: Mutex::default(),
        }
    }

    /// Waits for the symbols.
    pub(super) fn complete(&self, reading: Reading) {
        // Nobody else sets it: `Reading` can be waited for once.
        _ = self.symbols.set(reading.wait());
    }
}

impl decode::Names for Names {
    fn function(&self, address: u64) -> Option<Name> {
        self.symbols.get()?.function(address)
    }

    fn stack(&self, addresses: &[u64; STACK_DEPTH]) -> Arc<[Name]> {
        let mut stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        if stacks.len() >= STACKS {
            stacks.clear();
        }
        Arc::clone(stacks.entry(*addresses).or_insert_with(|| decode::functions(self, addresses)))
    }

    fn drop_reason(&self, value: i32) -> Option<Name> {
        self.drop_reasons.get(&value).copied().map(Cow::Borrowed)
    }

    fn reset_reason(&self, value: i32) -> Option<Name> {
        self.reset_reasons.get(&value).copied().map(Cow::Borrowed)
    }
}
