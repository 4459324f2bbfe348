//! netdx: says why a connection failed, with proof.
//!
//! The pure ring (`time`, `event`, `fact`, `want`, `input`, `coverage`, `decode`, `story`, `explain`, `ruleset`, `report`,
//! `render`, `recording`, `quantity`) holds what netdx knows; it reads no clock, file, socket or environment and has no unsafe code. The IO ring
//! (`live`, `host`, `privilege`, `pipeline`, `cli`) feeds it. See docs/ARCHITECTURE.md.

// The pure ring: clippy.toml lists what it must not touch, tests/tests/layers.rs what it must not name.
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod coverage;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod decode;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod diagnosis;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod event;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod explain;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod fact;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod filter;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod input;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod quantity;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod recording;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod render;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod report;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod ruleset;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod story;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod time;
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, unsafe_code))]
pub mod want;

// The IO ring.
pub mod cli;
pub mod exit;
pub mod host;
pub mod inspect;
pub mod live;
pub mod logging;
pub mod pipeline;
pub mod privilege;
