//! Shared ground of the tests.

pub mod island;
pub mod servers;
