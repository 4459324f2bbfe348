//! How netdx shares the processors with what it watches.
//!
//! Owns: the nice values of netdx's threads. Must not know: what they do.
//!
//! Who makes connections that fail, as fast as it can, leaves netdx more work than itself has. That work can wait while
//! there is room for it, and meanwhile must not take the processors from the program that is watched. Where there is no
//! more room waiting means losing records: then netdx takes its fair share again. A nice value and not SCHED_IDLE: these
//! threads hold locks of the kernel and of each other for moments, and whoever waits for one must not wait for long.

use super::backlog::Fill;
use crate::privilege::{self, Privileges};
use rustix::{
    process::{Pid, getpriority_process, setpriority_process},
    thread::{CapabilitySet, gettid},
};
use std::{fs, mem};

/// How urgent emptying the ring is: less is more urgent.
const URGENT: i32 = -10;
/// How much less urgent the rest is while it gives way: a tenth of the time, if others want all of it.
const YIELD: i32 = 10;
/// The least urgent.
const LAST: i32 = 19;

/// The thread that empties the ring is urgent, and says how urgent the others are.
#[derive(Debug)]
pub(super) struct Manners {
    /// As it was when netdx was started.
    given: i32,
    /// It can be made as it was again, which takes CAP_SYS_NICE.
    can: bool,
    gives_way: bool,
    /// Those that were made less urgent: to find out anew which there are takes memory, and so may mean to wait for one.
    slowed: Vec<Pid>,
}

impl Manners {
    /// Of the thread that empties the ring, which is made urgent and gives up the rights that it doesn't need.
    pub(super) fn of_this_thread() -> Manners {
        let given = getpriority_process(None).unwrap_or(0);
        // A ring that is not emptied in time loses records. Copying them takes no time that others would miss. Of this
        // thread alone; where it may not be set it stays as it is.
        _ = setpriority_process(None, URGENT);
        privilege::reduce_thread(CapabilitySet::SYS_NICE);
        Manners { given, can: Privileges::current().has(CapabilitySet::SYS_NICE), gives_way: false, slowed: Vec::new() }
    }

    /// Lets the other threads give way or not; whether they do.
    pub(super) fn suit(&mut self, fill: Fill) -> bool {
        let wanted = self.can && fill == Fill::Some;
        if wanted != self.gives_way {
            self.gives_way = wanted;
            let nice = if wanted { (self.given + YIELD).min(LAST) } else { self.given };
            let set = |thread: &Pid| _ = setpriority_process(Some(*thread), nice);
            // It may have ended, and others may have been started by it.
            mem::take(&mut self.slowed).iter().for_each(set);
            let others = others();
            others.iter().for_each(set);
            if wanted {
                self.slowed = others;
            }
        }
        self.gives_way
    }
}

impl Drop for Manners {
    /// The ring is emptied no more: what waits still is told as soon as it can be.
    fn drop(&mut self) {
        self.suit(Fill::Empty);
    }
}

/// This process's threads but the calling one.
fn others() -> Vec<Pid> {
    let own = gettid();
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ids = threads.filter_map(|thread| Pid::from_raw(thread.file_name().to_str()?.parse().ok()?));
    ids.filter(|id| *id != own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc::channel, thread};

    #[test]
    fn threads_give_way_while_there_is_room_and_get_back_what_they_had() {
        let (told, is) = channel();
        let (end, ended) = channel::<()>();
        let other = thread::spawn(move || {
            told.send(gettid()).expect("asked for");
            _ = ended.recv();
        });
        let tid = is.recv().expect("its id");
        let nice = || getpriority_process(Some(tid)).expect("it runs");
        let before = nice();
        let results = thread::spawn(move || {
            let mut manners = Manners::of_this_thread();
            let can = manners.can;
            let mut seen = Vec::new();
            for fill in [Fill::Empty, Fill::Some, Fill::Some, Fill::Crowded, Fill::Some, Fill::Empty] {
                manners.suit(fill);
                seen.push(getpriority_process(Some(tid)).expect("it runs"));
            }
            manners.suit(Fill::Some);
            drop(manners);
            seen.push(getpriority_process(Some(tid)).expect("it runs"));
            (can, seen)
        });
        let (can, seen) = results.join().expect("it ends well");
        let low = if can { (before + YIELD).min(LAST) } else { before };
        assert_eq!(seen, [before, low, low, before, low, before, before]);
        drop(end);
        other.join().expect("it ends well");
    }
}
