//! Names in a large cluster whose pods change: each must be right.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::{
    Options, Part,
    document::{Row, Section},
};
use crate::{command, workspace::Workspace};

/// The budget of 10,000 pods.
const MOST_SYNC_SECONDS: f64 = 5.0;
const MOST_INDEX_MIB: f64 = 12.0;
/// The load itself must be what it is said to be.
const LEAST_CHANGES: f64 = 95.0;

/// What the program that plays the cluster found.
#[derive(Debug, Deserialize)]
struct Found {
    nodes: usize,
    services: usize,
    pods: usize,
    first_sync_seconds: f64,
    empty_mib: f64,
    synced_mib: f64,
    changed_mib: f64,
    changes: u64,
    changes_seconds: f64,
    changes_cpu: f64,
    asked: usize,
    wrong: usize,
    differences: Vec<String>,
}

/// Has an agent learn a large cluster in a real API server, changes its pods, and compares the names of all addresses.
pub(super) fn run(workspace: &Workspace, agent: &Path, options: &Options) -> anyhow::Result<Section> {
    let seconds = options.cluster_seconds;
    eprintln!("soak: pods of a large cluster change for {seconds} s");
    command::run(command::cargo().args(["build", "--locked", "--package", "integration", "--bins"]))?;
    let mut program = Command::new(workspace.target.join("debug/large_cluster"));
    program.arg(seconds.to_string()).env(command::AGENT, agent).stderr(Stdio::inherit());
    let output = program.output().context("cannot run the large cluster")?;
    ensure!(output.status.success(), "the large cluster ended with {}", output.status);
    let found: Found = serde_json::from_slice(&output.stdout).context("the large cluster told no summary")?;
    let Found { nodes, services, pods, empty_mib, synced_mib, changed_mib, .. } = found;
    let rows = vec![
        Row::told("nodes, Services, pods", format!("{nodes}, {services}, {pods}")),
        Row::at_most("first sync, s", found.first_sync_seconds, MOST_SYNC_SECONDS),
        Row::told(
            "resident memory, MiB: of nothing, of all, after the changes",
            format!("{empty_mib:.1}, {synced_mib:.1}, {changed_mib:.1}"),
        ),
        Row::at_most("of it for all objects", synced_mib - empty_mib, MOST_INDEX_MIB),
        Row::told("writes of pods", format!("{} in {:.0} s", found.changes, found.changes_seconds)),
        Row::at_least("writes a second", found.changes as f64 / found.changes_seconds, LEAST_CHANGES),
        Row::told("agent's CPU meanwhile", format!("{:.1} % of a core", 100.0 * found.changes_cpu)),
        Row::told("addresses whose owner was asked for at the end", found.asked.to_string()),
        Row::exact("wrong names", found.wrong as f64, 0.0),
    ];
    Ok(Section {
        title: Part::Cluster.title(),
        how: format!("`cargo xtask soak --only cluster --cluster-seconds {seconds}`"),
        text: "A real API server with its etcd on this machine, filled as controllers fill one, and an agent that names records \
               by it. Then pods are replaced by others of other workloads, each by three writes; the address of one that \
               went is another's some seconds later. At the end the agent is asked whose each address is, and must say what \
               the API server says, and of those that nobody has that they are nobody's."
            .to_owned(),
        rows,
        table: Vec::new(),
        notes: found.differences,
    })
}
