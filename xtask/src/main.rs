//! Everything with logic that cargo cannot express.
//!
//! The one front door: what continuous integration runs, a person runs with the same words. Each command can be
//! repeated, says what it lacks, and installs what can be installed.

#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "this is a tool for people at a terminal")]

mod backend_test;
mod bench;
mod check;
mod command;
mod deny;
mod docs;
mod ebpf;
mod fuzz;
mod kernel_test;
mod lab;
mod packages;
mod soak;
mod structure;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The process in which the server of a load runs.
const LOAD_SERVER: &str = "load-server";
/// The process that holds the connections of a load.
const LOAD_CLIENT: &str = "load-client";
/// The process in which a server runs that no agent sees.
const FAR_SERVER: &str = "far-server";

/// Builds, checks, tests and measures Ridley.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that can be wrong without running: format, clippy, docs, structure, licences, kernel object.
    Check,
    /// Every test: units and components first, then the oracle, which needs root.
    Test(test::Options),
    /// Runs the tests of traces with a Tempo, which is given.
    BackendTest(backend_test::Options),
    /// Folder = crate, what each crate must contain, and the edges between crates.
    Structure,
    /// Licences, duplicate and banned dependencies, and where dependencies come from.
    Deny,
    /// Writes the generated parts of the components' READMEs.
    Docs(docs::Options),
    /// Builds the eBPF object that is committed, installing what that takes.
    Ebpf(ebpf::Options),
    /// Runs the oracle on other kernels in virtual machines, and writes docs/kernel-support.md.
    KernelTest(kernel_test::Options),
    /// Measures what the agent costs, and writes docs/performance.md.
    Bench(bench::Options),
    /// Runs for long: many connections, minutes of churn, random cases; writes docs/soak.md.
    Soak(soak::Options),
    /// Gives bytes of chance to what reads bytes of others, ten minutes each.
    Fuzz(fuzz::Options),
    /// Builds the programs that tests run the agent with and no package has, those of a cluster, below target/tools.
    Tools,
    #[command(name = LOAD_SERVER, hide = true)]
    LoadServer,
    #[command(name = LOAD_CLIENT, hide = true)]
    LoadClient(lab::load::Holding),
    #[command(name = FAR_SERVER, hide = true)]
    FarServer,
}

fn main() -> ExitCode {
    match run(&Options::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain alone: a backtrace of this program says nothing about the tree it looks at.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> anyhow::Result<()> {
    match task {
        Task::Check => check::run(),
        Task::Test(options) => test::run(options),
        Task::BackendTest(options) => backend_test::run(options),
        Task::Structure => structure::run(),
        Task::Deny => deny::run(),
        Task::Docs(options) => docs::run(options),
        Task::Ebpf(options) => ebpf::run(options),
        Task::KernelTest(options) => kernel_test::run(options),
        Task::Bench(options) => bench::run(options),
        Task::Soak(options) => soak::run(options),
        Task::Fuzz(options) => fuzz::run(options),
        Task::Tools => tools::run(),
        Task::LoadServer => lab::load::serve(),
        Task::LoadClient(holding) => lab::load::hold(holding),
        Task::FarServer => lab::far::serve(),
    }
}
