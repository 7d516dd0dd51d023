//! What the agent needs, and what it says when it has less.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, ensure};
use integration::agent;

/// Anyone else than root.
const NOBODY: &str = "65534";

/// Without the privilege to observe, the agent says in one line what is missing and what to do, and ends.
#[test]
fn without_privileges_one_line_says_what_is_missing() -> anyhow::Result<()> {
    let output = run_as_nobody(&["run", "--set", "exporters.prometheus.endpoint=127.0.0.1:0"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "it ended with {}: {said}", output.status);
    ensure!(said.lines().count() == 1, "expected one line: {said}");
    for word in ["root", "CAP_BPF", "CAP_PERFMON"] {
        ensure!(said.contains(word), "`{word}` is missing in: {said}");
    }
    ensure!(output.stdout.is_empty(), "it printed {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// What reads no kernel needs no privilege.
#[test]
fn a_configuration_is_validated_without_privileges() -> anyhow::Result<()> {
    let output = run_as_nobody(&["validate"])?;
    ensure!(
        output.status.success(),
        "it ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn run_as_nobody(arguments: &[&str]) -> anyhow::Result<Output> {
    // The folder that the binary was built to may be closed to others.
    let folder = tempfile::tempdir()?;
    open_to_all(folder.path())?;
    let program = folder.path().join("ridley");
    fs::copy(agent::program()?, &program).context("cannot copy the agent")?;
    open_to_all(&program)?;
    Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
        .arg(&program)
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .context("cannot run the agent as another user: that needs root and `setpriv`")
}

fn open_to_all(path: &Path) -> anyhow::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("cannot open it to others")
}
