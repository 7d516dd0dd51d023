//! What reads bytes of others, given bytes of chance for as long as one likes.

use std::{env::consts::ARCH, fs, process::Command};

use anyhow::ensure;

use crate::{
    command,
    packages::{self, Tool},
    workspace::Workspace,
};

/// What is given such bytes: programs of the workspace in `fuzz`.
const TARGETS: [&str; 2] = ["segment", "split"];

/// The fuzzer itself is C++.
const TOOLS: &[Tool] = &[Tool { program: "c++", package: "g++", purpose: "builds libFuzzer" }];

/// Has the compiler count what was reached and what was compared, which stable Rust can do for a fuzzer without a sanitizer: there
/// is no `unsafe` here that one would watch. These are the flags of `cargo fuzz --sanitizer none`.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// Which, and for how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only these.
    #[arg(long)]
    only: Vec<String>,
    /// Seconds for each.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Runs each in turn. The first that fails ends it, and what made it fail is below `target/fuzz`.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { only, seconds } = options;
    for name in only {
        ensure!(TARGETS.contains(&name.as_str()), "nothing is called `{name}`, expected one of {TARGETS:?}");
    }
    let workspace = Workspace::load()?;
    packages::install(TOOLS)?;
    let folder = workspace.target.join("fuzz");
    // What is built for a named target is built apart from what only builds, which must not be counted.
    let machine = format!("{ARCH}-unknown-linux-gnu");
    let mut build = command::cargo();
    build.args([
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target",
        &machine,
    ]);
    command::run(build.arg("--target-dir").arg(&folder).env("RUSTFLAGS", FLAGS.join(" ")))?;
    for name in TARGETS.into_iter().filter(|it| only.is_empty() || only.iter().any(|name| name == it)) {
        let corpus = folder.join("corpus").join(name);
        fs::create_dir_all(&corpus)?;
        let mut program = Command::new(folder.join(&machine).join("release").join(name));
        program.arg(&corpus).args([format!("-max_total_time={seconds}"), "-max_len=4096".to_owned()]);
        command::run(program.arg(format!("-artifact_prefix={}/{name}-", folder.display())))?;
    }
    Ok(())
}
