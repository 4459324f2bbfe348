//! netdx: says why a connection failed. Everything is in the library; this hands over the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    netdx::cli::main().into()
}
