//! netdx development tasks.
fn main() {}
