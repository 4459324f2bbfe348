//! netdx.
fn main() {}
