//! Licences, bans and sources of dependencies, by cargo-deny.

use std::{path::PathBuf, process::Command};

use crate::{command, workspace::Workspace};

/// A new version may know new rules; it is chosen here and not by the day on which someone installs it.
const VERSION: &str = "0.20.2";

/// Advisories are left out: they need a database from the network, so the same commit would pass one day and fail the
/// next, and a machine without network could not be checked at all.
const CHECKS: [&str; 3] = ["bans", "licenses", "sources"];

/// Checks the dependencies against `deny.toml`, installing cargo-deny first where it is missing.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let program = installed(&workspace)?;
    let mut deny = Command::new(program);
    deny.args(["--locked", "check", "--hide-inclusion-graph"]).args(CHECKS);
    command::run(deny.current_dir(&workspace.root))
}

fn installed(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let folder = workspace.tools();
    let program = folder.join("bin/cargo-deny");
    for candidate in [PathBuf::from("cargo-deny"), program.clone()] {
        let version = command::output(Command::new(&candidate).arg("--version"));
        if version.is_ok_and(|it| it.split_whitespace().last() == Some(VERSION)) {
            return Ok(candidate);
        }
    }
    eprintln!("installing cargo-deny {VERSION} into {}", folder.display());
    let mut install = command::cargo();
    // Unoptimised: it is built more often than it is run, and a run takes a second either way.
    install
        .args(["install", "cargo-deny", "--locked", "--debug", "--version", VERSION, "--root"])
        .arg(&folder);
    command::run(&mut install)?;
    Ok(program)
}
