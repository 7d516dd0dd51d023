//! Everything that can be wrong without running.

use crate::{command, deny, docs, structure, workspace::Workspace};

/// Runs every check, the quick ones first. The first that fails ends it.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    structure::run()?;
    docs::check(&workspace)?;
    command::run(command::cargo().args(["fmt", "--all", "--check"]))?;

    let packages = host_packages(&workspace);
    let mut clippy = command::cargo();
    clippy.args(["clippy", "--locked", "--all-targets"]).args(&packages);
    command::run(clippy.args(["--", "-D", "warnings"]))?;

    let mut doc = command::cargo();
    doc.args(["doc", "--locked", "--no-deps"]).args(&packages);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;

    deny::run()
}

/// Selects every package that is built for this machine: all but the programs that run in the kernel.
fn host_packages(workspace: &Workspace) -> Vec<String> {
    let hosted = workspace
        .packages
        .iter()
        .filter(|it| it.is_default || matches!(it.folder.as_str(), "integration" | "xtask"));
    hosted.flat_map(|it| ["--package".to_owned(), it.name.clone()]).collect()
}
