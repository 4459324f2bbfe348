//! How reports are shown. Owns: every word and mark on the screen that isn't in a report.
//! Must not know: where the text goes (renderers return strings), clocks, terminals.

pub mod escape;
