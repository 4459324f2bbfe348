//! What the process exits with. Owns: [`Exit`] (DESIGN.md §2, a contract). Must not know: why.

use std::process::{ExitCode, ExitStatus};

/// How a run of netdx ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked: 0.
    Done,
    /// netdx itself failed; the message said what and what to do: 1.
    Failed,
    /// The command line can't be understood: 2.
    Usage,
    /// A verdict of `--fail-on` was seen, or a rung of `check` failed: 3.
    Verdict,
    /// The traced command's own status.
    Command(u8),
}

impl Exit {
    /// The status of a traced command: its own, or 128 + the signal that ended it, as shells have it.
    #[must_use]
    pub fn of_command(status: ExitStatus) -> Exit {
        use std::os::unix::process::ExitStatusExt as _;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        Exit::Command(u8::try_from(code & 0xff).unwrap_or(1))
    }

    /// The number for the system.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Verdict => 3,
            Exit::Command(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn the_contract() {
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Verdict, Exit::Command(77)].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 77]);
    }

    #[test]
    fn a_command_keeps_its_status() {
        assert_eq!(Exit::of_command(ExitStatus::from_raw(0)), Exit::Command(0));
        assert_eq!(Exit::of_command(ExitStatus::from_raw(7 << 8)), Exit::Command(7));
        assert_eq!(Exit::of_command(ExitStatus::from_raw(255 << 8)), Exit::Command(255));
    }

    #[test]
    fn a_signal_counts_from_128() {
        assert_eq!(Exit::of_command(ExitStatus::from_raw(9)), Exit::Command(137));
        assert_eq!(Exit::of_command(ExitStatus::from_raw(15)), Exit::Command(143));
    }
}
