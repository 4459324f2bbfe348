//! netdx's development tasks: `cargo xtask --help`.
//!
//! Owns: the command line of the tasks. Each task is a file; what they share is [`workspace`] (where things are) and
//! [`command`] (running programs). Nothing here is part of the product.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "tasks talk to the person who started them")]

mod bench;
mod command;
mod demo;
mod docs;
mod ebpf;
mod elf;
mod fuzz;
mod lint;
mod run;
mod soak;
mod test;
mod toolchain;
mod vm;
mod workspace;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "netdx's development tasks", max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build netdx (the eBPF objects too, when their sources changed) and run it, with sudo when not root
    Run {
        /// With optimizations
        #[arg(long)]
        release: bool,
        /// What netdx gets, after `--`
        #[arg(last = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Build the eBPF objects from netdx-ebpf into netdx-user/bpf
    Ebpf {
        /// Build them in another folder and compare: fails when the committed objects are not what the sources give
        #[arg(long)]
        check: bool,
    },
    /// See netdx explain three failures, staged in a network namespace of their own (root, or sudo)
    Demo,
    /// One of the demo's processes
    #[command(hide = true, subcommand)]
    Part(demo::Part),
    /// Every test that this user can run; what is skipped is said, and why
    Test,
    /// Measurements, with optimizations (root)
    Bench {
        /// What to measure; nothing named: everything, which takes half an hour
        what: Vec<Measurement>,
        /// Write the results into docs/performance.md
        #[arg(long)]
        write: bool,
    },
    /// Feed what netdx reads from outside with anything, for a bounded time (needs a C++ compiler)
    Fuzz {
        /// Only this target: ring, dns, recording, rules or btf
        target: Option<String>,
        /// Time for all that is run
        #[arg(long, default_value_t = 75)]
        seconds: u64,
        /// Where chance begins; the same number gives the same inputs again, 0 others each time
        #[arg(long, default_value_t = 0)]
        seed: u32,
    },
    /// Run netdx beside namespaces, processes and connections that come and go: nothing may grow, nothing be missed (root)
    Soak {
        /// For so long
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Man pages and shell completions, into the build folder
    Docs,
    /// Formatting and clippy, over the workspace and over netdx-ebpf
    Lint,
    /// Format everything
    Fmt,
    /// Record the live scenarios again, and accept what the recordings say in replay (root)
    Bless {
        /// Only scenarios whose name contains one of these
        filters: Vec<String>,
    },
    /// The live scenarios: real failures in network namespaces of their own (root)
    Live {
        /// Only scenarios whose name contains one of these
        filters: Vec<String>,
    },
    /// The live scenarios on Debian's kernels, in virtual machines (QEMU); the result of each on each in a table
    Vm(vm::Arguments),
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Measurement {
    /// Connections that succeed, with and without a tracer
    Success,
    /// Connections that are refused
    Refused,
    /// Name lookups
    Dns,
    /// Bulk transfer, on loopback and through veth
    Bulk,
    /// Processor time of netdx while connections fail now and then
    Busy,
    /// What each program takes in the kernel
    Cost,
    /// Time to start, and to end
    Start,
    /// Time from a failure to its report
    Latency,
    /// Peak memory after a million connections
    Memory,
    /// Size of the binary
    Size,
    /// `listeners` and `conns` beside `ss`: time as a ratio, and peak memory
    Look,
}

fn main() -> ExitCode {
    let workspace = Workspace::find();
    let done = match Arguments::parse().task {
        Task::Run { release, arguments } => return run::run(&workspace, release, &arguments),
        Task::Ebpf { check: true } => ebpf::check(&workspace),
        Task::Ebpf { check: false } => ebpf::rebuild(&workspace),
        Task::Demo => demo::demo(&workspace),
        Task::Part(part) => demo::play(part),
        Task::Test => test::test(&workspace),
        Task::Bench { what, write } => bench::bench(&workspace, &what, write),
        Task::Fuzz { target, seconds, seed } => fuzz::fuzz(&workspace, target.as_deref(), seconds, seed),
        Task::Soak { minutes } => soak::soak(&workspace, minutes),
        Task::Docs => docs::docs(&workspace),
        Task::Lint => lint::lint(&workspace),
        Task::Fmt => lint::format(&workspace, false),
        Task::Bless { filters } => test::bless(&workspace, &filters),
        Task::Live { filters } => test::live(&workspace, &filters),
        Task::Vm(arguments) => vm::vm(&workspace, &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
