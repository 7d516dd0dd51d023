//! The oracle on other kernels, each in a virtual machine.
//!
//! The machine is emulated, so that it runs wherever this does: no KVM, no container, no network. Its file system holds
//! what this machine has: the agent that a user would run, the oracle's own programs, and the tools that these call.

mod image;
mod initramfs;
mod kernels;
mod machine;
mod outcome;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use self::{
    initramfs::Initramfs,
    kernels::{Archive, Kernel},
    outcome::{Group, Outcome},
};
use crate::{
    command,
    packages::{self, Tool},
    workspace::Workspace,
};

const INIT: &str = "integration/kernel/init";
const PLAN: &str = "integration/kernel/plan";
/// The group of the plan in which root starts the agent.
const ROOT: &str = "root";
/// Which of the oracle's random cases are played; the machine's first process says the same.
const RANDOM: &str = "0..5";
/// The program that plays both ends of the oracle's connections.
const PEER: &str = "peer";
/// Longer than everything takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(15);

/// Of how many tests that failed their words are repeated.
const MAX_TOLD: usize = 10;

/// What runs the machines.
const TOOLS: &[Tool] = &[
    Tool { program: "qemu-system-x86_64", package: "qemu-system-x86", purpose: "emulates the machines" },
    Tool { program: "depmod", package: "kmod", purpose: "finds the modules of a kernel" },
    Tool { program: "lz4", package: "lz4", purpose: "unpacks kernels" },
    Tool { program: "xz", package: "xz-utils", purpose: "unpacks kernels and modules" },
    Tool { program: "zstd", package: "zstd", purpose: "unpacks kernels" },
    Tool { program: "busybox", package: "busybox-static", purpose: "prepares the machines from inside" },
    Tool { program: "ip", package: "iproute2", purpose: "makes the networks inside" },
    Tool { program: "nft", package: "nftables", purpose: "address translation inside" },
    Tool { program: "sysctl", package: "procps", purpose: "settings of the networks inside" },
];

/// What the oracle calls inside the machine.
const CALLED: [&str; 6] = ["ip", "nft", "nsenter", "setpriv", "ss", "sysctl"];

/// What the networks of the oracle and `ss` need of the kernel.
const MODULES: [&str; 11] = [
    "bridge",
    "inet_diag",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_nat",
    "nft_numgen",
    "nft_reject_inet",
    "tcp_diag",
    "veth",
    "nf_reject_ipv6",
];

/// Which kernels.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Versions of the list, or their first parts: `6.1`, `5.10.218`. Without any: those that every run of all tests
    /// includes.
    versions: Vec<String>,
    /// Every kernel of the list.
    #[arg(long, conflicts_with = "versions")]
    all: bool,
    /// Say which kernels there are, and run none.
    #[arg(long)]
    list: bool,
    /// Write docs/kernel-support.md from what earlier runs found, and run none.
    #[arg(long, conflicts_with_all = ["all", "list", "versions"])]
    page: bool,
}

/// Runs the command: docs/kernel-support.md then tells what came of it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    if options.page {
        return report::write_page(&workspace.root);
    }
    let kernels = match options {
        Options { all: true, .. } | Options { list: true, .. } => kernels::all()?,
        Options { versions, .. } if versions.is_empty() => core()?,
        Options { versions, .. } => kernels::select(versions)?,
    };
    if options.list {
        kernels.iter().for_each(|it| eprintln!("{}", it.version));
        return Ok(());
    }
    let agent = command::agent(&workspace.target)?;
    test(&workspace, &agent, &kernels, Extent::Recorded)
}

/// Runs on the kernels that every run of all tests includes. What needs root is left to the command: on this machine's
/// kernel the oracle plays as root anyway.
pub(crate) fn run_core(workspace: &Workspace, agent: &Path) -> anyhow::Result<()> {
    test(workspace, agent, &core()?, Extent::Unprivileged)
}

/// How much runs inside the machines, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Everything, and docs/kernel-support.md tells what came of it.
    Recorded,
    /// What an agent with two capabilities is judged by.
    Unprivileged,
}

fn core() -> anyhow::Result<Vec<Kernel>> {
    Ok(kernels::all()?.into_iter().filter(|it| it.is_core).collect())
}

fn test(workspace: &Workspace, agent: &Path, kernels: &[Kernel], extent: Extent) -> anyhow::Result<()> {
    packages::install(TOOLS)?;
    let read = |path: &str| {
        fs::read_to_string(workspace.root.join(path)).with_context(|| format!("cannot read {path}"))
    };
    let mut groups = Group::all(&read(PLAN)?)?;
    groups.retain(|it| extent == Extent::Recorded || it.name != ROOT);
    let programs = build(&groups)?;
    list_tests(&mut groups, &programs)?;
    let mut common = Initramfs::default();
    common.add_script("/init", &read(INIT)?);
    add_programs(&mut common, agent, &programs)?;
    let folder = workspace.target.join("kernels");
    let (mut archive, mut failures) = (None, Vec::new());
    for kernel in kernels {
        let start = Instant::now();
        let groups: Vec<_> = groups.iter().map(|it| it.without(&kernel.lacks)).collect();
        match run_on(kernel, &mut archive, &common, &groups, &folder) {
            Ok(outcome) => {
                eprintln!("{}: {} in {:.0?}", kernel.version, summary(&outcome), start.elapsed());
                tell_failures(&outcome);
                if !outcome.is_good() {
                    failures.push(kernel.version.as_str());
                }
                if extent == Extent::Recorded {
                    report::record(&workspace.root, kernel, &outcome, &groups, agent)?;
                }
            }
            Err(error) => {
                eprintln!("{}: {error:#}", kernel.version);
                failures.push(kernel.version.as_str());
            }
        }
    }
    ensure!(
        failures.is_empty(),
        "not everything is right on {}; {} holds what the machines said",
        failures.join(", "),
        folder.join("<version>.log").display()
    );
    Ok(())
}

fn run_on(
    kernel: &Kernel,
    archive: &mut Option<Archive>,
    common: &Initramfs,
    groups: &[Group],
    folder: &Path,
) -> anyhow::Result<Outcome> {
    let unpacked = kernels::fetch(kernel, folder, archive)?;
    let mut initramfs = common.clone();
    initramfs.add_modules(&unpacked, &MODULES)?;
    initramfs.add_text("/plan", &Group::plan(groups));
    let path = folder.join("initramfs");
    fs::write(&path, initramfs.archive()?).with_context(|| format!("cannot write {}", path.display()))?;
    let log = folder.join(format!("{}.log", kernel.version));
    let console = machine::boot(&unpacked.image, &path, &log, LIMIT)?;
    Outcome::read(&console, groups)
        .with_context(|| format!("its console ended with\n{}", machine::tail(&console)))
}

fn summary(outcome: &Outcome) -> String {
    let Outcome { release, needs, can_run, passed, failed, words: _, problems } = outcome;
    let n_passed: usize = passed.values().sum();
    let mut text = format!("{release}: {n_passed} of {} tests passed", n_passed + failed.len());
    if !can_run {
        let missing = needs.iter().filter(|it| it.state == "missing").map(|it| it.words.as_str());
        text += &format!("; the agent cannot run: {}", missing.collect::<Vec<_>>().join("; "));
    } else if !failed.is_empty() {
        text += &format!("; failed: {}", failed.join(", "));
    }
    if !problems.is_empty() {
        text += &format!("; {}", problems.join("; "));
    }
    text
}

/// Repeats what tests said when they failed, for whoever has this output and not the machine's.
fn tell_failures(outcome: &Outcome) {
    for test in outcome.failed.iter().take(MAX_TOLD) {
        eprintln!("---- {test} ----");
        match outcome.words.get(test) {
            Some(words) => words.iter().for_each(|line| eprintln!("{line}")),
            None => eprintln!("said nothing, or did not come to its end"),
        }
    }
    if outcome.failed.len() > MAX_TOLD {
        eprintln!("and {} more tests failed", outcome.failed.len() - MAX_TOLD);
    }
}

/// Adds what runs in the machines.
fn add_programs(
    initramfs: &mut Initramfs,
    agent: &Path,
    programs: &BTreeMap<String, PathBuf>,
) -> anyhow::Result<()> {
    initramfs.add_program("/bin/busybox", &find("busybox")?)?;
    for tool in CALLED {
        initramfs.add_program(&format!("/oracle/bin/{tool}"), &find(tool)?)?;
    }
    initramfs.add_program("/oracle/ridley", agent)?;
    for (name, path) in programs {
        initramfs.add_program(&format!("/oracle/{name}"), path)?;
    }
    Ok(())
}

/// Builds the oracle's programs, optimized: an emulated processor has nothing to give away.
fn build(groups: &[Group]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let tests: BTreeSet<&str> = groups.iter().map(|it| it.program.as_str()).collect();
    let mut cargo = command::cargo();
    cargo.args(["test", "--release", "--locked", "--package", "integration", "--no-run"]);
    cargo.args(tests.iter().flat_map(|it| ["--test", it]));
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let messages = command::output(&mut cargo)?;
    let mut built = BTreeMap::new();
    for message in cargo_metadata::Message::parse_stream(messages.as_bytes()) {
        let cargo_metadata::Message::CompilerArtifact(artifact) = message? else { continue };
        let name = artifact.target.name.as_str();
        let is_wanted =
            artifact.target.is_test() && tests.contains(name) || artifact.target.is_bin() && name == PEER;
        if let Some(path) = artifact.executable.filter(|_| is_wanted) {
            built.insert(name.to_owned(), path.into_std_path_buf());
        }
    }
    ensure!(built.len() == tests.len() + 1, "cargo did not build {PEER} and all of {tests:?}");
    Ok(built)
}

/// Asks the oracle's programs which tests they would run: each of them must.
fn list_tests(groups: &mut [Group], programs: &BTreeMap<String, PathBuf>) -> anyhow::Result<()> {
    for group in groups {
        let program = programs.get(&group.program).context("a program is missing")?;
        let mut list = Command::new(program);
        list.args(&group.arguments).arg("--list");
        list.env("RIDLEY_RIGHTS", &group.name).env("RIDLEY_RANDOM", RANDOM);
        group.add_tests(&command::output(&mut list)?);
        ensure!(!group.tests.is_empty(), "the group `{}` of {PLAN} has no tests", group.name);
    }
    Ok(())
}

fn find(program: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).map(|it| it.join(program));
    places.find(|it| it.is_file()).with_context(|| format!("there is no `{program}` on PATH"))
}
