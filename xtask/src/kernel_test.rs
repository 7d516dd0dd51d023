//! The oracle on other kernels, each in a virtual machine.
//!
//! The machine is emulated, so that it runs wherever this does: no KVM, no container, no network. Its file system holds
//! the agent that a user would run, the oracle's own programs, and the tools that these call: what this machine has, or, for
//! another processor, what is built here for it and Debian's packages.

mod architecture;
mod archive;
mod image;
mod initramfs;
mod kernels;
mod machine;
mod outcome;
mod report;
mod userland;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use self::{
    architecture::Architecture,
    archive::Archive,
    initramfs::Initramfs,
    kernels::Kernel,
    outcome::{Group, Outcome, is_emulators_fault},
    userland::Userland,
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
const LIMIT: Duration = Duration::from_mins(30);

/// How often a machine is booted that the emulator lets down.
const BOOTS: usize = 3;

/// Of how many tests that failed their words are repeated.
const MAX_TOLD: usize = 10;

/// What makes and runs the machines, beside their emulator.
const TOOLS: &[Tool] = &[
    Tool { program: "depmod", package: "kmod", purpose: "finds the modules of a kernel" },
    Tool { program: "lz4", package: "lz4", purpose: "unpacks kernels" },
    Tool { program: "xz", package: "xz-utils", purpose: "unpacks kernels and modules" },
    Tool { program: "zstd", package: "zstd", purpose: "unpacks kernels" },
];

/// What the oracle calls inside the machine.
const CALLED: [&str; 7] = ["ip", "nft", "nsenter", "setpriv", "ss", "sysctl", "tc"];

/// What the networks of the oracle and `ss` need of the kernel.
const MODULES: [&str; 12] = [
    "bridge",
    "inet_diag",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_nat",
    "nft_numgen",
    "nft_reject_inet",
    "sch_netem",
    "tcp_diag",
    "veth",
    "nf_reject_ipv6",
];

/// Which kernels.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The processor of the machines.
    #[arg(long, value_enum, default_value_t)]
    arch: Architecture,
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
    let arch = options.arch;
    let kernels = match options {
        Options { all: true, .. } | Options { list: true, .. } => kernels::all(arch)?,
        Options { versions, .. } if versions.is_empty() => core(arch)?,
        Options { versions, .. } => kernels::select(arch, versions)?,
    };
    if options.list {
        kernels.iter().for_each(|it| eprintln!("{}", it.version));
        return Ok(());
    }
    ensure!(!kernels.is_empty(), "no kernel for {} runs with all tests: name some, or `--all`", arch.name());
    test(&workspace, None, arch, &kernels, Extent::Recorded)
}

/// Runs on the kernels that every run of all tests includes. What needs root is left to the command: on this machine's
/// kernel the oracle plays as root anyway.
pub(crate) fn run_core(workspace: &Workspace, agent: &Path) -> anyhow::Result<()> {
    let arch = Architecture::default();
    test(workspace, Some(agent), arch, &core(arch)?, Extent::Unprivileged)
}

/// How much runs inside the machines, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Everything, and docs/kernel-support.md tells what came of it.
    Recorded,
    /// What an agent with two capabilities is judged by.
    Unprivileged,
}

fn core(architecture: Architecture) -> anyhow::Result<Vec<Kernel>> {
    Ok(kernels::all(architecture)?.into_iter().filter(|it| it.is_core).collect())
}

/// Without an agent, one is built.
fn test(
    workspace: &Workspace,
    agent: Option<&Path>,
    architecture: Architecture,
    kernels: &[Kernel],
    extent: Extent,
) -> anyhow::Result<()> {
    packages::install(TOOLS)?;
    packages::install(&[architecture.emulator()])?;
    let folder = architecture.folder(&workspace.target.join("kernels"));
    let mut archive = None;
    let userland = Userland::prepare(architecture, &folder, &mut archive)?;
    let agent = agent.map_or_else(|| userland.agent(&workspace.target), |it| Ok(it.to_owned()))?;
    let read = |path: &str| {
        fs::read_to_string(workspace.root.join(path)).with_context(|| format!("cannot read {path}"))
    };
    let mut groups = Group::all(&read(PLAN)?)?;
    groups.retain(|it| extent == Extent::Recorded || it.name != ROOT);
    let programs = build(&groups, &userland)?;
    list_tests(&mut groups, &programs, &userland)?;
    let mut common = Initramfs::default();
    common.add_script("/init", &read(INIT)?);
    add_programs(&mut common, &agent, &programs, &userland)?;
    let mut failures = Vec::new();
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
                    let version = command::output(userland.command(&agent).arg("version"))?;
                    report::record(&workspace.root, kernel, &outcome, &groups, &version)?;
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
    let boot = || machine::boot(kernel.architecture, &unpacked.image, &path, &log, LIMIT);
    let mut console = boot()?;
    for _ in 1..BOOTS {
        if !is_emulators_fault(&console) {
            break;
        }
        eprintln!("{}: boots again, for its console ended with\n{}", kernel.version, machine::tail(&console));
        console = boot()?;
    }
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
    userland: &Userland,
) -> anyhow::Result<()> {
    let mut add = |path: &str, program: &Path| initramfs.add_program(path, program, userland);
    add("/bin/busybox", &userland.find("busybox")?)?;
    for tool in CALLED {
        add(&format!("/oracle/bin/{tool}"), &userland.find(tool)?)?;
    }
    add("/oracle/ridley", agent)?;
    for (name, path) in programs {
        add(&format!("/oracle/{name}"), path)?;
    }
    Ok(())
}

/// Builds the oracle's programs, optimized: an emulated processor has nothing to give away.
fn build(groups: &[Group], userland: &Userland) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let tests: BTreeSet<&str> = groups.iter().map(|it| it.program.as_str()).collect();
    let mut cargo = userland.cargo("test");
    cargo.args(["--package", "integration", "--no-run"]);
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
fn list_tests(
    groups: &mut [Group],
    programs: &BTreeMap<String, PathBuf>,
    userland: &Userland,
) -> anyhow::Result<()> {
    for group in groups {
        let program = programs.get(&group.program).context("a program is missing")?;
        let mut list = userland.command(program);
        list.args(&group.arguments).arg("--list");
        list.env("RIDLEY_RIGHTS", &group.name).env("RIDLEY_RANDOM", RANDOM);
        group.add_tests(&command::output(&mut list)?);
        ensure!(!group.tests.is_empty(), "the group `{}` of {PLAN} has no tests", group.name);
    }
    Ok(())
}
