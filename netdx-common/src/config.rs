//! The load-time configuration: one frozen read-only global, so that the verifier sees constants.

/// What an offset is that this kernel doesn't have.
pub const ABSENT: u32 = u32::MAX;
