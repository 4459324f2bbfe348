//! Shared ground of the tests.

pub mod bpf;
pub mod conntrack;
pub mod island;
pub mod kernel;
pub mod lab;
pub mod names;
pub mod patience;
pub mod recordings;
pub mod remote;
pub mod sandbox;
pub mod servers;
pub mod soak;
pub mod softirqs;
pub mod tracer;
