//! Everything that can be wrong without running.

use crate::{command, deny, docs, ebpf, structure, workspace::Workspace};

/// Runs every check, the quick ones first. The first that fails ends it.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    structure::run()?;
    docs::check(&workspace)?;
    let programs = ["--manifest-path", "ebpf-programs/socket-observer/Cargo.toml"];
    command::run(command::cargo().args(["fmt", "--all", "--check"]))?;
    command::run(command::cargo().args(["fmt", "--check"]).args(programs))?;
    command::run(command::cargo().args(["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))?;

    let packages = host_packages(&workspace);
    let mut clippy = command::cargo();
    clippy.args(["clippy", "--locked", "--all-targets"]).args(&packages);
    command::run(clippy.args(["--", "-D", "warnings"]))?;

    // What runs in the kernel cannot unwind, and the host's compiler insists that something says so.
    let mut clippy = command::cargo();
    clippy.args(["clippy", "--locked", "--release"]).args(programs);
    command::run(clippy.args(["--", "-D", "warnings", "-C", "panic=abort"]))?;

    let mut doc = command::cargo();
    doc.args(["doc", "--locked", "--no-deps"]).args(&packages);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;

    deny::run()?;
    ebpf::check()
}

/// Selects every package that is built for this machine: all but the programs that run in the kernel.
fn host_packages(workspace: &Workspace) -> Vec<String> {
    let hosted = workspace
        .packages
        .iter()
        .filter(|it| it.is_default || matches!(it.folder.as_str(), "integration" | "xtask"));
    hosted.flat_map(|it| ["--package".to_owned(), it.name.clone()]).collect()
}
