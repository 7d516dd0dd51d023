//! What the agent needs, and what it says when it has less.

use std::process::{Command, Output};

use anyhow::{Context, ensure};
use integration::{
    Agent, World,
    agent::{LIVE, Rights},
    case::play_all,
    cases,
};

/// Nothing but `CAP_BPF` and `CAP_PERFMON` is needed, as any user.
#[test]
fn two_capabilities_suffice() -> anyhow::Result<()> {
    let world = World::new()?;
    let agent = Agent::launch(LIVE, Rights::TwoCapabilities, &[])?;
    agent.await_observation()?;
    let cases = [
        "through_a_service",
        "over_loopback_ipv6",
        "containers_are_named",
        "refused",
        "server_resets",
        "thousand_parallel_connections",
    ];
    play_all(&cases.map(cases::named), &world, |moment| agent.expect(moment))?;
    agent.stop().map(drop)
}

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
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "it ended with {}: {said}", output.status);
    Ok(())
}

fn run_as_nobody(arguments: &[&str]) -> anyhow::Result<Output> {
    let folder = tempfile::tempdir()?;
    Command::new("setpriv")
        .args(Rights::None.arguments())
        .arg("--")
        .arg(Rights::None.program(folder.path())?)
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .context("cannot run the agent as another user: that needs root and `setpriv`")
}
