//! `unexplained`

use crate::explain::{Cause, Rule, Tells};

pub(super) const CAUSE: Cause =
    Cause { code: "unexplained", page: PAGE, rule: Rule::Rest, hides: &[], tells: Tells::Failure };

const PAGE: &str = "\
Something failed, and nothing that netdx could observe proves why.

# What happened
The attempt failed, but no event and no fact shows a cause. netdx does not guess: it shows what it saw, and what it could
not see.

# How netdx knows
Every cause of the catalogue was tried against what was seen, and none of them holds. The evidence lists the causes that
could not be judged, with the reason (a probe that this kernel doesn't have, lost records, a fact that could not be read).

# What to do
`netdx doctor` says what would make more visible. Run with more privileges, without --no-syscalls, on a newer kernel. A
recording (`netdx record`) of such a case is a welcome bug report.

# Easily confused with
timeout.silent, which is a finding: everything was observed, and nothing came back.
";
