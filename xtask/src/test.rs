//! Every test, from those that need nothing to those that need root.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::{
    command, kernel_test,
    packages::{self, Tool},
    tools::{self, Origin},
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

/// Servers that connections and exported metrics are proved with.
const SERVERS: &[Tool] = &[
    Tool { program: "prometheus", package: "prometheus", purpose: "scrapes the agent" },
    Tool { program: "promtool", package: "prometheus", purpose: "judges the exposition" },
    Tool { program: "nginx", package: "nginx", purpose: "defers what it accepts" },
];

/// Where the oracle's own tests are; it runs last, so that its closing line is the last of all.
const ORACLE: &str = "oracle";

/// What only the kernels of virtual machines have the means for, and runs there.
const IN_MACHINES: &str = "netem";

/// What needs the programs of a cluster.
const WITH_CLUSTER: [&str; 2] = ["cluster", "kubernetes"];

/// What needs servers that are sent to.
const WITH_SERVERS: [&str; 3] = ["backends", "collector", "traces"];

/// The tests of [`WITH_CLUSTER`] that need control groups of version 1, which many machines have none of.
const WITH_FIRST_VERSION: &str = "with_control_groups_of_version_1";

/// Those that need the controllers to be in the tree of version 2, as far as the programs are those that are built here.
const WITH_SECOND_VERSION: &str = "with_control_groups_of_version_2";
/// What a node sets limits with.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

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
    for name in [ORACLE, IN_MACHINES].into_iter().chain(WITH_SERVERS).chain(WITH_CLUSTER) {
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
    let cluster = tools::of_cluster(workspace)?;
    let mut skipped = Vec::new();
    if let Some(origin) = cluster {
        packages::install(CALLED_WITH_CLUSTER)?;
        let groups = ControlGroups::of_this_machine()?;
        if !groups.has_first_version {
            eprintln!(
                "no control groups of version 1 are mounted: the tests `...{WITH_FIRST_VERSION}` are left out"
            );
            skipped.push(WITH_FIRST_VERSION);
        }
        if origin == Origin::Built && !groups.has_controllers_in_second_version {
            eprintln!(
                "control groups of version 2 lack some of {}: the tests `...{WITH_SECOND_VERSION}` are left out",
                CONTROLLERS.join(", ")
            );
            skipped.push(WITH_SECOND_VERSION);
        }
    } else {
        eprintln!(
            "the programs of a cluster are not built: the tests of {} are left out, and what they prove of names in a cluster is \
             not proved; `cargo xtask tools` builds them",
            WITH_CLUSTER.map(|it| format!("`{it}`")).join(" and ")
        );
    }
    let missing = tools::missing_servers();
    if !missing.is_empty() {
        eprintln!(
            "{} names no folder whose `bin` has {}: the tests of {} are left out, and what they prove of servers that are sent to \
             is not proved",
            tools::NAMED,
            missing.join(", "),
            WITH_SERVERS.map(|it| format!("`{it}`")).join(", ")
        );
    }
    let is_left_out = |it: &str| {
        let is_missing = !missing.is_empty() && WITH_SERVERS.contains(&it)
            || cluster.is_none() && WITH_CLUSTER.contains(&it);
        it == ORACLE || it == IN_MACHINES || is_missing
    };
    let others = integration.tests.iter().filter(|it| !is_left_out(it));
    let test = || {
        let mut command = command::cargo();
        command.args(["test", "--locked", "--package", "integration"]);
        command.env(command::AGENT, agent);
        command.env("PATH", path_with(["usr/bin", "usr/sbin"].map(|it| tools.join(it))));
        command
    };
    let mut most = test();
    most.args(["--lib", "--bins"]).args(others.flat_map(|it| ["--test", it]));
    command::run(most.arg("--").args(skipped.into_iter().flat_map(|it| ["--skip", it])))?;
    command::run(test().args(["--test", ORACLE]))
}

/// Control groups that nodes of a cluster can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ControlGroups {
    has_first_version: bool,
    has_controllers_in_second_version: bool,
}

impl ControlGroups {
    fn of_this_machine() -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot tell what is mounted")?;
        Ok(Self::of(&mounts, |root| fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()))
    }

    /// Tells them by what is mounted, and by the controllers that the tree of version 2 has.
    fn of(mounts: &str, controllers: impl Fn(&Path) -> String) -> Self {
        let mounted = |kind: &str| mounts.lines().find(|it| it.contains(&format!(" - {kind} ")));
        let root = mounted("cgroup2").and_then(|it| it.split(' ').nth(4));
        let controllers = root.map(|it| controllers(Path::new(it))).unwrap_or_default();
        let has = |it: &str| controllers.split_whitespace().any(|controller| controller == it);
        Self {
            has_first_version: mounted("cgroup").is_some(),
            has_controllers_in_second_version: CONTROLLERS.into_iter().all(has),
        }
    }
}

/// The search path with more folders at its end: what is installed comes first.
fn path_with(folders: [PathBuf; 2]) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(folders);
    // Fails only for a folder with a colon in its name, which no search path can hold.
    env::join_paths(folders).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "24 20 0:21 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n";
    const SECOND: &str = "25 20 0:22 / /sys/fs/cgroup rw shared:6 - cgroup2 cgroup2 rw\n";

    #[test]
    fn control_groups_are_told_by_what_is_mounted() {
        check(&[SECOND], "cpuset cpu io memory hugetlb pids", (false, true));
        check(&[FIRST, SECOND], "hugetlb", (true, false));
        check(&[FIRST], "cpuset cpu memory pids", (true, false));
        check(&[SECOND], "cpuset memory pids", (false, false));
        check(&[], "", (false, false));
    }

    #[track_caller]
    fn check(mounts: &[&str], controllers: &str, expected: (bool, bool)) {
        let groups = ControlGroups::of(&mounts.concat(), |root| {
            assert_eq!(root, Path::new("/sys/fs/cgroup"));
            controllers.to_owned()
        });
        assert_eq!((groups.has_first_version, groups.has_controllers_in_second_version), expected);
    }
}
