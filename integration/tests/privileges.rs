//! What the agent needs, and what it says when it has less.

use std::{
    fs,
    process::{Command, Output},
};

use anyhow::{Context, ensure};
use integration::{
    Agent, World,
    agent::{EVERYTHING, LIVE, RECORD, Rights},
    case::play_all,
    cases,
};

/// A container that has been granted the two capabilities observes as everybody else; that anybody can who has them is
/// what the oracle shows with all of its cases.
#[test]
fn a_container_with_two_capabilities_observes() -> anyhow::Result<()> {
    let world = World::new()?;
    let agent = Agent::start_as(Rights::Container, LIVE, &[])?;
    let cases = [
        "a_service_is_one_edge",
        "over_loopback_ipv6",
        "containers_are_named",
        "refused",
        "server_resets",
        "thousand_parallel_connections",
    ];
    play_all(&cases.map(cases::named), &world, |moment| agent.expect(moment))?;
    agent.expect_limits()?;
    agent.stop().map(drop)
}

/// Whatever the agent is started with, no thread of it has more than it needs, while every component does its work.
#[test]
fn every_component_works_within_the_limits() -> anyhow::Result<()> {
    for rights in [Rights::All, Rights::Container, Rights::TwoCapabilities] {
        let world = World::new()?;
        let folder = tempfile::tempdir()?;
        rights.own(folder.path())?;
        let flows = folder.path().join("flows.jsonl");
        let agent = Agent::start_as(rights, EVERYTHING, &[("RIDLEY_FLOWS", &flows)])?;
        play_all(&[cases::named("thousand_parallel_connections")], &world, |moment| agent.expect(moment))?;
        agent.expect_limits()?;
        agent.stop()?;
        let n_files = fs::read_dir(folder.path())?.count();
        ensure!(n_files == 3, "{rights:?}: {n_files} files: they were not replaced");
    }
    Ok(())
}

/// Root expects to write everywhere, and is told why it cannot, and what to do.
#[test]
fn root_is_told_why_it_cannot_write_files_of_others() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    Rights::TwoCapabilities.own(folder.path())?;
    let flows = folder.path().join("flows.jsonl");
    let error = Agent::launch(RECORD, Rights::All, &[("RIDLEY_FLOWS", &flows)]).map(drop);
    let said = format!("{:#}", error.err().context("the agent writes the file of another user")?);
    for words in ["cannot create exporter `file`", "files of other users", "--no-sandbox"] {
        ensure!(said.contains(words), "`{words}` is missing in: {said}");
    }
    Ok(())
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
