//! Every test, from those that need nothing to those that need root.

use std::{env, ffi::OsString, fs, path::Path};

use anyhow::{Context, bail};

use crate::{
    command, kernel_test,
    packages::{self, Tool},
    workspace::Workspace,
};

/// What the oracle builds its networks with.
const TOOLS: &[Tool] = &[
    Tool { program: "ip", package: "iproute2", purpose: "network namespaces of the oracle" },
    Tool {
        program: "nft",
        package: "nftables",
        purpose: "address translation and lost packets of the oracle",
    },
    Tool { program: "sysctl", package: "procps", purpose: "timeouts inside the oracle's namespaces" },
];

/// Servers that the exported metrics are proved with.
const SERVERS: &[Tool] = &[
    Tool { program: "prometheus", package: "prometheus", purpose: "scrapes the agent" },
    Tool { program: "promtool", package: "prometheus", purpose: "judges the exposition" },
];

/// Where the oracle's own tests are; it runs last, so that its closing line is the last of all.
const ORACLE: &str = "oracle";

/// What only the kernels of virtual machines have the means for, and runs there.
const IN_MACHINES: &str = "netem";

/// What needs the programs of a cluster, which are in `k8s/bin` of the folder that [`CLUSTER_TOOLS`] names: integration/README.md
/// lists them.
const WITH_CLUSTER: [&str; 2] = ["cluster", "kubernetes"];
const CLUSTER_TOOLS: &str = "RIDLEY_TOOLS";

/// The tests of [`WITH_CLUSTER`] that need control groups of version 1, which many machines have none of.
const WITH_FIRST_VERSION: &str = "with_control_groups_of_version_1";

/// What these tests call beside the cluster's programs.
const CALLED_WITH_CLUSTER: &[Tool] =
    &[Tool { program: "openssl", package: "openssl", purpose: "keys of the API server" }];

/// Which tests to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out the tests that need root; what they prove is then not proved.
    #[arg(long)]
    unprivileged: bool,
}

/// Runs every test of the repository.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    if options.unprivileged {
        return unprivileged();
    }
    if !command::is_root() {
        bail!(
            "the oracle makes network namespaces and loads kernel programs, which needs root; \
             run `cargo xtask test` as root, or `cargo xtask test --unprivileged` for the tests that need nothing"
        );
    }
    packages::install(TOOLS)?;
    let tools = workspace.tools();
    packages::unpack(SERVERS, &tools)?;

    // First what a user would run, so that a tree that does not build is known early.
    let agent = command::agent(&workspace.target)?;
    unprivileged()?;
    kernel_test::run_core(&workspace, &agent)?;
    privileged(&workspace, &agent, &tools)
}

fn unprivileged() -> anyhow::Result<()> {
    command::run(command::cargo().args(["test", "--locked"]))?;
    command::run(command::cargo().args(["test", "--locked", "--package", "xtask"]))
}

fn privileged(workspace: &Workspace, agent: &Path, tools: &Path) -> anyhow::Result<()> {
    let integration = workspace.package_in("integration").context("there is no package in `integration`")?;
    for name in [ORACLE, IN_MACHINES].into_iter().chain(WITH_CLUSTER) {
        if !integration.tests.iter().any(|it| it == name) {
            bail!("`integration` has no test called `{name}`");
        }
    }
    // Every variant of the eBPF programs, also those that this kernel has better ones for.
    command::run(command::cargo().args([
        "test",
        "--locked",
        "--package",
        "ebpf-receiver",
        "--features",
        "kernel-tests",
        "kernel_tests",
    ]))?;
    let has_cluster = env::var_os(CLUSTER_TOOLS).is_some();
    let mut skipped = None;
    if !has_cluster {
        eprintln!(
            "{CLUSTER_TOOLS} names no folder with the programs of a cluster: the tests of {} are left out, and what they prove of \
             names in a cluster is not proved",
            WITH_CLUSTER.map(|it| format!("`{it}`")).join(" and ")
        );
    } else {
        packages::install(CALLED_WITH_CLUSTER)?;
        if !has_first_version()? {
            eprintln!(
                "no control groups of version 1 are mounted: the tests `...{WITH_FIRST_VERSION}` are left out"
            );
            skipped = Some(["--", "--skip", WITH_FIRST_VERSION]);
        }
    }
    let is_left_out =
        |it: &str| it == ORACLE || it == IN_MACHINES || !has_cluster && WITH_CLUSTER.contains(&it);
    let others = integration.tests.iter().filter(|it| !is_left_out(it));
    let test = || {
        let mut command = command::cargo();
        command.args(["test", "--locked", "--package", "integration"]);
        command.env(command::AGENT, agent);
        command.env("PATH", path_with(&tools.join("usr/bin")));
        command
    };
    let mut most = test();
    most.args(["--lib", "--bins"]).args(others.flat_map(|it| ["--test", it]));
    command::run(most.args(skipped.into_iter().flatten()))?;
    command::run(test().args(["--test", ORACLE]))
}

/// Returns whether this machine has hierarchies of control groups of version 1.
fn has_first_version() -> anyhow::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot tell what is mounted")?;
    Ok(mounts.lines().any(|line| line.contains(" - cgroup ")))
}

/// The search path with one more folder at its end: what is installed comes first.
fn path_with(folder: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([folder.to_owned()]);
    // Fails only for a folder with a colon in its name, which no search path can hold.
    env::join_paths(folders).unwrap_or(path)
}
