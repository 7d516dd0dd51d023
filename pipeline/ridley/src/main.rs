//! Maps who talks to whom, and how well, with eBPF.
//!
//! This crate is the command line and the table of components. Everything else is in the crates it names.

#![deny(unsafe_code)]

mod allocator;
mod check;
mod cli;
mod components;
mod list;
mod log;
mod output;
mod rbac;
mod run;
mod sandbox;
mod settings;
mod signals;
mod validate;
mod version;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let Cli { command, options } = Cli::parse();
    let result = match command.unwrap_or_default() {
        Command::Run => run::run(&options),
        Command::Validate => validate::validate(&options),
        Command::Components => list::list(),
        Command::Check => check::check(&options),
        Command::Rbac => rbac::rbac(&options),
        Command::Version => version::version(),
    };
    result.unwrap_or_else(|err| {
        output::error(&err);
        ExitCode::FAILURE
    })
}
