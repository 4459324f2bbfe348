//! netdx's measurements: `cargo xtask bench` builds netdx with optimizations and runs this. Needs root.
//!
//!     bench [WHAT..] [--write FILE]      everything, or what is named; FILE gets it as a page
//!     bench load KIND AMOUNT [TO]        one of the loads
//!     bench idle [CALL..]                programs that do nothing where netdx has its own, or at these calls' tracepoints
//!
//! Packets stay in network namespaces made for them; every load is bounded in time and number.
#![expect(clippy::print_stdout, reason = "a benchmark tells its result")]

mod idle;
mod limits;
mod load;
mod look;
mod page;
mod rates;
mod tracers;

use page::Section;
use std::{io, path::PathBuf};

/// Measurements by name.
const WHAT: [&str; 11] =
    ["success", "refused", "dns", "bulk", "busy", "cost", "start", "latency", "memory", "size", "look"];

fn main() -> io::Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "load") {
        return load::main(&words[1..]);
    }
    if words.first().is_some_and(|word| word == "idle") {
        return idle::main(&words[1..]);
    }
    let page = match words.iter().position(|word| word == "--write") {
        Some(at) => words.drain(at..).nth(1).map(PathBuf::from),
        None => None,
    };
    if let Some(unknown) = words.iter().find(|word| !WHAT.contains(&word.as_str())) {
        return Err(io::Error::other(format!("no measurement {unknown}; there are {}", WHAT.join(", "))));
    }
    for what in WHAT {
        if !words.is_empty() && !words.iter().any(|word| word == what) {
            continue;
        }
        for section in measure(what)? {
            println!("\n{}", section.markdown());
            if let Some(page) = &page {
                page::write(page, &section)?;
            }
        }
    }
    Ok(())
}

fn measure(what: &str) -> io::Result<Vec<Section>> {
    Ok(match what {
        "busy" => vec![limits::busy()?],
        "cost" => vec![limits::cost()?],
        "start" => vec![limits::start()?],
        "latency" => vec![limits::latency()?],
        "memory" => vec![limits::memory()?],
        "size" => vec![limits::size()?],
        "look" => vec![look::measure()?],
        rate => rates::LOADS
            .iter()
            .filter(|(name, _)| *name == rate)
            .map(|(_, load)| rates::measure(load))
            .collect::<io::Result<_>>()?,
    })
}
