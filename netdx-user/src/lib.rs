//! netdx: says why a connection failed, with proof.
//!
//! The pure ring (`time`, `event`, `fact`, `want`, `input`, `coverage`, `decode`, `story`, `explain`, `ruleset`, `report`,
//! `render`, `recording`) holds what netdx knows; it reads no clock, file, socket or environment and has no unsafe code. The IO ring
//! (`live`, `host`, `privilege`, `pipeline`, `cli`) feeds it. See docs/ARCHITECTURE.md.

pub mod cli;
pub mod coverage;
pub mod decode;
pub mod diagnosis;
pub mod event;
pub mod exit;
pub mod explain;
pub mod fact;
pub mod filter;
pub mod host;
pub mod input;
pub mod inspect;
pub mod live;
pub mod logging;
pub mod pipeline;
pub mod privilege;
pub mod recording;
pub mod render;
pub mod report;
pub mod ruleset;
pub mod story;
pub mod time;
pub mod want;
